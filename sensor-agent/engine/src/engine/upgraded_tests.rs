//! WebSocket and HTTP/2 through the engine, cases H29 and H31 to H33: dialogs as text in, what is inspected out.

use super::tests::{Dialog, check};
use crate::http::http2::PREFACE;
use crate::http::http2::frame::tests::frame;
use crate::http::websocket::tests::frame as message;

fn escaped(wire: &[u8]) -> String {
    wire.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

const ASK: &str = r"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const AGREE: &str = r"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

/// Case H31.
#[test]
fn websocket_messages_are_inspected() {
    let talk = [message(0x01, b"{\"q\": \"EV"), message(0x89, b""), message(0x80, b"IL\"}")].concat();
    let (log, stats) = Dialog::default().run(&format!(">> {ASK}\n<< {AGREE}\n>> {}\n>> fin", escaped(&talk)));
    assert_eq!(
        log,
        [
            "GET /ws",
            "101",
            "WEBSOCKET 10.0.0.9:4000 10.0.0.1:80",
            r#"body body.websocket={\"q\": \"EVIL\"} body.json.q=EVIL"#,
            "BLOCK 10.0.0.9 SQL_INJECTION evil",
            "REPORT 0 body.websocket,body.json.q",
        ]
    );
    assert_eq!((stats.named("websocket_connections"), stats.named("websocket_messages")), (1, 1));
}

/// Case H29: without a 101 the connection stays HTTP/1, whatever the client asked for.
#[test]
fn websocket_needs_the_server() {
    let (log, stats) = Dialog::default().run(&format!(
        ">> {ASK}\n<< HTTP/1.1 400 No\\r\\nContent-Length: 0\\r\\n\\r\\n\n>> GET /?q=EVIL HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n"
    ));
    assert_eq!(log[2], "GET /?q=EVIL");
    assert_eq!(stats.named("websocket_connections"), 0);
}

/// Case H31: nobody saw the handshake. Plain messages are read, and what leans on messages before is counted.
#[test]
fn websocket_joined_in_the_middle() {
    let joined = |wire: &[u8]| {
        let dialog = Dialog { marks: sensor_common::record::mark::HANDSHAKE, ..Dialog::default() };
        dialog.run(&format!(">> {}", escaped(wire)))
    };
    let (log, stats) = joined(&[message(0x81, b"q=EVIL"), message(0xc1, b"\xff\xff")].concat());
    assert_eq!(
        log,
        [
            "body body.websocket=q=EVIL !websocket-undecoded",
            "body body.websocket= !websocket-undecoded",
            "WEBSOCKET 10.0.0.9:4000 10.0.0.1:80",
            "BLOCK 10.0.0.9 SQL_INJECTION evil",
            "REPORT 0 body.websocket",
        ]
    );
    assert_eq!((stats.named("websocket_joined"), stats.named("websocket_uninspected_bytes") > 0), (1, true));
    // What only looks so at first is searched for requests again.
    let (log, stats) = joined(&message(0x81, b"hello"));
    assert_eq!((log.len(), stats.named("websocket_joined")), (2, 1));
    let dialog = Dialog { marks: sensor_common::record::mark::HANDSHAKE, ..Dialog::default() };
    let attack = r"GET /?q=EVIL HTTP/1.1\r\nHost: h\r\n\r\n";
    let (log, _) = dialog.run(&format!(">> {}\n>> {attack}", escaped(&message(0x81, b"hello"))));
    assert!(log.iter().any(|line| line == "GET /?q=EVIL"), "{log:?}");
    let (log, stats) = joined(&[0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0]);
    assert_eq!((log.len(), stats.named("websocket_joined"), stats.named("searched_bytes")), (0, 0, 8));
}

#[test]
fn odd_websocket_frames_are_named() {
    let odd = |frames: &[Vec<u8>]| {
        let script = format!(">> {ASK}\n<< {AGREE}\n>> {}", escaped(&frames.concat()));
        Dialog::default().run(&script).0.last().cloned().unwrap_or_default()
    };
    assert_eq!(odd(&[message(0x81, b"x")]), "body body.websocket=x");
    assert_eq!(odd(&[b"\x81\x01x".to_vec()]), "body body.websocket=x !websocket-unmasked");
    assert_eq!(odd(&[message(0x91, b"x")]), "body body.websocket=x !websocket-reserved");
    assert_eq!(odd(&[message(0xc1, b"x")]), "body body.websocket=x !websocket-reserved");
    assert_eq!(odd(&[message(0x8b, b""), message(0x81, b"x")]), "body body.websocket=x !websocket-reserved");
}

#[test]
fn what_was_missed_of_a_websocket_is_said() {
    let talk = escaped(&message(0x81, &[b'x'; 50]));
    let (log, stats) = Dialog::default()
        .run(&format!(">> {ASK}\n<< {AGREE}\n>> {talk}\n>> lost 7\n>> {talk}\nwait 1500\n>> {talk}"));
    assert_eq!(log.len(), 4);
    assert_eq!(stats.named("upgraded_lost"), 1);
}

/// POST /?q=EVIL on stream 1, whose name of a field goes into the dynamic table.
fn post() -> Vec<u8> {
    frame(1, 4, 1, b"\x83\x04\x08/?q=EVIL\x86\x41\x01h\x40\x03x-a\x01b")
}

fn http2(frames: &[Vec<u8>]) -> String {
    escaped(&[PREFACE.to_vec(), frame(4, 0, 0, b""), frames.concat()].concat())
}

/// Case H32.
#[test]
fn http2_streams_are_requests() {
    let wire = http2(&[
        post(),
        frame(1, 1, 3, b"\x82\x84\x86\xbf"),
        frame(9, 4, 3, b"\xbe"),
        frame(0, 0, 1, b"a=1&b="),
        frame(0, 1, 1, b"EVIL"),
    ]);
    let seen = [
        "POST /?q=EVIL",
        "BLOCK 10.0.0.9 SQL_INJECTION evil",
        "REPORT 0 query.q",
        "GET /",
        "body body.form.a=1 body.form.b=EVIL",
        "REPORT 0 body.form.b",
    ];
    let (log, stats) = Dialog::default().run(&format!(">> {wire}"));
    let found = |line: &&str| log.iter().any(|known| known == *line);
    assert!(seen.iter().all(found), "{log:?}");
    let named = ["http2_connections", "http2_streams", "http2_continuations", "requests"];
    assert_eq!(named.map(|name| stats.named(name)), [1, 2, 1, 2]);
    for cut in 1..wire.len() / 4 {
        let (left, right) = wire.split_at(cut * 4);
        let (split, _) = Dialog::default().run(&format!(">> {left}\n>> {right}"));
        let messages = |log: &[String]| {
            log.iter()
                .filter(|line| !line.contains("10.0.0.9") && !line.contains("REPORT"))
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(messages(&split), messages(&log), "cut at {cut}");
    }
}

#[test]
fn http2_responses_and_trailers() {
    let answer = [frame(4, 0, 0, b""), frame(1, 5, 1, b"\x88")].concat();
    let wire = http2(&[
        frame(1, 4, 1, b"\x83\x84\x86\x41\x01h"),
        frame(0, 0, 1, b"a=1"),
        frame(1, 5, 1, b"\0\x01t\x04EVIL"),
    ]);
    let (log, stats) = Dialog::default().run(&format!(">> {wire}\n<< {}", escaped(&answer)));
    assert_eq!(log[..2], ["POST /", "body body.form.a=1 header.t=EVIL"]);
    assert_eq!(log.last().map(String::as_str), Some("200"));
    assert_eq!((stats.named("responses"), stats.named("transactions")), (1, 1));
}

/// Case H32: HTTP/2 after an Upgrade that the server accepted. The request that asked is answered on the first stream.
#[test]
fn http2_by_upgrade() {
    let ask = r"GET /u HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let agree = r"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let next = frame(1, 5, 3, b"\x82\x04\x08/?q=EVIL\x86\x41\x01h");
    let answers = [frame(4, 0, 0, b""), frame(1, 4, 1, b"\x88"), frame(0, 1, 1, b"first")].concat();
    let script = format!(">> {ask}\n<< {agree}{}\n>> {}", escaped(&answers), http2(&[next]));
    let settings = crate::engine::Settings { list_transactions: true, ..Default::default() };
    let (log, stats) = Dialog { settings, ..Dialog::default() }.run(&script);
    assert_eq!(log[..5], ["GET /u", "101", "200", "LIST 0 GET /u 0 200 5", "GET /?q=EVIL"]);
    assert_eq!((stats.named("requests"), stats.named("transactions")), (2, 1));
}

/// Case H32: streams that a client must not open are read, and named.
#[test]
fn http2_streams_out_of_order() {
    let get = |id: u32| frame(1, 5, id, b"\x82\x84\x86\x41\x01h");
    let (log, _) = Dialog::default().run(&format!(">> {}", http2(&[get(5), get(3), get(6), get(9)])));
    let odd = "GET / !http2-stream-id-invalid";
    assert_eq!(log, ["GET /", odd, odd, "GET /"]);
}

/// Cases H32 and H33: bodies that are longer or shorter than said, streams taken back, fields that are no HPACK.
#[test]
fn http2_streams_that_do_not_end_as_they_should() {
    let odd = |frames: &[Vec<u8>]| {
        let (log, _) = Dialog::default().run(&format!(">> {}", http2(frames)));
        let names: Vec<_> = log.iter().flat_map(|line| line.split('!').skip(1)).map(str::trim).collect();
        names.join(",")
    };
    // POST with a Content-Length of 5.
    let post = frame(1, 4, 1, b"\x83\x84\x86\x41\x01h\x0f\x0d\x015");
    let data = |end: u8, data: &[u8]| frame(0, end, 1, data);
    assert_eq!(odd(&[post.clone(), data(1, b"a=123")]), "");
    assert_eq!(odd(&[post.clone(), data(1, b"a=1")]), "http2-content-length-mismatch");
    assert_eq!(odd(&[post.clone(), data(0, b"a=123"), data(1, b"4")]), "http2-content-length-mismatch");
    assert_eq!(odd(&[post, data(0, b"a=1"), frame(3, 0, 1, b"\0\0\0\x08")]), "http2-stream-reset");
    let broken = frame(1, 5, 1, b"\x82\x84\x86\x41\x01h\x80");
    assert_eq!(odd(&[broken]), "http2-fields-undecoded,http2-fields-malformed");
}

/// Case H32: what was not seen is said.
#[test]
fn http2_joined_in_the_middle() {
    let dialog = Dialog { marks: sensor_common::record::mark::HANDSHAKE, ..Dialog::default() };
    let wire = escaped(&frame(1, 5, 7, b"\x82\x04\x08/?q=EVIL\xc0\xc1"));
    let (log, stats) = dialog.run(&format!(">> {wire}"));
    assert_eq!(log[0], "GET /?q=EVIL !http2-fields-undecoded");
    assert_eq!((stats.named("http2_joined"), stats.named("http2_undecoded_blocks")), (1, 1));
}

/// A preface hides nothing from who does not speak HTTP/2.
#[test]
fn a_preface_before_http1_hides_nothing() {
    let attack = r"GET /?q=EVIL HTTP/1.1\r\nHost: h\r\n\r\n";
    let (log, _) = Dialog::default().run(&format!(r">> PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{attack}"));
    assert!(log.iter().any(|line| line.starts_with("GET /?q=EVIL")), "{log:?}");
    let (log, _) = Dialog::default().run(&format!(">> PRI * HTTP/2.0\\r\\n\\r\\n{attack}"));
    assert!(log.iter().any(|line| line.starts_with("GET /?q=EVIL")), "{log:?}");
}

/// Case R: floods are counted, and open streams have a limit.
#[test]
fn http2_floods_are_bounded() {
    let mut frames: Vec<_> = (0..300u32).map(|n| frame(1, 4, 2 * n + 1, b"\x83\x84\x86\x41\x01h")).collect();
    frames.extend((200..300u32).map(|n| frame(3, 0, 2 * n + 1, b"\0\0\0\x08")));
    frames.extend((0..50).map(|_| frame(6, 0, 0, b"12345678")));
    let (_, stats) = Dialog::default().run(&format!(">> {}", http2(&frames)));
    let named = ["http2_streams", "http2_stream_overflows", "http2_resets", "http2_pings", "http2_settings"];
    assert_eq!(named.map(|name| stats.named(name)), [300, 172, 100, 50, 1]);
    assert_eq!(stats.named("http2_floods"), 0);
}

/// Case R18: a client that does little but take its requests back, or ping, is found once.
#[test]
fn r18_http2_floods_are_found() {
    let get = |n: u32| frame(1, 5, 2 * n + 1, b"\x82\x84\x86\x41\x01h");
    let reset = |n: u32| frame(3, 0, 2 * n + 1, b"\0\0\0\x08");
    let resets: Vec<_> = (0..150).flat_map(|n| [get(n), reset(n)]).collect();
    let pings: Vec<_> = (0..1200).map(|_| frame(6, 0, 0, b"12345678")).collect();
    let endless = [vec![frame(1, 0, 1, b"\x82")], vec![frame(9, 0, 1, b"\x84"); 1200]].concat();
    for (frames, expected) in [
        (resets.clone(), "GET / !http2-flood"),
        (pings, "  !http2-flood"),
        (endless, "  !http2-flood"),
        (resets[..180].to_vec(), ""),
    ] {
        let (log, stats) = Dialog::default().run(&format!(">> {}", http2(&frames)));
        let told: Vec<_> = log.iter().filter(|line| line.contains("http2-flood")).collect();
        assert_eq!(told, if expected.is_empty() { vec![] } else { vec![expected] });
        assert_eq!(stats.named("http2_floods"), told.len() as u64);
    }
}

#[test]
fn incomplete_http2_requests_are_inspected_at_the_end() {
    let wire = http2(&[frame(1, 4, 1, b"\x83\x84\x86\x41\x01h"), frame(0, 0, 1, b"a=EVIL")]);
    check(
        &format!(">> {wire}\n>> fin"),
        &[
            "POST /",
            "body body.form.a=EVIL !incomplete",
            "BLOCK 10.0.0.9 SQL_INJECTION evil",
            "REPORT 0 body.form.a",
        ],
    );
}

/// Streams are answered in any order, and each response finds its request.
#[test]
fn http2_responses_find_their_requests() {
    let get = |id: u32, path: &str| {
        let block = [&b"\x82\x04"[..], &[path.len() as u8], path.as_bytes(), b"\x86\x41\x01h"].concat();
        frame(1, 5, id, &block)
    };
    let answer = |id: u32, body: &[u8]| [frame(1, 4, id, b"\x88"), frame(0, 1, id, body)].concat();
    let asked = http2(&[get(1, "/1"), get(3, "/3"), get(5, "/5")]);
    let answers = [frame(4, 0, 0, b""), answer(5, b"five"), answer(1, b"one!!!"), answer(3, b"")].concat();
    let settings = crate::engine::Settings { list_transactions: true, ..Default::default() };
    let dialog = Dialog { settings, ..Dialog::default() };
    let (log, stats) = dialog.run(&format!(">> {asked}\n<< {}", escaped(&answers)));
    let listed: Vec<_> = log.into_iter().filter(|line| line.starts_with("LIST")).collect();
    assert_eq!(listed, ["LIST 2 GET /5 0 200 4", "LIST 0 GET /1 0 200 6", "LIST 1 GET /3 0 200 0"]);
    assert_eq!(stats.named("transactions"), 3);
}

#[test]
fn grpc_calls_are_read_with_their_status() {
    let head = b"\x83\x04\x08/s.S/Get\x86\x41\x01h\0\x0ccontent-type\x10application/grpc";
    let message = b"\0\0\0\0\x06\x0a\x04EVIL";
    let asked = http2(&[frame(1, 4, 1, head), frame(0, 1, 1, message)]);
    let answers = [frame(4, 0, 0, b""), frame(1, 4, 1, b"\x88"), frame(0, 0, 1, b"\0\0\0\0\0")].concat();
    let trailer = frame(1, 5, 1, b"\0\x0bgrpc-status\x0216");
    let settings = crate::engine::Settings { list_transactions: true, ..Default::default() };
    let dialog = Dialog { settings, ..Dialog::default() };
    let (log, _) = dialog.run(&format!(">> {asked}\n<< {}{}", escaped(&answers), escaped(&trailer)));
    assert_eq!(
        log,
        [
            "POST /s.S/Get",
            "body body.grpc.1=EVIL",
            "BLOCK 10.0.0.9 SQL_INJECTION evil",
            "REPORT 0 body.grpc.1",
            "200",
            "LIST 0 POST /s.S/Get 11 200 5 grpc 16",
        ]
    );
}
