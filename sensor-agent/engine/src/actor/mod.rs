//! What needs memory across transactions: [`Facts`] in, [`Notice`]s out.
//!
//! Behaviour shows only over many requests, and behind a proxy or a load balancer one client's requests come over many connections,
//! which different engines see. So there is one memory for all of them, fed with small facts. It is a pure state machine: time comes with
//! the facts, all that is remembered is bounded, and the same facts give the same notices.

mod access;
mod behaviour;
mod behind;
mod claim;
mod client;
mod counters;
mod crowd;
#[cfg(test)]
mod crowd_tests;
mod login;
mod route;
mod session;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod token;
#[cfg(test)]
mod town_tests;

use std::net::IpAddr;
use std::sync::Arc;

use crate::detect::builtin::Code;
use crate::facts::{Facts, Key, Login, flag};
use crate::field::{Field, Place};
use crate::http::client::ClientSource;
use crate::rule::{Progress, RuleSet};

use access::Walks;
pub use behind::Behind;
pub use claim::{Account, Notice};
use claim::{Claim, Infos, graded};
use client::{Actor, Suspect};
use counters::Counters;
use login::User;
use route::{Habit, Route};
use session::{Cookie, Session};
pub use settings::{Range, Settings};
use table::{Bounded, Recent};
use token::Issuer;

/// Things kept of a kind, for a threshold: enough to tell how far it is exceeded.
fn most(threshold: u64) -> usize {
    usize::try_from(threshold).unwrap_or(usize::MAX).saturating_mul(3).clamp(8, 300)
}

/// A transaction and what is at hand to judge it.
#[derive(Clone, Copy, Debug)]
struct Scene<'a> {
    facts: &'a Facts,
    settings: &'a Settings,
    /// Seconds on the data's clock.
    now: u32,
    /// The client.
    client: u64,
    /// The network that the client is in.
    network: u64,
    /// The client's address, one of many that an IPv6 client may have.
    address: u64,
}

/// The memory of clients, users, sessions and routes.
#[derive(Debug)]
pub struct Actors {
    settings: Settings,
    rules: Arc<RuleSet>,
    infos: Infos,
    key: Key,
    now: u32,
    clients: Recent<Actor>,
    users: Recent<User>,
    routes: Recent<Route>,
    sessions: Recent<Session>,
    cookies: Recent<Cookie>,
    issuers: Recent<Issuer>,
    progress: Recent<Progress>,
    claims: Vec<Claim>,
    counters: Counters,
}

