//! Boot clock → wall clock. Everything that decides runs on the boot clock, which nobody can set; the wall clock is only
//! for people, and its distance is measured again whenever a batch is written, so that a corrected clock shows.

use nix::time::{ClockId, clock_gettime};
use sensor_engine::time::Timestamp;

/// The distance from the boot clock to the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WallClock {
    offset_ns: i128,
}

impl WallClock {
    /// Measures the distance now.
    pub(crate) fn measure() -> Self {
        Self { offset_ns: read(ClockId::CLOCK_REALTIME) - read(ClockId::CLOCK_BOOTTIME) }
    }

    /// The clock of times that are the wall clock's already, as in captures.
    pub(crate) const fn of_wall_times() -> Self {
        Self { offset_ns: 0 }
    }

    /// A clock that was this far from the boot clock.
    #[cfg(test)]
    pub(crate) const fn at_offset(offset_ns: i128) -> Self {
        Self { offset_ns }
    }

    /// The distance in whole seconds.
    pub(crate) fn offset_secs(self) -> i64 {
        i64::try_from(self.offset_ns.div_euclid(1_000_000_000)).unwrap_or(0)
    }

    /// What the wall clock said at `time`.
    pub(crate) fn at(self, time: Timestamp) -> jiff::Timestamp {
        let nanos = self.offset_ns + i128::from(time.as_nanos());
        jiff::Timestamp::from_nanosecond(nanos).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

/// The boot clock now.
pub(crate) fn boot_now() -> Timestamp {
    Timestamp::from_nanos(u64::try_from(read(ClockId::CLOCK_BOOTTIME)).unwrap_or(0))
}

fn read(clock: ClockId) -> i128 {
    // Both clocks exist on every kernel that the sensor runs on.
    clock_gettime(clock).map_or(0, |t| i128::from(t.tv_sec()) * 1_000_000_000 + i128::from(t.tv_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_times_become_wall_times() {
        let now = WallClock::measure().at(boot_now());
        assert!(now.duration_until(jiff::Timestamp::now()).abs() < jiff::SignedDuration::from_secs(2));
        let clock = WallClock::at_offset(1_000_000_000);
        assert_eq!(clock.offset_secs(), 1);
        assert_eq!(clock.at(Timestamp::from_nanos(500_000_000)).as_nanosecond(), 1_500_000_000);
    }
}
