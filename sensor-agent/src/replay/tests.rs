//! Captures made here, replayed.

use std::io::Write;
use std::sync::Arc;

use etherparse::PacketBuilder;
use sensor_engine::engine::Settings;
use sensor_engine::facts::Key;
use sensor_engine::policy::Policy;

use super::*;

const ATTACK: &[u8] = b"GET /?id=1%27%20UNION%20SELECT%20*%20FROM%20users-- HTTP/1.1\r\nHost: a\r\n\r\n";

/// How a capture wraps an IP packet.
#[derive(Clone, Copy, Debug)]
enum Link {
    Ethernet,
    Raw,
    Cooked,
    Cooked2,
    Loopback,
}

impl Link {
    fn number(self) -> u32 {
        match self {
            Self::Ethernet => 1,
            Self::Raw => 101,
            Self::Cooked => 113,
            Self::Cooked2 => 276,
            Self::Loopback => 0,
        }
    }

    fn wrap(self, ip: &[u8]) -> Vec<u8> {
        let before: &[u8] = match self {
            Self::Ethernet => &[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0],
            Self::Raw => &[],
            Self::Cooked => &[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0],
            Self::Cooked2 => &[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0],
            Self::Loopback => &[2, 0, 0, 0],
        };
        [before, ip].concat()
    }
}

fn ip(sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let packet = PacketBuilder::ipv4([192, 0, 2, 7], [198, 51, 100, 1], 64).tcp(40_000, 8080, sequence, 1000);
    packet.ack(1).write(&mut bytes, payload).unwrap();
    bytes
}

fn pcap(link: Link, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file =
        [0xa1b2_c3d4_u32.to_le_bytes().as_slice(), &[2, 0, 4, 0], &[0; 8], &65_535_u32.to_le_bytes()]
            .concat();
    file.extend(link.number().to_le_bytes());
    for (at, packet) in packets.iter().enumerate() {
        let frame = link.wrap(packet);
        let length = frame.len() as u32;
        for field in [1_700_000_000 + at as u32, 250_000, length, length] {
            file.extend(field.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

fn pcapng(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let padded = body.len().next_multiple_of(4);
        let length = (padded + 12) as u32;
        file.extend(kind.to_le_bytes());
        file.extend(length.to_le_bytes());
        file.extend(body);
        file.extend(vec![0; padded - body.len()]);
        file.extend(length.to_le_bytes());
    };
    block(0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat());
    block(1, &[&1_u16.to_le_bytes()[..], &[0, 0], &65_535_u32.to_le_bytes()].concat());
    for packet in packets {
        let frame = Link::Ethernet.wrap(packet);
        let length = (frame.len() as u32).to_le_bytes();
        block(6, &[&[0; 4][..], &[0; 4], &[1, 0, 0, 0], &length, &length, &frame].concat());
    }
    file
}

fn replayed(file: &[u8]) -> (Account, Vec<String>) {
    let mut written = tempfile::NamedTempFile::new().unwrap();
    written.write_all(file).unwrap();
    let rules = crate::detection::load(&[]).unwrap().rules;
    let engine = Engine::new(Settings::default(), Arc::new(rules), Arc::new(Policy::default()));
    let mut classes = Vec::new();
    let replay = Replay::new(engine, None, |seen| {
        let Seen::Report(delivered) = seen else { return Ok(()) };
        classes.push(format!("{} {}", delivered.report.client.ip(), delivered.report.verdict.class));
        Ok(())
    });
    let (account, _) = replay.run(written.path()).unwrap();
    (account, classes)
}

#[test]
fn an_attack_is_found_in_every_kind_of_capture() {
    let (head, tail) = ATTACK.split_at(20);
    let packets = [ip(1, head), ip(21, tail)];
    let captures = [Link::Ethernet, Link::Raw, Link::Cooked, Link::Cooked2, Link::Loopback]
        .map(|link| (format!("{link:?}"), pcap(link, &packets)));
    for (kind, file) in captures.into_iter().chain([("pcapng".to_owned(), pcapng(&packets))]) {
        let (account, found) = replayed(&file);
        assert_eq!(found, ["192.0.2.7 SQL_INJECTION"], "{kind}");
        assert_eq!(
            (account.read, account.passed_over, account.records, account.cut_off),
            (2, 0, 2, false),
            "{kind}"
        );
    }
}

#[test]
fn a_cut_off_capture_gives_what_it_has_and_says_so() {
    let mut file = pcap(Link::Ethernet, &[ip(1, ATTACK), ip(1000, b"x")]);
    file.truncate(file.len() - 5);
    let (account, found) = replayed(&file);
    assert_eq!((found.len(), account.cut_off), (1, true));
}

#[test]
fn requests_and_archives_are_replayed_too() {
    assert_eq!(replayed(ATTACK).1, ["192.0.2.1 SQL_INJECTION"]);
    let archive = br#"{"log":{"entries":[{"request":{"method":"GET","url":"http://a/?q=%3Cscript%3Ealert(1)%3C/script%3E"}}]}}"#;
    assert_eq!(replayed(archive).1, ["192.0.2.1 INPUT_VALIDATION"]);
}

/// The responses of an archive are listed with their requests.
#[test]
fn archives_have_responses() {
    let archive = br#"{"log":{"entries":[{"request":{"method":"GET","url":"http://a/x"},
        "response":{"status":404,"statusText":"No","content":{"text":"gone"}}}]}}"#;
    let mut written = tempfile::NamedTempFile::new().unwrap();
    written.write_all(archive).unwrap();
    let settings = Settings { list_transactions: true, ..Settings::default() };
    let engine = Engine::new(settings, Arc::default(), Arc::new(Policy::default()));
    let mut lines = Vec::new();
    let replay = Replay::new(engine, None, |seen| {
        let Seen::Transaction(one) = seen else { return Ok(()) };
        lines.push(crate::alert::listing::text(&one));
        Ok(())
    });
    replay.run(written.path()).unwrap();
    assert_eq!(lines, ["192.0.2.1:1025 198.51.100.1:80 #0 GET a/x HTTP/1.1 0 404 4"]);
}

