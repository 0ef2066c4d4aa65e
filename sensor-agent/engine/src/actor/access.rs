//! What one client asks for: paths that are not there, one object after the other, and refused requests in another form.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::claim::{Claim, graded};
use super::route::Habit;
use super::{Scene, most};
use crate::detect::builtin::Code;
use crate::facts::window::{Sightings, fold};
use crate::facts::{Method, flag};

/// Names for which scanners look.
const PROBES: &[&str] = &[
    "/.env",
    "/.git/",
    "/.svn",
    "/.aws",
    "/.ssh",
    "/.ht",
    "/.ds_store",
    "/.vscode",
    "/.docker",
    "wp-login",
    "wp-admin",
    "wp-config",
    "wp-content",
    "xmlrpc.php",
    "phpmyadmin",
    "/pma",
    "adminer",
    "/actuator",
    "/server-status",
    "/manager/html",
    "/solr",
    "/jenkins",
    "/console",
    "/cgi-bin",
    "phpunit",
    "/backup",
    ".bak",
    ".sql",
    ".old",
    ".swp",
    ".tar",
    "/config.",
    "/phpinfo",
    "/info.php",
    "/admin",
    "/shell",
    "/setup.",
    "/install.",
    "/debug",
    "/telescope",
    "/owa/",
    "/autodiscover",
    "/hnap1",
    "/boaform",
    "/web.config",
    "id_rsa",
    "/dump",
    "/test.php",
    "/webdav",
    "/invoker",
    "/struts",
    "/druid",
    "/nacos",
    "/geoserver",
    "/vendor/",
];

/// The search for [`PROBES`]; `None` never, since they are fixed.
static PROBE: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::builder().ascii_case_insensitive(true).build(PROBES).ok());

/// Paths that were not there, or not for this client.
#[derive(Debug, Default)]
pub(super) struct Browsing {
    missing: Sightings,
    /// Those to which a page of the site itself led.
    linked: Sightings,
    probes: Sightings,
}

impl Browsing {
    pub(super) fn heap(&self) -> usize {
        self.missing.heap() + self.linked.heap() + self.probes.heap()
    }

    /// Notes a path that is missing or forbidden; `requests` is how many the client sent in the window.
    pub(super) fn note(&mut self, scene: &Scene<'_>, requests: u32, claims: &mut Vec<Claim>) {
        let (settings, request, now) = (scene.settings, &scene.facts.request, scene.now);
        let (secs, threshold) = (settings.browse_secs as u32, settings.browse_paths);
        let linked = request.has(flag::SAME_SITE);
        let list = if linked { &mut self.linked } else { &mut self.missing };
        list.note(request.path, now, secs, most(threshold));
        // A site's own broken links are its own; but who forges them is not let off.
        let paths = self.missing.count(now, secs) + self.linked.count(now, secs) / 4;
        if paths as u64 >= threshold && paths * 10 >= requests as usize * 6 {
            // Programs with credentials ask whether something is there before they put it there.
            let top = if request.has(flag::CREDENTIALS) { 0.68 } else { 0.9 };
            let confidence = graded(paths, threshold, 0.65, top);
            let counts = [(paths, "missing paths"), (requests as usize, "requests")];
            claims.push(Claim::new(Code::ForcedBrowsing, confidence, settings.browse_secs, counts));
        }
        let is_probe = || PROBE.as_ref().is_some_and(|probe| probe.is_match(request.path_text.bytes()));
        if !linked && is_probe() {
            let probes = self.probes.note(request.path, now, secs, most(settings.probe_names));
            if probes as u64 >= settings.probe_names {
                let confidence = graded(probes, settings.probe_names, 0.7, 0.9);
                let counts =
                    [(probes, "missing paths that scanners look for"), (requests as usize, "requests")];
                claims.push(Claim::new(Code::ProbeNames, confidence, settings.browse_secs, counts));
            }
        }
    }
}

/// Walks of one client that are followed.
const MAX_WALKS: usize = 8;
/// Steps from object to object before their order counts.
const LEAST_STEPS: u16 = 10;
/// A step from number to number of at most this many follows.
const NEAR: u64 = 3;

/// Objects that a client asked for: those of all requests, and those of each of its credentials, because many people may share an
/// address.
#[derive(Debug, Default)]
pub(super) struct Walks(Vec<Walk>);

#[derive(Debug, Default)]
struct Walk {
    /// The route, alone or with a credential.
    route: u32,
    since: u32,
    used: u32,
    objects: Sightings,
    last: Option<u64>,
    near: u16,
    steps: u16,
    refused: u16,
}

/// What a request for an object was to a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The first of the route in this window.
    pub(super) first: bool,
    /// The object is new in this window.
    pub(super) new: bool,
    /// Different objects in this window.
    pub(super) objects: usize,
    /// Steps to new objects, those of them that were near, and those to what is refused or missing.
    steps: u16,
    near: u16,
    refused: u16,
}

/// A request for an object as a step of the client's walk, and of its credential's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    client: Step,
    /// The client's own where there are no credentials.
    pub(super) own: Step,
}

impl Walks {
    pub(super) fn heap(&self) -> usize {
        self.0.capacity() * size_of::<Walk>() + self.0.iter().map(|walk| walk.objects.heap()).sum::<usize>()
    }

    /// Notes a request for an object.
    pub(super) fn step(&mut self, scene: &Scene<'_>) -> Steps {
        let (route, credential) = (scene.facts.request.route, scene.facts.credential());
        let client = self.step_along(fold(route), scene);
        let own = if credential == 0 { client } else { self.step_along(fold(route ^ credential), scene) };
        Steps { client, own }
    }

