//! Fields that rules name: their values are looked at even if they are plain words, as `admin` is under `role`.

use crate::field::Field;

use super::fields::FieldPattern;

/// Names from this length on are told apart by their first letter only.
const LENGTHS: usize = 32;

/// Fields with names of their own, found by the name's length and first letter before the names are compared.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// By the first letter of the names.
    patterns: [Vec<FieldPattern>; LETTERS],
    /// Per length a bit for each first letter.
    letters: [u32; LENGTHS],
}

impl Named {
    /// Adds the patterns that name fields.
    pub(super) fn add(&mut self, patterns: &[FieldPattern]) {
        for pattern in patterns {
            let Some((letter, lengths)) = pattern.shape() else { continue };
            let (from, to) = ((*lengths.start()).min(LENGTHS - 1), (*lengths.end()).min(LENGTHS - 1));
            for bits in self.letters.iter_mut().take(to + 1).skip(from) {
                *bits |= bit(letter);
            }
            self.patterns[slot(letter)].push(pattern.clone());
        }
    }

    /// Whether a rule names the field.
    pub(super) fn has(&self, field: &Field<'_>) -> bool {
        let Some(&letter) = field.name.first() else { return false };
        let bits = self.letters.get(field.name.len().min(LENGTHS - 1)).copied().unwrap_or(0);
        bits & bit(letter) != 0 && self.patterns[slot(letter)].iter().any(|one| one.matches(field))
    }
}

/// Words that rules look at although they are plain, by how they begin.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// By their first letter.
    starts: [Vec<Vec<u8>>; LETTERS],
    /// A bit for each second letter, by the first.
    seconds: [u32; LETTERS],
}

impl Words {
    /// Adds beginnings of words, in lower case.
    pub(super) fn add(&mut self, starts: &[Vec<u8>]) {
        for start in starts {
            let Some(&letter) = start.first() else { continue };
            self.seconds[slot(letter)] |= start.get(1).map_or(u32::MAX, |&second| bit(second));
            self.starts[slot(letter)].push(start.clone());
        }
    }

    /// Whether the value begins with one of them.
    pub(super) fn has(&self, value: &[u8]) -> bool {
        let &[letter, ref rest @ ..] = value else { return false };
        let second = rest.first().map_or(u32::MAX, |&second| bit(second));
        let begins =
            |start: &Vec<u8>| value.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
        self.seconds[slot(letter)] & second != 0 && self.starts[slot(letter)].iter().any(begins)
    }
}

/// What letters are told apart by, whatever their case.
const LETTERS: usize = 32;

const fn slot(letter: u8) -> usize {
    letter as usize % LETTERS
}

const fn bit(letter: u8) -> u32 {
    1 << slot(letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Place;

    #[test]
    fn words_are_found_by_their_beginnings() {
        let mut words = Words::default();
        words.add(&[b"xp_".to_vec(), b"openrowset".to_vec()]);
        assert!(
            words.has(b"XP_cmdshell") && words.has(b"openrowset") && !words.has(b"open") && !words.has(b"")
        );
    }

    #[test]
    fn named_fields_are_found() {
        let mut named = Named::default();
        let patterns = ["query.role", "body.json.roles.*", "args", "header.x-*"].map(FieldPattern::parse);
        named.add(&patterns.map(Option::unwrap));
        let has =
            |place, name: &str| named.has(&Field { place, name: name.as_bytes(), value: b"", offset: 0 });
        assert!(has(Place::Query, "Role") && has(Place::Json, "roles.0") && has(Place::Header, "x-a"));
        assert!(!has(Place::Query, "rule") && !has(Place::Form, "role") && !has(Place::Query, ""));
        let long = "x-".to_owned() + &"y".repeat(100);
        assert!(has(Place::Header, &long));
    }
}
