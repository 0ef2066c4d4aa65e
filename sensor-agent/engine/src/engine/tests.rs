//! Dialogs as text in, messages and commands as text out, through one helper, [`Dialog::run`].

use proptest::prelude::*;
use sensor_common::record::{EGRESS, INGRESS, RecordHeader, mapped, mark};
use zerocopy::IntoBytes;

use super::*;
use crate::detect::Phase;
use crate::facts::flag;
use crate::field::{Fields, Place};
use crate::finding::{Class, Confidence, Finding, RuleInfo, Severity};
use crate::http::message::{Request, Response};
use crate::policy::{Action, Verdict};

/// Stands in for rules and policy: a value with `EVIL` in it is a finding, and findings block as `action` says.
#[derive(Debug, Default)]
pub(super) struct Seam {
    pub(super) action: Option<Action>,
    pub(super) log: Vec<String>,
}

impl Seam {
    /// In a dialog with a verdict of its own, `EVIL` is what is found and nothing else: its findings are those behind `before`.
    pub(super) fn inspect(
        &mut self,
        phase: Phase,
        request: &Request,
        fields: &Fields,
        findings: &mut Vec<Finding>,
        before: usize,
    ) {
        if self.action.is_some() {
            findings.truncate(before);
        }
        let shown = match phase {
            Phase::Head => format!("{} {}", request.method().escape_ascii(), request.target().escape_ascii()),
            Phase::Body | Phase::Response => {
                let fields = fields.iter().map(|field| format!("{field}={}", field.value.escape_ascii()));
                format!("body {}", fields.collect::<Vec<_>>().join(" "))
            }
        };
        let anomalies: String = request.anomalies.iter().map(|anomaly| format!(" !{anomaly}")).collect();
        self.log.push(if phase == Phase::Response {
            format!("response {shown}")
        } else {
            shown + &anomalies
        });
        let hit = |value: &[u8]| value.windows(4).any(|window| window == b"EVIL");
        for field in fields.iter().filter(|field| field.place != Place::Target && hit(field.value)) {
            findings.push(finding(&field.to_string()));
        }
    }

    pub(super) fn action(&self, verified: bool, findings: &[Finding]) -> Option<Verdict> {
        let action = self.action.filter(|_| !findings.is_empty())?;
        let action = if verified { action } else { Action::Unverified };
        let confidence = findings.iter().fold(Confidence::ZERO, |sum, finding| sum.or(finding.confidence));
        Some(Verdict { class: Class::SqlInjection, severity: Severity::High, confidence, action })
    }

    pub(super) fn response(&mut self, response: &Response) {
        self.log.push(format!("{}", response.status));
    }
}

pub(super) fn finding(field: &str) -> Finding {
    let info = RuleInfo {
        id: "evil".into(),
        number: 1,
        revision: 1,
        title: String::new(),
        tags: Vec::new(),
        response: None,
    };
    Finding {
        rule: Arc::new(info),
        class: Class::SqlInjection,
        severity: Severity::High,
        confidence: Confidence::new(0.9).unwrap(),
        field: field.to_owned(),
        offset: 0,
        length: 4,
        decoders: Vec::new(),
        evidence: "EVIL".to_owned(),
    }
}

/// What two ends say. `>>` is the client, `<<` the server; a line is one segment, and understands Rust's escapes:
///
/// ```text
/// >> GET / HTTP/1.1\r\n      the next bytes
/// >> @5 text                 bytes at offset 5, again or out of order
/// >> lost 7                  the next 7 bytes are sent and arrive, but the tap misses them
/// >> cut 7 text              the next bytes, of which the tap captured all but the last 7
/// >> fin   >> rst   >> rst 3 end of the stream; reset, at the exact sequence number or off by 3
/// >> isn 99                  a new connection between the same endpoints
/// with ack=5 ts=7 urg=3 md5  about the next segment: acknowledges 5 more than there was, and so on
/// port 99                    from here on with another client port
/// wait 1500                  milliseconds
/// ```
pub(super) struct Dialog {
    pub(super) settings: Settings,
    pub(super) action: Action,
    pub(super) marks: u8,
    pub(super) client_isn: u32,
    pub(super) rules: Arc<RuleSet>,
}

impl Default for Dialog {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            action: Action::Block(Duration::from_secs(60)),
            marks: mark::INITIAL_SEQUENCE | mark::HANDSHAKE,
            client_isn: 1000,
            rules: Arc::default(),
        }
    }
}

pub(super) struct Script {
    pub(super) engine: Engine,
    marks: u8,
    initial: [u32; 2],
    pub(super) next: [u32; 2],
    with: RecordHeader,
    port: u16,
    now: Duration,
}

