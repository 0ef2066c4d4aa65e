//! The reader of one direction: bytes as they come in, calls of a [`Sink`] out. Whether the direction carries requests or
//! responses is seen from each message's first line, because nothing else says it reliably. A head that comes in one
//! piece is read in place; only what is cut off is kept.
//!
//! ```text
//!   Start ──head──▶ Body ──end──▶ Start        Lost: looks for the next message start
//!     │ no message      │ broken, gap          Tunnel: no longer HTTP
//!     └────▶ Lost ◀─────┘
//! ```

use memchr::memchr;

use super::anomaly::{Anomalies, Anomaly};
use super::chunked::{Chunked, Step};
use super::framing::{self, Asked, Framing};
use super::head;
use super::message::{Request, Response};
use super::pending::{Body, Kind, Rest, finish, step};
use super::start::{self, Start};

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
    /// Bytes of a request's trailer section.
    fn request_trailer(&mut self, data: &[u8]);
    /// The request is over; `anomalies` came up after its head.
    fn request_end(&mut self, anomalies: Anomalies);
    /// The response is over.
    fn response_end(&mut self, anomalies: Anomalies);
    /// The place in the stream was lost; the next message start is looked for.
    fn lost(&mut self);
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
    state: State,
    /// A head, or while lost a line, that is not complete yet.
    buffer: Vec<u8>,
    /// `scanned <= buffer.len()`: no head (line) ends before.
    scanned: usize,
    /// Whether the first line of `buffer` was looked at.
    line_seen: bool,
    /// What the direction carried last.
    role: Option<Kind>,
    /// Oddities seen before the message they belong to.
    noted: Anomalies,
    /// Largest head kept, in bytes.
    max_head: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Start,
    /// `true` while in a line that starts no message.
    Lost(bool),
    Body(Body),
    /// The rest of a head that is too long, up to its empty line; how far that was seen, and what follows it.
    LongHead(u8, Body),
    /// That many bytes of a PROXY protocol header.
    Proxy(usize),
    Tunnel,
}

/// Longest line that may turn out to start a message while lost.
const MAX_LOST_LINE: usize = 16 * 1024;
/// Buffers up to this size are kept for the connection's next message.
const KEPT_BUFFER: usize = 1024;

impl Reader {
    /// A reader at a place where a message starts, or at any place in a stream.
    #[must_use]
    pub fn new(at_start: bool, max_head: usize) -> Self {
        let state = if at_start { State::Start } else { State::Lost(false) };
        let noted = Anomalies::NONE;
        Self { state, buffer: Vec::new(), scanned: 0, line_seen: false, role: None, noted, max_head }
    }

    /// Takes the next bytes of the direction.
    pub fn data(&mut self, mut data: &[u8], scratch: &mut Scratch, sink: &mut impl Sink) {
        while !data.is_empty() {
            data = match self.state {
                State::Start => self.start(data, scratch, sink),
                State::Lost(in_line) => self.find_start(data, in_line),
                State::Body(body) => self.body(data, body, sink),
                State::LongHead(seen, body) => self.long_head(data, seen, body, sink),
                State::Proxy(left) => self.proxy_header(data, left),
                State::Tunnel => return,
            };
        }
    }

