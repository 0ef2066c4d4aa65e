//! A small reader of raw requests for tests, examples and measurements: it fills fields as the HTTP parser does, but
//! cuts corners that only traffic needs (no chunks, no compression, no multipart).
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests read the content from disk")]

use std::path::Path;
use std::sync::Arc;

use sensor_common::record::{RecordHeader, mapped, mark, tcp};
use sensor_engine::detect::{Detector, Part, Phase};
use sensor_engine::engine::{Command, Engine, Report, Settings};
use sensor_engine::field::{Fields, Place};
use sensor_engine::finding::Finding;
use sensor_engine::http::message::{HeaderSpan, Request, Span};
use sensor_engine::policy::Policy;
use sensor_engine::rule::{RuleSet, RuleSource};
use zerocopy::IntoBytes as _;

/// The head and the fields of head and body together.
#[must_use]
pub fn parse(raw: &[u8]) -> (Request, Fields) {
    let split = memchr::memmem::find(raw, b"\r\n\r\n").map_or(raw.len(), |at| at + 4);
    let (head, body) = raw.split_at(split);
    let request = head_of(head);
    let mut fields = Fields::default();
    head_fields(&request, &mut fields);
    body_fields(&request, body, &mut fields);
    (request, fields)
}

fn head_of(head: &[u8]) -> Request {
    let mut request = Request { head: head.to_vec(), version: 1, ..Request::default() };
    let mut at = 0;
    for (number, line) in head.split(|&byte| byte == b'\n').enumerate() {
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        if number == 0 {
            // The target may hold spaces: it ends at the last one that is followed by the version.
            let method = memchr::memchr(b' ', text).unwrap_or(text.len());
            let end = memchr::memmem::rfind(text, b" HTTP/").unwrap_or(text.len()).max(method);
            request.method = span(at, at + method);
            request.target = span((at + method + 1).min(at + end), at + end);
        } else if let Some(colon) = memchr::memchr(b':', text) {
            let value = text.get(colon + 1..).unwrap_or_default();
            let start = colon + 1 + value.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let end = start.max(text.trim_ascii_end().len());
            request
                .headers
                .push(HeaderSpan { name: span(at, at + colon), value: span(at + start, at + end) });
        }
        at += line.len() + 1;
    }
    request
}

fn span(start: usize, end: usize) -> Span {
    Span { start: start as u32, end: end as u32 }
}

fn head_fields(request: &Request, fields: &mut Fields) {
    fields.push(Place::Method, b"", request.method(), 0);
    fields.push(Place::Target, b"", request.target(), 0);
    fields.push(Place::Path, b"", request.path(), 0);
    pairs(request.query(), Place::Query, fields);
    for (name, value) in request.headers() {
        let name = name.to_ascii_lowercase();
        fields.push(Place::Header, &name, value, 0);
        if name == b"cookie" {
            for pair in value.split(|&byte| byte == b';') {
                let (name, value) = split_pair(pair.trim_ascii());
                fields.push(Place::Cookie, name, value, 0);
            }
        }
    }
}

fn pairs(text: &[u8], place: Place, fields: &mut Fields) {
    for pair in text.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
        let (name, value) = split_pair(pair);
        fields.push(place, name, value, 0);
        odd_name(name, fields);
    }
}

fn odd_name(name: &[u8], fields: &mut Fields) {
    let plain = name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if !plain || memchr::memmem::find(name, b"__").is_some() {
        fields.push(Place::Name, b"", name, 0);
    }
}

fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', pair) {
        Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()),
        None => (pair, &[]),
    }
}

fn body_fields(request: &Request, body: &[u8], fields: &mut Fields) {
    let kind = request.header("content-type").unwrap_or_default().to_ascii_lowercase();
    let is = |part: &[u8]| memchr::memmem::find(&kind, part).is_some();
    if body.is_empty() {
        return;
    }
    match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(value) if is(b"json") || matches!(body.first(), Some(b'{' | b'[')) => json(&value, "", fields),
        _ if is(b"urlencoded") => pairs(body, Place::Form, fields),
        _ => {
            fields.push(Place::Text, b"", body, 0);
        }
    }
}

