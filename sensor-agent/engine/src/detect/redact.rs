//! Redaction: secrets and personal data are cut out before text leaves the engine. What an attack consists of stays
//! readable; what a user typed into a password field, a session's cookie or a card number does not.

use crate::field::{Field, Place};
use crate::finding::{EVIDENCE_LEN, printable};

/// Stands for what was cut out.
const REDACTED: &[u8] = b"[redacted]";
/// Bytes of context on either side of the evidence.
const CONTEXT: usize = 32;
/// Longest target that is shown, in characters.
pub const TARGET_LEN: usize = 1024;

/// Parts of the names of parameters, headers and cookies that hold secrets, in lower case.
const SECRET_NAMES: &[&str] = &[
    "passw",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "accesskey",
    "access-key",
    "private_key",
    "privatekey",
    "authorization",
    "credential",
    "session",
    "sessid",
    "jwt",
    "signature",
    "cvv",
    "cvc",
    "card",
    "iban",
    "ssn",
];
/// Whole names of that kind.
const SECRET_WORDS: &[&str] = &["auth", "sid", "pin", "otp", "key", "pass", "sig", "code", "state", "nonce"];

/// Whether values under this name are secrets.
#[must_use]
pub fn is_secret_name(name: &[u8]) -> bool {
    let holds =
        |part: &&str| name.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()));
    SECRET_NAMES.iter().any(holds)
        || SECRET_WORDS.iter().any(|word| name.eq_ignore_ascii_case(word.as_bytes()))
}

/// A request target as printable text: values of secret parameters, tokens, card numbers and mail addresses are cut out.
#[must_use]
pub fn target(target: &[u8]) -> String {
    // Beyond what is shown nothing needs to be masked.
    let target = target.get(..TARGET_LEN * 2).unwrap_or(target);
    let (path, query) = match memchr::memchr(b'?', target) {
        Some(at) => (target.get(..=at).unwrap_or_default(), target.get(at + 1..).unwrap_or_default()),
        None => (target, &[][..]),
    };
    let mut text = mask(path);
    for (index, pair) in query.split(|&byte| byte == b'&').enumerate() {
        if index > 0 {
            text.push(b'&');
        }
        match memchr::memchr(b'=', pair) {
            Some(at) if is_secret_name(pair.get(..at).unwrap_or_default()) && at + 1 < pair.len() => {
                text.extend_from_slice(pair.get(..=at).unwrap_or_default());
                text.extend_from_slice(REDACTED);
            }
            _ => text.extend_from_slice(&mask(pair)),
        }
    }
    printable(&text, TARGET_LEN)
}

/// The evidence at `span` of a field's view as printable text, with some context where the field is not secret.
#[must_use]
pub fn evidence(field: &Field<'_>, view: &[u8], span: std::ops::Range<usize>) -> String {
    let secret = field.place == Place::Cookie || is_secret_name(field.name);
    let context = if secret { 0 } else { CONTEXT };
    let (start, end) = (span.start.min(view.len()), span.end.min(view.len()).max(span.start.min(view.len())));
    let cut = start.saturating_sub(context)..end.saturating_add(context).min(view.len());
    let shown = view.get(cut.clone()).unwrap_or_default();
    // Half a token or number is not recognised as one, so that what the context cuts through goes entirely.
    let shown =
        if secret { shown } else { whole_words(view, shown, &cut, start - cut.start, end - cut.start) };
    printable(&mask(shown), EVIDENCE_LEN)
}

/// `shown`, which is `view[cut]`, without words that the cut runs through; `from..to` of it is never cut.
fn whole_words<'a>(
    view: &[u8],
    shown: &'a [u8],
    cut: &std::ops::Range<usize>,
    from: usize,
    to: usize,
) -> &'a [u8] {
    let is_word =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_-.@".contains(byte));
    let mut start = 0;
    if cut.start > 0 && is_word(view.get(cut.start - 1)) {
        start = shown.iter().take(from).take_while(|byte| is_word(Some(byte))).count();
    }
    let mut end = shown.len();
    if is_word(view.get(cut.end)) {
        let tail = shown.get(to..).unwrap_or_default();
        end -= tail.iter().rev().take_while(|byte| is_word(Some(byte))).count();
    }
    shown.get(start..end).unwrap_or(shown)
}

/// Secrets that are recognisable in any text.
fn mask(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut fresh = true;
    while let Some(&byte) = rest.first() {
        let secret = if fresh { secret_length(rest) } else { None };
        match secret {
            Some((keep, cut)) => {
                out.extend_from_slice(rest.get(..keep).unwrap_or_default());
                out.extend_from_slice(REDACTED);
                rest = rest.get(keep + cut..).unwrap_or_default();
                fresh = false;
            }
            None => {
                out.push(byte);
                fresh = !byte.is_ascii_alphanumeric();
                rest = rest.get(1..).unwrap_or_default();
            }
        }
    }
    out
}

/// Bytes to keep and to cut of the secret that begins `text`.
fn secret_length(text: &[u8]) -> Option<(usize, usize)> {
    token(text).or_else(|| card_number(text)).or_else(|| mail_address(text)).or_else(|| assignment(text))
}

/// A JWT: everything behind its first part.
fn token(text: &[u8]) -> Option<(usize, usize)> {
    if !text.starts_with(b"ey") {
        return None;
    }
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'-' | b'_');
    let head = text.iter().take_while(is_part).count();
    if head < 8 || text.get(head) != Some(&b'.') {
        return None;
    }
    let cut = text.iter().skip(head + 1).take_while(|byte| is_part(byte) || **byte == b'.').count();
    (cut > 0).then_some((head + 1, cut))
}

