//! Inspection of bodies: content codings removed, fields made, the detector asked; then whatever in the body looks like a
//! request is inspected as one.

use super::exchange::{Exchange, OpenRequest};
use super::settings::Settings;
use super::worker::Worker;
use crate::body;
use crate::body::coding::{self, Decoded, Limits, is_coded, is_known};
use crate::detect::Phase;
use crate::field::Place;
use crate::finding::Finding;
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::fields::push_head;
use crate::http::message::Request;
use crate::http::{embedded, framing, head};
use crate::time::Timestamp;

/// Bytes of a body's beginning that tell what its end is.
const SAMPLE: usize = 1024;

/// Where a body is inspected.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) exchange: &'a mut Exchange,
    pub(super) settings: &'a Settings,
    pub(super) time: Timestamp,
}

impl Worker {
    /// Inspects the body of a request, as much of it as there is.
    pub(super) fn inspect_body(&mut self, open: &mut OpenRequest, context: &mut Context<'_>) {
        let new = self.find_in_body(open, context.exchange, context.settings.decoding());
        self.decide_body(open, new, context);
        if open.request.anomalies.contains(Anomaly::EmbeddedRequest) && !open.embedded {
            let decoded = Some(self.decoder.output().to_vec()).filter(|decoded| !decoded.is_empty());
            let texts = [decoded.as_deref().unwrap_or(&open.body), &open.trailer];
            self.inspect_embedded(open.number, texts, context);
        }
        self.inspect_decoded_end(open, context);
    }

    /// Inspects the end of a body that is longer, without its coding, than its inspected beginning.
    fn inspect_decoded_end(&mut self, open: &mut OpenRequest, context: &mut Context<'_>) {
        let (end, unseen) = self.decoder.end();
        let (end, beginning) = (end.to_vec(), self.decoder.output());
        let beginning = beginning.get(..SAMPLE).unwrap_or(beginning).to_vec();
        self.counters.body_uninspected_bytes += unseen as u64;
        self.decoder.forget();
        if !end.is_empty() {
            self.counters.body_tails += 1;
            self.fields.clear();
            body::push_end(&open.request, &beginning, &end, &mut self.fields);
            self.judge_end(open, &end, context);
        }
    }

    /// Inspects what came behind the inspected beginning of a body: its end, and the trailer section.
    pub(super) fn inspect_end(&mut self, open: &mut OpenRequest, context: &mut Context<'_>) {
        let mut tail = open.tail.take().unwrap_or_default();
        self.counters.body_uninspected_bytes += tail.shorten(context.settings.max_body_tail_bytes);
        if tail.bytes().is_empty() && open.trailer.is_empty() && open.extension.is_empty() {
            return;
        }
        self.counters.body_tails += 1;
        self.fields.clear();
        if !tail.bytes().is_empty() {
            body::push_end(&open.request, &open.body, tail.bytes(), &mut self.fields);
        }
        open.request.anomalies.merge(body::push_trailer(&open.trailer, &mut self.fields));
        if !open.extension.is_empty() {
            self.fields.push(Place::Text, b"", &open.extension, 0);
        }
        self.judge_end(open, tail.bytes(), context);
    }

    /// Judges the fields of a body's end; what was found in its beginning is no news.
    fn judge_end(&mut self, open: &mut OpenRequest, end: &[u8], context: &mut Context<'_>) {
        let holds_requests = !open.embedded && embedded::find(end).next().is_some();
        open.request.anomalies.insert_if(holds_requests, Anomaly::EmbeddedRequest);
        let before = self.detect(Phase::Body, context.exchange, &open.request, &mut open.findings);
        let new = open.findings.split_off(before);
        let known = |finding: &Finding, all: &[Finding]| {
            all.iter().any(|one| one.rule.number == finding.rule.number && one.field == finding.field)
        };
        for finding in new {
            if !known(&finding, &open.findings) {
                open.findings.push(finding);
            }
        }
        self.decide_body(open, before, context);
        if holds_requests {
            self.inspect_embedded(open.number, [end, &[]], context);
        }
    }

