//! What a response should not hold: card numbers and accounts that pass their check digits, keys and tokens by the forms that
//! their issuers give them, password hashes, traces of errors, source code, listings of folders.
//!
//! Literals are searched in one pass; what follows one is checked by hand. Numbers are found by a pass over the digits. Both
//! passes are linear in the text, and stop at [`MAX_FOUND`].

use std::sync::OnceLock;

use aho_corasick::AhoCorasick;

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

/// How what follows a sign is checked.
#[derive(Clone, Copy)]
enum Check {
    /// The sign says it all.
    None,
    /// At least so many characters of a token follow.
    Token(usize),
    /// `PRIVATE KEY-----` follows on the same line.
    PrivateKey,
    /// A white space or `=` follows.
    Blank,
    /// One of these stands within the next hundred bytes.
    Near(&'static [&'static str]),
}

/// Signs, what they mean, how what follows is checked, and how sure they are then.
const SIGNS: &[(&str, Kind, Check, f32)] = &[
    ("-----BEGIN ", Kind::PrivateKey, Check::PrivateKey, 0.97),
    ("AKIA", Kind::Token, Check::Token(16), 0.9),
    ("ASIA", Kind::Token, Check::Token(16), 0.85),
    ("AIza", Kind::Token, Check::Token(35), 0.9),
    ("ghp_", Kind::Token, Check::Token(36), 0.95),
    ("gho_", Kind::Token, Check::Token(36), 0.95),
    ("ghs_", Kind::Token, Check::Token(36), 0.95),
    ("github_pat_", Kind::Token, Check::Token(40), 0.95),
    ("glpat-", Kind::Token, Check::Token(20), 0.92),
    ("xoxb-", Kind::Token, Check::Token(20), 0.92),
    ("xoxp-", Kind::Token, Check::Token(20), 0.92),
    ("sk_live_", Kind::Token, Check::Token(16), 0.95),
    ("rk_live_", Kind::Token, Check::Token(16), 0.95),
    ("SG.", Kind::Token, Check::Token(60), 0.85),
    ("npm_", Kind::Token, Check::Token(36), 0.9),
    ("hooks.slack.com/services/T", Kind::Token, Check::Token(20), 0.9),
    ("$2a$", Kind::PasswordHash, Check::Token(50), 0.92),
    ("$2b$", Kind::PasswordHash, Check::Token(50), 0.92),
    ("$2y$", Kind::PasswordHash, Check::Token(50), 0.92),
    ("$argon2", Kind::PasswordHash, Check::Token(30), 0.92),
    ("$6$", Kind::PasswordHash, Check::Token(60), 0.9),
    ("root:x:0:0:", Kind::PasswordHash, Check::None, 0.92),
    ("You have an error in your SQL syntax", Kind::SqlError, Check::None, 0.9),
    ("the used select statements have different number of columns", Kind::SqlError, Check::None, 0.9),
    ("The used SELECT statements have a different number of columns", Kind::SqlError, Check::None, 0.9),
    ("supplied argument is not a valid MySQL", Kind::SqlError, Check::None, 0.9),
    ("Unclosed quotation mark after the character string", Kind::SqlError, Check::None, 0.9),
    ("quoted string not properly terminated", Kind::SqlError, Check::None, 0.85),
    ("SQL command not properly ended", Kind::SqlError, Check::None, 0.9),
    ("ORA-0", Kind::SqlError, Check::Token(4), 0.85),
    ("ERROR:  syntax error at or near", Kind::SqlError, Check::None, 0.9),
    ("invalid input syntax for ", Kind::SqlError, Check::Near(&["integer", "type", "uuid"]), 0.85),
    ("SQLSTATE", Kind::SqlError, Check::Near(&["HY000", "42", "22", "23", "syntax", "error"]), 0.85),
    ("(HY000):", Kind::SqlError, Check::None, 0.85),
    ("org.hsqldb.", Kind::SqlError, Check::None, 0.8),
    ("java.sql.SQL", Kind::SqlError, Check::None, 0.85),
    ("PG::SyntaxError", Kind::SqlError, Check::None, 0.9),
    ("sqlite3.OperationalError", Kind::SqlError, Check::None, 0.9),
    ("SQLite3::query()", Kind::SqlError, Check::None, 0.85),
    ("][ODBC ", Kind::SqlError, Check::Near(&["rror", "river"]), 0.85),
    (" ODBC Driver][", Kind::SqlError, Check::None, 0.85),
    ("Conversion failed when converting the", Kind::SqlError, Check::None, 0.85),
    ("Dynamic SQL Error", Kind::SqlError, Check::None, 0.85),
    ("DB2 SQL ", Kind::SqlError, Check::Near(&["SQLCODE", "rror"]), 0.85),
    ("Warning: pg_", Kind::SqlError, Check::None, 0.85),
    ("Warning: mysql", Kind::SqlError, Check::None, 0.85),
    ("Traceback (most recent call last)", Kind::StackTrace, Check::None, 0.85),
    ("Exception in thread \"", Kind::StackTrace, Check::None, 0.85),
    (".java:", Kind::StackTrace, Check::Token(1), 0.75),
    ("Exception: ", Kind::StackTrace, Check::None, 0.6),
    ("Fatal error</b>: ", Kind::StackTrace, Check::None, 0.85),
    ("PHP Fatal error: ", Kind::StackTrace, Check::None, 0.85),
    ("Server Error in '/", Kind::StackTrace, Check::None, 0.85),
    ("ActionView::Template::Error", Kind::StackTrace, Check::None, 0.85),
    ("ActionController::", Kind::StackTrace, Check::Near(&["Error", "Missing"]), 0.8),
    ("ActiveRecord::", Kind::StackTrace, Check::Near(&["Error", "NotFound", "Invalid"]), 0.8),
    ("NoMethodError", Kind::StackTrace, Check::Near(&["undefined method"]), 0.8),
    ("at System.Web.", Kind::StackTrace, Check::None, 0.8),
    ("<?php", Kind::SourceCode, Check::Blank, 0.85),
    ("<title>Index of /", Kind::Listing, Check::None, 0.85),
    ("<title>Directory listing for /", Kind::Listing, Check::None, 0.85),
    ("[To Parent Directory]", Kind::Listing, Check::None, 0.85),
    (" - WSO ", Kind::WebShell, Check::None, 0.85),
    ("r57 Shell", Kind::WebShell, Check::None, 0.9),
    ("c99shell", Kind::WebShell, Check::None, 0.9),
    ("b374k", Kind::WebShell, Check::None, 0.85),
    ("Simple PHP backdoor", Kind::WebShell, Check::None, 0.9),
    ("<title>ASPYDrvsInfo", Kind::WebShell, Check::None, 0.9),
];

