//! Whether a token's signature is one of the operator's keys, and whether everybody could have made it. Clients send the same
//! token again and again, so that what was found out of one is remembered by a keyed hash.

use std::sync::Arc;

use ahash::RandomState;

use super::claims::{self, Claimed};
use super::{Found, Seen, find};
use crate::detect::builtin::Code;
use crate::field::Field;
use crate::token::{Signature, TokenKeys};

/// Tokens remembered at once; a new one takes the place of an older one.
const SLOTS: usize = 256;
/// Most signatures of a part that are checked; further ones are counted.
const MAX_CHECKS: u32 = 4;
/// Most signatures of a second that are checked, each with all keys that fit; further ones are counted. A thousand unknown tokens a second
/// are somebody who tries, and what that costs must not slow the others down.
const MAX_CHECKS_PER_SEC: u32 = 1000;
/// Most tokens of a second that the guessable secrets are tried on; further ones wait for another time.
const MAX_GUESSES_PER_SEC: u32 = 50;

/// What is known of a token.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Known {
    hash: u64,
    signature: Signature,
    /// `None` while nobody has tried.
    guessable: Option<bool>,
}

/// The tokens of one detector.
#[derive(Debug)]
pub(crate) struct Tokens {
    keys: Option<Arc<dyn TokenKeys>>,
    hasher: RandomState,
    known: Vec<Option<Known>>,
    /// Seconds of the engine's clock, and of the wall clock where that is known.
    second: u64,
    wall: Option<i64>,
    /// Checks left for the part at hand, and for this second.
    checks_left: u32,
    checks_left_in_second: u32,
    guesses_left: u32,
    found: Vec<Found>,
    /// Whether what the token at hand is depends on the time.
    fleeting: bool,
    /// What the claims of the token at hand say beyond names and numbers.
    claimed: Vec<Claimed>,
    /// Signatures checked, and left unchecked.
    pub(crate) checked: u64,
    pub(crate) unchecked: u64,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            keys: None,
            hasher: RandomState::new(),
            known: vec![None; SLOTS],
            second: 0,
            wall: None,
            checks_left: MAX_CHECKS,
            checks_left_in_second: MAX_CHECKS_PER_SEC,
            guesses_left: MAX_GUESSES_PER_SEC,
            found: Vec::new(),
            fleeting: false,
            claimed: Vec::new(),
            checked: 0,
            unchecked: 0,
        }
    }
}

impl Tokens {
    /// Asks these keys from now on.
    pub(crate) fn replace_keys(&mut self, keys: Option<Arc<dyn TokenKeys>>) {
        self.keys = keys;
        self.known.fill(None);
    }

    /// Begins with another part, at this second of the engine's clock and of the wall clock.
    pub(crate) fn begin(&mut self, second: u64, wall: Option<i64>) {
        if second != self.second {
            self.guesses_left = MAX_GUESSES_PER_SEC;
            self.checks_left_in_second = MAX_CHECKS_PER_SEC;
        }
        (self.second, self.wall, self.checks_left) = (second, wall, MAX_CHECKS);
    }

    /// What is wrong with the token in the field, if there is one.
    pub(crate) fn look(&mut self, field: &Field<'_>) -> &[Found] {
        self.found.clear();
        self.fleeting = false;
        self.claimed.clear();
        let mut found = std::mem::take(&mut self.found);
        if let Some(seen) = find(field, field.value, self.wall, &mut found) {
            self.fleeting = seen.ends() && self.wall.is_some();
            self.claimed = claims::odd(&seen.claims);
            found.extend(self.judge(&seen));
        }
        self.found = found;
        &self.found
    }

    /// Whether the same value may be something else later.
    pub(crate) fn is_fleeting(&self) -> bool {
        self.fleeting
    }

    /// Whether the token that was looked at last has texts among its claims that nobody has taken.
    pub(crate) fn has_claimed(&self) -> bool {
        !self.claimed.is_empty()
    }

