//! The embedded backend: speaks the contract, counts, and misbehaves on demand.
//!
//! For the demo, for tests, and for people who want to see flows before they have a backend. A library
//! (`Backend`) with threads of its own, and the command on top of it (`run`). It keeps no record, only
//! counts, unless a file is named. How it misbehaves can be changed while it runs, by the library or by a
//! POST to `/mood`.

mod contract;
mod door;
mod encoding;
mod journal;
mod mood;
mod serve;
mod tally;

use std::fs::OpenOptions;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};

use super::say::{print, tell};
use crate::cli::BackendArgs;
use crate::secret::{Secret, SecretSource};
use crate::tls::{KeyPairFiles, MinVersion, ServerTls};
use door::Door;
use mood::Mood;
use serve::Shared;
use tally::Tally;

pub use tally::{BackendStats, SerialStats};

/// How a backend is started.
#[derive(Debug, Clone)]
pub struct BackendOptions {
    /// Address to bind; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Appends every accepted record to this file, one JSON object a line.
    pub out: Option<PathBuf>,
    /// Appends to this file what every accepted request held: its Idempotency-Key, and serials by switch_id.
    pub journal: Option<PathBuf>,
    /// Tracks the serials that `generate` puts in `bytes`.
    pub serials: bool,
    /// How it fails.
    pub misbehaviour: Misbehaviour,
    /// Speaks TLS, and asks for client certificates if authorities are named.
    pub tls: Option<ServerTls>,
    /// POSTs need this bearer token; others are answered with 401.
    pub token: SecretSource,
    /// Reads gzip and zstd bodies, which the real backend answers with 400.
    pub accept_encodings: bool,
}