    /// Lets `bytes` go by unseen. Within a body whose length is known the place is kept.
    pub fn gap(&mut self, bytes: u64, scratch: &mut Scratch, sink: &mut impl Sink) {
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
            State::Tunnel => {}
        }
    }

    /// The direction is over: what is incomplete is given out as far as it came.
    pub fn end(&mut self, scratch: &mut Scratch, sink: &mut impl Sink) {
        match self.state {
            State::Body(mut body) | State::LongHead(_, mut body) => {
                let complete = matches!((self.state, body.rest), (State::Body(_), Rest::UntilClose));
                body.anomalies.insert_if(!complete, Anomaly::Incomplete);
                finish(body, sink);
            }
            State::Start => self.cut_head(Anomaly::Incomplete, scratch, sink),
            State::Lost(_) | State::Proxy(_) | State::Tunnel => {}
        }
        self.become_tunnel();
    }

    /// Notes an oddity of the stream for the message in hand, or the next one.
    pub fn note(&mut self, anomaly: Anomaly) {
        match &mut self.state {
            State::Body(body) | State::LongHead(_, body) => body.anomalies.insert(anomaly),
            _ => self.noted.insert(anomaly),
        };
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

    /// Bytes of memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.buffer.capacity()
    }

    /// At a place where a message must start.
    fn start<'a>(&mut self, mut data: &'a [u8], scratch: &mut Scratch, sink: &mut impl Sink) -> &'a [u8] {
        if self.buffer.is_empty() {
            if let Some(length) = proxy_header(data) {
                self.state = State::Proxy(length);
                return data;
            }
            data = skip_empty_lines(data);
            let end = simple_request_end(data).or_else(|| head::find_end(data, 0));
            let Some(end) = end else { return self.keep(data, scratch, sink) };
            if !starts_message(data) {
                return self.refuse(data, sink);
            }
            if end <= self.max_head {
                self.head(&data[..end], Anomalies::NONE, scratch, sink);
                return &data[end..];
            }
        }
        self.keep(data, scratch, sink)
    }

    fn proxy_header<'a>(&mut self, data: &'a [u8], left: usize) -> &'a [u8] {
        let taken = left.min(data.len());
        self.state = if taken == left { State::Start } else { State::Proxy(left - taken) };
        &data[taken..]
    }

    /// Keeps an incomplete head, up to its limit.
    fn keep<'a>(&mut self, data: &'a [u8], scratch: &mut Scratch, sink: &mut impl Sink) -> &'a [u8] {
        let before = self.buffer.len();
        let taken = data.len().min(self.max_head.saturating_sub(before));
        self.buffer.extend_from_slice(&data[..taken]);
        let line_seen = self.line_seen;
        let end = head::find_end(&self.buffer, self.scanned);
        if !line_seen && !self.may_start_message() {
            let buffer = std::mem::take(&mut self.buffer);
            self.refuse(&buffer, sink);
            self.find_all(&buffer, scratch, sink);
            return &data[taken..];
        }
        let line_is_new = self.line_seen && !line_seen;
        let simple = if line_is_new { simple_request_end(&self.buffer) } else { None };
        if let Some(end) = simple.or(end) {
            let buffer = std::mem::take(&mut self.buffer);
            self.head(&buffer[..end], Anomalies::NONE, scratch, sink);
            self.give_back(buffer);
            return &data[end.saturating_sub(before)..];
        }
        self.scanned = self.buffer.len().saturating_sub(3);
        if taken < data.len() {
            self.cut_head(Anomaly::HeadTooLong, scratch, sink);
        }
        &data[taken..]
    }

    /// Looks at the first line of the buffer, if it is complete, else at its beginning.
    fn may_start_message(&mut self) -> bool {
        match memchr(b'\n', self.buffer.get(self.scanned..).unwrap_or_default()) {
            Some(_) => {
                self.line_seen = true;
                starts_message(&self.buffer)
            }
            None => start::is_plausible(&self.buffer),
        }
    }

    fn refuse<'a>(&mut self, data: &'a [u8], sink: &mut impl Sink) -> &'a [u8] {
        self.noted.insert(Anomaly::NotHttp);
        self.become_lost(sink);
        self.state = State::Lost(true);
        data
    }

    /// Searches bytes that were kept as a head and turned out to be none.
    fn find_all(&mut self, mut data: &[u8], scratch: &mut Scratch, sink: &mut impl Sink) {
        while let State::Lost(in_line) = self.state
            && !data.is_empty()
        {
            data = self.find_start(data, in_line);
        }
        if !data.is_empty() {
            self.data(data, scratch, sink);
        }
    }

    /// Anywhere in a stream: looks for a line that can only be a message's first. The start of `data` counts as the start
    /// of a line, because messages start where segments do.
    fn find_start<'a>(&mut self, mut data: &'a [u8], in_line: bool) -> &'a [u8] {
        if in_line {
            let Some(end) = memchr(b'\n', data) else {
                self.state = State::Lost(false);
                return &[];
            };
            data = &data[end + 1..];
            self.state = State::Lost(false);
        }
        let Some(end) = memchr(b'\n', data) else {
            self.keep_line(data);
            return &[];
        };
        let kept = self.buffer.len();
        self.buffer.extend_from_slice(if kept > 0 { &data[..=end] } else { &[] });
        let line = if kept > 0 { &self.buffer[..] } else { &data[..=end] };
        let found = start::strict(&line[..line.len() - 1]);
        if found == Start::Neither || !self.may_carry(found) {
            self.forget();
            return &data[end + 1..];
        }
        (self.state, self.scanned, self.line_seen) = (State::Start, 0, kept > 0);
        self.scanned = kept;
        if kept > 0 { &data[end + 1..] } else { data }
    }

    /// A page that shows requests is no reason to take a server for a client.
    fn may_carry(&self, found: Start) -> bool {
        match self.role {
            Some(Kind::Request) => found == Start::Request,
            Some(Kind::Response) => found == Start::Response,
            None => true,
        }
    }

    fn keep_line(&mut self, data: &[u8]) {
        if self.buffer.len() + data.len() <= MAX_LOST_LINE
            && (!self.buffer.is_empty() || start::is_plausible(data))
        {
            self.buffer.extend_from_slice(data);
        } else {
            self.forget();
        }
    }

    fn head(&mut self, bytes: &[u8], late: Anomalies, scratch: &mut Scratch, sink: &mut impl Sink) {
        let mut anomalies = std::mem::take(&mut self.noted);
        anomalies.merge(late);
        self.forget();
        if starts_response(bytes) {
            let response = &mut scratch.response;
            head::parse_response(bytes, response);
            response.anomalies.merge(anomalies);
            let asked = sink.asked(response.status);
            self.role = if asked == Asked::Nothing { self.role } else { Some(Kind::Response) };
            let framing = framing::of_response(response, asked);
            sink.response(response, framing);
            self.follow(Kind::Response, framing, None, sink);
        } else {
            self.role = Some(Kind::Request);
            let request = &mut scratch.request;
            head::parse_request(bytes, request);
            super::fields::note_query(request);
            request.anomalies.merge(anomalies);
            let framing = framing::of_request(request);
            let other_length = framing::other_length(request);
            sink.request(request, framing);
            self.follow(Kind::Request, framing, other_length, sink);
        }
    }

    /// Gives out a head that will not be complete here. What follows a long head is found; behind a gap nothing is sure.
    fn cut_head(&mut self, why: Anomaly, scratch: &mut Scratch, sink: &mut impl Sink) {
        let buffer = std::mem::take(&mut self.buffer);
        let tail = buffer.iter().rev().take(2).take_while(|&&byte| matches!(byte, b'\r' | b'\n'));
        let seen = u8::from(tail.clone().any(|&byte| byte == b'\n'));
        if buffer.is_empty() || memchr(b' ', &buffer).is_none() && !starts_response(&buffer) {
            return self.forget();
        }
        self.head(&buffer, [why].into_iter().collect(), scratch, sink);
        match self.state {
            State::Body(body) if why == Anomaly::HeadTooLong => self.state = State::LongHead(seen, body),
            State::Body(mut body) => {
                body.anomalies.insert(why);
                finish(body, sink);
                self.state = State::Start;
            }
            State::Start if why == Anomaly::HeadTooLong => self.become_lost(sink),
            _ => {}
        }
    }

    /// Passes over the rest of a head; `seen` is 1 behind a line end.
    fn long_head<'a>(&mut self, data: &'a [u8], mut seen: u8, body: Body, sink: &mut impl Sink) -> &'a [u8] {
        for (at, &byte) in data.iter().enumerate() {
            match byte {
                b'\n' if seen == 1 => {
                    self.continue_body(body, sink);
                    return &data[at + 1..];
                }
                b'\n' => seen = 1,
                b'\r' => {}
                _ => seen = 0,
            }
        }
        self.state = State::LongHead(seen, body);
        &[]
    }

    fn follow(&mut self, kind: Kind, framing: Framing, other_length: Option<u64>, sink: &mut impl Sink) {
        let rest = match framing {
            Framing::None => Rest::Length(0),
            Framing::Length(bytes) => Rest::Length(bytes),
            Framing::Chunked => Rest::Chunked(Chunked::default(), other_length),
            Framing::UntilClose => Rest::UntilClose,
            Framing::Tunnel => {
                finish(Body { kind, rest: Rest::Length(0), anomalies: Anomalies::NONE }, sink);
                return self.become_tunnel();
            }
        };
        self.continue_body(Body { kind, rest, anomalies: Anomalies::NONE }, sink);
    }

    fn body<'a>(&mut self, data: &'a [u8], mut body: Body, sink: &mut impl Sink) -> &'a [u8] {
        match &mut body.rest {
            Rest::UntilClose => {
                body.data(data, sink);
                &[]
            }
            Rest::Length(left) => {
                let length = usize::try_from(*left).map_or(data.len(), |left| left.min(data.len()));
                let (data, rest) = data.split_at(length);
                *left -= length as u64;
                body.data(data, sink);
                self.continue_body(body, sink);
                rest
            }
            Rest::Chunked(chunked, other) => match step(chunked, other, data, &mut body.anomalies) {
                Step::NeedMore => {
                    self.state = State::Body(body);
                    &[]
                }
                Step::Data(data, rest) => {
                    self.state = State::Body(body);
                    body.data(data, sink);
                    rest
                }
                Step::Trailer(data, rest) => {
                    self.state = State::Body(body);
                    body.trailer(data, sink);
                    rest
                }
                Step::Done(rest) => {
                    body.rest = Rest::Length(0);
                    self.continue_body(body, sink);
                    rest
                }
                Step::Broken(rest) => {
                    // A server that delimits the body otherwise takes the rest for its content.
                    if let Some(left) = other.filter(|&left| left > 0) {
                        self.state = State::Body(Body { rest: Rest::Length(left), ..body });
                        return rest;
                    }
                    body.data(rest, sink);
                    self.lose(body, sink);
                    rest
                }
            },
        }
    }

    /// Goes on behind a part of a body: to the next message if nothing is left.
    fn continue_body(&mut self, body: Body, sink: &mut impl Sink) {
        if matches!(body.rest, Rest::Length(0)) {
            self.state = State::Start;
            finish(body, sink);
        } else {
            self.state = State::Body(body);
        }
    }

    fn lose(&mut self, body: Body, sink: &mut impl Sink) {
        finish(body, sink);
        self.become_lost(sink);
    }

    fn become_lost(&mut self, sink: &mut impl Sink) {
        self.state = State::Lost(false);
        self.forget();
        sink.lost();
    }

    fn forget(&mut self) {
        (self.scanned, self.line_seen) = (0, false);
        let buffer = std::mem::take(&mut self.buffer);
        self.give_back(buffer);
    }

    fn give_back(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEPT_BUFFER && self.buffer.capacity() == 0 {
            buffer.clear();
            self.buffer = buffer;
        }
    }
}

