//! What is known of sources beyond one transaction: how often they were blocked, and who else is behind their addresses.
//!
//! A client's connections are spread over all engines, so that all share one of these. It is asked where something is to be blocked, which is
//! rare, and nobody waits for it: each note is one atomic number. Of two that are written at one moment one may be lost, which costs a step.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::actor::{Behind, prefix};
use crate::facts::Key;
use crate::time::Timestamp;

/// For how long it is believed that others are behind an address.
const CROWDED_FOR: u32 = 3600;

/// Which of a source's blocks one is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offence {
    /// Blocks before it, from the first that is remembered.
    pub earlier: u16,
    /// Another source's blocks were forgotten to remember this one.
    pub evicted: bool,
}

/// The blocks of sources, and who is behind addresses; addresses of one IPv6 /64 are one source.
#[derive(Debug)]
pub struct Standing {
    key: Key,
    offences: Notes,
    crowds: Notes,
}

impl Default for Standing {
    /// For an engine by itself: a few hundred sources.
    fn default() -> Self {
        Self::new(Key::default(), 256)
    }
}

impl Standing {
    /// Room for so many sources, which no outsider can make collide who does not know the key: 16 bytes each.
    #[must_use]
    pub fn new(key: Key, sources: u64) -> Self {
        Self { key, offences: Notes::new(sources), crowds: Notes::new(sources) }
    }

    /// Notes that `source` is to be blocked at `now`, until `end` of what is returned. An attack before that end belongs to the same block;
    /// blocks that ended more than `memory` ago are forgotten.
    pub fn offend(
        &self,
        source: IpAddr,
        now: Timestamp,
        memory: Duration,
        lasts: impl FnOnce(u16) -> Duration,
    ) -> Offence {
        let (number, at) = (self.number(source), seconds(now));
        let memory = u32::try_from(memory.as_secs()).unwrap_or(u32::MAX);
        let known = self.offences.get(number).filter(|note| at.saturating_sub(note.at) <= memory);
        let earlier = match known {
            Some(note) if at < note.at => return Offence { earlier: note.value, evicted: false },
            Some(note) => note.value.saturating_add(1).min(MOST_VALUE),
            None => 0,
        };
        let end = at.saturating_add(u32::try_from(lasts(earlier).as_secs()).unwrap_or(u32::MAX));
        let gone = self.offences.put(number, Note { value: earlier, at: end });
        let evicted = gone.is_some_and(|gone| at.saturating_sub(gone.at) <= memory);
        Offence { earlier, evicted }
    }

    /// Who is behind `source`.
    #[must_use]
    pub fn behind(&self, source: IpAddr, now: Timestamp) -> Behind {
        let note = self.crowds.get(self.number(source));
        let fresh = note.filter(|note| seconds(now).saturating_sub(note.at) < CROWDED_FOR);
        fresh.map_or(Behind::default(), |note| Behind::unpack(note.value))
    }

    /// Notes who is behind `source`.
    pub fn note_behind(&self, source: IpAddr, now: Timestamp, behind: Behind) {
        self.crowds.put(self.number(source), Note { value: behind.pack(), at: seconds(now) });
    }

    fn number(&self, source: IpAddr) -> u64 {
        self.key.number(&prefix(source, 32, 64))
    }
}

fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_nanos() / 1_000_000_000).unwrap_or(u32::MAX)
}

/// Greatest value of a note.
const MOST_VALUE: u16 = 0xfff;
/// Places at which a number may stand.
const WAYS: usize = 4;

/// A value, and a time in seconds, by which old ones make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Note {
    value: u16,
    at: u32,
}

/// Notes by number: 20 bits that tell numbers of one set apart, 12 of value, 32 of time. Beside the set's own bits those 20 are wrong about
/// one stranger in a quarter of a million.
#[derive(Debug)]
struct Notes {
    slots: Box<[AtomicU64]>,
}

impl Notes {
    fn new(room: u64) -> Self {
        let room = usize::try_from(room).unwrap_or(usize::MAX).clamp(WAYS, 1 << 24);
        let sets = room.div_ceil(WAYS).next_power_of_two();
        Self { slots: (0..sets * WAYS).map(|_| AtomicU64::new(0)).collect() }
    }

