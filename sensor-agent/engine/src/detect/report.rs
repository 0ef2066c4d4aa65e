//! Hits into findings: which of them an exception covers, what the text around them takes from them, what the model adds.

use std::cell::LazyCell;
use std::ops::Range;
use std::sync::Arc;

use super::builtin::Code;
use super::document::{self, Surroundings};
use super::opinion::{self, Beside};
use super::{Detector, MAX_FIELD_NAME, MAX_FINDINGS, Part, redact};
use crate::field::{Field, Place};
use crate::finding::{Class, Confidence, Finding, RuleInfo, Severity};
use crate::rule::{Chain, Views};

/// Coded detections below this confidence are of low severity.
const WEAK: f32 = 0.5;

/// What a finding says beside where it stands.
pub(super) struct Claim<'a> {
    pub(super) info: &'a Arc<RuleInfo>,
    pub(super) class: Class,
    pub(super) severity: Severity,
    pub(super) confidence: f32,
}

impl Detector {
    /// Turns the hits in a field into findings.
    pub(super) fn report(&mut self, part: Part<'_>, field: &Field<'_>, findings: &mut Vec<Finding>) {
        let first = findings.len();
        let (earlier, dropped) = (self.earlier, &mut self.stats.findings_dropped);
        // What stands in a piece of a document is found in the whole too, and must not count twice.
        let piece = document::is_part_of_document(field, part.fields);
        let decoded = self.views.decoded().bytes;
        let text = LazyCell::new(|| Text::of(field, decoded));
        let most = |info: &RuleInfo, confidence: f32, matched: &[u8]| text.most(info, confidence, matched);
        let views = &self.views;
        let matched = |view: usize, start: usize, end: usize| {
            views.get(view).and_then(|view| view.bytes.get(start..end)).unwrap_or_default()
        };
        let path = part.request.path();
        let excepted = |id: &str| self.rules.exceptions().iter().any(|one| one.covers(id, path, field));
        for hit in &self.hits {
            let Some(rule) = self.rules.rules().get(hit.rule) else { continue };
            if excepted(&rule.info().id) {
                self.stats.findings_excepted += 1;
                self.matcher.note_excepted(hit.rule);
                continue;
            }
            if piece && !rule.counts_in_documents() {
                continue;
            }
            if !may_have_room(hit.confidence, earlier, findings, dropped) {
                continue;
            }
            let most = if rule.counts_in_documents() {
                1.0
            } else {
                most(rule.info(), hit.confidence, matched(hit.view, hit.start, hit.end))
            };
            let claim = Claim {
                info: rule.info(),
                class: rule.class(),
                severity: rule.severity(),
                confidence: hit.confidence.min(most),
            };
            if has_room(&claim, earlier, findings, dropped) {
                findings.push(finding(&claim, field, &self.views, hit.view, hit.start..hit.end));
            }
        }
        for hit in self.scanner.hits().iter().filter(|_| !piece) {
            let Some(info) = self.infos.get(hit.code).filter(|info| !excepted(&info.id)) else {
                self.stats.findings_excepted += 1;
                continue;
            };
            if !may_have_room(hit.confidence, earlier, findings, dropped) {
                continue;
            }
            // What breaks out of its place in a query does so at once; a document has a beginning of its own.
            // Nor does anybody search for a text that begins with markup which runs something.
            let opens = field.place == Place::Query && info.topic() == Some("xss");
            let at_once = hit.start < document::BEGINNING
                && hit.confidence >= document::SURE
                && (hit.breaks || opens)
                && !text.password;
            let confidence = if at_once {
                hit.confidence
            } else {
                hit.confidence.min(most(info, hit.confidence, matched(hit.view, hit.start, hit.end)))
            };
            let claim = claim(info, hit.code, confidence);
            if has_room(&claim, earlier, findings, dropped) {
                findings.push(finding(&claim, field, &self.views, hit.view, hit.start..hit.end));
            }
        }
        let unsure = unsure(findings.get(first..).unwrap_or_default());
        if let Some(class) = unsure.filter(|_| !field.place.is_response()) {
            let beside = if text.explains() { Beside::FindingInText } else { Beside::Finding };
            self.model_finding(part, field, (class, beside), findings);
        }
    }

    /// What the model says of a short value in which nothing was found.
    pub(super) fn resembles_attacks(
        &mut self,
        part: Part<'_>,
        field: &Field<'_>,
        findings: &mut Vec<Finding>,
    ) -> bool {
        let decoded = self.views.decoded().bytes;
        self.opinion.is_worth_it(field, decoded)
            && !document::is_document(field, decoded)
            && document::surroundings(field, decoded) == Surroundings::None
            && self.model_finding(part, field, (Class::InputValidation, Beside::Nothing), findings)
    }

