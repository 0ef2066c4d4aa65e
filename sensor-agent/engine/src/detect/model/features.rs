//! What the model sees of a value: its character sequences of one to four bytes, each as a number of a bucket. Letter case,
//! digits, runs of blanks and everything beyond ASCII are folded first, so that a sequence stands for all its spellings.
//!
//! Training and inspection use this very code: another way to fold or to hash is another [`VERSION`], and needs new weights.

/// Version of the way from bytes to buckets. Weights of another version are not taken.
pub const VERSION: u8 = 1;
/// Buckets that sequences are hashed into.
pub const BUCKETS: usize = 1 << BUCKET_BITS;
const BUCKET_BITS: u32 = 15;
/// Longest sequence, in folded bytes.
pub const LONGEST: usize = 4;
/// Bytes of a value's beginning that are looked at.
pub const HEAD_BYTES: usize = 512;
/// Bytes of a longer value's end that are looked at.
pub const TAIL_BYTES: usize = 512;

/// Stands before the first byte.
const BEGIN: u8 = 0x02;
/// Stands behind the last byte.
const END: u8 = 0x03;
/// Stands where a long value was cut.
const CUT: u8 = 0x04;
/// Stands for bytes beyond ASCII.
const HIGH: u8 = 0x80;

/// A sequence of a value, the first of its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence<'a> {
    /// Its bucket, below [`BUCKETS`].
    pub bucket: usize,
    /// Whether its weight counts negated, so that sequences that share a bucket do not simply add up.
    pub negated: bool,
    /// Its folded bytes.
    pub bytes: &'a [u8],
}

/// Scratch memory, reused for the next value.
#[derive(Debug)]
pub struct Features {
    text: Vec<u8>,
    /// A bit for each bucket that was met in the value at hand.
    met: Vec<u64>,
}

impl Default for Features {
    fn default() -> Self {
        Self { text: Vec::with_capacity(HEAD_BYTES + TAIL_BYTES + 3), met: vec![0; BUCKETS / 64] }
    }
}

impl Features {
    /// Shows `see` each sequence of the value, once a bucket. The result is how many there were.
    pub fn each(&mut self, value: &[u8], mut see: impl FnMut(Sequence<'_>)) -> usize {
        fold(value, &mut self.text);
        self.met.fill(0);
        let mut count = 0;
        for start in 0..self.text.len() {
            let mut packed = 0_u32;
            for length in 1..=LONGEST.min(self.text.len() - start) {
                let bytes = self.text.get(start..start + length).unwrap_or_default();
                packed = packed << 8 | u32::from(bytes.last().copied().unwrap_or_default());
                let (bucket, negated) = bucket(packed, length as u32);
                let Some(word) = self.met.get_mut(bucket / 64) else { continue };
                let bit = 1 << (bucket % 64);
                if *word & bit == 0 {
                    *word |= bit;
                    count += 1;
                    see(Sequence { bucket, negated, bytes });
                }
            }
        }
        count
    }
}

/// Bucket and sign of a sequence: a multiplicative hash of its bytes and length.
fn bucket(packed: u32, length: u32) -> (usize, bool) {
    let mixed = (packed ^ length.wrapping_mul(0x85eb_ca6b)).wrapping_mul(0x9e37_79b1);
    let mixed = (mixed ^ mixed >> 15).wrapping_mul(0x2c1b_3c6d);
    ((mixed >> (32 - BUCKET_BITS)) as usize, mixed & 1 != 0)
}

/// The folded beginning and end of a value.
fn fold(value: &[u8], text: &mut Vec<u8>) {
    text.clear();
    text.push(BEGIN);
    if value.len() <= HEAD_BYTES + TAIL_BYTES {
        fold_into(value, text);
    } else {
        fold_into(value.get(..HEAD_BYTES).unwrap_or_default(), text);
        text.push(CUT);
        fold_into(value.get(value.len() - TAIL_BYTES..).unwrap_or_default(), text);
    }
    text.push(END);
}

fn fold_into(part: &[u8], text: &mut Vec<u8>) {
    for &byte in part {
        let folded = match byte {
            b'A'..=b'Z' => byte.to_ascii_lowercase(),
            b'0'..=b'9' => b'0',
            0..=b' ' | 0x7f => b' ',
            0x80.. => HIGH,
            _ => byte,
        };
        let run = match folded {
            b'0' => text.ends_with(b"00"),
            b' ' | HIGH => text.last() == Some(&folded),
            _ => false,
        };
        if !run {
            text.push(folded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(value: &[u8]) -> String {
        let mut text = Vec::new();
        fold(value, &mut text);
        String::from_utf8_lossy(text.get(1..text.len() - 1).unwrap()).into_owned()
    }

    fn buckets(value: &str) -> Vec<usize> {
        let mut found = Vec::new();
        Features::default().each(value.as_bytes(), |sequence| found.push(sequence.bucket));
        found
    }

    #[test]
    fn spellings_are_folded() {
        for (value, expected) in
            [("SeLeCt\t\n 1", "select 0"), ("12345 OR 7", "00 or 0"), ("a..//B''", "a..//b''"), ("", "")]
        {
            assert_eq!(folded(value.as_bytes()), expected);
        }
        let (umlaut, fullwidth) = ("\u{fc}x".as_bytes(), "\u{ff1c}x".as_bytes());
        assert_eq!(folded(umlaut), folded(fullwidth));
        assert_eq!(buckets("UNION  SELECT 12"), buckets("union select 99"));
    }

    #[test]
    fn every_sequence_comes_once_and_is_in_range() {
        let found = buckets("abab abab");
        let mut distinct = found.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(found.len(), distinct.len());
        assert!(found.iter().all(|bucket| *bucket < BUCKETS));
        // Begin, a, b, blank, end; their pairs, threes and fours.
        assert_eq!(found.len(), 5 + 6 + 7 + 7);
    }

    #[test]
    fn long_values_are_seen_at_both_ends_only() {
        let mut value = vec![b'x'; 10_000];
        value[5_000..5_006].copy_from_slice(b"middle");
        value[9_990..].copy_from_slice(b"<the end/>");
        let text = folded(&value);
        assert!(text.ends_with("<the end/>") && !text.contains("middle"));
        assert_eq!(text.len(), HEAD_BYTES + 1 + TAIL_BYTES);
        assert!(Features::default().each(&value, |_| {}) < LONGEST * (HEAD_BYTES + TAIL_BYTES + 3));
    }
}
