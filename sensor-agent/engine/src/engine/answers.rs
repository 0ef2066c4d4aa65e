//! Responses beside their requests. A request is kept until its response comes only if somebody wants to see the two together: a
//! rule that looks at responses, a finding that a response can prove, or the list of transactions. Of a response that is wanted,
//! the head and the first bytes of a textual body are kept, and looked at once, when the body is over or full.

use std::borrow::Cow;
use std::time::Duration;

use super::bodies::codings_of;
use super::command::{Command, Outcome, Transaction};
use super::exchange::{Exchange, OpenRequest};
use super::inspect::Inspector;
use super::reflection::{self, Seen};
use super::settings::Settings;
use super::worker::{Subject, Worker};
use super::{RequestSummary, SUMMARY_LEN};
use crate::body;
use crate::body::coding::Decoded;
use crate::body::response::{is_inspected, push_text};
use crate::detect::{BUILTINS, Phase};
use crate::facts::{Facts, Found, ResponseFacts, flag};
use crate::field::Place;
use crate::finding::{Class, Finding, printable};
use crate::http::anomaly::Anomalies;
use crate::http::fields::push_response_head;
use crate::http::framing::Asked;
use crate::http::message::Response;
use crate::time::Timestamp;

/// A request whose response is to come.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) asked: Asked,
    /// Number of the request in its connection.
    pub(super) number: u64,
    /// The request, if somebody wants to see it beside its response.
    pub(super) kept: Option<Box<OpenRequest>>,
}

/// A response that is looked into.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) open: Box<OpenRequest>,
    pub(super) response: Response,
    body: Vec<u8>,
    trailer: Vec<u8>,
    /// Bytes of the body, without transfer coding.
    length: u64,
    /// What the response says, if facts are wanted.
    facts: ResponseFacts,
    /// Time from the request's end to the response's head.
    delay: Duration,
    /// Whether nobody wants more of the body.
    pub(super) inspected: bool,
}

impl Answer {
    /// Whether its body may tell what became of a login.
    fn tells_of_login(&self) -> bool {
        self.open.facts.has(flag::LOGIN) && !self.open.facts.has(flag::BASIC)
    }

    pub(super) fn memory(&self) -> usize {
        let headers = self.response.headers.capacity() * size_of::<crate::http::message::HeaderSpan>();
        let bytes = self.response.head.capacity() + self.body.capacity() + self.trailer.capacity();
        size_of::<Self>() + headers + bytes + self.open.memory()
    }
}

/// What is wanted of responses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub(super) heads: bool,
    pub(super) bodies: bool,
    pub(super) list: bool,
    pub(super) facts: bool,
    /// What bodies expose, even if no rule looks at them.
    pub(super) exposures: bool,
}

impl Wanted {
    pub(super) fn any(self) -> bool {
        self.heads || self.bodies || self.list || self.facts || self.exposures
    }
}

