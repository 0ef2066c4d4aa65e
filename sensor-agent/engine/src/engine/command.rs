//! What the engine asks of the shell.

use std::net::{IpAddr, SocketAddr};

use crate::finding::Finding;
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
