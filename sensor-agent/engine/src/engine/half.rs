//! One direction of a connection: its stream, and the reader of what comes out.
//!
//! A hole that is given up for lack of time or space is a guess: an attacker can leave one open until patience ends, and
//! fill it then. So the state before the guess is parked, and taken back if the hole is filled after all.

use super::exchange::{Exchange, OpenRequest};
use super::inspect::Inspector;
use super::settings::Settings;
use super::worker::Worker;
use crate::flow::Side;
use crate::http::anomaly::Anomaly;
use crate::http::reader::{Reader, Scratch};
use crate::stream::{Chunk, Outcome, Piece, Stream};
use crate::time::Timestamp;

/// A first segment this far from the stream's start belongs to a connection that was forgotten.
const FAR: i64 = 256 * 1024;

/// What a half works with.
#[derive(Debug)]
pub(super) struct Tools<'a> {
    pub(super) worker: &'a mut Worker,
    pub(super) scratch: &'a mut Scratch,
    pub(super) exchange: &'a mut Exchange,
    pub(super) settings: &'a Settings,
    pub(super) from: Side,
    pub(super) time: Timestamp,
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Half {
    /// Sequence number of the first byte, if known.
    pub(super) initial: Option<u32>,
    pub(super) stream: Stream,
    reader: Reader,
    parked: Option<Box<Parked>>,
    /// Whether somebody looks after the hole.
    pub(super) watched: bool,
}

#[derive(Debug)]
struct Parked {
    stream: Stream,
    reader: Reader,
    open: Option<Box<OpenRequest>>,
}

impl Half {
    /// A direction whose first segment has the sequence number `sequence`.
    pub(super) fn new(initial: Option<u32>, sequence: u32, settings: &Settings) -> Self {
        Self {
            initial,
            stream: Stream::starting_at(initial.unwrap_or(sequence)),
            reader: Reader::new(initial.is_some(), settings.max_head_bytes),
            parked: None,
            watched: false,
        }
    }

    /// Takes the data of a segment.
    pub(super) fn take(&mut self, piece: Piece<'_>, tools: &mut Tools<'_>) {
        self.take_back(&piece, tools);
        if tools.exchange.tunnel {
            self.reader.become_tunnel();
        }
        let fresh = self.stream.position() == 0;
        let (outcome, conflict) = self.run(tools, |stream, out| stream.push(piece, out));
        count(outcome, &mut tools.worker.counters);
        if conflict {
            tools.worker.counters.overlap_conflicts += 1;
            self.reader.note(Anomaly::OverlapConflict);
        }
        if outcome == Outcome::Queued {
            if fresh && self.stream.hole_len() > FAR {
                self.give_up_hole(tools);
            }
            self.enforce_limits(tools);
        }
    }

    /// Takes the acknowledgement of the other end.
    pub(super) fn acknowledge(&mut self, acknowledgement: u32, tools: &mut Tools<'_>) {
        if self.parked.as_ref().is_some_and(|parked| parked.stream.has_hole_below(acknowledgement)) {
            self.parked = None;
        }
        self.run(tools, |stream, out| stream.acknowledge(acknowledgement, out));
    }

    /// Gives up the hole in the stream, if there is one.
    pub(super) fn give_up_hole(&mut self, tools: &mut Tools<'_>) {
        if !self.stream.has_hole() {
            return;
        }
        tools.worker.counters.holes_given_up += 1;
        if self.parked.is_none() {
            let open = tools.exchange.open.as_ref().filter(|_| tools.exchange.client == Some(tools.from));
            let open = open.cloned();
            self.parked =
                Some(Box::new(Parked { stream: self.stream.clone(), reader: self.reader.clone(), open }));
        }
        self.run(tools, |stream, out| stream.skip_hole(out));
    }

    /// Ends the direction: what is incomplete is inspected as far as it came.
    pub(super) fn end(&mut self, tools: &mut Tools<'_>) {
        let mut inspector =
            Inspector::new(tools.worker, tools.exchange, tools.settings, tools.from, tools.time);
        self.reader.end(tools.scratch, &mut inspector);
    }

    /// Bytes of memory held.
    pub(super) fn memory(&self) -> usize {
        let parked = self.parked.as_ref().map_or(0, |parked| {
            let open = parked.open.as_ref().map_or(0, |open| open.memory());
            parked.stream.memory() + parked.reader.memory() + open + size_of::<Parked>()
        });
        self.stream.memory() + self.reader.memory() + parked
    }

    /// Goes back to before a guess that a piece proves wrong; other pieces are kept there too.
    fn take_back(&mut self, piece: &Piece<'_>, tools: &mut Tools<'_>) {
        let Some(parked) = &mut self.parked else { return };
        if !parked.stream.is_in_hole(piece) {
            if parked.stream.memory() < tools.settings.max_stream_bytes
                && parked.stream.queued_pieces() < tools.settings.max_stream_segments
            {
                parked.stream.push(*piece, &mut |_| {});
            }
            return;
        }
        let Some(parked) = self.parked.take() else { return };
        tools.worker.counters.rewinds += 1;
        (self.stream, self.reader) = (parked.stream, parked.reader);
        if tools.exchange.client == Some(tools.from) {
            tools.exchange.open = parked.open;
        }
    }

    fn enforce_limits(&mut self, tools: &mut Tools<'_>) {
        let limits = tools.settings;
        while self.stream.has_hole()
            && (self.stream.memory() > limits.max_stream_bytes
                || self.stream.queued_pieces() > limits.max_stream_segments)
        {
            tools.worker.counters.queue_overflows += 1;
            self.give_up_hole(tools);
        }
    }

    /// Runs a step of the stream and reads what comes out.
    fn run<R>(
        &mut self,
        tools: &mut Tools<'_>,
        step: impl FnOnce(&mut Stream, &mut dyn FnMut(Chunk<'_>)) -> R,
    ) -> R {
        let mut inspector =
            Inspector::new(tools.worker, tools.exchange, tools.settings, tools.from, tools.time);
        let (reader, scratch) = (&mut self.reader, &mut *tools.scratch);
        step(&mut self.stream, &mut |chunk| match chunk {
            Chunk::Data(data) => reader.data(data, scratch, &mut inspector),
            Chunk::Gap(bytes) => {
                inspector.gap(bytes);
                reader.gap(bytes, scratch, &mut inspector);
            }
            Chunk::End => reader.end(scratch, &mut inspector),
        })
    }
}

fn count(outcome: Outcome, counters: &mut super::counters::Counters) {
    let counter = match outcome {
        Outcome::Delivered | Outcome::Empty => return,
        Outcome::Queued => &mut counters.segments_queued,
        Outcome::Old => &mut counters.segments_old,
        Outcome::Ended => &mut counters.segments_after_end,
        Outcome::OutOfWindow => &mut counters.segments_out_of_window,
    };
    *counter += 1;
}
