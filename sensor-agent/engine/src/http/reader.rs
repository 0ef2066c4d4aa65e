//! The reader of one direction: bytes as they come in, calls of a [`Sink`] out. Whether the direction carries requests or
//! responses is seen from each message's first line, because nothing else says it reliably. A head that comes in one
//! piece is read in place; only what is cut off is kept.
//!
//! ```text
//!   Start ──head──▶ Body ──end──▶ Start        Lost: looks for the next message start
//!     │ no message      │ broken, gap          Tunnel: no longer HTTP
//!     └────▶ Lost ◀─────┘
//! ```

use std::net::IpAddr;

use memchr::memchr;

use super::anomaly::{Anomalies, Anomaly};
use super::framing::{self, Asked, Framing};
use super::head;
use super::message::{Request, Response};
use super::oddity;
use super::pending::{self, Body, Kind, finish};
use super::readings::{Plausible, Readings};

/// Who listens to a reader.
pub trait Sink {
    /// A request head is there, complete but for what its anomalies say. The body follows as `framing` says.
    fn request(&mut self, request: &mut Request, framing: Framing);
    /// A response head is there; the answer says what was asked. Called before its framing is known.
    fn asked(&mut self, status: u16) -> Asked;
    /// A response head is there, complete but for what its anomalies say.
    fn response(&mut self, response: &mut Response, framing: Framing);
    /// Bytes of a request's body, without transfer coding.
    fn request_body(&mut self, data: &[u8]);
    /// The direction begins with a PROXY protocol header, which names this address as the sender.
    fn proxied(&mut self, _client: IpAddr) {}
    /// Bytes of a response's body, without transfer coding.
    fn response_body(&mut self, _data: &[u8]) {}
    /// Bytes of a response's trailer section.
    fn response_trailer(&mut self, _data: &[u8]) {}
    /// Text of a request's chunk extensions; a line end stands between two of them.
    fn request_extension(&mut self, _data: &[u8]) {}
    /// Bytes of a request's head beyond what is kept of it.
    fn request_late(&mut self, _data: &[u8]) {}
    /// The body of an earlier request as another server may read it.
    fn other_reading(&mut self, _request: &mut Request, _body: &[u8]) {}
    /// Bytes of a direction that left HTTP/1; false if they are no such thing, so that it is HTTP/1 after all.
    fn tunnel(&mut self, _data: &[u8]) -> bool {
        true
    }
    /// Bytes of such a direction went by unseen.
    fn tunnel_gap(&mut self, _bytes: u64) {}
    /// Such a direction is over.
    fn tunnel_end(&mut self) {}
    /// The direction is joined in the middle, and carries HTTP/2 frames.
    fn joined_http2(&mut self) {}
    /// The direction is joined in the middle, and carries WebSocket frames of a client.
    fn joined_websocket(&mut self) {}
    /// So many bytes were searched for the start of a message.
    fn passed_over(&mut self, _bytes: u64) {}
    /// The direction begins with a TLS record: it is encrypted.
    fn encrypted(&mut self) {}
    /// Bytes of a request's trailer section.
    fn request_trailer(&mut self, data: &[u8]);
    /// The request is over; `anomalies` came up after its head.
    fn request_end(&mut self, anomalies: Anomalies);
    /// The response is over.
    fn response_end(&mut self, anomalies: Anomalies);
    /// The place in the stream was lost; the next message start is looked for.
    fn lost(&mut self);
}

/// What of a message is to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    /// The rest of a request's head.
    #[default]
    OfHead,
    /// The rest of a request's body.
    OfBody,
    /// The rest of a response's body.
    OfResponse,
}

/// Memory for the message in hand, shared by all readers of a thread.
#[derive(Debug, Default)]
pub struct Scratch {
    request: Request,
    response: Response,
}

/// Reader of one direction of a connection.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) state: State,
    /// A head, or while lost a line, that is not complete yet.
    pub(super) buffer: Vec<u8>,
    /// `scanned <= buffer.len()`: no head (line) ends before.
    pub(super) scanned: u32,
    /// Whether the first line of `buffer` was looked at.
    pub(super) line_seen: bool,
    /// What the direction carried last.
    pub(super) role: Option<Kind>,
    /// Oddities seen before the message they belong to.
    pub(super) noted: Noted,
    /// An ambiguous request whose other readings are not complete yet.
    pub(super) readings: Option<Box<Readings>>,
    /// Largest head kept, in bytes.
    pub(super) max_head: u32,
}

/// Oddities that are seen before the message that they belong to. They are few, and every connection holds some.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Noted(u8);

/// What can be noted so.
const NOTED: [Anomaly; 3] = [Anomaly::NotHttp, Anomaly::OverlapConflict, Anomaly::EmptyLineBefore];

