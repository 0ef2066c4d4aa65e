//! Limits of an engine. Each has a counter that says how often it was reached.

use std::sync::Arc;
use std::time::Duration;

use crate::body::coding;
use crate::capture::fragments;
use crate::facts::Key;
use crate::http::client::Proxies;
use crate::policy::Standing;
use crate::rule::RuleTimer;

/// Limits and switches of an engine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Connections kept at once; the one idle for longest makes room (`flows_evicted`).
    pub max_flows: usize,
    /// A connection without a segment for this long is forgotten (`flows_expired`).
    pub flow_idle: Duration,
    /// Bytes of out-of-order data kept for one direction of a flow (`queue_overflows`).
    pub max_stream_bytes: usize,
    /// Segments of out-of-order data kept for one direction of a flow (`queue_overflows`).
    pub max_stream_segments: usize,
    /// Bytes of data on SYNs that are kept until their connections go on (`early_evicted`). 0 keeps none.
    pub max_early_bytes: usize,
    /// Bytes of a client's unanswered requests that are remembered, to tell segments that contradict them
    /// (`histories_full`). 0 remembers none.
    pub max_history_bytes: usize,
    /// Other readings that are inspected when segments contradict each other (`readings`). 0 inspects none.
    pub max_readings: usize,
    /// A hole in a stream is given up after this time without progress (`holes_given_up`).
    pub hole_patience: Duration,
    /// Bytes of a message head that are kept and inspected (`heads_too_long`).
    pub max_head_bytes: usize,
    /// Requests of a connection that may wait for their responses; the oldest is forgotten (`pipeline_overflows`).
    pub max_pipelined: usize,
    /// Requests of an HTTP/2 connection whose bodies are kept at once; the oldest is inspected as far as it came (`http2_stream_overflows`).
    pub max_http2_streams: usize,
    /// Bytes of a trailer section, of chunk extensions, and of the end of a head longer than [`max_head_bytes`](Self::max_head_bytes) that are
    /// inspected (`trailer_uninspected_bytes`).
    pub max_trailer_bytes: usize,
    /// HTTP/2 streams that a client may take back within ten seconds, if they are half of those that it opens (`http2_floods`). 0: any number.
    pub max_http2_resets: u32,
    /// SETTINGS, PING and CONTINUATION frames that an HTTP/2 client may send within ten seconds, if they are many times its streams
    /// (`http2_floods`). 0: any number.
    pub max_http2_control: u32,
    /// Bytes kept for all flows of this engine together; the flow idle for longest that holds memory makes room
    /// (`flows_evicted_memory`).
    pub max_total_bytes: usize,
    /// Bytes of a request body that are inspected (`body_uninspected_bytes`).
    pub max_body_bytes: usize,
    /// Bytes at the end of a longer request body that are inspected too (`body_tails`). 0: none.
    pub max_body_tail_bytes: usize,
    /// Bytes of a request body that are inspected once its content coding is removed (`body_undecoded`).
    pub max_decoded_body_bytes: usize,
    /// Bytes of a request body with a content coding that are kept to be decoded (`body_uninspected_bytes`), if that is more than
    /// [`max_body_bytes`](Self::max_body_bytes).
    pub max_coded_body_bytes: usize,
    /// Bytes behind [`max_decoded_body_bytes`](Self::max_decoded_body_bytes) that are decoded to get to the end of a body, of which
    /// [`max_body_tail_bytes`](Self::max_body_tail_bytes) are inspected (`body_tails`). 0: the end is not looked for.
    pub max_decoded_reach_bytes: usize,
    /// Bytes of a response body that are inspected, before and after its content coding is removed
    /// (`response_uninspected_bytes`), where somebody looks at responses at all.
    pub max_response_body_bytes: usize,
    /// Bytes of a request body that are inspected, before and after its coding is removed, while bodies are trimmed
    /// ([`Engine::trim_bodies`](super::Engine::trim_bodies)).
    pub trimmed_body_bytes: usize,
    /// A head or a body of a request that takes longer than this is slow if it comes with less than
    /// [`slow_request_rate`](Self::slow_request_rate) (`slow_requests`), and so is the reader of a response (`slow_readers`).
    pub slow_request: Duration,
    /// Bytes a second.
    pub slow_request_rate: u64,
    /// Parts of IP datagrams that are kept; whoever feeds the engine puts them together ([`crate::capture::whole`]).
    pub fragments: fragments::Limits,
    /// Whether bodies of responses are searched for what they should not hold.
    pub response_exposure: bool,
    /// Whether the model is asked about suspicious values.
    pub model: bool,
    /// Suspicious values of a head, and of a body, that the model is asked about (`model_skipped`).
    pub max_model_values: usize,
    /// Work that is spent on looking through a head, and through a body: about as many bytes, each counted for every way in which it is
    /// looked at (`fields_over_budget`, and the finding `inspection-budget`).
    pub max_inspection_work: u64,
    /// Proxies that are trusted to name their clients.
    pub proxies: Proxies,
    /// Whether a [`Command::Transaction`](super::Command::Transaction) is given out for each request.
    pub list_transactions: bool,
    /// The key of the facts that are given out for each transaction ([`Engine::next_facts`](super::Engine::next_facts)); `None` gives none
    /// out.
    pub facts: Option<Key>,
    /// What is known of sources. Engines whose sources are the same share one.
    pub standing: Arc<Standing>,
    /// Messages are read, and nothing is looked for in them: it shows what reading alone costs.
    pub reads_only: bool,
    /// A clock for the figures of rules, if their times are wanted.
    pub rule_timer: Option<RuleTimer>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_flows: 65_536,
            flow_idle: Duration::from_secs(600),
            max_stream_bytes: 256 * 1024,
            max_stream_segments: 1024,
            max_early_bytes: 256 * 1024,
            max_history_bytes: 64 * 1024,
            max_readings: 4,
            hole_patience: Duration::from_secs(1),
            max_head_bytes: 64 * 1024,
            max_pipelined: 128,
            max_http2_streams: 128,
            max_trailer_bytes: 8 * 1024,
            max_http2_resets: 100,
            max_http2_control: 1000,
            max_total_bytes: 64 << 20,
            max_body_bytes: 128 * 1024,
            max_body_tail_bytes: 16 * 1024,
            max_decoded_body_bytes: 512 * 1024,
            max_coded_body_bytes: 1 << 20,
            max_decoded_reach_bytes: 4 << 20,
            max_response_body_bytes: 32 * 1024,
            trimmed_body_bytes: 4096,
            slow_request: Duration::from_secs(20),
            slow_request_rate: 50,
            fragments: fragments::Limits::default(),
            response_exposure: false,
            model: true,
            max_model_values: 32,
            max_inspection_work: 32 << 20,
            proxies: Proxies::default(),
            list_transactions: false,
            facts: None,
            standing: Arc::default(),
            reads_only: false,
            rule_timer: None,
        }
    }
}

