//! Slow requests: dialogs in, what is told of them out.

use sensor_common::record::mark;

use super::Settings;
use super::tests::{Dialog, GOOD};
use crate::facts::Key;

/// How often a dialog's connections are told to be slow.
fn told(script: &str) -> usize {
    let settings = Settings { facts: Some(Key::default()), ..Settings::default() };
    let marks = mark::INITIAL_SEQUENCE | mark::HANDSHAKE | mark::FROM_OPENER;
    let (log, stats) = Dialog { settings, marks, ..Dialog::default() }.run(script);
    let told = log.iter().filter(|line| line.starts_with("FACTS") && line.ends_with(" slow")).count();
    assert_eq!(stats.named("slow_requests") + stats.named("slow_readers"), told as u64);
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

/// A response of so many bytes, of which `count` pieces come, one every `millis`.
fn drip(head: &str, count: usize, millis: u32, piece: &str) -> String {
    let begin = format!("{GOOD}\n<< {head}");
    let drips = format!("wait {millis}\n<< {piece}\n").repeat(count);
    format!(">> {begin}\n{drips}")
}

#[test]
fn r4_responses_that_are_not_taken_are_told_once() {
    let sized = r"HTTP/1.1 200 OK\r\nContent-Length: 99000\r\n\r\n";
    let chunked = r"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (script, expected) in [
        (drip(sized, 6, 5000, "xxxxxxxxxx"), 1),
        (drip(&format!(r"{chunked}ffff\r\n"), 6, 5000, "x"), 1),
        (drip(sized, 6, 5000, &"x".repeat(400)), 0),
        (drip(sized, 3, 5000, "x"), 0),
        // A window that is shut, until somebody has enough.
        (format!("{}wait 60000\n>> rst", drip(sized, 1, 10, "x")), 1),
        (format!("{}wait 601000", drip(sized, 1, 10, "x")), 1),
        // A server that has nothing to say for a while: events, and what ends with the connection.
        (drip(chunked, 8, 5000, r"1\r\nx\r\n"), 0),
        (drip(r"HTTP/1.1 200 OK\r\n\r\n", 8, 5000, "x"), 0),
        // A response that is over does not wait for anything.
        (format!("{}wait 60000\n>> fin\n<< fin", drip(sized, 1, 10, &"x".repeat(99_000))), 0),
        // The next request on the connection has a time of its own.
        (
            format!(
                "{}wait 15000\n{}wait 15000\n>> fin\n<< fin",
                drip(r"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 1, 15_000, "xx"),
                drip(sized, 1, 10, "x"),
            ),
            0,
        ),
    ] {
        assert_eq!(told(&script), expected, "{}", &script[..script.len().min(300)]);
    }
}

/// The rest of a large response is left in the kernel once the client takes it; what happens then is not seen, and not told.
#[test]
fn r4_what_is_left_out_is_not_told() {
    let head = r"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 9000000\r\n\r\n";
    let settings = Settings { facts: Some(Key::default()), ..Settings::default() };
    let marks = mark::INITIAL_SEQUENCE | mark::HANDSHAKE | mark::FROM_OPENER;
    let skips = |pieces: usize| {
        let dialog = Dialog { settings: settings.clone(), marks, ..Dialog::default() };
        let (_, stats) =
            dialog.run(&format!("{}wait 60000\n>> rst", drip(head, pieces, 10, &"x".repeat(5000))));
        (stats.named("skips"), stats.named("slow_readers"))
    };
    assert_eq!(skips(2), (0, 0));
    assert_eq!(skips(5), (1, 0));
    let script = format!("{}wait 60000\n>> rst", drip(head, 2, 10, "x"));
    let dialog = Dialog { settings: settings.clone(), marks, ..Dialog::default() };
    let (_, stats) = dialog.run(&script);
    assert_eq!((stats.named("skips"), stats.named("slow_readers")), (0, 1));
}

#[test]
fn a_rate_of_nothing_takes_none_for_slow() {
    let settings = Settings { facts: Some(Key::default()), slow_request_rate: 0, ..Settings::default() };
    let dialog = Dialog { settings, marks: mark::INITIAL_SEQUENCE | mark::FROM_OPENER, ..Dialog::default() };
    let (_, stats) = dialog.run(&trickle(BODY, 6, 5000, "b"));
    assert_eq!(stats.named("slow_requests"), 0);
}
