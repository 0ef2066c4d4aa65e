//! The boot clock, in which the kernel programs stamp records and expire blocks.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_BOOTTIME.
#[must_use]
pub(crate) fn boot_nanos() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(std::time::Duration::from);
    // The clock exists on every kernel that has BPF; a failure would read as "just booted", where no block has expired.
    now.map_or(0, |since_boot| u64::try_from(since_boot.as_nanos()).unwrap_or(u64::MAX))
}

/// Length of the kernel's tick, which is the resolution of the coarse clocks (kernel's kernel/time/posix-timers.c).
pub(crate) fn tick_nanos() -> Option<u64> {
    let tick = nix::time::clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).ok()?;
    u64::try_from(std::time::Duration::from(tick).as_nanos()).ok().filter(|nanos| *nanos > 0)
}