impl Actors {
    /// A memory of nobody.
    #[must_use]
    pub fn new(settings: Settings, rules: Arc<RuleSet>, key: Key) -> Self {
        Self {
            clients: Recent::new(settings.max_clients),
            users: Recent::new(settings.max_users),
            routes: Recent::new(settings.max_routes),
            sessions: Recent::new(settings.max_sessions),
            cookies: Recent::new(settings.max_cookies),
            issuers: Recent::new(settings.max_issuers),
            progress: Recent::new(settings.max_behaviours),
            settings,
            rules,
            infos: Infos::new(),
            key,
            now: 0,
            claims: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Uses other rules from the next transaction on.
    pub fn replace_rules(&mut self, rules: Arc<RuleSet>) {
        self.rules = rules;
    }

    /// Uses other limits and thresholds from the next transaction on; what is remembered stays.
    pub fn replace_settings(&mut self, settings: Settings) {
        self.clients.set_capacity(settings.max_clients);
        self.users.set_capacity(settings.max_users);
        self.routes.set_capacity(settings.max_routes);
        self.sessions.set_capacity(settings.max_sessions);
        self.cookies.set_capacity(settings.max_cookies);
        self.issuers.set_capacity(settings.max_issuers);
        self.progress.set_capacity(settings.max_behaviours);
        self.settings = settings;
    }

    /// Takes a transaction and appends what it completes. Returns who is behind the client's address, if that has to be told.
    pub fn observe(&mut self, facts: &Facts, notices: &mut Vec<Notice>) -> Option<Behind> {
        self.now = self.now.max(u32::try_from(facts.time.as_nanos() / 1_000_000_000).unwrap_or(u32::MAX));
        if facts.request.has(flag::SLOW) {
            self.slow(facts, notices);
            return None;
        }
        self.counters.transactions += 1;
        self.counters.unanswered += u64::from(facts.response.status == 0);
        let mut claims = std::mem::take(&mut self.claims);
        claims.clear();
        let settings = self.settings.clone();
        let scene = self.scene(facts, &settings);
        self.routes(&scene, &mut claims);
        self.logins(&scene, &mut claims);
        self.sessions(&scene, &mut claims);
        self.attacks(&scene, &mut claims);
        self.tell(&scene, &claims, notices);
        self.behaviours(&scene, notices);
        let behind = self.behind(&scene);
        self.claims = claims;
        self.enforce_memory();
        behind
    }

    fn scene<'a>(&self, facts: &'a Facts, settings: &'a Settings) -> Scene<'a> {
        Scene {
            facts,
            settings,
            now: self.now,
            client: client_of(&self.key, facts),
            network: self.key.number(&prefix(facts.client.address, 24, 48)),
            address: self.key.number(&prefix(facts.client.address, 32, 128)),
        }
    }

    /// A request that does not get on is no transaction: only rules that ask for such see it.
    fn slow(&mut self, facts: &Facts, notices: &mut Vec<Notice>) {
        self.counters.slow_requests += 1;
        let settings = self.settings.clone();
        let scene = self.scene(facts, &settings);
        self.behaviours(&scene, notices);
        self.enforce_memory();
    }

    /// What was counted so far: name, help, value. What ends in `_now` goes down again.
    #[must_use]
    pub fn stats(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut counters = self.counters.clone();
        counters.clients_evicted = self.clients.evicted;
        counters.users_evicted = self.users.evicted;
        counters.routes_evicted = self.routes.evicted;
        counters.sessions_evicted = self.sessions.evicted;
        counters.cookies_evicted = self.cookies.evicted;
        counters.issuers_evicted = self.issuers.evicted;
        counters.behaviours_evicted = self.progress.evicted;
        counters.clients_now = self.clients.len() as u64;
        counters.routes_now = self.routes.len() as u64;
        counters.sessions_now = self.sessions.len() as u64;
        counters.bytes_now = self.bytes() as u64;
        counters.named()
    }

    /// Bytes of memory, near enough.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.clients.bytes()
            + self.users.bytes()
            + self.routes.bytes()
            + self.sessions.bytes()
            + self.cookies.bytes()
            + self.issuers.bytes()
            + self.progress.bytes()
    }

    /// What is asked for, and whether the client gets it.
    fn routes(&mut self, scene: &Scene<'_>, claims: &mut Vec<Claim>) {
        let (facts, secs) = (scene.facts, scene.settings.browse_secs as u32);
        let requests = self.clients.with(scene.client, |client| client.requests.note(scene.now, secs));
        if facts.response.status == 0 || facts.request.has(flag::STATIC) && facts.is_served() {
            return;
        }
        let walks = facts.request.object != 0;
        let steps = walks.then(|| self.clients.with(scene.client, |client| client.walks.step(scene)));
        let (accepted, habit) = self.routes.with(facts.request.route, |route| {
            let accepted = route.accepted();
            let habit: Option<Habit> = steps.and_then(|steps| route.visit(scene, steps.own));
            route.answer(scene, claims);
            route.token(scene, claims);
            (accepted, habit)
        });
        let odd = facts.is_missing() || facts.response.status == 403;
        self.clients.with(scene.client, |client| {
            if let Some(steps) = steps {
                Walks::judge(scene, steps, habit, claims);
            }
            if facts.is_served()
                && let Some(suspect) = client.as_suspect()
            {
                suspect.refusals.served(scene, accepted, claims);
            }
            if odd {
                let suspect = client.suspect();
                suspect.browsing.note(scene, requests, claims);
                suspect.show(facts);
            }
            if matches!(facts.response.status, 401 | 403) && !facts.request.has(flag::OVERRIDE) {
                client.suspect().refusals.note(scene);
            }
        });
    }

    fn logins(&mut self, scene: &Scene<'_>, claims: &mut Vec<Claim>) {
        let (facts, counters) = (scene.facts, &mut self.counters);
        let failed = matches!(facts.response.login, Login::Failed(_));
        if failed || facts.response.login == Login::Succeeded {
            counters.logins += 1;
            counters.logins_failed += u64::from(failed);
            counters.attempts_dropped += self.clients.with(scene.client, |client| {
                let suspect = client.suspect();
                if failed {
                    suspect.show(facts);
                }
                let attacked =
                    login::ATTACKS.iter().any(|code| suspect.was_told(Claim::number_of(*code, scene)));
                suspect.logins.note(scene, attacked, claims)
            });
        }
        if failed {
            self.users.with(login::user_of(scene), |user| user.note(scene, claims));
        }
        if failed || facts.response.login == Login::Succeeded {
            let familiar = self.clients.with(scene.client, |client| client.enter(!failed));
            let broken = self.routes.with(facts.request.route, |route| route.login(scene, familiar, claims));
            self.counters.logins_broken += u64::from(broken);
        }
        if login::brings_token(scene) {
            self.clients.with(scene.client, |client| match facts.response.status {
                401 | 403 => {
                    client.suspect().show(facts);
                    client.suspect().logins.note_token(scene, claims);
                }
                200..300 => {
                    if let Some(suspect) = client.as_suspect() {
                        suspect.logins.note_taken(scene);
                    }
                }
                _ => {}
            });
        }
        if facts.request.has(flag::NAMES_USER) {
            self.clients.with(scene.client, |client| client.suspect().logins.note_asked(scene, claims));
        }
    }

    fn sessions(&mut self, scene: &Scene<'_>, claims: &mut Vec<Claim>) {
        let (request, response) = (&scene.facts.request, &scene.facts.response);
        if request.session != 0 {
            let issued = self.cookies.get(request.session_name).map_or(0, Cookie::issued);
            let certain = issued >= scene.settings.sessions_known_after && self.sessions.evicted == 0;
            self.sessions.with(request.session, |session| {
                session.used(scene, claims);
                if session::keeps_id(scene) {
                    session.kept(scene, certain, claims);
                }
            });
        }
        for issued in response.issued.iter().filter(|issued| issued.name != 0) {
            // One that the client has already is only confirmed.
            if issued.value != request.session {
                self.sessions.with(issued.value, |session| session.begin(scene));
                self.cookies.with(issued.name, |cookie| cookie.note(issued, claims));
            }
        }
        if request.has(flag::SESSION_IN_TARGET) && scene.facts.is_served() {
            self.cookies.with(request.host, |cookie| cookie.in_target(scene, claims));
        }
        if request.flags & (flag::SYMMETRIC | flag::ASYMMETRIC) != 0 && response.status != 0 {
            self.issuers.with(request.issuer ^ request.host, |issuer| issuer.note(scene, claims));
        }
    }

    /// Who is behind the client's address: sessions that the server began, and programs, as far as they were served.
    fn behind(&mut self, scene: &Scene<'_>) -> Option<Behind> {
        let (facts, request) = (scene.facts, &scene.facts.request);
        if !facts.is_served() || facts.found.rules[0] != 0 {
            return None;
        }
        let is_issued = self.sessions.get(request.session).is_some_and(Session::is_issued);
        let session = if is_issued { request.session } else { 0 };
        let (now, own) = (scene.now, behind::Seen { session, program: request.agent });
        self.clients.with(scene.client, |client| client.behind.note(own, now))
    }

    /// Many kinds of attacks of one client add up, weak as each may be.
    fn attacks(&mut self, scene: &Scene<'_>, claims: &mut Vec<Claim>) {
        let (found, settings) = (scene.facts.found, scene.settings);
        if found.rules[0] == 0 {
            return;
        }
        let (secs, threshold) = (settings.attack_secs as u32, settings.attack_rules);
        let counted = self.clients.with(scene.client, |client| {
            let suspect = client.suspect();
            suspect.show(scene.facts);
            suspect.attacked.note(scene.facts.request.path, scene.now, secs, most(threshold));
            let rules_before = suspect.rules.count(scene.now, secs);
            for rule in found.rules.iter().filter(|rule| **rule != 0) {
                suspect.rules.note(u64::from(*rule), scene.now, secs, most(threshold));
            }
            if rules_before == 0 {
                suspect.classes = 0;
            }
            suspect.classes |= found.classes;
            let rules = suspect.rules.count(scene.now, secs);
            (rules, suspect.attacked.count(scene.now, secs), suspect.classes.count_ones())
        });
        let (rules, paths, classes) = counted;
        // Somebody who writes about attacks in one form is found by many rules, but in one place.
        if rules as u64 >= threshold && (classes >= 2 && paths >= 2 || paths >= 4) {
            let confidence = graded(rules, threshold, 0.65, 0.92);
            let counts = [(rules, "rules"), (classes as usize, "classes of attacks"), (paths, "paths")];
            claims.push(Claim::new(Code::ManyAttacks, confidence, settings.attack_secs, counts));
        }
    }

    /// Turns claims into notices, unless they were told before or an exception covers them.
    fn tell(&mut self, scene: &Scene<'_>, claims: &[Claim], notices: &mut Vec<Notice>) {
        let Self { clients, infos, rules, counters, settings, .. } = self;
        for claim in claims {
            let Some(info) = infos.get(claim.code) else { continue };
            if is_excepted(rules, &info.id, scene.facts) {
                counters.findings_excepted += 1;
                continue;
            }
            let examples = clients.with(scene.client, |client| {
                let suspect: &mut Suspect = client.suspect();
                let new = suspect.tell(claim.number(scene), claim.confidence, scene.now, settings.quiet_secs);
                new.then(|| suspect.examples(scene.facts))
            });
            match examples {
                Some(examples) => {
                    counters.findings += 1;
                    notices.push(claim::notice(claim, info, examples));
                }
                None => counters.findings_repeated += 1,
            }
        }
    }

    /// Of what takes most memory, what was unused for longest makes room, until all together keep to the limit.
    fn enforce_memory(&mut self) {
        let most = usize::try_from(self.settings.max_bytes).unwrap_or(usize::MAX);
        while self.bytes() > most {
            let tables: [&mut dyn Bounded; 7] = [
                &mut self.clients,
                &mut self.users,
                &mut self.routes,
                &mut self.sessions,
                &mut self.cookies,
                &mut self.issuers,
                &mut self.progress,
            ];
            let largest = tables.into_iter().max_by_key(|table| table.held());
            if !largest.is_some_and(Bounded::make_room) {
                return;
            }
            self.counters.evicted_memory += 1;
        }
    }
}

/// Whether an exception covers findings of this rule on the path in hand.
fn is_excepted(rules: &RuleSet, id: &str, facts: &Facts) -> bool {
    let path = facts.request.path_text.bytes();
    let field = Field { place: Place::Path, name: b"", value: path, offset: 0 };
    rules.exceptions().iter().any(|exception| exception.covers(id, path, &field))
}

/// The client's number. A trusted proxy that does not tell for whom it speaks stands for everybody: then each of its connections
/// is a client of its own, which is too little, but nobody is accused of what others do.
fn client_of(key: &Key, facts: &Facts) -> u64 {
    let number = key.number(&prefix(facts.client.address, 32, 64));
    if facts.client.source == ClientSource::Untold { number ^ facts.flow_id.rotate_left(32) } else { number }
}

/// The bytes of an address within its network of so many bits, for IPv4 and IPv6.
pub(crate) fn prefix(address: IpAddr, four: u8, six: u8) -> [u8; 17] {
    let mut bytes = [0; 17];
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let kept = u32::MAX.checked_shl(32 - u32::from(four.min(32))).unwrap_or(0);
            bytes[..4].copy_from_slice(&(address.to_bits() & kept).to_be_bytes());
        }
        IpAddr::V6(address) => {
            let kept = u128::MAX.checked_shl(128 - u32::from(six.min(128))).unwrap_or(0);
            bytes[..16].copy_from_slice(&(address.to_bits() & kept).to_be_bytes());
            bytes[16] = 6;
        }
    }
    bytes
}