/// 13 to 19 digits with spaces or hyphens between them whose check digit is right.
fn card_number(text: &[u8]) -> Option<(usize, usize)> {
    let mut digits = [0_u8; 20];
    let (mut count, mut len) = (0, 0);
    for (at, &byte) in text.iter().enumerate().take(40) {
        match byte {
            b'0'..=b'9' => {
                *digits.get_mut(count)? = byte - b'0';
                count += 1;
                len = at + 1;
            }
            b' ' | b'-' if count > 0 && at == len => {}
            _ => break,
        }
    }
    ((13..=19).contains(&count) && passes_luhn(digits.get(..count)?)).then_some((0, len))
}

/// The check of ISO/IEC 7812.
fn passes_luhn(digits: &[u8]) -> bool {
    let weigh = |(at, &digit): (usize, &u8)| match (at % 2, digit) {
        (0, digit) => u32::from(digit),
        (_, digit @ 0..=4) => u32::from(digit) * 2,
        (_, digit) => u32::from(digit) * 2 - 9,
    };
    let sum: u32 = digits.iter().rev().enumerate().map(weigh).sum();
    sum.is_multiple_of(10) && digits.iter().any(|&digit| digit != 0)
}

/// A mail address.
fn mail_address(text: &[u8]) -> Option<(usize, usize)> {
    let is_local = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'.' | b'_' | b'+' | b'-');
    let local = text.iter().take(64).take_while(is_local).count();
    if local == 0 || text.get(local) != Some(&b'@') {
        return None;
    }
    let domain = text.get(local + 1..)?;
    let len = domain
        .iter()
        .take(255)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(**byte, b'.' | b'-'))
        .count();
    let name = domain.get(..len)?;
    let top = name.rsplit(|&byte| byte == b'.').next()?;
    (name.contains(&b'.') && top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic))
        .then_some((0, local + 1 + len))
}

/// `password=x`, `"token": "x"`: the name and what stands between stay.
fn assignment(text: &[u8]) -> Option<(usize, usize)> {
    let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'_' | b'-');
    let name = text.iter().take(40).take_while(is_name).count();
    if name < 3 || !is_secret_name(text.get(..name)?) {
        return None;
    }
    let rest = text.get(name..)?;
    let between =
        rest.iter().take(6).take_while(|byte| matches!(**byte, b'"' | b'\'' | b' ' | b':' | b'=')).count();
    if !rest.get(..between)?.iter().any(|byte| matches!(byte, b':' | b'=')) {
        return None;
    }
    let ends = |byte: &&u8| {
        !matches!(**byte, b'&' | b'"' | b'\'' | b',' | b';' | b' ' | b'\r' | b'\n' | b'}' | b')')
    };
    let value = rest.iter().skip(between).take_while(ends).count();
    (value > 0).then_some((name + between, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_keep_the_attack_and_lose_the_secret() {
        let rows: &[(&str, &str)] = &[
            ("/login?user=bob&password=hunter2&x=1", "/login?user=bob&password=[redacted]&x=1"),
            ("/a?id=1' OR 1=1--&api_key=k", "/a?id=1' OR 1=1--&api_key=[redacted]"),
            ("/pay?n=4111-1111-1111-1111", "/pay?n=[redacted]"),
            ("/pay?n=4111-1111-1111-1112", "/pay?n=4111-1111-1111-1112"),
            ("/u/bob@example.com/x", "/u/[redacted]/x"),
            ("/t?next=eyJhbGciOiJub25lIn0.eyJzdWIi.abc", "/t?next=eyJhbGciOiJub25lIn0.[redacted]"),
            ("/?password=", "/?password="),
            ("/?q=password%3Dx \x1b[31m", "/?q=password%3Dx \\x1b[31m"),
        ];
        for (input, expected) in rows {
            assert_eq!(target(input.as_bytes()), *expected);
        }
        assert!(target(&vec![b'a'; 100_000]).len() <= TARGET_LEN);
    }

    fn shown(place: Place, name: &str, view: &str, span: std::ops::Range<usize>) -> String {
        let field = Field { place, name: name.as_bytes(), value: view.as_bytes(), offset: 0 };
        evidence(&field, view.as_bytes(), span)
    }

    #[test]
    fn evidence_has_context_but_not_of_secrets() {
        let view = "hello bob ' or 1=1 --";
        assert_eq!(shown(Place::Query, "q", view, 10..18), view);
        assert_eq!(shown(Place::Query, "password", view, 10..18), "' or 1=1");
        assert_eq!(shown(Place::Cookie, "any", view, 10..18), "' or 1=1");
        assert_eq!(
            shown(Place::Json, "q", "{\"password\": \"hunter2\", 1}", 0..1),
            "{\"password\": \"[redacted]\", 1}"
        );
    }

    #[test]
    fn a_cut_through_a_secret_takes_all_of_it() {
        let view = format!("4111111111111111{} ' or 1=1", " ".repeat(20));
        assert!(!shown(Place::Query, "q", &view, 37..45).contains("111"));
    }

    #[test]
    fn any_span_of_any_bytes_is_printable_and_bounded() {
        let bytes: Vec<u8> = (0..=255).cycle().take(2048).collect();
        let field = Field { place: Place::Text, name: b"", value: &bytes, offset: 0 };
        for (start, end) in [(0, 0), (0, 4096), (2047, 2048), (3000, 2000), (100, 1500)] {
            let text = evidence(&field, &bytes, start..end);
            assert!(text.len() <= EVIDENCE_LEN && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
}
