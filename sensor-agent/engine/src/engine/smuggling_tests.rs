//! Framing and smuggling, cases H1 to H35: requests as text in, what is inspected and the oddities' names out.

use super::tests::Dialog;

/// One request line and headers of a POST, its bytes behind the head, and what is seen; `|` separates the lines of `seen`.
#[track_caller]
fn post(headers: &str, body: &str, seen: &str) {
    whole(&format!("POST / HTTP/1.1\\r\\nHost: h\\r\\n{headers}\\r\\n\\r\\n{body}"), seen);
}

/// All that a client sends, and what is seen once it is done.
#[track_caller]
fn whole(wire: &str, seen: &str) {
    let (log, _) = Dialog::default().run(&format!(">> {wire}\n>> fin"));
    assert_eq!(log.join(" | "), seen, "{wire}");
}

const ADMIN: &str = r"GET /admin HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn h1_both_framings_are_inspected() {
    let both = r"Content-Length: 5\r\nTransfer-Encoding: chunked";
    post(
        both,
        &format!(r"0\r\n\r\n{ADMIN}"),
        r"POST / !content-length-and-transfer-encoding | body  !content-length-and-transfer-encoding | body body.text=0\r\n\r\n !content-length-and-transfer-encoding | GET /admin",
    );
    post(
        r"Content-Length: 30\r\nTransfer-Encoding: xchunked",
        r"3\r\nq=E\r\n3\r\nVIL\r\n0\r\n\r\nabcdefghi",
        r"POST / !content-length-and-transfer-encoding !transfer-encoding-unknown | body body.text=3\r\nq=E\r\n3\r\nVIL\r\n0\r\n\r\nabcdefghi !content-length-and-transfer-encoding !transfer-encoding-unknown | body body.form.q=EVIL !content-length-and-transfer-encoding !transfer-encoding-unknown | BLOCK 10.0.0.9 SQL_INJECTION evil | REPORT 0 body.form.q",
    );
}

#[test]
fn h2_first_and_last_length_are_inspected() {
    post(
        r"Content-Length: 4\r\nContent-Length: 6",
        "q=EVIL",
        "POST / !content-length-conflict | body body.form.q=EV !content-length-conflict | body body.form.q=EVIL !content-length-conflict | BLOCK 10.0.0.9 SQL_INJECTION evil | REPORT 0 body.form.q",
    );
    let repeated = "POST / !content-length-repeated | body body.form.a=123 !content-length-repeated";
    post(r"Content-Length: 5\r\nContent-Length: 5", "a=123", repeated);
    post("Content-Length: 5, 5", "a=123", repeated);
}

#[test]
fn h3_lengths_that_are_no_plain_number() {
    let odd = "POST / !content-length-invalid";
    post("Content-Length: +5", "a=123", &format!("{odd} | body body.form.a=123 !content-length-invalid"));
    post("Content-Length: -0", "", odd);
    for (length, other) in [("0x5", "a=123"), ("1_0", "a=12345678"), ("010", "a=12345678"), ("1e1", "")] {
        let (log, _) = Dialog::default().run(&format!(
            ">> POST / HTTP/1.1\\r\\nHost: h\\r\\nContent-Length: {length}\\r\\n\\r\\na=1234567890\n>> fin"
        ));
        assert!(log[0].starts_with(odd), "{length} {log:?}");
        assert!(other.is_empty() || log.iter().any(|line| line.contains(&format!("{other} !"))), "{log:?}");
    }
}

#[test]
fn h4_an_empty_length() {
    post("Content-Length:", "", "POST / !content-length-invalid");
    post(
        r"Content-Length:\r\nContent-Length: 5",
        "a=123",
        "POST / !content-length-conflict !content-length-invalid | body body.form.a=123 !content-length-conflict !content-length-invalid",
    );
}

#[test]
fn h5_lengths_beyond_all_numbers() {
    for length in ["18446744073709551616", "9223372036854775808", &"9".repeat(99)] {
        let (log, stats) = Dialog::default().run(&format!(
            ">> POST / HTTP/1.1\\r\\nHost: h\\r\\nContent-Length: {length}\\r\\n\\r\\na=1\n>> fin"
        ));
        assert!(log[1].starts_with("body body.form.a=1 "), "{log:?}");
        assert!(stats.named("flow_bytes") < 100_000);
    }
}

