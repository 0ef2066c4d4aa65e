//! Reassembly of one direction of a connection. It answers the only question that matters: which bytes does the
//! application read? So it follows the receiver that is at work on the host, Linux: data in order is taken at once
//! and wins over what is queued, and what is queued follows the rules of the out-of-order queue (see `queue.rs`).
//!
//! ```text
//!            next           hole            queue
//!   ...delivered|·················|[ data ][ data ]······[ data ]
//! ```

mod aside;
mod history;
mod queue;
#[cfg(test)]
mod tests;
mod tree;

use std::num::NonZeroI64;

use aside::Aside;
use history::History;
use queue::{Queue, Queued};

/// What a segment brings to its stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Piece<'a> {
    /// Sequence number of its first byte.
    pub sequence: u32,
    /// The captured bytes.
    pub payload: &'a [u8],
    /// Bytes on the wire: `payload.len() <= wire_len`.
    pub wire_len: u32,
    /// Whether the sender ends the stream behind it.
    pub fin: bool,
    /// The urgent pointer, if it counts: the byte before that place leaves the stream (RFC 6093 section 2).
    pub urgent: Option<u16>,
    /// Whether the receiver ignores it, by all that is known.
    pub ignored: bool,
}

/// What comes out of a stream, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// The next bytes.
    Data(&'a [u8]),
    /// A byte that the application does not read with the others.
    Urgent,
    /// That many bytes went by unseen.
    Gap(u64),
    /// The sender ended the stream.
    End,
}

/// What became of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It carried nothing.
    Empty,
    /// It was delivered, at least in part.
    Delivered,
    /// It waits for what comes before it.
    Queued,
    /// All of it had been delivered before, or was covered by what is queued.
    Old,
    /// It came behind the end of the stream.
    Ended,
    /// The receiver ignores it. It is kept aside in case that is wrong.
    Ignored,
    /// It is further ahead than any TCP window reaches (RFC 7323 section 2.3).
    OutOfWindow,
}

/// What pushing a piece did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// What became of the piece.
    pub outcome: Outcome,
    /// Which bytes it contradicts, if any.
    pub conflict: Option<Conflict>,
    /// Whether the bytes that lost were kept, if it does.
    pub kept: bool,
}

/// Which bytes a piece contradicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Bytes that were given out lately, and no others.
    Read,
    /// Bytes that wait in the queue.
    Queued,
}

impl Pushed {
    const fn plain(outcome: Outcome) -> Self {
        Self { outcome, conflict: None, kept: true }
    }
}

/// Largest distance of a piece from the next byte: the largest TCP window.
const MAX_WINDOW: i64 = 1 << 30;

/// One direction of a connection. Positions are offsets in the stream, so that sequence numbers wrap in one place only.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// Offset of the next byte to deliver.
    next: i64,
    /// Sequence number at offset `next`.
    next_sequence: u32,
    /// The receiver's acknowledgement, as an offset; it may be ahead of `next`.
    acknowledged: i64,
    queue: Queue,
    /// Place of the byte that leaves the stream as urgent, counted from 1; no stream has it before its start.
    urgent: Option<NonZeroI64>,
    history: History,
    /// Made when there is something to keep.
    aside: Option<Box<Aside>>,
    ended: bool,
}

impl Stream {
    /// A stream whose first byte has this sequence number.
    #[must_use]
    pub fn starting_at(sequence: u32) -> Self {
        Self { next_sequence: sequence, ..Self::default() }
    }

    /// Remembers up to `limit` bytes that were given out, to tell what contradicts them. 0 forgets all.
    pub fn remember(&mut self, limit: usize) {
        self.history = History::new(limit);
    }

