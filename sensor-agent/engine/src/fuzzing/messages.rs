//! HTTP/1, HTTP/2 and WebSocket: whatever comes in, and however it is cut, the messages are the same.

use super::{choice, pieces};
use crate::http::anomaly::Anomalies;
use crate::http::framing::{Asked, Framing};
use crate::http::http2::PREFACE;
use crate::http::http2::frame::{self, Control, Frames};
use crate::http::http2::hpack::FieldList;
use crate::http::http2::message;
use crate::http::message::{Request, Response};
use crate::http::reader::{Reader, Scratch, Sink};
use crate::http::websocket::{Messages, WebSocket, looks_like_messages};

/// Longest head that the readers here keep.
const MAX_HEAD: usize = 512;

/// Messages as lines, bodies put together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Log {
    lines: Vec<String>,
    body: Vec<u8>,
    asked: Asked,
    lost: bool,
}

impl Log {
    fn end(&mut self, anomalies: Anomalies) {
        let body = std::mem::take(&mut self.body);
        self.lines.push(format!("end {} {anomalies:?}", body.escape_ascii()));
    }
}

impl Sink for Log {
    fn request(&mut self, request: &mut Request, framing: Framing) {
        check_spans(
            request.head.len(),
            request.headers().map(|(name, value)| name.len() + value.len()).sum(),
        );
        let target = request.target().escape_ascii();
        self.lines.push(format!(
            "{} {target} {framing:?} {:?}",
            request.method().escape_ascii(),
            request.anomalies
        ));
    }

    fn asked(&mut self, _: u16) -> Asked {
        self.asked
    }

    fn response(&mut self, response: &mut Response, framing: Framing) {
        assert!(response.status < 1000);
        self.lines.push(format!("{} {framing:?} {:?}", response.status, response.anomalies));
    }

    fn request_body(&mut self, data: &[u8]) {
        self.body.extend_from_slice(data);
    }

    fn response_body(&mut self, data: &[u8]) {
        self.body.extend_from_slice(data);
    }

    fn request_trailer(&mut self, data: &[u8]) {
        self.body.extend_from_slice(data);
    }

    fn request_end(&mut self, anomalies: Anomalies) {
        self.end(anomalies);
    }

    fn response_end(&mut self, anomalies: Anomalies) {
        self.end(anomalies);
    }

    fn joined_http2(&mut self) {
        self.lost = true;
    }

    fn lost(&mut self) {
        self.lost = true;
    }
}

/// A name and a value are parts of the head, and lines do not overlap.
fn check_spans(head: usize, named: usize) {
    assert!(named <= head);
}

fn read<'a>(asked: Asked, arriving: impl Iterator<Item = &'a [u8]>) -> Log {
    let (mut reader, mut scratch) = (Reader::new(true, MAX_HEAD), Scratch::default());
    let mut log = Log { asked, ..Log::default() };
    for piece in arriving {
        reader.data(piece, &mut scratch, &mut log);
        assert!(reader.memory() < 1 << 20);
    }
    reader.end(&mut scratch, &mut log);
    log
}

/// What of a direction a cut may change: where the place is lost, a line may start with a segment; and a PROXY protocol header is not
/// looked for across segments.
fn depends_on_cuts(log: &Log, data: &[u8]) -> bool {
    log.lost
        || memchr::memmem::find(data, b"PROXY ").is_some()
        || memchr::memmem::find(data, b"QUIT\n").is_some()
}

fn any_cut_gives_the_same(data: &[u8], asked: Asked, prefix: &[u8]) {
    let (seed, data) = choice(data, 256);
    let wire = [prefix, data].concat();
    let whole = read(asked, std::iter::once(&wire[..]));
    let split = read(asked, pieces(&wire, seed as u8));
    if !depends_on_cuts(&whole, &wire) && !depends_on_cuts(&split, &wire) {
        assert_eq!(whole, split, "{}", wire.escape_ascii());
    }
    // Bytes that went by unseen end nothing but the message.
    let (mut reader, mut scratch, mut log) =
        (Reader::new(false, MAX_HEAD), Scratch::default(), Log::default());
    for piece in pieces(data, seed as u8) {
        reader.data(piece, &mut scratch, &mut log);
        reader.gap(piece.len() as u64, &mut scratch, &mut log);
    }
    reader.end(&mut scratch, &mut log);
}

