//! A request as printable text for people.

use super::{RequestSummary, SUMMARY_LEN};
use crate::detect::redact;
use crate::facts::protocol;
use crate::finding::printable;
use crate::http::message::Request;

impl RequestSummary {
    /// The summary of a request.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let header = |name: &str| text(request.header(name).unwrap_or_default());
        Self {
            method: text(request.method()),
            host: header("host"),
            target: redact::target(request.target()),
            protocol: protocol(request.version),
            user_agent: header("user-agent"),
            referer: redact::target(request.header("referer").unwrap_or_default()),
            content_type: header("content-type"),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    printable(bytes, SUMMARY_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::parse_request;

    #[test]
    fn a_summary_has_the_request_line_and_headers() {
        let mut request = Request::default();
        parse_request(b"GET /a?password=x HTTP/1.1\r\nHost: h\r\nUser-Agent: \x1bu\r\n\r\n", &mut request);
        let summary = RequestSummary::of(&request);
        assert_eq!(
            (&*summary.target, &*summary.host, &*summary.user_agent),
            ("/a?password=[redacted]", "h", r"\x1bu")
        );
        assert_eq!((&*summary.protocol, &*summary.referer), ("HTTP/1.1", ""));
    }
}
