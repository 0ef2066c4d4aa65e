//! Operators: what a rule or a condition asks of a value. A pattern is the usual one; the others say in one word what a pattern
//! says badly or not at all: thousands of phrases, numbers, addresses, how random a value is, what code detects.

use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};

use aho_corasick::{AhoCorasick, Input as PhraseInput};
use ipnet::IpNet;
use regex_automata::{Input, meta};

/// Bytes of a value of which the entropy is told; more would tell the same and cost time.
pub const MAX_ENTROPY_BYTES: usize = 4096;

/// What is asked of a value.
#[derive(Debug)]
pub(super) enum Operator {
    /// Matches somewhere.
    Pattern(meta::Regex),
    /// One of the phrases stands somewhere.
    Phrases(AhoCorasick),
    /// The value is a whole number in this range.
    Number(RangeInclusive<i64>),
    /// The value is an address in one of these networks.
    Addresses(Vec<IpNet>),
    /// Bits that a byte of the value tells lie in this range.
    Entropy(RangeInclusive<f32>),
    /// There is a value.
    Any,
    /// A coded detection of one of these numbers (a bit each) shows, at least so sure.
    Coded { codes: u128, from: f32 },
}

impl Operator {
    /// Scratch memory for this operator, if it needs some.
    pub(super) fn create_cache(&self) -> Option<meta::Cache> {
        match self {
            Self::Pattern(regex) => Some(regex.create_cache()),
            _ => None,
        }
    }

    /// Where in `value` it holds.
    pub(super) fn find(&self, value: &[u8], cache: &mut Option<meta::Cache>) -> Option<(usize, usize)> {
        let whole = |holds: bool| holds.then_some((0, value.len()));
        match self {
            Self::Pattern(regex) => {
                let cache = cache.get_or_insert_with(|| regex.create_cache());
                let found = regex.search_with(cache, &Input::new(value))?;
                Some((found.start(), found.end()))
            }
            Self::Phrases(phrases) => {
                let found = phrases.find(PhraseInput::new(value))?;
                Some((found.start(), found.end()))
            }
            Self::Number(range) => whole(number(value).is_some_and(|number| range.contains(&number))),
            Self::Addresses(networks) => {
                whole(address(value).is_some_and(|address| lies_in(networks, address)))
            }
            Self::Entropy(range) => whole(range.contains(&entropy(value))),
            Self::Any => whole(true),
            Self::Coded { .. } => None,
        }
    }

    /// Where in this part of `value` a pattern matches; what is around the part is looked at by `\b` and its like.
    pub(super) fn find_in(
        &self,
        value: &[u8],
        part: Range<usize>,
        cache: &mut Option<meta::Cache>,
    ) -> Option<(usize, usize)> {
        let Self::Pattern(regex) = self else { return None };
        let cache = cache.get_or_insert_with(|| regex.create_cache());
        let found = regex.search_with(cache, &Input::new(value).range(part))?;
        Some((found.start(), found.end()))
    }

    /// Whether it holds in `value`; cheaper than [`Operator::find`].
    pub(super) fn holds(&self, value: &[u8], cache: &mut Option<meta::Cache>) -> bool {
        match self {
            Self::Pattern(regex) => {
                let cache = cache.get_or_insert_with(|| regex.create_cache());
                regex.search_half_with(cache, &Input::new(value).earliest(true)).is_some()
            }
            _ => self.find(value, cache).is_some(),
        }
    }

    /// Whether values longer than a short field are looked at although nothing told that it may hold.
    pub(super) fn is_cheap(&self) -> bool {
        !matches!(self, Self::Pattern(_))
    }
}

/// The whole number that a value is, blanks around it aside.
fn number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
}

/// The address that a value is, without brackets and, of IPv4, without a port.
fn address(value: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    let inner = text.strip_prefix('[').and_then(|text| text.split_once(']')).map_or(text, |(inner, _)| inner);
    let alone = inner.parse().ok();
    alone.or_else(|| inner.split_once(':')?.0.parse().ok()).map(|address: IpAddr| address.to_canonical())
}

/// Shannon entropy of the bytes of `value`, in bits for each: 0 for one byte repeated, 4 for random hexadecimal digits, 6 for
/// random base64, 8 for random bytes, each less what a short value cannot show.
fn entropy(value: &[u8]) -> f32 {
    let value = value.get(..MAX_ENTROPY_BYTES).unwrap_or(value);
    let mut counts = [0_u16; 256];
    for &byte in value {
        counts[usize::from(byte)] += 1;
    }
    let of_count = |&count: &u16| f32::from(count) * f32::from(count.max(1)).log2();
    let same: f32 = counts.iter().filter(|count| **count > 1).map(of_count).sum();
    let len = u16::try_from(value.len()).map_or(f32::MAX, f32::from);
    if value.is_empty() { 0.0 } else { (len.log2() - same / len).max(0.0) }
}

fn lies_in(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_and_alone() {
        let rows: &[(&str, Option<i64>)] = &[
            ("0", Some(0)),
            (" 404 ", Some(404)),
            ("-7", Some(-7)),
            ("", None),
            ("12a", None),
            ("1.5", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in rows {
            assert_eq!(number(text.as_bytes()), *expected, "{text}");
        }
    }

    #[test]
    fn entropy_is_that_of_bytes() {
        let every: Vec<u8> = (0..=255).collect();
        let long = [every.repeat(16), vec![b'a'; 100_000]].concat();
        let rows: &[(&[u8], f32)] = &[
            (b"", 0.0),
            (b"a", 0.0),
            (b"aaaaaaaa", 0.0),
            (b"abababab", 1.0),
            (b"0123456789abcdef", 4.0),
            (b"aab", 0.918),
            (&every, 8.0),
            (&long, 8.0),
        ];
        for (value, expected) in rows {
            let got = entropy(value);
            assert!((got - expected).abs() < 0.001, "{}: {got}, expected {expected}", value.escape_ascii());
        }
    }

    #[test]
    fn addresses_come_with_ports_brackets_and_in_either_family() {
        let networks: Vec<IpNet> =
            ["10.0.0.0/8", "2001:db8::/32"].iter().map(|text| text.parse().unwrap()).collect();
        let operator = Operator::Addresses(networks);
        let holds = |text: &str| operator.holds(text.as_bytes(), &mut None);
        for inside in ["10.1.2.3", " 10.1.2.3:80", "::ffff:10.0.0.1", "[2001:db8::1]:443", "2001:db8::1"] {
            assert!(holds(inside), "{inside}");
        }
        for outside in ["11.1.2.3", "2001:db9::1", "10.1.2", "", "a", "[", "[]:1"] {
            assert!(!holds(outside), "{outside}");
        }
    }
}