fn json(value: &serde_json::Value, path: &str, fields: &mut Fields) {
    use serde_json::Value;
    let join = |part: &str| if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                odd_name(key.as_bytes(), fields);
                json(value, &join(key), fields);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                json(value, &join(&index.to_string()), fields);
            }
        }
        Value::String(text) => {
            fields.push(Place::Json, path.as_bytes(), text.as_bytes(), 0);
        }
        other => {
            fields.push(Place::Json, path.as_bytes(), other.to_string().as_bytes(), 0);
        }
    }
}

/// The rules of the content, `rules/*.toml` and `rules/*/*.toml`.
pub fn content() -> Arc<RuleSet> {
    let list = |folder: &Path| -> Vec<_> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let mut files = list(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules"));
    let within: Vec<_> = files.iter().filter(|path| path.is_dir()).flat_map(|path| list(path)).collect();
    files.extend(within);
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let texts: Vec<(String, String)> = files
        .iter()
        .map(|path| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap())
        })
        .collect();
    let sources: Vec<RuleSource<'_>> = texts.iter().map(|(name, text)| RuleSource { name, text }).collect();
    match RuleSet::compile(&sources) {
        Ok(set) => Arc::new(set),
        Err(errors) => {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            panic!("the content is refused:\n{}", lines.join("\n"));
        }
    }
}

/// The findings of a raw request.
pub fn inspect(detector: &mut Detector, raw: &[u8]) -> Vec<Finding> {
    let (request, fields) = parse(raw);
    let mut findings = Vec::new();
    detector.inspect(Part { phase: Phase::Head, request: &request, fields: &fields }, &mut findings);
    findings
}

/// An engine that gets each request as a connection of its own, in records as the tap writes them.
pub struct Wire {
    pub engine: Engine,
    flows: u32,
}

/// Ports of the client that are used in turn, for each address of the server.
const PORTS: u32 = 60_000;
/// Most payload of one record.
const SEGMENT: usize = 16 * 1024;
/// Where the client's stream begins.
const INITIAL_SEQUENCE: u32 = 1000;

impl Wire {
    #[must_use]
    pub fn new(rules: Arc<RuleSet>, policy: Arc<Policy>) -> Self {
        Self::with(Settings::default(), rules, policy)
    }

    #[must_use]
    pub fn with(settings: Settings, rules: Arc<RuleSet>, policy: Arc<Policy>) -> Self {
        Self { engine: Engine::new(settings, rules, policy), flows: 0 }
    }

    /// The records of a connection that carries `raw` and is closed.
    #[must_use]
    pub fn records(&mut self, raw: &[u8]) -> Vec<Vec<u8>> {
        self.flows += 1;
        let payload = raw.chunks(SEGMENT).enumerate();
        let mut records: Vec<_> =
            payload.map(|(number, part)| self.record(number * SEGMENT, part, tcp::ACK)).collect();
        records.push(self.record(raw.len(), b"", tcp::ACK | tcp::FIN));
        records.push(self.record(raw.len() + 1, b"", tcp::ACK | tcp::RST));
        records
    }

    fn record(&self, position: usize, payload: &[u8], flags: u8) -> Vec<u8> {
        let header = RecordHeader {
            time_ns: u64::from(self.flows) * 1_000_000,
            source: mapped([203, 0, 113, 9]),
            source_port: 1024 + (self.flows % PORTS) as u16,
            destination: mapped((0x0a09_0000 + self.flows / PORTS).to_be_bytes()),
            destination_port: 80,
            sequence: INITIAL_SEQUENCE + 1 + position as u32,
            acknowledgement: 1,
            initial_sequence: INITIAL_SEQUENCE + 1,
            peer_initial_sequence: 1,
            payload_len: payload.len() as u32,
            captured_len: payload.len() as u32,
            tcp_flags: flags,
            ip_version: 4,
            marks: mark::INITIAL_SEQUENCE | mark::HANDSHAKE,
            ..RecordHeader::default()
        };
        [header.as_bytes(), payload].concat()
    }

    /// What the engine reports of these records.
    pub fn run(&mut self, records: &[Vec<u8>]) -> Vec<Report> {
        let mut reports = Vec::new();
        for record in records {
            self.engine.handle_record(record);
            while let Some(command) = self.engine.next_command() {
                if let Command::Report(report) = command {
                    reports.push(*report);
                }
            }
        }
        reports
    }
}