impl Dialog {
    /// What was seen, and what was commanded, in order; the counters that matter can be asked for.
    #[track_caller]
    pub(super) fn run(self, script: &str) -> (Vec<String>, Stats) {
        let mut state = self.script();
        for line in script.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
            state.step(line);
            state.collect();
        }
        let stats = state.engine.stats();
        let ignored: u64 = stats
            .named
            .iter()
            .filter(|(name, ..)| name.starts_with("ignored_"))
            .map(|&(.., value)| value)
            .sum();
        assert_eq!(stats.records, stats.accepted + stats.record_malformed + ignored);
        (state.engine.shared.worker.seam.log, stats)
    }

    pub(super) fn script(self) -> Script {
        let mut engine = Engine::new(self.settings, self.rules, Arc::new(no_policy()));
        engine.shared.worker.seam.action = Some(self.action);
        let initial = [self.client_isn, 0xffff_ff00];
        let now = Duration::from_secs(100);
        Script {
            engine,
            marks: self.marks,
            initial,
            next: initial,
            with: RecordHeader::default(),
            port: 4000,
            now,
        }
    }

    #[track_caller]
    fn check(self, script: &str, expected: &[&str]) {
        assert_eq!(self.run(script).0, expected, "{script}");
    }
}

fn no_policy() -> Policy {
    Policy {
        mode: crate::policy::Mode::Enforce,
        report_from: Confidence::ZERO,
        block_from: Confidence::ZERO,
        block_from_class: Vec::new(),
        block_severity: Severity::Info,
        block_for: Duration::ZERO,
        exempt: Vec::new(),
        ..Policy::default()
    }
}

impl Script {
    pub(super) fn step(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            ">>" => self.say(0, rest),
            "<<" => self.say(1, rest),
            "with" => rest.split(' ').for_each(|word| self.with(word)),
            "port" => {
                self.port = rest.parse().unwrap();
                self.next = self.initial;
            }
            "trim" => self.engine.trim_bodies(true),
            "whole" => self.engine.trim_bodies(false),
            "wait" => {
                self.now += Duration::from_millis(rest.parse().unwrap());
                self.engine.handle_timeout(Timestamp::default() + self.now);
            }
            _ => panic!("`{line}`"),
        }
    }

    fn with(&mut self, word: &str) {
        let (name, value) = word.split_once('=').unwrap_or((word, "0"));
        let value: i32 = value.parse().unwrap();
        match name {
            "ack" => self.with.acknowledgement = value.cast_unsigned(),
            "ts" => {
                self.with.timestamp = value.cast_unsigned();
                self.with.marks |= mark::TIMESTAMP | mark::TIMESTAMPS_AGREED;
            }
            "urg" => {
                self.with.urgent_pointer = value as u16;
                self.with.tcp_flags |= tcp::URG;
            }
            "md5" => self.with.marks |= mark::MD5_SIGNATURE,
            _ => panic!("`{word}`"),
        }
    }

    fn say(&mut self, side: usize, text: &str) {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let next = self.next[side];
        match word {
            "lost" => self.next[side] = next.wrapping_add(rest.parse().unwrap()),
            "fin" => {
                self.send(side, next, b"", 0, tcp::FIN | tcp::ACK);
                self.next[side] = next.wrapping_add(1);
            }
            "rst" => self.send(side, next.wrapping_add_signed(rest.parse().unwrap_or(0)), b"", 0, tcp::RST),
            "syn" => {
                let (taken, data) = rest.split_once(' ').unwrap();
                let (taken, data): (u32, _) = (taken.parse().unwrap(), unescape(data));
                self.send(side, self.initial[side].wrapping_sub(1), &data, 0, tcp::SYN);
                self.initial[side] = self.initial[side].wrapping_add(taken);
                self.next[side] = self.initial[side];
            }
            "isn" => {
                self.initial[side] = rest.parse().unwrap();
                self.next[side] = self.initial[side];
            }
            "cut" => {
                let (missing, rest) = rest.split_once(' ').unwrap();
                let (data, missing) = (unescape(rest), missing.parse().unwrap());
                self.send(side, next, &data[..data.len() - missing], missing, tcp::ACK);
                self.next[side] = next.wrapping_add(data.len() as u32);
            }
            _ => match word.strip_prefix('@') {
                Some(at) => {
                    let at = self.initial[side].wrapping_add(at.parse().unwrap());
                    let data = unescape(rest);
                    self.send(side, at, &data, 0, tcp::ACK);
                    let end = at.wrapping_add(data.len() as u32);
                    if end.wrapping_sub(next).cast_signed() > 0 {
                        self.next[side] = end;
                    }
                }
                None => {
                    let data = unescape(text);
                    self.send(side, next, &data, 0, tcp::ACK);
                    self.next[side] = next.wrapping_add(data.len() as u32);
                }
            },
        }
    }

    pub(super) fn send(&mut self, side: usize, sequence: u32, payload: &[u8], missing: usize, tcp_flags: u8) {
        let ends = [(mapped([10, 0, 0, 9]), self.port), (mapped([10, 0, 0, 1]), 80)];
        let with = std::mem::take(&mut self.with);
        let header = RecordHeader {
            time_ns: self.now.as_nanos() as u64,
            source: ends[side].0,
            source_port: ends[side].1,
            destination: ends[1 - side].0,
            destination_port: ends[1 - side].1,
            sequence,
            acknowledgement: self.next[1 - side].wrapping_add(with.acknowledgement),
            initial_sequence: self.initial[side],
            peer_initial_sequence: self.initial[1 - side],
            payload_len: (payload.len() + missing) as u32,
            captured_len: payload.len() as u32,
            tcp_flags: tcp_flags | with.tcp_flags,
            direction: if side == 0 { INGRESS } else { EGRESS },
            ip_version: 4,
            marks: self.marks | with.marks,
            ..with
        };
        self.engine.handle_record(&[header.as_bytes(), payload].concat());
    }

    pub(super) fn collect(&mut self) {
        while let Some(facts) = self.engine.next_facts() {
            let (request, response) = (facts.request, facts.response);
            self.engine.shared.worker.seam.log.push(format!(
                "FACTS {} {} {} {} {} {:?}{}",
                facts.number,
                request.method.name(),
                request.path_text.bytes().escape_ascii(),
                response.status,
                response.bytes,
                response.login,
                if request.has(flag::SLOW) {
                    " slow"
                } else if facts.found.rules[0] == 0 {
                    ""
                } else {
                    " found"
                },
            ));
        }
        while let Some(command) = self.engine.next_command() {
            self.engine.shared.worker.seam.log.push(match command {
                Command::Block(block) => {
                    format!(
                        "BLOCK {}{} {}",
                        block.source,
                        if block.shadow { " shadow" } else { "" },
                        block.reason
                    )
                }
                Command::WebSocket(ends) => format!("WEBSOCKET {} {}", ends.client, ends.server),
                Command::Transaction(one) => format!(
                    "LIST {} {} {} {} {} {}{}",
                    one.number,
                    one.request.method,
                    one.request.target,
                    one.request_bytes,
                    one.status.map_or("-".to_owned(), |status| status.to_string()),
                    one.response_bytes,
                    one.grpc_status.map_or(String::new(), |status| format!(" grpc {status}")),
                ),
                Command::Skip(skip) => format!("SKIP {} {}", skip.source, skip.until),
                Command::Report(report) => {
                    let fields: Vec<_> = report.findings.iter().map(|finding| &*finding.field).collect();
                    let confirmed = if report.outcome == Outcome::Confirmed { " confirmed" } else { "" };
                    format!("REPORT {} {}{confirmed}", report.transaction, fields.join(","))
                }
            });
        }
    }
}

