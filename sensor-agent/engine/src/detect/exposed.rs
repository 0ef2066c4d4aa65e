//! Exposures in a response → findings, one a kind. What is secret never stands in a finding: it says how often, and where first.
//! Texts about errors are full of errors: what a page shows as code, without having failed itself, counts for half.

use super::builtin::Code;
use super::exposure::{self, Exposure, Kind};
use super::scan::MAX_VIEW_BYTES;
use super::{Claim, Detector, Part};
use crate::field::{Field, Fields, Place};
use crate::finding::{EVIDENCE_LEN, Finding, printable};
use crate::rule::Views;

/// How far before an error its element is looked for, in bytes.
const ELEMENT: usize = 2048;
/// What an error in a text about errors counts.
const QUOTED: f32 = 0.5;

impl Detector {
    /// What the response's body exposes.
    pub(super) fn exposed(&mut self, part: Part<'_>, findings: &mut Vec<Finding>) {
        let path = part.request.path();
        for field in part.fields.iter().filter(|field| field.place == Place::ResponseBody) {
            let text = field.value.get(..MAX_VIEW_BYTES).unwrap_or(field.value);
            self.stats.uninspected_bytes += (field.value.len() - text.len()) as u64;
            self.stats.coded_steps += text.len() as u64;
            let mut found = Vec::new();
            exposure::find(text, &mut found);
            for one in &mut found {
                one.confidence *= weight(one, text, part.fields);
            }
            for (first, count) in by_kind(&found) {
                let Some(info) = self.infos.get(code(first.kind)) else { continue };
                if self.rules.exceptions().iter().any(|one| one.covers(&info.id, path, &field)) {
                    self.stats.findings_excepted += 1;
                    continue;
                }
                findings.push(finding(
                    &super::claim(info, code(first.kind), first.confidence),
                    &field,
                    first,
                    count,
                ));
            }
        }
    }
}

/// The surest exposure of each kind, of equal ones the first, and how many there are.
fn by_kind(found: &[Exposure]) -> Vec<(Exposure, usize)> {
    let mut kinds: Vec<(Exposure, usize)> = Vec::new();
    for &one in found {
        match kinds.iter_mut().find(|(known, _)| known.kind == one.kind) {
            Some((known, count)) => {
                *count += 1;
                if one.confidence > known.confidence {
                    *known = one;
                }
            }
            None => kinds.push((one, 1)),
        }
    }
    kinds
}

fn finding(claim: &Claim<'_>, field: &Field<'_>, one: Exposure, count: usize) -> Finding {
    let mut finding = super::finding(claim, field, &Views::default(), 0, one.start..one.end);
    let shown = if is_secret(one.kind) {
        "[redacted]".to_owned()
    } else {
        printable(field.value.get(one.start..one.end).unwrap_or_default(), EVIDENCE_LEN / 2)
    };
    finding.evidence = format!("{shown} ({count} in this response)");
    finding
}

/// Whether what is exposed must not be told again.
fn is_secret(kind: Kind) -> bool {
    matches!(kind, Kind::Card | Kind::Account | Kind::PrivateKey | Kind::Token | Kind::PasswordHash)
}

/// What an exposure counts where it stands.
fn weight(one: &Exposure, text: &[u8], fields: &Fields) -> f32 {
    if is_secret(one.kind) || matches!(one.kind, Kind::Listing | Kind::WebShell | Kind::CommandOutput) {
        return 1.0;
    }
    let value = |place, name: &[u8]| fields.get(place, name).map(|field| field.value).unwrap_or_default();
    let content_type = value(Place::ResponseHeader, b"content-type");
    let script = content_type.windows(10).any(|part| part.eq_ignore_ascii_case(b"javascript"));
    let failed = value(Place::ResponseStatus, b"").starts_with(b"5");
    let told = is_in_code(text, one.start) || is_in_quotes(text, one) || is_in_prose(text, one.start);
    if script || !failed && told { QUOTED } else { 1.0 }
}

/// Fewest words in a row in front of an error that make it part of a sentence.
const SENTENCE: usize = 6;

/// Whether quotation marks stand around what is exposed, as in a sentence about it, and not as around a value in JSON.
fn is_in_quotes(text: &[u8], one: &Exposure) -> bool {
    let before = text.get(one.start.saturating_sub(ELEMENT)..one.start).unwrap_or_default();
    // The beginning of the error may stand in front of its sign.
    let line = before.rsplit(|byte| matches!(byte, b'\n' | b'>' | b'<')).next().unwrap_or_default();
    let marks =
        [&b"\xe2\x80\x9c"[..], b"\\\"", b"&quot;", b"&ldquo;", b"&#34;", b" \"", b" '", b"(\"", b" `"];
    let opened = marks.into_iter().filter_map(|mark| memchr::memmem::rfind(line, mark)).max();
    let Some(opened) = opened else { return false };
    let words = line.get(..opened).unwrap_or_default();
    words.split(|byte| *byte == b' ').filter(|word| is_word(word)).count() > 1
}