    /// Runs the detector over a body; appends to its findings and returns how many there were before.
    pub(super) fn find_in_body(
        &mut self,
        open: &mut OpenRequest,
        exchange: &Exchange,
        limits: Limits,
    ) -> usize {
        open.inspected = true;
        let Self { decoder, fields, counters, .. } = self;
        decoder.forget();
        let mut anomalies = Anomalies::NONE;
        let mut as_sent = &[][..];
        let named = codings_of(&open.request.headers());
        let seen = if named.is_none() { unnamed_coding(&open.request, &open.body) } else { None };
        anomalies.insert_if(seen.is_some(), Anomaly::CodingMismatch);
        let (body, other) = match named.as_deref().or(seen) {
            None => (&open.body[..], &[][..]),
            Some(codings) => {
                counters.body_encoded += 1;
                let (decoded, _) = decoder.decode_ends(codings, &open.body, limits);
                let is_done = matches!(decoded, Decoded::Whole | Decoded::Otherwise);
                counters.body_undecoded += u64::from(!is_done);
                anomalies.extend(decoding_anomaly(decoded));
                let layers = codings.split(|&byte| byte == b',').filter(|one| is_coded(one)).count();
                anomalies.insert_if(layers > 1, Anomaly::CodingStacked);
                anomalies.insert_if(decoded == Decoded::Unknown, Anomaly::CodingUnknown);
                anomalies.insert_if(!decoder.other().is_empty(), Anomaly::CodingMismatch);
                // What the name does not fit can still give some bytes; text that is no coding was sent as it is.
                let is_text = decoded == Decoded::Part && open.body.is_ascii();
                anomalies.insert_if(is_text, Anomaly::CodingMismatch);
                if is_text && open.body != decoder.output() {
                    as_sent = &open.body;
                }
                (decoder.output(), decoder.other())
            }
        };
        fields.clear();
        anomalies.merge(body::push_body(&open.request, body, fields));
        anomalies.merge(body::push_body(&open.request, as_sent, fields));
        anomalies.merge(body::push_body(&open.request, other, fields));
        anomalies.merge(body::push_trailer(&open.trailer, fields));
        if !open.extension.is_empty() {
            fields.push(Place::Text, b"", &open.extension, 0);
        }
        let holds = |text: &&[u8]| embedded::find(text).next().is_some();
        let holds_requests = !open.embedded && [body, &open.trailer].iter().any(holds);
        anomalies.insert_if(holds_requests, Anomaly::EmbeddedRequest);
        counters.anomalies += u64::from(anomalies.len());
        open.request.anomalies.merge(anomalies);
        if let Some(key) = &self.facts_key {
            open.facts.note_body(key, &open.request, &self.fields);
        }
        let before = self.detect(Phase::Body, exchange, &open.request, &mut open.findings);
        if open.findings.len() > before {
            let findings = std::mem::take(&mut open.findings);
            self.note_probes(findings.get(before..).unwrap_or_default(), open);
            open.findings = findings;
        }
        before
    }

    /// Inspects the body of a request as another server may read it.
    pub(super) fn inspect_other(&mut self, request: &mut Request, body: &[u8], context: &mut Context<'_>) {
        let mut open = self.spare.pop().unwrap_or_default();
        open.number = context.exchange.requests.saturating_sub(1);
        std::mem::swap(&mut open.request, request);
        open.body.extend_from_slice(body);
        self.inspect_body(&mut open, context);
        std::mem::swap(&mut open.request, request);
        self.give_back(open);
    }

    /// Inspects a WebSocket message of the connection that `request` asked for.
    pub(super) fn inspect_message(
        &mut self,
        request: &Request,
        number: u64,
        data: &[u8],
        context: &mut Context<'_>,
    ) {
        let mut findings = std::mem::take(&mut self.findings);
        findings.clear();
        self.fields.clear();
        self.fields.push(Place::WebSocket, b"", data, 0);
        body::nested::expand(&mut self.fields);
        self.detect(Phase::Body, context.exchange, request, &mut findings);
        if !findings.is_empty() {
            self.decide(context.exchange, request, number, &findings, 0, context.time);
        }
        self.findings = findings;
    }