pub(super) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match (character, character == '\\') {
            (_, true) => match rest.next().unwrap() {
                'r' => bytes.push(b'\r'),
                'n' => bytes.push(b'\n'),
                't' => bytes.push(b'\t'),
                '0' => bytes.push(0),
                'x' => {
                    let digits: String = rest.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).unwrap());
                }
                other => panic!("\\{other}"),
            },
            _ => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

#[track_caller]
pub(super) fn check(script: &str, expected: &[&str]) {
    Dialog::default().check(script, expected);
}

pub(super) const ATTACK: &str = r"GET /?q=EVIL HTTP/1.1\r\nHost: h\r\n\r\n";
pub(super) const FOUND: [&str; 3] = ["GET /?q=EVIL", "BLOCK 10.0.0.9 SQL_INJECTION evil", "REPORT 0 query.q"];
pub(super) const GOOD: &str = r"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn an_attack_in_the_head_is_blocked_then_reported() {
    check(&format!(">> {ATTACK}"), &FOUND);
}

#[test]
fn observing_writes_shadow_blocks() {
    let dialog = Dialog { action: Action::Observe(Duration::from_secs(9)), ..Dialog::default() };
    let expected = ["GET /?q=EVIL", "BLOCK 10.0.0.9 shadow SQL_INJECTION evil", "REPORT 0 query.q"];
    dialog.check(&format!(">> {ATTACK}"), &expected);
}

#[test]
fn an_exempt_source_is_reported_only() {
    let dialog = Dialog { action: Action::Exempt, ..Dialog::default() };
    dialog.check(&format!(">> {ATTACK}"), &["GET /?q=EVIL", "REPORT 0 query.q"]);
}

#[test]
fn every_cut_gives_the_same() {
    let wire = String::from_utf8(unescape(ATTACK)).unwrap();
    for cut in 1..wire.len() {
        let escaped = |text: &str| text.replace('\r', "\\r").replace('\n', "\\n");
        let (left, right) = (escaped(&wire[..cut]), escaped(&wire[cut..]));
        check(&format!(">> @0 {left}\n>> @{cut} {right}"), &FOUND);
        check(&format!(">> @{cut} {right}\n>> @0 {left}"), &FOUND);
    }
}

