//! What an engine counts. Names and help texts are a public contract: they become metrics.

/// What an engine has counted since it was made. Every record ends in exactly one of the outcomes:
/// `records = accepted + record_malformed + ignored_*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records handed in.
    pub records: u64,
    /// Records whose segment reached its flow.
    pub accepted: u64,
    /// Records that were no valid record.
    pub record_malformed: u64,
    /// Named counters beside these, in a fixed order: name, help, value.
    pub named: Vec<(&'static str, &'static str, u64)>,
}

impl Stats {
    /// The named counter, or 0.
    #[must_use]
    pub fn named(&self, name: &str) -> u64 {
        self.named.iter().find(|(known, ..)| *known == name).map_or(0, |&(.., value)| value)
    }

    /// Adds what an earlier engine of the same thread had counted. What says how much there is now is not added.
    pub fn absorb(&mut self, earlier: &Self) {
        self.records += earlier.records;
        self.accepted += earlier.accepted;
        self.record_malformed += earlier.record_malformed;
        for (name, _, value) in self.named.iter_mut().filter(|(name, ..)| !LEVELS.contains(name)) {
            *value += earlier.named(name);
        }
    }
}

/// Counters that go down again.
const LEVELS: [&str; 2] = ["flows_now", "flow_bytes"];

macro_rules! counters {
    ($($name:ident: $help:literal,)*) => {
        #[derive(Clone, Debug, Default)]
        pub(super) struct Counters {
            pub(super) records: u64,
            pub(super) accepted: u64,
            pub(super) record_malformed: u64,
            $(pub(super) $name: u64,)*
        }

        impl Counters {
            pub(super) fn stats(&self) -> Stats {
                Stats {
                    records: self.records,
                    accepted: self.accepted,
                    record_malformed: self.record_malformed,
                    named: vec![$((stringify!($name), $help, self.$name)),*],
                }
            }
        }
    };
}

