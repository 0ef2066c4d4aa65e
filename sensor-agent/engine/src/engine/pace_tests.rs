//! Slow requests: dialogs in, what is told of them out.

use sensor_common::record::mark;

use super::Settings;
use super::tests::Dialog;
use crate::facts::Key;

/// How often a dialog's connections are told to be slow.
fn told(script: &str) -> usize {
    let settings = Settings { facts: Some(Key::default()), ..Settings::default() };
    let marks = mark::INITIAL_SEQUENCE | mark::HANDSHAKE | mark::FROM_OPENER;
    let (log, stats) = Dialog { settings, marks, ..Dialog::default() }.run(script);
    let told = log.iter().filter(|line| line.starts_with("FACTS") && line.ends_with(" slow")).count();
    assert_eq!(stats.named("slow_requests"), told as u64);
    told
}

/// A connection on which `count` pieces come, one every `millis`.
fn trickle(begin: &str, count: usize, millis: u32, piece: &str) -> String {
    format!(">> {begin}\n{}", format!("wait {millis}\n>> {piece}\n").repeat(count))
}

const BODY: &str = r"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\na";

#[test]
fn r3_heads_that_do_not_get_on_are_told_once() {
    for (script, expected) in [
        (trickle(r"GET / HTTP/1.1\r\n", 6, 5000, r"X-a: b\r\n"), 1),
        (trickle(r"GET / HTTP/1.1\r\n", 3, 5000, r"X-a: b\r\n"), 0),
        // The last header ends the head in time; the next request has a time of its own.
        (
            trickle(r"GET / HTTP/1.1\r\n", 3, 5000, r"X-a: b\r\n")
                + ">> \\r\\n\nwait 15000\n>> GET /b HT\nwait 9000\n>> TP",
            0,
        ),
        // Much comes, if slowly.
        (trickle(r"GET / HTTP/1.1\r\n", 6, 5000, &format!(r"X-a: {}\r\n", "b".repeat(300))), 0),
        // Nothing comes at all, until the server has enough.
        (">> GET / HT\nwait 60000\n<< fin\n>> fin\nwait 3000".to_owned(), 1),
    ] {
        assert_eq!(told(&script), expected, "{script}");
    }
}

#[test]
fn r4_bodies_that_do_not_get_on_are_told_once() {
    for (script, expected) in [
        (trickle(BODY, 6, 5000, "b"), 1),
        (trickle(BODY, 6, 5000, &"b".repeat(400)), 0),
        (trickle(BODY, 3, 5000, "b"), 0),
        // A response that takes its time is the server's affair.
        (
            r">> GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()
                + &"\nwait 5000\n<< HTTP/1.1 100 C\\r\\n\\r\\n".repeat(6),
            0,
        ),
    ] {
        assert_eq!(told(&script), expected, "{script}");
    }
}

#[test]
fn a_rate_of_nothing_takes_none_for_slow() {
    let settings = Settings { facts: Some(Key::default()), slow_request_rate: 0, ..Settings::default() };
    let dialog = Dialog { settings, marks: mark::INITIAL_SEQUENCE | mark::FROM_OPENER, ..Dialog::default() };
    let (_, stats) = dialog.run(&trickle(BODY, 6, 5000, "b"));
    assert_eq!(stats.named("slow_requests"), 0);
}
