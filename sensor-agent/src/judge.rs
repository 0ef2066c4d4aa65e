//! Recorded requests, each judged by itself: the engine that runs live gets the records of a connection of a client of its
//! own, so that no verdict depends on what stood before it.
//!
//! The policy's mode and exemptions play no part: what is asked is what the sensor thinks of the request.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use sensor_common::record::{EGRESS, HEADER_LEN, INGRESS, RecordHeader, mark, tcp};
use sensor_engine::engine::{Command, Engine, Report, Settings};
use sensor_engine::finding::{Finding, RuleInfo};
use sensor_engine::policy::{Action, Mode, Policy};
use sensor_engine::rule::{RuleFigures, RuleSet};
use zerocopy::IntoBytes;

/// Payload bytes of one record.
const SEGMENT: usize = 16 * 1024;
/// Time from one connection to the next.
const APART_NS: u64 = 1_000_000;

/// What the engine says of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Judgement {
    /// The client would be blocked.
    pub(crate) blocked: bool,
    /// Confidence of the surest class, from 0 to 1.
    pub(crate) score: f32,
    /// Kind of attack; `None` if there is nothing to report.
    pub(crate) category: Option<String>,
    /// What was found, the surest first.
    pub(crate) findings: Vec<Finding>,
}

/// An engine that judges requests one by one.
pub(crate) struct Judge {
    engine: Engine,
    settings: Settings,
    rules: Arc<RuleSet>,
    policy: Arc<Policy>,
    connections: u64,
    record: Vec<u8>,
    reports: Vec<Report>,
}

impl Judge {
    /// A judge with these rules and thresholds.
    pub(crate) fn new(settings: Settings, rules: Arc<RuleSet>, policy: &Policy) -> Self {
        let policy = Arc::new(Policy { mode: Mode::Enforce, exempt: Vec::new(), ..policy.clone() });
        let engine = Engine::new(settings.clone(), Arc::clone(&rules), Arc::clone(&policy));
        Self { engine, settings, rules, policy, connections: 0, record: Vec::new(), reports: Vec::new() }
    }

    /// Judges the bytes that a client sends over one connection, and what the server answers.
    ///
    /// # Errors
    /// If the engine failed on them; the next ones get a new engine.
    pub(crate) fn judge(&mut self, request: &[u8], response: &[u8]) -> anyhow::Result<Judgement> {
        self.connections += 1;
        self.reports.clear();
        let went = catch_unwind(AssertUnwindSafe(|| self.connection(request, response)));
        if went.is_err() {
            self.engine =
                Engine::new(self.settings.clone(), Arc::clone(&self.rules), Arc::clone(&self.policy));
            anyhow::bail!("the engine failed on this request");
        }
        Ok(judgement(&self.reports))
    }

    /// What each rule has cost and found.
    pub(crate) fn rule_figures(&self) -> Vec<(Arc<RuleInfo>, RuleFigures)> {
        self.engine.rule_figures()
    }

    fn connection(&mut self, request: &[u8], response: &[u8]) {
        for (at, payload) in segments(request) {
            self.feed(INGRESS, at, payload, tcp::ACK | tcp::PSH);
        }
        for (at, payload) in segments(response) {
            self.feed(EGRESS, at, payload, tcp::ACK | tcp::PSH);
        }
        self.feed(EGRESS, response.len(), &[], tcp::ACK | tcp::FIN);
        self.feed(INGRESS, request.len(), &[], tcp::ACK | tcp::FIN);
        self.feed(INGRESS, request.len() + 1, &[], tcp::ACK | tcp::RST);
    }

    fn feed(&mut self, direction: u8, at: usize, payload: &[u8], flags: u8) {
        self.record.clear();
        self.record.extend_from_slice(self.header(direction, at, payload.len(), flags).as_bytes());
        debug_assert_eq!(self.record.len(), HEADER_LEN);
        self.record.extend_from_slice(payload);
        self.engine.handle_record(&self.record);
        while let Some(command) = self.engine.next_command() {
            if let Command::Report(report) = command {
                self.reports.push(*report);
            }
        }
    }

    /// The header of a record: sequence numbers begin at 1 on both sides.
    fn header(&self, direction: u8, at: usize, length: usize, tcp_flags: u8) -> RecordHeader {
        // Each client has an address of its own, from the prefix for documentation.
        let mut client = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        client[8..].copy_from_slice(&self.connections.to_be_bytes());
        let (client, server) = ((client, 40_000), (SERVER, 80));
        let (source, destination) = if direction == INGRESS { (client, server) } else { (server, client) };
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        RecordHeader {
            time_ns: self.connections * APART_NS,
            source: source.0,
            destination: destination.0,
            source_port: source.1,
            destination_port: destination.1,
            sequence: (at as u32).wrapping_add(1),
            acknowledgement: 1,
            initial_sequence: 1,
            peer_initial_sequence: 1,
            payload_len: length,
            captured_len: length,
            tcp_flags,
            direction,
            ip_version: 6,
            marks: mark::INITIAL_SEQUENCE | mark::HANDSHAKE,
            ..RecordHeader::default()
        }
    }
}

const SERVER: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fn segments(stream: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    stream.chunks(SEGMENT).enumerate().map(|(number, part)| (number * SEGMENT, part))
}

fn judgement(reports: &[Report]) -> Judgement {
    let surer = |a: &Report, b: &Report| a.verdict.confidence.get().total_cmp(&b.verdict.confidence.get());
    let Some(surest) = reports.iter().max_by(|a, b| surer(a, b)) else { return Judgement::default() };
    let mut findings: Vec<Finding> = Vec::new();
    for finding in reports.iter().flat_map(|report| &report.findings) {
        if !findings.contains(finding) {
            findings.push(finding.clone());
        }
    }
    findings.sort_by(|a, b| b.confidence.get().total_cmp(&a.confidence.get()));
    Judgement {
        blocked: reports.iter().any(|report| matches!(report.verdict.action, Action::Block(_))),
        score: surest.verdict.confidence.get(),
        category: Some(Policy::kind(surest.verdict.class, &findings).to_owned()),
        findings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge() -> Judge {
        let rules = crate::detection::load(&[]).unwrap().rules;
        Judge::new(Settings::default(), Arc::new(rules), &Policy::default())
    }

    fn get(target: &str) -> Vec<u8> {
        format!("GET {target} HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: Mozilla/5.0\r\n\r\n")
            .into_bytes()
    }

    #[test]
    fn an_attack_and_its_benign_twin() {
        let mut judge = judge();
        let attack = judge.judge(&get("/?id=1%27%20UNION%20SELECT%201,2--"), b"").unwrap();
        assert!(attack.blocked && attack.score >= 0.9, "{attack:?}");
        assert_eq!(attack.category.as_deref(), Some("sqli"));
        assert_eq!(judge.judge(&get("/?q=student+union+selects"), b"").unwrap(), Judgement::default());
    }

    #[test]
    fn verdicts_do_not_depend_on_what_stood_before() {
        let mut judge = judge();
        for _ in 0..50 {
            assert!(
                judge.judge(&get("/?id=1%20or%201=1"), b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap().blocked
            );
            assert!(!judge.judge(&get("/?id=1"), b"").unwrap().blocked);
        }
    }

    #[test]
    fn any_bytes_are_judged() {
        let mut judge = judge();
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        for cut in [0, 1, 3, 17, 4096, bytes.len()] {
            judge.judge(&bytes[..cut], &bytes[..cut]).unwrap();
            judge
                .judge(&[b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n", &bytes[..cut]].concat(), b"")
                .unwrap();
        }
    }
}
