//! Floods of like alerts: the first few of one source and rule are written singly, the rest of a window as one alert
//! with their number. An attacker cannot bury another alert under a million of his own, and none goes uncounted.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::eve;
use crate::pipeline::Delivered;

/// Length of a window.
pub(super) const WINDOW: Duration = Duration::from_secs(10);
/// Most windows open at once; the oldest closes early to make room.
const MAX_WINDOWS: usize = 8192;

/// What counts as alike. The verdict belongs to it: the alert that blocks is never rolled up with those that did not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    rule: String,
    verdict: &'static str,
}

#[derive(Debug)]
struct Window {
    opened: Instant,
    written: u32,
    suppressed: u64,
    last: Option<Delivered>,
}

/// A report that stands for others.
#[derive(Debug)]
pub(super) struct RolledUp {
    /// The last of them.
    pub(super) report: Delivered,
    /// How many there were, itself included.
    pub(super) suppressed: u64,
}

/// The open windows.
#[derive(Debug)]
pub(super) struct Rollup {
    burst: u32,
    windows: HashMap<Key, Window>,
    order: VecDeque<Key>,
}

impl Rollup {
    /// Lets `burst` alike reports of a window through.
    pub(super) fn new(burst: u32) -> Self {
        Self { burst, windows: HashMap::new(), order: VecDeque::new() }
    }

    /// The report, if it is to be written singly. Room for its window must be made first: see [`Rollup::closed`].
    pub(super) fn admit(&mut self, report: Delivered, now: Instant) -> Option<Delivered> {
        let key = key(&report);
        let window = self.windows.entry(key).or_insert_with_key(|key| {
            self.order.push_back(key.clone());
            Window { opened: now, written: 0, suppressed: 0, last: None }
        });
        if window.written < self.burst {
            window.written += 1;
            return Some(report);
        }
        window.suppressed += 1;
        window.last = Some(report);
        None
    }

    /// The next roll-up of a window that is over, or that must make room.
    pub(super) fn closed(&mut self, now: Instant) -> Option<RolledUp> {
        while let Some(window) = self.order.front().and_then(|key| self.windows.get(key)) {
            let over = now.duration_since(window.opened) >= WINDOW;
            if !over && self.windows.len() < MAX_WINDOWS {
                return None;
            }
            if let Some(rolled_up) = self.close_oldest() {
                return Some(rolled_up);
            }
        }
        None
    }

    /// The roll-up of the oldest window, whether it is over or not; `None` when no window is left that has one.
    pub(super) fn close_any(&mut self) -> Option<RolledUp> {
        while !self.order.is_empty() {
            if let Some(rolled_up) = self.close_oldest() {
                return Some(rolled_up);
            }
        }
        None
    }

    fn close_oldest(&mut self) -> Option<RolledUp> {
        let window = self.windows.remove(&self.order.pop_front()?)?;
        Some(RolledUp { report: window.last?, suppressed: window.suppressed })
    }
}

fn key(delivered: &Delivered) -> Key {
    let report = &delivered.report;
    Key {
        source: report.identity.address,
        rule: eve::leading(report).map(|finding| finding.rule.id.clone()).unwrap_or_default(),
        verdict: eve::verdict_name(report.verdict.action),
    }
}

#[cfg(test)]
mod tests {
    use sensor_engine::policy::Action;

    use super::super::eve::tests::{delivered, report};
    use super::*;

    #[test]
    fn the_first_few_pass_and_the_rest_are_one_with_their_number() {
        let (start, mut rollup) = (Instant::now(), Rollup::new(3));
        let passed = (0..10).filter(|n| rollup.admit(delivered("192.0.2.1", *n), start).is_some()).count();
        assert_eq!(passed, 3);
        assert!(rollup.closed(start + WINDOW / 2).is_none());
        let rolled_up = rollup.closed(start + WINDOW).unwrap();
        assert_eq!((rolled_up.suppressed, *rolled_up.report.report), (7, report("192.0.2.1", 9)));
        assert!(rollup.closed(start + WINDOW).is_none());
        assert!(rollup.admit(delivered("192.0.2.1", 1), start + WINDOW).is_some(), "a new window");
    }

    #[test]
    fn other_sources_and_verdicts_are_not_rolled_up_together() {
        let (start, mut rollup) = (Instant::now(), Rollup::new(1));
        assert!(rollup.admit(delivered("192.0.2.1", 1), start).is_some());
        assert!(rollup.admit(delivered("192.0.2.2", 1), start).is_some());
        let mut other = delivered("192.0.2.1", 1);
        other.report.verdict.action = Action::Report;
        assert!(rollup.admit(other, start).is_some());
        assert!(rollup.admit(delivered("192.0.2.1", 2), start).is_none());
    }

    #[test]
    fn the_number_of_windows_is_bounded_and_nothing_is_lost() {
        let (start, mut rollup) = (Instant::now(), Rollup::new(1));
        let (mut written, mut counted) = (0, 0);
        let offered = 3 * MAX_WINDOWS as u64;
        for n in 0..offered {
            while let Some(rolled_up) = rollup.closed(start) {
                counted += rolled_up.suppressed;
            }
            let source = std::net::Ipv4Addr::from((n / 2) as u32).to_string();
            written += u64::from(rollup.admit(delivered(&source, n), start).is_some());
            assert!(rollup.windows.len() <= MAX_WINDOWS);
        }
        while let Some(rolled_up) = rollup.close_any() {
            counted += rolled_up.suppressed;
        }
        assert_eq!(written + counted, offered);
    }
}
