//! Values in which nothing was found, so that the same value needs no second look: user agents, cookies, names.

use ahash::RandomState;

use crate::field::{Field, Place};

/// Values remembered at once; a new one takes the place of an older one.
const SLOTS: usize = 512;
/// Most bytes of a name and value that are remembered.
const MAX_BYTES: usize = 512;

/// The values, found by a hash under a key of the detector's own and compared byte for byte.
#[derive(Debug)]
pub(super) struct Clean {
    hasher: RandomState,
    slots: Vec<Slot>,
}

/// `name_len <= text.len()`
#[derive(Clone, Debug, Default)]
struct Slot {
    place: Option<Place>,
    /// The name and, behind it, the value.
    text: Vec<u8>,
    name_len: usize,
}

impl Default for Clean {
    fn default() -> Self {
        Self { hasher: RandomState::new(), slots: vec![Slot::default(); SLOTS] }
    }
}

impl Clean {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.slots.fill(Slot::default());
    }

    /// Whether this very field was found to be clean.
    pub(super) fn knows(&self, field: &Field<'_>) -> bool {
        let Some(slot) = self.index(field).and_then(|index| self.slots.get(index)) else { return false };
        slot.place == Some(field.place)
            && slot.text.len() == field.name.len() + field.value.len()
            && slot.name_len == field.name.len()
            && slot.text.starts_with(field.name)
            && slot.text.ends_with(field.value)
    }

    /// Remembers that nothing is in the field.
    pub(super) fn learn(&mut self, field: &Field<'_>) {
        let Some(slot) = self.index(field).and_then(|index| self.slots.get_mut(index)) else { return };
        slot.place = Some(field.place);
        slot.name_len = field.name.len();
        slot.text.clear();
        slot.text.extend_from_slice(field.name);
        slot.text.extend_from_slice(field.value);
    }

    fn index(&self, field: &Field<'_>) -> Option<usize> {
        let short = field.name.len() + field.value.len() <= MAX_BYTES;
        short.then(|| self.hasher.hash_one((field.place, field.name, field.value)) as usize % SLOTS)
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
        assert!(clean.knows(&learnt));
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

    #[test]
    fn long_values_are_never_learnt() {
        let (mut clean, long) = (Clean::default(), "a".repeat(MAX_BYTES));
        let field = field(Place::Query, "q", &long);
        clean.learn(&field);
        assert!(!clean.knows(&field));
    }
}