    /// Takes a piece and gives out what is in order now.
    pub fn push(&mut self, piece: Piece<'_>, out: &mut dyn FnMut(Chunk<'_>)) -> Pushed {
        if self.ended {
            return Pushed::plain(Outcome::Ended);
        }
        let new = Queued::borrow(self.offset(piece.sequence), piece);
        if new.start - self.next > MAX_WINDOW {
            return Pushed::plain(Outcome::OutOfWindow);
        }
        if piece.ignored {
            self.aside.get_or_insert_default().put(&new);
            return Pushed::plain(Outcome::Ignored);
        }
        self.note_urgent(&new, piece.urgent);
        if piece.wire_len == 0 && !piece.fin {
            return Pushed::plain(Outcome::Empty);
        }
        let (conflict, kept) = self.compare(&new);
        Pushed { outcome: self.take(&new, out), conflict, kept }
    }

    /// Notes the receiver's acknowledgement number. What it acknowledges it has: a hole below will not be filled, and what
    /// was kept aside was not ignored.
    pub fn acknowledge(&mut self, sequence: u32, out: &mut dyn FnMut(Chunk<'_>)) {
        let offset = self.offset(sequence);
        if offset - self.next <= MAX_WINDOW {
            self.acknowledged = self.acknowledged.max(offset);
            while let Some(piece) = self.take_from_aside() {
                self.take(&piece, out);
            }
            self.skip_acknowledged(out);
        }
    }

    /// Sequence number at an offset ahead of the next byte.
    #[must_use]
    pub fn sequence_ahead(&self, bytes: u32) -> u32 {
        self.next_sequence.wrapping_add(bytes)
    }

    /// Gives up on the hole before the queue, if there is one.
    pub fn skip_hole(&mut self, out: &mut dyn FnMut(Chunk<'_>)) {
        let Some(end) = self.hole_end() else { return };
        self.gap(end - self.next, out);
        self.drain(out);
    }

    /// Whether data waits behind a hole.
    #[must_use]
    pub fn has_hole(&self) -> bool {
        self.hole_end().is_some()
    }

    /// Bytes of the hole before the queue; 0 if there is none.
    #[must_use]
    pub fn hole_len(&self) -> i64 {
        self.hole_end().map_or(0, |end| end - self.next)
    }

    /// Offset of the next byte: it grows with every progress.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.next
    }

    /// Whether a piece would fill (a part of) the hole.
    #[must_use]
    pub fn is_in_hole(&self, piece: &Piece<'_>) -> bool {
        let start = self.offset(piece.sequence);
        self.hole_end().is_some_and(|end| start < end && start + i64::from(piece.wire_len) > self.next)
    }

    /// Whether a receiver that acknowledges this has the bytes of the hole.
    #[must_use]
    pub fn has_hole_below(&self, acknowledgement: u32) -> bool {
        let offset = self.offset(acknowledgement);
        self.hole_end().is_some_and(|end| offset >= end && offset - self.next <= MAX_WINDOW)
    }

    /// Whether the receiver has acknowledged all before `sequence`, as far as was seen.
    #[must_use]
    pub fn is_acknowledged(&self, sequence: u32) -> bool {
        self.offset(sequence) <= self.acknowledged
    }

    /// How many contradictions and urgent bytes there are, and how many bytes are remembered.
    #[must_use]
    pub fn disputed(&self) -> (usize, usize) {
        (self.history.disputes(), self.history.len())
    }

    /// Whether all contradictions are about bytes that were given out.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.history.is_unsettled()
    }

    /// Whether no more can be remembered.
    #[must_use]
    pub fn is_history_full(&self) -> bool {
        self.history.is_full()
    }

    /// Whether memory for what is given out would be of use.
    #[must_use]
    pub fn wants_memory(&self) -> bool {
        self.history.wants_memory()
    }

    /// Lends memory for what is given out.
    pub fn lend(&mut self, memory: Vec<u8>) {
        self.history.lend(memory);
    }

    /// Forgets what was given out and what contradicts it; the memory goes back.
    pub fn forget(&mut self) -> Vec<u8> {
        self.history.restart(self.next);
        self.history.lend(Vec::new())
    }

    /// The remembered bytes as they were given out.
    #[must_use]
    pub fn as_read(&self) -> Vec<u8> {
        self.history.as_read()
    }

    /// At most `most` other readings of the remembered bytes.
    #[must_use]
    pub fn readings(&self, most: usize) -> Vec<Vec<u8>> {
        self.history.readings(most)
    }

    /// Whether `sequence` is exactly the next one that the receiver expects (RFC 9293 section 3.10.7.4: only such a
    /// reset counts).
    #[must_use]
    pub fn is_next(&self, sequence: u32) -> bool {
        sequence == self.next_sequence
    }

    /// Whether the sender ended the stream, and all before the end was delivered.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Pieces in the queue.
    #[must_use]
    pub fn queued_pieces(&self) -> usize {
        self.queue.len()
    }

    /// Bytes of memory that the queue holds.
    #[must_use]
    pub fn queue_memory(&self) -> usize {
        self.queue.memory()
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.queue.memory()
            + self.history.memory()
            + self.aside.as_ref().map_or(0, |aside| size_of::<Aside>() + aside.memory())
    }

    /// A piece kept aside that the receiver has taken after all.
    fn take_from_aside(&mut self) -> Option<Queued<'static>> {
        let piece = self.aside.as_mut()?.take(self.next, self.acknowledged);
        self.aside = self.aside.take().filter(|aside| !aside.is_empty());
        piece
    }

    /// A piece that the receiver takes, if it is new.
    fn take(&mut self, new: &Queued<'_>, out: &mut dyn FnMut(Chunk<'_>)) -> Outcome {
        if new.end <= self.next {
            return Outcome::Old;
        }
        if new.start > self.next {
            let outcome = if self.queue.insert(new) { Outcome::Queued } else { Outcome::Old };
            self.skip_acknowledged(out);
            return outcome;
        }
        self.deliver(new, out);
        self.drain(out);
        Outcome::Delivered
    }

    /// Keeps what contradicts queued bytes and those given out. Which they are, and whether all was kept.
    fn compare(&mut self, new: &Queued<'_>) -> (Option<Conflict>, bool) {
        let (read, mut kept) = self.history.compare(new, self.next);
        let mut conflict = read.then_some(Conflict::Read);
        for old in self.queue.contradicting(new) {
            conflict = Some(Conflict::Queued);
            kept &= self.history.keep_both(old, new);
        }
        (conflict, kept)
    }

    fn urgent_place(&self) -> Option<i64> {
        self.urgent.map(|at| at.get() - 1)
    }

    /// As `tcp_check_urg` does: a pointer counts if it is ahead of what was received and of the one that waits.
    fn note_urgent(&mut self, new: &Queued<'_>, pointer: Option<u16>) {
        let Some(pointer) = pointer else { return };
        let at = new.start + i64::from(pointer.saturating_sub(1));
        if at >= self.next && self.urgent_place().is_none_or(|waiting| at > waiting) {
            self.urgent = NonZeroI64::new(at + 1);
        }
    }

    fn hole_end(&self) -> Option<i64> {
        self.queue.first_start().filter(|&start| start > self.next)
    }

    fn skip_acknowledged(&mut self, out: &mut dyn FnMut(Chunk<'_>)) {
        while self.hole_end().is_some_and(|end| self.acknowledged >= end) {
            self.skip_hole(out);
        }
    }

    /// Gives out the next bytes, without the urgent one.
    fn give_out(&mut self, data: &[u8], out: &mut dyn FnMut(Chunk<'_>)) {
        let urgent = self.urgent_place().map(|at| at - self.next).filter(|&at| at < data.len() as i64);
        let (before, rest) = data.split_at(urgent.map_or(data.len(), |at| at.max(0) as usize));
        let (byte, behind) = rest.split_at(rest.len().min(1));
        self.history.append(self.next, before);
        self.advance(before.len() as i64);
        if !before.is_empty() {
            out(Chunk::Data(before));
        }
        if byte.is_empty() {
            return;
        }
        self.urgent = None;
        self.history.append_urgent(self.next, byte);
        self.advance(1);
        out(Chunk::Urgent);
        if !behind.is_empty() {
            self.give_out(behind, out);
        }
    }

    fn gap(&mut self, bytes: i64, out: &mut dyn FnMut(Chunk<'_>)) {
        out(Chunk::Gap(bytes as u64));
        self.advance(bytes);
        self.history.restart(self.next);
        self.urgent = self.urgent.filter(|at| at.get() > self.next);
    }

    /// Offset of a sequence number in the stream; negative before its start.
    #[must_use]
    pub fn offset(&self, sequence: u32) -> i64 {
        self.next + i64::from(sequence.wrapping_sub(self.next_sequence).cast_signed())
    }

    fn advance(&mut self, bytes: i64) {
        self.next += bytes;
        self.next_sequence = self.next_sequence.wrapping_add(bytes as u32);
    }

    fn drain(&mut self, out: &mut dyn FnMut(Chunk<'_>)) {
        while let Some(queued) = self.queue.pop_until(self.next) {
            if queued.end > self.next {
                self.deliver(&queued, out);
            }
        }
    }

    /// Gives out what a piece has beyond `next`: `start <= next < end`.
    fn deliver(&mut self, piece: &Queued<'_>, out: &mut dyn FnMut(Chunk<'_>)) {
        let skip = (self.next - piece.start) as usize;
        if let Some(data) = piece.data.get(skip..).filter(|data| !data.is_empty()) {
            self.give_out(data, out);
        }
        let lost = piece.data_end() - self.next;
        if lost > 0 {
            self.gap(lost, out);
        }
        if piece.fin {
            self.ended = true;
            self.queue.clear();
            out(Chunk::End);
        }
    }
}
