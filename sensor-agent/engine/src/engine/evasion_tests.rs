//! More of group E of the catalogue of cases, and of group R as far as it concerns connections: evasion and exhaustion by TCP.

use super::Settings;
use super::tests::{ATTACK, Dialog, FOUND, GOOD, check, unescape};

const REPLY: &str = r"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[track_caller]
fn found(script: &str) -> bool {
    Dialog::default().run(script).0.iter().any(|line| line.starts_with("REPORT"))
}

/// Case E2: the signature cut across two to eight segments, at every place.
#[test]
fn e2_every_cut_of_the_signature() {
    let wire = unescape(ATTACK);
    for parts in 2..=8 {
        for first in 1..=wire.len() - parts {
            let mut script = format!(">> {}\n", wire[..first].escape_ascii());
            for piece in wire[first..].chunks((wire.len() - first).div_ceil(parts - 1)) {
                script.push_str(&format!(">> {}\n", piece.escape_ascii()));
            }
            check(&script, &FOUND);
        }
    }
}

/// Cases E3 to E5: what the application reads of overlaps behind a hole, by Linux's rules.
#[test]
fn e3_to_e5_overlaps_behind_a_hole() {
    let rest = r" HTTP/1.0\r\n\r\n";
    for (overlaps, read) in [
        (">> @8 EVIL\n>> @8 GOOD", "EVIL"),
        (">> @8 EVIL\n>> @8 GO", "EVIL"),
        (">> @8 EV\n>> @8 GOOD", "GOOD"),
        (">> @9 VIL\n>> @8 GOOD", "GOOD"),
        (">> @8 EVI\n>> @10 XD", "EVID"),
    ] {
        let (log, _) = Dialog::default().run(&format!("{overlaps}\n>> @12 {rest}\n>> @0 GET /?q="));
        let as_read = log.first();
        assert!(
            as_read.is_some_and(|line| line.starts_with(&format!("GET /?q={read}"))),
            "{overlaps} {log:?}"
        );
    }
}

/// Case E14: what follows a FIN reaches nobody, and the server's answer is still read.
#[test]
fn e14_data_behind_a_fin() {
    let (log, stats) = Dialog::default().run(&format!(">> {GOOD}\n>> fin\n>> {ATTACK}\n<< {REPLY}\n<< fin"));
    assert_eq!(log, ["GET /", "200"]);
    assert_eq!(stats.named("segments_after_end"), 1);
}

/// Cases E16 and E19: another initial sequence number is another connection, without bytes of the old one.
#[test]
fn e16_and_e19_another_initial_sequence_number_is_another_connection() {
    for end in ["<< rst", ">> fin\n<< fin", ""] {
        let (log, stats) =
            Dialog::default().run(&format!(">> GET /?q=EV\n{end}\n>> isn 90000\n<< isn 70000\n>> {GOOD}"));
        assert!(
            log.iter().any(|line| line == "GET /") && !log.iter().any(|line| line.contains("EVGET")),
            "{log:?}"
        );
        assert_eq!(stats.named("flows_opened"), 2, "{end}");
    }
}

/// Case E17: data on a SYN is read if the application got it, and as far as it did.
#[test]
fn e17_data_on_a_syn_counts_if_it_was_acknowledged() {
    let len = unescape(ATTACK).len();
    let all = format!(">> syn {len} {ATTACK}");
    check(&format!("{all}\n<< {REPLY}"), &["GET /?q=EVIL", "200", FOUND[2], FOUND[1]]);
    let (log, stats) = Dialog::default().run(&format!("{all}\n>> {GOOD}"));
    assert!(
        log.iter().any(|line| line == "GET /?q=EVIL") && log.iter().any(|line| line == "GET /"),
        "{log:?}"
    );
    assert_eq!((stats.named("early_taken"), stats.named("flows_opened")), (1, 1));
    let half = &unescape(ATTACK)[10..].escape_ascii().to_string();
    assert!(found(&format!(">> syn 10 {ATTACK}\n>> {half}")), "what was not acknowledged comes again");
    check(&format!(">> syn 0 {ATTACK}\n>> {GOOD}\n<< {REPLY}"), &["GET /", "200"]);
}

/// Case E17: anybody can send data on SYNs, and it is kept in bounds.
#[test]
fn e17_data_on_syns_is_bounded() {
    let settings = Settings { max_early_bytes: 2000, ..Settings::default() };
    let flood: String =
        (1000..1100).map(|port| format!("port {port}\n>> syn 0 {}\n", "x".repeat(500))).collect();
    let (_, stats) = Dialog { settings, ..Dialog::default() }.run(&flood);
    assert_eq!(stats.named("early_kept"), 100);
    assert!(stats.named("early_evicted") >= 96, "{}", stats.named("early_evicted"));
    let small: String = (1000..1300).map(|port| format!("port {port}\n>> syn 0 x\n")).collect();
    assert_eq!(Dialog::default().run(&small).1.named("early_evicted"), 300 - 128);
}

/// Case E30: requests are inspected though no response is seen, and responses though no request is.
#[test]
fn e30_one_direction_only() {
    check(&format!(">> {GOOD}\n>> {ATTACK}"), &["GET /", FOUND[0], FOUND[1], "REPORT 1 query.q"]);
    let dialog = Dialog { marks: sensor_common::record::mark::HANDSHAKE, ..Dialog::default() };
    let (log, stats) = dialog.run(&format!("<< {REPLY}{REPLY}"));
    assert_eq!(log, ["200", "200"]);
    assert_eq!(stats.named("transactions"), 0);
}

