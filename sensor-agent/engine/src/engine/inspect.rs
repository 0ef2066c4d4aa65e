//! From messages to commands: what one connection knows of its messages ([`Exchange`]), and the detector, the policy and the
//! reused memory of the thread ([`Worker`]).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::blocks::RecentBlocks;
use super::counters::Counters;
use super::settings::Settings;
use super::{Block, Command, Report, RequestSummary};
use crate::body;
use crate::body::coding::{Decoded, Decoder, is_coded};
use crate::detect::{Detector, Part, Phase};
use crate::field::Fields;
use crate::finding::Finding;
use crate::flow::{Key, Side};
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::fields::push_head;
use crate::http::framing::{Asked, Framing};
use crate::http::message::{Request, Response};
use crate::http::reader::Sink;
use crate::policy::{Action, Policy, Verdict};
use crate::time::Timestamp;

/// Most bytes of a trailer section that are inspected.
const MAX_TRAILER: usize = 8 * 1024;
/// Most requests' memory kept for reuse.
const MAX_SPARE: usize = 16;
/// Memory of a request's body kept for reuse.
const MAX_SPARE_BODY: usize = 64 * 1024;
/// Most findings kept of a connection whose source is not verified yet.
const MAX_DEFERRED: usize = 16;

/// A request whose body is coming in.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenRequest {
    request: Request,
    number: u64,
    body: Vec<u8>,
    trailer: Vec<u8>,
    findings: Vec<Finding>,
    inspected: bool,
}

impl OpenRequest {
    pub(super) fn memory(&self) -> usize {
        let request = &self.request;
        let headers = request.headers.capacity() * size_of::<crate::http::message::HeaderSpan>();
        let findings = self.findings.capacity() * size_of::<Finding>();
        size_of::<Self>()
            + request.head.capacity()
            + headers
            + self.body.capacity()
            + self.trailer.capacity()
            + findings
    }
}

/// What a connection knows of its messages, beside the bytes.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) flow_id: u64,
    pub(super) key: Key,
    pub(super) interface: u32,
    /// The end that sends requests.
    pub(super) client: Option<Side>,
    /// Whether the connection left HTTP.
    pub(super) tunnel: bool,
    pub(super) open: Option<Box<OpenRequest>>,
    /// Whether the first byte of a direction was seen.
    pub(super) from_start: [bool; 2],
    /// The kernel knows that the handshake was completed.
    pub(super) handshake: bool,
    /// Whether payload of an end left the host, and whether it arrived there. Both can be: taps on a bridge see it twice.
    payload_ways: [[bool; 2]; 2],
    /// Bytes of a direction that were on the wire, but not captured.
    missed: [u64; 2],
    /// Kinds of the requests whose responses are still to come.
    asked: VecDeque<Asked>,
    responses: u64,
    requests: u64,
    /// Findings that would block the source if it were verified.
    deferred: Vec<Finding>,
}

impl Exchange {
    pub(super) fn new(flow_id: u64, key: Key, interface: u32) -> Self {
        Self {
            flow_id,
            key,
            interface,
            client: None,
            tunnel: false,
            open: None,
            from_start: [false; 2],
            handshake: false,
            payload_ways: [[false; 2]; 2],
            missed: [0; 2],
            asked: VecDeque::new(),
            responses: 0,
            requests: 0,
            deferred: Vec::new(),
        }
    }

    /// Whether the client owns its address: the kernel says so, or the other end sent payload, which it only does on a
    /// completed handshake. Payload that came from the same side of the host proves nothing.
    fn is_verified(&self) -> bool {
        let [low, high] = self.payload_ways;
        self.handshake || low[0] && high[1] || low[1] && high[0]
    }

    /// Notes payload of an end.
    pub(super) fn note_payload(&mut self, from: Side, ingress: bool) {
        self.payload_ways[from.index()][usize::from(ingress)] = true;
    }

    pub(super) fn memory(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |open| open.memory());
        open + self.asked.capacity() + self.deferred.capacity() * size_of::<Finding>()
    }

    fn client_address(&self) -> SocketAddr {
        self.key.address(self.client.unwrap_or(Side::Low))
    }
}

