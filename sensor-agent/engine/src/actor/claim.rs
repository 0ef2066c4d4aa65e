//! From what was counted to what is told: a claim becomes a finding with the counts, the time they took and a few requests.

use std::sync::Arc;

use super::Scene;
use crate::detect::builtin::{BUILTINS, Code, info};
use crate::detect::redact;
use crate::facts::window::fold;
use crate::facts::{Facts, Text};
use crate::finding::{Class, Confidence, EVIDENCE_LEN, Finding, Response, RuleInfo, Severity, printable};

/// Detections that name a client who may be the victim, or the application itself: they never block.
const OBSERVED: &[Code] = &[
    Code::LoginDistributed,
    Code::LoginBotnet,
    Code::AnonymousAccess,
    Code::SessionKept,
    Code::SessionShared,
    Code::SessionSequence,
    Code::SessionShort,
    Code::SessionAttributes,
    Code::SessionInTarget,
    Code::CsrfMissingToken,
];

/// Something counted, and how sure it makes.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) code: Code,
    pub(super) confidence: f32,
    /// Seconds within which it was counted; 0 where time does not matter.
    pub(super) secs: u64,
    pub(super) counts: [(u32, &'static str); 3],
    /// A text of the claim's own.
    pub(super) detail: Text<64>,
    /// What it is about, where a client can have several at once.
    subject: u64,
}

impl Claim {
    pub(super) fn new<const N: usize>(
        code: Code,
        confidence: f32,
        secs: u64,
        counts: [(usize, &'static str); N],
    ) -> Self {
        let mut kept = [(0, ""); 3];
        for (place, (count, name)) in kept.iter_mut().zip(counts) {
            *place = (u32::try_from(count).unwrap_or(u32::MAX), name);
        }
        Self { code, confidence, secs, counts: kept, detail: Text::default(), subject: 0 }
    }

    pub(super) fn about(mut self, subject: u64) -> Self {
        self.subject = subject;
        self
    }

    /// What tells it from the client's other claims.
    pub(super) fn number(&self, scene: &Scene<'_>) -> u32 {
        Self::number_of(self.code, scene) ^ fold(self.subject)
    }

    /// The number of a claim that is about nothing but the client. Each address counts for itself: each is blocked for itself.
    pub(super) fn number_of(code: Code, scene: &Scene<'_>) -> u32 {
        code as u32 ^ fold(scene.address)
    }

    pub(super) fn with_detail(mut self, detail: &[u8]) -> Self {
        self.detail = Text::of(detail);
        self
    }
}

/// `base` at the threshold, rising to `top` at three times as many.
pub(super) fn graded(count: usize, threshold: u64, base: f32, top: f32) -> f32 {
    let threshold = threshold.max(1) as f32;
    let beyond = ((count as f32 - threshold) / (2.0 * threshold)).clamp(0.0, 1.0);
    base + (top - base) * beyond
}

/// A finding about several transactions.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// What was found.
    pub finding: Finding,
    /// What it rests on.
    pub account: Account,
}

/// What a finding about several transactions rests on. All text is printable and redacted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Seconds within which it was counted; 0 where time does not matter.
    pub window_secs: u64,
    /// What was counted: name, number.
    pub counts: Vec<(String, u32)>,
    /// Some of the requests, the last one last.
    pub examples: Vec<String>,
}

/// A request that counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Example {
    method: crate::facts::Method,
    status: u16,
    path: Text<96>,
}

impl Example {
    pub(super) fn of(facts: &Facts) -> Self {
        Self { method: facts.request.method, status: facts.response.status, path: facts.request.path_text }
    }

    /// `GET /orders/17 404`.
    pub(super) fn shown(&self) -> String {
        let path = redact::target(self.path.bytes());
        match self.status {
            0 => format!("{} {path}", self.method.name()),
            status => format!("{} {path} {status}", self.method.name()),
        }
    }
}

/// The infos of all coded detections.
#[derive(Debug)]
pub(super) struct Infos(Vec<Arc<RuleInfo>>);

impl Infos {
    pub(super) fn new() -> Self {
        let observed = |number: usize| OBSERVED.iter().any(|code| *code as usize == number);
        let infos = BUILTINS.iter().enumerate().map(|(number, builtin)| {
            let response = observed(number).then_some(Response::Observe);
            Arc::new(RuleInfo { response, ..info(builtin) })
        });
        Self(infos.collect())
    }

    pub(super) fn get(&self, code: Code) -> Option<&Arc<RuleInfo>> {
        self.0.get(code as usize)
    }
}

/// The notice of a claim.
pub(super) fn notice(claim: &Claim, rule: &Arc<RuleInfo>, examples: Vec<String>) -> Notice {
    let counts: Vec<_> = claim.counts.iter().filter(|(_, name)| !name.is_empty()).collect();
    let mut evidence: Vec<String> = counts.iter().map(|(count, name)| format!("{count} {name}")).collect();
    if !claim.detail.bytes().is_empty() {
        evidence.insert(0, printable(claim.detail.bytes(), EVIDENCE_LEN / 2));
    }
    let account = Account {
        window_secs: claim.secs,
        counts: counts.iter().map(|(count, name)| ((*name).to_owned(), *count)).collect(),
        examples,
    };
    let about =
        Told { class: claim.code.class(), severity: claim.code.severity(), confidence: claim.confidence };
    tell(rule, about, &evidence.join(", "), account)
}

/// How a finding is classed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) class: Class,
    pub(super) severity: Severity,
    pub(super) confidence: f32,
}

/// The notice of a rule.
pub(super) fn tell(rule: &Arc<RuleInfo>, told: Told, counted: &str, account: Account) -> Notice {
    let mut evidence = match account.window_secs {
        0 => counted.to_owned(),
        secs => format!("{counted} within {secs} s"),
    };
    evidence.truncate(evidence.floor_char_boundary(EVIDENCE_LEN));
    let finding = Finding {
        rule: Arc::clone(rule),
        class: told.class,
        severity: told.severity,
        confidence: Confidence::new(told.confidence).unwrap_or(Confidence::ZERO),
        field: "behaviour".to_owned(),
        offset: 0,
        length: 0,
        decoders: Vec::new(),
        evidence,
    };
    Notice { finding, account }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_hold_no_secrets_and_nothing_unprintable() {
        let shown = |path: &str| {
            let mut facts = Facts::default();
            (facts.request.path_text, facts.response.status) = (Text::of(path.as_bytes()), 404);
            Example::of(&facts).shown()
        };
        assert_eq!(shown("/a/\u{1b}[31m\r\n"), r"OTHER /a/\x1b[31m\r\n 404");
        assert_eq!(shown("/a;jsessionid=0123456789abcdef"), "OTHER /a;jsessionid=[redacted] 404");
        assert!(!shown("/users/alice@mail.example/x").contains("alice"));
        assert!(!shown("/t/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl").contains("c2lnbmF0dXJl"));
    }

    #[test]
    fn grades_rise_from_the_threshold_to_three_times_it() {
        let grade = |count| graded(count, 10, 0.7, 0.9);
        assert_eq!((grade(10), grade(30), grade(1000)), (0.7, 0.9, 0.9));
        assert!((grade(20) - 0.8).abs() < 1e-6);
    }
}
