//! A text in which a pattern matches, made from the pattern: an example for a rule that comes without one, and a start for whoever
//! writes one. Ways through the pattern are tried in a fixed order of pseudo-random choices until the pattern itself says yes.

use regex_automata::{Input, meta};
use regex_syntax::hir::{Class, Hir, HirKind};

use super::compile;

/// Ways that are tried.
const TRIES: u64 = 96;
/// Longest sample.
const MAX_SAMPLE: usize = 4096;
/// Deepest nesting that is followed; patterns are refused beyond it.
const MAX_DEPTH: u32 = 200;
/// What is put around a text, for patterns that ask for a boundary.
const AROUND: [(&str, &str); 5] = [("", ""), (" ", " "), ("", " "), (";", ";"), ("a", "a")];

/// A text in which `pattern` matches as it would in a rule or a condition, or `None` if the pattern is refused or no text was found.
#[must_use]
pub fn sample(pattern: &str, case_sensitive: bool) -> Option<Vec<u8>> {
    let (regex, hir) = compile::pattern(pattern, case_sensitive).ok()?;
    (0..TRIES).find_map(|seed| try_way(&regex, &hir, seed))
}

fn try_way(regex: &meta::Regex, hir: &Hir, seed: u64) -> Option<Vec<u8>> {
    let mut way =
        Way { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, first: seed == 0, text: Vec::new() };
    way.walk(hir, 0)?;
    AROUND.iter().find_map(|(before, after)| {
        let text = [before.as_bytes(), &way.text, after.as_bytes()].concat();
        regex.is_match(Input::new(&text)).then_some(text)
    })
}

/// One way through a pattern.
struct Way {
    state: u64,
    /// The plainest way: first alternatives, fewest repetitions.
    first: bool,
    text: Vec<u8>,
}

impl Way {
    fn walk(&mut self, hir: &Hir, depth: u32) -> Option<()> {
        if self.text.len() > MAX_SAMPLE || depth > MAX_DEPTH {
            return None;
        }
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => self.text.extend_from_slice(&literal.0),
            HirKind::Class(class) => self.class(class)?,
            HirKind::Capture(capture) => self.walk(&capture.sub, depth + 1)?,
            HirKind::Concat(parts) => parts.iter().try_for_each(|part| self.walk(part, depth + 1))?,
            HirKind::Alternation(parts) => {
                let chosen = self.choose(parts.len());
                self.walk(parts.get(chosen)?, depth + 1)?;
            }
            HirKind::Repetition(repetition) => {
                let most = repetition.max.unwrap_or(u32::MAX).saturating_sub(repetition.min).min(2);
                let times = repetition.min + self.choose(most as usize + 1) as u32;
                for _ in 0..times {
                    self.walk(&repetition.sub, depth + 1)?;
                }
            }
        }
        Some(())
    }

    /// A byte of the class, one that people can read if there is one.
    fn class(&mut self, class: &Class) -> Option<()> {
        let bytes = match class {
            Class::Bytes(bytes) => bytes.clone(),
            Class::Unicode(chars) => chars.to_byte_class()?,
        };
        let all = || bytes.ranges().iter().flat_map(|range| range.start()..=range.end());
        let kinds: [fn(&u8) -> bool; 4] =
            [u8::is_ascii_lowercase, u8::is_ascii_digit, u8::is_ascii_graphic, |byte| *byte == b' '];
        let skip = if self.first { 0 } else { self.choose(kinds.len()) };
        let of_kind = |kind: &fn(&u8) -> bool| all().filter(kind).collect::<Vec<u8>>();
        let readable = kinds.iter().cycle().skip(skip).take(kinds.len()).map(of_kind);
        let choice =
            readable.into_iter().find(|bytes| !bytes.is_empty()).unwrap_or_else(|| all().take(1).collect());
        let chosen = self.choose(choice.len());
        self.text.push(*choice.get(chosen)?);
        Some(())
    }

    /// A number below `count`.
    fn choose(&mut self, count: usize) -> usize {
        if self.first || count < 2 {
            return 0;
        }
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % count as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_match_their_patterns() {
        let patterns = [
            "abc",
            r"\bunion\b\s+(?:all\s+)?select\b",
            r"^(?:GET|POST)$",
            r"[^\w\s]{3}x?",
            r"(?:a|b)(?:c|d){2,5}\B.",
            r"\xbc[^\xbe>]*[\xbe>]",
            r"(?i)<script[^>]*>[\s\S]*?",
            r"\d{3}-\d{2}$",
        ];
        for pattern in patterns {
            let text = sample(pattern, true).unwrap_or_else(|| panic!("{pattern}"));
            let regex = compile::pattern(pattern, true).unwrap().0;
            assert!(regex.is_match(Input::new(&text)), "{pattern}: {}", text.escape_ascii());
        }
        assert_eq!(sample("abc|d", false).as_deref(), Some(&b"abc"[..]));
    }

    #[test]
    fn what_cannot_match_gives_none() {
        for pattern in [r"a\bb", "(", r"[a&&b]"] {
            assert_eq!(sample(pattern, false), None, "{pattern}");
        }
    }
}