/// What all connections of a thread share.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) detector: Detector,
    pub(super) policy: Arc<Policy>,
    pub(super) counters: Counters,
    pub(super) commands: VecDeque<Command>,
    fields: Fields,
    decoder: Decoder,
    findings: Vec<Finding>,
    #[expect(clippy::vec_box, reason = "the boxes are what is reused: they move to connections and back")]
    spare: Vec<Box<OpenRequest>>,
    recent: RecentBlocks,
    #[cfg(test)]
    pub(super) seam: super::tests::Seam,
}

impl Worker {
    pub(super) fn new(detector: Detector, policy: Arc<Policy>) -> Self {
        Self {
            detector,
            policy,
            counters: Counters::default(),
            commands: VecDeque::new(),
            fields: Fields::default(),
            decoder: Decoder::default(),
            findings: Vec::new(),
            spare: Vec::new(),
            recent: RecentBlocks::default(),
            #[cfg(test)]
            seam: super::tests::Seam::default(),
        }
    }

    /// Runs the detector over `self.fields`; appends to `findings` and returns how many there were before.
    fn detect(&mut self, phase: Phase, request: &Request, findings: &mut Vec<Finding>) -> usize {
        let before = findings.len();
        self.counters.fields_dropped += u64::from(self.fields.dropped());
        self.detector.inspect(Part { phase, request, fields: &self.fields }, findings);
        #[cfg(test)]
        self.seam.inspect(phase, request, &self.fields, findings);
        self.counters.findings += (findings.len() - before) as u64;
        before
    }

    fn judge(&self, exchange: &Exchange, findings: &[Finding]) -> Option<Verdict> {
        let source = exchange.client_address().ip();
        #[cfg(test)]
        if let Some(action) = self.seam.action(exchange.is_verified(), findings) {
            return Some(action);
        }
        self.policy.judge(source, exchange.is_verified(), findings)
    }

    /// Carries the verdict on `findings` out. Those from `new` on are reported.
    fn decide(
        &mut self,
        exchange: &mut Exchange,
        request: &Request,
        number: u64,
        findings: &[Finding],
        new: usize,
        time: Timestamp,
    ) {
        let Some(verdict) = self.judge(exchange, findings) else { return };
        let blocked_until = self.act(exchange, &verdict, findings, time);
        let mut reported = findings.get(new..).unwrap_or_default().to_vec();
        reported.sort_by(|a, b| b.confidence.get().total_cmp(&a.confidence.get()));
        let client = exchange.client.unwrap_or(Side::Low);
        self.counters.reports += 1;
        self.commands.push_back(Command::Report(Box::new(Report {
            time,
            flow_id: exchange.flow_id,
            interface: exchange.interface,
            client: exchange.key.address(client),
            server: exchange.key.address(client.other()),
            transaction: number,
            request: RequestSummary::of(request),
            findings: reported,
            verdict,
            blocked_until,
            client_bytes_missed: exchange.missed[client.index()],
        })));
    }

    /// Blocks the source if the verdict says so, or keeps the findings until the source is verified.
    fn act(
        &mut self,
        exchange: &mut Exchange,
        verdict: &Verdict,
        findings: &[Finding],
        time: Timestamp,
    ) -> Option<Timestamp> {
        match verdict.action {
            Action::Block(duration) => Some(self.block(exchange, verdict, findings, time, duration, false)),
            Action::Observe(duration) => Some(self.block(exchange, verdict, findings, time, duration, true)),
            Action::Unverified => {
                if exchange.deferred.is_empty() {
                    self.counters.blocks_deferred += 1;
                    exchange.deferred.extend(findings.iter().take(MAX_DEFERRED).cloned());
                }
                None
            }
            Action::Exempt | Action::Report => None,
        }
    }

    fn block(
        &mut self,
        exchange: &Exchange,
        verdict: &Verdict,
        findings: &[Finding],
        time: Timestamp,
        duration: Duration,
        shadow: bool,
    ) -> Timestamp {
        let (source, until) = (exchange.client_address().ip(), time + duration);
        if self.recent.note(source, shadow, time) {
            self.counters.blocks += 1;
            let reason = reason(verdict, findings);
            self.commands.push_back(Command::Block(Block { source, until, shadow, reason }));
        } else {
            self.counters.blocks_repeated += 1;
        }
        until
    }

