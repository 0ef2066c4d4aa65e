//! Matching: one pass for literals over each view of a value, then the patterns of the rules whose literal was seen.
//! The caches of the lazy automata are owned here, one set a worker thread, so that matching takes no lock.

use std::net::IpAddr;
use std::time::Duration;

use regex_automata::meta;

use crate::field::{Field, Fields, Place};
use crate::finding::Decoder;
use crate::http::fields::segments;
use crate::http::message::Request;
use crate::served::ServingProcess;

use super::decode;
use super::figures::{RuleFigures, RuleTimer};
use super::finder::Seen;
use super::operator::Operator;
use super::view::{Chain, View, Views};
use super::{CodedMatch, Condition, FieldPattern, Rule, RuleSet};

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
    /// Who sent it, if that is known.
    pub client: Option<IpAddr>,
    /// Which process gets it, if that is known.
    pub process: Option<&'a ServingProcess>,
    /// How long the request was over when its response began; zero before that.
    pub delay: Duration,
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
    condition_caches: Vec<Vec<Option<meta::Cache>>>,
    /// Rules whose literals stood in the view.
    seen: Seen,
    candidates: Vec<u32>,
    /// Whether a pattern matched and only the rest of the request spoke against the rule.
    undecided: bool,
    stats: MatchStats,
    /// Per rule.
    figures: Vec<RuleFigures>,
    timer: Option<RuleTimer>,
}

