//! Listens to the readers of a connection and hands what they read to the detector.

use std::net::IpAddr;

use super::answers::{Awaited, unanswered};
use super::bodies::{Context, codings_of};
use super::command::{Command, Endpoints};
use super::exchange::{Exchange, OpenRequest};
use super::settings::Settings;
use super::tail::Tail;
use super::upgraded::Upgraded;
use super::worker::Worker;
use crate::body::nested;
use crate::detect::Phase;
use crate::facts::RequestFacts;
use crate::flow::Side;
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::fields::push_head;
use crate::http::framing::{Asked, Framing};
use crate::http::message::{Request, Response};
use crate::http::reader::Sink;
use crate::time::Timestamp;

/// Listens to the reader of one direction.
#[derive(Debug)]
pub(super) struct Inspector<'a> {
    pub(super) worker: &'a mut Worker,
    pub(super) exchange: &'a mut Exchange,
    pub(super) settings: &'a Settings,
    pub(super) from: Side,
    pub(super) time: Timestamp,
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
        self.exchange.note_missed(self.from, bytes);
        if !self.is_client() {
            self.answer_gap(bytes);
        } else if let Some(tail) = self.exchange.open.as_mut().and_then(|open| open.tail.as_mut()) {
            self.worker.counters.body_uninspected_bytes += tail.restart();
        }
    }

    fn inspect_body(&mut self, open: &mut OpenRequest) {
        let (settings, time) = (self.settings, self.time);
        self.worker.inspect_body(open, &mut Context { exchange: self.exchange, settings, time });
    }

    /// Bytes of a body that are kept if so many come now. A compressed one is decoded as a whole: its end alone says nothing.
    fn body_limit(&self, open: &OpenRequest, coming: usize) -> usize {
        let most = self.settings.max_body_bytes;
        if open.inspected || open.body.len() + coming <= most || codings_of(&open.request.headers()).is_none()
        {
            return most;
        }
        most.max(self.settings.max_coded_body_bytes)
    }

    /// From here on only the end of the body is kept. Of a compressed one that was inspected all that can be had.
    fn begin_tail(&mut self, open: &mut OpenRequest) {
        let most = self.settings.max_body_tail_bytes;
        if most > 0 && codings_of(&open.request.headers()).is_none() {
            let mut tail = Box::<Tail>::default();
            tail.begin(&open.body, most);
            open.tail = Some(tail);
        }
    }

    pub(super) fn urgent(&mut self) {
        self.worker.counters.urgent_bytes += 1;
    }

    /// Whether the bytes come from the end that sends requests.
    pub(super) fn is_client(&self) -> bool {
        self.exchange.client == Some(self.from)
    }

    /// Whether the bytes come from the other end.
    pub(super) fn is_server(&self) -> bool {
        self.exchange.client == Some(self.from.other())
    }

    fn upgrade(&mut self, upgraded: Option<Upgraded>) {
        let counters = &mut self.worker.counters;
        match upgraded {
            Some(Upgraded::Http2(_)) => counters.http2_connections += 1,
            Some(Upgraded::WebSocket(_)) => {
                counters.websocket_connections += 1;
                let (client, server) = self.exchange.endpoints(self.exchange.client_side());
                self.worker.commands.push_back(Command::WebSocket(Endpoints { client, server }));
            }
            None => {}
        }
        self.exchange.tunnel = true;
        self.exchange.upgraded = upgraded.map(Box::new);
    }

    /// Notes who is the client, and what the response will answer.
    fn begin(&mut self, request: &Request) -> u64 {
        let exchange = &mut *self.exchange;
        exchange.client = Some(self.from);
        if exchange.asked.len() >= self.settings.max_pipelined {
            self.worker.counters.pipeline_overflows += 1;
            if let Some(kept) = exchange.asked.pop_front().and_then(|awaited| awaited.kept) {
                self.worker.give_back(kept);
            }
        }
        let asked = match request.method() {
            b"HEAD" => Asked::Head,
            b"CONNECT" => Asked::Connect,
            _ => Asked::Other,
        };
        let number = exchange.requests;
        exchange.asked.push_back(Awaited { asked, number, kept: None });
        exchange.requests += 1;
        number
    }
}

