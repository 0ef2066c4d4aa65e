//! What the engine asks of the shell.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::actor::{Account, Behind};
use crate::finding::Finding;
use crate::http::anomaly::Anomalies;
use crate::http::client::Client;
use crate::policy::Verdict;
use crate::time::Timestamp;

/// What the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Write a block entry for `source`, at once.
    Block(Block),
    /// Record and publish a report.
    Report(Box<Report>),
    /// Bytes of a connection that nobody wants: the capture may leave them out.
    Skip(Skip),
    /// A connection has left HTTP for WebSocket (RFC 6455 section 4).
    WebSocket(Endpoints),
    /// A request and its response, where [`Settings::list_transactions`](super::Settings::list_transactions) asks for them.
    Transaction(Box<Transaction>),
}

/// What is known of an attack's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The request was sent.
    Attempt,
    /// The response shows that it worked: the payload came back as it was sent.
    Confirmed,
    /// It is the response in which something was found.
    Response,
    /// It is what many transactions come to.
    Behaviour,
}

impl Outcome {
    /// Name in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Confirmed => "confirmed",
            Self::Response => "response",
            Self::Behaviour => "behaviour",
        }
    }
}

/// A request, and what is known of its response. All text is printable and redacted.
#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    /// When the request's head was complete.
    pub time: Timestamp,
    /// When the response was over, or given up.
    pub ended: Timestamp,
    /// Number of the flow within this engine's run; never 0.
    pub flow_id: u64,
    /// Number of the request in its connection, from 0.
    pub number: u64,
    /// The side that sent the request.
    pub client: SocketAddr,
    /// The side that got it.
    pub server: SocketAddr,
    /// Who that is, behind proxies.
    pub identity: Client,
    /// The request line and headers.
    pub request: RequestSummary,
    /// Bytes of the request's body, without transfer coding.
    pub request_bytes: u64,
    /// What is odd about the request.
    pub request_anomalies: Anomalies,
    /// Status code; `None` if no response was seen.
    pub status: Option<u16>,
    /// Content-Type of the response.
    pub response_type: String,
    /// Bytes of the response's body, without transfer coding.
    pub response_bytes: u64,
    /// What is odd about the response.
    pub response_anomalies: Anomalies,
    /// Status of a gRPC call.
    pub grpc_status: Option<String>,
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The client.
    pub client: SocketAddr,
    /// The server.
    pub server: SocketAddr,
}

/// The rest of a body that is not inspected. What follows it is wanted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// The sender.
    pub source: SocketAddr,
    /// The receiver.
    pub destination: SocketAddr,
    /// Sequence number of the sender before which nothing is wanted.
    pub until: u32,
}

/// A block decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Who is to be blocked.
    pub source: IpAddr,
    /// What is to be blocked: the address, or its prefix.
    pub target: IpNet,
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
    /// Who the client is, behind proxies.
    pub identity: Client,
    /// Number of the transaction in its connection, from 0.
    pub transaction: u64,
    /// What is known of the outcome.
    pub outcome: Outcome,
    /// The request line and two headers.
    pub request: RequestSummary,
    /// Everything found, the most confident first; never empty.
    pub findings: Vec<Finding>,
    /// What was decided.
    pub verdict: Verdict,
    /// Who else is behind the client's address, and is hit by a block of it.
    pub behind: Behind,
    /// Until when the source is blocked (or would be, when observing), if it is.
    pub blocked_until: Option<Timestamp>,
    /// Bytes of the flow's client side that were on the wire, but not captured.
    pub client_bytes_missed: u64,
    /// What a finding about several transactions rests on; the request is the last of them.
    pub account: Option<Box<Account>>,
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
