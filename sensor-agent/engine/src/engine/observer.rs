//! What follows from many transactions: the facts of all engines in, commands out. It is to the memory of clients what an engine is to
//! connections: the policy decides, blocks are given out once a second at most, and only for sources that completed a handshake.

use std::collections::VecDeque;
use std::sync::Arc;

use super::blocks::RecentBlocks;
use super::command::{Block, Command, Outcome, Report, RequestSummary};
use crate::actor::{self, Actors, Notice};
use crate::detect::redact;
use crate::facts::{Facts, Key, protocol};
use crate::finding::printable;
use crate::policy::{Action, Case, Policy, Sender, Standing, Verdict};
use crate::rule::RuleSet;
use crate::time::Timestamp;

/// One for all engines.
#[derive(Debug)]
pub struct Observer {
    actors: Actors,
    policy: Arc<Policy>,
    standing: Arc<Standing>,
    commands: VecDeque<Command>,
    notices: Vec<Notice>,
    recent: RecentBlocks,
    counters: Counters,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    reports: u64,
    blocks: u64,
    blocks_repeated: u64,
    standings_evicted: u64,
}

impl Observer {
    /// An observer that remembers nobody. `key` is that of the facts, and `standing` what the engines know of sources.
    #[must_use]
    pub fn new(
        settings: actor::Settings,
        rules: Arc<RuleSet>,
        policy: Arc<Policy>,
        key: Key,
        standing: Arc<Standing>,
    ) -> Self {
        Self {
            actors: Actors::new(settings, rules, key),
            policy,
            standing,
            commands: VecDeque::new(),
            notices: Vec::new(),
            recent: RecentBlocks::default(),
            counters: Counters::default(),
        }
    }

    /// Takes the facts of a transaction.
    pub fn observe(&mut self, facts: &Facts) {
        let mut notices = std::mem::take(&mut self.notices);
        let behind = self.actors.observe(facts, &mut notices);
        if let Some(behind) = behind.filter(|_| !facts.proxied) {
            self.standing.note_behind(facts.client.address, facts.time, behind);
        }
        for notice in notices.drain(..) {
            self.decide(notice, facts);
        }
        self.notices = notices;
    }

    /// The next thing to do, if any; call until `None`.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Uses other rules from the next transaction on.
    pub fn replace_rules(&mut self, rules: Arc<RuleSet>) {
        self.actors.replace_rules(rules);
    }

    /// Uses other limits and thresholds from the next transaction on, and forgets nobody for that.
    pub fn replace_settings(&mut self, settings: actor::Settings) {
        self.actors.replace_settings(settings);
    }

    /// Uses another policy from the next verdict on.
    pub fn replace_policy(&mut self, policy: Arc<Policy>) {
        self.policy = policy;
    }

    /// What was counted so far: name, help, value. What ends in `_now` goes down again.
    #[must_use]
    pub fn stats(&self) -> Vec<(&'static str, &'static str, u64)> {
        let Counters { reports, blocks, blocks_repeated, standings_evicted } = self.counters;
        let mut stats = self.actors.stats();
        stats.extend([
            ("reports", "reports given out", reports),
            ("blocks", "blocks given out", blocks),
            (
                "blocks_repeated",
                "blocks not given out again because the same was given out just before",
                blocks_repeated,
            ),
            (
                "standings_evicted",
                "sources whose earlier blocks were forgotten to remember those of others",
                standings_evicted,
            ),
        ]);
        stats
    }

    /// Behind a trusted proxy the connection's address is everybody's, so that it is never blocked.
    fn decide(&mut self, notice: Notice, facts: &Facts) {
        let Notice { finding, account } = notice;
        let findings = vec![finding];
        let sender = Sender { address: facts.client.address, verified: facts.verified, led: false };
        let Some(mut verdict) = self.policy.judge(sender, &findings) else { return };
        if facts.proxied && verdict.action != Action::Report {
            verdict.action = Action::Exempt;
        }
        // The requests are over, so that there is no connection to end.
        let case = Case { verdict: &verdict, findings: &findings, sender, now: facts.time, connected: false };
        let (action, offence) = self.policy.escalate(case, &self.standing);
        self.counters.standings_evicted += u64::from(offence.evicted);
        verdict.action = action;
        let rule = findings.first().map(|finding| finding.rule.id.as_str()).unwrap_or_default();
        let blocked_until = self.act(&verdict, rule, facts);
        self.counters.reports += 1;
        self.commands.push_back(Command::Report(Box::new(Report {
            time: facts.time,
            flow_id: facts.flow_id,
            interface: facts.interface,
            client: facts.peer,
            server: facts.server,
            identity: facts.client,
            transaction: facts.number,
            outcome: Outcome::Behaviour,
            request: summary(facts),
            findings,
            verdict,
            behind: self.standing.behind(facts.client.address, facts.time),
            blocked_until,
            client_bytes_missed: 0,
            account: Some(Box::new(account)),
        })));
    }

