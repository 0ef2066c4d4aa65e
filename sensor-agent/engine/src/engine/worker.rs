//! From messages to commands: the detector, the policy and the reused memory of a thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::answers::{Answer, Wanted};
use super::blocks::RecentBlocks;
use super::counters::Counters;
use super::exchange::{Deferred, Exchange, OpenRequest};
use super::sampling::Pages;
use super::{Block, Command, Outcome, Report, RequestSummary, Settings};
use crate::body::coding::Decoder;
use crate::detect::{Detector, Part, Phase, csrf};
use crate::facts::{Facts, Key};
use crate::field::Fields;
use crate::finding::Finding;
use crate::flow::Side;
use crate::http::client::{Client, Proxies};
use crate::http::message::Request;
use crate::policy::{Action, Case, Policy, Sender, Standing, Verdict};
use crate::rule::{RuleSet, Views};
use crate::served::Served;
use crate::time::Timestamp;

/// Most requests' memory kept for reuse.
pub(super) const MAX_SPARE: usize = 16;
/// Memory of a request's body kept for reuse.
pub(super) const MAX_SPARE_BODY: usize = 64 * 1024;
/// As [`MAX_SPARE`], of requests and responses that hold little: as many may wait for an application that takes its time.
const MAX_SMALL_SPARE: usize = 256;
/// Memory of one of these.
const SMALL: usize = 8 * 1024;
/// Most findings kept of a connection whose source is not verified yet.
const MAX_DEFERRED: usize = 16;

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// What a decision is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) request: &'a Request,
    /// Number of the request in its connection.
    pub(super) number: u64,
    pub(super) outcome: Outcome,
}

/// What all connections of a thread share.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) detector: Detector,
    pub(super) policy: Arc<Policy>,
    pub(super) counters: Counters,
    pub(super) commands: VecDeque<Command>,
    pub(super) fields: Fields,
    pub(super) decoder: Decoder,
    pub(super) findings: Vec<Finding>,
    #[expect(clippy::vec_box, reason = "the boxes are what is reused: they move to connections and back")]
    pub(super) spare: Vec<Box<OpenRequest>>,
    #[expect(clippy::vec_box, reason = "as with `spare`")]
    pub(super) spare_answers: Vec<Box<Answer>>,
    spare_bytes: Vec<Vec<u8>>,
    /// What somebody wants to see of responses.
    pub(super) wanted: Wanted,
    pub(super) pages: Pages,
    /// Views of a value whose return would prove a finding.
    pub(super) views: Views,
    /// Facts of transactions that are over.
    pub(super) facts: VecDeque<Facts>,
    /// The key of facts, if they are wanted.
    pub(super) facts_key: Option<Key>,
    proxies: Proxies,
    reads_only: bool,
    /// Who serves where, as far as the shell has said.
    pub(super) served: Arc<Served>,
    recent: RecentBlocks,
    /// What is known of sources; all engines share it.
    standing: Arc<Standing>,
    pub(super) now: Timestamp,
    /// From the time of records to the wall clock, in seconds, where that is known.
    pub(super) wall_offset: Option<i64>,
    #[cfg(test)]
    pub(super) seam: super::tests::Seam,
}

impl Worker {
    pub(super) fn new(detector: Detector, policy: Arc<Policy>, settings: &Settings) -> Self {
        let mut worker = Self {
            detector,
            policy,
            counters: Counters::default(),
            commands: VecDeque::new(),
            fields: Fields::default(),
            decoder: Decoder::default(),
            findings: Vec::new(),
            spare: Vec::new(),
            spare_answers: Vec::new(),
            spare_bytes: Vec::new(),
            wanted: Wanted::default(),
            pages: Pages::default(),
            views: Views::default(),
            facts: VecDeque::new(),
            facts_key: settings.facts.clone(),
            proxies: settings.proxies.clone(),
            reads_only: settings.reads_only,
            served: Arc::default(),
            recent: RecentBlocks::default(),
            standing: Arc::clone(&settings.standing),
            now: Timestamp::default(),
            wall_offset: None,
            #[cfg(test)]
            seam: super::tests::Seam::default(),
        };
        worker.detector.look_for_exposures(settings.response_exposure);
        worker.detector.ask_model(if settings.model { settings.max_model_values } else { 0 });
        worker.detector.limit_work(settings.max_inspection_work);
        worker.detector.time_rules(settings.rule_timer);
        worker.note_wanted(settings.list_transactions);
        worker
    }

