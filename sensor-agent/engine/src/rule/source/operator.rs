//! What a rule or a condition asks of a value → [`DraftOperator`]: exactly one of several keys says it.

use std::ops::{Range, RangeInclusive};

use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

use super::reader::{Reader, Value};
use super::{DraftOperator, Text};

/// Most phrases of one rule.
const MAX_PHRASES: usize = 10_000;
/// Most networks of one rule.
const MAX_ADDRESSES: usize = 4096;
/// Coded detections that are less sure count only if a rule says so.
const CODED_FROM: f32 = 0.5;

/// Keys of which one says what is asked.
const CHOICES: [&str; 8] =
    ["pattern", "phrases", "number_from", "number_to", "entropy_from", "entropy_to", "addresses", "coded"];
/// Most bits that a byte can tell.
const MAX_BITS: f32 = 8.0;

impl Reader<'_> {
    /// The one operator of a table; its lengths alone are one too.
    pub(super) fn operator(&mut self, table: &DeTable<'_>, span: &Range<usize>) -> Option<DraftOperator> {
        if let (Some(from), None) = (table.get("coded_from"), table.get("coded")) {
            self.error(from.span().start, "`coded_from` without `coded`".into());
        }
        let given: Vec<&str> = CHOICES.into_iter().filter(|&key| table.get(key).is_some()).collect();
        match given[..] {
            ["pattern"] => self.text(table, "pattern", span).map(DraftOperator::Pattern),
            ["phrases"] => self.phrases(table),
            ["number_from"] | ["number_to"] | ["number_from", "number_to"] => self.number(table),
            ["entropy_from"] | ["entropy_to"] | ["entropy_from", "entropy_to"] => self.entropy(table),
            ["addresses"] => self.addresses(table),
            ["coded"] => self.coded(table),
            [] if ["min_length", "at_least", "at_most"].iter().any(|&key| table.get(key).is_some()) => {
                Some(DraftOperator::Any(span.start))
            }
            [] => {
                let reason = "missing key `pattern`, or one of `phrases`, `number_from`, `number_to`, `entropy_from`, \
                              `entropy_to`, `addresses`, `coded`";
                self.error(span.start, reason.into());
                None
            }
            [first, second, ..] => {
                let at = table.get(second).map_or(span.start, |value| value.span().start);
                self.error(at, format!("`{first}` and `{second}` are given, expected one of them"));
                None
            }
            [_] => None,
        }
    }

    fn phrases(&mut self, table: &DeTable<'_>) -> Option<DraftOperator> {
        let phrases = self.strings(table, "phrases");
        let at = table.get("phrases").map_or(0, |value| value.span().start);
        if phrases.is_empty() || phrases.len() > MAX_PHRASES {
            self.error(at, format!("`phrases` has {} entries, expected 1 to {MAX_PHRASES}", phrases.len()));
            return None;
        }
        if let Some(empty) = phrases.iter().find(|phrase| phrase.text.is_empty()) {
            self.error(empty.at, "a phrase is empty, expected text".into());
            return None;
        }
        Some(DraftOperator::Phrases(phrases))
    }

    fn number(&mut self, table: &DeTable<'_>) -> Option<DraftOperator> {
        let before = self.errors.len();
        let from = self.whole_number(table, "number_from");
        let to = self.whole_number(table, "number_to");
        if self.errors.len() > before {
            return None;
        }
        let ((from, at), (to, _)) = (from.unwrap_or((i64::MIN, 0)), to.unwrap_or((i64::MAX, 0)));
        if from > to {
            self.error(at, format!("`number_from` is {from}, expected at most `number_to`, {to}"));
            return None;
        }
        let at = table.get("number_to").map_or(at, |value| value.span().start);
        Some(DraftOperator::Number(from..=to, at))
    }

    fn entropy(&mut self, table: &DeTable<'_>) -> Option<DraftOperator> {
        let mut bound = |key, otherwise| match table.get(key) {
            Some(value) => Some((self.number_up_to(MAX_BITS, key, value)?, value.span().start)),
            None => Some((otherwise, 0)),
        };
        let (from, to) = (bound("entropy_from", 0.0), bound("entropy_to", MAX_BITS));
        let ((from, at_from), (to, at_to)) = (from?, to?);
        if from > to {
            self.error(at_from, format!("`entropy_from` is {from}, expected at most `entropy_to`, {to}"));
            return None;
        }
        Some(DraftOperator::Entropy(from..=to, at_from.max(at_to)))
    }

    fn whole_number(&mut self, table: &DeTable<'_>, key: &str) -> Option<(i64, usize)> {
        let value = table.get(key)?;
        let number = value.get_ref().as_integer().and_then(|number| number.as_str().parse().ok());
        if number.is_none() {
            self.wrong_type(key, "a whole number", value);
        }
        Some((number?, value.span().start))
    }

    fn addresses(&mut self, table: &DeTable<'_>) -> Option<DraftOperator> {
        let at = table.get("addresses").map_or(0, |value| value.span().start);
        let texts = self.strings(table, "addresses");
        if texts.is_empty() || texts.len() > MAX_ADDRESSES {
            self.error(at, format!("`addresses` has {} entries, expected 1 to {MAX_ADDRESSES}", texts.len()));
            return None;
        }
        let networks: Option<Vec<IpNet>> = texts.iter().map(|text| self.network(text)).collect();
        Some(DraftOperator::Addresses(networks?, at))
    }

    fn network(&mut self, text: &Text) -> Option<IpNet> {
        let alone = || text.text.parse().ok().map(|address: std::net::IpAddr| IpNet::from(address));
        let network = text.text.parse().ok().or_else(alone);
        if network.is_none() {
            let reason = format!("`{}` is no address or prefix, expected one like `192.0.2.0/24`", text.text);
            self.error(text.at, reason);
        }
        network
    }

    fn coded(&mut self, table: &DeTable<'_>) -> Option<DraftOperator> {
        let at = table.get("coded").map_or(0, |value| value.span().start);
        let names = self.strings(table, "coded");
        if names.is_empty() {
            self.error(at, "`coded` is empty, expected ids of coded detections such as `sql-*`".into());
            return None;
        }
        let from = match table.get("coded_from") {
            Some(value) => self.number_up_to(1.0, "coded_from", value)?,
            None => CODED_FROM,
        };
        Some(DraftOperator::Coded(names, from, at))
    }

    fn number_up_to(&mut self, most: f32, key: &str, value: &Value<'_>) -> Option<f32> {
        let text = match value.get_ref() {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) => number.as_str(),
            _ => "",
        };
        let number = text.parse().ok().filter(|number| (0.0..=most).contains(number));
        if number.is_none() {
            self.wrong_type(key, &format!("a number from 0 to {most}"), value);
        }
        number
    }

    /// How many fields must fulfil a condition: one or more, unless `at_least` and `at_most` say otherwise.
    pub(super) fn count(&mut self, table: &DeTable<'_>) -> RangeInclusive<usize> {
        let bound = |reader: &mut Self, key: &str| reader.whole_number(table, key);
        let (least, most) = (bound(self, "at_least"), bound(self, "at_most"));
        let number = |bound: i64| usize::try_from(bound).unwrap_or(0);
        let from = least.map_or(usize::from(most.is_none()), |(least, _)| number(least));
        let to = most.map_or(usize::MAX, |(most, _)| number(most));
        if let Some((_, at)) = most.filter(|_| from > to) {
            self.error(at, format!("`at_most` is {to}, expected at least `at_least`, {from}"));
        }
        from..=to
    }
}