impl Noted {
    pub(super) fn insert(&mut self, anomaly: Anomaly) {
        debug_assert!(NOTED.contains(&anomaly));
        self.0 |= NOTED.iter().position(|&one| one == anomaly).map_or(0, |at| 1 << at);
    }

    fn anomalies(self) -> Anomalies {
        if self.0 == 0 {
            return Anomalies::NONE;
        }
        NOTED.into_iter().enumerate().filter(|(at, _)| self.0 & 1 << at != 0).map(|(_, one)| one).collect()
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    Start,
    /// `true` while in a line that starts no message.
    Lost(bool),
    Body(Body),
    /// The rest of a head that is too long, up to its empty line; how far that was seen, and what follows it. The buffer holds the beginning of
    /// the line in hand.
    LongHead(u8, Body),
    /// That many bytes of a PROXY protocol header.
    Proxy(usize),
    Tunnel,
}

/// Buffers up to this size are kept for the connection's next message.
const KEPT_BUFFER: usize = 1024;

impl Reader {
    /// A reader at a place where a message starts, or at any place in a stream.
    #[must_use]
    pub fn new(at_start: bool, max_head: usize) -> Self {
        let state = if at_start { State::Start } else { State::Lost(false) };
        let noted = Noted::default();
        // Spans within a head are as long.
        let max_head = u32::try_from(max_head).unwrap_or(u32::MAX);
        Self {
            state,
            buffer: Vec::new(),
            scanned: 0,
            line_seen: false,
            role: None,
            noted,
            readings: None,
            max_head,
        }
    }

    /// Takes the next bytes of the direction.
    pub fn data(&mut self, mut data: &[u8], scratch: &mut Scratch, sink: &mut impl Sink) {
        while !data.is_empty() {
            let readings = self.readings.take();
            let rest = self.step(data, scratch, sink);
            if let Some(readings) = readings {
                let read = data.get(..data.len() - rest.len()).unwrap_or_default();
                self.continue_readings(readings, read, sink);
            }
            data = rest;
        }
    }

