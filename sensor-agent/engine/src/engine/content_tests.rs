//! What hides content from who reads less than the application does, cases C30, C37, C38 and C39, through the engine.

use super::Settings;
use super::tests::{Dialog, GOOD};

/// Sends a POST with these headers and this body, in pieces of a size; what was reported, and the counters.
fn post(headers: &str, body: &[u8], piece: usize) -> (Vec<String>, super::Stats) {
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    let wire = [head.as_bytes(), body].concat();
    let escape = |piece: &[u8]| piece.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let script: Vec<_> = wire.chunks(piece).map(|piece| format!(">> {}", escape(piece))).collect();
    let (log, stats) = Dialog::default().run(&script.join("\n"));
    (log.into_iter().filter(|line| line.starts_with("REPORT")).collect(), stats)
}

pub(super) fn packed(text: &[u8], zlib: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 100);
    let mut compress = flate2::Compress::new(flate2::Compression::best(), zlib);
    compress.compress_vec(text, &mut out, flate2::FlushCompress::Finish).unwrap();
    out
}

pub(super) fn gzip(text: &[u8]) -> Vec<u8> {
    [&b"\x1f\x8b\x08\0\0\0\0\0\0\0"[..], &packed(text, false), &[0; 8]].concat()
}

const FORM: [&str; 1] = ["REPORT 0 body.form.q"];

#[test]
fn c30_codings_in_layers_headers_and_members() {
    let text = b"q=EVIL";
    for (headers, body) in [
        ("Content-Encoding: gzip\r\n", gzip(text)),
        ("Content-Encoding: gzip, gzip\r\n", gzip(&gzip(text))),
        ("Content-Encoding: deflate\r\nContent-Encoding: gzip\r\n", gzip(&packed(text, true))),
        ("Content-Encoding: deflate\r\n", packed(text, false)),
        ("Content-Encoding: gzip\r\n", [gzip(b"q=EV"), gzip(b"IL")].concat()),
        ("Content-Encoding: gzip\r\n", text.to_vec()),
        ("Content-Encoding: br\r\n", text.to_vec()),
    ] {
        assert_eq!(post(headers, &body, 5000).0, FORM, "{headers}");
    }
    let (found, stats) = post("Content-Encoding: compress\r\n", text, 5000);
    assert_eq!((found.len(), stats.named("body_undecoded")), (1, 1));
}

#[test]
fn c30_what_is_odd_about_codings_is_named() {
    let odd = |headers: &str, body: &[u8]| {
        let head =
            format!(r"POST / HTTP/1.1\r\nHost: h\r\n{headers}\r\nContent-Length: {}\r\n\r\n", body.len());
        let bytes: String = body.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        let (log, _) = Dialog::default().run(&format!(">> {head}{bytes}"));
        log[1].split('!').skip(1).map(str::trim).collect::<Vec<_>>().join(",")
    };
    assert_eq!(odd("Content-Encoding: gzip", &gzip(b"a=1")), "");
    assert_eq!(odd("Content-Encoding: gzip, gzip", &gzip(&gzip(b"a=1"))), "coding-stacked");
    assert_eq!(odd("Content-Encoding: zip", b"a=1"), "body-encoded,coding-unknown");
    assert_eq!(odd("Content-Encoding: gzip", b"a=1"), "body-encoded,coding-mismatch");
    assert_eq!(odd("Content-Encoding: gzip", &packed(b"a=1", true)), "coding-mismatch");
    assert_eq!(odd("Content_Encoding: gzip", &gzip(b"a=1")), "content-name-near-miss,coding-mismatch");
    assert_eq!(odd("Content-Encoding: gzip", &gzip(&[b'a'; 1 << 20])), "body-bomb");
}

