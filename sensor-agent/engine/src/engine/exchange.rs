//! What one connection knows of its messages, beside the bytes.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::answers::{Answer, Awaited};
use super::pace::Pace;
use super::reflection::Probe;
use super::tail::Tail;
use super::upgraded::{Asking, Upgraded};
use crate::facts::RequestFacts;
use crate::finding::Finding;
use crate::flow::{Key, Side};
use crate::http::message::{HeaderSpan, Request};
use crate::time::Timestamp;

/// A request whose body is coming in.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenRequest {
    pub(super) request: Request,
    /// Number of the request in its connection, from 0.
    pub(super) number: u64,
    pub(super) body: Vec<u8>,
    pub(super) trailer: Vec<u8>,
    /// Text of chunk extensions.
    pub(super) extension: Vec<u8>,
    pub(super) findings: Vec<Finding>,
    pub(super) inspected: bool,
    /// The end of a body that is longer than `body` holds; `None` for one that is not, and where its end says nothing.
    pub(super) tail: Option<Box<Tail>>,
    /// Whether it stood in another request's body.
    pub(super) embedded: bool,
    /// When its head was there.
    pub(super) time: Timestamp,
    /// When all of it was there.
    pub(super) ended: Timestamp,
    /// Bytes of its body.
    pub(super) length: u64,
    /// What in its response would prove its findings.
    pub(super) probes: Vec<Probe>,
    /// What it says, if facts are wanted.
    pub(super) facts: RequestFacts,
}

impl OpenRequest {
    pub(super) fn memory(&self) -> usize {
        let request = &self.request;
        let headers = request.headers.capacity() * size_of::<HeaderSpan>();
        let findings = self.findings.capacity() * size_of::<Finding>();
        size_of::<Self>()
            + request.head.capacity()
            + headers
            + self.body.capacity()
            + self.trailer.capacity()
            + self.extension.capacity()
            + findings
            + self.tail.as_ref().map_or(0, |tail| tail.memory() + size_of::<Tail>())
    }
}

/// What a connection knows of its messages, beside the bytes.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) flow_id: u64,
    pub(super) key: Key,
    pub(super) interface: u32,
    /// The end that sends requests.
    pub(super) client: Option<Side>,
    /// Whether the connection left HTTP.
    pub(super) tunnel: bool,
    pub(super) open: Option<Box<OpenRequest>>,
    /// The last request that asked for another protocol.
    pub(super) asking: Option<Asking>,
    /// What the connection became after HTTP/1, if that is looked into.
    pub(super) upgraded: Option<Box<Upgraded>>,
    /// Whether the first byte of a direction was seen.
    pub(super) from_start: [bool; 2],
    /// The kernel knows that the handshake was completed.
    pub(super) handshake: bool,
    /// Whether payload of an end left the host, and whether it arrived there: a bit for each. Both can be: taps on a bridge see it twice.
    payload_ways: u8,
    /// The requests whose responses are still to come.
    pub(super) asked: VecDeque<Awaited>,
    /// The response in hand, if it is looked into.
    pub(super) answer: Option<Box<Answer>>,
    pub(super) responses: u32,
    pub(super) requests: u64,
    /// What hardly any connection has.
    rare: Option<Box<Rare>>,
    /// How the request in hand gets on.
    pub(super) pace: Pace,
}

/// What hardly any connection has, so that it is made when there is some.
#[derive(Debug, Default)]
struct Rare {
    /// Bytes of a direction that were on the wire, but not captured.
    missed: [u64; 2],
    /// The sender that a PROXY protocol header names.
    proxied: Option<IpAddr>,
    deferred: Deferred,
}

/// Findings that would block the source if it were verified.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    pub(super) findings: Vec<Finding>,
    /// The request said that another site's page caused it.
    pub(super) led: bool,
}

