//! Requests that do not get on, and responses that are not taken. A client that sends a head or a body a few bytes at a time, or reads its
//! response so, holds a connection of the server for as long as it likes; many such connections take all of them (slowloris, slow read).
//! One alone may be a bad line, so it is told to those who count ([`Facts`] with [`flag::SLOW`]), and the rules about behaviour say how
//! many are an attack.
//!
//! Acknowledgements without data are not recorded, so that a shut window is not seen itself: what is seen is that a response of which the
//! server has the rest does not go on.

use super::exchange::Exchange;
use super::half::Half;
use super::settings::Settings;
use super::worker::Worker;
use crate::facts::{Facts, RequestFacts, flag};
use crate::flow::Side;
use crate::http::message::Request;
use crate::http::reader::Rest;
use crate::time::Timestamp;

/// Bytes of a response that must have come before the rest of it may be left in the kernel, where nobody sees how it gets on.
const PROVEN: i64 = 16 * 1024;

/// Since when the part of a message in hand comes in, and where it stood then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Zero: nothing is in hand.
    since: Timestamp,
    from: i64,
    /// The number of its message, as far as it fits.
    number: u32,
    part: Rest,
    told: bool,
}

impl Pace {
    /// Whether the part that stands at `position` now is slower than the settings allow.
    fn is_slow(&self, position: i64, time: Timestamp, settings: &Settings) -> bool {
        let took = time.since(self.since);
        let expected = took.as_secs().saturating_mul(settings.slow_request_rate);
        let progress = (position - self.from).max(0) as u64;
        self.is_in_hand() && took >= settings.slow_request && progress < expected
    }

    fn is_in_hand(&self) -> bool {
        self.since != Timestamp::default()
    }

    /// Whether so much of the response has come that its reader is none of the slow ones.
    pub(super) fn is_proven(&self, position: i64, settings: &Settings) -> bool {
        let taken = self.is_in_hand() && self.part == Rest::OfResponse && position - self.from >= PROVEN;
        self.told || settings.slow_request_rate == 0 || taken
    }
}

/// Notes what a segment did to the message in hand of its sender.
pub(super) fn note(
    half: &Half,
    exchange: &mut Exchange,
    from: Side,
    time: Timestamp,
    tools: (&Settings, &mut Worker),
) {
    let is_client = exchange.client == Some(from);
    if exchange.client.is_none() || exchange.pace.told {
        return;
    }
    let rest = half.rest().filter(|rest| (*rest == Rest::OfResponse) != is_client);
    let Some(part) = rest else {
        // The other end may be at something all the same.
        if (exchange.pace.part == Rest::OfResponse) != is_client {
            exchange.pace.since = Timestamp::default();
        }
        return;
    };
    let number = if is_client { exchange.requests as u32 } else { exchange.responses };
    if !exchange.pace.is_in_hand() || (exchange.pace.number, exchange.pace.part) != (number, part) {
        exchange.pace = Pace { since: time, from: half.stream.position(), number, part, told: false };
        return;
    }
    tell(half, exchange, from, time, tools);
}

/// Tells of a message of this end that is slow by now.
pub(super) fn tell(
    half: &Half,
    exchange: &mut Exchange,
    from: Side,
    time: Timestamp,
    (settings, worker): (&Settings, &mut Worker),
) {
    let of_client = exchange.pace.part != Rest::OfResponse;
    if of_client != (exchange.client == Some(from)) || exchange.pace.told {
        return;
    }
    if !exchange.pace.is_slow(half.stream.position(), time, settings) || half.is_left_out() {
        return;
    }
    exchange.pace.told = true;
    let counters = &mut worker.counters;
    *(if of_client { &mut counters.slow_requests } else { &mut counters.slow_readers }) += 1;
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
