//! Ctrl-C and SIGTERM end a job in order, so that it always cleans up.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupted(_: i32) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on the signals are noted instead of ending the process. Programs that it starts have their defaults again.
pub(crate) fn catch() -> Result<()> {
    let action = SigAction::new(SigHandler::Handler(interrupted), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// Whether one has come.
pub(crate) fn seen() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