/// Case E1: one-byte segments in any order, one finding.
#[test]
fn one_byte_segments_in_any_order() {
    let wire = unescape(ATTACK);
    let line = |at: usize| format!(">> @{at} {}", wire[at..=at].escape_ascii());
    let forward: Vec<_> = (0..wire.len()).map(line).collect();
    check(&forward.join("\n"), &FOUND);
    let reversed: Vec<_> = (0..wire.len()).rev().map(line).collect();
    check(&reversed.join("\n"), &FOUND);
    for seed in 1..50u64 {
        let mut shuffled = forward.clone();
        let mut random = seed;
        for at in (1..shuffled.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            shuffled.swap(at, (random >> 33) as usize % (at + 1));
        }
        check(&shuffled.join("\n"), &FOUND);
    }
}

#[test]
fn retransmissions_are_read_once() {
    check(&format!(">> @0 {ATTACK}\n>> @0 {ATTACK}\n>> @4 /?q=E"), &FOUND);
}

#[test]
fn the_second_request_of_a_connection_counts_too() {
    check(
        &format!(
            ">> {GOOD}\n<< HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi\n>> {ATTACK}\n<< HTTP/1.1 403 No\\r\\nContent-Length: 0\\r\\n\\r\\n"
        ),
        &["GET /", "200", "GET /?q=EVIL", "BLOCK 10.0.0.9 SQL_INJECTION evil", "REPORT 1 query.q", "403"],
    );
}

#[test]
fn pipelined_requests_are_paired_in_order() {
    let head = r"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n";
    let answers = r"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 204 No\r\n\r\n";
    let (log, stats) = Dialog::default().run(&format!(">> {head}{GOOD}{ATTACK}\n<< {answers}"));
    assert_eq!(log[..3], ["HEAD /", "GET /", "GET /?q=EVIL"]);
    assert_eq!(log[5..], ["100", "200", "404", "204"]);
    assert_eq!((stats.named("requests"), stats.named("transactions"), stats.named("resyncs")), (3, 3, 0));
}

#[test]
fn findings_of_the_body_are_reported_apart() {
    let post = r"POST /?q=EVIL HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\n";
    check(
        &format!(">> {post}a=1&\n>> b=EVIL&c"),
        &[
            "POST /?q=EVIL",
            "BLOCK 10.0.0.9 SQL_INJECTION evil",
            "REPORT 0 query.q",
            "body body.form.a=1 body.form.b=EVIL body.form.c=",
            "REPORT 0 body.form.b",
        ],
    );
    let clean = r"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na=1";
    check(&format!(">> {clean}"), &["POST /", "body body.form.a=1"]);
}

#[test]
fn chunked_bodies_are_inspected_without_their_coding() {
    let post = r"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na=EV\r\n2\r\nIL\r\n0\r\nX: EVIL\r\n\r\n";
    check(
        &format!(">> {post}{GOOD}"),
        &[
            "POST /",
            "body body.form.a=EVIL header.x=EVIL",
            "GET /",
            "BLOCK 10.0.0.9 SQL_INJECTION evil",
            "REPORT 0 body.form.a,header.x",
        ],
    );
}

/// Case H1: a server that goes by Content-Length reads what is no chunked coding.
#[test]
fn a_body_under_two_framings_is_inspected() {
    let post = r"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\nq=EVIL";
    let (log, _) = Dialog::default().run(&format!(">> {post}"));
    assert!(log.iter().any(|line| line.starts_with("REPORT 0 body.form.q")), "{log:?}");
}

#[test]
fn compressed_bodies_are_inspected() {
    let dialog = Dialog::default();
    let mut packed = Vec::with_capacity(100);
    let mut compress = flate2::Compress::new(flate2::Compression::fast(), true);
    compress.compress_vec(b"a=1&b=EVIL", &mut packed, flate2::FlushCompress::Finish).unwrap();
    let head =
        format!("POST / HTTP/1.0\r\nContent-Encoding: deflate\r\nContent-Length: {}\r\n\r\n", packed.len());
    let mut script = dialog.script();
    script.send(0, 1000, &[head.as_bytes(), &packed].concat(), 0, tcp::ACK);
    script.collect();
    assert_eq!(script.engine.shared.worker.seam.log[3], "REPORT 0 body.form.b");
    assert_eq!(script.engine.stats().named("body_encoded"), 1);
}

#[test]
fn a_body_that_never_completes_is_inspected_at_the_end() {
    let post = r"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\na=EVIL";
    let expected = [
        "POST /",
        "body body.form.a=EVIL !incomplete",
        "BLOCK 10.0.0.9 SQL_INJECTION evil",
        "REPORT 0 body.form.a",
    ];
    check(&format!(">> {post}\n>> fin"), &expected);
    check(&format!(">> {post}\n<< rst\n>> rst"), &expected);
    check(&format!(">> {post}\nwait 700000"), &expected);
}

