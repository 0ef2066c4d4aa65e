//! Values in which nothing was found, so that the same value needs no second look: user agents, cookies, names.

use ahash::RandomState;

use crate::field::{Field, Place};

/// Values remembered at once.
const SLOTS: usize = 512;
/// Slots in which one value may stand, the oldest of which makes room: with a single one, two values of every request that share it by
/// chance would both be looked at every time.
const WAYS: usize = 4;
/// Most bytes of a name and value that are remembered.
const MAX_BYTES: usize = 512;

/// The values, found by a hash under a key of the detector's own and compared byte for byte.
#[derive(Debug)]
pub(super) struct Clean {
    hasher: RandomState,
    /// `WAYS` for each set.
    slots: Vec<Slot>,
    /// The slot of each set that makes room next.
    next: Vec<u8>,
}

/// `name_len <= text.len()`
#[derive(Clone, Debug, Default)]
struct Slot {
    place: Option<Place>,
    /// Bits of the hash that do not choose the set.
    tag: u32,
    /// The name and, behind it, the value.
    text: Vec<u8>,
    name_len: usize,
}

impl Slot {
    fn holds(&self, field: &Field<'_>, tag: u32) -> bool {
        self.tag == tag
            && self.place == Some(field.place)
            && self.text.len() == field.name.len() + field.value.len()
            && self.name_len == field.name.len()
            && self.text.starts_with(field.name)
            && self.text.ends_with(field.value)
    }
}

impl Default for Clean {
    fn default() -> Self {
        let (slots, next) = (vec![Slot::default(); SLOTS], vec![0; SLOTS / WAYS]);
        Self { hasher: RandomState::new(), slots, next }
    }
}

impl Clean {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.slots.fill(Slot::default());
    }

    /// Whether this very field was found to be clean.
    pub(super) fn knows(&self, field: &Field<'_>) -> bool {
        let Some((set, tag)) = self.index(field) else { return false };
        let slots = self.slots.get(set * WAYS..(set + 1) * WAYS).unwrap_or_default();
        slots.iter().any(|slot| slot.holds(field, tag))
    }

    /// Remembers that nothing is in the field.
    pub(super) fn learn(&mut self, field: &Field<'_>) {
        if self.knows(field) {
            return;
        }
        let Some((set, tag)) = self.index(field) else { return };
        let Some(next) = self.next.get_mut(set) else { return };
        let Some(slot) = self.slots.get_mut(set * WAYS + usize::from(*next)) else { return };
        *next = (*next + 1) % WAYS as u8;
        (slot.place, slot.tag, slot.name_len) = (Some(field.place), tag, field.name.len());
        slot.text.clear();
        slot.text.extend_from_slice(field.name);
        slot.text.extend_from_slice(field.value);
    }

    /// The set of a field, and its tag there.
    fn index(&self, field: &Field<'_>) -> Option<(usize, u32)> {
        let short = field.name.len() + field.value.len() <= MAX_BYTES;
        let hash = short.then(|| self.hasher.hash_one((field.place, field.name, field.value)))?;
        Some((hash as usize % (SLOTS / WAYS), (hash >> 32) as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field<'a>(place: Place, name: &'a str, value: &'a str) -> Field<'a> {
        Field { place, name: name.as_bytes(), value: value.as_bytes(), offset: 0 }
    }

    #[test]
    fn the_very_field_is_known_and_no_other() {
        let mut clean = Clean::default();
        let learnt = field(Place::Header, "user-agent", "x/1");
        clean.learn(&learnt);
        clean.learn(&learnt);
        assert!(clean.knows(&learnt) && clean.slots.iter().filter(|slot| slot.place.is_some()).count() == 1);
        for other in [
            field(Place::Cookie, "user-agent", "x/1"),
            field(Place::Header, "user-agen", "tx/1"),
            field(Place::Header, "user-agent", "x/2"),
        ] {
            assert!(!clean.knows(&other), "{other}");
        }
        clean.clear();
        assert!(!clean.knows(&learnt));
    }

    /// Values of every request are few, and stay known whichever set they are in.
    #[test]
    fn values_that_come_again_and_again_stay_known() {
        for _ in 0..20 {
            let mut clean = Clean::default();
            let values: Vec<String> = (0..12).map(|number| format!("value-{number}")).collect();
            let mut unknown = |values: &[String]| {
                let unknown = |value: &&String| {
                    let field = field(Place::Header, "accept", value);
                    let known = clean.knows(&field);
                    if !known {
                        clean.learn(&field);
                    }
                    !known
                };
                values.iter().filter(unknown).count()
            };
            assert_eq!([unknown(&values), unknown(&values)], [12, 0]);
        }
    }

    #[test]
    fn long_values_are_never_learnt() {
        let (mut clean, long) = (Clean::default(), "a".repeat(MAX_BYTES));
        let field = field(Place::Query, "q", &long);
        clean.learn(&field);
        assert!(!clean.knows(&field));
    }
}
