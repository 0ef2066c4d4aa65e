//! Who fails to log in on one route: a botnet tries once or twice from each of many addresses, so that no client and no user stands
//! out; the route does, by many clients that only fail, far beyond what is usual there.
//!
//! People who mistype get in soon after, and are no longer counted. Where those fail who got in before, the login itself is out of order.

use super::Scene;
use super::claim::{Claim, graded};
use crate::detect::builtin::Code;
use crate::facts::Login;
use crate::facts::window::Sightings;
use crate::http::client::ClientSource;

/// Clients that only fail, and clients that got in, that are told apart within a window. There is more room for the latter, so that on a large
/// site the former cannot seem to be the most.
const MAX_FAILING: usize = 300;
const MAX_ENTERED: usize = 1200;
/// How many times the usual number of failing clients is far beyond it, and how many times their usual share.
const FAR: f32 = 4.0;
const FAR_SHARE: f32 = 3.0;
/// Share of failing clients that is unusual anywhere.
const HALF: f32 = 0.5;
/// Windows after which a habit is known.
const HABIT_AFTER: u8 = 4;
/// What the newest window counts in the habit.
const NEWEST: f32 = 0.25;
/// One in so many failing clients that got in before is enough to take the login for broken.
const FAMILIAR: usize = 4;

/// Logins of all clients on one route.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Clients that failed and have not got in since.
    failing: Sightings,
    entered: Sightings,
    /// Those of the failing ones that got in earlier.
    familiar: Sightings,
    /// Users tried, and programs that tried, by the clients that fail.
    users: Sightings,
    agents: Sightings,
    habit: Habit,
    /// When it was told last.
    told: Option<u32>,
}

/// What is usual in a window.
#[derive(Debug, Default)]
struct Habit {
    /// Number of the current window.
    window: u32,
    /// Most failing clients at once in it, and clients that got in then.
    peak: (u16, u16),
    /// Windows learned from.
    windows: u8,
    failing: f32,
    entered: f32,
}

impl Crowd {
    pub(super) fn heap(&self) -> usize {
        let parts = [&self.failing, &self.entered, &self.familiar, &self.users, &self.agents];
        parts.into_iter().map(Sightings::heap).sum()
    }

    /// Notes a login; `familiar` says that the client got in before. Returns whether a crowd of failures was taken for a broken login.
    pub(super) fn note(&mut self, scene: &Scene<'_>, familiar: bool, claims: &mut Vec<Claim>) -> bool {
        // Each connection of a proxy that does not tell for whom it speaks would be a client.
        if scene.facts.client.source == ClientSource::Untold {
            return false;
        }
        let secs = (scene.settings.login_secs * 2) as u32;
        self.habit.pass(scene.now / secs.max(1), scene.settings.botnet_clients);
        if scene.facts.response.login == Login::Succeeded {
            self.failing.forget(scene.client);
            self.familiar.forget(scene.client);
            self.entered.note(scene.client, scene.now, secs, MAX_ENTERED);
            return false;
        }
        // Who got in a moment ago and fails now is somebody's second browser, or mistypes.
        let entered = self.entered.count(scene.now, secs);
        if self.entered.has(scene.client) {
            return false;
        }
        let failing = self.failing.note(scene.client, scene.now, secs, MAX_FAILING);
        let users = self.users.note(scene.facts.request.user, scene.now, secs, MAX_FAILING);
        let agents = self.agents.note(scene.facts.request.agent, scene.now, secs, MAX_FAILING);
        if familiar {
            self.familiar.note(scene.client, scene.now, secs, MAX_FAILING);
        }
        self.habit.see(failing, entered);
        if !self.stands_out(scene, failing, entered) {
            return false;
        }
        if self.familiar.count(scene.now, secs) * FAMILIAR >= failing {
            return true;
        }
        self.tell(scene, [failing, entered, users], agents, claims);
        false
    }

    fn stands_out(&self, scene: &Scene<'_>, failing: usize, entered: usize) -> bool {
        if (failing as u64) < scene.settings.botnet_clients {
            return false;
        }
        // What hits one user is told as that.
        if self.users.len() < 2 {
            return false;
        }
        let share = failing as f32 / (failing + entered) as f32;
        let habit = &self.habit;
        let beyond = failing as f32 >= FAR * habit.failing;
        beyond && (share >= HALF || habit.is_known() && share >= FAR_SHARE * habit.share())
    }

    fn tell(&mut self, scene: &Scene<'_>, counted: [usize; 3], agents: usize, claims: &mut Vec<Claim>) {
        let quiet = |told| u64::from(scene.now.saturating_sub(told)) < scene.settings.quiet_secs;
        if self.told.is_some_and(quiet) {
            return;
        }
        self.told = Some(scene.now);
        let [failing, entered, users] = counted;
        let threshold = scene.settings.botnet_clients;
        // Nobody gets in where people usually do: it may be the login, and is told as that may be.
        let nobody = entered == 0 && self.habit.is_known() && self.habit.entered >= threshold as f32 / 4.0;
        let alike = agents * 10 <= failing;
        let (base, top) = if alike { (0.7, 0.85) } else { (0.6, 0.8) };
        let confidence = if nobody { 0.5 } else { graded(failing, threshold, base, top) };
        let detail: &[u8] = match (nobody, alike) {
            (true, _) => b"nobody gets in, which is unusual: the login may be out of order",
            (false, true) => b"few programs behind many clients",
            (false, false) => b"",
        };
        let counts =
            [(failing, "clients that only failed"), (entered, "clients that got in"), (users, "users tried")];
        let claim = Claim::new(Code::LoginBotnet, confidence, scene.settings.login_secs * 2, counts);
        claims.push(claim.about(scene.facts.request.route).with_detail(detail));
    }
}

impl Habit {
    /// Learns from the windows that are over. What is far beyond a known habit teaches little: an attack shall not make itself usual.
    fn pass(&mut self, window: u32, threshold: u64) {
        if window == self.window {
            return;
        }
        let over = window.saturating_sub(self.window);
        let (failing, entered) = self.peak;
        if self.window > 0 {
            let most =
                if self.is_known() { (self.failing * 2.0).max(threshold as f32 / FAR) } else { f32::MAX };
            self.learn(f32::from(failing).min(most), f32::from(entered));
            (1..over.min(8)).for_each(|_| self.learn(0.0, 0.0));
        }
        (self.window, self.peak) = (window, (0, 0));
    }

    fn learn(&mut self, failing: f32, entered: f32) {
        let weight = NEWEST.max(1.0 / (f32::from(self.windows) + 1.0));
        self.failing += (failing - self.failing) * weight;
        self.entered += (entered - self.entered) * weight;
        self.windows = self.windows.saturating_add(1);
    }

    fn see(&mut self, failing: usize, entered: usize) {
        let short = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        self.peak = (self.peak.0.max(short(failing)), self.peak.1.max(short(entered)));
    }

    fn is_known(&self) -> bool {
        self.windows >= HABIT_AFTER
    }

    fn share(&self) -> f32 {
        self.failing / (self.failing + self.entered).max(1.0)
    }
}