    fn act(&mut self, verdict: &Verdict, rule: &str, facts: &Facts) -> Option<Timestamp> {
        let (duration, shadow) = match verdict.action {
            Action::Block(duration) => (duration, false),
            Action::Observe(duration) => (duration, true),
            Action::Exempt | Action::Unverified | Action::Report | Action::Kill(_) => return None,
        };
        let (source, until) = (facts.peer.ip(), facts.time + duration);
        if self.recent.note(source, shadow, facts.time, until) {
            self.counters.blocks += 1;
            let (target, reason) = (self.policy.target(source), format!("{} {rule}", verdict.class));
            self.commands.push_back(Command::Block(Block { source, target, until, shadow, reason }));
        } else {
            self.counters.blocks_repeated += 1;
        }
        Some(until)
    }
}

/// The last of the requests, as far as its facts hold it.
fn summary(facts: &Facts) -> RequestSummary {
    let request = &facts.request;
    RequestSummary {
        method: request.method.name().to_owned(),
        host: printable(request.host_text.bytes(), super::SUMMARY_LEN),
        target: redact::target(request.path_text.bytes()),
        protocol: protocol(request.version),
        user_agent: printable(request.agent_text.bytes(), super::SUMMARY_LEN),
        ..RequestSummary::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Login, Why, flag};
    use crate::http::client::Client;
    use crate::policy::Mode;

    const SOURCE: &str = "203.0.113.9";

    /// The twelfth failed login of one client.
    fn brute_force(mode: Mode, change: fn(&mut Facts)) -> Vec<Command> {
        let policy =
            Arc::new(Policy { mode, exempt: vec!["192.0.2.0/24".parse().unwrap()], ..Policy::default() });
        let (settings, standing) = (actor::Settings::default(), Arc::default());
        let mut observer = Observer::new(settings, Arc::default(), policy, Key::default(), standing);
        for number in 1..=12 {
            let peer = format!("{SOURCE}:40000").parse().unwrap();
            let mut facts = Facts {
                peer,
                client: Client::peer(SOURCE.parse().unwrap()),
                verified: true,
                ..Facts::default()
            };
            facts.time = Timestamp::from_nanos(number * 1_000_000_000);
            (facts.request.user, facts.request.password, facts.request.flags) = (7, number, flag::LOGIN);
            (facts.response.status, facts.response.login) = (401, Login::Failed(Why::Refused));
            change(&mut facts);
            observer.observe(&facts);
        }
        std::iter::from_fn(|| observer.next_command()).collect()
    }

    fn action(commands: &[Command]) -> Option<Action> {
        commands.iter().find_map(|command| match command {
            Command::Report(report) => Some(report.verdict.action),
            _ => None,
        })
    }

    #[test]
    fn a_brute_force_is_blocked_and_reported_with_what_it_rests_on() {
        let commands = brute_force(Mode::Enforce, |_| {});
        let [Command::Block(block), Command::Report(report)] = &commands[..] else { panic!("{commands:?}") };
        assert_eq!((block.source.to_string(), block.shadow), (SOURCE.to_owned(), false));
        assert_eq!(block.reason, "AUTH_BYPASS login-brute-force");
        assert_eq!(report.blocked_until, Some(block.until));
        assert_eq!(report.account.as_ref().unwrap().window_secs, 300);
    }

    #[test]
    fn observing_counts_only() {
        let commands = brute_force(Mode::Observe, |_| {});
        assert!(matches!(&commands[0], Command::Block(block) if block.shadow), "{commands:?}");
    }

    #[test]
    fn nobody_is_blocked_who_must_not_be() {
        let unverified = brute_force(Mode::Enforce, |facts| facts.verified = false);
        let proxied = brute_force(Mode::Enforce, |facts| facts.proxied = true);
        let exempt =
            brute_force(Mode::Enforce, |facts| facts.client = Client::peer("192.0.2.1".parse().unwrap()));
        for (commands, expected) in
            [(unverified, Action::Unverified), (proxied, Action::Exempt), (exempt, Action::Exempt)]
        {
            assert_eq!((commands.len(), action(&commands)), (1, Some(expected)), "{commands:?}");
        }
    }
}
