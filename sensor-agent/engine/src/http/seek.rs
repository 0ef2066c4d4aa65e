//! Where the next message starts: heads that come in pieces, and the search for a message start behind what is none.

use memchr::memchr;

use super::anomaly::{Anomalies, Anomaly};
use super::client;
use super::head;
use super::http2::frame::looks_like_frames;
use super::pending::Kind;
use super::reader::{Reader, Scratch, Sink, State};
use super::start::{self, Start};
use super::websocket::looks_like_messages;

/// Longest line that may turn out to start a message while lost.
const MAX_LOST_LINE: usize = 16 * 1024;

impl Reader {
    /// At a place where a message must start.
    pub(super) fn start<'a>(
        &mut self,
        mut data: &'a [u8],
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) -> &'a [u8] {
        if self.buffer.is_empty() {
            if let Some(length) = proxy_header(data) {
                if let Some(client) = client::proxied(data.get(..length).unwrap_or(data)) {
                    sink.proxied(client);
                }
                self.state = State::Proxy(length);
                return data;
            }
            let lines = data.len();
            data = skip_empty_lines(data);
            if data.len() < lines {
                self.noted.insert(Anomaly::EmptyLineBefore);
            }
            let Some(line_end) = memchr(b'\n', data) else { return self.keep(data, scratch, sink) };
            let line = &data[..line_end];
            let simple = is_simple_request(line).then_some(line_end + 1);
            let Some(end) = simple.or_else(|| head::find_end(data, line_end)) else {
                return self.keep(data, scratch, sink);
            };
            if start::lenient(line) == Start::Neither {
                return self.refuse(data, sink);
            }
            if end <= self.max_head as usize {
                self.head(&data[..end], Anomalies::NONE, scratch, sink);
                return &data[end..];
            }
        }
        self.keep(data, scratch, sink)
    }

    pub(super) fn proxy_header<'a>(&mut self, data: &'a [u8], left: usize) -> &'a [u8] {
        let taken = left.min(data.len());
        self.state = if taken == left { State::Start } else { State::Proxy(left - taken) };
        &data[taken..]
    }

    /// Keeps an incomplete head, up to its limit.
    pub(super) fn keep<'a>(
        &mut self,
        data: &'a [u8],
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) -> &'a [u8] {
        let before = self.buffer.len();
        let taken = data.len().min((self.max_head as usize).saturating_sub(before));
        self.buffer.extend_from_slice(&data[..taken]);
        let line_seen = self.line_seen;
        let end = head::find_end(&self.buffer, self.scanned as usize);
        if !line_seen && !self.may_start_message() {
            let buffer = std::mem::take(&mut self.buffer);
            self.refuse(&buffer, sink);
            self.find_all(&buffer, scratch, sink);
            return &data[taken..];
        }
        let line_is_new = self.line_seen && !line_seen;
        let line_end = if line_is_new { memchr(b'\n', &self.buffer) } else { None };
        let simple = line_end.filter(|&at| is_simple_request(&self.buffer[..at])).map(|at| at + 1);
        if let Some(end) = simple.or(end) {
            let buffer = std::mem::take(&mut self.buffer);
            self.head(&buffer[..end], Anomalies::NONE, scratch, sink);
            self.give_back(buffer);
            return &data[end.saturating_sub(before)..];
        }
        self.scanned = self.buffer.len().saturating_sub(3) as u32;
        if taken < data.len() {
            self.cut_head(Anomaly::HeadTooLong, scratch, sink);
        }
        &data[taken..]
    }

    /// Looks at the first line of the buffer, if it is complete, else at its beginning.
    pub(super) fn may_start_message(&mut self) -> bool {
        match memchr(b'\n', self.buffer.get(self.scanned as usize..).unwrap_or_default()) {
            Some(_) => {
                self.line_seen = true;
                starts_message(&self.buffer)
            }
            None => start::is_plausible(&self.buffer),
        }
    }

    pub(super) fn refuse<'a>(&mut self, data: &'a [u8], sink: &mut impl Sink) -> &'a [u8] {
        self.noted.insert(Anomaly::NotHttp);
        if self.role.is_none() && starts_tls(data) {
            sink.encrypted();
        }
        self.become_lost(sink);
        self.state = State::Lost(true);
        data
    }

    /// Searches bytes that were kept as a head and turned out to be none.
    pub(super) fn find_all(&mut self, mut data: &[u8], scratch: &mut Scratch, sink: &mut impl Sink) {
        while let State::Lost(in_line) = self.state
            && !data.is_empty()
        {
            data = self.search(data, in_line, sink);
        }
        if !data.is_empty() {
            self.data(data, scratch, sink);
        }
    }

    pub(super) fn search<'a>(&mut self, data: &'a [u8], in_line: bool, sink: &mut impl Sink) -> &'a [u8] {
        let rest = self.find_start(data, in_line, sink);
        if matches!(self.state, State::Lost(_)) {
            sink.passed_over((data.len() - rest.len()) as u64);
        }
        rest
    }

    /// Anywhere in a stream: looks for a line that can only be a message's first. The start of `data` counts as the start
    /// of a line, because messages start where segments do.
    pub(super) fn find_start<'a>(
        &mut self,
        mut data: &'a [u8],
        in_line: bool,
        sink: &mut impl Sink,
    ) -> &'a [u8] {
        if self.role.is_none() && !in_line && self.buffer.is_empty() && looks_like_frames(data) {
            sink.joined_http2();
            self.become_tunnel();
            return data;
        }
        if self.role.is_none() && !in_line && self.buffer.is_empty() && looks_like_messages(data) {
            sink.joined_websocket();
            self.become_tunnel();
            return data;
        }
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
        self.scanned = kept as u32;
        if kept > 0 { &data[end + 1..] } else { data }
    }

    /// A page that shows requests is no reason to take a server for a client.
    pub(super) fn may_carry(&self, found: Start) -> bool {
        match self.role {
            Some(Kind::Request) => found == Start::Request,
            Some(Kind::Response) => found == Start::Response,
            None => true,
        }
    }

    pub(super) fn keep_line(&mut self, data: &[u8]) {
        if self.buffer.len() + data.len() <= MAX_LOST_LINE
            && (!self.buffer.is_empty() || start::is_plausible(data))
        {
            self.buffer.extend_from_slice(data);
        } else {
            self.forget();
        }
    }
}

fn starts_message(bytes: &[u8]) -> bool {
    let end = memchr(b'\n', bytes).unwrap_or(bytes.len());
    start::lenient(&bytes[..end]) != Start::Neither
}

/// Whether the line is a request without a version, which ends with it, as servers that still take HTTP/0.9 answer at once.
fn is_simple_request(line: &[u8]) -> bool {
    !start::has_version(line) && start::lenient(line) == Start::Request
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
    let end = data.starts_with(b"PROXY ").then(|| memchr(b'\n', data))?.filter(|&end| end < MAX_VERSION_1)?;
    (start::lenient(&data[..end]) == Start::Neither).then_some(end + 1)
}

/// Servers pass over empty lines before a request (RFC 9112 section 2.2).
fn skip_empty_lines(data: &[u8]) -> &[u8] {
    let start = data.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(data.len());
    &data[start..]
}

/// Whether a TLS handshake record begins here (RFC 8446 section 5.1).
fn starts_tls(data: &[u8]) -> bool {
    matches!(data, [0x16, 3, 0..=4, ..])
}
