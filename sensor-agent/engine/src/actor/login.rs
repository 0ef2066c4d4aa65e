//! Logins of one client, and failures of one user at many clients.
//!
//! What tells an attack from people is the number of *different* passwords and users: somebody who has forgotten a password tries few,
//! and a program with an old one tries the same again and again. An office behind one address has many users, most of whom get in.

use super::claim::{Claim, graded};
use super::table::Weigh;
use super::{Scene, most};
use crate::detect::builtin::Code;
use crate::facts::window::{Sightings, fold};
use crate::facts::{Login, Why, flag};

/// Logins of a client that are remembered.
const MAX_ATTEMPTS: usize = 256;
/// Findings after which a success is one too.
pub(super) const ATTACKS: [Code; 3] = [Code::LoginBruteForce, Code::LoginStuffing, Code::LoginSpraying];

/// Logins of one client within the window, each pair of user and password once.
#[derive(Debug, Default)]
pub(super) struct Logins {
    attempts: Vec<Attempt>,
    /// Tokens that were refused, and those that were taken.
    tokens: Sightings,
    taken: Sightings,
    /// Users asked about without a password.
    asked: Sightings,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    at: u32,
    user: u32,
    password: u32,
    status: u16,
    why: Option<Why>,
}

impl Attempt {
    fn failed(&self) -> bool {
        self.why.is_some()
    }
}

/// What the failed logins of a client come to.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    failed: usize,
    all: usize,
    users: usize,
    passwords: usize,
    /// Passwords that failed for the user in hand.
    of_user: usize,
    /// Different answers to failures, each given to at least three users.
    answers: usize,
}

impl Logins {
    pub(super) fn heap(&self) -> usize {
        self.attempts.capacity() * size_of::<Attempt>()
            + self.tokens.heap()
            + self.taken.heap()
            + self.asked.heap()
    }

    /// Notes a login; returns how many earlier ones were forgotten for it. `attacked` says that the client was just found attacking.
    pub(super) fn note(&mut self, scene: &Scene<'_>, attacked: bool, claims: &mut Vec<Claim>) -> u64 {
        let why = match scene.facts.response.login {
            Login::Failed(why) => Some(why),
            Login::Succeeded => None,
            Login::None | Login::Unknown => return 0,
        };
        let user = fold(user_of(scene));
        let (new, dropped) = self.push(
            Attempt {
                at: scene.now,
                user,
                password: fold(scene.facts.request.password),
                status: scene.facts.response.status,
                why,
            },
            scene.settings.login_secs,
        );
        let sum = self.sum(user);
        match why {
            Some(_) => failed(&sum, scene, claims),
            None if new => succeeded(&sum, scene, attacked, claims),
            None => {}
        }
        dropped
    }

    /// Notes a token that was refused.
    pub(super) fn note_token(&mut self, scene: &Scene<'_>, claims: &mut Vec<Claim>) {
        let (threshold, secs) = (scene.settings.token_guesses, scene.settings.login_secs);
        let tokens =
            self.tokens.note(scene.facts.request.authorization, scene.now, secs as u32, most(threshold));
        // Where many people's tokens run out at once, they soon have new ones.
        let taken = self.taken.count(scene.now, secs as u32);
        if tokens as u64 >= threshold && taken * 4 <= tokens {
            let confidence = graded(tokens, threshold, 0.75, 0.9);
            claims.push(Claim::new(Code::TokenGuessing, confidence, secs, [(tokens, "tokens refused")]));
        }
    }

    /// Notes a token that was taken, of a client that had one refused.
    pub(super) fn note_taken(&mut self, scene: &Scene<'_>) {
        let (most, secs) = (most(scene.settings.token_guesses), scene.settings.login_secs as u32);
        if self.tokens.count(scene.now, secs) > 0 {
            self.taken.note(scene.facts.request.authorization, scene.now, secs, most);
        }
    }

    /// Notes a user that is asked about.
    pub(super) fn note_asked(&mut self, scene: &Scene<'_>, claims: &mut Vec<Claim>) {
        let (threshold, secs) = (scene.settings.enumeration_users, scene.settings.login_secs);
        let users = self.asked.note(user_of(scene), scene.now, secs as u32, most(threshold));
        if users as u64 >= threshold {
            let confidence = graded(users, threshold, 0.65, 0.85);
            claims.push(Claim::new(Code::LoginEnumeration, confidence, secs, [(users, "users asked about")]));
        }
    }

    /// Whether the attempt is new, and how many made room for it.
    fn push(&mut self, attempt: Attempt, secs: u64) -> (bool, u64) {
        self.attempts.retain(|known| u64::from(attempt.at.saturating_sub(known.at)) < secs);
        let same = |known: &&mut Attempt| {
            (known.user, known.password, known.failed()) == (attempt.user, attempt.password, attempt.failed())
        };
        if let Some(known) = self.attempts.iter_mut().find(same) {
            *known = attempt;
            return (false, 0);
        }
        let full = self.attempts.len() >= MAX_ATTEMPTS;
        if full {
            self.attempts.remove(0);
        }
        self.attempts.push(attempt);
        (true, u64::from(full))
    }