    fn step<'a>(&mut self, data: &'a [u8], scratch: &mut Scratch, sink: &mut impl Sink) -> &'a [u8] {
        match self.state {
            State::Start => self.start(data, scratch, sink),
            State::Lost(in_line) => self.search(data, in_line, sink),
            State::Body(body) => self.body(data, body, sink),
            State::LongHead(seen, body) => self.long_head(data, seen, body, sink),
            State::Proxy(left) => self.proxy_header(data, left),
            State::Tunnel => self.tunnel(data, sink),
        }
    }

    /// What was read belongs to the other readings of an earlier request too.
    fn continue_readings(&mut self, mut readings: Box<Readings>, read: &[u8], sink: &mut impl Sink) {
        if readings.push(read) || self.readings.is_some() {
            readings.give_out(sink);
        } else {
            self.readings = Some(readings);
        }
    }

    fn end_readings(&mut self, sink: &mut impl Sink) {
        if let Some(readings) = self.readings.take() {
            readings.give_out(sink);
        }
    }

    /// Lets `bytes` go by unseen. Within a body whose length is known the place is kept.
    pub fn gap(&mut self, bytes: u64, scratch: &mut Scratch, sink: &mut impl Sink) {
        self.end_readings(sink);
        match self.state {
            State::Body(mut body) => {
                body.anomalies.insert(Anomaly::Gap);
                match body.rest.skip(bytes) {
                    Some(rest) => self.continue_body(Body { rest, ..body }, sink),
                    None => self.lose(body, sink),
                }
            }
            State::LongHead(_, mut body) => {
                body.anomalies.insert(Anomaly::Gap);
                self.lose(body, sink);
            }
            State::Start => {
                self.cut_head(Anomaly::Gap, scratch, sink);
                self.become_lost(sink);
            }
            State::Proxy(_) => self.become_lost(sink),
            State::Lost(_) => self.forget(),
            State::Tunnel => sink.tunnel_gap(bytes),
        }
    }

    fn tunnel<'a>(&mut self, data: &'a [u8], sink: &mut impl Sink) -> &'a [u8] {
        if sink.tunnel(data) {
            return &[];
        }
        self.become_lost(sink);
        data
    }

    /// The direction is over: what is incomplete is given out as far as it came.
    pub fn end(&mut self, scratch: &mut Scratch, sink: &mut impl Sink) {
        match self.state {
            State::Body(mut body) | State::LongHead(_, mut body) => {
                let complete = matches!((self.state, body.rest), (State::Body(_), pending::Rest::UntilClose));
                body.anomalies.insert_if(!complete, Anomaly::Incomplete);
                finish(body, sink);
            }
            State::Start => self.cut_head(Anomaly::Incomplete, scratch, sink),
            State::Tunnel => sink.tunnel_end(),
            State::Lost(_) | State::Proxy(_) => {}
        }
        self.end_readings(sink);
        self.become_tunnel();
    }

    /// Notes an oddity of the stream for the message in hand, or the next one.
    pub fn note(&mut self, anomaly: Anomaly) {
        match &mut self.state {
            State::Body(body) | State::LongHead(_, body) => _ = body.anomalies.insert(anomaly),
            _ => self.noted.insert(anomaly),
        }
    }

    /// From here on the direction is not HTTP.
    pub fn become_tunnel(&mut self) {
        self.state = State::Tunnel;
        self.buffer = Vec::new();
    }

    /// Whether a message may start here, and none has.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Start) && self.buffer.is_empty()
    }

    /// Which rest of a message is to come, if its sender must have it: of a request, or of the body of a response whose length was told, or
    /// that of the chunk in hand. `None` between messages.
    #[must_use]
    pub fn rest(&self) -> Option<Rest> {
        match self.state {
            State::Start if !self.buffer.is_empty() && !starts_response(&self.buffer) => Some(Rest::OfHead),
            State::LongHead(_, body) if body.kind == Kind::Request => Some(Rest::OfHead),
            State::Body(body) if body.kind == Kind::Request => Some(Rest::OfBody),
            State::Body(body) => body.is_owed().then_some(Rest::OfResponse),
            _ => None,
        }
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.buffer.capacity() + self.readings.as_ref().map_or(0, |readings| readings.memory())
    }

    pub(super) fn head(
        &mut self,
        bytes: &[u8],
        late: Anomalies,
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) {
        let mut anomalies = std::mem::take(&mut self.noted).anomalies();
        anomalies.merge(late);
        self.forget();
        if starts_response(bytes) {
            let response = &mut scratch.response;
            head::parse_response(bytes, response);
            response.anomalies.merge(anomalies);
            let asked = sink.asked(response.status);
            self.role = if asked == Asked::Nothing { self.role } else { Some(Kind::Response) };
            let framing = framing::of_response(response, asked);
            oddity::of_response(response, !matches!(asked, Asked::Nothing | Asked::Unseen));
            sink.response(response, framing);
            self.follow(Kind::Response, framing, None, sink);
        } else {
            self.role = Some(Kind::Request);
            let request = &mut scratch.request;
            head::parse_request(bytes, request);
            request.anomalies.merge(anomalies);
            let framing = framing::of_request(request);
            oddity::of_request(request, framing);
            // What follows may yet announce a body.
            let is_open = framing == Framing::None && late.contains(Anomaly::HeadTooLong);
            let framing = if is_open { Framing::UntilClose } else { framing };
            let other_length = framing::other_length(request);
            let plausible = Plausible::of(request, framing);
            self.readings = plausible.map(|other| Box::new(Readings::new(request, other, framing)));
            sink.request(request, framing);
            self.follow(Kind::Request, framing, other_length, sink);
        }
    }

    /// Gives out a head that will not be complete here. What follows a long head is found; behind a gap nothing is sure.
    pub(super) fn cut_head(&mut self, why: Anomaly, scratch: &mut Scratch, sink: &mut impl Sink) {
        let buffer = std::mem::take(&mut self.buffer);
        let tail = buffer.iter().rev().take(2).take_while(|&&byte| matches!(byte, b'\r' | b'\n'));
        let seen = u8::from(tail.clone().any(|&byte| byte == b'\n'));
        if buffer.is_empty() || memchr(b' ', &buffer).is_none() && !starts_response(&buffer) {
            return self.forget();
        }
        self.head(&buffer, [why].into_iter().collect(), scratch, sink);
        match self.state {
            State::Body(body) if why == Anomaly::HeadTooLong => {
                let line = memchr::memrchr(b'\n', &buffer).map_or(0, |at| at + 1);
                self.begin_late_line(buffer.get(line..).unwrap_or_default());
                self.state = State::LongHead(seen, body);
            }
            State::Body(mut body) => {
                body.anomalies.insert(why);
                finish(body, sink);
                self.state = State::Start;
            }
            State::Start if why == Anomaly::HeadTooLong => self.become_lost(sink),
            _ => {}
        }
    }

    pub(super) fn become_lost(&mut self, sink: &mut impl Sink) {
        self.state = State::Lost(false);
        self.forget();
        sink.lost();
    }

    pub(super) fn forget(&mut self) {
        (self.scanned, self.line_seen) = (0, false);
        let buffer = std::mem::take(&mut self.buffer);
        self.give_back(buffer);
    }

    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEPT_BUFFER && self.buffer.capacity() == 0 {
            buffer.clear();
            self.buffer = buffer;
        }
    }
}

pub(super) fn starts_response(bytes: &[u8]) -> bool {
    bytes.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"HTTP/"))
}