#[test]
fn a_long_body_is_inspected_up_to_its_limit() {
    let settings = Settings { max_body_bytes: 6, max_body_tail_bytes: 0, ..Settings::default() };
    let post = r"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\na=EVILmore";
    let (log, stats) = Dialog { settings, ..Dialog::default() }.run(&format!(">> {post}{GOOD}"));
    assert_eq!(log[..3], ["POST /", "body body.form.a=EVIL !body-too-long", "GET /"]);
    assert_eq!(stats.named("body_uninspected_bytes"), 4);
}

#[test]
fn a_source_is_blocked_once_it_is_verified() {
    let dialog = || Dialog { marks: mark::INITIAL_SEQUENCE, ..Dialog::default() };
    let report = ["GET /?q=EVIL", "REPORT 0 query.q"];
    dialog().check(&format!(">> {ATTACK}"), &report);
    let (log, _) = dialog().run(&format!(">> {ATTACK}\n<< HTTP/1.1 200 OK\\r\\n\\r\\n"));
    assert_eq!(log, [report[0], report[1], "200", "BLOCK 10.0.0.9 SQL_INJECTION evil"]);
}

#[test]
fn a_block_is_not_repeated_at_once() {
    let (log, stats) = Dialog::default().run(&format!(">> {ATTACK}\n>> {ATTACK}\nwait 1000\n>> {ATTACK}"));
    assert_eq!(log.iter().filter(|line| line.starts_with("BLOCK")).count(), 2);
    assert_eq!((stats.named("blocks"), stats.named("blocks_repeated"), stats.named("reports")), (2, 1, 3));
}

#[test]
fn behind_a_gap_the_next_request_is_found() {
    let (log, stats) = Dialog::default().run(&format!(
        ">> GET /first HTTP/1.1\\r\\nX: \n>> lost 20\n<< HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n\n>> rest\\r\\n\\r\\n{ATTACK}"
    ));
    assert_eq!(log[0], "200");
    assert_eq!(log[1], "GET /first !gap");
    assert_eq!(log[2], "GET /?q=EVIL");
    assert_eq!((stats.named("gaps"), stats.named("gap_bytes"), stats.named("resyncs")), (1, 20, 1));
}

#[test]
fn patience_with_a_hole_ends() {
    let (log, stats) =
        Dialog::default().run(&format!(">> {GOOD}\n>> lost 20\n>> {ATTACK}\nwait 900\nwait 100"));
    assert_eq!(log[..2], ["GET /", "GET /?q=EVIL"]);
    assert_eq!((stats.named("holes_given_up"), stats.named("gaps")), (1, 1));
}

/// An attacker who leaves a hole open until patience ends, and fills it then, hides nothing.
#[test]
fn a_hole_that_is_filled_late_is_read_in_its_place() {
    let (log, stats) = Dialog::default()
        .run(">> @0 GET /?q=EV\n>> @11 L HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n\nwait 1000\n>> @10 I\n");
    assert_eq!(log[0], "GET /?q=EV !gap");
    assert_eq!(log[1..], ["GET /?q=EVIL", "BLOCK 10.0.0.9 SQL_INJECTION evil", "REPORT 1 query.q"]);
    assert_eq!(stats.named("rewinds"), 1);
}

#[test]
fn a_late_filled_hole_in_a_body_is_read_in_its_place() {
    let head = "POST / HTTP/1.1\\r\\nHost: h\\r\\nContent-Length: 9\\r\\n\\r\\n";
    let at = unescape(head).len();
    let script = format!(">> @0 {head}a=\n>> @{} VIL \nwait 1000\n>> @{} E", at + 3, at + 2);
    let (log, _) = Dialog::default().run(&script);
    assert_eq!(log, ["POST /"]);
    let (log, _) = Dialog::default().run(&format!("{script}\n>> @{} xy", at + 7));
    assert!(log.iter().any(|line| line.contains("body.form.a=EVIL xy")), "{log:?}");
}

/// A far-away decoy, outside any window, does not move the stream for good.
#[test]
fn a_decoy_far_ahead_hides_nothing() {
    let (log, _) = Dialog::default()
        .run(">> @0 GET /?q\n>> @900000 decoy\nwait 2000\n>> @7 q=EVIL HTTP/1.0\\r\\n\\r\\n");
    assert!(log.iter().any(|line| line == "GET /?qq=EVIL"), "{log:?}");
    let (log, _) = Dialog::default().run(&format!(">> @900000 decoy\n>> @0 {ATTACK}"));
    assert!(log.iter().any(|line| line == "GET /?q=EVIL"), "{log:?}");
}