/// Whether a sentence leads to what stands at `at`, in the same paragraph.
fn is_in_prose(text: &[u8], at: usize) -> bool {
    let before = text.get(at.saturating_sub(ELEMENT)..at).unwrap_or_default();
    let paragraph =
        before.rsplit(|byte| matches!(byte, b'\n' | b'>' | b'{' | b'[')).next().unwrap_or_default();
    let tail = paragraph.rsplit(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let mut run = 0;
    for word in tail.take(4 * SENTENCE) {
        run = if is_word(word) { run + 1 } else { 0 };
        if run >= SENTENCE {
            return true;
        }
    }
    false
}

/// A word of a sentence, with the marks that follow one.
fn is_word(word: &[u8]) -> bool {
    let core = word.trim_ascii_end();
    let core = core.strip_prefix(b"\"").unwrap_or(core);
    let core = core
        .strip_suffix(b",")
        .or_else(|| core.strip_suffix(b":"))
        .or_else(|| core.strip_suffix(b"."))
        .unwrap_or(core);
    !core.is_empty() && core.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'\'' || *byte >= 0x80)
}

/// Whether a page shows what stands at `at` as code.
fn is_in_code(text: &[u8], at: usize) -> bool {
    let before = text.get(at.saturating_sub(ELEMENT)..at).unwrap_or_default();
    let last = |word: &[u8]| memchr::memmem::rfind(before, word);
    [(&b"<code"[..], &b"</code"[..]), (b"<pre", b"</pre"), (b"```", b"\0"), (b"<textarea", b"</textarea")]
        .iter()
        .any(|(begin, end)| last(begin).is_some_and(|begun| last(end).is_none_or(|ended| ended < begun)))
}

fn code(kind: Kind) -> Code {
    match kind {
        Kind::Card => Code::ExposedCard,
        Kind::Account => Code::ExposedAccount,
        Kind::PrivateKey => Code::ExposedKey,
        Kind::Token => Code::ExposedToken,
        Kind::PasswordHash => Code::ExposedHash,
        Kind::SqlError => Code::ExposedSqlError,
        Kind::StackTrace => Code::ExposedTrace,
        Kind::SourceCode => Code::ExposedSource,
        Kind::Listing => Code::ExposedListing,
        Kind::WebShell => Code::ExposedShell,
        Kind::CommandOutput => Code::ExposedOutput,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::detect::Phase;
    use crate::http::message::Request;
    use crate::rule::RuleSet;

    /// What is found in a response of this status and body, as `id` and whether it is sure enough to be reported.
    fn found(status: &str, body: &str) -> Vec<Finding> {
        let mut fields = Fields::default();
        fields.push(Place::ResponseStatus, b"", status.as_bytes(), 0);
        fields.push(Place::ResponseBody, b"", body.as_bytes(), 0);
        let mut detector = Detector::new(Arc::new(RuleSet::default()));
        let part = Part { phase: Phase::Response, request: &Request::default(), fields: &fields };
        let mut findings = Vec::new();
        detector.inspect(part, &mut findings);
        assert_eq!((findings.len(), detector.looks_for_exposures()), (0, false), "nobody asked for it");
        detector.look_for_exposures(true);
        detector.inspect(part, &mut findings);
        assert!(detector.looks_for_exposures() && detector.stats().coded_steps >= body.len() as u64);
        findings.retain(|finding| finding.confidence.get() > 0.5);
        findings
    }

    #[track_caller]
    fn check(status: &str, body: &str, expected: &[&str]) {
        let got = found(status, body);
        let ids: Vec<_> = got.iter().map(|finding| finding.rule.id.as_str()).collect();
        assert_eq!(ids, expected, "{status} {body}");
    }

    #[test]
    fn what_a_response_exposes_and_what_only_looks_so() {
        let error = "You have an error in your SQL syntax; check the manual";
        check("200", error, &["exposed-sql-error"]);
        check("200", &format!("<p>It says <code>{error}</code> then.</p>"), &[]);
        check("500", &format!("<pre>{error}</pre>"), &["exposed-sql-error"]);
        check("200", &format!("<code>x</code> {error}"), &["exposed-sql-error"]);
        check("200", &format!("<p>If the query is built by hand, MySQL answers: {error}.</p>"), &[]);
        check("200", &format!("<p>The message \u{201c}{error}\u{201d} means that</p>"), &[]);
        check("200", &format!("{{\"title\": \"What does \\\"{error}\\\" mean?\"}}"), &[]);
        check("200", &format!("{{\"error\": \"{error}\"}}"), &["exposed-sql-error"]);
        check("200", &format!("<b>Query failed:</b> {error}"), &["exposed-sql-error"]);
        check("200", "uid=33(www-data) gid=33(www-data) groups=33(www-data)", &["exposed-command-output"]);
        check("500", "java.lang.NullPointerException\n", &["exposed-stack-trace"]);
        check("200", "{\"card\": \"4111 1111 1111 1111\"}", &["exposed-card-number"]);
        check("200", "{\"card\": 4111111111111111}", &["exposed-card-number"]);
        check("200", "{\"id\": 4111111111111111, \"price\": 12.5}", &[]);
        check("200", "<td>4111111111111111<td>5555555555554444<td>378282246310005", &["exposed-card-number"]);
        check("200", "4111111111111111,5555555555554444,378282246310005,4111111111111112", &[]);
        check("200", "<title>Index of /backup</title>", &["exposed-listing"]);
        check("200", "<title>Index of terms</title>", &[]);
    }

    #[test]
    fn what_is_secret_is_not_told_again() {
        for (body, secret) in [
            ("pan 4111 1111 1111 1111, 4111 1111 1111 1111", "1111"),
            ("key=AKIAIOSFODNN7EXAMPLE", "IOSF"),
            ("IBAN DE89 3704 0044 0532 0130 00", "3704"),
        ] {
            let got = found("200", body);
            assert!(got.len() == 1 && !got[0].evidence.contains(secret), "{got:?}");
            assert!(got[0].evidence.starts_with("[redacted] ("), "{got:?}");
        }
    }
}
