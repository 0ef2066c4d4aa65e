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
    /// Bytes that the span is long.
    const fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

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

    /// The target up to the first `?`, without scheme and authority: servers route a target in absolute form by its path too (RFC 9112 section
    /// 3.2.2).
    #[must_use]
    pub fn path(&self) -> &[u8] {
        let target = split_target(self.target()).0;
        target.get(authority_end(target)..).unwrap_or_default()
    }

    /// Where the path begins within the target.
    #[must_use]
    pub fn path_start(&self) -> usize {
        authority_end(split_target(self.target()).0)
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
        first_named(&self.head, &self.headers, name.as_bytes())
    }

    /// Values of the headers of this name, compared without case.
    pub(super) fn all_named(&self, name: &[u8]) -> impl Iterator<Item = &[u8]> {
        all_named(&self.head, &self.headers, name)
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
        first_named(&self.head, &self.headers, name.as_bytes())
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

fn first_named<'a>(head: &'a [u8], headers: &[HeaderSpan], name: &[u8]) -> Option<&'a [u8]> {
    all_named(head, headers, name).next()
}

/// Most names are told apart by their length: the head is not touched for them.
fn all_named<'a>(head: &'a [u8], headers: &[HeaderSpan], name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let is = |header: &&HeaderSpan| {
        header.name.len() == name.len() && header.name.of(head).eq_ignore_ascii_case(name)
    };
    headers.iter().filter(is).map(|header| header.value.of(head))
}

/// Behind `scheme://authority`, or at the start.
fn authority_end(target: &[u8]) -> usize {
    if matches!(target.first(), Some(b'/') | None) {
        return 0;
    }
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let scheme =
        memchr::memmem::find(target, b"://").filter(|&at| at > 0 && target[..at].iter().all(is_scheme));
    let Some(authority) = scheme.map(|at| at + 3) else { return 0 };
    memchr::memchr(b'/', &target[authority..]).map_or(target.len(), |at| authority + at)
}

fn split_target(target: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_of_targets() {
        for (target, path, query) in [
            ("/a/b?c=d?e", "/a/b", "c=d?e"),
            ("/a?u=http://h/x", "/a", "u=http://h/x"),
            ("http://h/a/b?c", "/a/b", "c"),
            ("HTTPS://u@h:80/a", "/a", ""),
            ("http://h?a=/b", "", "a=/b"),
            ("http://h", "", ""),
            ("http:///a", "/a", ""),
            ("://h/a", "://h/a", ""),
            ("a b://h/a", "a b://h/a", ""),
            ("*", "*", ""),
            ("h:443", "h:443", ""),
            ("", "", ""),
        ] {
            let target_at = Span { start: 0, end: target.len() as u32 };
            let request =
                Request { head: target.as_bytes().to_vec(), target: target_at, ..Request::default() };
            let got = [request.path(), request.query()].map(String::from_utf8_lossy);
            assert_eq!(got, [path, query], "{target}");
            assert!(target[request.path_start()..].starts_with(path));
        }
    }
}
