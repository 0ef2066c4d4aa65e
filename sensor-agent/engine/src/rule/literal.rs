//! Required literals of a pattern: strings of which every match contains at least one. They decide in one pass over a
//! value which rules can match at all; a rule without them would have to run on every value there is.
//!
//! All literals are in lower case and are searched without case, so the pattern is walked as if it knew no case.

use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

/// Most literals of one rule.
pub(crate) const MAX_LITERALS: usize = 512;
/// Most strings that a sequence of alternatives is multiplied out to.
const MAX_PRODUCT: usize = 64;
/// Longer literals are no better.
const USEFUL_LEN: usize = 8;

/// What is known of the strings that an expression matches.
#[derive(Debug)]
struct Known {
    /// All of them, if they are few.
    exact: Option<Vec<Vec<u8>>>,
    /// Strings of which one is contained.
    required: Option<Vec<Vec<u8>>>,
}

/// The literals of which every match of `hir` contains one; `None` if there are none.
pub(crate) fn required(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    let known = walk(hir);
    let mut best = better(known.exact.filter(useful), known.required)?;
    best.sort();
    best.dedup();
    Some(best)
}

/// Most bytes of white space in a row within a match that is looked for around a literal only. Where there are more, the view with
/// folded white space matches, as long as the pattern takes a space for any of it.
const MAX_BLANKS: usize = 16;
/// Longest matches that are looked for around literals.
const MAX_REACH: usize = 1024;

/// Most bytes of a match of `hir`, if they are few; `None` for a pattern that may reach far.
pub(crate) fn reach(hir: &Hir) -> Option<usize> {
    longest(hir).filter(|len| *len <= MAX_REACH)
}

fn longest(hir: &Hir) -> Option<usize> {
    match hir.kind() {
        HirKind::Repetition(repetition) => {
            let blanks = || (is_blank(&repetition.sub) && repetition.min <= 1).then_some(MAX_BLANKS);
            let times = repetition.max.map(|max| max as usize).or_else(blanks)?;
            longest(&repetition.sub)?.checked_mul(times)
        }
        HirKind::Capture(capture) => longest(&capture.sub),
        HirKind::Concat(parts) => parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(longest(part)?)),
        HirKind::Alternation(parts) => parts.iter().try_fold(0, |most, part| Some(longest(part)?.max(most))),
        HirKind::Class(Class::Bytes(bytes)) => {
            let has =
                |byte: u8| bytes.ranges().iter().any(|range| (range.start()..=range.end()).contains(&byte));
            (has(b' ') || !BLANKS.iter().any(|blank| has(*blank))).then_some(1)
        }
        HirKind::Literal(literal) => {
            (!literal.0.iter().any(|byte| BLANKS.contains(byte))).then_some(literal.0.len())
        }
        _ => hir.properties().maximum_len(),
    }
}

/// White space that folding makes a space of.
const BLANKS: &[u8] = b"\t\n\x0b\x0c\r";

/// Whether it matches one byte of white space.
fn is_blank(hir: &Hir) -> bool {
    let HirKind::Class(Class::Bytes(bytes)) = hir.kind() else { return false };
    bytes.ranges().iter().all(|range| (range.start()..=range.end()).all(|byte| matches!(byte, 9..=13 | b' ')))
}

fn walk(hir: &Hir) -> Known {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => exactly(vec![Vec::new()]),
        HirKind::Literal(literal) => exactly(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Class(class) => Known { exact: class_bytes(class), required: None },
        HirKind::Capture(capture) => walk(&capture.sub),
        HirKind::Repetition(repetition) => repeated(repetition),
        HirKind::Concat(parts) => concatenated(parts),
        HirKind::Alternation(parts) => alternated(parts),
    }
}

fn exactly(strings: Vec<Vec<u8>>) -> Known {
    Known { exact: Some(strings), required: None }
}

/// The bytes of a small class, without case.
fn class_bytes(class: &Class) -> Option<Vec<Vec<u8>>> {
    let bytes = match class {
        Class::Bytes(bytes) => bytes.clone(),
        Class::Unicode(chars) => chars.to_byte_class()?,
    };
    let mut all: Vec<u8> = Vec::new();
    for range in bytes.ranges() {
        for byte in range.start()..=range.end() {
            let byte = byte.to_ascii_lowercase();
            if !all.contains(&byte) {
                all.push(byte);
            }
        }
        if all.len() > 8 {
            return None;
        }
    }
    Some(all.into_iter().map(|byte| vec![byte]).collect())
}

fn repeated(repetition: &Repetition) -> Known {
    let inner = walk(&repetition.sub);
    match (repetition.min, repetition.max, inner.exact) {
        (1, Some(1), exact) => Known { exact, required: inner.required },
        (0, Some(1), Some(mut exact)) => {
            exact.push(Vec::new());
            exactly(exact)
        }
        (0, ..) => Known { exact: None, required: None },
        (_, _, exact) => Known { exact: None, required: better(exact.filter(useful), inner.required) },
    }
}

