//! The body of the message in hand: how much of it is to come, and who listens.

use super::anomaly::Anomalies;
use super::chunked::{Chunked, Step};
use super::framing::{self, Framing};
use super::reader::{Reader, Sink, State};

/// Longest line of a head beyond what is kept that is read for what it says about the body.
const MAX_LATE_LINE: usize = 256;

/// A body that is coming in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    pub(super) kind: Kind,
    pub(super) rest: Rest,
    /// What came up after the head.
    pub(super) anomalies: Anomalies,
}

/// What a direction carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Response,
}

/// What is to come of a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rest {
    Length(u64),
    /// Also the bytes left by Content-Length, if there is one beside.
    Chunked(Chunked, Other),
    UntilClose,
}

/// Bytes left by another framing, if there is one. An option of the number would cost every connection eight bytes more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Other(u64);

impl Other {
    const NONE: u64 = u64::MAX;

    fn of(left: Option<u64>) -> Self {
        Self(left.map_or(Self::NONE, |left| left.min(Self::NONE - 1)))
    }

    fn left(self) -> Option<u64> {
        (self.0 != Self::NONE).then_some(self.0)
    }
}

impl Body {
    pub(super) fn data(&self, data: &[u8], sink: &mut impl Sink) {
        match self.kind {
            _ if data.is_empty() => {}
            Kind::Request => sink.request_body(data),
            Kind::Response => sink.response_body(data),
        }
    }

    /// Whether the sender must have bytes that did not come yet.
    pub(super) fn is_owed(&self) -> bool {
        match self.rest {
            Rest::Length(left) => left > 0,
            Rest::Chunked(chunked, _) => chunked.left_of_data() > 0,
            Rest::UntilClose => false,
        }
    }

    fn late_head(&self, data: &[u8], sink: &mut impl Sink) {
        if self.kind == Kind::Request && !data.is_empty() {
            sink.request_late(data);
        }
    }

    /// A line of a head beyond what is kept: what it says about the body counts, and `chunked` more than a length.
    fn note_late_line(&mut self, line: &[u8]) {
        match framing::of_line(line) {
            Some(Framing::Chunked) => {
                let length = if let Rest::Length(length) = self.rest { Some(length) } else { None };
                self.rest = Rest::Chunked(Chunked::default(), Other::of(length));
            }
            Some(Framing::Length(bytes)) if !matches!(self.rest, Rest::Chunked(..)) => {
                self.rest = Rest::Length(bytes);
            }
            _ => {}
        }
    }

    pub(super) fn extension(&self, data: &[u8], sink: &mut impl Sink) {
        if self.kind == Kind::Request {
            sink.request_extension(data);
        }
    }

    pub(super) fn trailer(&self, data: &[u8], sink: &mut impl Sink) {
        match self.kind {
            Kind::Request => sink.request_trailer(data),
            Kind::Response => sink.response_trailer(data),
        }
    }
}

impl Rest {
    /// What is left behind a gap; `None` if that cannot be known.
    pub(super) fn skip(self, bytes: u64) -> Option<Self> {
        match self {
            Self::Length(left) => Some(Self::Length(left.checked_sub(bytes)?)),
            Self::Chunked(mut chunked, other) => {
                let other = Other::of(other.left().and_then(|other| other.checked_sub(bytes)));
                chunked.skip(bytes).then_some(Self::Chunked(chunked, other))
            }
            Self::UntilClose => Some(Self::UntilClose),
        }
    }
}

/// A step of the chunked coding; what it uses up counts for the other framing too.
pub(super) fn step<'a>(
    chunked: &mut Chunked,
    other: &mut Other,
    data: &'a [u8],
    anomalies: &mut Anomalies,
) -> Step<'a> {
    let step = chunked.step(data, anomalies);
    let rest = match step {
        Step::NeedMore => 0,
        Step::Data(_, rest) | Step::Extension(_, rest) | Step::Trailer(_, rest) => rest.len(),
        Step::Done(rest) | Step::Broken(rest) => rest.len(),
    };
    *other = Other::of(other.left().map(|left| left.saturating_sub((data.len() - rest) as u64)));
    step
}

