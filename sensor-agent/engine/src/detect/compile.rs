//! Rule sets are compiled here, where the coded detectors are known that rules can name.

use crate::field::Field;
use crate::rule::{CodedDetectors, CodedMatch, RuleError, RuleSet, RuleSource, Views};

use super::scan::Scanner;
use super::{BUILTINS, CodeHit};

/// Ids of the coded detections, in the order of their numbers.
const IDS: [&str; BUILTINS.len()] = {
    let mut ids = [""; BUILTINS.len()];
    let mut number = 0;
    while number < ids.len() {
        ids[number] = BUILTINS[number].id;
        number += 1;
    }
    ids
};

/// Rules hold the detections they name as bits of one word.
const _: () = assert!(BUILTINS.len() <= 128);

const CODED: CodedDetectors = CodedDetectors { ids: &IDS, find };

impl RuleSet {
    /// The rules of all sources together, or everything that is wrong with them.
    ///
    /// # Errors
    /// Every error of every source: syntax, unknown keys and names, patterns that do not compile, are too large, match
    /// the empty string or have no required literal, ids used twice, examples that fail.
    pub fn compile(sources: &[RuleSource<'_>]) -> Result<Self, Vec<RuleError>> {
        Self::compile_with(sources, &CODED)
    }
}

/// What the coded detectors find in an example, as they would in traffic.
fn find(field: &Field<'_>, views: &Views, method: &[u8]) -> Vec<CodedMatch> {
    let mut scanner = Scanner::default();
    if !field.place.is_response() {
        scanner.raw(field, method);
        scanner.views(field, views);
    }
    scanner.hits().iter().map(CodedMatch::from).collect()
}

impl From<&CodeHit> for CodedMatch {
    fn from(hit: &CodeHit) -> Self {
        let CodeHit { view, start, end, confidence, .. } = *hit;
        Self { code: hit.code as usize, view, start, end, confidence }
    }
}