/// Limits of bodies.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    raw: usize,
    tail: usize,
    coded: usize,
    decoded: usize,
    reach: usize,
    response: usize,
}

impl Settings {
    /// How much of a request body is decoded.
    pub(super) const fn decoding(&self) -> coding::Limits {
        let (output, reach) = (self.max_decoded_body_bytes, self.max_decoded_reach_bytes);
        coding::Limits { output, reach, end: self.max_body_tail_bytes }
    }

    /// Lowers the limits of bodies; returns what they were.
    pub(super) fn trim(&mut self) -> BodyLimits {
        let whole = BodyLimits {
            raw: self.max_body_bytes,
            tail: self.max_body_tail_bytes,
            coded: self.max_coded_body_bytes,
            decoded: self.max_decoded_body_bytes,
            reach: self.max_decoded_reach_bytes,
            response: self.max_response_body_bytes,
        };
        self.max_body_bytes = whole.raw.min(self.trimmed_body_bytes);
        self.max_body_tail_bytes = 0;
        self.max_coded_body_bytes = self.max_body_bytes;
        self.max_decoded_body_bytes = whole.decoded.min(self.trimmed_body_bytes);
        self.max_decoded_reach_bytes = 0;
        self.max_response_body_bytes = 0;
        whole
    }
}

impl BodyLimits {
    pub(super) fn put_back(self, settings: &mut Settings) {
        settings.max_body_bytes = self.raw;
        settings.max_body_tail_bytes = self.tail;
        settings.max_coded_body_bytes = self.coded;
        settings.max_decoded_body_bytes = self.decoded;
        settings.max_decoded_reach_bytes = self.reach;
        settings.max_response_body_bytes = self.response;
    }
}
