//! Dialogs of one direction as text in, events as text out.

use super::anomaly::{Anomalies, Anomaly};
use super::framing::{Asked, Framing};
use super::message::{Request, Response};
use super::reader::{Reader, Scratch, Sink};

#[derive(Debug, Default)]
struct Log {
    lines: Vec<String>,
    body: Vec<u8>,
    extensions: Vec<u8>,
    encrypted: bool,
    asked: Asked,
}

fn shown(anomalies: Anomalies) -> String {
    anomalies.iter().map(|anomaly| format!(" !{}", Anomaly::name(anomaly))).collect()
}

impl Log {
    fn end(&mut self, anomalies: Anomalies) {
        let body = std::mem::take(&mut self.body);
        self.lines.push(format!("end {}{}", body.escape_ascii(), shown(anomalies)).replace(" ;", ";"));
    }
}

impl Sink for Log {
    fn request(&mut self, request: &mut Request, framing: Framing) {
        let (method, target) = (request.method().escape_ascii(), request.target().escape_ascii());
        self.lines.push(format!("{method} {target} {framing:?}{}", shown(request.anomalies)));
    }

    fn asked(&mut self, _status: u16) -> Asked {
        self.asked
    }

    fn response(&mut self, response: &mut Response, framing: Framing) {
        self.lines.push(format!("{} {framing:?}{}", response.status, shown(response.anomalies)));
    }

    fn request_body(&mut self, data: &[u8]) {
        self.body.extend_from_slice(data);
    }

    fn request_extension(&mut self, data: &[u8]) {
        self.extensions.extend_from_slice(data);
    }

    fn other_reading(&mut self, request: &mut Request, body: &[u8]) {
        self.lines.push(format!("or {} {}", request.target().escape_ascii(), body.escape_ascii()));
    }

    fn encrypted(&mut self) {
        self.encrypted = true;
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

    fn lost(&mut self) {
        self.lines.push("lost".to_owned());
    }
}

/// Reads pieces; `None` is a gap of 10 bytes. The direction is ended at last.
fn read(at_start: bool, max_head: usize, asked: Asked, pieces: &[Option<&[u8]>]) -> Vec<String> {
    let (mut reader, mut scratch) = (Reader::new(at_start, max_head), Scratch::default());
    let mut log = Log { asked, ..Log::default() };
    for piece in pieces {
        match piece {
            Some(data) => reader.data(data, &mut scratch, &mut log),
            None => reader.gap(10, &mut scratch, &mut log),
        }
    }
    reader.end(&mut scratch, &mut log);
    log.lines
}

/// Reads `wire` whole, in two pieces at every cut, and in pieces of one byte; all must give the same.
#[track_caller]
fn check(wire: &str, expected: &[&str]) {
    let wire = wire.as_bytes();
    let whole = read(true, 1000, Asked::Other, &[Some(wire)]);
    assert_eq!(whole, expected, "{}", wire.escape_ascii());
    for cut in 0..wire.len() {
        let (left, right) = wire.split_at(cut);
        assert_eq!(read(true, 1000, Asked::Other, &[Some(left), Some(right)]), expected, "cut at {cut}");
    }
    let bytes: Vec<_> = wire.chunks(1).map(Some).collect();
    assert_eq!(read(true, 1000, Asked::Other, &bytes), expected, "byte by byte");
}

#[track_caller]
fn check_whole(wire: &str, expected: &[&str]) {
    assert_eq!(read(true, 1000, Asked::Other, &[Some(wire.as_bytes())]), expected, "{wire:?}");
}

/// As [`check`], with `~` for a gap of 10 bytes, at the pieces that the gaps make only.
#[track_caller]
fn check_gaps(at_start: bool, wire: &str, expected: &[&str]) {
    let mut pieces = Vec::new();
    for (number, piece) in wire.split('~').enumerate() {
        if number > 0 {
            pieces.push(None);
        }
        pieces.push(Some(piece.as_bytes()));
    }
    assert_eq!(read(at_start, 1000, Asked::Other, &pieces), expected, "{wire:?}");
}

#[test]
fn requests() {
    check("GET /a HTTP/1.1\r\nHost: h\r\n\r\n", &["GET /a None", "end "]);
    check("\r\n\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n", &["GET /a None !empty-line-before", "end "]);
    check("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", &["POST / Length(5)", "end hello"]);
    check(
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nT: x\r\n\r\n",
        &["POST / Chunked", r"end helloT: x\r\n"],
    );
}

/// HTTP/0.9, which some servers still take.
#[test]
fn a_request_without_a_version_ends_with_its_line() {
    check("GET /a?b\r\n", &["GET /a?b None !version-invalid", "end "]);
    check(
        "GET /a?b\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
        &["GET /a?b None !version-invalid", "end ", "GET /2 None !empty-line-before", "end "],
    );
}

#[test]
fn pipelined_requests() {
    check(
        "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nabGET /3 HTTP/1.0\r\n\r\n",
        &["GET /1 None", "end ", "POST /2 Length(2)", "end ab", "GET /3 None", "end "],
    );
}

#[test]
fn responses() {
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 204 No\r\n\r\n",
        &["200 Length(2)", "end ", "204 None", "end "],
    );
    check(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil the end",
        &["100 None", "end ", "200 UntilClose", "end "],
    );
    check(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nHTTP/1.1 304 N\r\n\r\n",
        &["200 Chunked", "end ", "304 None", "end "],
    );
    check("HTTP/1.1 101 Switching\r\n\r\nGET / HTTP/1.1\r\n\r\n", &["101 Tunnel", "end "]);
}