#[test]
fn h6_lengths_with_more_behind() {
    for length in ["1Z", "5 GET", "5\\x0b", "5;"] {
        let (log, _) = Dialog::default()
            .run(&format!(">> POST / HTTP/1.1\\r\\nHost: h\\r\\nContent-Length: {length}\\r\\n\\r\\na=123"));
        assert!(log[0].contains("!content-length-invalid") || length.ends_with("x0b"), "{length} {log:?}");
    }
}

#[test]
fn h7_to_h10_transfer_codings_that_servers_read_differently() {
    for coding in [
        "xchunked",
        "blegh",
        "identity",
        "chunk",
        ",chunked",
        "chunked,",
        "",
        "chunked, gzip",
        "chunked;x=1",
        r"cow\r\nTransfer-Encoding: chunked",
        r"chunked\r\nTransfer-Encoding: chunked",
        r"\x0bchunked",
        r"\x0cchunked",
        r"\x85chunked",
        r"\xa0chunked",
        r"\xadchunked",
        r"chunked\xff",
        r#""chunked""#,
        r"chunked\r",
        r"'chunked'",
    ] {
        let (log, _) = Dialog::default().run(&format!(
            ">> POST / HTTP/1.1\\r\\nHost: h\\r\\nTransfer-Encoding: {coding}\\r\\n\\r\\n6\\r\\nq=EVIL\\r\\n0\\r\\n\\r\\n\n>> fin"
        ));
        assert!(
            log[0].contains("!transfer-encoding-unknown") || log[0].contains("!bare-cr"),
            "{coding} {log:?}"
        );
        assert!(log.iter().any(|line| line.starts_with("body body.form.q=EVIL")), "{coding} {log:?}");
    }
}

/// Gzip below the chunked coding is removed, whichever header names it.
#[test]
fn h8_compressed_transfer() {
    let packed = r"\x1f\x8b\x08\0\0\0\0\0\0\0\x01\x03\0\xfc\xffa=1\0\0\0\0\0\0\0\0";
    let wire = format!(r"1a\r\n{packed}\r\n0\r\n\r\n");
    let seen = "POST / | body body.form.a=1";
    post("Transfer-Encoding: gzip, chunked", &wire, seen);
    post(r"Transfer-Encoding: chunked\r\nContent-Encoding: gzip", &wire, seen);
}

#[test]
fn h11_names_that_nearly_are_framing_headers() {
    for line in [
        "Transfer-Encoding : chunked",
        "Transfer_Encoding: chunked",
        "Transfer Encoding: chunked",
        r"Transfer-Encoding\x85: chunked",
        "Transfer.Encoding: chunked",
    ] {
        let (log, _) = Dialog::default().run(&format!(
            ">> POST / HTTP/1.1\\r\\nHost: h\\r\\n{line}\\r\\n\\r\\n3\\r\\nq=E\\r\\n3\\r\\nVIL\\r\\n0\\r\\n\\r\\n\n>> fin"
        ));
        assert!(log[0].contains("!framing-name-near-miss"), "{line} {log:?}");
        assert!(log.iter().any(|line| line.starts_with("body body.form.q=EVIL")), "{line} {log:?}");
    }
    for line in ["Content_Length: 6", r"Content-Length\x85: 6", "Content Length: 6"] {
        let (log, _) =
            Dialog::default().run(&format!(">> POST / HTTP/1.1\\r\\nHost: h\\r\\n{line}\\r\\n\\r\\nq=EVIL"));
        assert!(log[0].contains("!framing-name-near-miss"), "{line} {log:?}");
        assert!(log.iter().any(|line| line.starts_with("body body.form.q=EVIL")), "{line} {log:?}");
    }
}

#[test]
fn h12_folded_framing_headers() {
    post(
        r"Transfer-Encoding:\r\n chunked",
        r"3\r\na=1\r\n0\r\n\r\n",
        "POST / !obs-fold | body body.form.a=1 !obs-fold",
    );
    post(
        r"X: y\r\n Content-Length: 6",
        "q=EVIL",
        "POST / !obs-fold !framing-header-hidden | body body.form.q=EVIL !obs-fold !framing-header-hidden | BLOCK 10.0.0.9 SQL_INJECTION evil | REPORT 0 body.form.q",
    );
    whole(
        r"GET / HTTP/1.1\r\nHost: h\r\nTransfer-\r\nEncoding: chunked\r\n\r\n",
        "GET / !framing-name-near-miss !header-without-colon",
    );
}