impl Inspector<'_> {
    /// Keeps a request that is over for its response, if somebody wants that.
    pub(super) fn keep(&mut self, mut open: Box<OpenRequest>) {
        open.ended = self.time;
        let wanted = self.worker.wanted.any() || !open.probes.is_empty();
        let place = self.exchange.asked.iter_mut().rev().find(|awaited| awaited.number == open.number);
        match place.filter(|_| wanted) {
            Some(awaited) => {
                open.body.clear();
                awaited.kept = Some(open);
            }
            None => self.worker.give_back(open),
        }
    }

    /// The request that the response belongs to is no longer awaited.
    pub(super) fn begin_answer(&mut self, awaited: Option<Awaited>) {
        self.end_answer();
        let Some(awaited) = awaited else { return };
        // An early response: the request is not over.
        let early = || {
            let open = self.exchange.open.as_deref().filter(|open| open.number == awaited.number)?;
            let wanted = self.worker.wanted.any() || !open.probes.is_empty();
            wanted.then(|| Box::new(OpenRequest { body: Vec::new(), ..open.clone() }))
        };
        if let Some(open) = awaited.kept.or_else(early) {
            let mut answer = self.worker.spare_answers.pop().unwrap_or_default();
            // What stood there is a request's memory that waits to be used.
            self.worker.give_back(std::mem::replace(&mut answer.open, open));
            self.exchange.answer = Some(answer);
        }
    }

    /// The head of the response is there.
    pub(super) fn answer_head(&mut self, response: &mut Response) {
        let Some(answer) = &mut self.exchange.answer else { return };
        answer.delay = self.time.since(answer.open.ended);
        if let Some(key) = &self.worker.facts_key {
            answer.facts = ResponseFacts::of_head(key, &answer.open.facts, Some(response));
        }
        let asks = self.worker.wanted.bodies || !answer.open.probes.is_empty() || answer.tells_of_login();
        let asks = is_inspected(response.header("content-type"))
            && (asks || self.worker.wanted.exposures && self.worker.searches(&answer.open, response.status));
        answer.inspected = !asks;
        std::mem::swap(&mut answer.response, response);
        if answer.inspected {
            self.look_at_answer(Look::Head);
        }
    }

    pub(super) fn answer_body(&mut self, data: &[u8]) {
        let Some(answer) = &mut self.exchange.answer else { return };
        answer.length += data.len() as u64;
        if answer.inspected {
            return;
        }
        let room = self.settings.max_response_body_bytes.saturating_sub(answer.body.len());
        let (kept, rest) = data.split_at(data.len().min(room));
        answer.body.extend_from_slice(kept);
        self.worker.counters.response_body_bytes += kept.len() as u64;
        self.worker.counters.response_uninspected_bytes += rest.len() as u64;
        if kept.len() == room {
            self.look_at_answer(Look::Whole);
        }
    }

    pub(super) fn answer_trailer(&mut self, data: &[u8]) {
        let Some(answer) = &mut self.exchange.answer else { return };
        let taken = data.len().min(self.settings.max_trailer_bytes.saturating_sub(answer.trailer.len()));
        answer.trailer.extend_from_slice(&data[..taken]);
    }

    /// Something of the body is missing: what came before is looked at, and no more.
    pub(super) fn answer_gap(&mut self, bytes: u64) {
        let Some(answer) = &mut self.exchange.answer else { return };
        answer.length += bytes;
        if !answer.inspected {
            self.look_at_answer(Look::Whole);
        }
    }

    /// The response is over, or there will be none.
    pub(super) fn end_answer(&mut self) {
        let Some(answer) = &self.exchange.answer else { return };
        if !answer.inspected {
            self.look_at_answer(Look::Whole);
        } else if !answer.trailer.is_empty() {
            self.look_at_answer(Look::Trailer);
        }
        let Some(answer) = self.exchange.answer.take() else { return };
        self.worker.note_facts(
            self.exchange,
            &answer.open,
            ResponseFacts { bytes: answer.length, ..answer.facts },
        );
        if self.worker.wanted.list {
            self.worker.list(self.exchange, &answer.open, Some(&answer), self.time);
        }
        self.worker.give_back_answer(answer);
    }

    fn look_at_answer(&mut self, look: Look) {
        let Some(mut answer) = self.exchange.answer.take() else { return };
        answer.inspected = true;
        self.worker.inspect_answer(&mut answer, look, self.exchange, self.settings, self.time);
        self.exchange.answer = Some(answer);
    }
}

/// Status codes from this one on say that something failed.
const FAILED: u16 = 400;

/// What of a response is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// The head: nobody wants the body.
    Head,
    /// All that there is.
    Whole,
    /// The trailer section, behind an earlier look.
    Trailer,
}

impl Worker {
    /// Tells which responses the rules of the detector look at.
    pub(super) fn note_wanted(&mut self, list: bool) {
        let (heads, bodies) = self.detector.wants_responses();
        self.wanted = Wanted {
            heads,
            bodies,
            list,
            facts: self.facts_key.is_some(),
            exposures: self.detector.looks_for_exposures(),
        };
    }

    /// Whether a response is searched for what it exposes.
    fn searches(&mut self, open: &OpenRequest, status: u16) -> bool {
        let searched =
            status >= FAILED || !open.findings.is_empty() || self.pages.is_due(open.request.path(), status);
        self.counters.responses_unsearched += u64::from(!searched);
        searched
    }

    /// Keeps what would prove the findings from `new` on, which were just made of `self.fields`.
    pub(super) fn note_probes(&mut self, findings: &[Finding], open: &mut OpenRequest) {
        if findings.iter().any(reflection::is_provable) {
            reflection::probes(&self.fields, findings, &mut self.views, &mut open.probes);
        }
    }

