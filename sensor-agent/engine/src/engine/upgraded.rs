//! What a connection becomes after HTTP/1: WebSocket after a 101, HTTP/2 after its preface or an Upgrade, or a tunnel that
//! nobody looks into. Messages and streams go the way of requests and their bodies.

use std::collections::VecDeque;

use super::answers::{Answer, Awaited};
use super::bodies::Context;
use super::exchange::{Exchange, OpenRequest};
use super::flood::Flood;
use super::inspect::Inspector;
use super::settings::Settings;
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::framing::{Asked, Framing};
use crate::http::http2::frame::{Control, Frames, NotHttp2, Reader};
use crate::http::http2::hpack::FieldList;
use crate::http::http2::{PREFACE, PREFACE_REST, message};
use crate::http::message::{Request, Response};
use crate::http::oddity;
use crate::http::reader::Sink;
use crate::http::websocket::{Messages, WebSocket};

/// A request that asked for another protocol, and its number.
pub(super) type Asking = Box<(Request, u64)>;

/// What a connection has become.
#[derive(Debug)]
pub(super) enum Upgraded {
    WebSocket(Box<Talk>),
    Http2(Box<Multiplex>),
}

/// The client's side of a WebSocket connection.
#[derive(Debug)]
pub(super) struct Talk {
    asking: Asking,
    reader: WebSocket,
}

/// An HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Multiplex {
    readers: [Reader; 2],
    streams: Vec<Stream>,
    answers: Answers,
    request: Request,
    response: Response,
    opening: Opening,
}

/// What a client does with the streams that it opens.
#[derive(Debug, Default)]
struct Opening {
    /// Number of the last one.
    last: u32,
    flood: Flood,
}

/// Which responses belong to which requests.
#[derive(Debug, Default)]
struct Answers {
    /// Streams whose response is to come, and the numbers of their requests.
    numbers: VecDeque<(u32, u64)>,
    /// Responses that are looked into, by stream.
    open: Vec<(u32, Box<Answer>)>,
}

#[derive(Debug)]
struct Stream {
    id: u32,
    open: Box<OpenRequest>,
    length: u64,
}

impl Upgraded {
    /// What the server's 101 makes of the connection; `None` if nobody looks into it.
    pub(super) fn accepted(
        response: &Response,
        exchange: &mut Exchange,
        settings: &Settings,
    ) -> Option<Self> {
        let asking = exchange.asking.take()?;
        let number = asking.1;
        let upgrade = response.header("upgrade")?;
        if upgrade.eq_ignore_ascii_case(b"websocket") {
            let extensions = response.header("sec-websocket-extensions").unwrap_or_default();
            let reader = WebSocket::new(extensions, settings.max_body_bytes);
            return Some(Self::WebSocket(Box::new(Talk { asking, reader })));
        }
        let client = exchange.client?.index();
        if !upgrade.eq_ignore_ascii_case(b"h2c") {
            return None;
        }
        // The request that asked is the first stream; its response comes there (RFC 7540 section 3.2).
        const FIRST: u32 = 1;
        let kept = exchange.answer.take().map(|answer| answer.open);
        exchange.asked.push_front(Awaited { asked: Asked::Other, number, kept });
        let mut upgraded = Self::http2(client, PREFACE);
        if let Self::Http2(multiplex) = &mut upgraded {
            multiplex.opening.last = FIRST;
            multiplex.answers.numbers.push_back((FIRST, number));
        }
        Some(upgraded)
    }

    /// WebSocket in its middle: nobody has seen what was asked and agreed to.
    pub(super) fn joined_websocket(number: u64, settings: &Settings) -> Self {
        let mut request = Request::default();
        request.anomalies.insert(Anomaly::WebSocketUndecoded);
        let reader = WebSocket::joined(settings.max_body_bytes);
        Self::WebSocket(Box::new(Talk { asking: Box::new((request, number)), reader }))
    }

