//! However a dialog is cut into segments, it is the same dialog; and where segments contradict each other, that is said.

use sensor_common::record::tcp;

use super::tests::{ATTACK, Dialog, GOOD, unescape};
use super::{Command, Settings};

/// Cases E6 and E7: a contradiction is a finding by itself, whichever bytes the application took.
#[test]
fn contradicting_segments_are_a_finding() {
    let decoy = r"GET /?q=GOOD HTTP/1.1\r\nHost: h\r\n\r\n";
    for (first, second) in [
        (format!(">> @0 {decoy}"), ">> @8 good".to_owned()),
        (">> @8 GOOD HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n".to_owned(), ">> @8 good\n>> @0 GET /?q=".to_owned()),
        (format!(">> @0 {decoy}"), format!(">> @0 {decoy}")),
    ] {
        let mut script = Dialog::default().script();
        script.engine.shared.worker.seam.action = None;
        first.lines().chain(second.lines()).for_each(|line| script.step(line));
        let mut rules = Vec::new();
        while let Some(command) = script.engine.next_command() {
            if let Command::Report(report) = command {
                rules.extend(report.findings.iter().map(|finding| finding.rule.id.clone()));
            }
        }
        let expected = if first == second { vec![] } else { vec!["tcp-overlap-conflict"] };
        assert_eq!(rules, expected, "{first} {second}");
    }
}

/// Every split of every message gives the same transactions: requests of each framing and form, with responses of each kind.
#[test]
fn every_split_of_every_message_gives_the_same_transactions() {
    let gzip =
        super::content_tests::gzip(b"q=EVIL").iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let gzip_length = gzip.len() / 4;
    let ok = r"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for (asked, answered) in [
        (format!("{GOOD}{ATTACK}"), format!("{ok}{ok}")),
        (
            r"POST /f HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n\r\na=1&b=EVIL".to_owned(),
            r"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ),
        (
            r"PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\na=EV\r\n2\r\nIL\r\n0\r\nT: EVIL\r\n\r\n".to_owned(),
            r"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n".to_owned(),
        ),
        (
            format!(r"HEAD /h HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n{GOOD}"),
            r"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nHTTP/1.1 204 No\r\n\r\n".to_owned(),
        ),
        (
            format!(r"POST /z HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: {gzip_length}\r\n\r\n{gzip}"),
            r"HTTP/1.0 200 OK\r\n\r\nuntil the end".to_owned(),
        ),
        (
            r"POST /m HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 68\r\n\r\n--b\r\nContent-Disposition: form-data; name=a\r\n\r\nEVIL\r\n--b--\r\n\r\n\r\n\r\n".to_owned(),
            r"HTTP/1.1 304 Not\r\nContent-Length: 7\r\n\r\n".to_owned(),
        ),
        (
            r#"POST /j HTTP/1.1\nHost: h\nContent-Type: application/json\nContent-Length: 12\n\n{"a":"EVIL"}"#.to_owned(),
            ok.to_owned(),
        ),
        (
            r"POST /s HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGGET /n HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            ok.to_owned(),
        ),
        (
            r"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n".to_owned(),
            r"HTTP/1.1 407 No\r\nContent-Length: 1\r\n\r\nx".to_owned(),
        ),
    ] {
        splits_change_nothing(&unescape(&asked), &unescape(&answered));
    }
}

/// What both ends said gives the same however it is cut: in two at every place, and in pieces of any size.
#[track_caller]
fn splits_change_nothing(asked: &[u8], answered: &[u8]) {
    let run = |asked: &[&[u8]], answered: &[&[u8]]| {
        let settings = Settings { list_transactions: true, ..Settings::default() };
        let mut script = Dialog { settings, ..Dialog::default() }.script();
        for (side, pieces) in [(0, asked), (1, answered)] {
            for piece in pieces {
                let next = script.next[side];
                script.send(side, next, piece, 0, tcp::ACK);
                script.next[side] = next.wrapping_add(piece.len() as u32);
            }
        }
        ["<< fin", ">> fin", "wait 3000"].into_iter().for_each(|line| script.step(line));
        script.collect();
        // When a body's other framings are inspected depends on when its bytes come.
        let mut log = std::mem::take(&mut script.engine.shared.worker.seam.log);
        log.sort();
        log
    };
    let whole = run(&[asked], &[answered]);
    assert!(whole.iter().any(|line| line.starts_with("LIST")), "{whole:?}");
    for cut in 1..asked.len() {
        let (left, right) = asked.split_at(cut);
        assert_eq!(run(&[left, right], &[answered]), whole, "{} cut at {cut}", asked.escape_ascii());
    }
    for cut in 1..answered.len() {
        let (left, right) = answered.split_at(cut);
        assert_eq!(run(&[asked], &[left, right]), whole, "{} cut at {cut}", answered.escape_ascii());
    }
    for size in 1..20 {
        let (asked, answered): (Vec<_>, Vec<_>) =
            (asked.chunks(size).collect(), answered.chunks(size).collect());
        assert_eq!(run(&asked, &answered), whole, "pieces of {size}");
    }
}