#[test]
fn h13_line_ends_of_one_byte() {
    whole(r"GET /a HTTP/1.1\nHost: h\n\n", "GET /a !bare-lf");
    post(
        r"X: y\rContent-Length: 6",
        "q=EVIL",
        "POST / !bare-cr !framing-header-hidden | body body.form.q=EVIL !bare-cr !framing-header-hidden | BLOCK 10.0.0.9 SQL_INJECTION evil | REPORT 0 body.form.q",
    );
    whole(r"GET / HTTP/1.1\r\nHost: h\r\nX\rY: z\r\n\r\n", "GET / !bare-cr !header-name-invalid");
    let (log, _) = Dialog::default().run(&format!(">> GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r{ADMIN}"));
    assert!(log[0].contains("!bare-cr"), "{log:?}");
}

#[test]
fn h14_nul_bytes() {
    whole(
        r"GET /\0?q=EVIL HTTP/1.1\r\nHost: h\r\n\r\n",
        r"GET /\x00?q=EVIL !nul-byte !target-invalid | BLOCK 10.0.0.9 SQL_INJECTION evil | REPORT 0 query.q",
    );
    whole(r"GET / HTTP/1.1\r\nHost: h\r\nX\0: y\r\n\r\n", "GET / !nul-byte !header-name-invalid");
    whole(
        r"GET / HTTP/1.1\r\nHost: h\r\nX: EV\0EVIL\r\n\r\n",
        "GET / !nul-byte | BLOCK 10.0.0.9 SQL_INJECTION evil | REPORT 0 header.x,header.x",
    );
}

#[test]
fn h15_lines_that_are_no_headers() {
    whole(
        r"GET / HTTP/1.1\r\nHost: h\r\nEVIL\r\n\r\n",
        "GET / !header-without-colon | BLOCK 10.0.0.9 SQL_INJECTION evil | REPORT 0 header",
    );
    whole(r"GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", "GET / !header-name-invalid");
    whole(r"GET / HTTP/1.1\r\n Host: h\r\n\r\n", "GET / !framing-name-near-miss !space-before-headers");
    whole(r"GET / HTTP/1.1\r\n X: h\r\nHost: h\r\n\r\n", "GET / !space-before-headers");
}

#[test]
fn h16_chunk_sizes() {
    for size in ["0x6", "+6", "-0x0", "6_0", "FFFFFFFFFFFFFFFF0", "", "g"] {
        let (log, _) = Dialog::default().run(&format!(
            ">> POST / HTTP/1.1\\r\\nHost: h\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n{size}\\r\\nq=EVIL\\r\\n0\\r\\n\\r\\n{ADMIN}"
        ));
        assert!(log[1].contains("!chunk-size-invalid") && log[1].contains("EVIL"), "{size} {log:?}");
        assert!(log.iter().any(|line| line.starts_with("GET /admin")), "{size} {log:?}");
    }
    for size in [" 3", "3 ", "3\\t"] {
        post(
            "Transfer-Encoding: chunked",
            &format!(r"{size}\r\na=1\r\n0\r\n\r\n"),
            "POST / | body body.form.a=1 !chunk-size-invalid",
        );
    }
}

#[test]
fn h17_chunk_extensions() {
    let check =
        |wire: &str, seen: &str| post("Transfer-Encoding: chunked", wire, &format!("POST / | body {seen}"));
    check(
        r#"3;a="\r\na=1\r\n0\r\n\r\n"#,
        r#"body.form.a=1 body.text=a=\"\r\n !chunk-extension !chunk-extension-invalid"#,
    );
    check(r"3;\na=1\r\n0\r\n\r\n", r"body.form.a=1 body.text=\n !chunk-extension !chunk-line-end");
    check(r"3\r\r;x\r\na=1\r\n0\r\n\r\n", r"body.form.a=1 body.text=x\r\n !chunk-extension !chunk-line-end");
    check(r"3;s=1\r\na=1\r\n0\r\n\r\n", r"body.form.a=1 body.text=s=1\r\n !chunk-extension");
    let (log, stats) = Dialog::default().run(&format!(
        ">> POST / HTTP/1.1\\r\\nHost: h\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n3;{}\\r\\na=1\\r\\n0\\r\\n\\r\\n", "x".repeat(65536)
    ));
    assert!(log[1].contains("!chunk-extension-invalid") && stats.named("trailer_uninspected_bytes") > 50_000);
}