impl Exchange {
    pub(super) fn new(flow_id: u64, key: Key, interface: u32) -> Self {
        Self {
            flow_id,
            key,
            interface,
            client: None,
            tunnel: false,
            open: None,
            asking: None,
            upgraded: None,
            from_start: [false; 2],
            handshake: false,
            payload_ways: 0,
            asked: VecDeque::new(),
            answer: None,
            responses: 0,
            requests: 0,
            rare: None,
            pace: Pace::default(),
        }
    }

    /// Whether the client owns its address: the kernel says so, or the other end sent payload, which it only does on a
    /// completed handshake. Payload that came from the same side of the host proves nothing.
    pub(super) fn is_verified(&self) -> bool {
        let came = |end: Side, ingress: bool| self.payload_ways & way(end, ingress) != 0;
        let crossed = |ingress: bool| came(Side::Low, ingress) && came(Side::High, !ingress);
        self.handshake || crossed(false) || crossed(true)
    }

    /// Notes payload of an end.
    pub(super) fn note_payload(&mut self, from: Side, ingress: bool) {
        self.payload_ways |= way(from, ingress);
    }

    pub(super) fn memory(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |open| open.memory());
        let asking = self.asking.as_ref().map_or(0, |asking| asking.0.head.capacity());
        let upgraded = self.upgraded.as_ref().map_or(0, |upgraded| upgraded.memory());
        let kept = |awaited: &Awaited| awaited.kept.as_ref().map_or(0, |open| open.memory());
        let awaited =
            self.asked.capacity() * size_of::<Awaited>() + self.asked.iter().map(kept).sum::<usize>();
        let answer = self.answer.as_ref().map_or(0, |answer| answer.memory());
        let rare = self
            .rare
            .as_ref()
            .map_or(0, |rare| size_of::<Rare>() + rare.deferred.findings.capacity() * size_of::<Finding>());
        open + asking + upgraded + awaited + answer + rare
    }

    /// Notes bytes of an end that were on the wire, but not captured.
    pub(super) fn note_missed(&mut self, from: Side, bytes: u64) {
        self.rare.get_or_insert_default().missed[from.index()] += bytes;
    }

    /// Bytes of an end that were on the wire, but not captured.
    pub(super) fn missed(&self, from: Side) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.missed[from.index()])
    }

    /// Notes the sender that a PROXY protocol header names.
    pub(super) fn note_proxied(&mut self, client: IpAddr) {
        self.rare.get_or_insert_default().proxied = Some(client);
    }

    /// The sender that a PROXY protocol header names.
    pub(super) fn proxied(&self) -> Option<IpAddr> {
        self.rare.as_ref().and_then(|rare| rare.proxied)
    }

    /// Keeps findings that would block the source if it were verified, unless some are kept; whether they were.
    pub(super) fn defer(&mut self, findings: &[Finding], led: bool) -> bool {
        let deferred = &mut self.rare.get_or_insert_default().deferred;
        let is_first = deferred.findings.is_empty();
        if is_first {
            *deferred = Deferred { findings: findings.to_vec(), led };
        }
        is_first
    }

    /// Takes the findings that wait, if the source is verified by now.
    pub(super) fn take_deferred(&mut self) -> Option<Deferred> {
        let is_verified = self.is_verified();
        let rare = self.rare.as_mut().filter(|rare| is_verified && !rare.deferred.findings.is_empty())?;
        Some(std::mem::take(&mut rare.deferred))
    }

    /// Sender and receiver of what comes from `from`.
    pub(super) fn endpoints(&self, from: Side) -> (SocketAddr, SocketAddr) {
        (self.key.address(from), self.key.address(from.other()))
    }

    /// The end that sends requests, as far as that is known.
    pub(super) fn client_side(&self) -> Side {
        self.client.unwrap_or(Side::Low)
    }

    pub(super) fn client_address(&self) -> SocketAddr {
        self.key.address(self.client_side())
    }

    /// The end that the client speaks to.
    pub(super) fn server_address(&self) -> SocketAddr {
        self.key.address(self.client_side().other())
    }
}

/// The bit of payload from that end, on that way.
const fn way(from: Side, ingress: bool) -> u8 {
    1 << (2 * from.index() + ingress as usize)
}
