//! A doubly linked list over slot numbers, oldest first. Moving a slot to the end costs a few writes and no
//! allocation, which is what every segment pays.

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    older: u32,
    newer: u32,
    linked: bool,
}

/// Slots in the order in which they were last touched.
#[derive(Debug)]
pub struct Lru {
    links: Vec<Link>,
    oldest: u32,
    newest: u32,
}

impl Default for Lru {
    fn default() -> Self {
        Self { links: Vec::new(), oldest: NONE, newest: NONE }
    }
}

impl Lru {
    /// The slot that was not touched for longest.
    #[must_use]
    pub fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// Puts `slot` at the new end, wherever it was.
    pub fn touch(&mut self, slot: u32) {
        if self.newest == slot {
            return;
        }
        self.remove(slot);
        let wanted = slot as usize + 1;
        if self.links.len() < wanted {
            self.links.resize(wanted, Link { older: NONE, newer: NONE, linked: false });
        }
        self.links[slot as usize] = Link { older: self.newest, newer: NONE, linked: true };
        match self.links.get_mut(self.newest as usize) {
            Some(link) => link.newer = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
    }

    /// Takes `slot` out, if it is in.
    pub fn remove(&mut self, slot: u32) {
        let Some(link) = self.links.get_mut(slot as usize) else { return };
        if !std::mem::take(&mut link.linked) {
            return;
        }
        let Link { older, newer, .. } = *link;
        match self.links.get_mut(older as usize) {
            Some(link) => link.newer = newer,
            None => self.oldest = newer,
        }
        match self.links.get_mut(newer as usize) {
            Some(link) => link.older = older,
            None => self.newest = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_vector(steps in proptest::collection::vec((0u32..8, any::<bool>()), 0..200)) {
            let (mut lru, mut model) = (Lru::default(), Vec::new());
            for (slot, touch) in steps {
                model.retain(|&known| known != slot);
                if touch {
                    lru.touch(slot);
                    model.push(slot);
                } else {
                    lru.remove(slot);
                }
                prop_assert_eq!(lru.oldest(), model.first().copied());
            }
            for slot in model {
                prop_assert_eq!(lru.oldest(), Some(slot));
                lru.remove(slot);
            }
            prop_assert_eq!(lru.oldest(), None);
        }
    }
}
