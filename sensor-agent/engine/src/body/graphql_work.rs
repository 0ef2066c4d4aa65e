//! What a GraphQL document makes a server do over and over: credentials tried by aliases or batches past every limit of requests, the
//! same selection or directive many times, fragments that spread each other (GraphQL October 2021, section 5.5.2.2).

use crate::http::anomaly::Anomaly;

/// More attempts with credentials than a form makes in one request.
const MANY_CREDENTIALS: u32 = 4;
/// More repetitions of one selection, side by side, than a program writes.
const MANY_REPEATS: u32 = 32;
/// More directives at one selection than a program writes.
const MANY_DIRECTIVES: u32 = 16;
/// Most spreads of fragments that are looked at.
const MAX_SPREADS: usize = 64;
/// Longest name that is compared.
const MAX_NAME: usize = 64;

/// Parts of the names of selections that check credentials.
const CREDENTIALS: &[&[u8]] = &[
    b"login",
    b"signin",
    b"authenticate",
    b"tokenauth",
    b"tokencreate",
    b"createtoken",
    b"password",
    b"verifyotp",
    b"verifycode",
    b"twofactor",
    b"mfa",
];

/// Counts over the documents of one request.
#[derive(Debug, Default)]
pub(super) struct Work {
    credentials: u32,
    repeats: u32,
    directives: u32,
    last: Vec<u8>,
    /// The fragment that is being read; empty within an operation.
    fragment: Vec<u8>,
    /// Which fragment spreads which.
    spreads: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Work {
    /// A new document: fragments have a name within one only.
    pub(super) fn begin(&mut self) {
        self.spreads.clear();
        self.last.clear();
        (self.repeats, self.directives) = (0, 0);
    }

    /// The words in front of selections: `query Q`, `fragment F on T`.
    pub(super) fn heading(&mut self, words: &[u8]) {
        let name = words.strip_prefix(b"fragment ").and_then(|rest| rest.split(|byte| *byte == b' ').next());
        self.fragment.clear();
        self.fragment
            .extend_from_slice(name.and_then(|name| name.get(..MAX_NAME).or(Some(name))).unwrap_or_default());
    }

    /// A selection at this depth, from 1.
    pub(super) fn select(&mut self, word: &[u8], depth: usize) -> Option<Anomaly> {
        self.directives = 0;
        let same = self.last == word;
        self.repeats = if same { self.repeats + 1 } else { 0 };
        if !same {
            self.last.clear();
            self.last.extend_from_slice(word.get(..MAX_NAME).unwrap_or(word));
        }
        if depth == 1 && checks_credentials(word) {
            self.credentials += 1;
        }
        if self.credentials > MANY_CREDENTIALS {
            return Some(Anomaly::GraphQlCredentials);
        }
        (self.repeats > MANY_REPEATS).then_some(Anomaly::GraphQlRepeats)
    }

    /// A directive.
    pub(super) fn directive(&mut self) -> Option<Anomaly> {
        self.directives += 1;
        (self.directives > MANY_DIRECTIVES).then_some(Anomaly::GraphQlRepeats)
    }

    /// `...name`
    pub(super) fn spread(&mut self, name: &[u8]) {
        if !self.fragment.is_empty() && self.spreads.len() < MAX_SPREADS && name.len() <= MAX_NAME {
            self.spreads.push((self.fragment.clone(), name.to_vec()));
        }
    }

    /// Whether fragments spread themselves, by whatever detour: what is left when those that lead nowhere are taken out.
    pub(super) fn has_cycle(&mut self) -> bool {
        loop {
            let before = self.spreads.len();
            let names: Vec<_> = self.spreads.iter().map(|(from, _)| from.clone()).collect();
            self.spreads.retain(|(_, to)| names.contains(to));
            if self.spreads.len() == before {
                return before > 0;
            }
        }
    }
}

/// Whether the name of a selection tells that it checks who asks.
fn checks_credentials(name: &[u8]) -> bool {
    let mut lower = [0; MAX_NAME];
    let letters = name.iter().filter(|byte| **byte != b'_');
    let len = letters.zip(&mut lower).map(|(byte, slot)| *slot = byte.to_ascii_lowercase()).count();
    let lower = lower.get(..len).unwrap_or_default();
    CREDENTIALS.iter().any(|part| memchr::memmem::find(lower, part).is_some())
}
