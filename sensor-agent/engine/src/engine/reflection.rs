//! Responses that prove that an attack worked: a page that holds what was sent, with the signs that make it active and none of them
//! escaped, a head with the header that a value smuggled in, an answer that is as late as a payload asked for, and what only a server
//! gives away on which the payload had its effect (an error of the database, a file, the output of a command).

use std::time::Duration;

use crate::field::{Fields, Place};
use crate::finding::{Confidence, Finding, printable};
use crate::http::message::Response;
use crate::rule::Views;

/// An answer that takes longer than it was asked to has its own reasons.
const DELAY_SLACK: Duration = Duration::from_secs(2);
/// Most payloads of a request that are looked for.
const MAX_PROBES: usize = 8;
/// Fewest and most bytes of a payload: a short one stands in many pages anyway, and the beginning of a long one tells enough.
const MIN_TEXT: usize = 10;
const MAX_TEXT: usize = 128;
/// Confidence of a finding whose payload came back.
const CONFIRMED: f32 = 0.98;
/// Longest name of a field, as findings have it.
const MAX_NAME: usize = crate::detect::MAX_FIELD_NAME;

/// What would prove a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    /// Name of the field that the payload stood in.
    field: String,
    sign: Sign,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sign {
    /// These bytes in the body.
    Body(Vec<u8>),
    /// A header whose value begins so.
    Header(Vec<u8>, Vec<u8>),
    /// An answer that takes so long.
    Delay(Duration),
}

/// What a response shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) response: &'a Response,
    pub(super) body: &'a [u8],
    /// From the request's end to the response's beginning.
    pub(super) delay: Duration,
    /// What was found in the response itself.
    pub(super) shown: &'a [Finding],
}

/// What is found in a response, and the topics of attacks that it is the effect of.
const EFFECTS: &[(&str, &[&str])] = &[
    ("exposed-sql-error", &["sqli"]),
    ("exposed-command-output", &["rce", "ssti", "deser"]),
    ("exposed-password-hash", &["lfi", "xxe", "rce"]),
    ("exposed-private-key", &["lfi", "xxe", "rce"]),
    ("exposed-source-code", &["lfi", "xxe"]),
];
/// A finding that nobody would hear of is not made sure by what a response shows.
const WORTH_PROVING: f32 = 0.5;
/// Delays that are looked for, in seconds: applications are slow by themselves too.
const DELAYS: std::ops::RangeInclusive<u64> = 3..=60;

/// Whether a finding of this topic can be proved by its payload alone.
pub(super) fn is_provable(finding: &Finding) -> bool {
    matches!(finding.rule.topic(), Some("xss" | "crlf" | "ssti")) || can_delay(finding)
}

fn can_delay(finding: &Finding) -> bool {
    matches!(finding.rule.topic(), Some("sqli" | "rce" | "nosql"))
        && finding.confidence.get() >= WORTH_PROVING
}

/// Whether a response shows the effect of a finding.
fn shows_effect(finding: &Finding, shown: &[Finding]) -> bool {
    let of = |id: &str| EFFECTS.iter().find(|(known, _)| *known == id).map_or(&[][..], |(_, topics)| *topics);
    let topic = finding.rule.topic().unwrap_or_default();
    finding.confidence.get() >= WORTH_PROVING && shown.iter().any(|one| of(&one.rule.id).contains(&topic))
}

/// The signs that would prove `findings`, which were made of `fields`.
pub(super) fn probes(fields: &Fields, findings: &[Finding], views: &mut Views, out: &mut Vec<Probe>) {
    for finding in findings.iter().filter(|finding| is_provable(finding)) {
        if out.iter().any(|known| known.field == finding.field) {
            continue;
        }
        let named = |name: &str| printable(name.as_bytes(), MAX_NAME) == finding.field;
        let of_field = fields.iter().find(|field| field.place != Place::Target && named(&field.to_string()));
        let Some(field) = of_field else { continue };
        views.fill(&field);
        let decoded = views.decoded().bytes;
        let found = if can_delay(finding) { delay(decoded).into_iter().collect() } else { signs(decoded) };
        for sign in found {
            if out.len() < MAX_PROBES {
                out.push(Probe { field: finding.field.clone(), sign });
            }
        }
    }
}

