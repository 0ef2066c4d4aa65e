//! What stands for a secret and is none: the numbers and keys that payment providers, banks and clouds publish as examples, and what
//! people write in a key's place. A page that shows one as an example exposes nothing; whether it does is seen from what is around it.

use super::{Exposure, Kind};

/// Card numbers that providers publish for tests.
const CARDS: &[&[u8]] = &[
    b"4242424242424242",
    b"4111111111111111",
    b"4012888888881881",
    b"4222222222222",
    b"5555555555554444",
    b"5105105105105100",
    b"5200828282828210",
    b"2223003122003222",
    b"378282246310005",
    b"371449635398431",
    b"378734493671000",
    b"6011111111111117",
    b"6011000990139424",
    b"6011981111111113",
    b"3056930009020004",
    b"30569309025904",
    b"38520000023237",
    b"36227206271667",
    b"3566002020360505",
    b"3530111333300000",
    b"6555900000604105",
];
/// No bank issues cards that begin so; a provider's tests do.
const TEST_ISSUER: &[u8] = b"400000";

/// Account numbers by which the registry and countless texts show the form.
const ACCOUNTS: &[&[u8]] = &[
    b"AT611904300234573201",
    b"BE68539007547034",
    b"CH9300762011623852957",
    b"DE89370400440532013000",
    b"ES9121000418450200051332",
    b"FR1420041010050500013M02606",
    b"GB29NWBK60161331926819",
    b"GB82WEST12345698765432",
    b"IT60X0542811101000000123456",
    b"NL91ABNA0417164300",
];

/// What people write in a key's place.
const PLACEHOLDERS: &[&[u8]] = &[b"xxxx", b"your", b"token-here", b"0000000000", b"1234567890"];

/// Words by which a text says that it shows examples, in lower case.
const WORDS: &[&[u8]] =
    &[b"test", b"example", b"sample", b"sandbox", b"dummy", b"demo", b"placeholder", b"beispiel"];
/// How far in front of a value such a word is looked for, in bytes.
const NEAR: usize = 512;
/// Fewest characters of a key behind its first line that make it one.
const LEAST_KEY: usize = 48;

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Likeness {
    /// Nothing speaks against it.
    Real,
    /// It was published as an example, but tests of a site use it as well.
    Published,
    /// It cannot be one.
    Placeholder,
}

/// Whether what is exposed is known not to be anybody's.
pub(crate) fn likeness(text: &[u8], one: &Exposure) -> Likeness {
    let value = text.get(one.start..one.end).unwrap_or_default();
    match one.kind {
        Kind::Card => published(value, |number| CARDS.contains(&number) || number.starts_with(TEST_ISSUER)),
        Kind::Account => published(value, |number| ACCOUNTS.contains(&number)),
        Kind::PrivateKey if key_length(text.get(one.end..).unwrap_or_default()) < LEAST_KEY => {
            Likeness::Published
        }
        Kind::Token if PLACEHOLDERS.iter().any(|part| holds(value, part)) => Likeness::Placeholder,
        Kind::Token if value.ends_with(b"EXAMPLE") => Likeness::Published,
        _ => Likeness::Real,
    }
}

fn published(value: &[u8], is_known: impl Fn(&[u8]) -> bool) -> Likeness {
    let mut plain = [0_u8; 34];
    let mut count = 0;
    for (place, byte) in plain.iter_mut().zip(value.iter().filter(|byte| byte.is_ascii_alphanumeric())) {
        *place = *byte;
        count += 1;
    }
    if is_known(plain.get(..count).unwrap_or_default()) { Likeness::Published } else { Likeness::Real }
}

/// Characters of a key behind its first line, as far as it is told.
fn key_length(behind: &[u8]) -> usize {
    let behind = behind.strip_prefix(b"-----").unwrap_or(behind);
    let near = behind.get(..behind.len().min(4 * LEAST_KEY)).unwrap_or_default();
    let of_key = |byte: &&u8| {
        byte.is_ascii_alphanumeric()
            || matches!(**byte, b'+' | b'/' | b'=' | b'\\')
            || byte.is_ascii_whitespace()
    };
    near.iter().take_while(of_key).filter(|byte| !byte.is_ascii_whitespace()).count()
}

/// Whether the text in front of `at` says that it shows examples.
pub(crate) fn says_example(text: &[u8], at: usize) -> bool {
    let before = text.get(at.saturating_sub(NEAR)..at).unwrap_or_default();
    WORDS.iter().any(|word| holds(before, word))
}

/// Whether `word`, in lower case, stands in `text` in any case.
fn holds(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_and_what_is_in_a_keys_place() {
        use Likeness::{Placeholder, Published, Real};
        let rows: &[(Kind, &str, &str, Likeness)] = &[
            (Kind::Card, "4242 4242 4242 4242", "", Published),
            (Kind::Card, "4000-0000-0000-0002", "", Published),
            (Kind::Card, "4539 1488 0343 6467", "", Real),
            (Kind::Account, "DE89 3704 0044 0532 0130 00", "", Published),
            (Kind::Account, "DE75 5121 0800 1245 1261 99", "", Real),
            (Kind::Token, "AKIAIOSFODNN7EXAMPLE", "", Published),
            (Kind::Token, "ghp_XXXXXXXXXXXXXXXXXXXX", "", Placeholder),
            (Kind::Token, "AKIAQ3EGR7TNVX2KWLPD", "", Real),
            (Kind::PrivateKey, "-----BEGIN PRIVATE KEY", "-----\n...\n", Published),
            (
                Kind::PrivateKey,
                "-----BEGIN PRIVATE KEY",
                "-----\nMIIEpAIBAAKCAQEA7bq2yRNV8h0y3PYXvTTqB7pKx2wYzQnR1kJm8sHd\n",
                Real,
            ),
            (Kind::StackTrace, "Traceback", "", Real),
        ];
        for &(kind, value, behind, expected) in rows {
            let one = Exposure { kind, start: 0, end: value.len(), confidence: 1.0 };
            assert_eq!(likeness(format!("{value}{behind}").as_bytes(), &one), expected, "{value}");
        }
    }
}
