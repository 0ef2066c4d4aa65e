//! Who is behind an address: how many sessions and programs were served there lately. One of each is what an ordinary client has and takes
//! a few bytes; only where there are more are they told apart.

use crate::facts::window::{Sightings, fold};

/// Other people behind an address, as far as their requests were served lately. An estimate: programs can lie about themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Sessions that the server began.
    pub sessions: u8,
    /// Programs, by what they call themselves.
    pub programs: u8,
}

impl Behind {
    /// Most that is counted of each.
    pub const MOST: u8 = 63;

    /// Both numbers as one of twelve bits.
    pub(crate) fn pack(self) -> u16 {
        u16::from(self.sessions.min(Self::MOST)) << 6 | u16::from(self.programs.min(Self::MOST))
    }

    /// What was packed.
    pub(crate) fn unpack(value: u16) -> Self {
        let six = |value: u16| (value & 0x3f) as u8;
        Self { sessions: six(value >> 6), programs: six(value) }
    }
}

/// For how long one counts that is not seen again, in seconds.
const SEEN_FOR: u32 = 3600;
/// What is known is told again after this time, in seconds.
const TELL_EVERY: u32 = 600;

/// What a request that was served shows of who sent it; 0 for what it does not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) session: u64,
    pub(super) program: u64,
}

/// The people behind an address.
#[derive(Debug, Default)]
pub(super) struct People {
    /// The only session and the only program.
    only: (u32, u32),
    more: Option<Box<Many>>,
}

#[derive(Debug, Default)]
struct Many {
    sessions: Sightings,
    programs: Sightings,
    told: Behind,
    told_at: u32,
}

impl People {
    pub(super) fn heap(&self) -> usize {
        self.more.as_ref().map_or(0, |many| size_of::<Many>() + many.sessions.heap() + many.programs.heap())
    }

    /// Notes one; returns how many there are, if there are several and that has changed or is to be told again.
    pub(super) fn note(&mut self, seen: Seen, now: u32) -> Option<Behind> {
        let before = self.only;
        let known = |only: &mut u32, seen: u64| {
            let other = *only != 0 && seen != 0 && *only != fold(seen);
            *only = if *only == 0 { fold(seen) } else { *only };
            other
        };
        let several = known(&mut self.only.0, seen.session) | known(&mut self.only.1, seen.program);
        if several && self.more.is_none() {
            let mut many = Box::<Many>::default();
            many.add(Seen { session: before.0.into(), program: before.1.into() }, now);
            self.more = Some(many);
        }
        let many = self.more.as_deref_mut()?;
        many.add(seen, now);
        many.tell(now)
    }
}

impl Many {
    fn add(&mut self, seen: Seen, now: u32) {
        for (sightings, what) in [(&mut self.sessions, seen.session), (&mut self.programs, seen.program)] {
            if what != 0 {
                sightings.note(what, now, SEEN_FOR, Behind::MOST.into());
            }
        }
    }

    fn tell(&mut self, now: u32) -> Option<Behind> {
        let count =
            |sightings: &mut Sightings| u8::try_from(sightings.count(now, SEEN_FOR)).unwrap_or(Behind::MOST);
        let behind = Behind { sessions: count(&mut self.sessions), programs: count(&mut self.programs) };
        if behind == self.told && now.saturating_sub(self.told_at) < TELL_EVERY {
            return None;
        }
        (self.told, self.told_at) = (behind, now);
        Some(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of these: second, session, program.
    fn told(seen: &[(u32, u64, u64)]) -> Vec<Option<(u8, u8)>> {
        let mut people = People::default();
        let mut note = |&(now, session, program): &(u32, u64, u64)| {
            let behind = people.note(Seen { session, program }, now);
            behind.map(|behind| (behind.sessions, behind.programs))
        };
        seen.iter().map(&mut note).collect()
    }

    #[test]
    fn one_person_takes_no_memory_and_is_not_told() {
        let mut people = People::default();
        for now in 0..100 {
            assert_eq!(people.note(Seen { session: u64::from(now > 50) * 7, program: 9 }, now), None);
        }
        assert_eq!(people.heap(), 0);
    }

    #[test]
    fn several_are_told_when_they_change_and_now_and_then() {
        let seen = [(0, 1, 9), (1, 2, 9), (2, 2, 9), (3, 3, 8), (700, 3, 8), (701, 3, 8), (4300, 3, 8)];
        let expected = [None, Some((2, 1)), None, Some((3, 2)), Some((3, 2)), None, Some((1, 1))];
        assert_eq!(told(&seen), expected);
    }

    #[test]
    fn they_are_bounded() {
        let many: Vec<_> = (1..1000).map(|n| (n as u32, n, 2 * n)).collect();
        assert_eq!(told(&many).last(), Some(&None));
        assert_eq!(told(&many).into_iter().flatten().last(), Some((Behind::MOST, Behind::MOST)));
    }
}