/// Appends what `text` exposes, in the order in which it stands there. It stops at [`MAX_FOUND`].
pub fn find(text: &[u8], found: &mut Vec<Exposure>) {
    let first = found.len();
    if let Some(signs) = signs() {
        for sign in signs.find_iter(text) {
            let Some(&(_, kind, check, confidence)) = SIGNS.get(sign.pattern().as_usize()) else { continue };
            if let Some(end) = checked(text, sign.start(), sign.end(), check) {
                found.push(Exposure { kind, start: sign.start(), end, confidence });
            }
            if found.len() - first >= MAX_FOUND {
                return;
            }
        }
    }
    numbers(text, first, found);
    accounts(text, first, found);
    if let Some(new) = found.get_mut(first..) {
        new.sort_by_key(|exposure| exposure.start);
    }
}

fn signs() -> Option<&'static AhoCorasick> {
    static BUILT: OnceLock<Option<AhoCorasick>> = OnceLock::new();
    BUILT.get_or_init(|| AhoCorasick::new(SIGNS.iter().map(|(sign, ..)| sign)).ok()).as_ref()
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
        Check::Token(least) => {
            let token = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_-./+=$,".contains(byte);
            let count = behind.iter().take(MAX_TOKEN).take_while(token).count();
            let starts = alone || text.get(start) == Some(&b'.') || text.get(start) == Some(&b'$');
            (count >= least && starts).then_some(end + count)
        }
        Check::PrivateKey => {
            let line = behind.iter().take(40).position(|&byte| byte == b'\n' || byte == b'\r').unwrap_or(40);
            let line = behind.get(..line.min(behind.len()))?;
            memchr::memmem::find(line, b"PRIVATE KEY").map(|at| end + at + b"PRIVATE KEY".len())
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

/// Digits of the longest card number.
const MAX_DIGITS: usize = 19;

/// Card numbers: groups of digits with single blanks or hyphens between them.
fn numbers(text: &[u8], first: usize, found: &mut Vec<Exposure>) {
    let (before_numbers, mut candidates, mut cards) = (found.len(), 0, 0);
    let mut at = 0;
    while let Some(start) =
        text.get(at..).and_then(|rest| rest.iter().position(u8::is_ascii_digit)).map(|skip| at + skip)
    {
        let mut digits = [0_u8; MAX_DIGITS];
        let (mut count, mut end, mut grouped) = (0, start, false);
        while let Some(&byte) = text.get(end) {
            let next = text.get(end + 1).is_some_and(u8::is_ascii_digit);
            match byte {
                b'0'..=b'9' => {
                    if let Some(slot) = digits.get_mut(count) {
                        *slot = byte - b'0';
                    }
                    count += 1;
                }
                b' ' | b'-' if next && count >= 4 => grouped = true,
                _ => break,
            }
            end += 1;
        }
        let before = start.checked_sub(1).and_then(|before| text.get(before));
        let alone = before.is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'.' && *byte != b'_')
            && text.get(end).is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
        let number = digits.get(..count).unwrap_or_default();
        let could_be = alone && is_of_issuer(number);
        candidates += usize::from(could_be);
        if could_be && passes_luhn(number) {
            cards += 1;
            let confidence = match (grouped, is_called_card(text, start)) {
                (true, _) => 0.9,
                (_, true) => 0.8,
                _ => LONE_NUMBER,
            };
            if found.len() - first < MAX_FOUND {
                found.push(Exposure { kind: Kind::Card, start, end, confidence });
            }
        }
        at = end;
    }
    // Of ten numbers that are no cards' one passes: where several are and all pass, they are cards.
    if cards >= 3 && cards == candidates {
        for one in found.iter_mut().skip(before_numbers) {
            one.confidence = one.confidence.max(0.8);
        }
    }
}