counters! {
    ignored_syn: "records ignored because they open a connection; their data, if any, is kept (early_kept)",
    early_kept: "SYNs whose data was kept until it is known whether the application got it",
    early_taken: "connections that began with data on the SYN",
    early_evicted: "SYNs whose data made room for that of others",
    ignored_no_ack: "records ignored because they lack the ACK flag, as the receiver ignores them",
    ignored_no_flow: "records without payload ignored because their connection is not known",
    flows_now: "connections kept",
    flow_bytes: "bytes of memory held by connections",
    flows_opened: "connections begun",
    flows_closed: "connections that ended by FIN or RST",
    flows_reused: "connections replaced by a new one between the same endpoints",
    flows_evicted: "connections forgotten because the table was full",
    flows_evicted_memory: "connections forgotten because all together held too much memory",
    flows_expired: "connections forgotten because they were idle",
    captured_bytes: "bytes of payload handed to the engines",
    skips: "rests of bodies that the capture was told to leave out",
    requests: "request heads read",
    responses: "response heads read",
    transactions: "responses paired with their request",
    tunnels: "connections that left HTTP by CONNECT or Upgrade",
    tunnel_bytes: "bytes of connections that left HTTP for what is not looked into",
    http2_connections: "connections that are HTTP/2",
    http2_joined: "connections that were HTTP/2 already when they were first seen",
    http2_streams: "requests read of HTTP/2 streams",
    http2_stream_overflows: "requests of HTTP/2 streams inspected early because too many were open",
    http2_undecoded_blocks: "HTTP/2 header blocks with fields that could not be decoded",
    http2_resets: "HTTP/2 streams reset by either end",
    http2_settings: "HTTP/2 SETTINGS frames",
    http2_pings: "HTTP/2 PING frames",
    http2_continuations: "HTTP/2 CONTINUATION frames",
    http2_floods: "HTTP/2 connections whose client sent little but resets, pings, settings or continuations",
    websocket_connections: "connections that became WebSocket",
    websocket_joined: "connections that were WebSocket already when they were first seen",
    websocket_messages: "WebSocket messages of clients",
    websocket_uninspected_bytes: "bytes of WebSocket messages beyond what is inspected, or not decompressed",
    upgraded_lost: "HTTP/2 and WebSocket connections no longer inspected because bytes were missed",
    slow_requests: "connections with a request that did not get on",
    slow_readers: "connections with a response that the client did not take",
    pipeline_overflows: "requests forgotten before their response because too many waited",
    segments_old: "segments that brought nothing new",
    segments_queued: "segments that came out of order",
    segments_after_end: "segments behind the end of their stream",
    segments_out_of_window: "segments further ahead than any window reaches",
    segments_signed: "segments the receiver ignores because they are signed (TCP MD5)",
    segments_old_timestamp: "segments the receiver ignores because their timestamp is old",
    segments_bad_acknowledgement: "segments the receiver ignores because they acknowledge what was never sent",
    urgent_bytes: "bytes that left their stream as urgent data",
    resets_inexact: "RST segments without effect because their sequence number was not exact",
    overlap_conflicts: "segments that contradicted others",
    overlaps_dropped: "contradictions too many or too long to keep, so that not every reading is inspected",
    histories_full: "times the bytes remembered of a stream reached their limit",
    readings: "other readings of contradicting segments that were inspected",
    readings_skipped: "times the other readings were left for later because they had been inspected often",
    queue_overflows: "times the out-of-order data of a stream exceeded its limit",
    holes_given_up: "holes in a stream given up after time or space ran out",
    rewinds: "holes that were filled after they had been given up",
    gaps: "gaps in streams",
    gap_bytes: "bytes that went by unseen in gaps",
    resyncs: "times the place in a stream was lost and the next message looked for",
    searched_bytes: "bytes searched for the start of the next message, of which nothing else was read",
    heads_too_long: "heads longer than is kept",
    body_bytes: "bytes of request bodies kept for inspection",
    body_tails: "ends of long request bodies, and their trailers, that were inspected apart from the beginning",
    body_uninspected_bytes: "bytes of request bodies between the inspected beginning and end, or beyond them",
    responses_unsearched: "successful responses that were not searched for what they expose, because the page had been just before",
    responses_inspected: "responses that were looked into, because a rule or a finding asks for it",
    response_body_bytes: "bytes of response bodies kept for inspection",
    response_uninspected_bytes: "bytes of response bodies beyond what is inspected",
    response_undecoded: "response bodies whose content coding was not removed, or only in part",
    findings_confirmed: "findings that the response proved: the payload came back, its effect showed, or the answer was as late as it asked for",
    body_encoded: "request bodies with a content coding",
    body_undecoded: "request bodies whose content coding was not removed, or only in part",
    trailer_uninspected_bytes: "bytes of trailer sections, chunk extensions and long heads beyond what is inspected",
    fields_dropped: "inspection fields left out because a message had too many",
    documents_unopened: "documents in values that were not taken apart because a message had too many",
    other_readings: "bodies of ambiguous requests inspected as another server may read them",
    embedded_requests: "requests found in bodies and inspected as requests",
    embedded_uninspected: "requests found in bodies and not inspected as such because there were too many",
    proxied_connections: "connections that begin with a PROXY protocol header that names a client",
    encrypted_connections: "connections that begin with TLS, which are not inspected",
    anomalies: "oddities named on requests and responses",
    facts: "transactions whose facts were given out",
    fields_over_budget: "fields not looked at because their message took too much work",
    uninspected_value_bytes: "bytes of long values beyond what the coded detections look at",
    findings_dropped: "findings left out because a message had too many",
    findings_excepted: "findings left out because an exception covers them",
    model_values: "suspicious values that the model was asked about",
    model_skipped: "suspicious values that the model was not asked about because a message had too many",
    model_findings: "findings of the model",
    tokens_checked: "signatures of tokens that were checked against the configured keys",
    tokens_unchecked: "signatures of tokens that were not checked because a message had too many",
    findings: "findings",
    reports: "reports given out",
    blocks: "blocks given out",
    blocks_repeated: "blocks not given out again because the same was given out just before",
    standings_evicted: "sources whose earlier blocks were forgotten to remember those of others",
    blocks_deferred: "blocks put off until the connection is verified",
}
