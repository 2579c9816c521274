//! SIGTERM and SIGINT: the first asks for a drain, a second ends the process at once. SIGHUP asks for the configuration to be
//! read again; one such wish waits at most.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// How often the process's own faults are looked for while it waits.
const FAULT_POLL: Duration = Duration::from_millis(250);

/// Exit code of a process that was told twice: 128 + SIGINT, as shells have it.
const KILLED: i32 = 130;

/// Why waiting ended.
#[derive(Debug)]
pub(super) enum Cause {
    /// The name of the signal.
    Signal(&'static str),
    /// The process cannot go on.
    Fault(String),
}

/// The installed handlers.
#[derive(Debug)]
pub struct Signals {
    first: Receiver<&'static str>,
    hangups: Option<Receiver<()>>,
}

impl Signals {
    /// Installs the handlers on a thread of their own: from here on a signal waits until somebody can heed it.
    ///
    /// # Errors
    /// The system refuses a handler or a thread.
    pub fn install() -> io::Result<Self> {
        let (sender, first) = channel();
        let (wish, hangups) = sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut term, mut interrupt, mut hangup) = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?)
        };
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async move {
                let mut told = false;
                loop {
                    let name = tokio::select! {
                        _ = term.recv() => "SIGTERM",
                        _ = interrupt.recv() => "SIGINT",
                        _ = hangup.recv() => {
                            // One that waits already will see this change too; nobody waits for them in a drain's end.
                            let _ = wish.try_send(());
                            continue;
                        }
                    };
                    if told {
                        tracing::error!(signal = name, "second signal: ending at once, what is in memory is lost");
                        std::process::exit(KILLED);
                    }
                    told = true;
                    // If nobody waits any more, the drain is under way already, for a fault.
                    let _ = sender.send(name);
                }
            });
        })?;
        Ok(Self { first, hangups: Some(hangups) })
    }

    /// The wishes for a reload, those included that came before anybody could heed them; once.
    pub(super) fn hangups(&mut self) -> Option<Receiver<()>> {
        self.hangups.take()
    }

    /// Waits for the first signal or for `fault` to say why the process cannot go on.
    pub(super) fn wait(self, mut fault: impl FnMut() -> Option<String>) -> Cause {
        loop {
            match self.first.recv_timeout(FAULT_POLL) {
                Ok(name) => return Cause::Signal(name),
                Err(RecvTimeoutError::Disconnected) => return Cause::Fault("signals ended".to_owned()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(why) = fault() {
                return Cause::Fault(why);
            }
        }
    }
}