    fn step_along(&mut self, route: u32, scene: &Scene<'_>) -> Step {
        let (request, now, secs) = (&scene.facts.request, scene.now, scene.settings.browse_secs as u32);
        let walk = self.of(route, now);
        walk.used = now;
        let first = walk.objects.count(now, secs) == 0;
        if first || now.saturating_sub(walk.since) >= secs {
            (walk.since, walk.near, walk.steps, walk.refused) = (now, 0, 0, 0);
        }
        let new = !walk.objects.has(request.object);
        let objects = walk.objects.note(request.object, now, secs, most(scene.settings.walk_objects));
        if new {
            walk.steps = walk.steps.saturating_add(1);
            let near = walk.last.zip(request.id).is_some_and(|(last, id)| last.abs_diff(id) <= NEAR);
            walk.near = walk.near.saturating_add(u16::from(near));
            let refused = scene.facts.is_refused() || scene.facts.is_missing();
            walk.refused = walk.refused.saturating_add(u16::from(refused));
            walk.last = request.id.or(walk.last);
        }
        let Walk { steps, near, refused, .. } = *walk;
        Step { first, new, objects, steps, near, refused }
    }

    /// What the walk along the request's route comes to.
    pub(super) fn judge(scene: &Scene<'_>, steps: Steps, habit: Option<Habit>, claims: &mut Vec<Claim>) {
        let threshold = scene.settings.walk_objects;
        let Steps { client, own } = steps;
        let long = |step: Step| step.objects as u64 >= threshold && step.steps >= LEAST_STEPS;
        let follows = long(client) && u32::from(client.near) * 10 >= u32::from(client.steps) * 8;
        let refused = u32::from(client.refused) * 5 >= u32::from(client.steps);
        let usual = habit.map(|habit| habit.objects);
        let beyond = long(own)
            && scene.facts.is_authenticated()
            && usual.is_some_and(|usual| own.objects as f32 >= usual * 10.0);
        let (step, confidence) = match (follows && refused, beyond) {
            (true, true) => (client, graded(client.objects, threshold, 0.8, 0.92)),
            (true, false) => (client, graded(client.objects, threshold, 0.7, 0.9)),
            (false, true) => (own, graded(own.objects, threshold, 0.6, 0.69)),
            (false, false) => return,
        };
        let counts = [
            (step.objects, "objects of one route"),
            (usize::from(step.near), "of them one after the other"),
            (usize::from(step.refused), "refused or missing"),
        ];
        let claim = Claim::new(Code::ObjectWalk, confidence, scene.settings.browse_secs, counts);
        claims.push(claim.about(scene.facts.request.route));
    }

    /// The walk along a route; the one unused for longest makes room.
    fn of(&mut self, route: u32, now: u32) -> &mut Walk {
        let at = match self.0.iter().position(|walk| walk.route == route) {
            Some(at) => at,
            None if self.0.len() < MAX_WALKS => {
                self.0.push(Walk { route, since: now, ..Walk::default() });
                self.0.len() - 1
            }
            None => {
                let oldest = (0..self.0.len()).min_by_key(|&at| self.0[at].used).unwrap_or(0);
                let mut objects = std::mem::take(&mut self.0[oldest].objects);
                objects.clear();
                self.0[oldest] = Walk { route, since: now, objects, ..Walk::default() };
                oldest
            }
        };
        &mut self.0[at]
    }
}

/// Refusals of one client that are remembered.
const MAX_REFUSALS: usize = 4;
/// Seconds for which they are.
const REFUSED_FOR: u32 = 300;

/// Requests that were refused a short time ago.
#[derive(Debug, Default)]
pub(super) struct Refusals([Option<Refusal>; MAX_REFUSALS]);

#[derive(Clone, Copy, Debug)]
struct Refusal {
    route: u64,
    method: Method,
    credential: u64,
    at: u32,
}

impl Refusals {
    /// Notes a refused request.
    pub(super) fn note(&mut self, scene: &Scene<'_>) {
        let request = &scene.facts.request;
        let same = |known: &Refusal| (known.route, known.method) == (request.route, request.method);
        let place = self.0.iter().position(|known| known.as_ref().is_some_and(same));
        let place = place.unwrap_or_else(|| {
            (0..MAX_REFUSALS).min_by_key(|&at| self.0[at].map_or(0, |known| known.at)).unwrap_or(0)
        });
        let credential = scene.facts.credential();
        self.0[place] =
            Some(Refusal { route: request.route, method: request.method, credential, at: scene.now });
    }

    /// A served request that was refused in another form. `accepted` are the methods that the route has served to others.
    pub(super) fn served(&self, scene: &Scene<'_>, accepted: u16, claims: &mut Vec<Claim>) {
        let request = &scene.facts.request;
        let earlier = self.0.iter().flatten().find(|known| {
            known.route == request.route
                && known.credential == scene.facts.credential()
                && scene.now.saturating_sub(known.at) < REFUSED_FOR
                && (known.method != request.method || request.has(flag::OVERRIDE))
        });
        let Some(earlier) = earlier else { return };
        let confidence = match request.method {
            _ if request.has(flag::OVERRIDE) => 0.8,
            Method::Options => return,
            Method::Head | Method::Other | Method::Trace => 0.72,
            // The refused method is the route's own, and this one never was.
            method if accepted & bit(earlier.method) != 0 && accepted & bit(method) == 0 => 0.7,
            _ => return,
        };
        let detail = format!("{} was refused, {} was served", earlier.method.name(), request.method.name());
        let claim = Claim::new(
            Code::VerbTampering,
            confidence,
            u64::from(REFUSED_FOR),
            [(2, "methods on one route")],
        );
        claims.push(claim.about(request.route).with_detail(detail.as_bytes()));
    }
}

/// The bit of a method in a set of them.
pub(super) fn bit(method: Method) -> u16 {
    1_u16.checked_shl(method as u32).unwrap_or(0)
}