    fn inspect_answer(
        &mut self,
        answer: &mut Answer,
        look: Look,
        exchange: &mut Exchange,
        settings: &Settings,
        time: Timestamp,
    ) {
        if look == Look::Whole && answer.tells_of_login() {
            let body = self.decode_answer(answer, settings.max_response_body_bytes);
            let mut facts = answer.facts;
            facts.note_login(&answer.open.facts, &body);
            answer.facts = facts;
        }
        let looks = self.wanted.heads || self.wanted.bodies || self.wanted.exposures && look == Look::Whole;
        if !looks && answer.open.probes.is_empty() {
            return;
        }
        self.counters.responses_inspected += u64::from(look != Look::Trailer);
        self.fields.clear();
        if look != Look::Trailer {
            push_response_head(&answer.response, &mut self.fields);
        }
        if look == Look::Whole {
            let body = self.decode_answer(answer, settings.max_response_body_bytes);
            push_text(answer.response.header("content-type"), &body, &mut self.fields);
        }
        body::push_lines(Place::ResponseHeader, &answer.trailer, &mut self.fields);
        let mut findings = Vec::new();
        if looks {
            self.detector.set_suspicious(!answer.open.findings.is_empty());
            self.detector.set_delay(answer.delay);
            self.detect(Phase::Response, exchange, &answer.open.request, &mut findings);
            self.detector.set_delay(Duration::ZERO);
            findings.iter_mut().for_each(mask);
        }
        self.confirm(answer, &findings, exchange, time);
        if !findings.is_empty() {
            self.report_answer(exchange, &answer.open, &findings, time);
        }
    }

    /// The body without codings; what only claims to be encoded is taken as it is, as lenient clients do.
    fn decode_answer<'a>(&mut self, answer: &'a Answer, most: usize) -> Cow<'a, [u8]> {
        let plain = || answer.body.get(..most).unwrap_or(&answer.body);
        let Some(codings) = codings_of(&answer.response.headers()) else { return Cow::Borrowed(plain()) };
        let (decoded, body) = self.decoder.decode(&codings, &answer.body, most);
        self.counters.response_undecoded +=
            u64::from(!matches!(decoded, Decoded::Whole | Decoded::Limited | Decoded::Otherwise));
        let is_sent_plain = matches!(decoded, Decoded::Part | Decoded::Unknown) && answer.body.is_ascii();
        if is_sent_plain || body.is_empty() { Cow::Borrowed(plain()) } else { Cow::Owned(body.to_vec()) }
    }

    /// Reports the request's findings again if the response proves them, now surer.
    fn confirm(&mut self, answer: &mut Answer, shown: &[Finding], exchange: &mut Exchange, time: Timestamp) {
        if answer.open.probes.is_empty() && (shown.is_empty() || answer.open.findings.is_empty()) {
            return;
        }
        let probes = std::mem::take(&mut answer.open.probes);
        let body = self.fields.get(Place::ResponseBody, b"").map(|field| field.value).unwrap_or_default();
        let mut findings = answer.open.findings.clone();
        let seen = Seen { response: &answer.response, body, delay: answer.delay, shown };
        if reflection::confirm(&probes, seen, &mut findings) {
            self.counters.findings_confirmed += findings.len() as u64;
            let open = &answer.open;
            let subject =
                Subject { request: &open.request, number: open.number, outcome: Outcome::Confirmed };
            self.decide_about(exchange, subject, &findings, 0, time);
        }
    }

    /// One line of the list of transactions.
    pub(super) fn list(
        &mut self,
        exchange: &Exchange,
        open: &OpenRequest,
        answer: Option<&Answer>,
        time: Timestamp,
    ) {
        let client = exchange.client_side();
        let response = answer.map(|answer| &answer.response);
        let header = |name| response.and_then(|response| response.header(name)).unwrap_or_default();
        self.commands.push_back(Command::Transaction(Box::new(Transaction {
            time: open.time,
            ended: time,
            flow_id: exchange.flow_id,
            number: open.number,
            client: exchange.key.address(client),
            identity: self.identity(exchange, &open.request),
            server: exchange.key.address(client.other()),
            request: RequestSummary::of(&open.request),
            request_bytes: open.length,
            request_anomalies: open.request.anomalies,
            status: response.map(|response| response.status),
            response_type: printable(header("content-type"), SUMMARY_LEN),
            response_bytes: answer.map_or(0, |answer| answer.length),
            response_anomalies: response.map_or(Anomalies::NONE, |response| response.anomalies),
            grpc_status: answer.and_then(grpc_status),
        })));
    }

    /// Gives out the facts of a transaction that is over, if they are wanted.
    fn note_facts(&mut self, exchange: &Exchange, open: &OpenRequest, response: ResponseFacts) {
        if self.facts_key.is_none() {
            return;
        }
        let client = exchange.client_side();
        self.counters.facts += 1;
        self.facts.push_back(Facts {
            time: open.time,
            flow_id: exchange.flow_id,
            number: open.number,
            interface: exchange.interface,
            peer: exchange.key.address(client),
            server: exchange.key.address(client.other()),
            client: self.identity(exchange, &open.request),
            verified: exchange.is_verified(),
            proxied: self.is_proxy(exchange),
            request: open.facts,
            response,
            found: Found::of(&open.findings),
        });
    }

    pub(super) fn give_back_answer(&mut self, answer: Box<Answer>) {
        let mut answer = answer;
        let spare = self.spare.pop().unwrap_or_default();
        let open = std::mem::replace(&mut answer.open, spare);
        self.give_back(open);
        let held = answer.body.capacity() + answer.response.head.capacity();
        if self.spare_answers.len() < super::worker::room(held)
            && answer.body.capacity() <= super::worker::MAX_SPARE_BODY
        {
            answer.body.clear();
            answer.trailer.clear();
            (answer.length, answer.inspected, answer.delay) = (0, false, Duration::ZERO);
            answer.facts = ResponseFacts::default();
            self.spare_answers.push(answer);
        }
    }

    /// Gives out the findings of a response. The client has only asked for it: it is not blocked for what a server says.
    fn report_answer(
        &mut self,
        exchange: &mut Exchange,
        open: &OpenRequest,
        findings: &[Finding],
        time: Timestamp,
    ) {
        let subject = Subject { request: &open.request, number: open.number, outcome: Outcome::Response };
        self.decide_about(exchange, subject, findings, 0, time);
    }
}