    /// HTTP/2 behind the head of the client's preface.
    pub(super) fn prior_knowledge(client: usize) -> Self {
        Self::http2(client, PREFACE_REST)
    }

    /// HTTP/2 in its middle.
    pub(super) fn joined() -> Self {
        Self::http2(0, b"")
    }

    fn http2(client: usize, preface: &'static [u8]) -> Self {
        let mut readers = [Reader::new(b""), Reader::new(b"")];
        readers[client] = Reader::new(preface);
        let (request, response, opening) = Default::default();
        let (streams, answers) = Default::default();
        Self::Http2(Box::new(Multiplex { readers, streams, answers, request, response, opening }))
    }

    pub(super) fn memory(&self) -> usize {
        match self {
            Self::WebSocket(talk) => talk.reader.memory() + talk.asking.0.head.capacity(),
            Self::Http2(multiplex) => {
                let readers: usize = multiplex.readers.iter().map(Reader::memory).sum();
                let answers: usize = multiplex.answers.open.iter().map(|(_, answer)| answer.memory()).sum();
                let numbers = multiplex.answers.numbers.capacity() * size_of::<(u32, u64)>();
                let streams: usize = multiplex.streams.iter().map(|stream| stream.open.memory()).sum();
                readers + streams + answers + numbers
            }
        }
    }

    /// Takes bytes of one end; false if the connection is HTTP/1 after all.
    pub(super) fn data(&mut self, data: &[u8], inspector: &mut Inspector<'_>) -> bool {
        match self {
            Self::WebSocket(talk) => {
                let Talk { asking, reader } = &mut **talk;
                !inspector.is_client() || reader.data(data, &mut Listener { asking, inspector })
            }
            Self::Http2(multiplex) => {
                let side = inspector.from.index();
                let Multiplex { readers, streams, answers, request, response, opening } = &mut **multiplex;
                let mut sink = Streams { inspector, streams, answers, request, response, opening };
                readers[side].data(data, &mut sink) != Err(NotHttp2)
            }
        }
    }

    /// Lets bytes go by unseen; false if the place is lost.
    pub(super) fn gap(&mut self, bytes: u64, inspector: &Inspector<'_>) -> bool {
        match self {
            Self::WebSocket(talk) => !inspector.is_client() || talk.reader.gap(bytes),
            Self::Http2(multiplex) => multiplex.readers[inspector.from.index()].gap(bytes),
        }
    }

    /// Inspects what is incomplete, as far as it came.
    pub(super) fn end(&mut self, inspector: &mut Inspector<'_>) {
        match self {
            Self::WebSocket(talk) => {
                let Talk { asking, reader } = &mut **talk;
                reader.end(&mut Listener { asking, inspector });
            }
            Self::Http2(multiplex) => {
                for stream in std::mem::take(&mut multiplex.streams) {
                    finish(stream, Anomaly::Incomplete, inspector);
                }
                for (_, answer) in std::mem::take(&mut multiplex.answers.open) {
                    inspector.exchange.answer = Some(answer);
                    inspector.end_answer();
                }
            }
        }
    }
}

struct Listener<'a, 'b> {
    asking: &'a mut Asking,
    inspector: &'a mut Inspector<'b>,
}

impl Messages for Listener<'_, '_> {
    fn message(&mut self, data: &[u8], is_text: bool) {
        let Inspector { worker, exchange, settings, time, .. } = &mut *self.inspector;
        worker.counters.websocket_messages += 1;
        if is_text || std::str::from_utf8(data).is_ok() {
            let mut context = Context { exchange, settings, time: *time };
            worker.inspect_message(&self.asking.0, self.asking.1, data, &mut context);
        }
    }

    fn uninspected(&mut self, bytes: u64) {
        self.inspector.worker.counters.websocket_uninspected_bytes += bytes;
    }

    fn odd(&mut self, anomaly: Anomaly) {
        let is_new = self.asking.0.anomalies.insert(anomaly);
        self.inspector.worker.counters.anomalies += u64::from(is_new);
    }
}

