//! Which blocks were given out just now, so that a burst of attacks from one source writes one block. It forgets soon:
//! somebody may have lifted the block since, and repeating one is harmless.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::time::Timestamp;

/// A block is not repeated for this long.
const QUIET: Duration = Duration::from_secs(1);
/// Most sources remembered.
const MAX_SOURCES: usize = 4096;

/// The blocks given out during the last second.
#[derive(Debug, Default)]
pub(super) struct RecentBlocks {
    given: HashMap<(IpAddr, bool), Given, RandomState>,
    /// The keys of `given`, oldest first.
    order: VecDeque<(IpAddr, bool)>,
}

/// When a block was given out, and its end.
#[derive(Clone, Copy, Debug)]
struct Given {
    at: Timestamp,
    until: Timestamp,
}

impl RecentBlocks {
    /// Notes a block of `source`; whether it should be given out: it is none of the last second, or lasts longer than that one.
    pub(super) fn note(&mut self, source: IpAddr, shadow: bool, now: Timestamp, until: Timestamp) -> bool {
        self.forget(now);
        let key = (source, shadow);
        if let Some(given) = self.given.get_mut(&key) {
            let longer = until > given.until + QUIET;
            given.until = if longer { until } else { given.until };
            return longer;
        }
        self.given.insert(key, Given { at: now, until });
        self.order.push_back(key);
        true
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some(key) = self.order.front() {
            let fresh = self.given.get(key).is_some_and(|given| now.since(given.at) < QUIET);
            if fresh && self.order.len() < MAX_SOURCES {
                return;
            }
            self.given.remove(key);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_quiet_for_a_second() {
        let (mut recent, a) = (RecentBlocks::default(), IpAddr::from([10, 0, 0, 1]));
        let at = |millis| Timestamp::from_nanos(0) + Duration::from_millis(millis);
        let minute = Duration::from_secs(60);
        let given: Vec<_> = [0, 500, 999, 1000, 1500]
            .map(|millis| recent.note(a, false, at(millis), at(millis) + minute))
            .into();
        assert_eq!(given, [true, false, false, true, false]);
        assert!(recent.note(a, false, at(1600), at(1600) + 10 * minute), "it lasts longer");
        assert!(!recent.note(a, false, at(1700), at(1700) + minute), "and this one does not");
        assert!(recent.note(a, true, at(1500), at(1500) + minute));
    }

    #[test]
    fn it_is_bounded() {
        let mut recent = RecentBlocks::default();
        for n in 0..10_000u32 {
            assert!(recent.note(
                IpAddr::from(n.to_be_bytes()),
                false,
                Timestamp::default(),
                Timestamp::default()
            ));
        }
        assert!(recent.given.len() <= MAX_SOURCES && recent.given.len() == recent.order.len());
    }
}