    /// Blocks the source of a connection that has become verified, if findings wait for that.
    pub(super) fn verify(&mut self, exchange: &mut Exchange, time: Timestamp) {
        if exchange.deferred.is_empty() || !exchange.is_verified() {
            return;
        }
        let findings = std::mem::take(&mut exchange.deferred);
        if let Some(verdict) = self.judge(exchange, &findings) {
            self.act(exchange, &verdict, &findings, time);
        }
    }

    fn give_back(&mut self, mut open: Box<OpenRequest>) {
        if self.spare.len() < MAX_SPARE && open.body.capacity() <= MAX_SPARE_BODY {
            open.body.clear();
            open.trailer.clear();
            open.findings.clear();
            open.inspected = false;
            self.spare.push(open);
        }
    }

    fn inspect_body(
        &mut self,
        exchange: &mut Exchange,
        open: &mut OpenRequest,
        max_decoded: usize,
        time: Timestamp,
    ) {
        open.inspected = true;
        self.fields.clear();
        let mut anomalies = Anomalies::NONE;
        let coding = open.request.header("content-encoding").filter(|coding| is_coded(coding));
        let body = match coding {
            None => &open.body,
            Some(codings) => {
                self.counters.body_encoded += 1;
                let (decoded, body) = self.decoder.decode(codings, &open.body, max_decoded);
                self.counters.body_undecoded += u64::from(decoded != Decoded::Whole);
                anomalies.extend(decoding_anomaly(decoded));
                body
            }
        };
        anomalies.merge(body::push_body(&open.request, body, &mut self.fields));
        anomalies.merge(body::push_trailer(&open.trailer, &mut self.fields));
        self.counters.anomalies += u64::from(anomalies.len());
        open.request.anomalies.merge(anomalies);
        let new = self.detect(Phase::Body, &open.request, &mut open.findings);
        if open.findings.len() > new {
            self.decide(exchange, &open.request, open.number, &open.findings, new, time);
        }
    }
}

/// One printable line: class and rule.
fn reason(verdict: &Verdict, findings: &[Finding]) -> String {
    let of_class = findings.iter().filter(|finding| finding.class == verdict.class);
    let best = of_class.max_by(|a, b| a.confidence.get().total_cmp(&b.confidence.get()));
    match best {
        Some(finding) => format!("{} {}", verdict.class, finding.rule.id),
        None => verdict.class.to_string(),
    }
}

fn decoding_anomaly(decoded: Decoded) -> Option<Anomaly> {
    match decoded {
        Decoded::Whole => None,
        Decoded::Part | Decoded::Unknown => Some(Anomaly::BodyEncoded),
        Decoded::Limited => Some(Anomaly::BodyTooLong),
        Decoded::Bomb => Some(Anomaly::BodyBomb),
    }
}

/// Listens to the reader of one direction.
#[derive(Debug)]
pub(super) struct Inspector<'a> {
    worker: &'a mut Worker,
    exchange: &'a mut Exchange,
    settings: &'a Settings,
    from: Side,
    time: Timestamp,
}

impl<'a> Inspector<'a> {
    pub(super) fn new(
        worker: &'a mut Worker,
        exchange: &'a mut Exchange,
        settings: &'a Settings,
        from: Side,
        time: Timestamp,
    ) -> Self {
        Self { worker, exchange, settings, from, time }
    }

    pub(super) fn gap(&mut self, bytes: u64) {
        self.worker.counters.gaps += 1;
        self.worker.counters.gap_bytes += bytes;
        self.exchange.missed[self.from.index()] += bytes;
    }

    /// Notes who is the client, and what the response will answer.
    fn begin(&mut self, request: &Request) -> u64 {
        let exchange = &mut *self.exchange;
        exchange.client = Some(self.from);
        if exchange.asked.len() >= self.settings.max_pipelined {
            self.worker.counters.pipeline_overflows += 1;
            exchange.asked.pop_front();
        }
        exchange.asked.push_back(match request.method() {
            b"HEAD" => Asked::Head,
            b"CONNECT" => Asked::Connect,
            _ => Asked::Other,
        });
        exchange.requests += 1;
        exchange.requests - 1
    }
}