/// Tells that a body is over.
pub(super) fn finish(body: Body, sink: &mut impl Sink) {
    match body.kind {
        Kind::Request => sink.request_end(body.anomalies),
        Kind::Response => sink.response_end(body.anomalies),
    }
}

impl Reader {
    /// Bytes ahead that certainly belong to a body nobody inspects, or no more of: a request's if `request_done`, but for the last `tail`
    /// bytes, a response's if `response_done`. What other readings of the framing may end earlier is never among them.
    #[must_use]
    pub fn unwanted(&self, request_done: bool, tail: usize, response_done: bool) -> u64 {
        let State::Body(body) = self.state else { return 0 };
        let (done, tail) = match body.kind {
            Kind::Request => (request_done, tail as u64),
            Kind::Response => (response_done, 0),
        };
        if self.readings.is_some() || !done {
            return 0;
        }
        match body.rest {
            Rest::Length(left) => left.saturating_sub(tail),
            Rest::Chunked(chunked, other) if other.left().is_none() => {
                chunked.left_of_data().saturating_sub(tail)
            }
            // Only the end of the connection ends the other: it must not be passed over.
            Rest::Chunked(..) | Rest::UntilClose => 0,
        }
    }

    /// Reads the rest of a head for what it says about the body; `seen` is 1 behind a line end.
    pub(super) fn long_head<'a>(
        &mut self,
        data: &'a [u8],
        mut seen: u8,
        mut body: Body,
        sink: &mut impl Sink,
    ) -> &'a [u8] {
        for (at, &byte) in data.iter().enumerate() {
            match byte {
                b'\n' if seen == 1 => {
                    body.late_head(&data[..at], sink);
                    self.forget();
                    if body.kind == Kind::Request && matches!(body.rest, Rest::UntilClose) {
                        body.rest = Rest::Length(0);
                    }
                    self.continue_body(body, sink);
                    return &data[at + 1..];
                }
                b'\n' => {
                    seen = 1;
                    body.note_late_line(&self.buffer);
                    self.buffer.clear();
                }
                b'\r' => {}
                _ => {
                    seen = 0;
                    if self.buffer.len() < MAX_LATE_LINE {
                        self.buffer.push(byte);
                    }
                }
            }
        }
        body.late_head(data, sink);
        self.state = State::LongHead(seen, body);
        &[]
    }

    /// The line in which a head is cut off began so.
    pub(super) fn begin_late_line(&mut self, line: &[u8]) {
        self.buffer.clear();
        self.buffer.extend_from_slice(line.get(..MAX_LATE_LINE).unwrap_or(line));
    }

    pub(super) fn follow(
        &mut self,
        kind: Kind,
        framing: Framing,
        other_length: Option<u64>,
        sink: &mut impl Sink,
    ) {
        let rest = match framing {
            Framing::None => Rest::Length(0),
            Framing::Length(bytes) => Rest::Length(bytes),
            Framing::Chunked => Rest::Chunked(Chunked::default(), Other::of(other_length)),
            Framing::UntilClose => Rest::UntilClose,
            Framing::Tunnel => {
                finish(Body { kind, rest: Rest::Length(0), anomalies: Anomalies::NONE }, sink);
                return self.become_tunnel();
            }
        };
        self.continue_body(Body { kind, rest, anomalies: Anomalies::NONE }, sink);
    }

    pub(super) fn body<'a>(&mut self, data: &'a [u8], mut body: Body, sink: &mut impl Sink) -> &'a [u8] {
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
                Step::Extension(data, rest) => {
                    self.state = State::Body(body);
                    body.extension(data, sink);
                    rest
                }
                Step::Done(rest) => {
                    body.rest = Rest::Length(0);
                    self.continue_body(body, sink);
                    rest
                }
                Step::Broken(rest) => {
                    // A server that delimits the body otherwise takes the rest for its content.
                    if let Some(left) = other.left().filter(|&left| left > 0) {
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
    pub(super) fn continue_body(&mut self, body: Body, sink: &mut impl Sink) {
        if matches!(body.rest, Rest::Length(0)) {
            self.state = State::Start;
            finish(body, sink);
        } else {
            self.state = State::Body(body);
        }
    }

    pub(super) fn lose(&mut self, body: Body, sink: &mut impl Sink) {
        finish(body, sink);
        self.become_lost(sink);
    }
}