    /// Uses other rules from the next message on.
    pub(super) fn replace_rules(&mut self, rules: Arc<RuleSet>) {
        self.detector.replace_rules(rules);
        self.note_wanted(self.wanted.list);
    }

    /// Who sent a request.
    pub(super) fn identity(&self, exchange: &Exchange, request: &Request) -> Client {
        let proxies = self.proxies.at(exchange.server_address());
        proxies.client(exchange.client_address().ip(), exchange.proxied(), request)
    }

    /// Whether the other end is a trusted proxy.
    pub(super) fn is_proxy(&self, exchange: &Exchange) -> bool {
        self.proxies.at(exchange.server_address()).trusts(exchange.client_address().ip())
    }

    /// Runs the detector over `self.fields`; appends to `findings` and returns how many there were before.
    pub(super) fn detect(
        &mut self,
        phase: Phase,
        exchange: &Exchange,
        request: &Request,
        findings: &mut Vec<Finding>,
    ) -> usize {
        let before = findings.len();
        if self.reads_only {
            return before;
        }
        if self.detector.asks_for_client() {
            let client = self.identity(exchange, request).address;
            self.detector.set_client(Some(client));
        }
        if self.detector.asks_for_process() {
            let process = self.served.at(exchange.server_address()).map(Arc::clone);
            self.detector.set_process(process);
        }
        self.counters.fields_dropped += u64::from(self.fields.dropped());
        self.counters.documents_unopened += u64::from(self.fields.unopened());
        let second = self.now.as_nanos() / NANOS_PER_SEC;
        let wall = self.wall_offset.map(|offset| offset.saturating_add_unsigned(second));
        self.detector.set_time(second, wall);
        self.detector.inspect(Part { phase, request, fields: &self.fields }, findings);
        #[cfg(test)]
        self.seam.inspect(phase, request, &self.fields, findings, before);
        self.counters.findings += (findings.len() - before) as u64;
        before
    }

    /// Behind a trusted proxy the connection's address is everybody's, so that it is never blocked; the client's own would block
    /// nothing, because no packet carries it.
    fn judge(&self, exchange: &Exchange, sender: Sender, findings: &[Finding]) -> Option<Verdict> {
        let verdict = self.policy.judge(sender, findings);
        #[cfg(test)]
        let verdict = self.seam.action(exchange.is_verified(), findings).or(verdict);
        let mut verdict = verdict?;
        if verdict.action != Action::Report && self.is_proxy(exchange) {
            verdict.action = Action::Exempt;
        }
        Some(verdict)
    }

    /// What to do in the light of what is known of the source.
    fn escalate(
        &mut self,
        verdict: &Verdict,
        findings: &[Finding],
        sender: Sender,
        now: Timestamp,
    ) -> Action {
        let case = Case { verdict, findings, sender, now, connected: true };
        let (action, offence) = self.policy.escalate(case, &self.standing);
        self.counters.standings_evicted += u64::from(offence.evicted);
        action
    }

    /// Carries the verdict on `findings` out. Those from `new` on are reported.
    pub(super) fn decide(
        &mut self,
        exchange: &mut Exchange,
        request: &Request,
        number: u64,
        findings: &[Finding],
        new: usize,
        time: Timestamp,
    ) {
        let subject = Subject { request, number, outcome: Outcome::Attempt };
        self.decide_about(exchange, subject, findings, new, time);
    }

    /// As [`Worker::decide`], for what is known of an attack's outcome.
    pub(super) fn decide_about(
        &mut self,
        exchange: &mut Exchange,
        subject: Subject<'_>,
        findings: &[Finding],
        new: usize,
        time: Timestamp,
    ) {
        let Subject { request, number, outcome } = subject;
        let identity = self.identity(exchange, request);
        let (verified, led) = (exchange.is_verified(), csrf::is_foreign(request));
        let sender = Sender { address: identity.address, verified, led };
        let Some(mut verdict) = self.judge(exchange, sender, findings) else { return };
        if outcome == Outcome::Response {
            verdict.action = Action::Report;
        }
        verdict.action = self.escalate(&verdict, findings, sender, time);
        let blocked_until = self.act(exchange, &verdict, findings, sender, time);
        let mut reported = findings.get(new..).unwrap_or_default().to_vec();
        reported.sort_by(|a, b| b.confidence.get().total_cmp(&a.confidence.get()));
        let client = exchange.client.unwrap_or(Side::Low);
        self.counters.reports += 1;
        self.commands.push_back(Command::Report(Box::new(Report {
            time,
            flow_id: exchange.flow_id,
            interface: exchange.interface,
            client: exchange.key.address(client),
            server: exchange.key.address(client.other()),
            identity,
            outcome,
            transaction: number,
            request: RequestSummary::of(request),
            findings: reported,
            verdict,
            behind: self.standing.behind(identity.address, time),
            blocked_until,
            client_bytes_missed: exchange.missed(client),
            account: None,
        })));
    }