fn concatenated(parts: &[Hir]) -> Known {
    let mut run = vec![Vec::new()];
    let (mut whole, mut best) = (true, None);
    for part in parts {
        let known = walk(part);
        let joined = known.exact.as_ref().and_then(|next| product(&run, next));
        if let Some(joined) = joined {
            run = joined;
            continue;
        }
        whole = false;
        best = better(best, Some(std::mem::take(&mut run)).filter(useful));
        best = better(best, known.required);
        run = known.exact.unwrap_or_else(|| vec![Vec::new()]);
    }
    if whole {
        return exactly(run);
    }
    Known { exact: None, required: better(best, Some(run).filter(useful)) }
}

fn alternated(parts: &[Hir]) -> Known {
    let known: Vec<Known> = parts.iter().map(walk).collect();
    if known.iter().all(|one| one.exact.is_some()) {
        let all: Vec<Vec<u8>> = known.into_iter().filter_map(|one| one.exact).flatten().collect();
        let fits = all.len() <= MAX_LITERALS;
        return Known { exact: fits.then_some(all), required: None };
    }
    let each = known.into_iter().map(|one| better(one.exact.filter(useful), one.required));
    let all: Option<Vec<Vec<Vec<u8>>>> = each.collect();
    let all: Option<Vec<Vec<u8>>> = all.map(|sets| sets.into_iter().flatten().collect());
    Known { exact: None, required: all.filter(|set| set.len() <= MAX_LITERALS) }
}

/// Every string of `left` followed by every one of `right`, unless they are too many.
fn product(left: &[Vec<u8>], right: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let few = left.len() * right.len() <= MAX_PRODUCT || left.len() == 1 && right.len() <= MAX_LITERALS;
    few.then(|| left.iter().flat_map(|start| right.iter().map(|end| [&start[..], end].concat())).collect())
}

fn shortest(set: &[Vec<u8>]) -> usize {
    set.iter().map(Vec::len).min().unwrap_or(0)
}

#[allow(clippy::ptr_arg, reason = "it filters options of vectors")]
fn useful(set: &Vec<Vec<u8>>) -> bool {
    shortest(set) > 0
}

/// The set with the longer shortest string; of equally long ones the smaller set.
fn better(a: Option<Vec<Vec<u8>>>, b: Option<Vec<Vec<u8>>>) -> Option<Vec<Vec<u8>>> {
    let rank = |set: &Vec<Vec<u8>>| (shortest(set).min(USEFUL_LEN), std::cmp::Reverse(set.len()));
    match (a, b) {
        (Some(a), Some(b)) => Some(if rank(&b) > rank(&a) { b } else { a }),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literals(pattern: &str) -> Option<Vec<String>> {
        let mut parser = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build();
        let found = required(&parser.parse(pattern).unwrap())?;
        Some(found.iter().map(|literal| literal.escape_ascii().to_string()).collect())
    }

    #[test]
    fn every_match_contains_one_of_them() {
        let rows: &[(&str, &[&str])] = &[
            (r"UNION\s+(?:all\s+)?select", &["select"]),
            (r"\b(?:cat|head|tail)\s+/etc/passwd", &["/etc/passwd"]),
            (r"(?:cat|head)\s+x", &["cat", "head"]),
            (r"/(?:etc|proc)/(?:passwd|self)", &["/etc/passwd", "/etc/self", "/proc/passwd", "/proc/self"]),
            (r"[sS]leep\(\d+\)", &["sleep("]),
            (r"(?i)jndi:", &["jndi:"]),
            (r"colou?r", &["color", "colour"]),
            (r"(?:\.\./)+etc", &["../"]),
            (r"^abc$", &["abc"]),
            (r"a{0,3}longer.*b", &["longer"]),
        ];
        for (pattern, expected) in rows {
            assert_eq!(literals(pattern).unwrap_or_default(), *expected, "{pattern}");
        }
    }

    #[test]
    fn how_far_a_match_reaches() {
        let mut parser = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build();
        let rows: &[(&str, Option<usize>)] = &[
            ("select", Some(6)),
            (r"\bcat /etc/(?:passwd|group)", Some(15)),
            (r"a{2,5}[0-9]?", Some(6)),
            // Long white space is found in the view in which it is folded,
            (r"select\s+x", Some(6 + MAX_BLANKS + 1)),
            (r"x\s*=\s*y", Some(2 * MAX_BLANKS + 3)),
            // unless the pattern wants a line end or two blanks.
            (r"x\s*\ny", None),
            (r"x\s*[;\n]y", None),
            (r"x\s{2,}y", None),
            (r"\w+select", None),
            (r"select.*from", None),
            (r"[a-z]{900}[0-9]{900}", None),
        ];
        for (pattern, expected) in rows {
            assert_eq!(reach(&parser.parse(pattern).unwrap()), *expected, "{pattern}");
        }
    }

    #[test]
    fn patterns_without_literals() {
        for pattern in [r"\w+", r"(?:abc)?", r"[a-z]{3}\d", r"abc|\d", r"(?:abc)*x?"] {
            assert_eq!(literals(pattern), None, "{pattern}");
        }
    }
}
