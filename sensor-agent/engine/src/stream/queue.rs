//! The out-of-order queue, modelled on Linux (`tcp_data_queue_ofo` and `tcp_ofo_queue` in net/ipv4/tcp_input.c): pieces
//! are kept whole. On the way from the root of the tree to its place a new piece is dropped if one covers it, replaces one
//! that begins where it does, and joins one that ends where it begins; then it removes those behind it that it covers. Reading
//! goes from the lowest start, so of two overlapping pieces the one that begins earlier wins.
//!
//! A piece that joins one with a FIN hides the FIN's place: what follows is read as if the FIN had none, and the stream ends
//! behind it. That is what Linux does, and what an attacker would use.

use std::borrow::Cow;

use super::Piece;
use super::tree::{NONE, Tree, Way};

/// A piece at its offset. `data.len() <= wire_len`, and `start + wire_len <= end`.
#[derive(Clone, Debug)]
pub(super) struct Queued<'a> {
    pub(super) start: i64,
    pub(super) data: Cow<'a, [u8]>,
    pub(super) wire_len: i64,
    /// Offset behind the piece in sequence numbers: every FIN takes one.
    pub(super) end: i64,
    pub(super) fin: bool,
}

impl<'a> Queued<'a> {
    pub(super) fn borrow(start: i64, piece: Piece<'a>) -> Self {
        let wire_len = i64::from(piece.wire_len).max(piece.payload.len() as i64);
        let end = start + wire_len + i64::from(piece.fin);
        Self { start, data: Cow::Borrowed(piece.payload), wire_len, end, fin: piece.fin }
    }

    /// Offset behind the last byte, if no FIN stands before it.
    pub(super) fn data_end(&self) -> i64 {
        self.start + self.wire_len
    }

    pub(super) fn to_owned(&self) -> Queued<'static> {
        let &Self { start, ref data, wire_len, end, fin } = self;
        Queued { start, data: Cow::Owned(data.to_vec()), wire_len, end, fin }
    }

    /// Whether both hold captured bytes for the same place, and these differ.
    fn contradicts(&self, other: &Queued<'_>) -> bool {
        let (from, to) = (self.start.max(other.start), self.captured_end().min(other.captured_end()));
        from < to && self.range(from, to) != other.range(from, to)
    }

    pub(super) fn captured_end(&self) -> i64 {
        self.start + self.data.len() as i64
    }

    pub(super) fn range(&self, from: i64, to: i64) -> &[u8] {
        self.data.get((from - self.start) as usize..(to - self.start) as usize).unwrap_or_default()
    }

    /// Appends a piece that begins where this one ends; not if bytes between them were not captured. The kernel joins
    /// where it finds room in the buffer before, which is nearly always and cannot be seen from here.
    fn join(&mut self, new: &Queued<'_>) -> bool {
        if self.end != new.start || self.wire_len != self.data.len() as i64 {
            return false;
        }
        self.data.to_mut().extend_from_slice(&new.data);
        self.wire_len += new.wire_len;
        (self.end, self.fin) = (new.end, self.fin | new.fin);
        true
    }
}

/// Pieces ordered by start. Most streams come in order and never have any.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue(Option<Box<Pieces>>);

#[derive(Clone, Debug, Default)]
struct Pieces {
    pieces: Tree<Queued<'static>>,
    bytes: usize,
}

/// Where the way down the tree ends.
enum Place {
    /// Another piece covers the new one.
    Covered,
    /// The new piece joined another.
    Joined,
    /// The new piece replaces this one.
    Instead(u32),
    /// The new piece becomes this child.
    Below(u32, Way),
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.pieces.len())
    }

    pub(super) fn memory(&self) -> usize {
        let of_pieces = |queue: &Pieces| size_of::<Pieces>() + queue.bytes + queue.pieces.memory();
        self.0.as_deref().map_or(0, of_pieces)
    }

    pub(super) fn first_start(&self) -> Option<i64> {
        let queue = self.0.as_ref()?;
        queue.pieces.get(queue.pieces.first()).map(|piece| piece.start)
    }

    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// Takes the first piece out if it begins at `offset` or before.
    pub(super) fn pop_until(&mut self, offset: i64) -> Option<Queued<'static>> {
        let queue = self.0.as_mut()?;
        let first = queue.pieces.first();
        queue.pieces.get(first).filter(|piece| piece.start <= offset)?;
        let piece = queue.take(first);
        if queue.pieces.len() == 0 {
            self.0 = None;
        }
        piece
    }

    /// The pieces that contradict a new one.
    pub(super) fn contradicting(&self, new: &Queued<'_>) -> impl Iterator<Item = &Queued<'static>> {
        let pieces = self.0.iter().flat_map(|queue| queue.pieces.iter());
        let before_end = pieces.take_while(|old| old.start < new.end);
        before_end.filter(|old| old.contradicts(new))
    }

    /// Queues a piece; false if all of it was there.
    pub(super) fn insert(&mut self, new: &Queued<'_>) -> bool {
        self.0.get_or_insert_default().insert(new)
    }
}

impl Pieces {
    /// Queues a piece; false if all of it was there.
    fn insert(&mut self, new: &Queued<'_>) -> bool {
        let added = match self.place(new) {
            Place::Covered => return false,
            Place::Joined => {
                self.bytes += new.data.len();
                return true;
            }
            Place::Instead(id) => {
                let Some(old) = self.pieces.get_mut(id) else { return false };
                self.bytes -= old.data.len();
                *old = new.to_owned();
                id
            }
            Place::Below(parent, way) => self.pieces.insert(parent, way, new.to_owned()),
        };
        self.bytes += new.data.len();
        self.remove_covered(added, new.end);
        true
    }

    fn place(&mut self, new: &Queued<'_>) -> Place {
        let last = self.pieces.last();
        let Some(last_piece) = self.pieces.get_mut(last) else { return Place::Below(NONE, Way::Left) };
        if last_piece.join(new) {
            return Place::Joined;
        }
        if new.start >= last_piece.end {
            return Place::Below(last, Way::Right);
        }
        let (mut parent, mut way, mut at) = (NONE, Way::Left, self.pieces.root());
        while let Some(old) = self.pieces.get_mut(at) {
            if new.start < old.start {
                way = Way::Left;
            } else if new.start < old.end {
                if new.end <= old.end {
                    return Place::Covered;
                }
                if new.start == old.start {
                    return Place::Instead(at);
                }
                way = Way::Right;
            } else if old.join(new) {
                return Place::Joined;
            } else {
                way = Way::Right;
            }
            (parent, at) = (at, self.pieces.child(at, way));
        }
        Place::Below(parent, way)
    }

    /// Removes the pieces behind `id` that end at `end` or before.
    fn remove_covered(&mut self, id: u32, end: i64) {
        loop {
            let next = self.pieces.next(id);
            if self.pieces.get(next).is_none_or(|piece| end <= piece.start || end < piece.end) {
                return;
            }
            self.take(next);
        }
    }

    fn take(&mut self, id: u32) -> Option<Queued<'static>> {
        let piece = self.pieces.remove(id)?;
        self.bytes -= piece.data.len();
        Some(piece)
    }
}
