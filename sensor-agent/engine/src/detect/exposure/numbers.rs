//! Numbers that name an account: payment cards (Luhn, by issuer and length) and international bank accounts (ISO 13616, check digits).
//!
//! Both have a dozen digits within a few dozen bytes, so that digits are counted block by block, which is a matter of a few instructions, and
//! only blocks with so many are read closely.

use super::{Exposure, Kind, MAX_FOUND};

/// Bytes of a block in which digits are counted. A card or account lies in two of them, with what separates its groups.
const BLOCK: usize = 64;
/// Fewest digits of a card or account.
const FEWEST_DIGITS: usize = 12;

/// Digits among the bytes.
fn count(block: &[u8]) -> usize {
    match block.first_chunk::<BLOCK>() {
        Some(whole) => usize::from(digits(whole)),
        None => block.iter().filter(|byte| byte.is_ascii_digit()).count(),
    }
}

/// A fixed length, and a sum that fits into a byte, are what a processor's vectors do at once.
fn digits(block: &[u8; BLOCK]) -> u8 {
    let mut count = 0_u8;
    for byte in block {
        count = count.wrapping_add(u8::from(byte.wrapping_sub(b'0') < 10));
    }
    count
}

/// The starts of the blocks in which a number with enough digits may begin.
fn blocks(text: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut next = count(text);
    (0..text.len()).step_by(BLOCK).filter(move |start| {
        let now = next;
        next = text.get(start + BLOCK..).map_or(0, count);
        now + next >= FEWEST_DIGITS
    })
}

/// Digits of the longest card number.
const MAX_DIGITS: usize = 19;

/// A run of digits, with single blanks or hyphens between its groups.
struct Run {
    digits: [u8; MAX_DIGITS],
    count: usize,
    end: usize,
    grouped: bool,
}

/// The run of digits that begins at `start`.
fn run(text: &[u8], start: usize) -> Run {
    let mut run = Run { digits: [0; MAX_DIGITS], count: 0, end: start, grouped: false };
    while let Some(&byte) = text.get(run.end) {
        let next = text.get(run.end + 1).is_some_and(u8::is_ascii_digit);
        match byte {
            b'0'..=b'9' => {
                if let Some(slot) = run.digits.get_mut(run.count) {
                    *slot = byte - b'0';
                }
                run.count += 1;
            }
            b' ' | b'-' if next && run.count >= 4 => run.grouped = true,
            _ => break,
        }
        run.end += 1;
    }
    run
}

/// Card numbers and accounts. Both begin with digits, but for an account's country in front of them, so that each run of digits is
/// looked at once.
pub(super) fn find(text: &[u8], first: usize, found: &mut Vec<Exposure>) {
    let (before_numbers, mut candidates, mut cards) = (found.len(), 0, 0);
    let mut at = 0;
    for block in blocks(text) {
        at = at.max(block);
        let end = (block + BLOCK).min(text.len());
        while let Some(start) = next_digit(text, at, end) {
            let run = run(text, start);
            at = run.end;
            if let Some(account) = account(text, start) {
                at = at.max(account.end);
                push(account, first, found);
                continue;
            }
            let number = run.digits.get(..run.count).unwrap_or_default();
            if !is_of_issuer(number) || !stands_alone(text, start, run.end) {
                continue;
            }
            candidates += 1;
            if !passes_luhn(number) {
                continue;
            }
            cards += 1;
            let confidence = match (run.grouped, is_called_card(text, start)) {
                (true, _) => 0.9,
                (_, true) => 0.8,
                _ => LONE_NUMBER,
            };
            push(Exposure { kind: Kind::Card, start, end: run.end, confidence }, first, found);
        }
    }
    // Of ten numbers that are no cards' one passes: where several are and all pass, they are cards.
    if cards >= 3 && cards == candidates {
        for one in found.iter_mut().skip(before_numbers) {
            one.confidence = one.confidence.max(0.8);
        }
    }
}

fn next_digit(text: &[u8], from: usize, to: usize) -> Option<usize> {
    Some(from + text.get(from..to)?.iter().position(u8::is_ascii_digit)?)
}

fn push(one: Exposure, first: usize, found: &mut Vec<Exposure>) {
    if found.len() - first < MAX_FOUND {
        found.push(one);
    }
}

/// Whether the digits are no part of a longer word or number.
fn stands_alone(text: &[u8], start: usize, end: usize) -> bool {
    let before = start.checked_sub(1).and_then(|before| text.get(before));
    before.is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'.' && *byte != b'_')
        && text.get(end).is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
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

/// The international bank account number whose check digits begin at `digits`, in one piece or in groups of four.
fn account(text: &[u8], digits: usize) -> Option<Exposure> {
    let start = digits.checked_sub(2)?;
    let country: &[u8; 2] = text.get(start..digits)?.first_chunk()?;
    if !country.iter().all(u8::is_ascii_uppercase) || !text.get(digits + 1).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let before = start.checked_sub(1).and_then(|before| text.get(before));
    let (_, length) = IBAN_LENGTHS.iter().find(|(known, _)| *known == country)?;
    if before.is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    let end = account_end(text, start, *length)?;
    Some(Exposure { kind: Kind::Account, start, end, confidence: 0.9 })
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
