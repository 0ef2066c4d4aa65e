//! Signatures of tokens. The engine knows what a wrong signature means and when to ask about one; keys and cryptography are the
//! shell's, which lends the engine whoever keeps them.

use std::fmt;

/// A token (JWS in compact form) as its signature is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedToken<'a> {
    /// The algorithm that its header names (RFC 7518 section 3.1).
    pub algorithm: &'a str,
    /// The key that its header names.
    pub key_id: Option<&'a str>,
    /// What was signed: header and claims as they stand on the wire, with the dot between.
    pub signed: &'a [u8],
    /// The signature, in base64 as it stands on the wire.
    pub signature: &'a [u8],
}

/// What the operator's keys say of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// Nothing: there are no keys, or the algorithm is not known.
    Unknown,
    /// One of the keys made it.
    Valid,
    /// None of the keys that fit made it.
    Wrong,
    /// The token names a key that is none of these.
    Foreign,
    /// It is made with a shared secret, and all keys that fit are public ones.
    Confused,
}

/// Whoever keeps the operator's keys. Both questions cost microseconds, in time that does not depend on a guess being near.
pub trait TokenKeys: fmt::Debug + Send + Sync {
    /// What the keys say of the token's signature.
    fn check(&self, token: &SignedToken<'_>) -> Signature;

    /// Whether one of the secrets that are tried first by everybody who guesses made the signature.
    fn is_guessable(&self, token: &SignedToken<'_>) -> bool;
}
