//! Responses that rules look at, through the engine.

use std::sync::Arc;

use super::content_tests::{gzip, packed};
use super::tests::{Dialog, GOOD};
use super::{Settings, Stats};
use crate::rule::{RuleSet, RuleSource};

/// A rule set with one rule that looks at these fields and matches nothing that is sent here.
fn rules(fields: &str) -> Arc<RuleSet> {
    let example = if fields.contains("status") { "response.status=999" } else { "needle-that-is-nowhere" };
    let text = format!(
        "[[rule]]\nid = \"r\"\ntitle = \"r\"\nclass = \"DATA_EXPOSURE\"\nseverity = \"high\"\nconfidence = 0.9\n\
         fields = [\"{fields}\"]\nshort_field = {}\npattern = '{}'\n[rule.examples]\nmatch = ['{example}']\nno_match = ['x']\n",
        fields.contains("status"),
        if fields.contains("status") { "^999$" } else { "needle-that-is-nowhere" },
    );
    Arc::new(RuleSet::compile(&[RuleSource { name: "r", text: &text }]).unwrap())
}

fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// A request and this response, in pieces; what was seen of the response, and the counters.
fn run(fields: &str, head: &str, body: &[u8], piece: usize) -> (Vec<String>, Stats) {
    let wire = [head.replace(r"\r\n", "\r\n").as_bytes(), body].concat();
    let parts: Vec<_> = wire.chunks(piece).map(|part| format!("<< {}", escape(part))).collect();
    let dialog = Dialog { rules: rules(fields), ..Dialog::default() };
    let (log, stats) = dialog.run(&format!(">> {GOOD}\n{}\n<< fin\n>> fin", parts.join("\n")));
    let of_response = |line: &String| line.starts_with("response ") || line.starts_with("REPORT");
    (log.into_iter().filter(of_response).collect(), stats)
}

/// What the body was read as.
#[track_caller]
fn check(head: &str, body: &[u8], expected: Option<&str>) {
    for piece in [1, 7, 60_000] {
        let (log, _) = run("response.body", head, body, piece);
        let read = log.first().and_then(|line| line.split("response.body=").nth(1));
        assert_eq!(read, expected, "{head} {piece}");
    }
}

const HTML: &str = r"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n";

