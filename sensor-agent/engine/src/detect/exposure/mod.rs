//! What a response should not hold: card numbers and accounts that pass their check digits, keys and tokens by the forms that
//! their issuers give them, password hashes, traces of errors, source code, listings of folders.
//!
//! Nearly all texts hold none of that, which shows in a packed search for a few rare pieces and a count of digits. Only where one of the two
//! speaks against it, literals are searched, what stands around one is checked by hand, and numbers are read. All passes are linear
//! in the text, and stop at [`MAX_FOUND`].

mod numbers;
pub(crate) mod sample;
mod signs;

use signs::{Check, SIGNS};

/// Most exposures of one text: behind them it is bulk, whatever else there is.
pub const MAX_FOUND: usize = 64;
/// Fewest card numbers or accounts that make a response a bulk of personal data.
pub const BULK: usize = 10;
/// Longest token that is read behind its sign.
const MAX_TOKEN: usize = 256;

/// Kinds of what is exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Number of a payment card (Luhn, by its issuer's prefix and length).
    Card,
    /// International bank account number (ISO 13616, check digits).
    Account,
    /// A private key in PEM.
    PrivateKey,
    /// A token or key of a provider, by its form.
    Token,
    /// A hash of a password.
    PasswordHash,
    /// An error that a database sent.
    SqlError,
    /// A trace of an error in an application.
    StackTrace,
    /// Source code that a server should have run.
    SourceCode,
    /// A listing of a folder.
    Listing,
    /// A page of a web shell.
    WebShell,
    /// What a command printed.
    CommandOutput,
}

/// Something exposed: `start < end`, in bytes of the text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exposure {
    /// What it is.
    pub kind: Kind,
    /// Where it begins.
    pub start: usize,
    /// Behind its last byte.
    pub end: usize,
    /// How sure it is, from 0 to 1.
    pub confidence: f32,
}

/// Appends what `text` exposes, in the order in which it stands there. It stops at [`MAX_FOUND`].
pub fn find(text: &[u8], found: &mut Vec<Exposure>) {
    let first = found.len();
    if let Some(signs) = signs::signs().filter(|_| signs::may_be_in(text)) {
        for sign in signs.find_overlapping_iter(text) {
            let Some(&(_, kind, check, confidence)) = SIGNS.get(sign.pattern().as_usize()) else { continue };
            let Some(end) = checked(text, sign.start(), sign.end(), check) else { continue };
            // Signs that overlap are one exposure.
            let again = |one: &&mut Exposure| one.kind == kind && one.end > sign.start();
            if let Some(last) = found.get_mut(first..).and_then(|new| new.last_mut()).filter(again) {
                last.confidence = last.confidence.max(confidence);
                last.end = last.end.max(end);
            } else {
                found.push(Exposure { kind, start: sign.start(), end, confidence });
            }
            if found.len() - first >= MAX_FOUND {
                return;
            }
        }
    }
    numbers::find(text, first, found);
    if let Some(new) = found.get_mut(first..) {
        new.sort_by_key(|exposure| exposure.start);
    }
}

/// Where the exposure ends, if what follows its sign fits.
fn checked(text: &[u8], start: usize, end: usize, check: Check) -> Option<usize> {
    let behind = text.get(end..)?;
    let alone = start
        .checked_sub(1)
        .and_then(|before| text.get(before))
        .is_none_or(|byte| !byte.is_ascii_alphanumeric());
    match check {
        Check::None => Some(end),
        Check::Value(least) => {
            let count = behind.iter().take(MAX_TOKEN).take_while(is_of_token).count();
            (count >= least).then_some(end + count)
        }
        Check::Token(least) => {
            let count = behind.iter().take(MAX_TOKEN).take_while(is_of_token).count();
            let starts = alone || text.get(start) == Some(&b'.') || text.get(start) == Some(&b'$');
            (count >= least && starts).then_some(end + count)
        }
        Check::PrivateKey => {
            let line = behind.iter().take(40).position(|&byte| byte == b'\n' || byte == b'\r').unwrap_or(40);
            let line = behind.get(..line.min(behind.len()))?;
            memchr::memmem::find(line, b"PRIVATE KEY").map(|at| end + at + b"PRIVATE KEY".len())
        }
        Check::Class => ends_class(text.get(..start)?).then_some(end),
        Check::Package => is_package(text.get(..start)?).then_some(end),
        Check::Drive => {
            let apart =
                |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-');
            let path = matches!(start.checked_sub(1).and_then(|at| text.get(at)), Some(b'/' | b'\\'));
            (path && apart(behind.first())).then_some(end)
        }
        Check::Digits => {
            let count = behind.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
            (count > 0 && behind.get(count) == Some(&b' ')).then_some(end + count)
        }
        Check::Blank => {
            behind.first().is_some_and(|byte| byte.is_ascii_whitespace() || *byte == b'=').then_some(end)
        }
        Check::Near(words) => {
            let near = behind.get(..behind.len().min(100))?;
            words.iter().any(|word| memchr::memmem::find(near, word.as_bytes()).is_some()).then_some(end)
        }
    }
}