/// A direction with requests.
pub(super) fn request(data: &[u8]) {
    const PREFIXES: [&[u8]; 4] = [
        b"",
        b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\n",
    ];
    let (prefix, data) = choice(data, PREFIXES.len());
    any_cut_gives_the_same(data, Asked::Other, PREFIXES[prefix]);
}

/// A direction with responses.
pub(super) fn response(data: &[u8]) {
    const ASKED: [Asked; 4] = [Asked::Other, Asked::Head, Asked::Connect, Asked::Nothing];
    const PREFIXES: [&[u8]; 3] =
        [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"];
    let (asked, data) = choice(data, ASKED.len());
    let (prefix, data) = choice(data, PREFIXES.len());
    any_cut_gives_the_same(data, ASKED[asked], PREFIXES[prefix]);
}

/// Frames as lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    lines: Vec<String>,
    bytes: usize,
    last: Option<u32>,
}

impl Frames for Seen {
    fn fields(&mut self, stream: u32, list: &FieldList, end: bool) {
        let (mut request, mut response) = (Request::default(), Response::default());
        message::request(list, &mut request);
        message::response(list, &mut response);
        let mut trailer = Vec::new();
        message::trailers(list, &mut trailer);
        self.last = None;
        self.lines.push(format!("{stream} {end} {} {:?}", request.head.escape_ascii(), request.anomalies));
    }

    fn data(&mut self, stream: u32, data: &[u8]) {
        if self.last != Some(stream) && !data.is_empty() {
            self.lines.push(format!("data {stream}"));
            self.last = Some(stream);
        }
        self.bytes += data.len();
    }

    fn end(&mut self, stream: u32) {
        self.last = None;
        self.lines.push(format!("end {stream}"));
    }

    fn control(&mut self, stream: u32, control: Control) {
        self.lines.push(format!("{control:?} {stream}"));
    }
}

/// The frames of one end.
pub(super) fn http2(data: &[u8]) {
    let (seed, data) = choice(data, 256);
    let preface: &'static [u8] = if seed % 4 < 2 { PREFACE } else { b"" };
    let read = |arriving: &mut dyn Iterator<Item = &[u8]>| {
        let (mut reader, mut seen) = (frame::Reader::new(preface), Seen::default());
        let mut outcome = reader.data(preface, &mut seen);
        for piece in arriving {
            if outcome.is_ok() {
                outcome = reader.data(piece, &mut seen);
            }
            assert!(reader.memory() < 1 << 20);
        }
        (outcome, seen)
    };
    assert_eq!(read(&mut std::iter::once(data)), read(&mut pieces(data, seed as u8)));
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Talk {
    messages: Vec<(Vec<u8>, bool)>,
    uninspected: u64,
}

impl Messages for Talk {
    fn message(&mut self, data: &[u8], is_text: bool) {
        self.messages.push((data.to_vec(), is_text));
    }

    fn uninspected(&mut self, bytes: u64) {
        self.uninspected += bytes;
    }
}

/// The client's side of a WebSocket connection.
pub(super) fn websocket(data: &[u8]) {
    const MOST: usize = 4096;
    const EXTENSIONS: [&[u8]; 3] =
        [b"", b"permessage-deflate", b"permessage-deflate; client_no_context_takeover"];
    let (extension, data) = choice(data, EXTENSIONS.len());
    let (seed, data) = choice(data, 256);
    let read = |arriving: &mut dyn Iterator<Item = &[u8]>| {
        let (mut reader, mut talk) = (WebSocket::new(EXTENSIONS[extension], MOST), Talk::default());
        arriving.for_each(|piece| assert!(reader.data(piece, &mut talk)));
        reader.end(&mut talk);
        assert!(talk.messages.iter().all(|(message, _)| message.len() <= MOST + 4));
        talk
    };
    assert_eq!(read(&mut std::iter::once(data)), read(&mut pieces(data, seed as u8)));
    // Joined in the middle, what is no WebSocket is told at the first frame that shows it.
    let (mut reader, mut talk) = (WebSocket::joined(MOST), Talk::default());
    let went_on = pieces(data, seed as u8).all(|piece| reader.data(piece, &mut talk));
    assert!(went_on || !looks_like_messages(data));
}