    /// The texts among the claims of the token that was looked at last that are no names; a second time there are none.
    pub(crate) fn take_claimed(&mut self) -> Vec<Claimed> {
        std::mem::take(&mut self.claimed)
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Option<Found> {
        let known = self.know(seen)?;
        let found = |(code, confidence)| Found { code, start: seen.start, end: seen.end, confidence };
        let named = seen.signed()?.key_id.is_some();
        let of_keys = match known.signature {
            Signature::Wrong if named => Some((Code::JwtSignature, 0.9)),
            Signature::Wrong => Some((Code::JwtSignature, if seen.bearer { 0.85 } else { 0.5 })),
            // Keys are changed before everybody has heard of it, and other issuers' tokens pass by.
            Signature::Foreign => Some((Code::JwtSignature, if seen.bearer { 0.55 } else { 0.3 })),
            Signature::Confused if seen.bearer || named => Some((Code::JwtConfusion, 0.95)),
            Signature::Confused => Some((Code::JwtConfusion, 0.6)),
            Signature::Valid | Signature::Unknown => None,
        };
        // The application is at fault, or its attacker has found that out: whoever sends such a token is not blocked for it.
        of_keys.or_else(|| (known.guessable == Some(true)).then_some((Code::JwtSecret, 0.6))).map(found)
    }

    /// What is known of the token after a look in the memory, or at the signature.
    fn know(&mut self, seen: &Seen<'_>) -> Option<Known> {
        let hash = self.hasher.hash_one(seen.token);
        let slot = usize::try_from(hash % SLOTS as u64).unwrap_or(0);
        let known = self.known.get(slot).copied().flatten().filter(|known| known.hash == hash);
        if known.is_some_and(|known| known.guessable.is_some()) {
            return known;
        }
        let known = self.find_out(seen, hash, known)?;
        if let Some(slot) = self.known.get_mut(slot) {
            *slot = Some(known);
        }
        Some(known)
    }

    fn find_out(&mut self, seen: &Seen<'_>, hash: u64, known: Option<Known>) -> Option<Known> {
        let keys = self.keys.as_ref()?;
        let token = seen.signed()?;
        let signature = match known {
            Some(known) => known.signature,
            None if self.checks_left == 0 || self.checks_left_in_second == 0 => {
                self.unchecked += 1;
                return None;
            }
            None => {
                self.checks_left -= 1;
                self.checks_left_in_second -= 1;
                self.checked += 1;
                keys.check(&token)
            }
        };
        let secret = token.algorithm.starts_with("HS") && signature != Signature::Valid;
        let guessable = if !secret {
            Some(false)
        } else if self.guesses_left > 0 {
            self.guesses_left -= 1;
            Some(keys.is_guessable(&token))
        } else {
            None
        };
        Some(Known { hash, signature, guessable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Place;
    use crate::token::SignedToken;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Signatures are words here, and say themselves what they are.
    #[derive(Debug, Default)]
    struct Words(AtomicU32);

    impl TokenKeys for Words {
        fn check(&self, token: &SignedToken<'_>) -> Signature {
            self.0.fetch_add(1, Ordering::Relaxed);
            match token.signature {
                b"wrong" => Signature::Wrong,
                b"foreign" => Signature::Foreign,
                b"confused" => Signature::Confused,
                b"valid" => Signature::Valid,
                _ => Signature::Unknown,
            }
        }

        fn is_guessable(&self, token: &SignedToken<'_>) -> bool {
            token.signature == b"guessable"
        }
    }

    // Of no algorithm whose signatures have a length.
    const PLAIN: &str = "eyJhbGciOiJIUzk5OSJ9.eyJzdWIiOiIxIn0";
    const NAMED: &str = "eyJhbGciOiJSUzk5OSIsImtpZCI6IjEifQ.eyJzdWIiOiIxIn0";

    fn tokens() -> (Tokens, Arc<Words>) {
        let (mut tokens, words) = (Tokens::default(), Arc::new(Words::default()));
        tokens.replace_keys(Some(Arc::clone(&words) as Arc<dyn TokenKeys>));
        (tokens, words)
    }

    fn look(tokens: &mut Tokens, place: Place, name: &str, value: &str) -> Vec<(Code, f32)> {
        let field = Field { place, name: name.as_bytes(), value: value.as_bytes(), offset: 0 };
        tokens.look(&field).iter().map(|found| (found.code, found.confidence)).collect()
    }

    #[test]
    fn what_signatures_say() {
        let (mut tokens, _) = tokens();
        type Said = &'static [(Code, f32)];
        let rows: &[(&str, &str, Said, Said)] = &[
            (PLAIN, "valid", &[], &[]),
            (PLAIN, "other", &[], &[]),
            (PLAIN, "wrong", &[(Code::JwtSignature, 0.85)], &[(Code::JwtSignature, 0.5)]),
            (NAMED, "wrong", &[(Code::JwtSignature, 0.9)], &[(Code::JwtSignature, 0.9)]),
            (NAMED, "foreign", &[(Code::JwtSignature, 0.55)], &[(Code::JwtSignature, 0.3)]),
            (PLAIN, "confused", &[(Code::JwtConfusion, 0.95)], &[(Code::JwtConfusion, 0.6)]),
            (PLAIN, "guessable", &[(Code::JwtSecret, 0.6)], &[(Code::JwtSecret, 0.6)]),
            (NAMED, "guessable", &[], &[]),
        ];
        for (token, signature, bearer, cookie) in rows {
            tokens.begin(1, None);
            let value = format!("{token}.{signature}");
            let header = format!("Bearer {value}");
            assert_eq!(look(&mut tokens, Place::Header, "authorization", &header), *bearer, "{value}");
            assert_eq!(look(&mut tokens, Place::Cookie, "t", &value), *cookie, "{value}");
        }
    }

    #[test]
    fn a_token_is_checked_once_and_few_of_a_part_are() {
        let (mut tokens, words) = tokens();
        for _ in 0..3 {
            assert_eq!(look(&mut tokens, Place::Cookie, "t", &format!("{PLAIN}.valid")), []);
        }
        assert_eq!(words.0.load(Ordering::Relaxed), 1);
        for number in 0..10 {
            look(&mut tokens, Place::Cookie, "t", &format!("{PLAIN}.sig{number}"));
        }
        assert_eq!((tokens.checked, tokens.unchecked), (u64::from(MAX_CHECKS), 11 - u64::from(MAX_CHECKS)));
        tokens.begin(1, None);
        assert_eq!(look(&mut tokens, Place::Cookie, "t", &format!("{NAMED}.wrong")).len(), 1);
    }

    #[test]
    fn signatures_are_checked_so_often_in_a_second() {
        let (mut tokens, words) = tokens();
        let mut send = |second, number| {
            tokens.begin(second, None);
            look(&mut tokens, Place::Cookie, "t", &format!("{PLAIN}.sig{second}x{number}"));
            (tokens.checked, tokens.unchecked)
        };
        let most = u64::from(MAX_CHECKS_PER_SEC);
        let last = (0..most + 3).map(|number| send(7, number)).last();
        assert_eq!(last, Some((most, 3)));
        assert_eq!(send(8, 0), (most + 1, 3));
        assert_eq!(u64::from(words.0.load(Ordering::Relaxed)), most + 1);
    }

    #[test]
    fn secrets_are_guessed_so_often_in_a_second() {
        let (mut tokens, _) = tokens();
        for number in 0..MAX_GUESSES_PER_SEC {
            tokens.begin(7, None);
            look(&mut tokens, Place::Cookie, "t", &format!("{PLAIN}.sig{number}"));
        }
        let weak = format!("{PLAIN}.guessable");
        tokens.begin(7, None);
        assert_eq!(look(&mut tokens, Place::Cookie, "t", &weak), []);
        tokens.begin(8, None);
        assert_eq!(look(&mut tokens, Place::Cookie, "t", &weak), [(Code::JwtSecret, 0.6)]);
    }

    #[test]
    fn without_keys_nothing_is_said() {
        let mut tokens = Tokens::default();
        assert_eq!(look(&mut tokens, Place::Cookie, "t", &format!("{NAMED}.wrong")), []);
    }
}
