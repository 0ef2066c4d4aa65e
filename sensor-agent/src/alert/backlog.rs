//! Work that a disk did not take yet: bounded, tried again with growing pauses, and counted when it does not fit.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Items in the order in which they must be written.
#[derive(Debug)]
pub(super) struct Backlog<T> {
    items: VecDeque<T>,
    most: usize,
    pause: Duration,
    retry: Option<Instant>,
}

impl<T> Backlog<T> {
    /// Room for `most` items.
    pub(super) fn new(most: usize) -> Self {
        Self { items: VecDeque::new(), most, pause: FIRST_PAUSE, retry: None }
    }

    /// Adds an item; false if the oldest had to go for it.
    pub(super) fn push(&mut self, item: T) -> bool {
        let full = self.items.len() >= self.most;
        if full {
            self.items.pop_front();
        }
        self.items.push_back(item);
        !full
    }

    /// Items waiting.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Hands all items to `write`, unless it failed a moment ago; they stay if it fails.
    pub(super) fn drain<E>(
        &mut self,
        now: Instant,
        write: impl FnOnce(&mut [T]) -> Result<(), E>,
    ) -> Option<Result<usize, E>> {
        if self.items.is_empty() || self.retry.is_some_and(|retry| now < retry) {
            return None;
        }
        Some(match write(self.items.make_contiguous()) {
            Ok(()) => {
                (self.pause, self.retry) = (FIRST_PAUSE, None);
                let written = self.items.len();
                self.items.clear();
                Ok(written)
            }
            Err(error) => {
                self.retry = Some(now + self.pause);
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                Err(error)
            }
        })
    }

    /// Drops the first `count` items, which a failed attempt wrote before it failed.
    pub(super) fn forget(&mut self, count: usize) {
        self.items.drain(..count.min(self.items.len()));
    }

    /// Forgets the pause after a failure.
    pub(super) fn retry_now(&mut self) {
        self.retry = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_tried_again_after_growing_pauses() {
        let (start, mut backlog) = (Instant::now(), Backlog::new(10));
        assert!(backlog.push(1));
        assert_eq!(backlog.drain(start, |_| Err("full")), Some(Err("full")));
        assert_eq!(backlog.drain(start + FIRST_PAUSE / 2, |_| Ok::<_, ()>(())), None);
        assert_eq!(backlog.drain(start + FIRST_PAUSE, |_| Err("full")), Some(Err("full")));
        assert_eq!(backlog.drain(start + FIRST_PAUSE * 2, |_| Ok::<_, ()>(())), None);
        backlog.push(2);
        let result = backlog.drain(start + FIRST_PAUSE * 3, |items| {
            assert_eq!(items, [1, 2]);
            Ok::<_, ()>(())
        });
        assert_eq!(result, Some(Ok(2)));
        assert_eq!(backlog.len(), 0);
    }

    #[test]
    fn the_oldest_goes_when_it_is_full_and_that_is_said() {
        let mut backlog = Backlog::new(2);
        assert!(backlog.push(1) && backlog.push(2));
        assert!(!backlog.push(3));
        backlog.retry_now();
        let _ = backlog.drain(Instant::now(), |items| {
            assert_eq!(items, [2, 3]);
            Ok::<_, ()>(())
        });
    }
}
