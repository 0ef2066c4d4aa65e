//! The façade: records in, commands out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::finding::Finding;
use crate::policy::{Policy, Verdict};
use crate::rule::RuleSet;
use crate::time::Timestamp;

/// What the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Write a block entry for `source`, at once.
    Block(Block),
    /// Record and publish a report.
    Report(Box<Report>),
}

/// A block decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The address to block.
    pub source: IpAddr,
    /// When the block ends, counted from the data's own time.
    pub until: Timestamp,
    /// Count matches, but drop nothing.
    pub shadow: bool,
    /// One printable line: class and rule.
    pub reason: String,
}

/// Findings of one transaction, with what people need to understand them. All text is printable and redacted.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// When the deciding segment passed the tap.
    pub time: Timestamp,
    /// Number of the flow within this engine's run; never 0.
    pub flow_id: u64,
    /// Interface index.
    pub interface: u32,
    /// The side that sent the request.
    pub client: SocketAddr,
    /// The side that got it.
    pub server: SocketAddr,
    /// Number of the transaction in its connection, from 0.
    pub transaction: u64,
    /// The request line and two headers.
    pub request: RequestSummary,
    /// Everything found, the most confident first; never empty.
    pub findings: Vec<Finding>,
    /// What was decided.
    pub verdict: Verdict,
    /// Until when the source is blocked (or would be, when observing), if it is.
    pub blocked_until: Option<Timestamp>,
    /// Bytes of the flow's client side that were on the wire, but not captured.
    pub client_bytes_missed: u64,
}

/// A request line and headers as printable, redacted text, each at most [`SUMMARY_LEN`] characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestSummary {
    /// Method.
    pub method: String,
    /// Host header.
    pub host: String,
    /// Target.
    pub target: String,
    /// `HTTP/1.0` or `HTTP/1.1`.
    pub protocol: String,
    /// User-Agent header.
    pub user_agent: String,
    /// Referer header.
    pub referer: String,
    /// Content-Type header.
    pub content_type: String,
}

/// Most characters of each text in a [`RequestSummary`].
pub const SUMMARY_LEN: usize = 1024;

/// Limits and switches of an engine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Connections kept at once; the one idle for longest makes room.
    pub max_flows: usize,
    /// A connection without a segment for this long is forgotten.
    pub flow_idle: Duration,
    /// Bytes of out-of-order data and unparsed head kept for one direction of a flow.
    pub max_stream_bytes: usize,
    /// Bytes kept for all flows of this engine together.
    pub max_total_bytes: usize,
    /// Bytes of a request body that are inspected.
    pub max_body_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_flows: 65_536,
            flow_idle: Duration::from_secs(600),
            max_stream_bytes: 256 * 1024,
            max_total_bytes: 64 << 20,
            max_body_bytes: 128 * 1024,
        }
    }
}

/// What an engine has counted since it was made. Every record ends in exactly one of the outcomes:
/// `records = accepted + record_malformed + ignored_*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records handed in.
    pub records: u64,
    /// Records whose segment reached its flow.
    pub accepted: u64,
    /// Records that were no valid record.
    pub record_malformed: u64,
    /// Named counters beside these, in a fixed order: name, help, value.
    pub named: Vec<(&'static str, &'static str, u64)>,
}

/// One engine: the flows of one ring.
#[derive(Debug)]
pub struct Engine {
    _settings: Settings,
    _rules: Arc<RuleSet>,
    _policy: Arc<Policy>,
}

impl Engine {
    /// An engine without flows.
    #[must_use]
    pub fn new(settings: Settings, rules: Arc<RuleSet>, policy: Arc<Policy>) -> Self {
        Self { _settings: settings, _rules: rules, _policy: policy }
    }

    /// Takes one record of a ring.
    pub fn handle_record(&mut self, _record: &[u8]) {}

    /// The next thing to do, if any; call until `None`.
    pub fn next_command(&mut self) -> Option<Command> {
        None
    }

    /// When [`Engine::handle_timeout`] wants to be called, if at all.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }

    /// Lets time pass: idle flows are forgotten.
    pub fn handle_timeout(&mut self, _now: Timestamp) {}

    /// Uses other rules from the next message on.
    pub fn replace_rules(&mut self, rules: Arc<RuleSet>) {
        self._rules = rules;
    }

    /// Uses another policy from the next verdict on.
    pub fn replace_policy(&mut self, policy: Arc<Policy>) {
        self._policy = policy;
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}
