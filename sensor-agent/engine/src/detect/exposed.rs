//! Exposures in a response → findings, one a kind. What is secret never stands in a finding: it says how often, and where first.
//! Texts about errors are full of errors: what a page shows as code or in a sentence, without having failed itself, counts for half, and so
//! do published examples of secrets where they are shown as that.

use super::builtin::Code;
use super::exposure::sample::{self, Likeness};
use super::exposure::{self, Exposure, Kind};
use super::report::{self, Claim, claim};
use super::scan::MAX_VIEW_BYTES;
use super::{Detector, Part};
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
            let told =
                Told { text, fields: part.fields, suspicious: self.suspicious, hashes: hashes(&found) };
            for one in &mut found {
                one.confidence *= told.weight(one);
            }
            for (first, count) in by_kind(&found) {
                let Some(info) = self.infos.get(code(first.kind)) else { continue };
                if self.rules.exceptions().iter().any(|one| one.covers(&info.id, path, &field)) {
                    self.stats.findings_excepted += 1;
                    continue;
                }
                findings.push(finding(
                    &claim(info, code(first.kind), first.confidence),
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
    let mut finding = report::finding(claim, field, &Views::default(), 0, one.start..one.end);
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

/// Hashes of passwords in one response from which they are a list, and no example.
const LIST: usize = 3;

fn hashes(found: &[Exposure]) -> usize {
    found.iter().filter(|one| one.kind == Kind::PasswordHash).count()
}

/// A response, and what is known of it.
struct Told<'a> {
    text: &'a [u8],
    fields: &'a Fields,
    /// Whether something was found in the request.
    suspicious: bool,
    /// Hashes of passwords in it.
    hashes: usize,
}

impl Told<'_> {
    /// What an exposure counts where it stands.
    fn weight(&self, one: &Exposure) -> f32 {
        let quoted = match one.kind {
            Kind::Listing | Kind::WebShell => false,
            Kind::Card | Kind::Account | Kind::PrivateKey | Kind::Token => self.is_example(one),
            Kind::PasswordHash => !self.suspicious && self.hashes < LIST && self.is_told(one),
            Kind::CommandOutput => !self.suspicious && self.is_told(one),
            Kind::SqlError | Kind::StackTrace | Kind::SourceCode => self.is_quoted(one),
        };
        if quoted { QUOTED } else { 1.0 }
    }

    /// Whether a secret is nobody's, and shown as that.
    fn is_example(&self, one: &Exposure) -> bool {
        match sample::likeness(self.text, one) {
            Likeness::Real => false,
            Likeness::Published => sample::says_example(self.text, one.start) || self.is_told(one),
            Likeness::Placeholder => true,
        }
    }

    /// Whether an error or code is one that scripts look for or texts speak of.
    fn is_quoted(&self, one: &Exposure) -> bool {
        let failed = self.value(Place::ResponseStatus, b"").starts_with(b"5");
        self.is_of_type(b"javascript") || !failed && self.is_told(one)
    }

    /// Whether the page speaks of it.
    fn is_told(&self, one: &Exposure) -> bool {
        self.is_of_type(b"markdown")
            || is_in_code(self.text, one.start)
            || self.is_headline(one.start)
            || is_in_quotes(self.text, one)
            || is_in_prose(self.text, one.start)
            || is_amid_prose(self.text, one)
    }

    /// Whether it begins the title of a text in JSON, in an answer that went well.
    fn is_headline(&self, at: usize) -> bool {
        let before = self.text.get(at.saturating_sub(HEADLINE)..at).unwrap_or_default();
        let Some(name) = before.strip_suffix(b"\"").map(<[u8]>::trim_ascii_end) else { return false };
        let Some(name) = name.strip_suffix(b":").map(<[u8]>::trim_ascii_end) else { return false };
        self.value(Place::ResponseStatus, b"").starts_with(b"2")
            && [&b"\"title\""[..], b"\"subject\"", b"\"headline\"", b"\"question\""]
                .iter()
                .any(|one| name.ends_with(one))
    }

    fn is_of_type(&self, word: &[u8]) -> bool {
        let content_type = self.value(Place::ResponseHeader, b"content-type");
        content_type.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
    }

    fn value(&self, place: Place, name: &[u8]) -> &[u8] {
        self.fields.get(place, name).map(|field| field.value).unwrap_or_default()
    }
}

/// How far in front of a value its name in JSON may begin, in bytes.
const HEADLINE: usize = 24;
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

/// Fewest words on either side of an error in the middle of a sentence.
const SIDE: usize = 3;

/// Whether a sentence goes on from what leads to an error to what stands behind it: `Python prints Traceback … you read it from below`. In front of
/// an error that is one, a colon or a tag stands, and behind it its own words.
fn is_amid_prose(text: &[u8], one: &Exposure) -> bool {
    let part = |byte: &&u8| !byte.is_ascii_whitespace() && !matches!(**byte, b'<' | b'>' | b'"');
    let before = text.get(one.start.saturating_sub(ELEMENT)..one.start).unwrap_or_default();
    // The sign may begin within a word: `java.sql.SQLException`.
    let within = before.iter().rev().take_while(part).count();
    let before = before.get(..before.len() - within).unwrap_or_default();
    let behind = text.get(one.end..text.len().min(one.end + ELEMENT)).unwrap_or_default();
    let behind = behind.get(behind.iter().take_while(part).count()..).unwrap_or_default();
    let lower = |word: &&[u8]| {
        is_word(word) && !word.ends_with(b":") && word.first().is_some_and(|one| !one.is_ascii_punctuation())
    };
    let line = before.rsplit(|byte| matches!(byte, b'\n' | b'>' | b'{' | b'[')).next().unwrap_or_default();
    let ahead = line.rsplit(|byte| *byte == b' ').filter(|word| !word.is_empty()).take(SIDE);
    let line = behind.split(|byte| matches!(byte, b'\n' | b'<')).next().unwrap_or_default();
    let after = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).take(SIDE);
    ahead.filter(lower).count() == SIDE && after.filter(lower).count() == SIDE
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
    [
        (&b"<code"[..], &b"</code"[..]),
        (b"<pre", b"</pre"),
        (b"```", b"\0"),
        (b"<textarea", b"</textarea"),
        (b"<em>", b"</em>"),
        (b"<q>", b"</q>"),
        (b"<samp", b"</samp"),
        (b"<kbd", b"</kbd"),
    ]
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