#[test]
fn a_cut_capture_is_a_gap() {
    let head = r"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 26\r\n\r\n";
    let (log, stats) =
        Dialog::default().run(&format!(">> cut 20 {head}a=EVILaaaaaaaaaaaaaaaaaaaa\n>> {GOOD}"));
    assert_eq!(log[..2], ["POST /", "body body.form.a=EVIL !gap"]);
    assert_eq!(log[4], "GET /");
    assert_eq!((stats.named("gap_bytes"), stats.named("resyncs")), (20, 0));
}

#[test]
fn a_connection_that_was_open_before_is_joined() {
    let dialog = Dialog { marks: mark::HANDSHAKE, ..Dialog::default() };
    let (log, stats) = dialog.run(&format!(">> half a body\\n{ATTACK}"));
    assert_eq!(log, FOUND);
    assert_eq!(stats.named("resyncs"), 0);
}

#[test]
fn sequence_numbers_wrap() {
    for client_isn in 0xffff_ffd0..=0xffff_ffff {
        Dialog { client_isn, ..Dialog::default() }.check(&format!(">> {ATTACK}"), &FOUND);
    }
}

#[test]
fn the_same_endpoints_again_are_a_new_connection() {
    let (log, stats) = Dialog::default().run(&format!(">> GET /half\n>> isn 7777\n>> {ATTACK}"));
    assert_eq!(log, ["GET /half !incomplete", FOUND[0], FOUND[1], FOUND[2]]);
    assert_eq!((stats.named("flows_reused"), stats.named("flows_opened")), (1, 2));
}

/// Case E12.
#[test]
fn only_an_exact_reset_ends_a_connection() {
    let (log, stats) =
        Dialog::default().run(">> GET /?q=EV\n>> rst 5\n>> rst -5\n>> IL HTTP/1.0\\r\\n\\r\\n");
    assert_eq!(log, FOUND);
    assert_eq!((stats.named("resets_inexact"), stats.named("flows_closed")), (2, 0));
    let (log, stats) = Dialog::default().run(&format!(">> {GOOD}\n>> rst\n>> {ATTACK}"));
    assert_eq!(log[0], "GET /");
    assert_eq!(stats.named("flows_closed"), 1);
}

/// Cases E13 and E14.
#[test]
fn a_fin_counts_where_the_stream_reaches_it() {
    check(&format!(">> {GOOD}\n>> fin\n>> {ATTACK}"), &["GET /"]);
    check(&format!(">> {GOOD}\n>> fin\n<< HTTP/1.1 200 OK\\r\\n\\r\\nrest"), &["GET /", "200"]);
    let (log, stats) = Dialog::default().run(&format!(">> {GOOD}\n>> fin\n<< fin\nwait 2000"));
    assert_eq!(log, ["GET /"]);
    assert_eq!((stats.named("flows_closed"), stats.named("flows_now")), (1, 0));
}

#[test]
fn overlapping_segments_that_differ_are_noted() {
    let (log, stats) = Dialog::default()
        .run(">> @10 IL HTTP/1.0\\r\\n\\r\\n\n>> @10 XX HTTP/1.0\\r\\n\\r\\n\n>> @0 GET /?q=EV");
    assert_eq!(log[0], "GET /?q=EVIL !overlap-conflict");
    assert_eq!(stats.named("overlap_conflicts"), 1);
}

#[test]
fn a_tunnel_is_not_read() {
    let upgrade = r"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n";
    check(
        &format!(
            ">> {upgrade}\n<< HTTP/1.1 101 Switching\\r\\n\\r\\nGET /x HTTP/1.0\\r\\n\\r\\n\n>> {ATTACK}"
        ),
        &["GET /ws", "101"],
    );
    let refused = r"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n";
    let (log, _) = Dialog::default().run(&format!(">> {upgrade}\n<< {refused}\n>> {ATTACK}"));
    assert_eq!(log[2], "GET /?q=EVIL");
    check(
        &format!(
            ">> CONNECT a:1 HTTP/1.1\\r\\nHost: a:1\\r\\n\\r\\n\n<< HTTP/1.1 200 OK\\r\\n\\r\\n\n>> {ATTACK}"
        ),
        &["CONNECT a:1", "200"],
    );
    // Some servers take CONNECT for any other method: their answer has a body, and what follows is another request.
    for framing in [r"Content-Length: 2\r\n\r\nok", r"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"]
    {
        let connect = r"CONNECT / HTTP/1.1\r\nHost: h\r\n\r\n";
        let (log, _) =
            Dialog::default().run(&format!(">> {connect}\n<< HTTP/1.1 200 OK\\r\\n{framing}\n>> {ATTACK}"));
        assert_eq!(log[2], "GET /?q=EVIL", "{framing}");
    }
}

