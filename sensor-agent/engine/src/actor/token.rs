//! Issuers of tokens: one that signs with a private key, and whose token now bears a signature with a shared secret, has its public
//! key used as that secret (algorithm confusion).

use super::Scene;
use super::claim::Claim;
use super::table::Weigh;
use crate::detect::builtin::Code;
use crate::facts::flag;
use crate::facts::window::Sightings;

/// Clients whose tokens with a shared secret were served, before both kinds are usual.
const MANY: usize = 3;

/// An issuer and its key.
#[derive(Debug, Default)]
pub(super) struct Issuer {
    asymmetric: u32,
    /// Tokens with a shared secret that came before.
    symmetric: u32,
    clients: Sightings,
}

impl Weigh for Issuer {
    fn heap(&self) -> usize {
        self.clients.heap()
    }
}

impl Issuer {
    /// Notes a token.
    pub(super) fn note(&mut self, scene: &Scene<'_>, claims: &mut Vec<Claim>) {
        let facts = scene.facts;
        if facts.request.has(flag::ASYMMETRIC) {
            self.asymmetric = self.asymmetric.saturating_add(u32::from(facts.is_served()));
            return;
        }
        if u64::from(self.asymmetric) < scene.settings.jwt_after || self.symmetric > 0 {
            self.symmetric = self.symmetric.saturating_add(u32::from(facts.is_served()));
            return;
        }
        if facts.is_served() && self.clients.note(scene.client, scene.now, u32::MAX, MANY) >= MANY {
            self.symmetric = 1;
        }
        let confidence = if facts.is_served() { 0.95 } else { 0.85 };
        let counts = [(self.asymmetric as usize, "tokens with a private key's signature before")];
        claims.push(Claim::new(Code::JwtConfusion, confidence, 0, counts));
    }
}