impl Default for BackendOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8_000)),
            out: None,
            journal: None,
            serials: false,
            misbehaviour: Misbehaviour::default(),
            tls: None,
            token: SecretSource::None,
            accept_encodings: false,
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
    /// Status of failures; without `fail_rate` and `poison_serial` every request gets it. A redirect (3xx) points at
    /// `/health`, which answers 200: who follows it believes that the batch was taken.
    pub status: Option<u16>,
    /// `fail_rate` and `status` are for requests with more records than this: what was split far enough passes.
    pub fail_above: Option<usize>,
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
    /// The address cannot be bound, a file cannot be opened or used, or there are no threads.
    pub fn start(options: BackendOptions) -> io::Result<Self> {
        let appended = |path: &Option<PathBuf>| {
            let open = |path| OpenOptions::new().create(true).append(true).open(path).map(Mutex::new);
            path.as_ref().map(open).transpose()
        };
        let (out, journal) = (appended(&options.out)?, appended(&options.journal)?);
        let door = Door::open(options.tls.as_ref(), &options.token)?;
        // With SO_REUSEADDR (std sets it): a restarted backend gets its port at once.
        let listener = std::net::TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime =
            Builder::new_multi_thread().worker_threads(THREADS).thread_name("backend").enable_all().build()?;
        let mood = Mood::new(options.misbehaviour);
        let shared = Arc::new(Shared {
            tally: Mutex::new(Tally::new(options.serials)),
            mood: Mutex::new(mood),
            out,
            journal,
            door,
            accept_encodings: options.accept_encodings,
        });
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

    /// True if it speaks TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.shared.door.is_tls()
    }

    /// From the next request on it asks for this token.
    ///
    /// # Errors
    /// The token's file cannot be used; the old token stays.
    pub fn require_token(&self, token: &SecretSource) -> io::Result<()> {
        self.shared.door.require(token)
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

impl From<&BackendArgs> for BackendOptions {
    fn from(args: &BackendArgs) -> Self {
        let misbehaviour = Misbehaviour {
            fail_rate: args.fail_rate,
            delay: args.delay.unwrap_or_default(),
            status: args.status,
            fail_above: args.fail_above,
            reset_rate: args.reset_rate.unwrap_or_default(),
            poison_serial: args.poison_serial,
        };
        let identity = args.tls_cert.clone().zip(args.tls_key.clone());
        Self {
            listen: args.listen,
            out: args.out.clone(),
            journal: args.journal.clone(),
            serials: args.serials,
            misbehaviour,
            tls: identity.map(|(certificate, key)| ServerTls {
                identity: KeyPairFiles { certificate, key },
                client_authorities: args.client_ca.clone(),
                min_version: MinVersion::Tls12,
            }),
            token: match (&args.token, &args.token_file) {
                (Some(token), _) => SecretSource::Given(Secret::new(token.clone())),
                (None, Some(path)) => SecretSource::File(path.clone()),
                (None, None) => SecretSource::None,
            },
            accept_encodings: args.accept_encodings,
        }
    }
}

/// The command: serves until Ctrl-C, SIGTERM or the end of `--seconds`, then prints what was counted.
///
/// # Errors
/// What [`Backend::start`] fails for, with the address; no signal handling; a full standard output.
pub fn run(args: &BackendArgs) -> anyhow::Result<ExitCode> {
    let (listen, seconds) = (args.listen, args.seconds);
    let backend = Backend::start(args.into()).with_context(|| {
        format!("the backend cannot start on {listen}: if the port is taken, choose another by --listen")
    })?;
    let scheme = if backend.is_tls() { "https" } else { "http" };
    tell(format_args!("backend listens on {scheme}://{}; figures at /stats; Ctrl-C ends it", backend.address()));
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
    print(format!("{}\n", serde_json::to_string_pretty(&backend.stop())?).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    const RECORD: &str = r#"{"src_ip":"192.0.2.1","dst_ip":"192.0.2.2","src_port":1,"dst_port":2,"protocol":6,"bytes":7,"packets":3,"flow_start":1,"flow_end":2,"switch_id":"a","sampling_rate":10}"#;

    fn backend(misbehaviour: Misbehaviour) -> Backend {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Backend::start(BackendOptions { listen, serials: true, misbehaviour, ..BackendOptions::default() }).unwrap()
    }

    /// Status and text of an answer; None if the connection was reset.
    fn ask(backend: &Backend, method: &str, path: &str, headers: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(backend.address()).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        // A reset may come before the request is written.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        match stream.read_to_string(&mut answer) {
            Ok(_) => Some((answer[9..12].parse().unwrap(), answer.split_once("\r\n\r\n").unwrap().1.to_owned())),
            Err(e) => {
                assert!(matches!(e.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{e}");
                None
            }
        }
    }

    fn post(backend: &Backend, headers: &str, record: &str) -> Option<u16> {
        let headers = format!("Content-Type: application/json\r\n{headers}");
        let body = format!("{{\"records\":[{record}]}}");
        ask(backend, "POST", "/any/base/api/netflow/netflow", &headers, &body).map(|(status, _)| status)
    }

    #[test]
    fn it_speaks_the_contract_and_counts() {
        let backend = backend(Misbehaviour::default());
        let json = "Content-Type: application/json\r\n";
        let body = format!("{{\"records\":[{RECORD},{RECORD}],\"switch_id\":\"a\"}}");
        let answer = ask(&backend, "POST", "/api/netflow/netflow/", json, &body);
        assert_eq!(answer, Some((201, r#"{"created":2}"#.to_owned())));
        assert_eq!(post(&backend, "Idempotency-Key: x\r\n", RECORD), Some(201));
        assert_eq!(post(&backend, "Idempotency-Key: x\r\n", RECORD), Some(201));
        assert_eq!(post(&backend, "", &RECORD.replace("192.0.2.1", "x")), Some(400));
        assert_eq!(post(&backend, "", &RECORD.replace(":7", ":9223372036854775808")), Some(500));
        assert_eq!(post(&backend, "Content-Encoding: gzip\r\n", RECORD), Some(400));
        let status = |method, path, headers| ask(&backend, method, path, headers, "{}").unwrap().0;
        assert_eq!(status("POST", "/api/netflow/netflow", "Content-Type: text/plain\r\n"), 415);
        assert_eq!(status("GET", "/api/netflow/netflow", ""), 405);
        assert_eq!(status("GET", "/elsewhere", ""), 404);
        assert_eq!(status("GET", "/health", ""), 200);
        let (code, text) = ask(&backend, "GET", "/stats", "", "").unwrap();
        let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((code, shown["serials"]["a"]["doubled"].as_u64()), (200, Some(3)));
        let stats = backend.stop();
        assert_eq!((stats.requests, stats.accepted_requests, stats.refused_requests), (7, 3, 4));
        assert_eq!((stats.records, stats.bytes, stats.packets), (4, 28, 12));
        assert_eq!((stats.duplicates_by_key, stats.records_in_duplicates), (1, 1));
        assert_eq!(shown, serde_json::to_value(stats).unwrap());
    }

    #[test]
    fn it_fails_on_demand() {
        let backend = backend(Misbehaviour { status: Some(418), ..Misbehaviour::default() });
        assert_eq!(post(&backend, "", RECORD), Some(418));
        backend.misbehave(Misbehaviour { fail_rate: Some(1.0), ..Misbehaviour::default() });
        assert_eq!(post(&backend, "", RECORD), Some(503));
        backend.misbehave(Misbehaviour { fail_rate: Some(0.0), status: Some(500), ..Misbehaviour::default() });
        assert_eq!(post(&backend, "", RECORD), Some(201));
        let poison = Misbehaviour { poison_serial: Some(7), ..Misbehaviour::default() };
        backend.misbehave(poison);
        assert_eq!(post(&backend, "", RECORD), Some(500));
        backend.misbehave(Misbehaviour { status: Some(422), ..poison });
        assert_eq!(post(&backend, "", RECORD), Some(422));
        assert_eq!(post(&backend, "", &RECORD.replace(":7", ":8")), Some(201));
        let stats = backend.stop();
        assert_eq!((stats.failed_on_purpose, stats.accepted_requests), (4, 2));
    }

    #[test]
    fn what_is_small_enough_passes_and_redirects_lead_astray() {
        let backend = backend(Misbehaviour { status: Some(413), fail_above: Some(1), ..Misbehaviour::default() });
        assert_eq!(post(&backend, "", RECORD), Some(201));
        assert_eq!(post(&backend, "", &format!("{RECORD},{RECORD}")), Some(413));
        backend.misbehave(Misbehaviour { status: Some(302), ..Misbehaviour::default() });
        assert_eq!(post(&backend, "", RECORD), Some(302));
        assert_eq!(ask(&backend, "GET", "/health", "", "").map(|(status, _)| status), Some(200));
        let stats = backend.stop();
        assert_eq!((stats.failed_on_purpose, stats.records), (2, 1));
    }

    #[test]
    fn its_mood_can_be_changed_while_it_runs() {
        let backend = backend(Misbehaviour::default());
        let mood = |text: &str| ask(&backend, "POST", "/mood", "", text).map(|(status, _)| status);
        assert_eq!(mood(r#"{"status": 401}"#), Some(200));
        assert_eq!(post(&backend, "", RECORD), Some(401));
        assert_eq!(mood(r#"{"status": 401, "fail_rate": 0.0, "delay_ms": 1}"#), Some(200));
        assert_eq!(post(&backend, "", RECORD), Some(201));
        for wrong in [r#"{"status": 99}"#, r#"{"fail_rate": 2.0}"#, r#"{"unknown": 1}"#, r#"{"delay_ms": 3600001}"#, ""]
        {
            assert_eq!(mood(wrong), Some(400), "{wrong}");
        }
        assert_eq!(post(&backend, "", RECORD), Some(201), "what is wrong changes nothing");
        backend.require_token(&SecretSource::Given(Secret::new("t".to_owned()))).unwrap();
        assert_eq!(mood("{}"), Some(401));
    }

    #[test]
    fn the_journal_tells_keys_and_serials() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let options = BackendOptions { listen, journal: Some(journal.clone()), ..BackendOptions::default() };
        let backend = Backend::start(options).unwrap();
        let key = "018f2d4e-0000-7000-8000-000000000001";
        assert_eq!(post(&backend, &format!("Idempotency-Key: {key}\r\n"), &format!("{RECORD},{RECORD}")), Some(201));
        assert_eq!(post(&backend, "", &RECORD.replace("192.0.2.1", "x")), Some(400));
        drop(backend);
        let text = std::fs::read_to_string(journal).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!((&line["key"], &line["serials"]["a"]), (&key.into(), &serde_json::json!([7, 7])));
        assert!(line["unix_ms"].as_u64() > Some(1_700_000_000_000), "{line}");
    }

    #[test]
    fn resets_come_before_and_after_the_body_was_accepted() {
        let backend = backend(Misbehaviour { reset_rate: 1.0, ..Misbehaviour::default() });
        for _ in 0..4 {
            assert_eq!(post(&backend, "", RECORD), None);
        }
        let stats = backend.stop();
        assert_eq!((stats.requests, stats.failed_on_purpose, stats.records), (4, 4, 2));
    }

    #[test]
    fn accepted_records_are_appended_as_they_came() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out.ndjson");
        std::fs::write(&out, "first\n").unwrap();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let options = BackendOptions { listen, out: Some(out.clone()), ..BackendOptions::default() };
        let backend = Backend::start(options).unwrap();
        assert_eq!(post(&backend, "", &format!("{RECORD},{RECORD}")), Some(201));
        assert_eq!(post(&backend, "", &RECORD.replace("192.0.2.1", "x")), Some(400));
        drop(backend);
        let text = std::fs::read_to_string(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (3, "first"));
        let value: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(value, serde_json::from_str::<serde_json::Value>(RECORD).unwrap());
    }
}