/// What of a value would show in a response: markup, and headers behind line ends.
fn signs(value: &[u8]) -> Vec<Sign> {
    let mut signs = Vec::new();
    for line in value.split(|&byte| byte == b'\n').skip(1) {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, text) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if !name.is_empty() && !text.is_empty() {
            signs.push(Sign::Header(name.to_vec(), text.to_vec()));
        }
    }
    if let Some(start) = value.iter().position(|byte| matches!(byte, b'<' | b'>' | b'"' | b'\'')) {
        let text = value[start..].split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let text = text.get(..MAX_TEXT).unwrap_or(text);
        if text.len() >= MIN_TEXT {
            signs.push(Sign::Body(text.to_vec()));
        }
    }
    signs
}

/// The delay that a payload asks for: `SLEEP(5)`, `WAITFOR DELAY '0:0:5'`, `sleep 5`.
fn delay(value: &[u8]) -> Option<Sign> {
    let after = |word: &[u8]| {
        let at = value.windows(word.len()).position(|window| window.eq_ignore_ascii_case(word))?;
        value.get(at + word.len()..)
    };
    let rest = after(b"sleep").or_else(|| after(b"delay"))?;
    let start = rest.iter().take(MAX_GAP).position(u8::is_ascii_digit)?;
    let digits = rest.get(start..)?.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b':');
    let number = digits.take(MAX_GAP).try_fold((0_u64, 0_u64), |(whole, part), byte| match byte {
        b':' => Some((whole.checked_add(part)?.checked_mul(60)?, 0)),
        digit => Some((whole, part.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?)),
    });
    let seconds = number.and_then(|(whole, part)| whole.checked_add(part));
    seconds
        .filter(|seconds| DELAYS.contains(seconds))
        .map(|seconds| Sign::Delay(Duration::from_secs(seconds)))
}

/// Bytes between the word and the number, and of the number.
const MAX_GAP: usize = 12;

/// Makes sure of the findings that a response proves. Whether there are any; the others are taken out.
pub(super) fn confirm(probes: &[Probe], seen: Seen<'_>, findings: &mut Vec<Finding>) -> bool {
    let proved = |finding: &Finding| {
        let of_field = probes.iter().filter(|probe| probe.field == finding.field);
        let probed = is_provable(finding) && of_field.into_iter().any(|probe| probe.sign.shows(seen));
        probed || shows_effect(finding, seen.shown)
    };
    findings.retain(proved);
    for finding in findings.iter_mut() {
        let sure = Confidence::new(CONFIRMED).unwrap_or(finding.confidence);
        finding.confidence = if finding.confidence < sure { sure } else { finding.confidence };
    }
    !findings.is_empty()
}

impl Sign {
    fn shows(&self, seen: Seen<'_>) -> bool {
        match self {
            Self::Body(text) => memchr::memmem::find(seen.body, text).is_some(),
            Self::Delay(asked) => (*asked..*asked + DELAY_SLACK).contains(&seen.delay),
            Self::Header(name, value) => seen
                .response
                .headers()
                .any(|(known, text)| known.eq_ignore_ascii_case(name) && text.starts_with(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_values() {
        let header = |name: &[u8], value: &[u8]| Sign::Header(name.to_vec(), value.to_vec());
        assert_eq!(
            signs(b"x\"><script>alert(1)</script>"),
            [Sign::Body(b"\"><script>alert(1)</script>".into())]
        );
        assert_eq!(signs(b"/x\r\nSet-Cookie: a=b"), [header(b"Set-Cookie", b"a=b")]);
        assert_eq!(signs(b"x\n\n<b>short"), []);
        assert_eq!(signs(b"<script>"), []);
    }

    #[test]
    fn delays_that_payloads_ask_for() {
        let rows: &[(&str, Option<u64>)] = &[
            ("1' AND SLEEP(5)-- ", Some(5)),
            ("1; WAITFOR DELAY '0:0:10'--", Some(10)),
            ("1;waitfor/**/delay'0:1:0'", Some(60)),
            ("x||pg_sleep(7)--", Some(7)),
            ("; sleep 5", Some(5)),
            ("1 and sleep(1)", None),
            ("1 and sleep(99999999999999999999999)", None),
            ("1 and sleep(3600)", None),
            ("asleep at the wheel, we counted to 9", None),
            ("1' or '1'='1", None),
        ];
        for (value, expected) in rows {
            let expected = expected.map(|seconds| Sign::Delay(Duration::from_secs(seconds)));
            assert_eq!(delay(value.as_bytes()), expected, "{value}");
        }
    }
}