/// Listens to the frames of one direction.
struct Streams<'a, 'b> {
    inspector: &'a mut Inspector<'b>,
    streams: &'a mut Vec<Stream>,
    answers: &'a mut Answers,
    request: &'a mut Request,
    response: &'a mut Response,
    opening: &'a mut Opening,
}

impl Streams<'_, '_> {
    fn take(&mut self, id: u32) -> Option<Stream> {
        let at = self.streams.iter().position(|stream| stream.id == id)?;
        Some(self.streams.remove(at))
    }

    /// Whether a client may open a stream of this number now (RFC 9113 section 5.1.1).
    fn opens_stream(&mut self, id: u32) -> bool {
        let last = std::mem::replace(&mut self.opening.last, id);
        id % 2 == 1 && id > last
    }

    /// The client sends little but frames that are work. It is said of the last request that was read, if there was any.
    fn report_flood(&mut self) {
        let Inspector { worker, exchange, settings, time, .. } = &mut *self.inspector;
        worker.counters.http2_floods += 1;
        let mut request = self.request.clone();
        request.anomalies = Anomalies::from_iter([Anomaly::Http2Flood]);
        let mut context = Context { exchange, settings, time: *time };
        worker.inspect_anomalies(&request, &mut context);
    }

    fn begin_request(&mut self, id: u32, list: &FieldList, end: bool) {
        let counters = &mut self.inspector.worker.counters;
        counters.http2_streams += 1;
        self.opening.flood.stream(self.inspector.time);
        message::request(list, self.request);
        let framing = if end { Framing::None } else { Framing::UntilClose };
        oddity::of_request(self.request, framing);
        let opens = self.opens_stream(id);
        self.request.anomalies.insert_if(!opens, Anomaly::StreamIdInvalid);
        self.inspector.request(self.request, framing);
        if self.answers.numbers.len() >= self.inspector.settings.max_pipelined {
            self.answers.numbers.pop_front();
        }
        self.answers.numbers.push_back((id, self.inspector.exchange.requests - 1));
        let Some(open) = self.inspector.exchange.open.take() else { return };
        if self.streams.len() >= self.inspector.settings.max_http2_streams {
            self.inspector.worker.counters.http2_stream_overflows += 1;
            let oldest = self.streams.remove(0);
            finish(oldest, Anomaly::Incomplete, self.inspector);
        }
        self.streams.push(Stream { id, open, length: 0 });
    }

    fn respond(&mut self, id: u32, list: &FieldList, end: bool) {
        if list.get(b":status").is_none() {
            let mut trailer = Vec::new();
            message::trailers(list, &mut trailer);
            self.answer(id, |inspector| inspector.answer_trailer(&trailer));
        } else {
            message::response(list, self.response);
            self.expect(id);
            self.inspector.response(self.response, Framing::None);
            if let Some(answer) = self.inspector.exchange.answer.take() {
                self.answers.open.push((id, answer));
            }
        }
        if end {
            self.end_answer(id);
        }
    }

    /// Pairs the response of a stream with its request: streams are answered in any order, and before their requests are over.
    fn expect(&mut self, id: u32) {
        let informs = (100..200).contains(&self.response.status);
        let place = self.answers.numbers.iter().position(|(stream, _)| *stream == id).filter(|_| !informs);
        let Some((_, number)) = place.and_then(|at| self.answers.numbers.remove(at)) else { return };
        let asked = &mut self.inspector.exchange.asked;
        let place = asked.iter().position(|awaited| awaited.number == number);
        let Some(awaited) = place.and_then(|at| asked.remove(at)) else { return };
        asked.push_front(awaited);
        let stream = self.take(id);
        let length = stream.as_ref().map_or(0, |stream| stream.length);
        self.inspector.exchange.open = stream.map(|stream| stream.open);
        self.inspector.asked(self.response.status);
        if let Some(open) = self.inspector.exchange.open.take() {
            self.streams.push(Stream { id, open, length });
        }
    }