    fn get(&self, number: u64) -> Option<Note> {
        self.set(number).iter().map(|slot| slot.load(Relaxed)).find(|&word| is_of(word, number)).map(note)
    }

    /// Writes a note; returns another number's that made room, if there was none left.
    fn put(&self, number: u64, new: Note) -> Option<Note> {
        let set = self.set(number);
        let word = |slot: &&AtomicU64| slot.load(Relaxed);
        let own = set.iter().find(|slot| is_of(word(slot), number));
        let slot = own.or_else(|| set.iter().min_by_key(|slot| (word(slot) != 0, word(slot) as u32)))?;
        let packed = tag(number) << 44 | u64::from(new.value.min(MOST_VALUE)) << 32 | u64::from(new.at);
        let before = slot.swap(packed, Relaxed);
        (before != 0 && !is_of(before, number)).then(|| note(before))
    }

    fn set(&self, number: u64) -> &[AtomicU64] {
        let sets = self.slots.len() / WAYS;
        let first = number as usize % sets.max(1) * WAYS;
        self.slots.get(first..first + WAYS).unwrap_or_default()
    }
}

/// The bits that stand in a slot; never 0, which is an empty one.
fn tag(number: u64) -> u64 {
    (number >> 44).max(1)
}

fn is_of(word: u64, number: u64) -> bool {
    word >> 44 == tag(number)
}

fn note(word: u64) -> Note {
    Note { value: (word >> 32) as u16 & MOST_VALUE, at: word as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_nanos(secs * 1_000_000_000)
    }

    fn source(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn offend(standing: &Standing, whom: &str, secs: u64) -> u16 {
        standing
            .offend(source(whom), at(secs), 10 * MINUTE, |earlier| MINUTE * (u32::from(earlier) + 1))
            .earlier
    }

    #[test]
    fn an_attack_after_a_block_is_the_next_step_and_one_during_it_is_none() {
        let standing = Standing::default();
        let steps = [0, 1, 59, 60, 179, 180, 360].map(|secs| offend(&standing, "203.0.113.9", secs));
        assert_eq!(steps, [0, 0, 0, 1, 1, 2, 3]);
        assert_eq!(offend(&standing, "203.0.113.8", 363), 0, "another source");
        assert_eq!(offend(&standing, "203.0.113.9", 360 + 240 + 601), 0, "forgotten");
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let standing = Standing::default();
        assert_eq!(offend(&standing, "2001:db8:0:1::1", 0), 0);
        assert_eq!(offend(&standing, "2001:db8:0:1:9::2", 100), 1);
        assert_eq!(offend(&standing, "2001:db8:0:2::1", 100), 0);
        assert_eq!(offend(&standing, "192.0.2.1", 0), 0);
        assert_eq!(offend(&standing, "::ffff:192.0.2.1", 100), 1);
    }

    #[test]
    fn who_is_behind_an_address_is_believed_for_an_hour() {
        let (standing, office) = (Standing::default(), source("203.0.113.9"));
        assert_eq!(standing.behind(office, at(5)), Behind::default());
        let many = Behind { sessions: 63, programs: 7 };
        standing.note_behind(office, at(5), many);
        assert_eq!(standing.behind(office, at(3604)), many);
        assert_eq!(standing.behind(office, at(3605)), Behind::default());
        standing.note_behind(office, at(9), Behind { sessions: 200, programs: 255 });
        assert_eq!(standing.behind(office, at(9)), Behind { sessions: 63, programs: 63 });
    }

    /// Where there is no room, the block that ended first is forgotten, and that is told.
    #[test]
    fn it_is_bounded_and_says_what_it_forgets() {
        let standing = Standing::new(Key::default(), 64);
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        let evicted = (0..1000)
            .filter(|&n| standing.offend(address(n), at(u64::from(n)), 60 * MINUTE, |_| MINUTE).evicted)
            .count();
        assert_eq!(evicted, 1000 - 64, "every set is full");
        let known =
            (0..1000).filter(|&n| standing.offences.get(standing.number(address(n))).is_some()).count();
        assert!((40..=64).contains(&known), "{known}");
        assert!(!standing.offend(address(1), at(1_000_000), MINUTE, |_| MINUTE).evicted, "all are over");
    }
}