/// Case R14: of trimmed bodies the beginning is inspected, and the whole again once they are whole.
#[test]
fn r14_trimmed_bodies() {
    let body = |at: usize| format!("q={}EVIL", "x".repeat(at));
    let post = |body: &str| {
        format!(
            r">> POST /p HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let seen = |script: &str| {
        let settings = Settings { trimmed_body_bytes: 100, ..Settings::default() };
        Dialog { settings, ..Dialog::default() }.run(script).0.iter().any(|line| line.starts_with("REPORT"))
    };
    assert!(seen(&post(&body(500))));
    assert!(!seen(&format!("trim\n{}", post(&body(500)))));
    assert!(seen(&format!("trim\n{}", post(&body(50)))));
    assert!(seen(&format!("trim\n{}\nwhole\n{}", post("q=x"), post(&body(500)))));
}

/// Case E32: a gap in a head, in a body, and between requests; the next request is found, and no smuggling is claimed.
#[test]
fn e32_gaps() {
    for before in [
        r">> GET /x HTTP/1.1\r\nHo",
        r">> POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\nabc",
        r">> POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        &format!(">> {GOOD}"),
    ] {
        let (log, stats) = Dialog::default().run(&format!("{before}\n>> lost 200\n>> {ATTACK}\nwait 1500"));
        let seen = log.iter().find(|line| line.starts_with("GET /?q=EVIL"));
        assert_eq!(seen.map(String::as_str), Some("GET /?q=EVIL"), "{before} {log:?}");
        assert!(
            !log.iter().any(|line| line.contains("content-length") || line.contains("embedded")),
            "{log:?}"
        );
        assert_eq!(stats.named("gap_bytes"), 200);
    }
}

/// Case E33: what does not look like HTTP at first is HTTP where it becomes so.
#[test]
fn e33_odd_beginnings() {
    let noise: String = "\\x01\\xfe".repeat(512);
    for first in [
        "G\n>> ET /?q=EVIL HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n".to_owned(),
        format!(r"\r\n\r\n{ATTACK}"),
        ATTACK.replace("GET", "get"),
        ATTACK.replace("GET", "FOO"),
        format!(r"PROXY TCP4 192.0.2.1 10.0.0.1 4000 80\r\n{ATTACK}"),
        format!(r"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c123456789012{ATTACK}"),
        format!("{noise}\\n\n>> {ATTACK}"),
    ] {
        assert!(found(&format!(">> {first}")), "{first}");
    }
}

/// Case E34: islands of one byte behind a hole that is never filled.
#[test]
fn e34_islands_are_bounded() {
    let islands: String = (1..=300).map(|n| format!(">> @{} x\n", 100 + n * 2)).collect();
    let settings = Settings { max_stream_segments: 64, ..Settings::default() };
    let (_, stats) = Dialog { settings, ..Dialog::default() }.run(&islands);
    assert!(stats.named("queue_overflows") > 0 && stats.named("flow_bytes") < 64 * 1024, "{stats:?}");
}

/// Case E35: an attack after any idle time is found while the engine keeps the connection; after it was forgotten, once the hole before it is
/// given up or acknowledged.
#[test]
fn e35_attacks_after_idle_times() {
    for millis in [3_000, 60_000, 599_000, 601_000, 7_200_000] {
        assert!(found(&format!(">> {GOOD}\n<< {REPLY}\nwait {millis}\n>> {ATTACK}\nwait 1001")), "{millis}");
        assert!(found(&format!(">> {GOOD}\n<< {REPLY}\nwait {millis}\n>> {ATTACK}\n<< {REPLY}")), "{millis}");
    }
}

/// Cases R3 and R4: heads that never end keep to the memory of all, and an attack beside them is found.
#[test]
fn r3_and_r4_heads_and_bodies_that_never_end() {
    let settings = Settings { max_flows: 200, max_total_bytes: 100_000, ..Settings::default() };
    let slow = |port: u32| {
        let begin = if port.is_multiple_of(2) {
            "GET /"
        } else {
            "POST / HTTP/1.1\\r\\nContent-Length: 999\\r\\n\\r\\n"
        };
        format!("port {port}\n>> {begin}{}\n", "a".repeat(900))
    };
    let script: String = (1..1000).map(slow).collect();
    let (log, stats) =
        Dialog { settings, ..Dialog::default() }.run(&format!("{script}port 5000\n>> {ATTACK}"));
    assert!(log.iter().any(|line| line == "REPORT 0 query.q"));
    assert!(stats.named("flows_now") <= 200 && stats.named("flow_bytes") <= 100_000, "{stats:?}");
}

/// Case R11: many pipelined requests on one connection; what waits for responses is bounded.
#[test]
fn r11_pipelined_requests_are_bounded() {
    let many = GOOD.repeat(5000);
    let (log, stats) = Dialog::default().run(&format!(">> {many}\n>> {ATTACK}"));
    assert_eq!(log.last().map(String::as_str), Some("REPORT 5000 query.q"));
    assert_eq!(stats.named("pipeline_overflows"), 5001 - Settings::default().max_pipelined as u64);
    assert!(stats.named("flow_bytes") < 2 * Settings::default().max_history_bytes as u64, "{stats:?}");
}

/// Case R12: segments out of order without end.
#[test]
fn r12_out_of_order_floods_are_bounded() {
    let settings = Settings { max_stream_bytes: 32 * 1024, ..Settings::default() };
    let most = settings.max_stream_bytes;
    let flood: String = (0..400).map(|n| format!(">> @{} {}\n", 2000 + n * 300, "y".repeat(200))).collect();
    let (_, stats) = Dialog { settings, ..Dialog::default() }.run(&flood);
    assert!(stats.named("flow_bytes") < 4 * most as u64, "{stats:?}");
}