    /// Goes on with the response of a stream.
    fn answer(&mut self, id: u32, step: impl FnOnce(&mut Inspector<'_>)) {
        let Some(at) = self.answers.open.iter().position(|(stream, _)| *stream == id) else { return };
        let (id, answer) = self.answers.open.swap_remove(at);
        self.inspector.exchange.answer = Some(answer);
        step(self.inspector);
        if let Some(answer) = self.inspector.exchange.answer.take() {
            self.answers.open.push((id, answer));
        }
    }

    fn end_answer(&mut self, id: u32) {
        self.answer(id, |inspector| inspector.end_answer());
    }
}

impl Frames for Streams<'_, '_> {
    fn fields(&mut self, id: u32, list: &FieldList, end: bool) {
        let undecoded = list.undecoded > 0 || list.broken;
        self.inspector.worker.counters.http2_undecoded_blocks += u64::from(undecoded);
        if list.get(b":status").is_some() || self.inspector.is_server() {
            return self.respond(id, list, end);
        }
        let Some(mut stream) = self.take(id) else { return self.begin_request(id, list, end) };
        let before = stream.open.trailer.len();
        if before < self.inspector.settings.max_trailer_bytes {
            message::trailers(list, &mut stream.open.trailer);
        }
        self.streams.push(stream);
        if end {
            self.end(id);
        }
    }

    fn data(&mut self, id: u32, data: &[u8]) {
        if self.inspector.is_server() {
            return self.answer(id, |inspector| inspector.answer_body(data));
        }
        if data.is_empty() {
            return;
        }
        let Some(at) = self.streams.iter().position(|stream| stream.id == id) else { return };
        let Stream { id, open, length } = self.streams.swap_remove(at);
        let length = length + data.len() as u64;
        self.inspector.exchange.open = Some(open);
        self.inspector.request_body(data);
        let Some(open) = self.inspector.exchange.open.take() else { return };
        self.streams.push(Stream { id, open, length });
        let last = self.streams.len() - 1;
        self.streams.swap(at, last);
    }

    fn end(&mut self, id: u32) {
        if self.inspector.is_server() {
            return self.end_answer(id);
        }
        let Some(stream) = self.take(id) else { return };
        let declared = stream.open.request.header("content-length");
        let declared = declared.and_then(|length| std::str::from_utf8(length).ok()?.parse::<u64>().ok());
        let differs = declared.is_some_and(|length| length != stream.length);
        let odd =
            if differs { Anomalies::from_iter([Anomaly::ContentLengthMismatch]) } else { Anomalies::NONE };
        finish_with(stream, odd, self.inspector);
    }

    fn control(&mut self, id: u32, control: Control) {
        let counters = &mut self.inspector.worker.counters;
        match control {
            Control::Reset => counters.http2_resets += 1,
            Control::Settings => counters.http2_settings += 1,
            Control::Ping => counters.http2_pings += 1,
            Control::Continuation => counters.http2_continuations += 1,
            Control::Other => {}
        }
        if control == Control::Reset {
            self.end_answer(id);
        }
        if control == Control::Reset
            && let Some(stream) = self.take(id)
        {
            let by_client = self.inspector.is_client();
            let why = if by_client { Anomaly::StreamReset } else { Anomaly::Incomplete };
            finish(stream, why, self.inspector);
        }
        let (time, settings) = (self.inspector.time, self.inspector.settings);
        if self.inspector.is_client() && self.opening.flood.frame(control, time, settings) {
            self.report_flood();
        }
    }
}

fn finish(stream: Stream, why: Anomaly, inspector: &mut Inspector<'_>) {
    finish_with(stream, Anomalies::from_iter([why]), inspector);
}

fn finish_with(stream: Stream, anomalies: Anomalies, inspector: &mut Inspector<'_>) {
    inspector.exchange.open = Some(stream.open);
    inspector.request_end(anomalies);
}
