//! What is kept of a transaction once it is over: who asked, for what, with which credentials, and what the server said.
//!
//! Behaviour shows in many transactions, which many engines see. So each engine makes a small, fixed-size account of each,
//! without secrets: user names, passwords and tokens are numbers made with a key that all engines of a process share, good for telling whether
//! two are the same and for nothing else. Making one allocates nothing.

pub(crate) mod credential;
mod name;
mod request;
mod response;
mod route;
mod text;
pub(crate) mod window;

use std::hash::{BuildHasher as _, Hasher as _};
use std::net::SocketAddr;

use ahash::RandomState;

use crate::finding::{Class, Confidence, Finding};
use crate::http::client::{Client, ClientSource};
use crate::time::Timestamp;

pub use name::is_session_name;
pub(crate) use request::protocol;
pub use request::{Method, RequestFacts, flag};
pub use response::{Issued, Login, ResponseFacts, Why, attribute};
pub use text::Text;

/// The key with which values become numbers.
#[derive(Clone, Debug)]
pub struct Key(RandomState);

impl Key {
    /// A key of four random numbers. Engines whose facts are compared share one.
    #[must_use]
    pub const fn new(seeds: [u64; 4]) -> Self {
        Self(RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]))
    }

    /// The number of `value`; never 0, which stands for "none".
    #[must_use]
    pub fn number(&self, value: &[u8]) -> u64 {
        self.pair(b"", value)
    }

    /// The number of a value under a name.
    #[must_use]
    pub fn pair(&self, name: &[u8], value: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(name);
        hasher.write_u8(0);
        hasher.write(value);
        hasher.finish().max(1)
    }

    fn hasher(&self) -> ahash::AHasher {
        self.0.build_hasher()
    }
}

impl Default for Key {
    /// A key for tests and for facts that nobody can influence.
    fn default() -> Self {
        Self::new([
            0x243f_6a88_85a3_08d3,
            0x1319_8a2e_0370_7344,
            0xa409_3822_299f_31d0,
            0x082e_fa98_ec4e_6c89,
        ])
    }
}

/// One transaction.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// When the request's head was complete, in the data's own time.
    pub time: Timestamp,
    /// Number of the flow within its engine's run.
    pub flow_id: u64,
    /// Number of the request in its connection, from 0.
    pub number: u64,
    /// Interface index.
    pub interface: u32,
    /// The end that sent the request.
    pub peer: SocketAddr,
    /// The other end.
    pub server: SocketAddr,
    /// Who the client is, behind proxies.
    pub client: Client,
    /// Whether the peer owns its address: it completed a handshake.
    pub verified: bool,
    /// Whether the peer is a trusted proxy, whose address is everybody's.
    pub proxied: bool,
    /// What the request says.
    pub request: RequestFacts,
    /// What the response says.
    pub response: ResponseFacts,
    /// What was found in it.
    pub found: Found,
}

impl Default for Facts {
    fn default() -> Self {
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        Self {
            time: Timestamp::default(),
            flow_id: 0,
            number: 0,
            interface: 0,
            peer: nobody,
            server: nobody,
            client: Client { address: nobody.ip(), source: ClientSource::Peer },
            verified: false,
            proxied: false,
            request: RequestFacts::default(),
            response: ResponseFacts::default(),
            found: Found::default(),
        }
    }
}

impl Facts {
    /// Whether the request shows who sends it: a session's cookie, an Authorization header, a key.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.request.has(flag::CREDENTIALS)
    }

    /// What the request shows of its sender, as one number; 0 if it shows nothing.
    #[must_use]
    pub fn credential(&self) -> u64 {
        if self.request.authorization != 0 { self.request.authorization } else { self.request.session }
    }

    /// Whether the server gave what was asked for.
    #[must_use]
    pub fn is_served(&self) -> bool {
        (200..300).contains(&self.response.status)
    }

    /// Whether the server says that the client may not: 401, 403, or the way to a login.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.response.status, 401 | 403) || self.response.to_login
    }

    /// Whether the server says that there is nothing: 404 or 410.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self.response.status, 404 | 410)
    }
}

/// Most rules of one transaction that are told.
pub const MAX_RULES: usize = 4;
/// Findings below this confidence are not told.
const LEAST_CONFIDENCE: f32 = 0.25;

/// The findings of a transaction, as far as behaviour is judged by them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Numbers of rules, 0 for none.
    pub rules: [u32; MAX_RULES],
    /// A bit for each class, by its place in [`Class::ALL`].
    pub classes: u8,
}

impl Found {
    /// The account of these findings.
    #[must_use]
    pub fn of(findings: &[Finding]) -> Self {
        let mut found = Self::default();
        let told = Confidence::new(LEAST_CONFIDENCE).unwrap_or(Confidence::ZERO);
        for finding in findings.iter().filter(|finding| finding.confidence >= told) {
            found.classes |= class_bit(finding.class);
            let number = finding.rule.number;
            if !found.rules.contains(&number)
                && let Some(place) = found.rules.iter_mut().find(|place| **place == 0)
            {
                *place = number;
            }
        }
        found
    }
}

fn class_bit(class: Class) -> u8 {
    1_u8.checked_shl(class as u32).unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests;