#[test]
fn c37_padding_hides_nothing_up_to_the_limit() {
    let depth = Settings::default().max_body_bytes;
    for filler in [8 * 1024, 64 * 1024, depth - 20] {
        let body = format!("a={}&q=EVIL", "x".repeat(filler));
        assert_eq!(post("", body.as_bytes(), 60_000).0, FORM, "{filler}");
    }
    let (found, stats) = post("", format!("a={0}&q=EVIL&b={0}", "x".repeat(1 << 20)).as_bytes(), 60_000);
    assert!(found.is_empty() && stats.named("body_uninspected_bytes") > 1_900_000);
    let parameters = format!("{}q=EVIL", "a=1&".repeat(1000));
    assert_eq!(post("", parameters.as_bytes(), 60_000).0, FORM);
    let (found, _) = post("", format!("{}q=EVIL", "a=1&".repeat(10_000)).as_bytes(), 60_000);
    assert_eq!(found.len(), 1);
}

/// The end of a body that is longer than its inspected beginning is inspected too, and no border hides anything.
#[test]
fn c37_the_end_of_a_long_body_is_inspected() {
    let settings = Settings::default();
    let (head, tail) = (settings.max_body_bytes, settings.max_body_tail_bytes);
    for filler in [head - 8, head - 6, head - 4, head - 2, head, head + tail - 20, 1 << 20] {
        for piece in [60_000, 1461] {
            let body = format!("a={}&q=EVIL", "x".repeat(filler));
            let (found, stats) = post("", body.as_bytes(), piece);
            assert_eq!(found, FORM, "{filler} in pieces of {piece}");
            let unseen = body.len().saturating_sub(head + tail);
            assert_eq!(stats.named("body_uninspected_bytes"), unseen as u64, "{filler}");
        }
    }
    // Of documents, the end is text, or parts.
    let json = format!(r#"{{"a": "{}", "b": "EVIL"}}"#, "x".repeat(1 << 20));
    let (found, _) = post("Content-Type: application/json\r\n", json.as_bytes(), 60_000);
    assert_eq!(found, ["REPORT 0 body.text"]);
    let parts = format!(
        "--b\r\nContent-Disposition: form-data; name=f\r\n\r\n{}\r\n--b\r\nContent-Disposition: form-data; name=g\r\n\r\nEVIL\r\n--b--",
        "x".repeat(1 << 20)
    );
    let (found, _) = post("Content-Type: multipart/form-data; boundary=b\r\n", parts.as_bytes(), 60_000);
    assert_eq!(found, ["REPORT 0 body.multipart.g"]);
    // A request at the end, and a trailer.
    let smuggled = format!("a={}\r\n\r\nGET /?q=EVIL HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(1 << 20));
    let (found, _) = post("", smuggled.as_bytes(), 60_000);
    assert!(found.iter().any(|line| line == "REPORT 0 query.q"), "{found:?}");
    let head = r"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = format!("{:x}\\r\\n{}\\r\\n", 50_000, "x".repeat(50_000)).repeat(6);
    let (log, _) = Dialog::default().run(&format!(">> {head}{chunks}0\\r\\nX: EVIL\\r\\n\\r\\n"));
    assert!(log.iter().any(|line| line == "REPORT 0 header.x"));
}

/// Filler that compresses to a sixth or so, so that it is no bomb.
fn filler(length: usize) -> String {
    let mut text: String =
        (0..length / 20).map(|n| format!("item {n} of {} is here; ", n * 7919 % 1009)).collect();
    text.truncate(length);
    text
}

/// The end of a compressed body that is longer than is inspected.
#[test]
fn c37_the_end_of_a_compressed_body_is_inspected() {
    let settings = Settings::default();
    let (head, tail) = (settings.max_decoded_body_bytes, settings.max_body_tail_bytes);
    let text = filler(2 << 20);
    for length in [head - 6, head - 4, head + tail, 2 << 20] {
        let body = format!("a={}&q=EVIL", &text[..length]);
        let packed = gzip(body.as_bytes());
        let (found, stats) = post("Content-Encoding: gzip\r\n", &packed, 60_000);
        assert_eq!(found, FORM, "{length} {}", packed.len());
        let unseen = body.len().saturating_sub(head + tail);
        assert_eq!(stats.named("body_uninspected_bytes"), unseen as u64, "{length}");
    }
    // Where it is further away than the reach, or more than is kept came, the end is not to be had, and that is counted.
    let far = gzip(format!("a={}&q=EVIL", text.repeat(3)).as_bytes());
    let (found, stats) = post("Content-Encoding: gzip\r\n", &far, 60_000);
    assert!(found.is_empty() && stats.named("body_undecoded") == 1);
    assert!(stats.named("body_uninspected_bytes") > 4 << 20);
    // What is no coding is no end either.
    let (_, stats) = post("Content-Encoding: gzip\r\n", &vec![7; 2 << 20], 60_000);
    assert_eq!(stats.named("body_uninspected_bytes"), 1 << 20);
}

/// Codings that are not named, or not by their name, or read by some servers as another one.
#[test]
fn c30_codings_that_only_some_servers_see() {
    let text = b"q=EVIL&b=2";
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for headers in
        ["Content-Encoding: br\r\n", "Content-Encoding: \"gzip\"\r\n", "Content_Encoding: gzip\r\n", form]
    {
        assert_eq!(post(headers, &gzip(text), 5000).0, FORM, "{headers}");
    }
    assert_eq!(post("Content-Encoding: gzip\r\n", &packed(text, true), 5000).0, FORM);
    let raw = [&b"\x78\x9c\0\x63\xffa="[..], &[b'x'; 0x9c - 2], &packed(b"&q=EVIL", false)].concat();
    assert_eq!(post("Content-Encoding: deflate\r\n", &raw, 5000).0, FORM);
    // A file is one.
    assert!(post("Content-Type: application/gzip\r\n", &gzip(text), 5000).0.is_empty());
}

/// What stands in a head that is longer, or has more headers, than others.
#[test]
fn c37_long_heads_hide_nothing() {
    let form = |headers: &str| {
        let head = format!("POST / HTTP/1.1\\r\\nHost: h\\r\\n{headers}Content-Length: 6\\r\\n\\r\\nq=EVIL");
        Dialog::default().run(&format!(">> {head}\n>> {GOOD}")).0
    };
    let get = |headers: &str, last: &str| {
        let head = format!("GET / HTTP/1.1\\r\\nHost: h\\r\\n{headers}{last}\\r\\n\\r\\n");
        Dialog::default().run(&format!(">> {head}\n>> {GOOD}")).0
    };
    let many: String = (0..200).map(|n| format!("X{n}: y\\r\\n")).collect();
    let long: String = (0..200).map(|n| format!("X{n}: {}\\r\\n", "y".repeat(1000))).collect();
    for headers in [&many, &long] {
        let log = form(headers);
        assert!(log.iter().any(|line| line == FORM[0]), "{:?}", log.last());
        assert_eq!(log.last().map(String::as_str), Some("GET /"));
        for last in ["Cookie: a=EVIL", "X: EVIL"] {
            let log = get(headers, last);
            assert!(log.iter().any(|line| line.starts_with("REPORT 0")), "{last} {:?}", log.last());
            assert_eq!(log.last().map(String::as_str), Some("GET /"));
        }
    }
}

/// What stands between beginning and end is left in the kernel.
#[test]
fn c37_the_middle_of_a_large_body_is_left_out() {
    let settings = Settings::default();
    let (read, length) = (settings.max_body_bytes + 100, 10 << 20);
    let head = format!(r"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
    let begin = format!(">> {head}\n>> {}\n>> {}", "x".repeat(60_000), "x".repeat(read - 60_000));
    let missed = length - read - settings.max_body_tail_bytes;
    let end = format!(">> lost {missed}\n>> {}&q=EVIL", "y".repeat(settings.max_body_tail_bytes - 7));
    let (log, stats) = Dialog::default().run(&format!("{begin}\n{end}\n>> {GOOD}"));
    let skip = log.iter().find_map(|line| line.strip_prefix("SKIP 10.0.0.9:4000 "));
    let unescaped = super::tests::unescape(&head).len();
    let until = 1000 + unescaped + length - settings.max_body_tail_bytes;
    assert_eq!(skip, Some(until.to_string().as_str()));
    let short: Vec<_> = log.iter().map(|line| &line[..line.len().min(60)]).collect();
    assert!(short.contains(&"REPORT 0 body.text") && short.contains(&"GET /"), "{short:?}");
    assert_eq!((stats.named("skips"), stats.named("resyncs")), (1, 0));
}

#[test]
fn c38_no_border_hides_anything() {
    let text = b"a=1&q=EVIL&b=2";
    for piece in 1..200 {
        assert_eq!(post("", text, piece).0, FORM, "pieces of {piece}");
        assert_eq!(post("Content-Encoding: gzip\r\n", &gzip(text), piece).0, FORM, "pieces of {piece}");
    }
    for size in 1..text.len() {
        let chunks: String = text
            .chunks(size)
            .map(|chunk| format!("{:x}\\r\\n{}\\r\\n", chunk.len(), String::from_utf8_lossy(chunk)))
            .collect();
        let head = r"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (log, _) = Dialog::default().run(&format!(">> {head}{chunks}0\\r\\n\\r\\n"));
        assert!(log.iter().any(|line| line == FORM[0]), "chunks of {size}");
    }
}

#[test]
fn c39_unusual_places() {
    for (wire, field) in [
        (r"EVIL / HTTP/1.1\r\nHost: h\r\n\r\n", "method"),
        (r"GET /a/EVIL/b HTTP/1.1\r\nHost: h\r\n\r\n", "path"),
        (r"GET / HTTP/1.1\r\nHost: EVIL\r\n\r\n", "header.host"),
        (r"GET / HTTP/1.1\r\nHost: h\r\nReferer: EVIL\r\n\r\n", "header.referer"),
        (r"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: EVIL\r\n\r\n", "header.x-forwarded-for"),
        (r"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: EVIL\r\n\r\n", "header.authorization"),
        (r"GET / HTTP/1.1\r\nHost: h\r\n$EVIL: x\r\n\r\n", "name"),
        (r#"GET / HTTP/1.1\r\nHost: h\r\nCookie: c={"a":"\u0045VIL"}\r\n\r\n"#, "body.json.c.a"),
        (r"GET /?query={a(b:%22%45VIL%22)} HTTP/1.1\r\nHost: h\r\n\r\n", "body.graphql.a.b"),
    ] {
        let wire = wire.replace(r"\u0045", "\\x5cu0045");
        let (log, _) = Dialog::default().run(&format!(">> {wire}"));
        assert!(log.iter().any(|line| *line == format!("REPORT 0 {field}")), "{wire} {log:?}");
    }
    let json = "Content-Type: application/json\r\n";
    let multipart = "Content-Type: multipart/form-data; boundary=b\r\n";
    let xml = "Content-Type: text/xml\r\n";
    for (headers, body, field) in [
        (json, r#"{"$\u0045VIL": 1}"#, "name"),
        (json, r#"{"query": "{a(b: \"\\u0045VIL\")}"}"#, "body.graphql.a.b"),
        (
            multipart,
            "--b\r\nContent-Disposition: form-data; name=f; filename=EVIL\r\n\r\nx\r\n--b--",
            "body.multipart.f.filename",
        ),
        (multipart, "--b\r\nContent-Disposition: form-data; name=\"$EVIL\"\r\n\r\nx\r\n--b--", "name"),
        (xml, "<a b='&#69;VIL'/>", "body.xml.a@b"),
        ("", "d=%7B%22a%22:%22%45VIL%22%7D", "body.json.d.a"),
    ] {
        let (found, _) = post(headers, body.as_bytes(), 5000);
        assert!(found[0].split([' ', ',']).any(|known| known == field), "{body} {found:?}");
    }
    let (log, _) = Dialog::default().run(
        r">> POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: EVIL\r\n\r\n",
    );
    assert!(log.iter().any(|line| line == "REPORT 0 header.x"), "{log:?}");
}
