//! The beginning of a text, without a place of its own in memory.

/// At most `N` bytes of a text, as it stood on the wire; hostile bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    length: u8,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    /// The beginning of `text`.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let length = text.len().min(N).min(usize::from(u8::MAX));
        let mut bytes = [0; N];
        bytes[..length].copy_from_slice(&text[..length]);
        Self { length: length as u8, bytes }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self { length: 0, bytes: [0; N] }
    }
}

impl<const N: usize> std::fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.bytes().escape_ascii().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_its_limit() {
        assert_eq!(Text::<4>::of(b"abcdef").bytes(), b"abcd");
        assert_eq!(Text::<4>::of(b"ab").bytes(), b"ab");
        assert_eq!(Text::<300>::of(&[b'x'; 300]).bytes().len(), 255);
        assert_eq!(Text::<4>::default().bytes(), b"");
    }
}
