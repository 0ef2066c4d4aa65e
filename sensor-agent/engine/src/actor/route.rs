//! What is usual on a route: how many objects a client asks for, who is served, with which methods, and whether requests that change
//! something bring a token.

use super::Scene;
use super::access::{Step, bit};
use super::claim::Claim;
use super::crowd::Crowd;
use super::table::Weigh;
use crate::detect::builtin::Code;
use crate::facts::flag;
use crate::facts::window::Sightings;

/// Clients that are told apart; more are many.
const MAX_CLIENTS: usize = 8;
/// Clients of which something must be seen before it is usual.
const LEAST_CLIENTS: usize = 3;
/// Refusals of anonymous requests before a route counts as protected.
const LEAST_REFUSALS: u32 = 2;
/// Counts above this are halved, so that what was usual long ago is forgotten.
const HALVE_FROM: u32 = 1 << 16;
/// For what does not expire.
const FOREVER: u32 = u32::MAX;

/// Objects of one client's window that make a habit.
fn taught(scene: &Scene<'_>) -> usize {
    (scene.settings.walk_objects / 4).max(1) as usize
}

/// How many objects a client asks for within a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Habit {
    pub(super) objects: f32,
}

/// One route.
#[derive(Debug, Default)]
pub(super) struct Route {
    /// Windows in which clients asked for objects, and how many objects.
    visits: u32,
    objects: u32,
    visitors: Sightings,
    /// Requests with credentials that were served.
    served: u32,
    served_clients: Sightings,
    /// Requests without credentials that were refused, and that were served.
    turned_away: u32,
    let_in: u32,
    /// Methods that were served to clients with credentials.
    accepted: u16,
    /// Requests that change something with a token, and without.
    with_token: u32,
    without_token: u32,
    /// Clients of the latter, lately: one client counts once.
    tokenless: Sightings,
    token_clients: Sightings,
    /// Logins, once one has failed or worked here.
    crowd: Option<Box<Crowd>>,
}

impl Weigh for Route {
    fn heap(&self) -> usize {
        let crowd = self.crowd.as_ref().map_or(0, |crowd| size_of::<Crowd>() + crowd.heap());
        let clients = [&self.visitors, &self.served_clients, &self.token_clients, &self.tokenless];
        clients.into_iter().map(Sightings::heap).sum::<usize>() + crowd
    }
}

impl Route {
    /// Notes a client's request for an object; returns the habit of the others, as far as it is known.
    pub(super) fn visit(&mut self, scene: &Scene<'_>, step: Step) -> Option<Habit> {
        let clients = self.visitors.note(scene.client, scene.now, FOREVER, MAX_CLIENTS);
        self.visits += u32::from(step.first);
        // One client teaches little: what it asks for beyond the ordinary makes no habit.
        let most = taught(scene);
        self.objects += u32::from(step.new && step.objects <= most);
        if self.visits >= HALVE_FROM || self.objects >= HALVE_FROM {
            (self.visits, self.objects) = (self.visits / 2, self.objects / 2);
        }
        // The client in hand is not its own measure.
        let visits = self.visits.saturating_sub(1);
        let objects = self.objects.saturating_sub(step.objects.min(most) as u32);
        let known = clients as u64 > scene.settings.habit_clients.min(MAX_CLIENTS as u64 - 1) && visits > 0;
        known.then(|| Habit { objects: (objects as f32 / visits as f32).max(1.0) })
    }

    /// The methods that clients with credentials were served with so far.
    pub(super) fn accepted(&self) -> u16 {
        self.accepted
    }

    /// Notes an answer; an anonymous client that is let in where only others were is a finding.
    pub(super) fn answer(&mut self, scene: &Scene<'_>, claims: &mut Vec<Claim>) {
        let (facts, settings) = (scene.facts, scene.settings);
        match (facts.is_served(), facts.is_authenticated()) {
            (true, true) => {
                self.served = self.served.saturating_add(1);
                self.served_clients.note(scene.client, scene.now, FOREVER, MAX_CLIENTS);
                self.accepted |= bit(facts.request.method);
            }
            (true, false) if !facts.request.has(flag::LOGIN) => {
                let protected = u64::from(self.served) >= settings.protected_after
                    && self.turned_away >= LEAST_REFUSALS
                    && self.let_in == 0
                    && self.served_clients.count(scene.now, FOREVER) >= LEAST_CLIENTS;
                if protected {
                    let counts = [
                        (self.served as usize, "requests with credentials served before"),
                        (self.turned_away as usize, "without refused"),
                    ];
                    claims.push(Claim::new(Code::AnonymousAccess, 0.6, 0, counts).about(facts.request.route));
                }
                self.let_in = self.let_in.saturating_add(1);
            }
            (false, false) if facts.is_refused() => self.turned_away = self.turned_away.saturating_add(1),
            _ => {}
        }
    }

    /// Notes a login; `familiar` says that the client got in before. Returns whether the login seems to be out of order.
    pub(super) fn login(&mut self, scene: &Scene<'_>, familiar: bool, claims: &mut Vec<Claim>) -> bool {
        self.crowd.get_or_insert_default().note(scene, familiar, claims)
    }

    /// Notes whether a request that changes something brings a token against forgery.
    pub(super) fn token(&mut self, scene: &Scene<'_>, claims: &mut Vec<Claim>) {
        let request = &scene.facts.request;
        if !request.method.changes() || request.session == 0 {
            return;
        }
        if request.has(flag::ANTI_FORGERY) {
            self.with_token = self.with_token.saturating_add(1);
            self.token_clients.note(scene.client, scene.now, FOREVER, MAX_CLIENTS);
            return;
        }
        let usual = u64::from(self.with_token) >= scene.settings.csrf_after
            && self.token_clients.count(scene.now, FOREVER) >= LEAST_CLIENTS
            && self.without_token.saturating_mul(20) <= self.with_token;
        if !self.tokenless.has(scene.client) {
            self.without_token = self.without_token.saturating_add(1);
        }
        self.tokenless.note(scene.client, scene.now, FOREVER, MAX_CLIENTS);
        if !usual || request.has(flag::SAME_SITE) {
            return;
        }
        let foreign = request.has(flag::FOREIGN);
        let accepted = (200..400).contains(&scene.facts.response.status);
        let confidence = if foreign { 0.8 } else { 0.55 } + if accepted { 0.1 } else { 0.0 };
        let from = if foreign { "another site's page" } else { "no page" };
        let counts = [(self.with_token as usize, "requests with a token before")];
        let claim = Claim::new(Code::CsrfMissingToken, confidence, 0, counts);
        claims.push(claim.about(request.route).with_detail(format!("no token, from {from}").as_bytes()));
    }
}