#[test]
fn bodies_are_read_as_clients_do() {
    let page = b"<p>EVIL</p>";
    let sized = |more: &str, body: &[u8]| format!(r"{HTML}{more}Content-Length: {}\r\n\r\n", body.len());
    check(&sized("", page), page, Some("<p>EVIL</p>"));
    check(&sized(r"Content-Encoding: gzip\r\n", &gzip(page)), &gzip(page), Some("<p>EVIL</p>"));
    check(
        &sized(r"Content-Encoding: deflate\r\n", &packed(page, true)),
        &packed(page, true),
        Some("<p>EVIL</p>"),
    );
    check(&format!(r"{HTML}\r\n"), page, Some("<p>EVIL</p>"));
    let chunked = format!(r"{HTML}Transfer-Encoding: chunked\r\n\r\n");
    check(&chunked, b"5\r\n<p>EV\r\n6\r\nIL</p>\r\n0\r\n\r\n", Some("<p>EVIL</p>"));
    check(r"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 4\r\n\r\n", b"EVIL", None);
    check(r"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"EVIL", Some("EVIL"));
    check(r"HTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\n", b"EVIL", None);
}

/// Case H25.
#[test]
fn h25_odd_responses_are_read_as_a_lenient_client_would() {
    let page = b"<p>EVIL</p>";
    let chunks = b"b\r\n<p>EVIL</p>\r\n0\r\n\r\n";
    let read = Some("<p>EVIL</p>");
    check(&format!(r"{HTML}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"), chunks, read);
    check(r"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunks, read);
    check(&format!(r"{HTML}Content-Length: 11\r\nContent-Length: 20\r\n\r\n"), page, read);
    check(&format!(r"{HTML}Content-Encoding: gzip\r\n\r\n"), page, read);
    check(&format!(r"{HTML}Content-Encoding: zip, x\r\n\r\n"), page, read);
    let broken = &gzip(b"<p>EVIL</p>");
    check(&format!(r"{HTML}Content-Encoding: gzip\r\n\r\n"), &broken[..broken.len() - 9], read);
    check(&format!(r"{HTML}Content-Encoding:\tgzip \r\n\r\n").replace(r"\t", "\t"), &gzip(page), read);
    check(r"HTTP/1.1 200\r\n\r\n", page, read);
    check(r"http/1.1 200 ok\r\n\r\n", page, read);
    check(r"HTTP/1.1\t200\tOK\r\n\r\n".replace(r"\t", "\t").as_str(), page, read);
    check(r"HTTP/1.1 200 OK\n\n".replace(r"\n", "\n").as_str(), page, read);
    check(&format!(r"{HTML}Transfer-Encoding: xchunked\r\n\r\n"), chunks, read);
}

#[test]
fn what_a_rule_finds_in_a_response_is_reported_and_blocks_nobody() {
    let head = r"HTTP/1.1 500 Oh\r\nContent-Type: text/html\r\nX-A: b\r\nContent-Length: 4\r\n\r\n";
    let (log, stats) = run("response.body", head, b"EVIL", 100);
    let seen = "response body response.status=500 response.header.content-type=text/html response.header.x-a=b \
                response.header.content-length=4 response.body=EVIL";
    assert_eq!(log, [seen, "REPORT 0 response.body"]);
    assert_eq!((stats.named("responses_inspected"), stats.named("blocks")), (1, 0));
    let (log, stats) = run("response.status", head, b"EVIL", 100);
    assert!(log.len() == 1 && !log[0].contains("EVIL"), "{log:?}");
    assert_eq!(stats.named("response_body_bytes"), 0);
}

#[test]
fn without_a_rule_nothing_is_kept() {
    let script = format!(">> {GOOD}\n<< HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nEVIL");
    let (log, stats) = Dialog::default().run(&script);
    assert_eq!(log, ["GET /", "200"]);
    assert_eq!((stats.named("responses_inspected"), stats.named("flow_bytes") < 200), (0, true));
}

#[test]
fn the_head_of_a_large_body_is_inspected_and_the_rest_is_left_out() {
    let most = Settings::default().max_response_body_bytes;
    let body = [&b"EVIL"[..], &vec![b'x'; most * 2]].concat();
    let head = format!("{HTML}Content-Length: 99000000\\r\\n\\r\\n");
    let wire = [head.replace(r"\r\n", "\r\n").as_bytes(), &body].concat();
    let parts: Vec<_> = wire.chunks(20_000).map(|part| format!("<< {}", escape(part))).collect();
    let dialog = Dialog { rules: rules("response.body"), ..Dialog::default() };
    let (log, stats) = dialog.run(&format!(">> {GOOD}\n{}", parts.join("\n")));
    let reports = log.iter().filter(|line| line.starts_with("REPORT")).count();
    let skips = log.iter().position(|line| line.starts_with("SKIP"));
    let looked = log.iter().position(|line| line.starts_with("response "));
    assert_eq!((reports, looked < skips, stats.named("response_body_bytes")), (1, true, most as u64));
    assert!(looked.is_some() && stats.named("response_uninspected_bytes") > 0);
}

#[test]
fn bombs_in_responses_stop_at_the_limit() {
    let bomb = gzip(&vec![b'x'; 8 << 20]);
    let head = format!(r"{HTML}Content-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", bomb.len());
    let (log, _) = run("response.body", &head, &bomb, 20_000);
    assert!(log[0].len() < Settings::default().max_response_body_bytes + 1000);
}

#[test]
fn trailers_of_responses_are_headers() {
    let head = r"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (log, _) = run("response.header.x-t", head, b"1\r\na\r\n0\r\nX-T: EVIL\r\n\r\n", 100);
    assert_eq!(log.last().map(String::as_str), Some("REPORT 0 response.header.x-t"));
}

#[test]
fn pipelined_requests_keep_their_responses() {
    let script = format!(
        ">> {}{}\n<< HTTP/1.1 200 OK\\r\\nContent-Length: 1\\r\\n\\r\\naHTTP/1.1 404 No\\r\\nContent-Length: 4\\r\\n\\r\\nEVIL",
        GOOD.replace('/', "/1"),
        GOOD.replace('/', "/2"),
    );
    let dialog = Dialog { rules: rules("response.body"), ..Dialog::default() };
    let (log, _) = dialog.run(&script);
    assert_eq!(log.last().map(String::as_str), Some("REPORT 1 response.body"));
}

#[test]
fn an_early_response_finds_its_request() {
    let script = r">> POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc
        << HTTP/1.1 413 No\r\nContent-Length: 4\r\n\r\nEVIL";
    let dialog = Dialog { rules: rules("response.body"), ..Dialog::default() };
    assert_eq!(dialog.run(script).0.last().map(String::as_str), Some("REPORT 0 response.body"));
}

#[test]
fn what_a_response_exposes_is_reported_if_that_is_wanted_and_blocks_nobody() {
    let script =
        format!(">> {GOOD}\n<< HTTP/1.1 200 OK\\r\\nContent-Length: 24\\r\\n\\r\\ncard 4111 1111 1111 1111");
    for (wanted, expected) in [(true, 1), (false, 0)] {
        let settings = Settings { response_exposure: wanted, ..Settings::default() };
        let dialog = Dialog { settings, ..Dialog::default() };
        let (_, stats) = dialog.run(&script);
        assert_eq!((stats.named("responses_inspected"), stats.named("blocks")), (expected, 0));
    }
}
