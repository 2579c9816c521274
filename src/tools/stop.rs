//! Ctrl-C and SIGTERM for the commands: the first asks to stop, the second ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code of a process that a second Ctrl-C ended (128 + SIGINT).
const EXIT_INTERRUPTED: i32 = 130;

/// A flag that the first SIGINT or SIGTERM sets.
///
/// # Errors
/// The thread or its runtime cannot be made.
pub(super) fn on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("signals: no runtime")?;
    let (interrupt, terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    };
    let (mut interrupt, mut terminate) = (interrupt.context("SIGINT")?, terminate.context("SIGTERM")?);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        Some(()) = interrupt.recv() => {}
                        Some(()) = terminate.recv() => {}
                        else => return,
                    }
                    if flag.swap(true, Ordering::AcqRel) {
                        std::process::exit(EXIT_INTERRUPTED);
                    }
                }
            });
        })
        .context("signals: no thread")?;
    Ok(stop)
}
