//! Rules: source → validated, compiled, immutable [`RuleSet`].
//!
//! A rule set is made in one step by [`RuleSet::compile`] and cannot be changed: whoever holds one knows that every
//! rule compiled, is cheap to run, and does on its own examples what it promises. A new version of the rules becomes a
//! new set, or a list of errors while the old set stays in force.
//!
//! The language and all keys are described for users in `rules/README.md`.

mod behaviour;
#[cfg(test)]
mod behaviour_tests;
mod coded;
mod compile;
pub(crate) mod decode;
mod doubt;
mod error;
mod example;
mod exception;
mod fields;
mod figures;
mod finder;
mod finders;
mod keys;
mod literal;
mod marks;
mod matcher;
mod named;
mod operator;
mod sample;
mod source;
#[cfg(test)]
mod tests;
mod view;
mod when;

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::field::Place;
use crate::finding::{Class, Confidence, Decoder, RuleInfo, Severity};
use crate::token::TokenKeys;

pub use operator::MAX_ENTROPY_BYTES;
use operator::Operator;
use when::When;

pub(crate) use behaviour::Progress;
pub use behaviour::{Behaviour, Seen};
pub(crate) use coded::{CodedDetectors, CodedMatch};
pub use compile::{GOOD_LITERAL, MAX_PATTERN_BYTES, MIN_ANY_LENGTH, MIN_ENTROPY_LENGTH, MIN_LITERAL};
pub use doubt::LARGE_PATTERN_BYTES;
pub use error::RuleError;
pub use exception::Exception;
pub use fields::FieldPattern;
pub use figures::{RuleFigures, RuleTimer};
use finders::Finders;
pub use keys::{
    BEHAVIOUR_KEYS, BEHAVIOUR_RULE_KEYS, CONDITION_KEYS, EXCEPTION_KEYS, Key, Kind, RULE_KEYS, STEP_KEYS,
};
use marks::Needs;
pub use matcher::{Hit, MatchStats, Matcher, SHORT_FIELD_BYTES, Scope};
pub use sample::sample;
pub use source::RuleSource;
pub(crate) use source::number_of;
pub use view::{Chain, MAX_CHAIN, MAX_PERCENT_DEPTH, View, Views};
pub use when::{MAX_WHEN_BYTES, MAX_WHEN_DEPTH, MAX_WHEN_HEADERS, MAX_WHEN_MARKS, MAX_WHEN_VALUE};

/// Compiled rules. Only [`RuleSet`]s can match, and only valid sources become one.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
    /// Finds the literals.
    finders: Finders,
    /// Rules without literals, bound to short fields or to what costs next to nothing.
    short_rules: Vec<Short>,
    /// A bit for each place whose plain values such rules look at, whatever the field's name.
    short_places: u32,
    behaviours: Vec<Behaviour>,
    /// Rules about what code detects.
    coded_rules: Vec<u32>,
    exceptions: Vec<Exception>,
    /// A bit for each place that some rule looks into.
    places: u32,
    /// A bit for each segment of the path that rules name, the first one lowest.
    named_segments: u32,
    /// Fields that rules name.
    named: named::Named,
    /// Beginnings of plain words that rules look at.
    words: named::Words,
    warnings: Vec<RuleError>,
    /// Who keeps the keys that tokens are checked against.
    token_keys: Option<Arc<dyn TokenKeys>>,
}

/// A rule without literals, with a bit for each place of its fields.
#[derive(Clone, Copy, Debug)]
struct Short {
    rule: u32,
    places: u32,
}

/// One compiled rule.
#[derive(Debug)]
pub struct Rule {
    info: Arc<RuleInfo>,
    class: Class,
    severity: Severity,
    confidence: Confidence,
    fields: Vec<FieldPattern>,
    /// Fields that are left out.
    except: Vec<FieldPattern>,
    /// A bit for each place that a field can be of.
    places: u32,
    decoders: Option<Vec<Decoder>>,
    operator: Operator,
    /// All of them must hold,
    also: Vec<Condition>,
    /// and one of these, if there are any.
    any: Vec<Condition>,
    /// Asked last, if there is one.
    when: Option<When>,
    /// Lengths of values in which the pattern is searched.
    length: RangeInclusive<usize>,
    /// Most bytes of a match, if each contains a literal and is not long.
    reach: Option<usize>,
    /// Marks that a view must have for a match.
    needs: Needs,
    documents: bool,
    /// Whether it asks about the method and nothing else: of the same method it says the same in every request.
    of_method: bool,
}

/// A further condition on the request.
#[derive(Debug)]
struct Condition {
    fields: Vec<FieldPattern>,
    except: Vec<FieldPattern>,
    /// Lengths of values that are looked at.
    length: RangeInclusive<usize>,
    operator: Operator,
    /// How many fields must fulfil the rest; by default one or more.
    count: RangeInclusive<usize>,
    not: bool,
}

impl RuleSet {
    /// The rules in the order of their sources.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules about many transactions, in the order of their sources.
    #[must_use]
    pub fn behaviours(&self) -> &[Behaviour] {
        &self.behaviours
    }

    /// Findings that are left out.
    #[must_use]
    pub fn exceptions(&self) -> &[Exception] {
        &self.exceptions
    }

    /// Whether some rule looks at fields of `place`.
    #[must_use]
    pub fn looks_into(&self, place: Place) -> bool {
        self.places & fields::bit(place) != 0
    }

    /// A bit for each segment of the path that some rule names by its number, the first one lowest.
    #[must_use]
    pub fn named_segments(&self) -> u32 {
        self.named_segments
    }

    /// Whether some rule asks who the client is.
    #[must_use]
    pub fn asks_for_client(&self) -> bool {
        self.rules.iter().filter_map(|rule| rule.when.as_ref()).any(When::wants_client)
    }

    /// Whether some rule asks which process serves.
    #[must_use]
    pub fn asks_for_process(&self) -> bool {
        self.rules.iter().filter_map(|rule| rule.when.as_ref()).any(When::wants_process)
    }

    /// The same rules with keys that tokens are checked against: what belongs to detection is taken up together.
    #[must_use]
    pub fn with_token_keys(self, keys: Arc<dyn TokenKeys>) -> Self {
        Self { token_keys: Some(keys), ..self }
    }

    /// Who keeps the keys that tokens are checked against.
    #[must_use]
    pub fn token_keys(&self) -> Option<&Arc<dyn TokenKeys>> {
        self.token_keys.as_ref()
    }

    /// What is doubtful about the rules, but no reason to refuse them.
    #[must_use]
    pub fn warnings(&self) -> &[RuleError] {
        &self.warnings
    }
}

impl Rule {
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

    /// How bad a match is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// How sure a match is.
    #[must_use]
    pub fn confidence(&self) -> Confidence {
        self.confidence
    }

    /// Whether a match counts fully in long texts too: documents and source code quote what attacks consist of.
    #[must_use]
    pub fn counts_in_documents(&self) -> bool {
        self.documents
    }

    /// The fields in which the pattern is searched.
    #[must_use]
    pub fn fields(&self) -> &[FieldPattern] {
        &self.fields
    }
}
