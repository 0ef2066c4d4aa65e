//! Payloads that came back. A page that holds what was sent, with the signs that make it active and none of them escaped, or a
//! head with the header that a value smuggled in, proves that the attack worked.

use crate::field::{Fields, Place};
use crate::finding::{Confidence, Finding, printable};
use crate::http::message::Response;
use crate::rule::Views;

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
}

/// Whether a finding of this topic can be proved by its payload alone.
pub(super) fn is_provable(finding: &Finding) -> bool {
    matches!(finding.rule.topic(), Some("xss" | "crlf" | "ssti"))
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
        for sign in signs(views.decoded().bytes) {
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

/// Makes sure of the findings that a response proves. Whether there are any; the others are taken out.
pub(super) fn confirm(
    probes: &[Probe],
    response: &Response,
    body: &[u8],
    findings: &mut Vec<Finding>,
) -> bool {
    let proved = |finding: &Finding| {
        let of_field = probes.iter().filter(|probe| probe.field == finding.field);
        is_provable(finding) && of_field.into_iter().any(|probe| probe.sign.shows(response, body))
    };
    findings.retain(proved);
    for finding in findings.iter_mut() {
        let sure = Confidence::new(CONFIRMED).unwrap_or(finding.confidence);
        finding.confidence = if finding.confidence < sure { sure } else { finding.confidence };
    }
    !findings.is_empty()
}

impl Sign {
    fn shows(&self, response: &Response, body: &[u8]) -> bool {
        match self {
            Self::Body(text) => memchr::memmem::find(body, text).is_some(),
            Self::Header(name, value) => response
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
}
