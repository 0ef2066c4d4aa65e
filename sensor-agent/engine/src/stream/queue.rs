//! The out-of-order queue, modelled on Linux (`tcp_data_queue_ofo` and `tcp_ofo_queue` in net/ipv4/tcp_input.c): pieces
//! are kept whole, a piece that is covered is dropped, one that begins where another does and is longer replaces it,
//! one that covers followers removes them, and one that begins exactly where another ends joins it. Reading goes from the
//! lowest start, so of two overlapping pieces the one that begins earlier wins.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::Piece;

/// Memory of a queued piece beside its data.
const PIECE_OVERHEAD: usize = size_of::<Queued<'static>>() + 16;

/// A piece at its offset. `data.len() <= wire_len`.
#[derive(Clone, Debug)]
pub(super) struct Queued<'a> {
    pub(super) start: i64,
    pub(super) data: Cow<'a, [u8]>,
    pub(super) wire_len: i64,
    pub(super) fin: bool,
}

impl<'a> Queued<'a> {
    pub(super) fn borrow(start: i64, piece: Piece<'a>) -> Self {
        let wire_len = i64::from(piece.wire_len).max(piece.payload.len() as i64);
        Self { start, data: Cow::Borrowed(piece.payload), wire_len, fin: piece.fin }
    }

    /// Offset behind the last byte.
    pub(super) fn data_end(&self) -> i64 {
        self.start + self.wire_len
    }

    /// Offset behind the piece in sequence numbers: a FIN takes one.
    pub(super) fn end(&self) -> i64 {
        self.data_end() + i64::from(self.fin)
    }

    fn to_owned(&self) -> Queued<'static> {
        Queued {
            start: self.start,
            data: Cow::Owned(self.data.to_vec()),
            wire_len: self.wire_len,
            fin: self.fin,
        }
    }

    /// Whether both hold captured bytes for the same place, and these differ.
    fn contradicts(&self, other: &Queued<'_>) -> bool {
        let (from, to) = (self.start.max(other.start), self.captured_end().min(other.captured_end()));
        from < to && self.range(from, to) != other.range(from, to)
    }

    fn captured_end(&self) -> i64 {
        self.start + self.data.len() as i64
    }

    fn range(&self, from: i64, to: i64) -> &[u8] {
        self.data.get((from - self.start) as usize..(to - self.start) as usize).unwrap_or_default()
    }
}

/// Pieces ordered by start.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    pieces: VecDeque<Queued<'static>>,
    bytes: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn memory(&self) -> usize {
        self.bytes + self.pieces.capacity() * PIECE_OVERHEAD
    }

    pub(super) fn first_start(&self) -> Option<i64> {
        self.pieces.front().map(|piece| piece.start)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes the first piece out if it begins at `offset` or before.
    pub(super) fn pop_until(&mut self, offset: i64) -> Option<Queued<'static>> {
        self.pieces.front().filter(|piece| piece.start <= offset)?;
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.data.len();
        if self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        }
        Some(piece)
    }

    pub(super) fn contradicts(&self, new: &Queued<'_>) -> bool {
        self.pieces.iter().take_while(|old| old.start < new.end()).any(|old| old.contradicts(new))
    }

    /// Queues a piece; false if all of it was there.
    pub(super) fn insert(&mut self, new: &Queued<'_>) -> bool {
        let at = self.pieces.partition_point(|old| old.start <= new.start);
        if let Some(before) = at.checked_sub(1).and_then(|before| self.pieces.get_mut(before)) {
            if new.end() <= before.end() {
                return false;
            }
            if before.start == new.start {
                self.bytes = self.bytes - before.data.len() + new.data.len();
                *before = new.to_owned();
                self.remove_covered(at, new.end());
                return true;
            }
            if before.end() == new.start && join(before, new) {
                self.bytes += new.data.len();
                return true;
            }
        }
        self.bytes += new.data.len();
        self.pieces.insert(at, new.to_owned());
        self.remove_covered(at + 1, new.end());
        true
    }

    /// Removes the pieces from index `from` on that end at `end` or before.
    fn remove_covered(&mut self, from: usize, end: i64) {
        while let Some(piece) = self.pieces.get(from).filter(|piece| piece.end() <= end) {
            self.bytes -= piece.data.len();
            self.pieces.remove(from);
        }
    }
}

/// Appends `new` to a piece that ends where it begins; not if bytes between them were not captured.
fn join(old: &mut Queued<'static>, new: &Queued<'_>) -> bool {
    if old.fin || old.captured_end() != new.start {
        return false;
    }
    old.data.to_mut().extend_from_slice(&new.data);
    (old.wire_len, old.fin) = (old.wire_len + new.wire_len, new.fin);
    true
}
