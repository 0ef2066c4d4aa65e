//! When the model is asked about a value, and what its answer counts. It is a second opinion on what a detection found but is not sure
//! of, and a word about short values with an unusual mix of special characters in which nothing was found. What it says counts
//! little: with nothing beside it, never enough to block.

use std::fmt::Write as _;
use std::sync::Arc;

use super::builtin::{BUILTINS, Code, info};
use super::model::Model;
use super::model::features::{Features, HEAD_BYTES, TAIL_BYTES};
use super::redact;
use crate::field::{Field, Place};
use crate::finding::{Decoder, EVIDENCE_LEN, Response, RuleInfo, Severity, printable};
use crate::rule::{View, Views};

/// Findings from this confidence on need no second opinion.
pub(super) const SURE: f32 = 0.8;
/// Answers of less confidence are none.
const LEAST: f32 = 0.05;
/// Longest value that the model is asked about when nothing was found in it: longer ones are texts, which hold anything.
const MAX_ALONE: usize = 256;
/// Longest text that it is asked about: of longer ones it sees a part only.
const MAX_TEXT: usize = HEAD_BYTES + TAIL_BYTES;
/// Different special characters that are unusual in one value.
const MANY_MARKS: u32 = 3;
/// Two of them are unusual in values of less than so many bytes for each.
const BYTES_A_MARK: usize = 8;
/// Views of a value that the model is asked about, that without encodings first.
const MAX_VIEWS: usize = 3;
/// Sequences that an explanation shows.
const SHOWN: usize = 5;

/// What stands beside the model's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// A finding in a parameter.
    Finding,
    /// A finding in a text, which may only quote what an attack consists of.
    FindingInText,
    /// Nothing.
    Nothing,
}

impl Beside {
    /// Most confidence of a finding of the model.
    const fn most(self) -> f32 {
        match self {
            Self::Finding => 0.45,
            Self::FindingInText => 0.3,
            Self::Nothing => 0.4,
        }
    }

    pub(super) const fn severity(self) -> Severity {
        match self {
            Self::Finding | Self::FindingInText => Severity::Medium,
            Self::Nothing => Severity::Low,
        }
    }
}

/// What the model says of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) confidence: f32,
    /// Number of the view that it is about.
    pub(super) view: usize,
    sum: f32,
}

/// The model, and how often it may still be asked.
#[derive(Debug)]
pub(super) struct Opinion {
    model: Option<Model>,
    features: Features,
    most: usize,
    left: usize,
    info: Arc<RuleInfo>,
    /// That of findings beside which there is nothing: they never block, whatever else a request holds.
    observing: Arc<RuleInfo>,
    /// Values that the model was asked about.
    pub(super) asked: u64,
    /// Suspicious values that it was not asked about, because a message had too many.
    pub(super) skipped: u64,
}

impl Default for Opinion {
    fn default() -> Self {
        let info = info(&BUILTINS[Code::Model as usize]);
        Self {
            model: None,
            features: Features::default(),
            most: 0,
            left: 0,
            observing: Arc::new(RuleInfo { response: Some(Response::Observe), ..info.clone() }),
            info: Arc::new(info),
            asked: 0,
            skipped: 0,
        }
    }
}

impl Opinion {
    /// Asks the shipped model about up to `most` values of a message; about none if it is 0.
    pub(super) fn ask_for(&mut self, most: usize) {
        self.most = most;
        self.model = if most > 0 { Model::shipped() } else { None };
    }

    /// Begins a message.
    pub(super) fn begin(&mut self) {
        self.left = self.most;
    }

    /// Whether the model may be asked about a value in which nothing was found.
    pub(super) fn is_worth_it(&self, field: &Field<'_>, decoded: &[u8]) -> bool {
        let place = !matches!(
            field.place,
            Place::Method | Place::Target | Place::Path | Place::Header | Place::Name | Place::Text
        );
        self.model.is_some()
            && place
            && !field.place.is_response()
            && decoded.len() <= MAX_ALONE
            && is_unusual(decoded)
    }

    /// What a finding of the model says of itself.
    pub(super) fn info(&self, beside: Beside) -> &Arc<RuleInfo> {
        if beside == Beside::Nothing { &self.observing } else { &self.info }
    }

    /// What the model says of the value, if that is anything.
    pub(super) fn ask(&mut self, views: &Views, beside: Beside) -> Option<Answer> {
        let model = self.model.as_ref()?;
        let decoded = views.decoded().bytes;
        if is_word(decoded) || beside == Beside::FindingInText && decoded.len() > MAX_TEXT {
            return None;
        }
        if self.left == 0 {
            self.skipped += 1;
            return None;
        }
        self.left -= 1;
        self.asked += 1;
        let mut best: Option<(f32, usize)> = None;
        for (view, shown) in candidates(views) {
            let sum = model.sum(&mut self.features, shown.bytes);
            if best.is_none_or(|(known, _)| sum > known) {
                best = Some((sum, view));
            }
        }
        let (sum, view) = best?;
        let confidence = beside.most() * model.strength(sum);
        (confidence >= LEAST).then_some(Answer { confidence, view, sum })
    }