#[test]
fn h18_chunks_that_do_not_end_as_they_should() {
    let check =
        |wire: &str, seen: &str| post("Transfer-Encoding: chunked", wire, &format!("POST / | body {seen}"));
    check(
        &format!(r"3\r\na=1XX\r\n0\r\n\r\n{ADMIN}"),
        r"body.form.a=1XX\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nHost: h\r\n\r\n !chunk-data-overrun !embedded-request | GET /admin !embedded-request | GET /admin",
    );
    check(r"3\r\na=1\r\n\r\n0\r\n\r\n", r"body.form.a=1\r\n0\r\n\r\n !chunk-size-invalid");
    check(r"3\r\na=1\r\n0\r\n", "body.form.a=1 !incomplete");
    check(r"3\r\na=1\r\n0\r\nX:", "body.form.a=1 header.x= !incomplete");
    check(
        &format!(r"3\r\na=1\r\n0\r\n{ADMIN}"),
        "body.form.a=1 header.host=h !trailer-forbidden !trailer-invalid !embedded-request | GET /admin !embedded-request",
    );
}

#[test]
fn h19_trailers_that_must_not_be() {
    for name in ["Content-Length", "Transfer-Encoding", "Host", "Authorization", "Cookie"] {
        post(
            "Transfer-Encoding: chunked",
            &format!(r"3\r\na=1\r\n0\r\n{name}: v\r\n\r\n"),
            &format!("POST / | body body.form.a=1 header.{}=v !trailer-forbidden", name.to_lowercase()),
        );
    }
}

#[test]
fn h20_requests_in_bodies() {
    let evil = r"GET /?q=EVIL HTTP/1.1\r\nX: y";
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "POST"] {
        let (log, stats) = Dialog::default()
            .run(&format!(">> {method} / HTTP/1.1\\r\\nHost: h\\r\\nContent-Length: 27\\r\\n\\r\\n{evil}"));
        assert_eq!(log[0].contains("!unexpected-body"), !matches!(method, "DELETE" | "POST"), "{log:?}");
        assert!(log[1].contains("!embedded-request"), "{log:?}");
        assert!(log.iter().any(|line| line.starts_with("GET /?q=EVIL")), "{log:?}");
        assert!(log.iter().any(|line| line == "REPORT 0 query.q"), "{log:?}");
        assert_eq!(stats.named("embedded_requests"), 1);
    }
}

#[test]
fn h21_expect() {
    whole(
        r"POST / HTTP/1.1\r\nHost: h\r\nExpect: y 100-continue\r\n\r\n",
        "POST / !expect-invalid !expect-without-body",
    );
    let expect = r"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let early = r"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n";
    let (log, stats) = Dialog::default().run(&format!(
        ">> {expect}\n<< {early}\n>> a=1{ADMIN}\n<< HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n"
    ));
    assert_eq!(log, ["POST /", "417", "body body.form.a=1", "GET /admin", "200"]);
    assert_eq!((stats.named("transactions"), stats.named("resyncs")), (2, 0));
}

#[test]
fn h22_versions() {
    for version in ["HTTP/1.10", "HTTP/2.0", "http/1.1", "HTTP/0.9", "HTTP/1.1\\rX"] {
        let (log, _) = Dialog::default().run(&format!(">> GET /a {version}\\r\\nHost: h\\r\\n\\r\\n"));
        assert!(log[0].starts_with("GET /a") && log[0].contains('!'), "{version} {log:?}");
    }
    whole(r"GET /a\r\n", "GET /a !version-invalid");
    whole(
        r"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=1\r\n0\r\n\r\n",
        "POST / !transfer-encoding-on-http10 | body body.form.a=1 !transfer-encoding-on-http10",
    );
}