    /// Blocks the source if the verdict says so, or keeps the findings until the source is verified.
    fn act(
        &mut self,
        exchange: &mut Exchange,
        verdict: &Verdict,
        findings: &[Finding],
        sender: Sender,
        time: Timestamp,
    ) -> Option<Timestamp> {
        match verdict.action {
            Action::Block(duration) => Some(self.block(exchange, verdict, findings, time, duration, false)),
            Action::Observe(duration) => Some(self.block(exchange, verdict, findings, time, duration, true)),
            Action::Unverified => {
                let kept = findings.get(..MAX_DEFERRED).unwrap_or(findings);
                self.counters.blocks_deferred += u64::from(exchange.defer(kept, sender.led));
                None
            }
            Action::Exempt | Action::Report | Action::Kill(_) => None,
        }
    }

    fn block(
        &mut self,
        exchange: &Exchange,
        verdict: &Verdict,
        findings: &[Finding],
        time: Timestamp,
        duration: Duration,
        shadow: bool,
    ) -> Timestamp {
        let (source, until) = (exchange.client_address().ip(), time + duration);
        if self.recent.note(source, shadow, time, until) {
            self.counters.blocks += 1;
            let (target, reason) = (self.policy.target(source), reason(verdict, findings));
            self.commands.push_back(Command::Block(Block { source, target, until, shadow, reason }));
        } else {
            self.counters.blocks_repeated += 1;
        }
        until
    }

    /// Blocks the source of a connection that has become verified, if findings wait for that.
    pub(super) fn verify(&mut self, exchange: &mut Exchange, time: Timestamp) {
        let Some(Deferred { findings, led }) = exchange.take_deferred() else { return };
        let sender =
            Sender { address: exchange.client_address().ip(), verified: exchange.is_verified(), led };
        if let Some(mut verdict) = self.judge(exchange, sender, &findings) {
            verdict.action = self.escalate(&verdict, &findings, sender, time);
            self.act(exchange, &verdict, &findings, sender, time);
        }
    }

    pub(super) fn give_back(&mut self, mut open: Box<OpenRequest>) {
        let held = open.body.capacity() + open.request.head.capacity();
        if self.spare.len() < room(held) && open.body.capacity() <= MAX_SPARE_BODY {
            open.body.clear();
            open.trailer.clear();
            open.findings.clear();
            open.extension.clear();
            open.probes.clear();
            open.tail = None;
            open.length = 0;
            (open.inspected, open.embedded) = (false, false);
            self.spare.push(open);
        }
    }

    /// Memory for a stream's history.
    pub(super) fn lend(&mut self) -> Vec<u8> {
        self.spare_bytes.pop().unwrap_or_default()
    }

    /// Takes memory of a stream's history back.
    pub(super) fn take_memory(&mut self, mut memory: Vec<u8>) {
        if self.spare_bytes.len() < MAX_SPARE && (1..=MAX_SPARE_BODY).contains(&memory.capacity()) {
            memory.clear();
            self.spare_bytes.push(memory);
        }
    }
}

/// How many spare requests or responses may be there for one more that holds so much to be kept.
pub(super) fn room(held: usize) -> usize {
    if held <= SMALL { MAX_SMALL_SPARE } else { MAX_SPARE }
}

/// One printable line: class and rule.
fn reason(verdict: &Verdict, findings: &[Finding]) -> String {
    let of_class = findings.iter().filter(|finding| finding.class == verdict.class);
    let best = of_class.max_by(|a, b| a.confidence.get().total_cmp(&b.confidence.get()));
    match best {
        Some(finding) => format!("{} {}", verdict.class, finding.rule.id),
        None => verdict.class.to_string(),
    }
}