/// The status of a gRPC call, in the trailers or, if there is nothing else, in the head.
fn grpc_status(answer: &Answer) -> Option<String> {
    let of_line = |line: &[u8]| {
        let colon = memchr::memchr(b':', line)?;
        line[..colon]
            .trim_ascii()
            .eq_ignore_ascii_case(b"grpc-status")
            .then(|| line[colon + 1..].trim_ascii())
            .map(<[u8]>::to_vec)
    };
    let trailer = answer.trailer.split(|&byte| byte == b'\n').find_map(of_line);
    let status = trailer.or_else(|| answer.response.header("grpc-status").map(<[u8]>::to_vec))?;
    Some(printable(&status, 16))
}

/// What a response gave away stands in the alert as little as possible: of each word the first letters, and no digit, since numbers
/// are written in groups.
fn mask(finding: &mut Finding) {
    const SHOWN: usize = 4;
    // Coded detections show nothing that is secret in the first place.
    let coded = BUILTINS.iter().any(|builtin| builtin.id == finding.rule.id);
    if finding.class != Class::DataExposure || coded {
        return;
    }
    let mut in_word = 0;
    finding.evidence = finding
        .evidence
        .chars()
        .map(|one| {
            in_word = if one.is_alphanumeric() { in_word + 1 } else { 0 };
            if in_word > SHOWN || one.is_numeric() { '*' } else { one }
        })
        .collect();
}

/// Marks a request that will get no response as over.
pub(super) fn unanswered(worker: &mut Worker, exchange: &mut Exchange, time: Timestamp) {
    for awaited in std::mem::take(&mut exchange.asked) {
        let Some(open) = awaited.kept else { continue };
        worker.note_facts(exchange, &open, ResponseFacts::none(&open.facts));
        if worker.wanted.list {
            worker.list(exchange, &open, None, time);
        }
        worker.give_back(open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exposed_is_masked() {
        let mut finding = crate::engine::tests::finding("response.body");
        finding.evidence = "card 4111 111111111111 of Alice Miller".to_owned();
        mask(&mut finding);
        assert_eq!(finding.evidence, "card 4111 111111111111 of Alice Miller");
        finding.class = Class::DataExposure;
        mask(&mut finding);
        assert_eq!(finding.evidence, "card **** ************ of Alic* Mill**");
    }
}