    /// Judges what is odd about a connection, shown on a request.
    pub(super) fn inspect_anomalies(&mut self, request: &Request, context: &mut Context<'_>) {
        let mut findings = Vec::new();
        self.fields.clear();
        self.detect(Phase::Head, context.exchange, request, &mut findings);
        if !findings.is_empty() {
            let number = context.exchange.requests.saturating_sub(1);
            self.decide(context.exchange, request, number, &findings, 0, context.time);
        }
    }

    fn decide_body(&mut self, open: &OpenRequest, new: usize, context: &mut Context<'_>) {
        if open.findings.len() > new {
            self.decide(context.exchange, &open.request, open.number, &open.findings, new, context.time);
        }
    }

    fn inspect_embedded(&mut self, number: u64, texts: [&[u8]; 2], context: &mut Context<'_>) {
        let mut found = texts.into_iter().flat_map(embedded::find).fuse();
        for text in found.by_ref().take(embedded::MAX_EMBEDDED) {
            self.counters.embedded_requests += 1;
            let mut open = self.spare.pop().unwrap_or_default();
            (open.number, open.embedded) = (number, true);
            let head_end = head::find_end(text, 0).unwrap_or(text.len());
            head::parse_request(&text[..head_end], &mut open.request);
            framing::of_request(&mut open.request);
            open.request.anomalies.insert(Anomaly::EmbeddedRequest);
            self.fields.clear();
            push_head(&open.request, &mut self.fields);
            let new = self.detect(Phase::Head, context.exchange, &open.request, &mut open.findings);
            self.decide_body(&open, new, context);
            self.inspect_embedded_body(&mut open, &text[head_end..], context);
            self.give_back(open);
        }
        self.counters.embedded_uninspected += found.count() as u64;
    }

    fn inspect_embedded_body(&mut self, open: &mut OpenRequest, body: &[u8], context: &mut Context<'_>) {
        if body.trim_ascii().is_empty() {
            return;
        }
        self.fields.clear();
        let anomalies = body::push_body(&open.request, body, &mut self.fields);
        open.request.anomalies.merge(anomalies);
        let new = self.detect(Phase::Body, context.exchange, &open.request, &mut open.findings);
        self.decide_body(open, new, context);
    }
}

/// All codings of a body in the order in which they were applied: those of the content, then those of the transfer.
pub(super) fn codings_of<'a>(
    headers: &(impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone),
) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for name in [&b"content-encoding"[..], b"transfer-encoding"] {
        let same = headers.clone().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        for coding in same.flat_map(|(_, value)| value.split(|&byte| byte == b',')) {
            let transfer = name == b"transfer-encoding" && !is_known(coding);
            if is_coded(coding) && !transfer {
                all.extend_from_slice(coding);
                all.push(b',');
            }
        }
    }
    (!all.is_empty()).then_some(all)
}

fn decoding_anomaly(decoded: Decoded) -> Option<Anomaly> {
    match decoded {
        Decoded::Whole => None,
        Decoded::Part | Decoded::Unknown => Some(Anomaly::BodyEncoded),
        Decoded::Limited => Some(Anomaly::BodyTooLong),
        Decoded::Bomb => Some(Anomaly::BodyBomb),
        Decoded::Otherwise => Some(Anomaly::CodingMismatch),
    }
}

/// The coding of a body that is compressed without saying so where its type is one of text, or its coding is named in a header that nearly
/// reads Content-Encoding: some applications look at the first bytes, or read the name so.
fn unnamed_coding(request: &Request, body: &[u8]) -> Option<&'static [u8]> {
    let coding = coding::seen(body)?;
    let is_meant = |(name, value): (&[u8], &[u8])| {
        body::is_nearly_content_encoding(name)
            || name.eq_ignore_ascii_case(b"content-type") && body::is_document(value)
    };
    request.headers().any(is_meant).then_some(coding)
}