/// A client that begins with a response is no server, and hides nothing behind it.
#[test]
fn a_response_from_the_client_hides_nothing() {
    for fake in [r"HTTP/1.1 101 X\r\n\r\n", r"HTTP/1.1 200 X\r\nContent-Length: 9999\r\n\r\n"] {
        let (log, _) = Dialog::default().run(&format!(">> {fake}{ATTACK}"));
        assert_eq!(log[1], "GET /?q=EVIL", "{fake}");
        let (log, _) = Dialog::default().run(&format!(">> {GOOD}{fake}{ATTACK}"));
        assert_eq!(log[2], "GET /?q=EVIL", "{fake}");
    }
}

#[test]
fn the_connection_idle_for_longest_makes_room() {
    let settings = Settings { max_flows: 2, ..Settings::default() };
    let (log, stats) = Dialog { settings, ..Dialog::default() }.run(
        "port 1\n>> GET /one\nport 2\n>> GET /two\nport 1\n>> @8  HTTP/1.0\\r\\n\\r\\n\nport 3\n>> GET /three HTTP/1.0\\r\\n\\r\\n",
    );
    assert_eq!(log, ["GET /one", "GET /two !incomplete", "GET /three"]);
    assert_eq!((stats.named("flows_evicted"), stats.named("flows_now")), (1, 2));
}

#[test]
fn idle_connections_expire() {
    let (_, stats) =
        Dialog::default().run(&format!("port 1\n>> {GOOD}\nwait 599000\nport 2\n>> {GOOD}\nwait 1000"));
    assert_eq!((stats.named("flows_expired"), stats.named("flows_now")), (1, 1));
}

#[test]
fn all_connections_together_keep_to_their_memory() {
    let settings = Settings { max_total_bytes: 40_000, ..Settings::default() };
    let half = format!("GET /{}", "x".repeat(8000));
    let script: String = (1..20).map(|port| format!("port {port}\n>> {half}\n")).collect();
    let (_, stats) = Dialog { settings, ..Dialog::default() }.run(&format!("{script}\nport 99\n>> {ATTACK}"));
    assert!(stats.named("flows_evicted_memory") > 10 && stats.named("flow_bytes") <= 40_000, "{stats:?}");
    assert_eq!(stats.named("blocks"), 1);
}

#[test]
fn the_queue_of_a_stream_is_bounded() {
    let settings = Settings { max_stream_segments: 100, ..Settings::default() };
    let islands: String = (1..300).map(|n| format!(">> @{} x\n", n * 2 + 50)).collect();
    let (log, stats) = Dialog { settings, ..Dialog::default() }.run(&format!("{islands}>> @0 {ATTACK}"));
    assert!(stats.named("queue_overflows") > 0);
    assert!(log.iter().any(|line| line == "GET /?q=EVIL"), "{log:?}");
}

#[test]
fn what_the_application_ignores_is_ignored() {
    let mut engine = Engine::new(Settings::default(), Arc::default(), Arc::new(no_policy()));
    let header = RecordHeader {
        source: mapped([10, 0, 0, 9]),
        destination: mapped([10, 0, 0, 1]),
        ip_version: 4,
        ..RecordHeader::default()
    };
    for tcp_flags in [tcp::SYN, tcp::SYN | tcp::ACK, 0, tcp::PSH, tcp::FIN, tcp::FIN | tcp::ACK] {
        engine.handle_record(RecordHeader { tcp_flags, ..header }.as_bytes());
    }
    let stats = engine.stats();
    let ignored = ["ignored_syn", "ignored_no_ack", "ignored_no_flow"].map(|name| stats.named(name));
    assert_eq!((ignored, stats.accepted, stats.named("flows_now")), ([2, 3, 1], 0, 0));
}

/// The real detector and policy, without rules.
#[test]
fn detectors_and_policy_work_on_what_is_read() {
    let policy = Policy { mode: crate::policy::Mode::Enforce, ..Policy::default() };
    let mut script = Dialog::default().script();
    script.engine.replace_policy(Arc::new(policy));
    script.engine.shared.worker.seam.action = None;
    script.step(r">> GET /?id=1'+UNION+SELECT+password+FROM+users--+ HTTP/1.1\r\nHost: h\r\n\r\n");
    script.collect();
    let log = &script.engine.shared.worker.seam.log;
    assert!(
        log[1].starts_with("BLOCK 10.0.0.9 SQL_INJECTION") && log[2].starts_with("REPORT 0 query.id"),
        "{log:?}"
    );
}

