//! A bounded memory by number: what was unused for longest makes room. The numbers are made with a random key already, so that they
//! are their own hash.

use hashbrown::HashTable;

use crate::flow::lru::Lru;

/// What has memory beside itself.
pub(crate) trait Weigh {
    /// Bytes beside the value.
    fn heap(&self) -> usize {
        0
    }
}

#[derive(Debug)]
struct Slot<V> {
    key: u64,
    value: V,
}

/// At most `capacity` values by number.
#[derive(Debug)]
pub(crate) struct Recent<V> {
    index: HashTable<u32>,
    slots: Vec<Slot<V>>,
    free: Vec<u32>,
    order: Lru,
    capacity: usize,
    heap: usize,
    /// Values that made room for others.
    pub(crate) evicted: u64,
}

impl<V: Default + Weigh> Recent<V> {
    /// An empty memory for `capacity` values, at least one.
    pub(crate) fn new(capacity: u64) -> Self {
        let (index, slots, free, order) = (HashTable::new(), Vec::new(), Vec::new(), Lru::default());
        Self { index, slots, free, order, capacity: places(capacity), heap: 0, evicted: 0 }
    }

    /// Values there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Bytes of memory, near enough.
    pub(crate) fn bytes(&self) -> usize {
        // A link of the order and a place in the index come with each slot. Slots that are free wait for the next values.
        self.len() * (size_of::<Slot<V>>() + 12 + 5) + self.heap
    }

    /// The value of `key`, if there is one; looking does not count as using.
    pub(crate) fn get(&self, key: u64) -> Option<&V> {
        let slot = *self.index.find(key, |&slot| self.key(slot) == key)?;
        self.slots.get(slot as usize).map(|slot| &slot.value)
    }

    /// Uses the value of `key`, a new one if there is none.
    pub(crate) fn with<T>(&mut self, key: u64, work: impl FnOnce(&mut V) -> T) -> T {
        let at = match self.index.find(key, |&slot| self.key(slot) == key) {
            Some(&slot) => slot,
            None => self.insert(key),
        };
        self.order.touch(at);
        let value = &mut self.slots[at as usize].value;
        let before = value.heap();
        let result = work(value);
        self.heap = self.heap + value.heap() - before;
        result
    }

    /// Forgets what was unused for longest; false if there is nothing.
    pub(crate) fn forget_oldest(&mut self) -> bool {
        let Some(slot) = self.order.oldest() else { return false };
        self.remove(slot);
        self.free.push(slot);
        self.evicted += 1;
        true
    }

    /// Room for another number of values. Where it becomes less, each new value makes two go, so that nobody waits for many at once.
    pub(crate) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = places(capacity);
    }

    fn insert(&mut self, key: u64) -> u32 {
        for _ in 0..2 {
            if self.len() >= self.capacity {
                self.forget_oldest();
            }
        }
        let new = Slot { key, value: V::default() };
        self.heap += new.value.heap();
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = new;
                at
            }
            None => {
                self.slots.push(new);
                (self.slots.len() - 1) as u32
            }
        };
        let slots = &self.slots;
        self.index.insert_unique(key, at, |&slot| slots[slot as usize].key);
        at
    }

    fn remove(&mut self, slot: u32) {
        let key = self.key(slot);
        if let Ok(entry) = self.index.find_entry(key, |&known| known == slot) {
            entry.remove();
        }
        self.order.remove(slot);
        self.heap -= self.slots[slot as usize].value.heap();
        self.slots[slot as usize].value = V::default();
        self.heap += self.slots[slot as usize].value.heap();
    }

    fn key(&self, slot: u32) -> u64 {
        self.slots.get(slot as usize).map_or(0, |slot| slot.key)
    }
}

fn places(capacity: u64) -> usize {
    usize::try_from(capacity).unwrap_or(usize::MAX).clamp(1, u32::MAX as usize - 1)
}

/// A memory of any kind, for who shares out room.
pub(crate) trait Bounded {
    /// Bytes held.
    fn held(&self) -> usize;
    /// Forgets what was unused for longest; false if there is nothing.
    fn make_room(&mut self) -> bool;
}

impl<V: Default + Weigh> Bounded for Recent<V> {
    fn held(&self) -> usize {
        self.bytes()
    }

    fn make_room(&mut self) -> bool {
        self.forget_oldest()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Weigh for Vec<u8> {
        fn heap(&self) -> usize {
            self.capacity()
        }
    }

    #[test]
    fn the_one_unused_for_longest_makes_room() {
        let mut recent: Recent<Vec<u8>> = Recent::new(2);
        for key in [1, 2, 1, 3] {
            recent.with(key, |value| value.push(key as u8));
        }
        assert_eq!((recent.get(1), recent.get(2), recent.get(3)), (Some(&vec![1, 1]), None, Some(&vec![3])));
        assert_eq!((recent.len(), recent.evicted), (2, 1));
        assert!(recent.forget_oldest() && recent.forget_oldest() && !recent.forget_oldest());
        assert_eq!((recent.len(), recent.heap), (0, 0));
    }

    #[test]
    fn less_room_is_reached_step_by_step_and_more_at_once() {
        let mut recent: Recent<Vec<u8>> = Recent::new(10);
        let fill = |recent: &mut Recent<Vec<u8>>, keys: std::ops::Range<u64>| {
            keys.for_each(|key| recent.with(key, |_| ()));
            recent.len()
        };
        assert_eq!(fill(&mut recent, 0..10), 10);
        recent.set_capacity(4);
        assert_eq!(
            [fill(&mut recent, 10..11), fill(&mut recent, 11..12), fill(&mut recent, 12..20)],
            [9, 8, 4]
        );
        assert!(recent.get(19).is_some() && recent.get(15).is_none());
        recent.set_capacity(6);
        assert_eq!(fill(&mut recent, 20..30), 6);
    }

    proptest! {
        #[test]
        fn its_memory_is_the_sum_of_its_values(keys in proptest::collection::vec((0u64..20, 0usize..50), 0..300)) {
            let mut recent: Recent<Vec<u8>> = Recent::new(8);
            for (key, size) in keys {
                recent.with(key, |value| value.resize(size, 0));
                let sum: usize = (0..20).filter_map(|key| recent.get(key)).map(Vec::capacity).sum();
                prop_assert_eq!(recent.heap, sum);
                prop_assert!(recent.len() <= 8 && recent.slots.len() <= 8);
            }
        }
    }
}
