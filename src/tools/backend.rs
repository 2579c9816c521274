//! The embedded backend: speaks the contract, counts, and misbehaves on demand.
//!
//! For the demo, for tests, and for people who want to see flows before they have a backend. A library
//! (`Backend`) with threads of its own, and the command on top of it (`run`). It keeps no record, only
//! counts, unless a file is named.

mod contract;
mod serve;
mod tally;

use std::fs::OpenOptions;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};

use crate::sink::retry::Random;
use serve::{Mood, Shared};
use tally::Tally;

pub use tally::{BackendStats, SerialStats};

/// How a backend is started.
#[derive(Debug, Clone)]
pub struct BackendOptions {
    /// Address to bind; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Appends every accepted record to this file, one JSON object a line.
    pub out: Option<PathBuf>,
    /// Tracks the serials that `generate` puts in `bytes`.
    pub serials: bool,
    /// How it fails.
    pub misbehaviour: Misbehaviour,
}

impl Default for BackendOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8_000)),
            out: None,
            serials: false,
            misbehaviour: Misbehaviour::default(),
        }
    }
}

/// Faults on demand; by default none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Misbehaviour {
    /// Share of requests (0 to 1) that are answered with `status`, 503 if there is none.
    pub fail_rate: Option<f64>,
    /// Time between what becomes of a request and its answer.
    pub delay: Duration,
    /// Status of failures; without `fail_rate` and `poison_serial` every request gets it.
    pub status: Option<u16>,
    /// Share of connections (0 to 1, by request) that are reset instead of answered: in turns before
    /// the body is read and after it was accepted.
    pub reset_rate: f64,
    /// A request with a record of this serial is answered with `status`, 500 if there is none.
    pub poison_serial: Option<u64>,
}

/// A running backend; dropping it stops it.
#[derive(Debug)]
pub struct Backend {
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
    address: SocketAddr,
}

/// Threads of the backend: two validate a million records a second, and the collector needs the rest.
const THREADS: usize = 2;

impl Backend {
    /// Binds and serves on threads of its own.
    ///
    /// # Errors
    /// The address cannot be bound, the file cannot be opened, or there are no threads.
    pub fn start(options: BackendOptions) -> io::Result<Self> {
        let out = match &options.out {
            Some(path) => Some(Mutex::new(OpenOptions::new().create(true).append(true).open(path)?)),
            None => None,
        };
        // With SO_REUSEADDR (std sets it): a restarted backend gets its port at once.
        let listener = std::net::TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime =
            Builder::new_multi_thread().worker_threads(THREADS).thread_name("backend").enable_all().build()?;
        let mood =
            Mood { misbehaviour: options.misbehaviour, retry_after: None, random: Random::from_system(), resets: 0 };
        let shared = Arc::new(Shared { tally: Mutex::new(Tally::new(options.serials)), mood: Mutex::new(mood), out });
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(serve::accept(listener, Arc::clone(&shared)));
        Ok(Self { runtime: Some(runtime), shared, address })
    }

    /// The address it is bound to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has counted so far.
    #[must_use]
    pub fn stats(&self) -> BackendStats {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).stats()
    }

    /// From the next request on it fails like this.
    pub fn misbehave(&self, misbehaviour: Misbehaviour) {
        self.shared.mood.lock().unwrap_or_else(PoisonError::into_inner).misbehaviour = misbehaviour;
    }

    /// From the next request on, answers other than 2xx carry this Retry-After (whole seconds).
    pub fn retry_after(&self, after: Option<Duration>) {
        self.shared.mood.lock().unwrap_or_else(PoisonError::into_inner).retry_after = after;
    }

    /// Ends at once: connections break, the port is free. What was counted is returned.
    pub fn stop(mut self) -> BackendStats {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
        self.stats()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The command: serves until Ctrl-C, SIGTERM or the end of `seconds`, then prints what was counted.
///
/// # Errors
/// What [`Backend::start`] fails for, with the address; no signal handling.
pub fn run(options: BackendOptions, seconds: Option<u64>) -> anyhow::Result<()> {
    let listen = options.listen;
    let backend = Backend::start(options).with_context(|| {
        format!("the backend cannot start on {listen}: is the port taken? choose another by --listen")
    })?;
    eprintln!("backend listens on http://{}; figures at /stats; Ctrl-C ends it", backend.address());
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let end = async {
            match seconds {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            interrupt = tokio::signal::ctrl_c() => interrupt,
            _ = terminate.recv() => Ok(()),
            () = end => Ok(()),
        }
    })?;
    println!("{}", serde_json::to_string_pretty(&backend.stop())?);
    Ok(())
}
