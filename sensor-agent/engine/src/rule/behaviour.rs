//! Rules about many transactions: how often something happens for one client, user or session within a time, how many different things it
//! happens with, and what follows what.
//!
//! A rule is a list of steps. Each waits until transactions that fit its condition have come as often as it says; then the next
//! step waits. A rule of one step counts, one of several is a sequence.

use std::ops::RangeInclusive;
use std::sync::Arc;

use regex_automata::meta;

use super::RuleSet;
use super::compile::RuleDialogs;
use super::error::RuleError;
use crate::facts::window::{Sightings, Window};
use crate::facts::{Facts, Login, Method, flag};
use crate::finding::{Class, Confidence, RuleInfo, Severity};

/// What of a transaction tells one from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trait {
    Client,
    Session,
    Credential,
    User,
    Password,
    Host,
    Route,
    Path,
    Object,
    Agent,
    Method,
    Status,
}

impl Trait {
    /// All of them by name.
    pub(crate) const NAMED: &[(&str, Self)] = &[
        ("client", Self::Client),
        ("session", Self::Session),
        ("credential", Self::Credential),
        ("user", Self::User),
        ("password", Self::Password),
        ("host", Self::Host),
        ("route", Self::Route),
        ("path", Self::Path),
        ("object", Self::Object),
        ("agent", Self::Agent),
        ("method", Self::Method),
        ("status", Self::Status),
    ];

    /// Its value; `None` where the transaction has none.
    fn of(self, seen: &Seen<'_>) -> Option<u64> {
        let request = &seen.facts.request;
        let value = match self {
            Self::Client => seen.client,
            Self::Session => request.session,
            Self::Credential => seen.facts.credential(),
            Self::User => request.user,
            Self::Password => request.password,
            Self::Host => request.host,
            Self::Route => request.route,
            Self::Path => request.path,
            Self::Object => request.object,
            Self::Agent => request.agent,
            Self::Method => request.method as u64 + 1,
            Self::Status => u64::from(seen.facts.response.status),
        };
        (value != 0).then_some(value)
    }

    fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

/// A transaction as rules about behaviour see it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What is known of it.
    pub facts: &'a Facts,
    /// The client's number.
    pub client: u64,
    /// Seconds on the data's clock.
    pub now: u32,
}

/// One compiled rule about behaviour.
#[derive(Debug)]
pub struct Behaviour {
    pub(super) info: Arc<RuleInfo>,
    pub(super) class: Class,
    pub(super) severity: Severity,
    pub(super) confidence: Confidence,
    /// Whose transactions are counted together.
    pub(super) keys: Vec<Trait>,
    pub(super) window_secs: u32,
    pub(super) steps: Vec<Step>,
}

/// What must have come before the next step waits.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) path: Option<meta::Regex>,
    pub(super) host: Option<meta::Regex>,
    pub(super) condition: Condition,
}

/// What a transaction must be, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    /// One of these; any if there are none.
    pub(crate) methods: Vec<Method>,
    pub(crate) statuses: Vec<RangeInclusive<u16>>,
    /// Whether a login failed (false) or worked (true).
    pub(crate) login: Option<bool>,
    /// Bits of [`crate::facts::flag`] that are set, and that are not.
    pub(crate) is: u32,
    pub(crate) is_not: u32,
    /// Bytes of the response's body.
    pub(crate) bytes: RangeInclusive<u64>,
    pub(crate) count: u32,
    /// What must differ among those counted.
    pub(crate) distinct: Option<Trait>,
}

impl Step {
    fn fits(&self, facts: &Facts) -> bool {
        let (request, response, condition) = (&facts.request, &facts.response, &self.condition);
        let login = || match condition.login {
            None => true,
            Some(true) => response.login == Login::Succeeded,
            Some(false) => matches!(response.login, Login::Failed(_)),
        };
        // A request that does not get on concerns only who asks for such.
        request.has(condition.is)
            && request.has(flag::SLOW) == (condition.is & flag::SLOW != 0)
            && request.flags & condition.is_not == 0
            && (condition.methods.is_empty() || condition.methods.contains(&request.method))
            && (condition.statuses.is_empty()
                || condition.statuses.iter().any(|range| range.contains(&response.status)))
            && login()
            && condition.bytes.contains(&response.bytes)
            && self.path.as_ref().is_none_or(|path| path.is_match(request.path_text.bytes()))
            && self.host.as_ref().is_none_or(|host| host.is_match(request.host_text.bytes()))
    }