impl Sink for Inspector<'_> {
    fn request(&mut self, request: &mut Request, framing: Framing) {
        self.request_end(Anomalies::NONE);
        let number = self.begin(request);
        let worker = &mut *self.worker;
        worker.counters.requests += 1;
        worker.counters.http2_connections += u64::from(request.method() == b"PRI");
        worker.counters.anomalies += u64::from(request.anomalies.len());
        worker.counters.heads_too_long += u64::from(request.anomalies.contains(Anomaly::HeadTooLong));
        let mut findings = std::mem::take(&mut worker.findings);
        findings.clear();
        worker.fields.clear();
        push_head(request, &mut worker.fields);
        worker.detect(Phase::Head, request, &mut findings);
        if !findings.is_empty() {
            worker.decide(self.exchange, request, number, &findings, 0, self.time);
        }
        if !matches!(framing, Framing::None | Framing::Length(0)) {
            let mut open = worker.spare.pop().unwrap_or_default();
            open.number = number;
            std::mem::swap(&mut open.request, request);
            std::mem::swap(&mut open.findings, &mut findings);
            self.exchange.open = Some(open);
        }
        worker.findings = findings;
    }

    fn asked(&mut self, status: u16) -> Asked {
        let exchange = &mut *self.exchange;
        exchange.responses += 1;
        let unasked =
            exchange.client.is_none() && exchange.responses == 1 && exchange.from_start[self.from.index()];
        if exchange.client == Some(self.from) || unasked {
            return Asked::Nothing;
        }
        exchange.client = Some(self.from.other());
        if (100..200).contains(&status) && status != 101 {
            return Asked::Other;
        }
        let asked = exchange.asked.pop_front();
        self.worker.counters.transactions += u64::from(asked.is_some());
        asked.unwrap_or_default()
    }

    fn response(&mut self, response: &mut Response, framing: Framing) {
        self.worker.counters.responses += 1;
        self.worker.counters.anomalies += u64::from(response.anomalies.len());
        self.worker.counters.heads_too_long += u64::from(response.anomalies.contains(Anomaly::HeadTooLong));
        if framing == Framing::Tunnel {
            self.worker.counters.tunnels += 1;
            self.exchange.tunnel = true;
        }
        #[cfg(test)]
        self.worker.seam.response(response);
    }

    fn request_body(&mut self, data: &[u8]) {
        let Some(mut open) = self.exchange.open.take() else { return };
        let taken = data.len().min(self.settings.max_body_bytes.saturating_sub(open.body.len()));
        let (kept, rest) = data.split_at(taken);
        open.body.extend_from_slice(kept);
        self.worker.counters.body_bytes += kept.len() as u64;
        self.worker.counters.body_uninspected_bytes += rest.len() as u64;
        if !rest.is_empty() && !open.inspected {
            open.request.anomalies.insert(Anomaly::BodyTooLong);
            self.worker.inspect_body(
                self.exchange,
                &mut open,
                self.settings.max_decoded_body_bytes,
                self.time,
            );
        }
        self.exchange.open = Some(open);
    }

    fn request_trailer(&mut self, data: &[u8]) {
        let Some(open) = &mut self.exchange.open else { return };
        let taken = data.len().min(MAX_TRAILER.saturating_sub(open.trailer.len()));
        open.trailer.extend_from_slice(&data[..taken]);
        self.worker.counters.trailer_uninspected_bytes += (data.len() - taken) as u64;
    }

    fn request_end(&mut self, anomalies: Anomalies) {
        self.worker.counters.anomalies += u64::from(anomalies.len());
        let Some(mut open) = self.exchange.open.take() else { return };
        open.request.anomalies.merge(anomalies);
        if !open.inspected {
            self.worker.inspect_body(
                self.exchange,
                &mut open,
                self.settings.max_decoded_body_bytes,
                self.time,
            );
        }
        self.worker.give_back(open);
    }

    fn response_end(&mut self, anomalies: Anomalies) {
        self.worker.counters.anomalies += u64::from(anomalies.len());
    }

    fn lost(&mut self) {
        self.worker.counters.resyncs += 1;
        self.exchange.asked.clear();
    }
}
