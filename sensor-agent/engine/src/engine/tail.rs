//! The end of a body that is longer than is inspected at its beginning. Whoever puts an attack behind a long filler puts it at the end,
//! because what stands in the middle needs a parser that reads all of it; so the last bytes are kept as they come, and looked at when the
//! body is over.

/// Bytes of the inspected beginning that are looked at again, so that nothing hides on the border of the two.
const OVERLAP: usize = 1024;

/// The last bytes of a body.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    /// `bytes.len() < 2 * most`, so that what is too much goes in large pieces.
    bytes: Vec<u8>,
    /// How many of them were inspected with the beginning; `inspected <= bytes.len()`.
    inspected: usize,
}

impl Tail {
    /// Begins behind `head`, the inspected beginning.
    pub(super) fn begin(&mut self, head: &[u8], most: usize) {
        let from = head.len() - head.len().min(OVERLAP).min(most);
        self.bytes.clear();
        self.bytes.extend_from_slice(&head[from..]);
        self.inspected = self.bytes.len();
    }

    /// Takes the next bytes and keeps at least the last `most`. How many were given up that nobody has seen.
    pub(super) fn push(&mut self, data: &[u8], most: usize) -> u64 {
        let (given_up, data) = data.split_at(data.len().saturating_sub(most));
        let mut unseen = given_up.len() as u64;
        if !given_up.is_empty() || self.bytes.len() + data.len() >= 2 * most {
            unseen += self.shorten(most - data.len());
        }
        self.bytes.extend_from_slice(data);
        unseen
    }

    /// Something is missing: what came before does not belong to what follows. How many bytes nobody has seen.
    pub(super) fn restart(&mut self) -> u64 {
        self.shorten(0)
    }

    /// Shortens to the last `most` bytes. How many were given up that nobody has seen.
    pub(super) fn shorten(&mut self, most: usize) -> u64 {
        let given_up = self.bytes.len().saturating_sub(most);
        self.bytes.drain(..given_up);
        let unseen = given_up.saturating_sub(self.inspected);
        self.inspected = self.inspected.saturating_sub(given_up);
        unseen as u64
    }

    /// What is kept, if there is anything that was not inspected yet.
    pub(super) fn bytes(&self) -> &[u8] {
        if self.bytes.len() > self.inspected { &self.bytes } else { &[] }
    }

    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 8;

    /// What is kept of a body whose beginning is inspected, and how much nobody has seen.
    fn kept(head: &str, pieces: &[&str]) -> (String, u64) {
        let mut tail = Tail::default();
        tail.begin(head.as_bytes(), MOST);
        let mut unseen: u64 = pieces.iter().map(|piece| tail.push(piece.as_bytes(), MOST)).sum();
        unseen += tail.shorten(MOST);
        (String::from_utf8_lossy(tail.bytes()).into_owned(), unseen)
    }

    #[test]
    fn the_last_bytes_are_kept() {
        for (head, pieces, expected) in [
            ("ab", vec![], ("", 0)),
            ("ab", vec!["c"], ("abc", 0)),
            ("0123456789", vec!["a", "b"], ("456789ab", 0)),
            ("", vec!["0123", "4567", "89ab", "cd"], ("6789abcd", 6)),
            ("xy", vec!["0123456789abcd"], ("6789abcd", 6)),
        ] {
            assert_eq!(kept(head, &pieces), (expected.0.to_owned(), expected.1), "{pieces:?}");
        }
    }

    #[test]
    fn nothing_is_joined_over_a_gap() {
        let mut tail = Tail::default();
        tail.begin(b"ab", MOST);
        assert_eq!((tail.push(b"cde", MOST), tail.restart(), tail.push(b"f", MOST)), (0, 3, 0));
        assert_eq!(tail.bytes(), b"f");
    }

    proptest! {
        #[test]
        fn any_pieces_give_the_same(body in proptest::collection::vec(any::<u8>(), 0..80), piece in 1usize..20) {
            let mut tail = Tail::default();
            tail.begin(b"", MOST);
            let mut unseen: u64 = body.chunks(piece).map(|piece| tail.push(piece, MOST)).sum();
            unseen += tail.shorten(MOST);
            let from = body.len().saturating_sub(MOST);
            prop_assert_eq!(tail.bytes(), &body[from..]);
            prop_assert_eq!(unseen, from as u64);
        }
    }
}
