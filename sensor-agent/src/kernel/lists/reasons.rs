//! Reasons of entries: each text once, under a number that entries carry. A list of a million addresses has one reason.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::Result;
use sensor_common::block::{REASON_LEN, Reason};
use sensor_common::map;

use crate::kernel::pins::Pins;
use crate::kernel::table::Table;

/// The pinned reasons.
pub(super) struct Reasons {
    table: Table<u32, Reason>,
}

/// Numbers that are tried for one text before it is given up: others that hash alike stand in them.
const TRIES: u32 = 16;

impl Reasons {
    pub(super) fn open(pins: &Pins) -> Result<Self> {
        Ok(Self { table: Table::open(pins, map::REASONS)? })
    }

    /// The number of a text, stored if it is new; 0 if it is empty or there is no room.
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let reason = reason(text);
        let first = hash(&reason);
        for number in (0..TRIES).map(|step| first.wrapping_add(step).max(1)) {
            match self.table.get(number) {
                Ok(Some(present)) if present == reason => return number,
                Ok(Some(_)) => {}
                Ok(None) if self.table.insert(number, reason).is_ok() => return number,
                Ok(None) | Err(_) => return 0,
            }
        }
        0
    }

    /// The text of a number; empty if there is none.
    pub(super) fn text(&self, number: u32) -> String {
        if number == 0 {
            return String::new();
        }
        self.table.get(number).ok().flatten().map(|reason| text(&reason)).unwrap_or_default()
    }

    /// All texts by number.
    pub(super) fn all(&self) -> Result<BTreeMap<u32, String>> {
        Ok(self.table.entries()?.into_iter().map(|(number, reason)| (number, text(&reason))).collect())
    }

    /// Forgets texts.
    pub(super) fn forget(&mut self, numbers: impl Iterator<Item = u32>) -> Result<()> {
        let numbers: Vec<u32> = numbers.filter(|number| *number != 0).collect();
        self.table.remove_all(&numbers)
    }
}

fn reason(text: &str) -> Reason {
    let cut = text.floor_char_boundary(REASON_LEN);
    let mut bytes = [0; REASON_LEN];
    bytes[..cut].copy_from_slice(&text.as_bytes()[..cut]);
    Reason { len: cut as u32, text: bytes }
}

fn text(reason: &Reason) -> String {
    let len = (reason.len as usize).min(REASON_LEN);
    String::from_utf8_lossy(&reason.text[..len]).into_owned()
}

fn hash(reason: &Reason) -> u32 {
    // The same numbers in every process: this hasher has fixed keys.
    let mut hasher = DefaultHasher::new();
    reason.text.hash(&mut hasher);
    hasher.finish() as u32
}
