//! Marks of punctuation that every match of a pattern has. Which marks a view has is known before any pattern runs, so that a pattern
//! whose literal stands in a view that lacks its brackets, quotes or signs need not be searched there.

use std::cmp::Reverse;

use regex_syntax::hir::{Class, Hir, HirKind};

use super::view::mark;

/// Most sets that are kept of a pattern: the narrowest.
const SETS: usize = 4;

/// Sets of marks, a bit for each as [`mark`] gives them, of which every match has at least one each; an empty set asks for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs([u32; SETS]);

impl Needs {
    /// What the matches of `hir` have.
    pub(super) fn of(hir: &Hir) -> Self {
        let mut needs = Self::default();
        for (slot, set) in needs.0.iter_mut().zip(sets(hir)) {
            *slot = set;
        }
        needs
    }

    /// Whether a view that has these marks can hold a match.
    pub(super) fn are_met(self, marks: u32) -> bool {
        self.0.iter().all(|&set| set == 0 || set & marks != 0)
    }
}

/// The narrowest sets, none of which follows from another.
fn sets(hir: &Hir) -> Vec<u32> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Vec::new(),
        HirKind::Literal(literal) => {
            narrowest(literal.0.iter().map(|byte| mark(*byte)).filter(|&mark| mark != 0).collect())
        }
        HirKind::Class(class) => class_marks(class).into_iter().collect(),
        HirKind::Capture(capture) => sets(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min == 0 => Vec::new(),
        HirKind::Repetition(repetition) => sets(&repetition.sub),
        HirKind::Concat(parts) => narrowest(parts.iter().flat_map(sets).collect()),
        HirKind::Alternation(parts) => alternated(&parts.iter().map(sets).collect::<Vec<_>>()),
    }
}

/// The marks of a class that has no other bytes.
fn class_marks(class: &Class) -> Option<u32> {
    let bytes = match class {
        Class::Bytes(bytes) => bytes.clone(),
        Class::Unicode(chars) => chars.to_byte_class()?,
    };
    let mut all = bytes.ranges().iter().flat_map(|range| range.start()..=range.end()).map(mark);
    all.try_fold(0, |set, mark| (mark != 0).then_some(set | mark)).filter(|&set| set != 0)
}

/// What follows from each of the alternatives: the sets that all of them have, and one of what each has.
fn alternated(alternatives: &[Vec<u32>]) -> Vec<u32> {
    let follows = |set: u32| alternatives.iter().all(|sets| sets.iter().any(|one| one & !set == 0));
    let one_of_each = alternatives.iter().filter_map(|sets| sets.first()).fold(0, |all, set| all | set);
    let all = alternatives.iter().flatten().copied().chain([one_of_each]);
    narrowest(all.filter(|&set| follows(set)).collect())
}

/// Of those with as many marks the rarer ones come first, as [`mark`] orders them.
fn narrowest(mut sets: Vec<u32>) -> Vec<u32> {
    sets.sort_unstable_by_key(|set| (set.count_ones(), Reverse(*set)));
    let mut kept: Vec<u32> = Vec::with_capacity(SETS);
    for set in sets {
        if kept.len() < SETS && !kept.iter().any(|narrower| narrower & !set == 0) {
            kept.push(set);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::super::compile;
    use super::*;

    #[test]
    fn a_view_must_have_one_of_each_set() {
        let rows: &[(&str, &[&str], &[&str])] = &[
            (r"\(a\)", &["()"], &["(", ")", ""]),
            (r"\$\{[^}]{0,9}\}", &["${}", "${}("], &["${", "{}", "$}"]),
            (r"a=[$#*]\{", &["=${", "=#{", "=*{"], &["={", "=$", "${"]),
            (r"(?:\(|a`b)x", &["(", "`"], &["", ")"]),
            (r"(?:a\(b|c\(\{|\(\$)", &["("], &["{$"]),
            (r"(?:\)=|\*\)|a\\)", &["=)", "*)", "\\"], &["()", ")"]),
            (r"(?:'a'|b)", &[""], &[]),
            (r"a(?:\()?b\)*", &[""], &[]),
            (r"(?:\()+\){2}", &["()"], &["(", ")"]),
            (r"[a(]", &[""], &[]),
            (r"a\s*=\s*b", &["="], &[""]),
        ];
        for (pattern, enough, too_little) in rows {
            let (_, hir) = compile::pattern(pattern, false).unwrap();
            let met =
                |marks: &&str| Needs::of(&hir).are_met(marks.bytes().fold(0, |all, byte| all | mark(byte)));
            assert!(enough.iter().all(met), "{pattern}: {:?}", Needs::of(&hir));
            assert!(!too_little.iter().any(met), "{pattern}: {:?}", Needs::of(&hir));
        }
    }
}
