//! Request and response heads. A head is kept as its wire bytes with spans into them; the value is reused for the
//! next message of the connection worker, so that parsing allocates nothing in steady state.

use super::anomaly::Anomalies;

/// Most headers kept of one message; more are an anomaly.
pub const MAX_HEADERS: usize = 128;

/// A range of bytes in a head: `start <= end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes of `head` that the span names; empty if it does not fit.
    #[must_use]
    pub fn of(self, head: &[u8]) -> &[u8] {
        head.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// A header line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderSpan {
    /// The name as written.
    pub name: Span,
    /// The value without white space around it.
    pub value: Span,
}

/// A request head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The wire bytes of the head, with the empty line.
    pub head: Vec<u8>,
    /// The method.
    pub method: Span,
    /// The request target.
    pub target: Span,
    /// Minor version: 0 or 1 of HTTP/1; 2 says HTTP/2.
    pub version: u8,
    /// Header lines in order.
    pub headers: Vec<HeaderSpan>,
    /// What is odd about the message.
    pub anomalies: Anomalies,
}

/// A response head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The wire bytes of the head, with the empty line.
    pub head: Vec<u8>,
    /// Status code.
    pub status: u16,
    /// Minor version: 0 or 1 of HTTP/1; 2 says HTTP/2.
    pub version: u8,
    /// Header lines in order.
    pub headers: Vec<HeaderSpan>,
    /// What is odd about the message.
    pub anomalies: Anomalies,
}

impl Request {
    /// The method; hostile bytes.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.method.of(&self.head)
    }

    /// The target as written; hostile bytes.
    #[must_use]
    pub fn target(&self) -> &[u8] {
        self.target.of(&self.head)
    }

    /// The target up to the first `?`.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        split_target(self.target()).0
    }

    /// What follows the first `?` of the target; empty if there is none.
    #[must_use]
    pub fn query(&self) -> &[u8] {
        split_target(self.target()).1
    }

    /// Header lines in order: name as written, value.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        named(&self.head, &self.headers)
    }

    /// Value of the first header of this name, compared without case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Makes the value empty and keeps its memory.
    pub fn clear(&mut self) {
        self.head.clear();
        self.headers.clear();
        (self.method, self.target, self.version) = (Span::default(), Span::default(), 0);
        self.anomalies = Anomalies::NONE;
    }
}

impl Response {
    /// Header lines in order: name as written, value.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        named(&self.head, &self.headers)
    }

    /// Value of the first header of this name, compared without case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Makes the value empty and keeps its memory.
    pub fn clear(&mut self) {
        self.head.clear();
        self.headers.clear();
        (self.status, self.version) = (0, 0);
        self.anomalies = Anomalies::NONE;
    }
}

fn named<'a>(
    head: &'a [u8],
    headers: &'a [HeaderSpan],
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone {
    headers.iter().map(|header| (header.name.of(head), header.value.of(head)))
}

fn split_target(target: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, &[]),
    }
}