    /// Counts a transaction; the sum with it.
    fn count(&self, progress: &mut Progress, seen: &Seen<'_>, secs: u32) -> u32 {
        match self.condition.distinct {
            None => progress.counted.note(seen.now, secs),
            Some(of) => {
                let Some(value) = of.of(seen) else { return 0 };
                let most = self.condition.count as usize;
                u32::try_from(progress.different.note(value, seen.now, secs, most)).unwrap_or(u32::MAX)
            }
        }
    }

    /// What is counted, in words.
    fn words(&self) -> String {
        match self.condition.distinct {
            Some(of) => format!("different values of {}", of.name()),
            None => "transactions".to_owned(),
        }
    }
}

/// How far a rule has come for one key.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    step: usize,
    /// When the step before was completed.
    since: u32,
    counted: Window,
    different: Sightings,
}

impl Progress {
    /// Bytes of memory beside the value itself.
    pub(crate) fn heap(&self) -> usize {
        self.different.heap()
    }

    fn enter(&mut self, step: usize, now: u32) {
        (self.step, self.since, self.counted) = (step, now, Window::default());
        self.different.clear();
    }
}

impl Behaviour {
    /// Identity and words.
    #[must_use]
    pub fn info(&self) -> &Arc<RuleInfo> {
        &self.info
    }

    /// Attack class.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// How sure it is.
    #[must_use]
    pub fn confidence(&self) -> Confidence {
        self.confidence
    }

    /// Seconds within which it is counted.
    #[must_use]
    pub fn window_secs(&self) -> u32 {
        self.window_secs
    }

    /// What the last step has counted: words and number.
    #[must_use]
    pub fn counted(&self) -> (String, u32) {
        self.steps.last().map_or_else(Default::default, |step| (step.words(), step.condition.count))
    }

    /// The number of those with whom a transaction is counted; `None` if it fits no step, or lacks what the rule counts by.
    #[must_use]
    pub fn key(&self, seen: &Seen<'_>) -> Option<u64> {
        if !self.steps.iter().any(|step| step.fits(seen.facts)) {
            return None;
        }
        let mixed = |sum: u64, value: u64| (sum ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let start = u64::from(self.info.number);
        self.keys.iter().try_fold(start, |sum, key| Some(mixed(sum, key.of(seen)?)))
    }

    /// Whether the transaction fits the first step: others begin nothing.
    pub(crate) fn begins(&self, seen: &Seen<'_>) -> bool {
        self.steps.first().is_some_and(|step| step.fits(seen.facts))
    }

    /// Goes on by one transaction; whether the rule is complete with it.
    pub(crate) fn advance(&self, progress: &mut Progress, seen: &Seen<'_>) -> bool {
        // A rule that was replaced meanwhile may have fewer steps.
        let late = progress.step > 0 && seen.now.saturating_sub(progress.since) >= self.window_secs;
        if late || progress.step >= self.steps.len() {
            progress.enter(0, seen.now);
        }
        let Some(step) = self.steps.get(progress.step).filter(|step| step.fits(seen.facts)) else {
            return false;
        };
        if step.count(progress, seen, self.window_secs) < step.condition.count {
            return false;
        }
        let next = progress.step + 1;
        let complete = next == self.steps.len();
        progress.enter(if complete { 0 } else { next }, seen.now);
        complete
    }
}

/// Reports every dialog that does not do what it says.
pub(super) fn run(set: &RuleSet, rules: &[RuleDialogs<'_>], errors: &mut Vec<RuleError>) {
    for RuleDialogs { source, rule, dialogs } in rules {
        let Some(behaviour) = set.behaviours.get(*rule) else { continue };
        for dialog in dialogs {
            let mut states: Vec<(u64, Progress)> = Vec::new();
            let mut complete = false;
            for (now, client, facts) in &dialog.requests {
                let seen = Seen { facts, client: *client, now: *now };
                let Some(key) = behaviour.key(&seen) else { continue };
                if !states.iter().any(|(known, _)| *known == key) {
                    states.push((key, Progress::default()));
                }
                let state = states.iter_mut().find(|(known, _)| *known == key);
                complete |= state.is_some_and(|(_, progress)| behaviour.advance(progress, &seen));
            }
            if complete != dialog.matches {
                let reason = match dialog.matches {
                    true => format!("example `{}` does not match, expected a match", dialog.text),
                    false => format!("example `{}` matches, expected none", dialog.text),
                };
                let id = Some(behaviour.info.id.as_str());
                errors.push(RuleError::at(source.name, source.text, dialog.at, id, reason));
            }
        }
    }
}