    fn sum(&self, user: u32) -> Sum {
        let failed = || self.attempts.iter().filter(|attempt| attempt.failed());
        Sum {
            failed: failed().count(),
            all: self.attempts.len(),
            users: distinct(failed().map(|attempt| attempt.user)),
            passwords: distinct(failed().map(|attempt| attempt.password)),
            of_user: failed().filter(|attempt| attempt.user == user).count(),
            answers: self.answers(),
        }
    }

    fn answers(&self) -> usize {
        let answers = || self.attempts.iter().filter_map(|attempt| Some((attempt.status, attempt.why?)));
        let mut kinds: Vec<_> = answers().filter(|(_, why)| *why != Why::Locked).collect();
        kinds.sort_unstable();
        kinds.chunk_by(|a, b| a == b).filter(|same| same.len() >= 3).count()
    }
}

fn failed(sum: &Sum, scene: &Scene<'_>, claims: &mut Vec<Claim>) {
    let settings = scene.settings;
    let secs = settings.login_secs;
    let counts = [(sum.passwords, "passwords"), (sum.users, "users"), (sum.failed, "failed logins")];
    if sum.of_user as u64 >= settings.brute_force_passwords {
        let confidence = graded(sum.of_user, settings.brute_force_passwords, 0.75, 0.95);
        let counts = [(sum.of_user, "passwords of one user"), (sum.failed, "failed logins")];
        claims.push(Claim::new(Code::LoginBruteForce, confidence, secs, counts));
    }
    if sum.users as u64 >= settings.spraying_users && sum.passwords * 4 <= sum.users {
        let confidence = graded(sum.users, settings.spraying_users, 0.75, 0.95);
        claims.push(Claim::new(Code::LoginSpraying, confidence, secs, counts));
    } else if sum.users as u64 >= settings.stuffing_users && sum.failed * 10 >= sum.all * 8 {
        let confidence = graded(sum.users, settings.stuffing_users, 0.75, 0.95);
        claims.push(Claim::new(Code::LoginStuffing, confidence, secs, counts));
    }
    if sum.users as u64 >= settings.spraying_users && sum.answers >= 2 {
        let counts = [(sum.users, "users"), (sum.answers, "different answers to failed logins")];
        claims.push(Claim::new(Code::LoginEnumeration, 0.65, secs, counts));
    }
}

fn succeeded(sum: &Sum, scene: &Scene<'_>, attacked: bool, claims: &mut Vec<Claim>) {
    let settings = scene.settings;
    if sum.of_user as u64 >= settings.success_after || attacked {
        // People who try what they remember get in at last, and are told of, not blocked.
        let confidence = if attacked { 0.9 } else { graded(sum.of_user, settings.success_after, 0.65, 0.8) };
        let counts =
            [(sum.of_user, "failed logins of the user before"), (sum.failed, "failed logins in all")];
        claims.push(Claim::new(Code::LoginSuccess, confidence, settings.login_secs, counts));
    }
}

/// The user, who is another one on another host.
pub(super) fn user_of(scene: &Scene<'_>) -> u64 {
    scene.facts.request.user ^ scene.facts.request.host
}

fn distinct(values: impl Iterator<Item = u32>) -> usize {
    let mut values: Vec<u32> = values.collect();
    values.sort_unstable();
    values.dedup();
    values.len()
}

/// Failed logins of one user.
#[derive(Debug, Default)]
pub(super) struct User {
    clients: Sightings,
    passwords: Sightings,
    /// When it was told last that many clients try.
    told: Option<u32>,
}

impl Weigh for User {
    fn heap(&self) -> usize {
        self.clients.heap() + self.passwords.heap()
    }
}

impl User {
    /// Notes a failed login.
    pub(super) fn note(&mut self, scene: &Scene<'_>, claims: &mut Vec<Claim>) {
        let settings = scene.settings;
        // Many clients take longer to come than one.
        let secs = settings.login_secs * 2;
        let clients =
            self.clients.note(scene.client, scene.now, secs as u32, most(settings.distributed_clients));
        let passwords = scene.facts.request.password;
        let passwords =
            self.passwords.note(passwords, scene.now, secs as u32, most(settings.brute_force_passwords));
        let many = clients as u64 >= settings.distributed_clients;
        let quiet = |told| u64::from(scene.now.saturating_sub(told)) < settings.quiet_secs;
        if many && passwords as u64 >= settings.brute_force_passwords && !self.told.is_some_and(quiet) {
            self.told = Some(scene.now);
            let confidence = graded(clients, settings.distributed_clients, 0.65, 0.85);
            let counts = [(clients, "clients"), (passwords, "passwords of one user")];
            claims.push(Claim::new(Code::LoginDistributed, confidence, secs, counts).about(user_of(scene)));
        }
    }
}

/// Whether the request brings a token that is no user's name and password.
pub(super) fn brings_token(scene: &Scene<'_>) -> bool {
    let request = &scene.facts.request;
    request.authorization != 0 && !request.has(flag::BASIC)
}