#[test]
fn what_was_asked_decides_about_the_body() {
    let wire = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
    let expected = ["200 None", "end ", "404 None", "end "];
    assert_eq!(read(true, 1000, Asked::Head, &[Some(wire)]), expected);
    let tunnel = b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(read(true, 1000, Asked::Connect, &[Some(tunnel)]), ["200 Tunnel", "end "]);
    let body = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(read(true, 1000, Asked::Connect, &[Some(body)]), ["200 Length(2)", "end "]);
}

#[test]
fn malformed_is_a_name_and_reading_goes_on() {
    check(
        "GET /a b HTTP/1.1\nHost: h\n\nGET /2 HTTP/1.0\r\n\r\n",
        &["GET /a b None !bare-lf !target-invalid", "end ", "GET /2 None", "end "],
    );
    check(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.0\r\n\r\n",
        &[
            "POST / Chunked !content-length-and-transfer-encoding",
            "end ",
            r"or / 0\r\n\r\n",
            "GET /x None",
            "end ",
        ],
    );
    check_whole(
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nGET /x HTTP/1.0\r\n\r\n",
        &[
            "POST / Chunked",
            r"end zz\r\nGET /x HTTP/1.0\r\n\r\n !chunk-size-invalid",
            "lost",
            "GET /x None",
            "end ",
        ],
    );
}

/// Case H1: what is no chunked coding is read by the other framing, at any split.
#[test]
fn a_body_under_two_framings() {
    check(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\nq=UNIONGET /x HTTP/1.0\r\n\r\n",
        &[
            "POST / Chunked !content-length-and-transfer-encoding",
            "end q=UNION !chunk-size-invalid",
            "GET /x None",
            "end ",
        ],
    );
}

#[test]
fn what_is_no_message_is_passed_over() {
    check(
        "\u{16}\u{3}\u{1}binary\nmore\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n",
        &["lost", "GET /x None !not-http", "end "],
    );
    check("{\"a\": 1}\r\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n", &["lost", "GET /x None !not-http", "end "]);
}

#[test]
fn incomplete_messages_come_as_far_as_they_came() {
    check("GET /attack HTTP/1.1\r\nHost: h", &["GET /attack None !incomplete", "end "]);
    check(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nhello",
        &["POST / Length(50)", "end hello !incomplete"],
    );
}

#[test]
fn proxy_headers_are_passed_over() {
    let get = "GET / HTTP/1.0\r\n\r\n";
    for header in ["PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "\r\n\r\n\0\r\nQUIT\n!\u{11}\0\u{5}addrs"] {
        let wire = format!("{header}{get}");
        assert_eq!(read(true, 1000, Asked::Other, &[Some(wire.as_bytes())]), ["GET / None", "end "]);
        let (left, right) = wire.as_bytes().split_at(header.len() - 1 + usize::from(header.starts_with('P')));
        assert_eq!(read(true, 1000, Asked::Other, &[Some(left), Some(right)]), ["GET / None", "end "]);
    }
}

#[test]
fn gaps() {
    let next = "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
    check_gaps(
        true,
        &format!("GET /1 HTTP/1.1\r\nX: ~y\r\n\r\n{next}"),
        &["GET /1 None !gap", "end ", "lost", "GET /2 None", "end "],
    );
    check_gaps(
        true,
        &format!("POST /1 HTTP/1.0\r\nContent-Length: 14\r\n\r\nab~cd{next}"),
        &["POST /1 Length(14)", "end abcd !gap", "GET /2 None", "end "],
    );
    check_gaps(
        true,
        &format!("POST /1 HTTP/1.0\r\nContent-Length: 11\r\n\r\nab~cd\r\n{next}"),
        &["POST /1 Length(11)", "end ab !gap", "lost", "GET /2 None", "end "],
    );
    check_gaps(true, &format!("~\nsecond half\r\n\r\n{next}"), &["lost", "GET /2 None", "end "]);
}