    /// Appends a finding of the model, if it says anything of the value.
    fn model_finding(
        &mut self,
        part: Part<'_>,
        field: &Field<'_>,
        (class, beside): (Class, Beside),
        findings: &mut Vec<Finding>,
    ) -> bool {
        let Some(answer) = self.opinion.ask(&self.views, beside) else { return false };
        let info = self.opinion.info(beside);
        let path = part.request.path();
        if self.rules.exceptions().iter().any(|one| one.covers(&info.id, path, field)) {
            self.stats.findings_excepted += 1;
            return false;
        }
        let claim = Claim { info, class, severity: beside.severity(), confidence: answer.confidence };
        if !has_room(&claim, self.earlier, findings, &mut self.stats.findings_dropped) {
            return true;
        }
        let length = self.views.get(answer.view).map_or(0, |view| view.bytes.len());
        let mut found = finding(&claim, field, &self.views, answer.view, 0..length);
        found.evidence = self.opinion.explain(answer, field, &self.views);
        self.stats.model_findings += 1;
        findings.push(found);
        true
    }
}

pub(super) fn claim(info: &Arc<RuleInfo>, code: Code, confidence: f32) -> Claim<'_> {
    // A sign that is weak is no severe finding, whatever it would mean if it were true.
    let severity = if confidence < WEAK { code.severity().max(Severity::Low) } else { code.severity() };
    Claim { info, class: code.class(), severity, confidence }
}

/// The class of the surest of a value's findings, if even that is not sure: then the model is asked.
fn unsure(found: &[Finding]) -> Option<Class> {
    let surest = found.iter().max_by(|a, b| a.confidence.get().total_cmp(&b.confidence.get()))?;
    (surest.confidence.get() < opinion::SURE).then_some(surest.class)
}

/// What a value as a whole is, which may explain what was found in it.
struct Text {
    /// Whether it is a document, which quotes.
    quoted: bool,
    around: Surroundings,
    /// Whether it is a title, which names.
    titled: bool,
    /// Whether it is a password, in which anything stands by chance.
    password: bool,
}

impl Text {
    /// What `field` is, whose text behind the encoding of the wire is `decoded`.
    fn of(field: &Field<'_>, decoded: &[u8]) -> Self {
        let sent = if field.place.is_url_encoded() { decoded } else { field.value };
        Self {
            quoted: document::is_document(field, decoded),
            around: document::surroundings(field, decoded),
            titled: document::is_title(field, decoded),
            password: document::is_password(field, sent),
        }
    }

    /// The most confidence that it leaves to a match.
    fn most(&self, info: &RuleInfo, confidence: f32, matched: &[u8]) -> f32 {
        match self.around {
            _ if self.quoted => document::MOST,
            _ if self.password && document::is_by_chance(&info.id, confidence, matched) => {
                document::MOST_BY_CHANCE
            }
            _ if self.titled && document::is_named_only(info.topic(), confidence) => document::MOST,
            Surroundings::Article if info.topic() != Some("xss") => document::MOST,
            Surroundings::Sentence if confidence < document::SURE && info.topic() != Some("xss") => {
                document::MOST
            }
            _ => 1.0,
        }
    }

    /// Whether it may explain what was found.
    fn explains(&self) -> bool {
        self.quoted || self.password || self.around != Surroundings::None
    }
}

/// Whether there is room for a finding that claims at most so much; it is counted as dropped if there is none.
fn may_have_room(most: f32, earlier: usize, findings: &[Finding], dropped: &mut u64) -> bool {
    let full = weakest(findings, earlier, MAX_FINDINGS).and_then(|at| findings.get(at));
    let room = full.is_none_or(|weakest| weakest.confidence.get() < most);
    *dropped += u64::from(!room);
    room
}

/// Whether there is room for a finding that claims so much: of as many as are kept, a weaker one makes it. One is counted as dropped if
/// there was none.
fn has_room(claim: &Claim<'_>, earlier: usize, findings: &mut Vec<Finding>, dropped: &mut u64) -> bool {
    let Some(at) = weakest(findings, earlier, MAX_FINDINGS) else { return true };
    *dropped += 1;
    let weaker = findings.get(at).is_some_and(|weakest| weakest.confidence.get() < claim.confidence);
    if weaker {
        findings.remove(at);
    }
    weaker
}

/// The last of the least sure findings from `from` on, if there are so many or more.
pub(super) fn weakest(findings: &[Finding], from: usize, count: usize) -> Option<usize> {
    let of_part = findings.get(from..).filter(|of_part| of_part.len() >= count)?;
    let numbered = of_part.iter().enumerate().rev();
    let weakest = numbered.min_by(|(_, a), (_, b)| a.confidence.get().total_cmp(&b.confidence.get()))?;
    Some(from + weakest.0)
}

pub(super) fn finding(
    claim: &Claim<'_>,
    field: &Field<'_>,
    views: &Views,
    view: usize,
    span: Range<usize>,
) -> Finding {
    let (bytes, chain) = views.get(view).map_or((&[][..], Chain::default()), |view| (view.bytes, view.chain));
    Finding {
        rule: Arc::clone(claim.info),
        class: claim.class,
        severity: claim.severity,
        confidence: Confidence::new(claim.confidence).unwrap_or(Confidence::ZERO),
        field: crate::finding::printable(field.to_string().as_bytes(), MAX_FIELD_NAME),
        offset: u32::try_from(span.start).unwrap_or(u32::MAX),
        length: u32::try_from(span.len()).unwrap_or(u32::MAX),
        decoders: chain.iter().collect(),
        evidence: redact::evidence(field, bytes, span),
    }
}
