//! Bytes searched for at a processor's pace. Some are asked eight at a time, in whole words: loops that the compiler makes vectors of are
//! as fast, but with a profile in which most values are short it makes none.

/// A byte with this value in every place of a word.
const fn every(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Whether there is a byte below a space. (Sean Anderson, Bit Twiddling Hacks, "a byte less than n": what has no high bit
/// borrows one.)
pub(crate) fn has_controls(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks();
    let below = |word: u64| word.wrapping_sub(every(b' ')) & !word & every(0x80);
    // Whole words decide about four at a time, so that there is little to guess for a processor.
    let of = |words: &[[u8; 8]]| words.iter().fold(0, |found, word| found | below(u64::from_ne_bytes(*word)));
    words.chunks(4).any(|words| of(words) != 0) || rest.iter().any(|&byte| byte < b' ')
}

/// Where the first `/*` begins. Searching for its asterisk, the rarer of the two, needs no preparation, which short texts would not be
/// worth.
pub(crate) fn comment_begin(text: &[u8]) -> Option<usize> {
    let slash = |at: usize| at.checked_sub(1).filter(|&before| text.get(before) == Some(&b'/'));
    memchr::memchr_iter(b'*', text).find_map(slash)
}

/// Where the first `*/` begins.
pub(crate) fn comment_end(text: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'*', text).find(|&at| text.get(at + 1) == Some(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_begin_and_end() {
        let rows: &[(&str, Option<usize>, Option<usize>)] = &[
            ("", None, None),
            ("*", None, None),
            ("/", None, None),
            ("/*", Some(0), None),
            ("*/", None, Some(0)),
            ("/*/", Some(0), Some(1)),
            ("** /* a */ */", Some(3), Some(8)),
            ("a*b/c/**", Some(5), None),
        ];
        for (text, begin, end) in rows {
            assert_eq!(
                (comment_begin(text.as_bytes()), comment_end(text.as_bytes())),
                (*begin, *end),
                "{text}"
            );
        }
    }

    #[test]
    fn a_control_is_found_wherever_it_stands() {
        for len in 0..100 {
            let text: Vec<u8> = (0..len).map(|at| [b' ', 0x7f, 0x80, 0xff, b'a', 0x9f][at % 6]).collect();
            assert!(!has_controls(&text), "{len}");
            for at in 0..len {
                for control in [0, b'\n', 0x1f] {
                    let mut text = text.clone();
                    text[at] = control;
                    assert!(has_controls(&text), "{control} at {at} of {len}");
                }
            }
        }
    }
}