#[test]
fn in_the_middle_of_a_stream_only_a_sure_start_counts() {
    check_gaps(false, "x HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.0\r\n\r\n", &["GET /2 None", "end "]);
    check_gaps(false, "GET /half", &[]);
    check_gaps(false, "GET /2 HTTP/1.0\r\n\r\n", &["GET /2 None", "end "]);
    check_gaps(
        false,
        "more of a page\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        &["200 Length(0)", "end "],
    );
}

#[test]
fn a_head_that_is_too_long_is_inspected_and_passed_over() {
    let long = format!(
        "POST /a HTTP/1.0\r\nContent-Length: 2\r\nX: {}\r\n\r\nabGET /b HTTP/1.0\r\n\r\n",
        "y".repeat(2000)
    );
    let expected = ["POST /a Length(2) !head-too-long", "end ab", "GET /b None", "end "];
    for piece in [1, 7, 999, 1000, 1001, 5000] {
        let pieces: Vec<_> = long.as_bytes().chunks(piece).map(Some).collect();
        assert_eq!(read(true, 1000, Asked::Other, &pieces), expected, "in pieces of {piece}");
    }
}

/// What a head says about the body beyond what is kept of it counts.
#[test]
fn a_head_that_is_too_long_announces_its_body_to_the_end() {
    let chunked = "4\r\nab\r\n\r\n0\r\n\r\n";
    for (late, body, expected) in [
        ("Content-Length: 2\r\n", "ab", "end ab"),
        ("Content-Length: 2\n", "ab", "end ab"),
        ("transfer-encoding:chunked\r\n", chunked, r"end ab\r\n"),
        ("Content-Length: 9\r\nTransfer-Encoding: chunked\r\n", chunked, r"end ab\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 9\r\n", chunked, r"end ab\r\n"),
        ("Z: Content-Length: 2\r\n", "", "end "),
        ("", "", "end "),
    ] {
        for (filler, cut) in [(2000, false), (1000 - 22, true)] {
            let filler = format!("X: {}\r\n", "y".repeat(filler));
            let long = format!("POST /a HTTP/1.0\r\n{filler}{late}\r\n{body}GET /b HTTP/1.0\r\n\r\n");
            for piece in [1, 7, 999, 1000, 1001, 5000] {
                let pieces: Vec<_> = long.as_bytes().chunks(piece).map(Some).collect();
                let got = read(true, 1000, Asked::Other, &pieces);
                let (first, rest) = got.split_first().unwrap();
                assert!(first.starts_with("POST /a "), "{first}");
                assert_eq!(
                    rest,
                    [expected, "GET /b None", "end "],
                    "{late:?} cut: {cut} in pieces of {piece}"
                );
            }
        }
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    const WORDS: &[&str] = &[
        "GET ",
        "/a?b=c",
        " HTTP/1.1",
        "\r\n",
        "\n",
        "\r",
        "Host: h",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Content_Length: 9",
        "Transfer-Encoding: x",
        "HTTP/1.1 200 OK",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "\r\n\r\n",
        "\0",
        ";",
        "ffffffffffffffff",
        "x",
        " ",
        ":",
    ];

    proptest! {
        #[test]
        fn splits_change_nothing(
            words in proptest::collection::vec(0..WORDS.len(), 0..24),
            cuts in proptest::collection::vec(1usize..40, 1..12),
        ) {
            let wire: String = ["GET /"].into_iter().chain(words.into_iter().map(|word| WORDS[word])).collect();
            let whole = read(true, 1000, Asked::Other, &[Some(wire.as_bytes())]);
            let (mut pieces, mut rest) = (Vec::new(), wire.as_bytes());
            for cut in cuts {
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                pieces.push(Some(piece));
                rest = more;
            }
            pieces.push(Some(rest));
            let split = read(true, 1000, Asked::Other, &pieces);
            // Another reading of a request may be complete before or behind the message that follows it.
            let apart = |lines: &[String]| lines.iter().cloned().partition::<Vec<_>, _>(|line| line.starts_with("or "));
            prop_assert!(apart(&whole) == apart(&split) || whole.iter().any(|line| line == "lost"), "{wire:?}\n{whole:?}\n{split:?}");
        }

        #[test]
        fn any_bytes_are_read(
            pieces in proptest::collection::vec(proptest::option::weighted(0.9, proptest::collection::vec(any::<u8>(), 0..60)), 0..12),
            at_start in any::<bool>(),
        ) {
            let pieces: Vec<_> = pieces.iter().map(|piece| piece.as_deref()).collect();
            read(at_start, 100, Asked::Other, &pieces);
        }
    }
}
