//! One direction of a connection: its stream, and the reader of what comes out.
//!
//! A hole that is given up for lack of time or space is a guess: an attacker can leave one open until patience ends, and
//! fill it then. So the state before the guess is parked, and taken back if the hole is filled after all.

use std::num::NonZeroU32;

use super::acceptance::is_newer;
use super::command::{Command, Skip};
use super::counters::Counters;
use super::exchange::{Exchange, OpenRequest};
use super::inspect::Inspector;
use super::readings::{self, Known, Start};
use super::settings::Settings;
use super::worker::Worker;
use crate::flow::Side;
use crate::http::anomaly::Anomaly;
use crate::http::reader::{Reader, Rest, Scratch};
use crate::stream::{Chunk, Conflict, Outcome, Piece, Pushed, Stream};
use crate::time::Timestamp;

/// A first segment this far from the stream's start belongs to a connection that was forgotten.
const FAR: i64 = 256 * 1024;

/// Fewest bytes that are worth a word to the capture, and most that are left out at once: sequence numbers must not go half around.
const MIN_SKIP: u64 = 64 * 1024;
const MAX_SKIP: u64 = 1 << 29;

/// How often the readings of one history are inspected before its end: each new contradiction may ask for it.
const MAX_INSPECTIONS: u32 = 4;

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
    /// Offset behind all that the sender sent, FIN included.
    pub(super) sent: i64,
    /// Timestamp of the last segment that the receiver took it from.
    pub(super) recent_timestamp: Option<NonZeroU32>,
    /// Made when there is something to dispute.
    disputes: Option<Box<Disputes>>,
    /// Whether a message starts where the history does.
    at_message: bool,
    /// Whether the first segment that was seen is not the first of the stream: what the ends said before is not known.
    pub(super) joined: bool,
    /// Whether somebody looks after the hole.
    pub(super) watched: bool,
    /// Offset before which nothing is wanted.
    skipped: i64,
}

