//! Which successful responses are searched for what they expose. A leak belongs to a page, and not to one request of it: so a page
//! is searched when it is first seen, and then one time in [`EVERY`]. What failed, or answers a request that was found
//! suspicious, is always searched: that is where errors come out.

use ahash::RandomState;

/// Pages that are told apart; two that share a slot share its turns.
const SLOTS: usize = 4096;
/// Responses of a page that are all searched.
const FIRST: u8 = 4;
/// Of later ones, one in so many is.
const EVERY: u8 = 32;

/// How often each page came.
#[derive(Debug)]
pub(super) struct Pages {
    hasher: RandomState,
    seen: Vec<u8>,
}

impl Default for Pages {
    fn default() -> Self {
        Self { hasher: RandomState::new(), seen: vec![0; SLOTS] }
    }
}

impl Pages {
    /// Whether it is the page's turn; `path` without its query.
    pub(super) fn is_due(&mut self, path: &[u8], status: u16) -> bool {
        let slot = self.hasher.hash_one((path, status)) as usize % SLOTS;
        let Some(seen) = self.seen.get_mut(slot) else { return true };
        *seen += 1;
        if *seen > FIRST + EVERY {
            *seen = FIRST + 1;
        }
        *seen <= FIRST || *seen == FIRST + EVERY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_searched_at_first_and_now_and_then() {
        let mut pages = Pages::default();
        let due: Vec<usize> = (1..=100).filter(|_| pages.is_due(b"/a", 200)).collect();
        assert_eq!(due, [1, 2, 3, 4, 36, 68, 100]);
        assert!(pages.is_due(b"/a", 404), "another one");
    }
}
