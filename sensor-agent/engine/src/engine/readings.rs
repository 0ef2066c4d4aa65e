//! Inspection of what a stream may have said instead: the readings that segments with contradicting content leave open.
//! They change nothing in the connection; what only they contain is found, reported and judged like the rest.

use super::exchange::{Exchange, OpenRequest};
use super::half::Tools;
use super::settings::Settings;
use super::worker::Worker;
use crate::body::coding::Limits;
use crate::detect::Phase;
use crate::finding::Finding;
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::fields::push_head;
use crate::http::framing::{Asked, Framing};
use crate::http::message::{Request, Response};
use crate::http::reader::{Reader, Sink};
use crate::time::Timestamp;

/// Most findings that are remembered so as not to report them twice.
const MAX_KNOWN: usize = 64;

/// Rule and field of findings that need no report.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(Vec<(u32, String)>);

impl Known {
    /// Notes a finding; whether it is new.
    fn note(&mut self, finding: &Finding) -> bool {
        let is_new =
            !self.0.iter().any(|(rule, field)| *rule == finding.rule.number && *field == finding.field);
        if is_new && self.0.len() < MAX_KNOWN {
            self.0.push((finding.rule.number, finding.field.clone()));
        }
        is_new
    }
}

/// What is known of the place where readings begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// Whether a message starts there.
    pub(super) at_message: bool,
    /// Whether the contradiction was said of a message that was read.
    pub(super) noted: bool,
}

/// Inspects readings of bytes that were read as `as_read`.
pub(super) fn inspect(
    as_read: &[u8],
    readings: &[Vec<u8>],
    start: Start,
    known: &mut Known,
    tools: &mut Tools<'_>,
) {
    inspect_one(as_read, start, true, known, tools);
    for reading in readings {
        tools.worker.counters.readings += 1;
        inspect_one(reading, start, false, known, tools);
    }
}

fn inspect_one(bytes: &[u8], start: Start, as_read: bool, known: &mut Known, tools: &mut Tools<'_>) {
    let mut reader = Reader::new(start.at_message, tools.settings.max_head_bytes);
    let Tools { worker, scratch, exchange, settings, from, time } = tools;
    if !as_read && exchange.client.is_none() {
        exchange.client = Some(*from);
    }
    let odd = !as_read || start.noted;
    let mut trial = Trial { worker, exchange, settings, time: *time, as_read, odd, open: None, known };
    reader.data(bytes, scratch, &mut trial);
    reader.end(scratch, &mut trial);
    trial.request_end(Anomalies::NONE);
}

/// Listens to the reader of one reading.
struct Trial<'a> {
    worker: &'a mut Worker,
    exchange: &'a mut Exchange,
    settings: &'a Settings,
    time: Timestamp,
    /// Whether this is the reading that was inspected already.
    as_read: bool,
    /// Whether what is read is known to be contradicted.
    odd: bool,
    open: Option<Box<OpenRequest>>,
    known: &'a mut Known,
}

impl Trial<'_> {
    /// Reports what is new.
    fn judge(&mut self, request: &Request, mut findings: Vec<Finding>) {
        findings.retain(|finding| self.known.note(finding));
        if !self.as_read && !findings.is_empty() {
            let number = self.exchange.requests.saturating_sub(1);
            self.worker.decide(self.exchange, request, number, &findings, 0, self.time);
        }
    }
}

impl Sink for Trial<'_> {
    fn request(&mut self, request: &mut Request, framing: Framing) {
        self.request_end(Anomalies::NONE);
        request.anomalies.insert_if(self.odd, Anomaly::OverlapConflict);
        let mut findings = Vec::new();
        self.worker.fields.clear();
        push_head(request, &mut self.worker.fields);
        self.worker.detect(Phase::Head, self.exchange, request, &mut findings);
        self.judge(request, findings);
        if !matches!(framing, Framing::None | Framing::Length(0)) {
            let mut open = self.worker.spare.pop().unwrap_or_default();
            std::mem::swap(&mut open.request, request);
            self.open = Some(open);
        }
    }

    fn asked(&mut self, _: u16) -> Asked {
        Asked::Nothing
    }

    fn response(&mut self, _: &mut Response, _: Framing) {}

    fn request_body(&mut self, data: &[u8]) {
        let Some(open) = &mut self.open else { return };
        let taken = data.len().min(self.settings.max_body_bytes.saturating_sub(open.body.len()));
        open.body.extend_from_slice(&data[..taken]);
    }

    fn request_trailer(&mut self, data: &[u8]) {
        let Some(open) = &mut self.open else { return };
        open.trailer.extend_from_slice(data);
    }

    fn request_end(&mut self, anomalies: Anomalies) {
        let Some(mut open) = self.open.take() else { return };
        open.request.anomalies.merge(anomalies);
        self.worker.find_in_body(
            &mut open,
            self.exchange,
            Limits::beginning(self.settings.max_decoded_body_bytes),
        );
        let findings = std::mem::take(&mut open.findings);
        self.judge(&open.request, findings);
        self.worker.give_back(open);
    }

    fn response_end(&mut self, _: Anomalies) {}

    fn lost(&mut self) {}
}
