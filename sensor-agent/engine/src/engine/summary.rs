//! A request as printable text for people.

use super::{RequestSummary, SUMMARY_LEN};
use crate::http::message::Request;

impl RequestSummary {
    /// The summary of a request.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let header = |name: &str| text(request.header(name).unwrap_or_default());
        Self {
            method: text(request.method()),
            host: header("host"),
            target: text(request.target()),
            protocol: format!("HTTP/1.{}", request.version),
            user_agent: header("user-agent"),
            referer: header("referer"),
            content_type: header("content-type"),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    printable(bytes, SUMMARY_LEN)
}

/// `bytes` with everything escaped that is not printable ASCII, in at most `max` characters.
fn printable(bytes: &[u8], max: usize) -> String {
    let mut text = String::with_capacity(bytes.len().min(max));
    for byte in bytes {
        let escaped = std::ascii::escape_default(*byte);
        let plain = matches!(byte, b'"' | b'\'' | b'\\');
        if text.len() + if plain { 1 } else { escaped.len() } > max {
            break;
        }
        if plain {
            text.push(char::from(*byte));
        } else {
            text.extend(escaped.map(char::from));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::parse_request;

    #[test]
    fn text_is_printable_and_short() {
        assert_eq!(printable(b"a'\"\\\x1b[31m\r\n\xff", 99), r#"a'"\\x1b[31m\r\n\xff"#);
        assert_eq!(printable(&[0; 10], 9), r"\x00\x00");
    }

    #[test]
    fn a_summary_has_the_request_line_and_headers() {
        let mut request = Request::default();
        parse_request(b"GET /a HTTP/1.1\r\nHost: h\r\nUser-Agent: u\r\n\r\n", &mut request);
        let summary = RequestSummary::of(&request);
        assert_eq!((&*summary.target, &*summary.host, &*summary.user_agent), ("/a", "h", "u"));
        assert_eq!((&*summary.protocol, &*summary.referer), ("HTTP/1.1", ""));
    }
}
