//! Sessions: which the server began, who uses them, and how their ids look.

use super::Scene;
use super::claim::Claim;
use super::table::Weigh;
use crate::detect::builtin::Code;
use crate::facts::{Issued, Login, attribute, flag};

/// One session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Session {
    issued: bool,
    /// Network and program of the client that used it last; 0 before.
    user: (u64, u64),
    at: u32,
    /// It was used by clients of different networks and programs.
    moved: bool,
    told: bool,
}

impl Weigh for Session {}

impl Session {
    /// Notes that the server began it for this client.
    pub(super) fn begin(&mut self, scene: &Scene<'_>) {
        *self = Self { issued: true, user: user(scene), at: scene.now, ..Self::default() };
    }

    /// Whether the server began it, as far as that was seen.
    pub(super) fn is_issued(&self) -> bool {
        self.issued
    }

    /// Notes that a client uses it.
    pub(super) fn used(&mut self, scene: &Scene<'_>, claims: &mut Vec<Claim>) {
        let (before, now) = (self.user, user(scene));
        let apart = before.0 != now.0 && before.1 != now.1;
        let known = before != (0, 0);
        let at_once = u64::from(scene.now.saturating_sub(self.at)) < scene.settings.share_secs;
        (self.user, self.at) = (now, scene.now);
        if !known || !apart {
            return;
        }
        self.moved = true;
        if at_once && !std::mem::replace(&mut self.told, true) {
            let counts = [(2, "networks and programs use one session")];
            let claim = Claim::new(Code::SessionShared, 0.65, scene.settings.share_secs, counts);
            claims.push(claim.about(scene.facts.request.session));
        }
    }

    /// A login after which the client keeps this id, which the server never issued. `certain` says that all it issued are known.
    pub(super) fn kept(&self, scene: &Scene<'_>, certain: bool, claims: &mut Vec<Claim>) {
        if self.issued || !certain {
            return;
        }
        let (confidence, detail) = match self.moved {
            true => (0.85, "kept through a login, and used by another client before"),
            false => (0.6, "kept through a login"),
        };
        let claim =
            Claim::new(Code::SessionKept, confidence, 0, [(1, "session id that the server never issued")]);
        claims.push(claim.about(scene.facts.request.session).with_detail(detail.as_bytes()));
    }
}

/// Network and program of the client.
fn user(scene: &Scene<'_>) -> (u64, u64) {
    (scene.network, scene.facts.request.agent)
}

/// Whether a login worked without a new id in place of the one that the client brought.
pub(super) fn keeps_id(scene: &Scene<'_>) -> bool {
    let (request, response) = (&scene.facts.request, &scene.facts.response);
    response.login == Login::Succeeded
        && !request.has(flag::BASIC)
        && request.session != 0
        && response.issued.iter().all(|issued| issued.name != request.session_name)
}

/// Ids compared.
const MAX_IDS: usize = 8;
/// Counters within this distance of each other are guessable.
const NEAR: u64 = 8 * 4096;
/// Ids of fewer bits can be guessed.
const LEAST_BITS: u16 = 64;

/// The sessions of one cookie's name on one host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cookie {
    issued: u64,
    counters: [u64; MAX_IDS],
    counted: usize,
    short: u32,
    told: u8,
}

impl Weigh for Cookie {}

/// Bits of [`Cookie::told`].
const ATTRIBUTES: u8 = 1;
const SHORT: u8 = 1 << 1;
const SEQUENCE: u8 = 1 << 2;
const IN_TARGET: u8 = 1 << 3;

impl Cookie {
    /// Sessions issued.
    pub(super) fn issued(&self) -> u64 {
        self.issued
    }

    /// Notes a session that begins.
    pub(super) fn note(&mut self, issued: &Issued, claims: &mut Vec<Claim>) {
        self.issued += 1;
        let missing = without(issued.attributes);
        if !missing.is_empty() {
            let detail = [issued.name_text.bytes(), b" without ", missing.as_bytes()].concat();
            self.tell(
                ATTRIBUTES,
                Claim::new(Code::SessionAttributes, 0.6, 0, []).with_detail(&detail),
                issued,
                claims,
            );
        }
        self.short = if issued.bits < LEAST_BITS { self.short + 1 } else { 0 };
        if self.short >= MAX_IDS as u32 {
            let counts = [(MAX_IDS, "ids in a row"), (usize::from(issued.bits), "bits at most")];
            self.tell(
                SHORT,
                Claim::new(Code::SessionShort, 0.6, 0, counts).with_detail(issued.name_text.bytes()),
                issued,
                claims,
            );
        }
        let Some(counter) = issued.counter else { return };
        self.counters[self.counted % MAX_IDS] = counter;
        self.counted += 1;
        if self.counted >= MAX_IDS && is_sequence(self.counters) {
            let counts = [(MAX_IDS, "ids near each other")];
            self.tell(
                SEQUENCE,
                Claim::new(Code::SessionSequence, 0.85, 0, counts).with_detail(issued.name_text.bytes()),
                issued,
                claims,
            );
        }
    }

    /// Notes a session's id in a target that was served.
    pub(super) fn in_target(&mut self, scene: &Scene<'_>, claims: &mut Vec<Claim>) {
        if self.told & IN_TARGET == 0 {
            self.told |= IN_TARGET;
            let claim = Claim::new(Code::SessionInTarget, 0.6, 0, [(1, "session id in a target")]);
            claims.push(claim.about(scene.facts.request.host));
        }
    }

    fn tell(&mut self, what: u8, claim: Claim, issued: &Issued, claims: &mut Vec<Claim>) {
        if self.told & what == 0 {
            self.told |= what;
            claims.push(claim.about(issued.name));
        }
    }
}

/// The attributes that are missing, by name.
fn without(attributes: u8) -> String {
    let named = [
        (attribute::SECURE, "Secure"),
        (attribute::HTTP_ONLY, "HttpOnly"),
        (attribute::SAME_SITE, "SameSite"),
    ];
    let missing: Vec<_> =
        named.iter().filter(|(bit, _)| attributes & bit == 0).map(|(_, name)| *name).collect();
    missing.join(", ")
}

/// Whether all differ, and none is far from the others: responses pass the engines nearly in order, not quite.
fn is_sequence(mut counters: [u64; MAX_IDS]) -> bool {
    counters.sort_unstable();
    let distinct = counters.windows(2).all(|pair| pair[0] != pair[1]);
    distinct && counters[MAX_IDS - 1] - counters[0] <= NEAR
}