fn starts_response(bytes: &[u8]) -> bool {
    bytes.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"HTTP/"))
}

fn starts_message(bytes: &[u8]) -> bool {
    let end = memchr(b'\n', bytes).unwrap_or(bytes.len());
    start::lenient(&bytes[..end]) != Start::Neither
}

/// Where a request without a version ends: with its line, as servers that still take HTTP/0.9 answer at once.
fn simple_request_end(data: &[u8]) -> Option<usize> {
    let end = memchr(b'\n', data)?;
    let line = &data[..end];
    (!start::has_version(line) && start::lenient(line) == Start::Request).then_some(end + 1)
}

/// Length of the PROXY protocol header (version 1 or 2) that `data` begins with. Senders write it at once, so that it is not
/// looked for across segments.
fn proxy_header(data: &[u8]) -> Option<usize> {
    const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    const MAX_VERSION_1: usize = 107;
    if data.starts_with(VERSION_2) {
        let &[high, low] = data.get(14..16)? else { return None };
        return Some(16 + usize::from(u16::from_be_bytes([high, low])));
    }
    let end = memchr(b'\n', data).filter(|&end| data.starts_with(b"PROXY ") && end < MAX_VERSION_1)?;
    (start::lenient(&data[..end]) == Start::Neither).then_some(end + 1)
}

/// Servers pass over empty lines before a request (RFC 9112 section 2.2).
fn skip_empty_lines(data: &[u8]) -> &[u8] {
    let start = data.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(data.len());
    &data[start..]
}
