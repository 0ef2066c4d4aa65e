//! What reaches the application and what does not, as dialogs: group E of the catalogue of cases.

use super::tests::{ATTACK, Dialog, FOUND, GOOD, check, unescape};

const BLOCK: &str = "BLOCK 10.0.0.9 SQL_INJECTION evil";
/// As long as the attack, and harmless.
const DECOY: &str = r"GET /?q=GOOD HTTP/1.1\r\nHost: h\r\n\r\n";
const REPLY: &str = r"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// The log without what the inspection of readings shows.
#[track_caller]
fn finds(script: &str, expected: &str, count: (&str, u64)) {
    let (log, stats) = Dialog::default().run(script);
    let found: Vec<_> = log.iter().filter(|line| line.starts_with("REPORT")).cloned().collect();
    assert_eq!(found.join(" "), expected, "{script}\n{log:?}");
    assert_eq!(stats.named(count.0), count.1, "{}: {script}\n{log:?}", count.0);
}

/// Case E6, and E8 where the tap cannot tell a wrong checksum: what was read first may not be what the application read.
#[test]
fn what_contradicts_a_request_that_was_read_is_inspected() {
    finds(&format!(">> @0 {DECOY}\n>> @0 {ATTACK}"), "REPORT 0 query.q", ("readings", 1));
    finds(&format!(">> @0 {DECOY}\n>> @8 EVIL"), "REPORT 0 query.q", ("overlap_conflicts", 1));
    finds(&format!(">> @0 {ATTACK}\n>> @0 {DECOY}"), "REPORT 0 query.q", ("overlap_conflicts", 1));
    let (log, _) = Dialog::default().run(&format!(">> @0 {DECOY}\n>> @8 EVIL"));
    assert_eq!(log[2..4], ["GET /?q=EVIL !overlap-conflict", BLOCK]);
}

#[test]
fn a_request_behind_a_conflict_is_not_blamed_for_it() {
    let (log, _) = Dialog::default().run(&format!(">> @0 {DECOY}\n>> @8 good\n<< {REPLY}\n>> {GOOD}"));
    assert_eq!(log.last().unwrap(), "GET /");
}

#[test]
fn what_only_a_reading_holds_is_reported_once() {
    finds(
        &format!(">> @0 {DECOY}\n>> @8 EVIL\n>> @0 {ATTACK}\n>> {GOOD}"),
        "REPORT 0 query.q",
        ("readings", 3),
    );
    let again = format!(">> @0 {DECOY}\n>> @8 EVIL\n>> @9 XXX\n>> @8 AXX\n>> @8 BXX\n>> @8 CXX\n>> @8 DXX");
    finds(&again, "REPORT 0 query.q", ("readings_skipped", 2));
}

#[test]
fn a_contradicted_body_is_inspected_when_it_is_complete() {
    let head = r"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n";
    let at = unescape(head).len();
    finds(
        &format!(">> {head}a=GO\n>> @{} EV\n>> @{} IL", at + 2, at + 4),
        "REPORT 0 body.form.a",
        ("readings", 1),
    );
    finds(&format!(">> {head}a=GO\n>> @{} EVIL", at + 2), "REPORT 0 body.form.a", ("readings", 1));
}

/// What the decoy makes of the rest does not matter: the application's answer shows that its request was complete.
#[test]
fn a_decoy_that_announces_a_body_hides_nothing() {
    let decoy = r"POST /?q=EVI HTTP/1.1\r\nContent-Length: 999\r\n\r\n";
    let real = r"POST /?q=EVIL HTTP/1.1\r\nContent-Length: 00\r\n\r\n";
    assert_eq!(unescape(decoy).len(), unescape(real).len());
    let found = "REPORT 0 query.q,header.content-length";
    finds(&format!(">> @0 {decoy}\n>> @0 {real}\n<< {REPLY}"), found, ("readings", 1));
}

/// Case E7: the bytes that lost in the queue are inspected too.
#[test]
fn what_lost_in_the_queue_is_inspected() {
    finds(
        ">> @8 GOOD\n>> @8 EVIL\n>> @12  HTTP/1.0\\r\\n\\r\\n\n>> @0 GET /?q=",
        "REPORT 0 query.q",
        ("readings", 1),
    );
    finds(
        ">> @8 EVxx\n>> @10 IL\n>> @8 xxIL\n>> @12  HTTP/1.0\\r\\n\\r\\n\n>> @0 GET /?q=",
        "REPORT 0 query.q",
        ("readings", 2),
    );
}