/// What was done about the readings of the stream's history.
#[derive(Debug, Default)]
struct Disputes {
    /// What was disputed when the readings were inspected last.
    inspected: (usize, usize),
    inspections: u32,
    known: Known,
    /// Whether a message that was read is known to be contradicted.
    noted: bool,
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
        let mut stream = Stream::starting_at(initial.unwrap_or(sequence));
        stream.remember(settings.max_history_bytes);
        Self {
            initial,
            stream,
            sent: 0,
            joined: initial.is_some_and(|initial| initial != sequence),
            recent_timestamp: None,
            disputes: None,
            at_message: false,
            reader: Reader::new(initial.is_some(), settings.max_head_bytes),
            parked: None,
            watched: false,
            skipped: 0,
        }
    }

    /// A direction whose stream begins at `start`, before the place that segments tell ([`super::early`]).
    pub(super) fn with_early_data(initial: Option<u32>, start: u32, settings: &Settings) -> Self {
        Self { initial, ..Self::new(Some(start), start, settings) }
    }

    /// Takes the data of a segment.
    pub(super) fn take(&mut self, piece: Piece<'_>, tools: &mut Tools<'_>) {
        self.take_back(&piece, tools);
        if tools.exchange.tunnel {
            self.reader.become_tunnel();
        }
        self.prepare_history(tools);
        let fresh = self.stream.position() == 0;
        self.sent = self.sent.max(self.stream.offset(piece.sequence) + piece_len(&piece));
        let pushed = self.run(tools, |stream, out| stream.push(piece, out));
        count(pushed.outcome, &mut tools.worker.counters);
        self.note_conflict(pushed, &mut tools.worker.counters);
        if pushed.outcome == Outcome::Queued {
            if fresh && self.stream.hole_len() > FAR {
                self.give_up_hole(tools);
            }
            self.enforce_limits(tools);
        }
        if self.reader.is_between_messages() && self.stream.is_settled() {
            self.inspect_readings(false, tools);
        }
        self.skip_unwanted(tools);
    }

    /// Tells the capture to leave out the rest of a large body that is not inspected. The stream takes it for acknowledged, so that
    /// the hole is none to wait for; what comes in all the same is read as before.
    fn skip_unwanted(&mut self, tools: &mut Tools<'_>) {
        let open = tools.exchange.open.as_ref();
        let request_done = open.is_some_and(|open| open.inspected);
        let tail = open.and_then(|open| open.tail.as_ref()).map_or(0, |_| tools.settings.max_body_tail_bytes);
        let response_done = tools.exchange.answer.as_ref().is_none_or(|answer| answer.inspected);
        let ahead = self.reader.unwanted(request_done, tail, response_done).min(MAX_SKIP);
        let until = self.stream.position() + i64::try_from(ahead).unwrap_or(0);
        let is_response = tools.exchange.client == Some(tools.from.other());
        if is_response && !tools.exchange.pace.is_proven(self.stream.position(), tools.settings) {
            return;
        }
        if ahead < MIN_SKIP || until - self.skipped < MIN_SKIP as i64 || self.stream.has_hole() {
            return;
        }
        self.skipped = until;
        let sequence = self.stream.sequence_ahead(ahead as u32);
        let (source, destination) = tools.exchange.endpoints(tools.from);
        tools.worker.counters.skips += 1;
        tools.worker.commands.push_back(Command::Skip(Skip { source, destination, until: sequence }));
        self.run(tools, |stream, out| stream.acknowledge(sequence, out));
    }

    /// Notes the timestamp of a segment that brings something new, if the receiver does (RFC 7323 section 4.3).
    pub(super) fn note_timestamp(&mut self, piece: &Piece<'_>, timestamp: Option<u32>) {
        let is_news = self.stream.offset(piece.sequence) + piece_len(piece) > self.stream.position();
        if let Some(sent) = timestamp
            && is_news
            && self.stream.is_acknowledged(piece.sequence)
            && is_newer(sent, self.recent_timestamp)
        {
            self.recent_timestamp = NonZeroU32::new(sent);
        }
    }

    /// The other end has answered: what is complete needs no memory any more.
    pub(super) fn answered(&mut self, tools: &mut Tools<'_>) {
        self.inspect_readings(true, tools);
        if self.reader.is_between_messages() {
            self.forget(tools);
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
        self.inspect_readings(true, tools);
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
        self.inspect_readings(true, tools);
        self.forget(tools);
        let mut inspector =
            Inspector::new(tools.worker, tools.exchange, tools.settings, tools.from, tools.time);
        self.reader.end(tools.scratch, &mut inspector);
    }

    /// Which rest of a message the reader waits for.
    pub(super) fn rest(&self) -> Option<Rest> {
        self.reader.rest()
    }

    /// Whether the capture leaves out what comes here, so that nobody sees how it gets on.
    pub(super) fn is_left_out(&self) -> bool {
        self.skipped > self.stream.position()
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

    /// Before bytes come: whose are remembered, and where.
    fn prepare_history(&mut self, tools: &mut Tools<'_>) {
        if tools.exchange.tunnel || tools.exchange.client == Some(tools.from.other()) {
            self.forget(tools);
            return self.stream.remember(0);
        }
        if self.stream.is_history_full() && !self.stream.wants_memory() && self.reader.is_between_messages() {
            tools.worker.counters.histories_full += 1;
            self.inspect_readings(true, tools);
            self.forget(tools);
        }
        if self.stream.disputed().1 == 0 {
            self.at_message = self.reader.is_between_messages();
        }
        if self.stream.wants_memory() {
            self.stream.lend(tools.worker.lend());
        }
    }

    fn forget(&mut self, tools: &mut Tools<'_>) {
        tools.worker.take_memory(self.stream.forget());
        self.disputes = None;
    }

    fn note_conflict(&mut self, pushed: Pushed, counters: &mut Counters) {
        let Some(conflict) = pushed.conflict else { return };
        counters.overlap_conflicts += 1;
        counters.overlaps_dropped += u64::from(!pushed.kept);
        // What contradicts a request that is over is said of its readings, not of the next request.
        if conflict == Conflict::Queued
            || pushed.outcome != Outcome::Old
            || !self.reader.is_between_messages()
        {
            self.reader.note(Anomaly::OverlapConflict);
            self.disputes.get_or_insert_default().noted = true;
        }
    }

    /// Inspects what the stream may have said instead, if that has changed. `last` says that there may be no other time.
    fn inspect_readings(&mut self, last: bool, tools: &mut Tools<'_>) {
        let disputed = self.stream.disputed();
        if disputed.0 == 0 || tools.settings.max_readings == 0 {
            return;
        }
        let disputes = self.disputes.get_or_insert_default();
        if disputed == disputes.inspected {
            return;
        }
        if !last && disputes.inspections >= MAX_INSPECTIONS {
            tools.worker.counters.readings_skipped += 1;
            return;
        }
        disputes.inspections += 1;
        disputes.inspected = disputed;
        let (as_read, readings) = (self.stream.as_read(), self.stream.readings(tools.settings.max_readings));
        let start = Start { at_message: self.at_message, noted: disputes.noted };
        readings::inspect(&as_read, &readings, start, &mut disputes.known, tools);
    }

    fn enforce_limits(&mut self, tools: &mut Tools<'_>) {
        let limits = tools.settings;
        while self.stream.has_hole()
            && (self.stream.queue_memory() > limits.max_stream_bytes
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
            Chunk::Urgent => inspector.urgent(),
            Chunk::Gap(bytes) => {
                inspector.gap(bytes);
                reader.gap(bytes, scratch, &mut inspector);
            }
            Chunk::End => reader.end(scratch, &mut inspector),
        })
    }
}

/// Length of a piece in sequence numbers.
fn piece_len(piece: &Piece<'_>) -> i64 {
    i64::from(piece.wire_len) + i64::from(piece.fin)
}

fn count(outcome: Outcome, counters: &mut Counters) {
    let counter = match outcome {
        Outcome::Delivered | Outcome::Empty | Outcome::Ignored => return,
        Outcome::Queued => &mut counters.segments_queued,
        Outcome::Old => &mut counters.segments_old,
        Outcome::Ended => &mut counters.segments_after_end,
        Outcome::OutOfWindow => &mut counters.segments_out_of_window,
    };
    *counter += 1;
}
