//! What is remembered of one client. Ordinary clients take little: what only suspects need is made when they become suspects.

use super::access::{Browsing, Refusals, Walks};
use super::behind::People;
use super::claim::Example;
use super::login::Logins;
use super::table::Weigh;
use crate::facts::Facts;
use crate::facts::window::{Sightings, Window};

/// Requests kept to be shown.
const EXAMPLES: usize = 3;
/// Kinds of findings of one client whose telling is remembered.
const MAX_TOLD: usize = 16;
/// What a finding must gain to be told again.
const SURER: f32 = 0.07;

/// One client.
#[derive(Debug, Default)]
pub(super) struct Actor {
    /// Requests.
    pub(super) requests: Window,
    /// Objects asked for.
    pub(super) walks: Walks,
    /// Who is behind its address.
    pub(super) behind: People,
    /// Whether it has got in with a login.
    entered: bool,
    suspect: Option<Box<Suspect>>,
}

/// What is remembered of a client that did something unusual.
#[derive(Debug, Default)]
pub(super) struct Suspect {
    pub(super) logins: Logins,
    pub(super) browsing: Browsing,
    pub(super) refusals: Refusals,
    /// Rules found in requests.
    pub(super) rules: Sightings,
    /// Routes in whose requests they were found.
    pub(super) attacked: Sightings,
    pub(super) classes: u8,
    told: Vec<(u32, u32, f32)>,
    examples: [Option<Example>; EXAMPLES],
}

impl Actor {
    /// The client as a suspect.
    pub(super) fn suspect(&mut self) -> &mut Suspect {
        self.suspect.get_or_insert_default()
    }

    /// Notes a login that worked, or did not; returns whether one had worked before.
    pub(super) fn enter(&mut self, worked: bool) -> bool {
        let before = self.entered;
        self.entered |= worked;
        before
    }

    /// The client, if it is a suspect.
    pub(super) fn as_suspect(&mut self) -> Option<&mut Suspect> {
        self.suspect.as_deref_mut()
    }
}

impl Weigh for Actor {
    fn heap(&self) -> usize {
        let suspect = self.suspect.as_ref().map_or(0, |suspect| size_of::<Suspect>() + suspect.heap());
        self.walks.heap() + self.behind.heap() + suspect
    }
}

impl Suspect {
    fn heap(&self) -> usize {
        let sightings = self.rules.heap() + self.attacked.heap();
        let told = self.told.capacity() * size_of::<(u32, u32, f32)>();
        self.logins.heap() + self.browsing.heap() + sightings + told
    }

    /// Notes a request that counted.
    pub(super) fn show(&mut self, facts: &Facts) {
        self.examples.rotate_left(1);
        self.examples[EXAMPLES - 1] = Some(Example::of(facts));
    }

    /// The requests that counted, and the one in hand.
    pub(super) fn examples(&self, facts: &Facts) -> Vec<String> {
        let current = Example::of(facts);
        let earlier = self.examples.iter().flatten().filter(|example| **example != current);
        earlier.map(Example::shown).chain([current.shown()]).collect()
    }

    /// Whether a finding of this number is to be told: it is new, was told long ago, or is surer now.
    pub(super) fn tell(&mut self, number: u32, confidence: f32, now: u32, quiet: u64) -> bool {
        self.told.retain(|(_, at, _)| u64::from(now.saturating_sub(*at)) < quiet);
        match self.told.iter_mut().find(|(known, ..)| *known == number) {
            Some((_, at, told)) if confidence >= *told + SURER => (*at, *told) = (now, confidence),
            Some(_) => return false,
            None => {
                if self.told.len() >= MAX_TOLD {
                    self.told.remove(0);
                }
                self.told.push((number, now, confidence));
            }
        }
        true
    }

    /// Whether a finding of this number was told a short time ago.
    pub(super) fn was_told(&self, number: u32) -> bool {
        self.told.iter().any(|(known, ..)| *known == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_told_once_until_it_is_surer_or_old() {
        let mut suspect = Suspect::default();
        let tell = |suspect: &mut Suspect, confidence, now| suspect.tell(7, confidence, now, 300);
        assert!(tell(&mut suspect, 0.6, 0));
        assert!(!tell(&mut suspect, 0.65, 10));
        assert!(tell(&mut suspect, 0.75, 20));
        assert!(!tell(&mut suspect, 0.6, 30));
        assert!(tell(&mut suspect, 0.6, 320));
        assert!(suspect.was_told(7) && !suspect.was_told(8));
    }
}
