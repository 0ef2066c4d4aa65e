//! Time that this thread spent on a processor: what neighbours take from the wall clock does not count.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The time so far.
pub(crate) fn time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
