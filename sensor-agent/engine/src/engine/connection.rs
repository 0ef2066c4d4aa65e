//! One connection: two directions and what their messages have in common.

use sensor_common::record::tcp;

use super::exchange::Exchange;
use super::half::{Half, Tools};
use super::settings::Settings;
use super::worker::Worker;
use super::{acceptance, answers, pace};
use crate::capture::Segment;
use crate::flow::table::Keyed;
use crate::flow::{Key, Side};
use crate::http::reader::Scratch;
use crate::stream::Piece;
use crate::time::Timestamp;

/// What a segment meant for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It goes on.
    Open,
    /// It is over.
    Closed,
}

/// What the connections of a thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) worker: Worker,
    pub(super) scratch: Scratch,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) last_seen: Timestamp,
    /// Memory of the connection when it was last added up.
    pub(super) memory: u32,
    /// It is over, and kept a little so that late segments are not taken for a new one.
    pub(super) closed: bool,
    halves: [Option<Box<Half>>; 2],
    exchange: Exchange,
}

impl Keyed for Connection {
    fn key(&self) -> &Key {
        &self.exchange.key
    }
}

impl Connection {
    pub(super) fn new(id: u64, key: Key, segment: &Segment<'_>) -> Self {
        Self {
            last_seen: segment.time,
            memory: 0,
            closed: false,
            halves: [None, None],
            exchange: Exchange::new(id, key, segment.interface),
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.exchange.flow_id
    }

    /// Whether a segment belongs to a later connection between the same endpoints.
    pub(super) fn is_replaced_by(&self, from: Side, segment: &Segment<'_>) -> bool {
        let Some(half) = &self.halves[from.index()] else { return false };
        segment.initial_sequence.is_some_and(|initial| half.initial != Some(initial))
    }

    /// Takes a segment from one end.
    pub(super) fn take(&mut self, from: Side, segment: &Segment<'_>, shared: &mut Shared) -> Progress {
        self.last_seen = self.last_seen.max(segment.time);
        self.exchange.handshake |= segment.handshake;
        if self.exchange.client.is_none() {
            let opener = segment.from_opener.map(|sent| if sent { from } else { from.other() });
            self.exchange.client = opener;
        }
        let is_reset = segment.flags & tcp::RST != 0;
        let [sender, receiver] = [from, from.other()].map(|side| self.halves[side.index()].as_deref());
        let ignored = if is_reset { None } else { acceptance::ignored(segment, sender, receiver) };
        match ignored {
            Some(reason) => reason.count(&mut shared.worker.counters),
            None if segment.flags & tcp::ACK != 0 && !is_reset => {
                self.acknowledge(from.other(), segment, shared);
            }
            None => {}
        }
        let half = self.halves[from.index()].get_or_insert_with(|| {
            let initial = segment.initial_sequence;
            Box::new(Half::new(initial, segment.sequence, &shared.settings))
        });
        if is_reset {
            return reset(half, segment, shared);
        }
        let exchange = &mut self.exchange;
        exchange.from_start[from.index()] = half.initial.is_some();
        if !segment.payload.is_empty() {
            exchange.note_payload(from, segment.ingress);
        }
        let fin = segment.flags & tcp::FIN != 0;
        let Segment { sequence, payload, wire_len, urgent, .. } = *segment;
        let piece = Piece { sequence, payload, wire_len, fin, urgent, ignored: ignored.is_some() };
        if !piece.ignored {
            half.note_timestamp(&piece, segment.timestamp);
        }
        if fin {
            pace::tell(half, exchange, from, segment.time, (&shared.settings, &mut shared.worker));
        }
        half.take(piece, &mut tools(exchange, shared, from, segment.time));
        pace::note(half, exchange, from, segment.time, (&shared.settings, &mut shared.worker));
        shared.worker.verify(exchange, segment.time);
        let ended = |half: &Option<Box<Half>>| half.as_ref().is_some_and(|half| half.stream.is_ended());
        if self.halves.iter().all(ended) { Progress::Closed } else { Progress::Open }
    }

    /// Takes data that came before the stream's beginning as other segments tell it.
    pub(super) fn take_early(&mut self, from: Side, segment: &Segment<'_>, shared: &mut Shared) {
        self.halves[from.index()].get_or_insert_with(|| {
            Box::new(Half::with_early_data(segment.initial_sequence, segment.sequence, &shared.settings))
        });
        self.take(from, segment, shared);
    }

    /// Ends both directions: what is incomplete is inspected as far as it came.
    pub(super) fn end(&mut self, time: Timestamp, shared: &mut Shared) {
        for side in [Side::Low, Side::High] {
            if let Some(half) = &mut self.halves[side.index()] {
                pace::tell(half, &mut self.exchange, side, time, (&shared.settings, &mut shared.worker));
                half.end(&mut tools(&mut self.exchange, shared, side, time));
            }
        }
        answers::unanswered(&mut shared.worker, &mut self.exchange, time);
    }

    /// Gives up the hole of a direction if it made no progress since `position`.
    pub(super) fn lose_patience(&mut self, side: Side, position: i64, time: Timestamp, shared: &mut Shared) {
        let Some(half) = &mut self.halves[side.index()] else { return };
        half.watched = false;
        if half.stream.position() == position {
            half.give_up_hole(&mut tools(&mut self.exchange, shared, side, time));
        }
    }

    /// The position of a hole that nobody looks after yet.
    pub(super) fn watch_hole(&mut self, side: Side) -> Option<i64> {
        let half =
            self.halves[side.index()].as_mut().filter(|half| !half.watched && half.stream.has_hole())?;
        half.watched = true;
        Some(half.stream.position())
    }

    /// Adds up the memory held.
    pub(super) fn measure(&self) -> u32 {
        let halves: usize = self.halves.iter().flatten().map(|half| half.memory()).sum();
        u32::try_from(halves + self.exchange.memory()).unwrap_or(u32::MAX)
    }

    fn acknowledge(&mut self, side: Side, segment: &Segment<'_>, shared: &mut Shared) {
        if let Some(half) = &mut self.halves[side.index()] {
            let mut tools = tools(&mut self.exchange, shared, side, segment.time);
            half.acknowledge(segment.acknowledgement, &mut tools);
            if segment.wire_len > 0 {
                half.answered(&mut tools);
            }
        }
    }
}

fn tools<'a>(exchange: &'a mut Exchange, shared: &'a mut Shared, from: Side, time: Timestamp) -> Tools<'a> {
    let Shared { settings, worker, scratch } = shared;
    Tools { worker, scratch, exchange, settings, from, time }
}

/// Only a reset at exactly the expected place has an effect (RFC 9293 section 3.10.7.4, RFC 5961).
fn reset(half: &Half, segment: &Segment<'_>, shared: &mut Shared) -> Progress {
    if half.stream.is_next(segment.sequence) {
        return Progress::Closed;
    }
    shared.worker.counters.resets_inexact += 1;
    Progress::Open
}
