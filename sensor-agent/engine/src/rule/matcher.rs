//! Matching: one pass for literals over each view of a value, then the patterns of the rules whose literal was seen.
//! The caches of the lazy automata are owned here, one set a worker thread, so that matching takes no lock.

use aho_corasick::Input as LiteralInput;
use regex_automata::{Input, meta};

use crate::field::{Field, Fields, Place};
use crate::finding::Decoder;
use crate::http::message::Request;

use super::decode;
use super::view::{Chain, View, Views};
use super::{Condition, FieldPattern, Rule, RuleSet};

/// Longest value in which rules without a literal are searched: their fields are short ones.
pub const SHORT_FIELD_BYTES: usize = 1024;

/// A match of a rule in a view of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Number of the rule in its set.
    pub rule: usize,
    /// Number of the field.
    pub field: usize,
    /// Number of the view.
    pub view: usize,
    /// First byte of the match in the view.
    pub start: usize,
    /// Behind the last byte of the match.
    pub end: usize,
    /// The rule's confidence, less what the view's decoders cost.
    pub confidence: f32,
}

/// What conditions of a rule can look at.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The request's head.
    pub request: &'a Request,
    /// The fields that are inspected together.
    pub fields: &'a Fields,
}

/// What a matcher has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatchStats {
    /// Bytes of views scanned for literals.
    pub scanned_bytes: u64,
    /// Patterns that were searched because of a literal.
    pub candidates: u64,
}

/// Scratch memory of one worker for one rule set.
#[derive(Debug, Default)]
pub struct Matcher {
    caches: Vec<Option<meta::Cache>>,
    /// Per rule the caches of its further conditions.
    condition_caches: Vec<Vec<meta::Cache>>,
    /// Per rule the number of the last scan in which it became a candidate.
    seen: Vec<u64>,
    scan: u64,
    candidates: Vec<u32>,
    /// Whether a pattern matched and only the rest of the request spoke against the rule.
    undecided: bool,
    stats: MatchStats,
}

impl Matcher {
    /// A matcher for this set.
    #[must_use]
    pub fn new(set: &RuleSet) -> Self {
        let count = set.rules.len();
        let caches = (0..count).map(|_| None).collect();
        let of_rule = |rule: &Rule| {
            rule.also.iter().chain(&rule.any).map(|condition| condition.regex.create_cache()).collect()
        };
        let condition_caches = set.rules.iter().map(of_rule).collect();
        Self { caches, condition_caches, seen: vec![0; count], ..Self::default() }
    }

    /// Appends the hits in all views of a field, one a rule: that in the view with the fewest decoders.
    pub fn search(
        &mut self,
        set: &RuleSet,
        scope: Scope<'_>,
        index: usize,
        field: &Field<'_>,
        views: &Views,
        hits: &mut Vec<Hit>,
    ) {
        let first = hits.len();
        for (number, view) in views.iter().enumerate() {
            self.collect(set, field, view.bytes);
            for at in 0..self.candidates.len() {
                let Some(rule) = self.candidates.get(at).map(|&rule| rule as usize) else { break };
                if hits.iter().skip(first).any(|hit| hit.rule == rule) {
                    continue;
                }
                if let Some((start, end, confidence)) = self.verify(set, scope, rule, field, view) {
                    hits.push(Hit { rule, field: index, view: number, start, end, confidence });
                }
            }
        }
    }

    /// Whether a value that gave no hit since the last call could give one in another request.
    pub fn take_undecided(&mut self) -> bool {
        std::mem::take(&mut self.undecided)
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> MatchStats {
        self.stats
    }

    /// Gathers the rules that can match in `bytes`.
    fn collect(&mut self, set: &RuleSet, field: &Field<'_>, bytes: &[u8]) {
        self.candidates.clear();
        self.scan += 1;
        if bytes.len() <= SHORT_FIELD_BYTES {
            let place = super::fields::bit(field.place);
            let of_place = set.short_rules.iter().filter(|short| short.places & place != 0);
            self.candidates
                .extend(of_place.map(|short| short.rule).filter(|&rule| set.looks_at(rule, field)));
        }
        let Some(prefilter) = &set.prefilter else { return };
        self.stats.scanned_bytes += bytes.len() as u64;
        for found in prefilter.find_overlapping_iter(LiteralInput::new(bytes)) {
            let Some(&rule) = set.literal_rules.get(found.pattern().as_usize()) else { continue };
            let Some(seen) = self.seen.get_mut(rule as usize) else { continue };
            if *seen != self.scan {
                *seen = self.scan;
                if set.looks_at(rule, field) {
                    self.candidates.push(rule);
                }
            }
        }
    }

    /// The match of a rule in a view, with its confidence.
    fn verify(
        &mut self,
        set: &RuleSet,
        scope: Scope<'_>,
        number: usize,
        field: &Field<'_>,
        view: View<'_>,
    ) -> Option<(usize, usize, f32)> {
        let rule = set.rules.get(number)?;
        if !rule.allows(view.chain) {
            return None;
        }
        self.stats.candidates += 1;
        let cache = self.caches.get_mut(number)?.get_or_insert_with(|| rule.regex.create_cache());
        let found = rule.regex.search_with(cache, &Input::new(view.bytes))?;
        let caches = self.condition_caches.get_mut(number)?;
        let holds = rule.conditions_hold(scope, field, caches);
        self.undecided |= !holds;
        holds.then(|| (found.start(), found.end(), rule.confidence.get() * view.trust()))
    }
}

impl RuleSet {
    /// Whether a value is so plain that no rule can match in it.
    pub(crate) fn needs_no_look(&self, field: &Field<'_>) -> bool {
        is_plain(field)
            && !self.named.has(field)
            && !self.words.has(field.value)
            && self.short_places & super::fields::bit(field.place) == 0
    }