#[test]
fn garbage_behind_a_capture_header_is_no_panic() {
    let mut file = pcap(Link::Ethernet, &[]);
    let mut state = 7_u32;
    for _ in 0..4096 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        file.push((state >> 24) as u8);
    }
    replayed(&file);
    replayed(&pcapng(&[vec![0x45; 30], vec![]]));
}

/// A segment of one side of a connection that goes on.
fn segment(from_client: bool, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let (client, server) = (([192, 0, 2, 7], 40_000), ([198, 51, 100, 1], 8080));
    let (from, to) = if from_client { (client, server) } else { (server, client) };
    let mut bytes = Vec::new();
    let packet = PacketBuilder::ipv4(from.0, to.0, 64).tcp(from.1, to.1, sequence, 1000);
    packet.ack(1).write(&mut bytes, payload).unwrap();
    bytes
}

#[test]
fn transactions_are_listed_as_they_were_understood() {
    let post = b"POST /a?b=c HTTP/1.1\r\nHost: h\r\nUser-Agent: u\x1b\r\nContent-Length: 3\r\n\r\nx=1";
    let get = b"GET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
    let created = b"HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
    let packets =
        [segment(true, 1, post), segment(false, 1, created), segment(true, 1 + post.len() as u32, get)];
    let mut written = tempfile::NamedTempFile::new().unwrap();
    written.write_all(&pcap(Link::Ethernet, &packets)).unwrap();
    let settings = Settings { list_transactions: true, ..Settings::default() };
    let engine = Engine::new(settings, Arc::default(), Arc::new(Policy::default()));
    let (mut lines, mut events) = (Vec::new(), Vec::new());
    let replay = Replay::new(engine, None, |seen| {
        let Seen::Transaction(one) = seen else { return Ok(()) };
        lines.push(crate::alert::listing::text(&one));
        events.push(crate::alert::listing::event(&one, crate::clock::WallClock::of_wall_times()));
        Ok(())
    });
    replay.run(written.path()).unwrap();
    let ends = "192.0.2.7:40000 198.51.100.1:8080";
    assert_eq!(
        lines,
        [
            format!("{ends} #0 POST h/a?b=c HTTP/1.1 3 201 5 [header-control-byte]"),
            format!("{ends} #1 GET h/2 HTTP/1.1 0 - 0"),
        ]
    );
    let event: serde_json::Value = serde_json::from_str(&events[0]).unwrap();
    assert_eq!((&event["event_type"], &event["http"]["status"]), (&"http".into(), &201.into()));
    assert_eq!((&event["http"]["length"], &event["sensor"]["request_bytes"]), (&5.into(), &3.into()));
    assert_eq!(event["http"]["http_user_agent"], r"u\x1b");
}