/// Case A8: the doubt about a browser that may have been led is there still when its source is verified.
#[test]
fn what_waits_for_verification_is_doubted_as_it_was() {
    let blocked_for = |header: &str| {
        let policy = Policy {
            mode: crate::policy::Mode::Enforce,
            block_for: Duration::from_secs(600),
            block_foreign_for: Duration::from_secs(60),
            ..Policy::default()
        };
        let mut script = Dialog { marks: mark::INITIAL_SEQUENCE, ..Dialog::default() }.script();
        script.engine.replace_policy(Arc::new(policy));
        script.engine.shared.worker.seam.action = None;
        script.step(&format!(
            r">> GET /?id=1'+UNION+SELECT+password+FROM+users--+ HTTP/1.1\r\nHost: h\r\n{header}\r\n"
        ));
        script.step(r"<< HTTP/1.1 200 OK\r\n\r\n");
        let commands = std::iter::from_fn(|| script.engine.next_command());
        let blocks = commands.filter_map(|command| match command {
            Command::Block(block) => Some(block.until.as_nanos() / 1_000_000_000 - 100),
            _ => None,
        });
        blocks.collect::<Vec<_>>()
    };
    assert_eq!(blocked_for(""), [600]);
    assert_eq!(blocked_for(r"Sec-Fetch-Site: cross-site\r\n"), [60]);
}

fn any_record() -> impl Strategy<Value = Vec<u8>> {
    let words = proptest::sample::select(vec![
        &b"GET /?q=EVIL HTTP/1.1\r\nHost: h\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{\"a\":",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 101 OK\r\n\r\n",
        b"0\r\n\r\n",
        b"\x16\x03\x01\r\n",
        b"",
    ]);
    let numbers = (0u32..200, 0u32..200, 0u32..3, any::<u8>(), 0u8..4, 0u64..20, any::<bool>());
    (words, numbers, proptest::option::weighted(0.1, proptest::collection::vec(any::<u8>(), 0..120)))
        .prop_map(|(payload, (sequence, acknowledgement, initial, flags, marks, time, client), raw)| {
            let ends = [(mapped([10, 0, 0, 9]), 4000 + initial as u16), (mapped([10, 0, 0, 1]), 80)];
            let (from, to) = if client { (0, 1) } else { (1, 0) };
            let header = RecordHeader {
                time_ns: time * 700_000_000,
                source: ends[from].0,
                source_port: ends[from].1,
                destination: ends[to].0,
                destination_port: ends[to].1,
                sequence,
                acknowledgement,
                initial_sequence: initial,
                payload_len: payload.len() as u32 + u32::from(flags >> 6),
                captured_len: payload.len() as u32,
                tcp_flags: flags & (tcp::FIN | tcp::RST | tcp::SYN) & (flags >> 3) | tcp::ACK,
                direction: u8::from(!client),
                ip_version: 4,
                marks,
                ..RecordHeader::default()
            };
            raw.unwrap_or_else(|| [header.as_bytes(), payload].concat())
        })
}

proptest! {
    #[test]
    fn any_records_are_survived_and_counted(records in proptest::collection::vec(any_record(), 0..60)) {
        let settings = Settings {
            max_flows: 2, max_stream_bytes: 400, max_stream_segments: 4, max_total_bytes: 20_000, max_head_bytes: 60,
            max_body_bytes: 8, max_pipelined: 2, ..Settings::default()
        };
        let mut engine = Engine::new(settings, Arc::default(), Arc::new(no_policy()));
        engine.shared.worker.seam.action = Some(Action::Block(Duration::from_secs(1)));
        for record in &records {
            engine.handle_record(record);
            if let Some(due) = engine.poll_timeout() && record.len() % 3 == 0 {
                engine.handle_timeout(due);
            }
            let stats = engine.stats();
            prop_assert!(stats.named("flows_now") <= 2 && stats.named("flow_bytes") <= 20_000);
        }
        let stats = engine.stats();
        let ignored = ["ignored_syn", "ignored_no_ack", "ignored_no_flow"].map(|name| stats.named(name));
        prop_assert_eq!(stats.records, records.len() as u64);
        prop_assert_eq!(stats.records, stats.accepted + stats.record_malformed + ignored.iter().sum::<u64>());
        let commands = std::iter::from_fn(|| engine.next_command()).count() as u64;
        prop_assert_eq!(commands, stats.named("reports") + stats.named("blocks"));
        engine.handle_timeout(Timestamp::from_nanos(u64::MAX));
        prop_assert_eq!((engine.stats().named("flows_now"), engine.stats().named("flow_bytes")), (0, 0));
    }

    #[test]
    fn the_same_records_give_the_same_commands(records in proptest::collection::vec(any_record(), 0..40)) {
        let run = || {
            let settings = Settings { max_flows: 2, max_stream_segments: 4, ..Settings::default() };
            let mut engine = Engine::new(settings, Arc::default(), Arc::new(no_policy()));
            engine.shared.worker.seam.action = Some(Action::Block(Duration::from_secs(1)));
            records.iter().for_each(|record| engine.handle_record(record));
            (std::iter::from_fn(|| engine.next_command()).collect::<Vec<_>>(), engine.stats())
        };
        prop_assert_eq!(run(), run());
    }
}