    fn looks_at(&self, rule: u32, field: &Field<'_>) -> bool {
        self.rules.get(rule as usize).is_some_and(|rule| {
            rule.places & super::fields::bit(field.place) != 0
                && rule.length.contains(&field.value.len())
                && rule.fields.iter().any(|one| one.matches(field))
        })
    }
}

impl Rule {
    /// Whether the rule may match behind these decoders.
    fn allows(&self, chain: Chain) -> bool {
        // Folding white space hides nothing, so that it needs no leave.
        let allowed = |decoders: &Vec<Decoder>| {
            chain.iter().all(|step| step == Decoder::Fold || decoders.contains(&step))
        };
        self.decoders.as_ref().is_none_or(allowed)
    }
}

impl Rule {
    fn conditions_hold(&self, scope: Scope<'_>, field: &Field<'_>, caches: &mut [meta::Cache]) -> bool {
        let (of_also, of_any) = caches.split_at_mut(self.also.len().min(caches.len()));
        let mut any = self.any.iter().zip(of_any).map(|(one, cache)| one.holds(scope, field, cache));
        let mut also = self.also.iter().zip(of_also).map(|(one, cache)| one.holds(scope, field, cache));
        also.all(|holds| holds) && (self.any.is_empty() || any.any(|holds| holds))
    }
}

impl Condition {
    /// Whether some field of the request fulfils the condition (none, for a negated one).
    fn holds(&self, scope: Scope<'_>, field: &Field<'_>, cache: &mut meta::Cache) -> bool {
        let mut fits = |one: &Field<'_>| {
            self.fields.iter().any(|pattern| pattern.matches(one)) && self.is_in(one.value, cache)
        };
        let in_fields = fits(field) || scope.fields.iter().any(|one| fits(&one));
        (in_fields || self.holds_in_head(scope.request, cache)) != self.not
    }

    /// Whether the head fulfils the condition: while a body is inspected, its fields are no longer at hand.
    fn holds_in_head(&self, request: &Request, cache: &mut meta::Cache) -> bool {
        let line = [
            (Place::Method, request.method()),
            (Place::Target, request.target()),
            (Place::Path, request.path()),
        ];
        let mut in_line = |(place, value): (Place, &[u8])| {
            self.fields.iter().any(|pattern| pattern.has(place)) && self.is_in(value, cache)
        };
        if line.into_iter().any(&mut in_line) {
            return true;
        }
        request.headers().any(|(name, value)| {
            let named = |pattern: &FieldPattern| pattern.has(Place::Header) && pattern.matches_name(name);
            self.fields.iter().any(named) && self.is_in(value, cache)
        })
    }

    fn is_in(&self, value: &[u8], cache: &mut meta::Cache) -> bool {
        self.regex.search_half_with(cache, &Input::new(value).earliest(true)).is_some()
    }
}

/// Whether text could stand behind base64: long enough, and no number in any notation.
fn may_be_base64(value: &[u8]) -> bool {
    value.len() >= decode::MIN_BASE64
        && value.len() <= decode::MAX_BASE64
        && !value.contains(&b'.')
        && !value.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-')
}

/// What a byte is in a plain value: nothing, a letter, a digit, a mark that may stand once, or a dot.
const PLAIN: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => LETTER,
            b'0'..=b'9' => DIGIT,
            b'_' | b'-' => MARK,
            b'.' => DOT,
            _ => 0,
        };
        byte += 1;
    }
    kinds
};
const LETTER: u8 = 1;
const DIGIT: u8 = 2;
const MARK: u8 = 3;
const DOT: u8 = 4;

/// Whether the value is of the kind that needs no look: a word, a number, an identifier.
fn is_plain(field: &Field<'_>) -> bool {
    if field.place == Place::Name {
        return false;
    }
    let (mut last, mut kinds) = (0, [0, 0]);
    for &byte in field.value {
        let kind = PLAIN[usize::from(byte)];
        // `..`, `--` and `__` tell; a dot between letters makes a host, a class, a file: something to look at.
        let pair = kind >= MARK && byte == last;
        if kind == 0 || pair || kind == LETTER && kinds == [LETTER, DOT] {
            return false;
        }
        (last, kinds) = (byte, [kinds[1], kind]);
    }
    field.value.len() < decode::MIN_BASE64 || !may_be_base64(field.value) && !decode::is_hex_text(field.value)
}