/// Cases E22 and E23: the parts of a datagram are put together, in any order; an overlap drops it.
#[test]
fn fragments_are_put_together() {
    let whole = ip(1, ATTACK);
    let (header, payload) = whole.split_at(20);
    let part = |at: usize, end: usize| {
        let mut header = header.to_vec();
        header[2..4].copy_from_slice(&(20 + end as u16 - at as u16).to_be_bytes());
        let more = if end < payload.len() { 0x2000 } else { 0 };
        header[6..8].copy_from_slice(&((at as u16 / 8) | more).to_be_bytes());
        [&header, &payload[at..end]].concat()
    };
    let pieces: Vec<_> =
        (0..payload.len()).step_by(8).map(|at| part(at, payload.len().min(at + 8))).rev().collect();
    let (account, found) = replayed(&pcap(Link::Ethernet, &pieces));
    assert_eq!((found.len(), account.fragments, account.records), (1, pieces.len() as u64, 1));
    let overlapping = [part(0, 32), part(16, 48), part(32, payload.len())];
    assert_eq!(replayed(&pcap(Link::Raw, &overlapping)).1.len(), 0);
}

/// Segments of one side of a connection of a client's, from so many of its ports.
fn dialog(port: u16, request: &[u8], response: &[u8]) -> Vec<Vec<u8>> {
    let (client, server) = (([192, 0, 2, 7], port), ([198, 51, 100, 1], 8080));
    let segment = |from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]| {
        let mut bytes = Vec::new();
        let packet = PacketBuilder::ipv4(from.0, to.0, 64).tcp(from.1, to.1, 1, 1000);
        packet.ack(1).write(&mut bytes, payload).unwrap();
        bytes
    };
    vec![segment(client, server, request), segment(server, client, response)]
}

#[test]
fn behaviour_shows_in_a_capture() {
    let login = |number: usize| {
        let body = format!("user=alice&password=guess{number:02}");
        let head = "POST /login HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\n";
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let refused = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
    let packets: Vec<_> =
        (0..12).flat_map(|number| dialog(40_000 + number as u16, &login(number), refused)).collect();
    let mut written = tempfile::NamedTempFile::new().unwrap();
    written.write_all(&pcap(Link::Ethernet, &packets)).unwrap();
    let (rules, policy, key) = (Arc::default(), Arc::new(Policy::default()), Key::default());
    let settings = Settings { facts: Some(key.clone()), ..Settings::default() };
    let standing = Arc::clone(&settings.standing);
    let config = crate::config::Config::default();
    let observer = config.observer(Arc::clone(&rules), Arc::clone(&policy), key, standing);
    let mut found = Vec::new();
    let replay = Replay::new(Engine::new(settings, rules, policy), observer, |seen| {
        let Seen::Report(delivered) = seen else { return Ok(()) };
        let report = &delivered.report;
        found.push(format!("{} {} {}", report.client, report.findings[0].rule.id, report.outcome.name()));
        Ok(())
    });
    replay.run(written.path()).unwrap();
    assert_eq!(found, ["192.0.2.7:40009 login-brute-force behaviour"]);
}
