//! Requests that do not get on. A client that sends a head or a body a few bytes at a time holds a connection of the server for as long as it
//! likes; many such connections take all of them (slowloris). One alone may be a bad line, so it is told to those who count
//! ([`Facts`] with [`flag::SLOW`]), and the rules about behaviour say how many are an attack.

use super::exchange::Exchange;
use super::half::Half;
use super::settings::Settings;
use super::worker::Worker;
use crate::facts::{Facts, RequestFacts, flag};
use crate::flow::Side;
use crate::http::message::Request;
use crate::time::Timestamp;

/// Since when the head or the body in hand comes in, and where it stood then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    since: Option<Timestamp>,
    from: i64,
    /// Which part of which request it is.
    part: (u64, bool),
    told: bool,
}

impl Pace {
    /// Whether the part that stands at `position` now is slower than the settings allow.
    fn is_slow(&self, position: i64, time: Timestamp, settings: &Settings) -> bool {
        let Some(since) = self.since else { return false };
        let took = time.since(since);
        let expected = took.as_secs().saturating_mul(settings.slow_request_rate);
        took >= settings.slow_request && ((position - self.from).max(0) as u64) < expected
    }
}

/// Notes what a client's segment did to the request in hand.
pub(super) fn note(
    half: &Half,
    exchange: &mut Exchange,
    from: Side,
    time: Timestamp,
    tools: (&Settings, &mut Worker),
) {
    if exchange.client != Some(from) || exchange.pace.told {
        return;
    }
    let Some(in_body) = half.rest_of_request() else {
        exchange.pace.since = None;
        return;
    };
    let part = (exchange.requests, in_body);
    if exchange.pace.since.is_none() || exchange.pace.part != part {
        exchange.pace = Pace { since: Some(time), from: half.stream.position(), part, told: false };
        return;
    }
    tell(half, exchange, time, tools);
}

/// Tells of a request that is slow by now.
pub(super) fn tell(
    half: &Half,
    exchange: &mut Exchange,
    time: Timestamp,
    (settings, worker): (&Settings, &mut Worker),
) {
    if exchange.pace.told || !exchange.pace.is_slow(half.stream.position(), time, settings) {
        return;
    }
    exchange.pace.told = true;
    worker.counters.slow_requests += 1;
    if worker.facts_key.is_none() {
        return;
    }
    let client = exchange.client_side();
    worker.counters.facts += 1;
    worker.facts.push_back(Facts {
        time,
        flow_id: exchange.flow_id,
        number: exchange.requests,
        interface: exchange.interface,
        peer: exchange.key.address(client),
        server: exchange.key.address(client.other()),
        client: worker.identity(exchange, &Request::default()),
        verified: exchange.is_verified(),
        proxied: worker.is_proxy(exchange),
        request: RequestFacts { flags: flag::SLOW, ..RequestFacts::default() },
        ..Facts::default()
    });
}