fn is_of_token(byte: &&u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-./+=$,".contains(byte)
}

/// Longest name of a class that is read, with its package.
const MAX_CLASS: usize = 120;

/// Whether the beginning of a class's name stands at the end of a text, as in `HttpParse`, with nothing in front but what begins a line or a value.
fn ends_class(before: &[u8]) -> bool {
    let near = before.get(before.len().saturating_sub(MAX_CLASS)..).unwrap_or_default();
    let part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'.' | b'_' | b'$' | b'\\');
    let count = near.iter().rev().take_while(part).count();
    let name = near.get(near.len() - count..).unwrap_or_default();
    let ahead = near.len().checked_sub(count + 1).and_then(|at| near.get(at));
    let begins =
        ahead.is_none_or(|byte| matches!(byte, b'\n' | b'>' | b'"' | b'[' | b':' | b' ' | b'(' | b'\t'));
    count > 2 && begins && name.iter().any(u8::is_ascii_uppercase)
}

/// Whether the package of a class stands at the end of a text, as in `java.lang.NullPointer`.
fn is_package(before: &[u8]) -> bool {
    let near = before.get(before.len().saturating_sub(MAX_CLASS)..).unwrap_or_default();
    let part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'.' | b'_' | b'$');
    let count = near.iter().rev().take_while(part).count();
    let name = near.get(near.len() - count..).unwrap_or_default();
    let known = [
        &b"java."[..],
        b"javax.",
        b"jakarta.",
        b"org.",
        b"com.",
        b"net.",
        b"io.",
        b"kotlin.",
        b"scala.",
        b"sun.",
    ];
    known.into_iter().any(|start| name.starts_with(start))
        && name.iter().filter(|byte| **byte == b'.').count() > 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        let mut found = Vec::new();
        find(text.as_bytes(), &mut found);
        assert!(found.iter().all(|one| one.start < one.end && one.end <= text.len()), "{found:?}");
        found.iter().map(|one| one.kind).collect()
    }

    #[test]
    fn what_is_exposed() {
        let rows: &[(&str, Kind)] = &[
            ("{\"card\":\"4111 1111 1111 1111\"}", Kind::Card),
            ("pan=5555555555554444;", Kind::Card),
            ("<td>378282246310005</td>", Kind::Card),
            ("IBAN DE89 3704 0044 0532 0130 00, please", Kind::Account),
            ("\"GB29NWBK60161331926819\"", Kind::Account),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", Kind::PrivateKey),
            ("aws_access_key_id=AKIAIOSFODNN7EXAMPLE", Kind::Token),
            ("\"hash\":\"$2b$12$EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW\"", Kind::PasswordHash),
            ("root:x:0:0:root:/root:/bin/bash", Kind::PasswordHash),
            ("SQL Error: ORA-00933: x", Kind::SqlError),
            ("ERROR 1105 (HY000): XPATH syntax error", Kind::SqlError),
            ("Traceback (most recent call last):\n  File", Kind::StackTrace),
            ("\tat com.example.Foo.bar(Foo.java:42)", Kind::StackTrace),
            ("<?php echo 1;", Kind::SourceCode),
            ("<html><title>Index of /backup</title>", Kind::Listing),
            ("<title>x - WSO 4.2.6</title>", Kind::WebShell),
        ];
        for (text, kind) in rows {
            assert!(kinds(text).contains(kind), "{text}: {:?}", kinds(text));
        }
    }

    #[test]
    fn what_only_looks_so() {
        for text in [
            "order 4111111111111112 shipped",
            "id 1234567890123456, 0000000000000000, 4444444444444444444444",
            "a1b2c34111111111111111",
            "1.4111111111111111",
            "DE89 3704 0044 0532 0130 01",
            "-----BEGIN PUBLIC KEY-----",
            "-----BEGIN CERTIFICATE-----",
            "AKIA",
            "the $2a$ prefix",
            "<?php12345",
            "sgt. ghp_ short",
            "The index of the book",
            "SQL is a language",
            "phone 555 123 4567, 2024-01-01 12:00",
            "",
        ] {
            assert_eq!(kinds(text), [], "{text}");
        }
    }

    #[test]
    fn a_bulk_is_counted_up_to_its_limit() {
        assert_eq!(kinds(&"4111111111111111 x\n".repeat(200)).len(), MAX_FOUND);
        const { assert!(BULK < MAX_FOUND) };
    }

    proptest! {
        #[test]
        fn any_text_ends(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
            let mut found = Vec::new();
            find(&bytes, &mut found);
            prop_assert!(found.len() <= MAX_FOUND && found.iter().all(|one| one.end <= bytes.len()));
        }
    }
}