    /// The answer in words: the sum, and the sequences that make most of it. Nothing of a value that is secret.
    pub(super) fn explain(&mut self, answer: Answer, field: &Field<'_>, views: &Views) -> String {
        let mut text = format!("sum {:+.1}", answer.sum);
        let secret = field.place == Place::Cookie || redact::is_secret_name(field.name);
        let shown = views.get(answer.view).map_or(&[][..], |view| view.bytes);
        let Some(model) = self.model.as_ref().filter(|_| !secret) else { return text };
        for (bytes, adds) in model.strongest(&mut self.features, shown, SHOWN) {
            let _ = write!(text, " `{}` {adds:+.2}", named(&bytes));
        }
        text.truncate(text.floor_char_boundary(EVIDENCE_LEN));
        text
    }
}

/// A sequence as text: where the value begins and ends is a sign of its own.
fn named(bytes: &[u8]) -> String {
    printable(bytes, 32).replace("\\x02", "^").replace("\\x03", "$").replace("\\x80", "?")
}

/// The view without the wire's encoding, and what further decoders make of it; not those that only fold.
fn candidates(views: &Views) -> impl Iterator<Item = (usize, View<'_>)> {
    let decoded = views.decoded_number();
    let tells = move |(number, view): &(usize, View<'_>)| {
        *number == decoded || !matches!(view.chain.iter().last(), Some(Decoder::Fold | Decoder::Path))
    };
    views.iter().enumerate().skip(decoded).filter(tells).take(MAX_VIEWS)
}

/// Whether a value is a name or a number: what is suspicious about it is where it stands.
fn is_word(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// Whether a value has a mix of special characters as words, numbers, names and addresses do not have.
fn is_unusual(value: &[u8]) -> bool {
    let met = value.iter().fold(0_u32, |met, &byte| met | MARKS[usize::from(byte)]);
    let different = met.count_ones();
    different >= MANY_MARKS || different == 2 && value.len() < 2 * BYTES_A_MARK
}

/// A bit for each special character that has a meaning to some interpreter.
const MARKS: [u32; 256] = {
    let marks = b"'\"<>(){}[];|&$`\\=%#*^!";
    let mut bits = [0; 256];
    let mut number = 0;
    while number < marks.len() {
        bits[marks[number] as usize] = 1 << number;
        number += 1;
    }
    bits
};

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(opinion: &mut Opinion, value: &str) -> Option<Answer> {
        let mut views = Views::default();
        views.fill(&field("q", value));
        opinion.ask(&views, Beside::Finding)
    }

    fn field<'a>(name: &'a str, value: &'a str) -> Field<'a> {
        Field { place: Place::Json, name: name.as_bytes(), value: value.as_bytes(), offset: 0 }
    }

    fn opinion(most: usize) -> Opinion {
        let mut opinion = Opinion::default();
        opinion.ask_for(most);
        opinion.begin();
        opinion
    }

    #[test]
    fn attacks_resemble_attacks_and_ordinary_text_does_not() {
        let mut opinion = opinion(100);
        for value in ["' or 'a'='a' -- ", "<svg onload=alert(1)>", "$(cat /etc/passwd)", "{{7*7}}{{config}}"]
        {
            assert!(ask(&mut opinion, value).is_some(), "{value}");
        }
        for value in
            ["admin", "O'Brien & Sons (Dublin)", "{\"id\": 42, \"name\": \"x\"}", "it's 5 o'clock; see you!"]
        {
            assert_eq!(ask(&mut opinion, value), None, "{value}");
        }
    }

    #[test]
    fn a_message_is_asked_about_so_often_only() {
        let mut opinion = opinion(2);
        for _ in 0..5 {
            ask(&mut opinion, "<svg onload=alert(1)>");
        }
        assert_eq!((opinion.asked, opinion.skipped), (2, 3));
        opinion.begin();
        assert!(ask(&mut opinion, "<svg onload=alert(1)>").is_some());
        assert_eq!(self::opinion(0).model, None);
    }

    #[test]
    fn the_explanation_names_sequences_and_no_secrets() {
        let mut opinion = opinion(9);
        let value = "<svg/onload=alert(1)>";
        let mut views = Views::default();
        views.fill(&field("q", value));
        let answer = opinion.ask(&views, Beside::Finding).unwrap();
        let text = opinion.explain(answer, &field("q", value), &views);
        assert!(text.starts_with("sum +") && text.matches('`').count() >= 6, "{text}");
        assert!(text.len() <= EVIDENCE_LEN && !text.contains('\x02'));
        let secret = opinion.explain(answer, &field("password", value), &views);
        assert!(!secret.contains('`'), "{secret}");
    }

    #[test]
    fn an_unusual_mix_is_of_several_characters() {
        for (value, unusual) in [
            ("plain words, and more.", false),
            ("a=1&b=2&c=3&d=4", true),
            ("x='1", true),
            ("https://shop.example/a?b=1", false),
            ("{\"a\": [1]}", true),
            ("name (with brackets)", false),
        ] {
            assert_eq!(is_unusual(value.as_bytes()), unusual, "{value}");
        }
    }
}
