//! Reassembly of one direction of a connection. It answers the only question that matters: which bytes does the
//! application read? So it follows the receiver that is at work on the host, Linux: data in order is taken at once
//! and wins over what is queued, and what is queued follows the rules of the out-of-order queue (see `queue.rs`).
//!
//! ```text
//!            next           hole            queue
//!   ...delivered|·················|[ data ][ data ]······[ data ]
//! ```

mod queue;
#[cfg(test)]
mod tests;
mod tree;

use queue::{Queue, Queued};

/// What a segment brings to its stream.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Sequence number of its first byte.
    pub sequence: u32,
    /// The captured bytes.
    pub payload: &'a [u8],
    /// Bytes on the wire: `payload.len() <= wire_len`.
    pub wire_len: u32,
    /// Whether the sender ends the stream behind it.
    pub fin: bool,
}

/// What comes out of a stream, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// The next bytes.
    Data(&'a [u8]),
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
    /// It is further ahead than any TCP window reaches (RFC 7323 section 2.3).
    OutOfWindow,
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
    ended: bool,
}

impl Stream {
    /// A stream whose first byte has this sequence number.
    #[must_use]
    pub fn starting_at(sequence: u32) -> Self {
        Self { next_sequence: sequence, ..Self::default() }
    }

    /// Takes a piece and gives out what is in order now. The second value says whether the piece contradicted bytes
    /// that are queued.
    pub fn push(&mut self, piece: Piece<'_>, out: &mut dyn FnMut(Chunk<'_>)) -> (Outcome, bool) {
        if piece.wire_len == 0 && !piece.fin {
            return (Outcome::Empty, false);
        }
        if self.ended {
            return (Outcome::Ended, false);
        }
        let new = Queued::borrow(self.offset(piece.sequence), piece);
        if new.end <= self.next {
            return (Outcome::Old, false);
        }
        if new.start - self.next > MAX_WINDOW {
            return (Outcome::OutOfWindow, false);
        }
        let conflict = self.queue.contradicting(&new).next().is_some();
        if new.start > self.next {
            let outcome = if self.queue.insert(&new) { Outcome::Queued } else { Outcome::Old };
            self.skip_acknowledged(out);
            return (outcome, conflict);
        }
        self.deliver(&new, out);
        self.drain(out);
        (Outcome::Delivered, conflict)
    }

    /// Notes the receiver's acknowledgement number. What it acknowledges it has: a hole below will not be filled.
    pub fn acknowledge(&mut self, sequence: u32, out: &mut dyn FnMut(Chunk<'_>)) {
        let offset = self.offset(sequence);
        if offset - self.next <= MAX_WINDOW {
            self.acknowledged = self.acknowledged.max(offset);
            self.skip_acknowledged(out);
        }
    }

    /// Gives up on the hole before the queue, if there is one.
    pub fn skip_hole(&mut self, out: &mut dyn FnMut(Chunk<'_>)) {
        let Some(end) = self.hole_end() else { return };
        out(Chunk::Gap((end - self.next) as u64));
        self.advance(end - self.next);
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
    pub fn memory(&self) -> usize {
        self.queue.memory()
    }

    fn hole_end(&self) -> Option<i64> {
        self.queue.first_start().filter(|&start| start > self.next)
    }

    fn skip_acknowledged(&mut self, out: &mut dyn FnMut(Chunk<'_>)) {
        while self.hole_end().is_some_and(|end| self.acknowledged >= end) {
            self.skip_hole(out);
        }
    }

    fn offset(&self, sequence: u32) -> i64 {
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
            out(Chunk::Data(data));
            self.advance(data.len() as i64);
        }
        let lost = piece.data_end() - self.next;
        if lost > 0 {
            out(Chunk::Gap(lost as u64));
            self.advance(lost);
        }
        if piece.fin {
            self.ended = true;
            self.queue.clear();
            out(Chunk::End);
        }
    }
}