#[test]
fn h23_request_lines() {
    whole(r"\r\n\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a !empty-line-before");
    whole(r"GET\t/a  HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a !request-line-invalid");
    whole(r"GET /a b?q=\xe4 HTTP/1.1\r\nHost: h\r\n\r\n", r"GET /a b?q=\xe4 !target-invalid");
    whole(r" \tGET /a HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a !request-line-invalid");
    let (log, _) = Dialog::default().run(r">> GET /a\n?q=EVIL HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(log.iter().any(|line| line.starts_with("REPORT")), "{log:?}");
}

#[test]
fn h24_hosts() {
    whole(r"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / !duplicate-host");
    for (target, host, odd) in [
        ("http://b/", "a", "!host-invalid !target-absolute"),
        ("/", "a:80@b", "!host-invalid !host-port-invalid"),
        ("/", "a, b", "!host-invalid"),
        ("/", "a b", "!host-invalid"),
        ("/", "a:x", "!host-port-invalid"),
    ] {
        whole(&format!(r"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"), &format!("GET {target} {odd}"));
    }
}

/// Odd responses keep their place: the next one is found.
#[test]
fn h25_responses_that_clients_read_differently() {
    for odd in [
        r"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        r"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        r"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        r"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na",
        r"HTTP/1.1  200 OK\nContent-Length: 1\n\na",
        r"http/1.1 200 OK\r\nContent-Length: 1\r\nContent-Encoding: gzip\r\n\r\na",
    ] {
        let (log, stats) = Dialog::default()
            .run(&format!(">> {ADMIN}{ADMIN}\n<< {odd}HTTP/1.1 404 No\\r\\nContent-Length: 0\\r\\n\\r\\n"));
        assert_eq!(log[2..], ["200", "404"], "{odd}");
        assert_eq!((stats.named("transactions"), stats.named("resyncs")), (2, 0));
    }
}

#[test]
fn h26_responses_keep_their_requests() {
    let hundred = r"HTTP/1.1 100 Continue\r\n\r\n".repeat(20);
    let (log, stats) = Dialog::default().run(&format!(
        ">> HEAD /1 HTTP/1.1\\r\\nHost: h\\r\\n\\r\\nGET /2 HTTP/1.1\\r\\nHost: h\\r\\n\\r\\nGET /3 HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n\n\
         << {hundred}HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nHTTP/1.1 204 No\\r\\nContent-Length: 5\\r\\n\\r\\nHTTP/1.1 200 OK\\r\\n\\r\\nuntil close\n<< fin"
    ));
    assert_eq!(log.last().map(String::as_str), Some("200"));
    assert_eq!((stats.named("transactions"), stats.named("responses"), stats.named("resyncs")), (3, 23, 0));
}

#[test]
fn h27_the_attack_in_many_pipelined_requests() {
    let requests: String = (0..100)
        .map(|n| {
            format!("GET /{n}?q={} HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n", if n == 57 { "EVIL" } else { "x" })
        })
        .collect();
    let (log, stats) = Dialog::default().run(&format!(">> {requests}"));
    assert_eq!(log.last().map(String::as_str), Some("REPORT 57 query.q"));
    assert_eq!(stats.named("reports"), 1);
}

#[test]
fn h28_a_valid_request_behind_an_invalid_one() {
    let (log, _) = Dialog::default().run(&format!(">> \\x01\\x02 rubbish\\r\\nmore\\r\\n{ADMIN}"));
    assert_eq!(log, ["GET /admin !not-http"]);
    let (log, _) = Dialog::default().run(&format!(">> GET\\r\\nHost: h\\r\\n\\r\\n{ADMIN}"));
    assert_eq!(log, ["GET /admin !not-http"]);
}

#[test]
fn h29_a_refused_upgrade_stays_http() {
    for upgrade in ["websocket", "h2c"] {
        let (log, _) = Dialog::default().run(&format!(
            ">> GET /u HTTP/1.1\\r\\nHost: h\\r\\nConnection: Upgrade\\r\\nUpgrade: {upgrade}\\r\\n\\r\\n\n\
             << HTTP/1.1 400 No\\r\\nContent-Length: 0\\r\\n\\r\\n\n>> GET /?q=EVIL HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n"
        ));
        assert_eq!(log[2], "GET /?q=EVIL", "{log:?}");
    }
}

#[test]
fn h30_connect() {
    let (log, stats) = Dialog::default().run(
        ">> CONNECT a:1 HTTP/1.1\\r\\nHost: a:1\\r\\n\\r\\nGET /early HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n\n\
         << HTTP/1.1 407 No\\r\\nContent-Length: 2\\r\\n\\r\\nno\n<< HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n",
    );
    assert_eq!(log, ["CONNECT a:1", "GET /early", "407", "200"]);
    assert_eq!((stats.named("resyncs"), stats.named("tunnels")), (0, 0));
}

#[test]
fn h35_encrypted_connections_are_counted() {
    let (log, stats) = Dialog::default().run(r">> \x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03");
    assert!(log.is_empty());
    assert_eq!(stats.named("encrypted_connections"), 1);
}
