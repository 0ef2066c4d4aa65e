//! Requests inside bodies. A server that takes no body on a GET, or ends a body earlier than the sensor, reads what
//! follows as the next request; so whatever looks like one is inspected as one.

use memchr::memmem::Finder;
use memchr::{memchr, memrchr};

use super::start::{self, Start};

/// Most requests of one body that are looked at, though all are found.
pub const MAX_EMBEDDED: usize = 8;
/// Longest request line that is recognised.
const MAX_LINE: usize = 8 * 1024;

/// The requests that stand in `body`, each up to the next one.
pub fn find(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let finder = Finder::new(b" HTTP/1.");
    let mut at = 0;
    let mut starts = std::iter::from_fn(move || {
        loop {
            let version = at + finder.find(body.get(at..)?)?;
            let line_end = memchr(b'\n', &body[version..]).map_or(body.len(), |length| version + length);
            let from = at.max(version.saturating_sub(MAX_LINE));
            let line_start = memrchr(b'\n', &body[from..version]).map_or(from, |newline| from + newline + 1);
            at = line_end;
            if start::strict(&body[line_start..line_end]) == Start::Request {
                return Some(line_start);
            }
        }
    })
    .peekable();
    std::iter::from_fn(move || {
        let start = starts.next()?;
        let end = starts.peek().copied().unwrap_or(body.len());
        Some(&body[start..end])
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(body: &str, expected: &[&str]) {
        let found: Vec<_> = find(body.as_bytes()).map(String::from_utf8_lossy).collect();
        assert_eq!(found, expected, "{body:?}");
    }

    /// Case H20.
    #[test]
    fn requests_in_bodies() {
        check("GET /x HTTP/1.1\r\nHost: h\r\n\r\n", &["GET /x HTTP/1.1\r\nHost: h\r\n\r\n"]);
        check("0\r\n\r\nGET /x HTTP/1.1\nA: b", &["GET /x HTTP/1.1\nA: b"]);
        check(
            "a\nGET /1 HTTP/1.0\n\nPOST /2 HTTP/1.1\n\nb",
            &["GET /1 HTTP/1.0\n\n", "POST /2 HTTP/1.1\n\nb"],
        );
        check("10.0.0.1 - \"GET / HTTP/1.1\" 200\nread about GET / HTTP/1.1 here\n", &[]);
        check("HTTP/1.1 200 OK\n HTTP/1.1\n", &[]);
    }

    proptest! {
        #[test]
        fn any_bytes_end(body in proptest::collection::vec(proptest::sample::select(b"GET / HTP1.\n\r".to_vec()), 0..200)) {
            prop_assert!(find(&body).count() <= body.len());
        }
    }
}