/// Confidence of a number that passes, in one piece, with nothing around it that says what it is.
const LONE_NUMBER: f32 = 0.4;

/// Whether the words before a number call it a card's.
fn is_called_card(text: &[u8], at: usize) -> bool {
    let before = text.get(at.saturating_sub(40)..at).unwrap_or_default();
    let holds = |word: &[u8]| before.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    [&b"card"[..], b"pan", b"visa", b"amex", b"kreditk", b"carte", b"tarjeta", b"cc_num", b"ccnum"]
        .into_iter()
        .any(holds)
}

/// Whether digits could be a card's: an issuer's prefix with its length, and not one digit alone.
fn is_of_issuer(digits: &[u8]) -> bool {
    let prefix =
        |count: usize| digits.iter().take(count).fold(0_u32, |sum, digit| sum * 10 + u32::from(*digit));
    let issuer = match digits.len() {
        13 | 19 => prefix(1) == 4,
        14 => matches!(prefix(2), 36 | 38 | 39) || (300..=305).contains(&prefix(3)),
        15 => matches!(prefix(2), 34 | 37),
        16 => {
            prefix(1) == 4
                || (51..=55).contains(&prefix(2))
                || (2221..=2720).contains(&prefix(4))
                || prefix(4) == 6011
                || prefix(2) == 65
                || (3528..=3589).contains(&prefix(4))
        }
        _ => false,
    };
    issuer && digits.iter().any(|digit| Some(digit) != digits.first())
}

/// Whether the check digit is right (Luhn).
fn passes_luhn(digits: &[u8]) -> bool {
    let doubled = |(at, &digit): (usize, &u8)| {
        let value = u32::from(digit) << (at & 1);
        if value > 9 { value - 9 } else { value }
    };
    digits.iter().rev().enumerate().map(doubled).sum::<u32>().is_multiple_of(10)
}

/// Lengths of account numbers by country.
const IBAN_LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AT", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"CH", 21),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DK", 18),
    (b"EE", 20),
    (b"ES", 24),
    (b"FI", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GR", 27),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IT", 27),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"MT", 31),
    (b"NL", 18),
    (b"NO", 15),
    (b"PL", 28),
    (b"PT", 25),
    (b"RO", 24),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"TR", 26),
];

/// International bank account numbers, in one piece or in groups of four.
fn accounts(text: &[u8], first: usize, found: &mut Vec<Exposure>) {
    for at in 0..text.len().saturating_sub(14) {
        let Some(&[a, b, c, d]) = text.get(at..at + 4).and_then(|four| four.first_chunk()) else { return };
        let digits = c.is_ascii_digit() && d.is_ascii_digit();
        if !digits || !a.is_ascii_uppercase() || !b.is_ascii_uppercase() {
            continue;
        }
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        let Some(&(_, length)) = IBAN_LENGTHS.iter().find(|(country, _)| **country == [a, b]) else {
            continue;
        };
        if before.is_some_and(u8::is_ascii_alphanumeric) || found.len() - first >= MAX_FOUND {
            continue;
        }
        if let Some(end) = account_end(text, at, length) {
            found.push(Exposure { kind: Kind::Account, start: at, end, confidence: 0.9 });
        }
    }
}

/// Where the account number ends, if its check digits are right (ISO 7064, mod 97-10).
fn account_end(text: &[u8], start: usize, length: usize) -> Option<usize> {
    let mut letters = [0_u8; 34];
    let (mut count, mut at) = (0, start);
    while count < length {
        match *text.get(at)? {
            byte @ (b'0'..=b'9' | b'A'..=b'Z') => {
                *letters.get_mut(count)? = byte;
                count += 1;
            }
            b' ' if count % 4 == 0 => {}
            _ => return None,
        }
        at += 1;
    }
    if text.get(at).is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    let (head, tail) = letters.get(..length)?.split_at_checked(4)?;
    let rest = tail.iter().chain(head).fold(0_u32, |rest, &byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    (rest == 1).then_some(at)
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