impl Matcher {
    /// A matcher for this set.
    #[must_use]
    pub fn new(set: &RuleSet) -> Self {
        let count = set.rules.len();
        let caches = (0..count).map(|_| None).collect();
        let of_rule = |rule: &Rule| {
            rule.also.iter().chain(&rule.any).map(|condition| condition.operator.create_cache()).collect()
        };
        let condition_caches = set.rules.iter().map(of_rule).collect();
        Self {
            caches,
            condition_caches,
            seen: Seen::new(count),
            figures: vec![RuleFigures::default(); count],
            ..Self::default()
        }
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
            self.collect(set, field, view);
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

    /// Appends the hits of rules about coded detections, given what these `found` in the field, the surest of each rule.
    pub(crate) fn search_coded(
        &mut self,
        set: &RuleSet,
        scope: Scope<'_>,
        (index, field, views): (usize, &Field<'_>, &Views),
        found: &(impl Iterator<Item = CodedMatch> + Clone),
        hits: &mut Vec<Hit>,
    ) {
        for &number in &set.coded_rules {
            let Some(rule) = set.rules.get(number as usize).filter(|_| set.looks_at(number, field)) else {
                continue;
            };
            let Operator::Coded { codes, from } = rule.operator else { continue };
            let fits = |one: &CodedMatch| {
                codes & 1_u128.checked_shl(one.code as u32).unwrap_or(0) != 0
                    && one.confidence >= from
                    && views.get(one.view).is_some_and(|view| rule.allows(view.chain))
            };
            let surest = found.clone().filter(fits).max_by(|a, b| a.confidence.total_cmp(&b.confidence));
            let Some(CodedMatch { view, start, end, .. }) = surest else { continue };
            self.stats.candidates += 1;
            let holds = self.conditions_hold(rule, number as usize, scope, field);
            if let Some(figures) = self.figures.get_mut(number as usize) {
                figures.candidates += 1;
                figures.hits += u64::from(holds);
            }
            if holds {
                let trust = views.get(view).map_or(1.0, |view| view.trust());
                let confidence = rule.confidence.get() * trust;
                hits.push(Hit { rule: number as usize, field: index, view, start, end, confidence });
            }
        }
    }

    /// Whether a value that gave no hit since the last call could give one in another request.
    pub fn take_undecided(&mut self) -> bool {
        std::mem::take(&mut self.undecided)
    }

    /// Times every so manieth look of a rule.
    pub fn time_rules(&mut self, timer: Option<RuleTimer>) {
        self.timer = timer;
    }

    /// What each rule of the set has cost and found, in their order.
    #[must_use]
    pub fn figures(&self) -> &[RuleFigures] {
        &self.figures
    }

    /// Counts a hit that turned out to be harmless.
    pub(crate) fn note_excepted(&mut self, rule: usize) {
        if let Some(figures) = self.figures.get_mut(rule) {
            figures.excepted += 1;
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> MatchStats {
        self.stats
    }

    /// Gathers the rules that can match in the view.
    fn collect(&mut self, set: &RuleSet, field: &Field<'_>, view: View<'_>) {
        let bytes = view.bytes;
        self.candidates.clear();
        let (short, place) = (bytes.len() <= SHORT_FIELD_BYTES, super::fields::bit(field.place));
        let of_place = set.short_rules.iter().filter(|rule| rule.places & place != 0).map(|short| short.rule);
        let may = |rule: &u32| {
            set.can_match(*rule, view) && set.looks_at(*rule, field) && (short || set.is_cheap(*rule))
        };
        self.candidates.extend(of_place.filter(may));
        let Some(finder) = set.finders.of(field) else { return };
        self.stats.scanned_bytes += bytes.len() as u64;
        finder.find(bytes, view.marks(), &mut self.seen);
        let found = self.seen.rules().iter().copied();
        self.candidates.extend(found.filter(|rule| set.can_match(*rule, view) && set.looks_at(*rule, field)));
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
        let begun = self.figures.get(number).and_then(|figures| RuleTimer::begin(self.timer, figures));
        let found = self.find(rule, number, scope, field, view.bytes);
        let figures = self.figures.get_mut(number)?;
        figures.candidates += 1;
        figures.hits += u64::from(found.is_some());
        if let (Some(begun), Some(timer)) = (begun, self.timer) {
            figures.timed += 1;
            figures.time_ns += (timer.clock)().saturating_sub(begun);
        }
        let (start, end) = found?;
        Some((start, end, rule.confidence.get() * view.trust()))
    }

    fn find(
        &mut self,
        rule: &Rule,
        number: usize,
        scope: Scope<'_>,
        field: &Field<'_>,
        bytes: &[u8],
    ) -> Option<(usize, usize)> {
        let cache = self.caches.get_mut(number)?;
        let found = match rule.reach.and_then(|reach| self.seen.parts(number, reach, bytes.len())) {
            Some(mut parts) => parts.find_map(|part| rule.operator.find_in(bytes, part, cache)),
            None => rule.operator.find(bytes, cache),
        }?;
        self.conditions_hold(rule, number, scope, field).then_some(found)
    }

    /// Whether the rest of the request speaks for the rule.
    fn conditions_hold(&mut self, rule: &Rule, number: usize, scope: Scope<'_>, field: &Field<'_>) -> bool {
        let caches = self.condition_caches.get_mut(number).map(Vec::as_mut_slice);
        let mut errors = 0;
        let holds = rule.conditions_hold(scope, field, caches.unwrap_or_default())
            && rule.when.as_ref().is_none_or(|when| when.holds(scope, &mut errors));
        if let Some(figures) = self.figures.get_mut(number) {
            figures.errors += errors;
        }
        self.undecided |= !holds && !rule.of_method;
        holds
    }
}

impl RuleSet {
    /// Whether a value is so plain that no rule can match in it.
    pub(crate) fn needs_no_look(&self, field: &Field<'_>) -> bool {
        self.short_places & super::fields::bit(field.place) == 0
            && is_plain(field)
            && !self.named.has(field)
            && !self.words.has(field.value)
    }

    /// Whether the view has the marks that the rule's matches have.
    fn can_match(&self, rule: u32, view: View<'_>) -> bool {
        self.rules.get(rule as usize).is_some_and(|rule| rule.needs.are_met(view.marks()))
    }

    fn looks_at(&self, rule: u32, field: &Field<'_>) -> bool {
        self.rules.get(rule as usize).is_some_and(|rule| {
            rule.places & super::fields::bit(field.place) != 0
                && rule.length.contains(&field.value.len())
                && rule.fields.iter().any(|one| one.matches(field))
                && !rule.except.iter().any(|one| one.matches(field))
        })
    }

    /// Whether the rule's operator costs next to nothing.
    fn is_cheap(&self, rule: u32) -> bool {
        self.rules.get(rule as usize).is_some_and(|rule| rule.operator.is_cheap())
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
    fn conditions_hold(
        &self,
        scope: Scope<'_>,
        field: &Field<'_>,
        caches: &mut [Option<meta::Cache>],
    ) -> bool {
        let (of_also, of_any) = caches.split_at_mut(self.also.len().min(caches.len()));
        let mut any = self.any.iter().zip(of_any).map(|(one, cache)| one.holds(scope, field, cache));
        let mut also = self.also.iter().zip(of_also).map(|(one, cache)| one.holds(scope, field, cache));
        also.all(|holds| holds) && (self.any.is_empty() || any.any(|holds| holds))
    }
}

impl Condition {
    /// Whether as many fields of the request as it wants fulfil the condition (not so, for a negated one).
    fn holds(&self, scope: Scope<'_>, field: &Field<'_>, cache: &mut Option<meta::Cache>) -> bool {
        let enough = *self.count.start();
        let whole = *self.count.end() != usize::MAX;
        let in_fields = scope.fields.iter().filter(|one| self.fits(one, cache));
        let in_fields = if whole { in_fields.count() } else { in_fields.take(enough).count() };
        // While a body is inspected, the fields of the head are no longer at hand; nor is a value within a value.
        let elsewhere = usize::from(in_fields == 0 && self.fits(field, cache));
        let in_head = if in_fields < enough || whole { self.in_head(scope.request, cache) } else { 0 };
        self.count.contains(&in_fields.max(elsewhere).max(in_head)) != self.not
    }

    fn fits(&self, field: &Field<'_>, cache: &mut Option<meta::Cache>) -> bool {
        self.fields.iter().any(|pattern| pattern.matches(field))
            && !self.except.iter().any(|pattern| pattern.matches(field))
            && self.is_in(field.value, cache)
    }

    /// Parts of the head that fulfil the condition.
    fn in_head(&self, request: &Request, cache: &mut Option<meta::Cache>) -> usize {
        let line = [
            (Place::Method, request.method()),
            (Place::Target, request.target()),
            (Place::Path, request.path()),
        ];
        let has = |place| self.fields.iter().any(|pattern| pattern.has(place));
        let mut in_line =
            line.into_iter().filter(|&(place, value)| has(place) && self.is_in(value, cache)).count();
        if self.fields.iter().any(FieldPattern::names_segments) {
            let fields = segments(request.path()).map(|(name, value)| Field {
                place: Place::Segment,
                name,
                value,
                offset: 0,
            });
            in_line += fields.filter(|field| self.fits(field, cache)).count();
        }
        if !has(Place::Header) {
            return in_line;
        }
        let named = |patterns: &[FieldPattern], name: &[u8]| {
            patterns.iter().any(|pattern| pattern.has(Place::Header) && pattern.matches_name(name))
        };
        let fits = |&(name, value): &(&[u8], &[u8])| {
            named(&self.fields, name) && !named(&self.except, name) && self.is_in(value, cache)
        };
        in_line + request.headers().filter(fits).count()
    }

    fn is_in(&self, value: &[u8], cache: &mut Option<meta::Cache>) -> bool {
        self.length.contains(&value.len()) && self.operator.holds(value, cache)
    }
}

/// From this length on rules know values by their base64, whether text stands behind it or not.
const LONG_TOKEN: usize = 16;

/// Whether text could stand behind base64: long enough, and no number in any notation.
fn may_be_base64(value: &[u8]) -> bool {
    value.len() >= decode::MIN_BASE64
        && value.len() <= decode::MAX_BASE64
        && !value.contains(&b'.')
        && (value.len() >= LONG_TOKEN || decode::may_begin_base64(value))
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
            _ => OTHER,
        };
        byte += 1;
    }
    kinds
};
const LETTER: u8 = 1;
const DIGIT: u8 = 2;
const MARK: u8 = 4;
const DOT: u8 = 8;
const OTHER: u8 = 16;

/// Whether the value is of the kind that needs no look: a word, a number, an identifier.
fn is_plain(field: &Field<'_>) -> bool {
    if field.place == Place::Name {
        return false;
    }
    let mut seen = 0;
    for part in field.value.chunks(AT_ONCE) {
        seen = part.iter().fold(seen, |seen, &byte| seen | PLAIN[usize::from(byte)]);
        if seen & OTHER != 0 {
            return false;
        }
    }
    if seen & (MARK | DOT) != 0 && is_marked(field.value) {
        return false;
    }
    // Digits alone are a number, whatever else they could stand for.
    field.value.len() < decode::MIN_BASE64
        || seen & LETTER == 0
        || !may_be_base64(field.value) && !decode::is_hex_text(field.value)
}

/// Whether `..`, `--` or `__` tell, or a dot between letters, which makes a host, a class, a file: something to look at.
fn is_marked(value: &[u8]) -> bool {
    let is = |byte: &u8, kind: u8| PLAIN[usize::from(*byte)] & kind != 0;
    value.array_windows().any(|[a, b]| a == b && is(a, MARK | DOT))
        || value.array_windows().any(|[a, dot, b]| is(dot, DOT) && is(a, LETTER) && is(b, LETTER))
}

/// Bytes of a value that are looked up before it is asked whether one of them ends the search.
const AT_ONCE: usize = 32;