#[test]
fn contradictions_are_bounded() {
    let settings = super::Settings { max_history_bytes: 64, ..super::Settings::default() };
    let lies: String = (0..40).map(|n| format!(">> @8 {n:04}\n")).collect();
    let (_, stats) = Dialog { settings, ..Dialog::default() }.run(&format!(">> @0 {DECOY}\n{lies}"));
    assert!(stats.named("overlaps_dropped") > 20 && stats.named("readings") <= 16, "{stats:?}");
}

#[test]
fn a_history_that_is_full_begins_anew_between_messages() {
    let settings = super::Settings { max_history_bytes: 64, ..super::Settings::default() };
    let (log, stats) = Dialog { settings, ..Dialog::default() }.run(&format!(
        ">> {GOOD}\n>> {GOOD}\n>> {GOOD}\n>> {DECOY}\n>> @{} EVIL",
        3 * unescape(GOOD).len() + 8
    ));
    assert!(
        stats.named("histories_full") == 1 && log.iter().any(|line| line.contains("q=EVIL")),
        "{log:?} {stats:?}"
    );
}

/// Case E9.
#[test]
fn data_with_an_impossible_acknowledgement_is_ignored() {
    for ack in [1000, 1, -1, -100_000] {
        let script = format!("with ack={ack}\n>> @0 {DECOY}\n>> @0 {ATTACK}");
        check(&script, &FOUND);
        let (_, stats) = Dialog::default().run(&script);
        assert_eq!((stats.named("segments_bad_acknowledgement"), stats.named("readings")), (1, 0), "{ack}");
    }
    let after =
        format!(">> {GOOD}\n<< {REPLY}\nwith ack=9\n>> @{0} {DECOY}\n>> @{0} {ATTACK}", unescape(GOOD).len());
    check(&after, &["GET /", "200", FOUND[0], FOUND[1], "REPORT 1 query.q"]);
}

/// Case E10.
#[test]
fn data_with_an_old_timestamp_is_ignored() {
    let cut = |decoy: &str| {
        format!(
            "with ts=5000\n>> @0 GET /?q=\n{decoy}\n>> @8 GOOD\nwith ts=5000\n>> @8 EVIL HTTP/1.0\\r\\n\\r\\n"
        )
    };
    finds(&cut("with ts=4000"), "REPORT 0 query.q", ("segments_old_timestamp", 1));
    let (_, stats) = Dialog::default().run(&cut("with ts=4000"));
    assert_eq!(stats.named("overlap_conflicts"), 0);
    finds(&cut("with ts=4999"), "REPORT 0 query.q", ("segments_old_timestamp", 0));
    let attack = String::from("with ts=5000\n>> GET /?q=\n>> EVIL HTTP/1.0\\r\\n\\r\\n");
    finds(&attack, "REPORT 0 query.q", ("segments_old_timestamp", 0));
}

/// Case E11.
#[test]
fn signed_data_is_ignored() {
    check(&format!("with md5\n>> @0 {DECOY}\n>> @0 {ATTACK}"), &FOUND);
}

/// Whatever was ignored: the host's own acknowledgement proves that the application got it.
#[test]
fn what_the_host_acknowledges_was_not_ignored() {
    for with in ["md5", "ack=7"] {
        let script = format!("with {with}\n>> {ATTACK}\n<< {REPLY}");
        check(&script, &[FOUND[0], "200", FOUND[1], FOUND[2]]);
    }
    let lost = format!(">> {GOOD}\n<< lost 30\n>> {ATTACK}\n<< {REPLY}");
    let (log, _) = Dialog::default().run(&lost);
    assert!(log.iter().any(|line| line == "REPORT 1 query.q"), "{log:?}");
}

/// Case E20.
#[test]
fn urgent_data_leaves_the_stream_and_is_inspected_with_it() {
    finds(">> GET /?q=EV\nwith urg=1\n>> XIL HTTP/1.0\\r\\n\\r\\n", "REPORT 0 query.q", ("urgent_bytes", 1));
    finds(">> GET /?q=E\nwith urg=1\n>> VIL HTTP/1.0\\r\\n\\r\\n", "REPORT 0 query.q", ("readings", 1));
    finds("with urg=11\n>> GET /?q=EV\n>> XIL HTTP/1.0\\r\\n\\r\\n", "REPORT 0 query.q", ("urgent_bytes", 1));
}

/// Case E21: a keep-alive probe repeats a place with any byte.
#[test]
fn a_keep_alive_probe_is_no_contradiction() {
    let end = unescape(GOOD).len();
    let (log, stats) = Dialog::default().run(&format!(">> {GOOD}\n>> @{} X\n>> {ATTACK}", end - 1));
    assert_eq!(log, ["GET /", FOUND[0], FOUND[1], "REPORT 1 query.q"]);
    assert_eq!(stats.named("overlap_conflicts"), 0);
}
