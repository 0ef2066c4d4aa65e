//! What is doubtful about rules beside one another: one that says what another says, one that finds nothing but what a surer one
//! finds, one that is large. Such rules do no harm but cost time and people's attention, so that they are no errors.

use super::RuleSet;
use super::compile::RuleExamples;
use super::error::RuleError;
use super::operator::Operator;
use super::source::{Draft, DraftCondition, DraftOperator};

/// Memory of a pattern's automaton from which it is called large, in bytes.
pub const LARGE_PATTERN_BYTES: usize = 256 * 1024;

/// A positive example: its rule, and all rules that match in it at least as surely.
#[derive(Debug)]
pub(super) struct Matched {
    pub(super) rule: usize,
    pub(super) by: Vec<usize>,
    /// Whether it is too plain to be looked at in traffic.
    pub(super) plain: bool,
}

/// Everything doubtful, in the order of the rules.
pub(super) fn find(set: &RuleSet, rules: &[RuleExamples<'_>], matched: &[Matched]) -> Vec<RuleError> {
    let mut doubts = Vec::new();
    for (place, one) in rules.iter().enumerate() {
        let reason = same(rules, place).map(|other| format!("asks what rule `{}` asks", id(set, other)));
        let reason = reason.or_else(|| {
            let other = shadow(set, one.rule, matched)?;
            Some(format!("rule `{}` is at least as sure and finds every example of this one", id(set, other)))
        });
        let plain = plain(one.rule, matched);
        doubts.extend(reason.into_iter().chain(large(set, one.rule)).chain(plain).map(|reason| {
            RuleError::at(one.source.name, one.source.text, one.at, Some(id(set, one.rule)), reason)
        }));
    }
    doubts
}

fn id(set: &RuleSet, rule: usize) -> &str {
    set.rules.get(rule).map_or("", |rule| rule.info.id.as_str())
}

/// A rule in front of this one that asks the same of the same fields.
fn same(rules: &[RuleExamples<'_>], place: usize) -> Option<usize> {
    let (before, rest) = rules.split_at(place);
    let asks = &rest.first()?.asks;
    before.iter().find(|other| other.asks == *asks).map(|other| other.rule)
}

/// A rule of the same class, looking where this one looks, at least as sure and as severe, that matches in all its examples.
fn shadow(set: &RuleSet, rule: usize, matched: &[Matched]) -> Option<usize> {
    let own = || matched.iter().filter(|one| one.rule == rule);
    own().next()?.by.iter().copied().find(|&other| {
        other != rule
            && covers(set, other, rule)
            && is_first(set, other, rule)
            && own().all(|one| one.by.contains(&other))
    })
}

fn covers(set: &RuleSet, other: usize, rule: usize) -> bool {
    let (Some(other), Some(rule)) = (set.rules.get(other), set.rules.get(rule)) else { return false };
    other.class == rule.class
        && other.confidence >= rule.confidence
        && other.severity <= rule.severity
        && other.length.start() <= rule.length.start()
        && other.length.end() >= rule.length.end()
        && (other.documents || !rule.documents)
        && rule.fields.iter().all(|field| other.fields.iter().any(|wider| wider.covers(field)))
}

/// Of two rules that cover one another, the one that stands first is kept.
fn is_first(set: &RuleSet, other: usize, rule: usize) -> bool {
    other < rule || !covers(set, rule, other)
}

/// Rules that look at plain words say so: else what an example shows does not happen in traffic.
fn plain(rule: usize, matched: &[Matched]) -> Option<String> {
    matched.iter().any(|one| one.rule == rule && one.plain).then(|| {
        "an example is too plain to be looked at in traffic: name the field, or set `plain = true`".to_owned()
    })
}

fn large(set: &RuleSet, rule: usize) -> Option<String> {
    let Operator::Pattern(regex) = &set.rules.get(rule)?.operator else { return None };
    let bytes = regex.memory_usage();
    (bytes > LARGE_PATTERN_BYTES).then(|| {
        format!("the pattern takes {} KiB of memory: lists of words are smaller as `phrases`", bytes / 1024)
    })
}

/// What a rule asks, in words that are the same for rules that ask the same.
pub(super) fn asks(draft: &Draft) -> String {
    let fields =
        |fields: &[super::FieldPattern]| fields.iter().map(|field| format!("{field} ")).collect::<String>();
    let condition = |one: &DraftCondition| {
        let (fields, except) = (fields(&one.fields), fields(&one.except));
        format!(
            "({fields}-{except} {:?} {:?} {} {})",
            one.length,
            one.count,
            one.not,
            operator(&one.operator)
        )
    };
    let conditions = |list: &[DraftCondition]| list.iter().map(condition).collect::<String>();
    format!(
        "{} -{} {:?} {:?} {} {} also{} any{} when {:?}",
        fields(&draft.fields),
        fields(&draft.except),
        draft.decoders,
        draft.length,
        draft.case_sensitive,
        operator(&draft.operator),
        conditions(&draft.also),
        conditions(&draft.any),
        draft.when.as_ref().map(|when| &when.text),
    )
}

fn operator(draft: &DraftOperator) -> String {
    let texts = |texts: &[super::source::Text]| {
        texts.iter().map(|text| format!("{:?}", text.text)).collect::<String>()
    };
    match draft {
        DraftOperator::Pattern(text) => format!("pattern {:?}", text.text),
        DraftOperator::Phrases(phrases) => format!("phrases {}", texts(phrases)),
        DraftOperator::Number(range, _) => format!("number {range:?}"),
        DraftOperator::Addresses(networks, _) => format!("addresses {networks:?}"),
        DraftOperator::Entropy(range, _) => format!("entropy {range:?}"),
        DraftOperator::Any(_) => "any".to_owned(),
        DraftOperator::Coded(names, from, _) => format!("coded {} {from}", texts(names)),
    }
}
