//! Pieces that the receiver ignores by all that is known here. They stay out of the stream unless the receiver acknowledges
//! their place although nothing else came there: then what was known was wrong.

use super::queue::Queued;

/// Most pieces kept aside; the oldest goes first.
const MAX_PIECES: usize = 8;
/// Most bytes kept aside.
const MAX_BYTES: usize = 64 * 1024;

/// Pieces in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Aside {
    pieces: Vec<Queued<'static>>,
}

impl Aside {
    pub(super) fn memory(&self) -> usize {
        self.bytes() + self.pieces.capacity() * size_of::<Queued<'static>>()
    }

    pub(super) fn put(&mut self, piece: &Queued<'_>) {
        self.pieces.push(piece.to_owned());
        while self.pieces.len() > MAX_PIECES || self.bytes() > MAX_BYTES {
            self.pieces.remove(0);
        }
    }

    /// The oldest piece that begins between what was read and what is acknowledged. Those that were read past are forgotten.
    pub(super) fn take(&mut self, next: i64, acknowledged: i64) -> Option<Queued<'static>> {
        self.pieces.retain(|piece| piece.end > next);
        let at = self.pieces.iter().position(|piece| piece.start <= next && next < acknowledged)?;
        Some(self.pieces.remove(at))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.data.len()).sum()
    }
}
