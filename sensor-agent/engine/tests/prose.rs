//! Pages that show what responses should not hold, as texts about it do: documentation, articles, questions and answers, test numbers of
//! payment providers. An ordinary request for one opens nothing above info. Each has a twin that does expose the same.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;

use common::content;
use sensor_common::record::{EGRESS, INGRESS, RecordHeader, mapped, mark, tcp};
use sensor_engine::engine::{Command, Engine, Settings};
use sensor_engine::finding::Severity;
use sensor_engine::policy::Policy;
use zerocopy::IntoBytes as _;

/// An engine, and how many connections it has seen.
struct Site(Engine, u16);

impl Site {
    fn new() -> Self {
        let settings = Settings { response_exposure: true, ..Settings::default() };
        Self(Engine::new(settings, content(), Arc::new(Policy::default())), 0)
    }
}

/// What is reported above info of a request and its response, over a connection of their own: rules, each once.
fn reported(Site(engine, connections): &mut Site, request: &str, response: &str) -> Vec<String> {
    *connections += 1;
    let port = 40_000 + *connections;
    let mut rules = Vec::new();
    for (side, text) in [request, response].into_iter().enumerate() {
        let ends = [(mapped([203, 0, 113, 9]), port), (mapped([10, 9, 9, 9]), 80)];
        let header = RecordHeader {
            time_ns: 1_000_000,
            source: ends[side].0,
            source_port: ends[side].1,
            destination: ends[1 - side].0,
            destination_port: ends[1 - side].1,
            sequence: [1000, 5000][side],
            acknowledgement: [5000, 1000][side] + if side == 1 { request.len() as u32 } else { 0 },
            initial_sequence: [1000, 5000][side],
            peer_initial_sequence: [5000, 1000][side],
            payload_len: text.len() as u32,
            captured_len: text.len() as u32,
            tcp_flags: tcp::ACK,
            direction: [INGRESS, EGRESS][side],
            ip_version: 4,
            marks: mark::INITIAL_SEQUENCE | mark::HANDSHAKE,
            ..RecordHeader::default()
        };
        engine.handle_record(&[header.as_bytes(), text.as_bytes()].concat());
        while let Some(command) = engine.next_command() {
            if let Command::Report(report) = command
                && report.verdict.severity < Severity::Info
            {
                rules.extend(report.findings.iter().map(|finding| finding.rule.id.clone()));
            }
        }
    }
    rules.sort();
    rules.dedup();
    rules
}

/// A request for a page of its own, so that each is searched.
fn ordinary(line: &str) -> String {
    format!(
        "GET /articles/{} HTTP/1.1\r\nHost: docs.example\r\n\r\n",
        line.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31) ^ u32::from(byte))
    )
}

fn answer(status: &str, kind: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Kinds of content, by the first word of a case.
fn kind(word: &str) -> &'static str {
    match word {
        "html" => "text/html; charset=utf-8",
        "json" => "application/json",
        "js" => "application/javascript",
        "md" => "text/markdown",
        "text" => "text/plain",
        other => panic!("{other}"),
    }
}

/// Kind of content and body, a case a line; `\n` is a line end. A page of HTML gets a head.
const TEXTS: &str = include_str!("prose/texts.txt");
/// Rule, kind of content and body.
const TWINS: &str = include_str!("prose/twins.txt");

fn cases(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn page(line: &str) -> String {
    let (word, body) = line.split_once(' ').unwrap();
    let body = body.replace("\\n", "\n");
    let body = match word {
        "html" => {
            format!("<!doctype html><html><head><title>An article</title></head><body>{body}</body></html>")
        }
        _ => body,
    };
    answer("200 OK", kind(word), &body)
}

#[test]
fn texts_about_errors_and_secrets_are_no_incidents() {
    let (mut site, mut wrong) = (Site::new(), Vec::new());
    for line in cases(TEXTS) {
        let rules = reported(&mut site, &ordinary(line), &page(line));
        if !rules.is_empty() {
            wrong.push(format!("{rules:?}: {line}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), cases(TEXTS).count(), wrong.join("\n"));
    assert!(cases(TEXTS).count() >= 60, "{}", cases(TEXTS).count());
}

#[test]
fn what_does_expose_the_same_is_one() {
    let (mut site, mut wrong) = (Site::new(), Vec::new());
    for line in cases(TWINS) {
        let (rule, line) = line.split_once(' ').unwrap();
        let rules = reported(&mut site, &ordinary(line), &page(line));
        if !rules.iter().any(|one| one == rule) {
            wrong.push(format!("{rules:?}, expected {rule}: {line}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), cases(TWINS).count(), wrong.join("\n"));
}

/// What a page shows as code counts fully where somebody has just tried to make it do so.
#[test]
fn behind_an_attack_nothing_is_a_quotation() {
    let body = "<p>The file says:</p><pre>root:x:0:0:root:/root:/bin/bash\nbin:x:1:1::/:/sbin/nologin</pre>";
    let attack = "GET /show?file=../../../../etc/passwd HTTP/1.1\r\nHost: docs.example\r\n\r\n";
    let rule = "exposed-password-hash".to_owned();
    let mut site = Site::new();
    assert!(!reported(&mut site, &ordinary("a"), &answer("200 OK", "text/html", body)).contains(&rule));
    assert!(reported(&mut site, attack, &answer("200 OK", "text/html", body)).contains(&rule));
}