impl Sink for Inspector<'_> {
    fn request(&mut self, request: &mut Request, framing: Framing) {
        self.request_end(Anomalies::NONE);
        if framing == Framing::Tunnel {
            self.exchange.client = Some(self.from);
            return self.upgrade(Some(Upgraded::prior_knowledge(self.from.index())));
        }
        let number = self.begin(request);
        let worker = &mut *self.worker;
        worker.counters.requests += 1;
        worker.counters.anomalies += u64::from(request.anomalies.len());
        worker.counters.heads_too_long += u64::from(request.anomalies.contains(Anomaly::HeadTooLong));
        if request.header("upgrade").is_some() {
            self.exchange.asking = Some(Box::new((request.clone(), number)));
        }
        let mut findings = std::mem::take(&mut worker.findings);
        findings.clear();
        worker.fields.clear();
        push_head(request, &mut worker.fields);
        nested::expand(&mut worker.fields);
        worker.detect(Phase::Head, self.exchange, request, &mut findings);
        if !findings.is_empty() {
            worker.decide(self.exchange, request, number, &findings, 0, self.time);
        }
        let has_body = !matches!(framing, Framing::None | Framing::Length(0));
        if has_body || worker.wanted.any() || !findings.is_empty() {
            let mut open = worker.spare.pop().unwrap_or_default();
            (open.number, open.time, open.ended) = (number, self.time, self.time);
            worker.note_probes(&findings, &mut open);
            if let Some(key) = &worker.facts_key {
                open.facts = RequestFacts::of_head(key, request, &worker.fields);
            }
            std::mem::swap(&mut open.request, request);
            std::mem::swap(&mut open.findings, &mut findings);
            self.exchange.open = Some(open);
        }
        self.worker.findings = findings;
        if !has_body && let Some(open) = self.exchange.open.take() {
            self.keep(open);
        }
    }

    fn asked(&mut self, status: u16) -> Asked {
        let exchange = &mut *self.exchange;
        exchange.responses = exchange.responses.saturating_add(1);
        let unasked =
            exchange.client.is_none() && exchange.responses == 1 && exchange.from_start[self.from.index()];
        if exchange.client == Some(self.from) || unasked {
            return Asked::Nothing;
        }
        exchange.client = Some(self.from.other());
        if (100..200).contains(&status) && status != 101 {
            return Asked::Other;
        }
        let awaited = exchange.asked.pop_front();
        self.worker.counters.transactions += u64::from(awaited.is_some());
        let asked = awaited.as_ref().map_or(Asked::Unseen, |awaited| awaited.asked);
        self.begin_answer(awaited);
        asked
    }

    fn response(&mut self, response: &mut Response, framing: Framing) {
        self.worker.counters.responses += 1;
        self.worker.counters.anomalies += u64::from(response.anomalies.len());
        self.worker.counters.heads_too_long += u64::from(response.anomalies.contains(Anomaly::HeadTooLong));
        if framing == Framing::Tunnel {
            self.worker.counters.tunnels += 1;
            let upgraded = Upgraded::accepted(response, self.exchange, self.settings);
            // The request that asked for HTTP/2 is answered there.
            let answered_later = matches!(upgraded, Some(Upgraded::Http2(_)));
            let transactions = &mut self.worker.counters.transactions;
            *transactions = transactions.saturating_sub(u64::from(answered_later));
            self.upgrade(upgraded);
        }
        #[cfg(test)]
        self.worker.seam.response(response);
        if !(100..200).contains(&response.status) || response.status == 101 {
            self.answer_head(response);
        }
    }

    fn response_body(&mut self, data: &[u8]) {
        self.answer_body(data);
    }

    fn response_trailer(&mut self, data: &[u8]) {
        self.answer_trailer(data);
    }

    fn proxied(&mut self, client: IpAddr) {
        self.worker.counters.proxied_connections += 1;
        self.exchange.note_proxied(client);
    }

    fn request_body(&mut self, data: &[u8]) {
        let Some(mut open) = self.exchange.open.take() else { return };
        open.length += data.len() as u64;
        let room = self.body_limit(&open, data.len()).saturating_sub(open.body.len());
        let (kept, rest) = data.split_at(data.len().min(room));
        open.body.extend_from_slice(kept);
        self.worker.counters.body_bytes += kept.len() as u64;
        if !rest.is_empty() && !open.inspected {
            open.request.anomalies.insert(Anomaly::BodyTooLong);
            self.inspect_body(&mut open);
            self.begin_tail(&mut open);
        }
        let most = self.settings.max_body_tail_bytes;
        let unseen = open.tail.as_mut().map_or(rest.len() as u64, |tail| tail.push(rest, most));
        self.worker.counters.body_uninspected_bytes += unseen;
        self.exchange.open = Some(open);
    }

    fn request_extension(&mut self, data: &[u8]) {
        let Some(open) = &mut self.exchange.open else { return };
        let taken = data.len().min(self.settings.max_trailer_bytes.saturating_sub(open.extension.len()));
        open.extension.extend_from_slice(&data[..taken]);
        self.worker.counters.trailer_uninspected_bytes += (data.len() - taken) as u64;
    }

    /// Of the rest of a head the end is kept, where it is not covered by filler.
    fn request_late(&mut self, data: &[u8]) {
        let Some(open) = &mut self.exchange.open else { return };
        let most = self.settings.max_trailer_bytes;
        let (given_up, data) = data.split_at(data.len().saturating_sub(most));
        let too_many = (open.extension.len() + data.len()).saturating_sub(most).min(open.extension.len());
        open.extension.drain(..too_many);
        open.extension.extend_from_slice(data);
        self.worker.counters.trailer_uninspected_bytes += (given_up.len() + too_many) as u64;
    }

    fn other_reading(&mut self, request: &mut Request, body: &[u8]) {
        self.worker.counters.other_readings += 1;
        let (settings, time) = (self.settings, self.time);
        self.worker.inspect_other(request, body, &mut Context { exchange: self.exchange, settings, time });
    }

    fn tunnel(&mut self, data: &[u8]) -> bool {
        let Some(mut upgraded) = self.exchange.upgraded.take() else {
            self.worker.counters.tunnel_bytes += data.len() as u64;
            return self.exchange.tunnel;
        };
        if !upgraded.data(data, self) {
            self.exchange.tunnel = false;
            return false;
        }
        self.exchange.upgraded = Some(upgraded);
        true
    }

    fn tunnel_gap(&mut self, bytes: u64) {
        let Some(mut upgraded) = self.exchange.upgraded.take() else { return };
        if upgraded.gap(bytes, self) {
            self.exchange.upgraded = Some(upgraded);
        } else {
            self.worker.counters.upgraded_lost += 1;
            upgraded.end(self);
        }
    }

    fn tunnel_end(&mut self) {
        if !self.is_client() {
            return;
        }
        if let Some(mut upgraded) = self.exchange.upgraded.take() {
            upgraded.end(self);
        }
    }

    fn joined_http2(&mut self) {
        self.worker.counters.http2_joined += 1;
        self.upgrade(Some(Upgraded::joined()));
    }

    fn joined_websocket(&mut self) {
        self.worker.counters.websocket_joined += 1;
        self.exchange.client = Some(self.from);
        let upgraded = Upgraded::joined_websocket(self.exchange.requests, self.settings);
        self.upgrade(Some(upgraded));
    }

    fn passed_over(&mut self, bytes: u64) {
        self.worker.counters.searched_bytes += bytes;
    }

    fn encrypted(&mut self) {
        self.worker.counters.encrypted_connections += 1;
    }

    fn request_trailer(&mut self, data: &[u8]) {
        let Some(open) = &mut self.exchange.open else { return };
        let taken = data.len().min(self.settings.max_trailer_bytes.saturating_sub(open.trailer.len()));
        open.trailer.extend_from_slice(&data[..taken]);
        self.worker.counters.trailer_uninspected_bytes += (data.len() - taken) as u64;
    }

    fn request_end(&mut self, anomalies: Anomalies) {
        self.worker.counters.anomalies += u64::from(anomalies.len());
        let Some(mut open) = self.exchange.open.take() else { return };
        open.request.anomalies.merge(anomalies);
        if open.inspected {
            let (settings, time) = (self.settings, self.time);
            self.worker.inspect_end(&mut open, &mut Context { exchange: self.exchange, settings, time });
        } else {
            self.inspect_body(&mut open);
        }
        self.keep(open);
    }

    fn response_end(&mut self, anomalies: Anomalies) {
        self.worker.counters.anomalies += u64::from(anomalies.len());
        self.end_answer();
    }

    fn lost(&mut self) {
        self.worker.counters.resyncs += 1;
        unanswered(self.worker, self.exchange, self.time);
    }
}
