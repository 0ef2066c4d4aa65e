//! Values by connection: a hash table of slot numbers over a vector of slots. Slots are reused, and the table hashes
//! with keys that are random for the process, because clients choose addresses and ports.

use ahash::RandomState;
use hashbrown::HashTable;

use super::Key;
use super::lru::Lru;

/// Number of a slot in a [`Table`].
pub type Slot = u32;

/// Fewest slots that are made at a time.
const MIN_ROOM: usize = 64;

/// What is kept by connection knows which it is.
pub trait Keyed {
    /// The connection.
    fn key(&self) -> &Key;
}

/// At most `capacity` values by connection.
#[derive(Debug)]
pub struct Table<T> {
    slots: Vec<Option<T>>,
    free: Vec<Slot>,
    index: HashTable<Slot>,
    recent: Lru,
    hasher: RandomState,
    capacity: usize,
}

impl<T: Keyed> Table<T> {
    /// An empty table for `capacity` values, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            recent: Lru::default(),
            hasher: RandomState::new(),
            capacity: capacity.clamp(1, u32::MAX as usize - 1),
        }
    }

    /// Values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Whether one must go before another can come.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    /// The slot of a connection.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<Slot> {
        let hash = self.hasher.hash_one(key);
        self.index.find(hash, |&slot| self.key(slot) == Some(key)).copied()
    }

    /// The value in a slot.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The value in a slot.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Notes that the connection was just used.
    pub fn touch(&mut self, slot: Slot) {
        self.recent.touch(slot);
    }

    /// The slot that was unused for longest.
    #[must_use]
    pub fn oldest(&self) -> Option<Slot> {
        self.recent.oldest()
    }

    /// Adds a connection that is not in the table; the caller made room before ([`Table::is_full`]).
    pub fn insert(&mut self, value: T) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            // Slots are large: room that nobody uses must stay a small part.
            if self.slots.len() == self.slots.capacity() {
                self.slots.reserve_exact(MIN_ROOM + self.slots.len() / 8);
            }
            self.slots.push(None);
            (self.slots.len() - 1) as Slot
        });
        let hash = self.hasher.hash_one(value.key());
        self.slots[slot as usize] = Some(value);
        let (slots, hasher) = (&self.slots, &self.hasher);
        let rehash = |&slot: &Slot| match slots.get(slot as usize) {
            Some(Some(value)) => hasher.hash_one(value.key()),
            _ => 0,
        };
        self.index.insert_unique(hash, slot, rehash);
        self.recent.touch(slot);
        slot
    }

    /// Takes a connection out.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        let value = self.slots.get_mut(slot as usize)?.take()?;
        if let Ok(entry) = self.index.find_entry(self.hasher.hash_one(value.key()), |&known| known == slot) {
            entry.remove();
        }
        self.recent.remove(slot);
        self.free.push(slot);
        Some(value)
    }

    /// The connection in a slot.
    #[must_use]
    pub fn key(&self, slot: Slot) -> Option<&Key> {
        self.slots.get(slot as usize)?.as_ref().map(T::key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Keyed for (Key, char) {
        fn key(&self) -> &Key {
            &self.0
        }
    }

    fn key(port: u16) -> Key {
        Key { low: ([10, 0, 0, 1].into(), port), high: ([10, 0, 0, 2].into(), 80) }
    }

    #[test]
    fn slots_are_found_touched_and_reused() {
        let mut table = Table::new(2);
        let first = table.insert((key(1), 'a'));
        let second = table.insert((key(2), 'b'));
        assert!(table.is_full());
        assert_eq!(table.find(&key(2)), Some(second));
        table.touch(first);
        assert_eq!(table.oldest(), Some(second));
        assert_eq!(table.remove(second), Some((key(2), 'b')));
        assert_eq!((table.find(&key(2)), table.remove(second)), (None, None));
        assert_eq!(table.insert((key(3), 'c')), second);
        assert_eq!((table.get(second), table.len()), (Some(&(key(3), 'c')), 2));
    }

    /// Case R9: who chooses addresses and ports does not know where they fall.
    #[test]
    fn r9_every_table_hashes_with_a_key_of_its_own() {
        let (one, other) = (Table::<(Key, char)>::new(1), Table::<(Key, char)>::new(1));
        let hashes = |table: &Table<(Key, char)>| {
            (0..64).map(|port| table.hasher.hash_one(key(port))).collect::<Vec<_>>()
        };
        assert_eq!(hashes(&one), hashes(&one));
        assert_ne!(hashes(&one), hashes(&other));
    }

    #[test]
    fn equal_words_of_another_family_are_another_connection() {
        let v4 = Key { low: ([0, 0, 0, 1].into(), 1), high: ([0, 0, 0, 2].into(), 2) };
        let v6 =
            Key { low: ([0, 0, 0, 0, 0, 0, 0, 1].into(), 1), high: ([0, 0, 0, 0, 0, 0, 0, 2].into(), 2) };
        let mut table = Table::new(4);
        let (a, b) = (table.insert((v4, '4')), table.insert((v6, '6')));
        assert_ne!(a, b);
        assert_eq!((table.find(&v4), table.find(&v6)), (Some(a), Some(b)));
    }
}
