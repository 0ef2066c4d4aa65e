//! Content codings removed (RFC 9110 section 8.4): gzip and deflate, several times over. A few bytes can become gigabytes,
//! so that output, ratio and layers are limited, and what came out up to the limit is inspected.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

/// Most codings on top of each other that are removed.
const MAX_LAYERS: usize = 3;
/// Output per input byte from which on a body is a bomb; text that people write stays far below.
const MAX_RATIO: usize = 200;
/// Output up to which the ratio does not count.
const RATIO_FROM: usize = 64 * 1024;
/// Output is made in steps of this size.
const STEP: usize = 16 * 1024;

/// What became of a body's codings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// All were removed.
    Whole,
    /// They were removed as far as the body went, which is cut off or broken.
    Part,
    /// They were removed up to a limit.
    Limited,
    /// They were removed until they turned out to be a bomb.
    Bomb,
    /// There is one that is not known, or there are too many.
    Unknown,
}

/// Memory to decode in, reused from body to body.
pub struct Decoder {
    inflate: Decompress,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { inflate: Decompress::new(false), input: Vec::new(), output: Vec::new() }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("output", &self.output.len()).finish_non_exhaustive()
    }
}

/// Whether a Content-Encoding value names a coding at all.
#[must_use]
pub fn is_coded(codings: &[u8]) -> bool {
    layers(codings).next().is_some()
}

/// The codings in a Content-Encoding value, the one applied last first.
fn layers(codings: &[u8]) -> impl Iterator<Item = &[u8]> {
    let named = |coding: &&[u8]| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity");
    codings.rsplit(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(named)
}

impl Decoder {
    /// Removes `codings` from `body`, with at most `max_output` bytes as the result of each.
    pub fn decode(&mut self, codings: &[u8], body: &[u8], max_output: usize) -> (Decoded, &[u8]) {
        self.output.clear();
        self.output.extend_from_slice(body);
        let mut decoded = Decoded::Whole;
        for (number, coding) in layers(codings).enumerate() {
            std::mem::swap(&mut self.input, &mut self.output);
            self.output.clear();
            let step = match coding.to_ascii_lowercase().as_slice() {
                _ if number >= MAX_LAYERS => Decoded::Unknown,
                b"gzip" | b"x-gzip" => self.gzip(max_output),
                b"deflate" => self.deflate(max_output),
                _ => Decoded::Unknown,
            };
            if step == Decoded::Unknown {
                std::mem::swap(&mut self.input, &mut self.output);
                return (step, &self.output);
            }
            decoded = if step == Decoded::Whole { decoded } else { step };
        }
        (decoded, &self.output)
    }

    /// Gzip members one after the other (RFC 1952 section 2.2).
    fn gzip(&mut self, max_output: usize) -> Decoded {
        let mut at = 0;
        loop {
            let Some(header) = self.input.get(at..).and_then(gzip_header) else {
                return if at > 0 { Decoded::Whole } else { Decoded::Part };
            };
            let (decoded, used) = self.inflate(at + header, max_output, false);
            if decoded != Decoded::Whole {
                return decoded;
            }
            const TRAILER: usize = 8;
            at += header + used + TRAILER;
        }
    }

    /// The zlib format, or what many send instead: the raw one.
    fn deflate(&mut self, max_output: usize) -> Decoded {
        let zlib = matches!(*self.input, [method, flags, ..]
            if method & 0x0f == 8 && u16::from_be_bytes([method, flags]).is_multiple_of(31));
        self.inflate(0, max_output, zlib).0
    }

    /// Appends what `input[from..]` holds to the output; the second value is the input used up.
    fn inflate(&mut self, from: usize, max_output: usize, zlib: bool) -> (Decoded, usize) {
        self.inflate.reset(zlib);
        let input = self.input.get(from..).unwrap_or_default();
        loop {
            let (used, made) = (self.inflate.total_in() as usize, self.output.len());
            if made >= max_output {
                return (Decoded::Limited, used);
            }
            if made > RATIO_FROM && made / MAX_RATIO > from + used {
                return (Decoded::Bomb, used);
            }
            self.output.resize(made + STEP.min(max_output - made), 0);
            let before = self.inflate.total_out();
            let rest = input.get(used..).unwrap_or_default();
            let status = self.inflate.decompress(rest, &mut self.output[made..], FlushDecompress::None);
            let grown = (self.inflate.total_out() - before) as usize;
            self.output.truncate(made + grown);
            match status {
                Ok(Status::StreamEnd) => return (Decoded::Whole, self.inflate.total_in() as usize),
                Ok(_) if grown > 0 || self.inflate.total_in() as usize > used => {}
                Ok(_) | Err(_) => return (Decoded::Part, used),
            }
        }
    }
}

/// Length of the gzip header that `input` begins with.
fn gzip_header(input: &[u8]) -> Option<usize> {
    const FIXED: usize = 10;
    const CRC: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    let &[0x1f, 0x8b, 8, flags, ..] = input else { return None };
    let mut at = FIXED;
    if flags & EXTRA != 0 {
        let &[low, high] = input.get(at..at + 2)? else { return None };
        at += 2 + usize::from(u16::from_le_bytes([low, high]));
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            at += memchr::memchr(0, input.get(at..)?)? + 1;
        }
    }
    at += if flags & CRC != 0 { 2 } else { 0 };
    (at <= input.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};
    use proptest::prelude::*;

    use super::*;

    fn deflate(text: &[u8], zlib: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() + 100);
        Compress::new(Compression::best(), zlib).compress_vec(text, &mut out, FlushCompress::Finish).unwrap();
        out
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        [&b"\x1f\x8b\x08\x08\0\0\0\0\0\0name\0"[..], &deflate(text, false), &[0; 8]].concat()
    }

    #[track_caller]
    fn check(codings: &str, body: &[u8], expected: Decoded, text: &[u8]) {
        let mut decoder = Decoder::default();
        for _ in 0..2 {
            let (decoded, output) = decoder.decode(codings.as_bytes(), body, 100_000);
            assert_eq!(
                (decoded, output.escape_ascii().to_string()),
                (expected, text.escape_ascii().to_string())
            );
        }
    }

    #[test]
    fn codings_are_removed() {
        let text = b"a=1 UNION SELECT";
        check("gzip", &gzip(text), Decoded::Whole, text);
        check("X-Gzip", &[gzip(b"a=1 UNION"), gzip(b" SELECT")].concat(), Decoded::Whole, text);
        check("deflate", &deflate(text, true), Decoded::Whole, text);
        check("deflate", &deflate(text, false), Decoded::Whole, text);
        check("deflate, identity, gzip", &gzip(&deflate(text, true)), Decoded::Whole, text);
    }

    #[test]
    fn what_is_cut_off_is_decoded_as_far_as_it_goes() {
        let text: Vec<u8> = (0..9000u32).flat_map(|n| n.to_string().into_bytes()).collect();
        let whole = gzip(&text);
        let mut decoder = Decoder::default();
        let (decoded, output) = decoder.decode(b"gzip", &whole[..whole.len() / 2], 100_000);
        assert!(decoded == Decoded::Part && output.len() > 1000 && text.starts_with(output));
        check("gzip", b"no gzip", Decoded::Part, b"");
    }

    #[test]
    fn what_is_not_known_stays() {
        check("br", b"body", Decoded::Unknown, b"body");
        check("gzip, gzip, gzip, gzip", &gzip(&gzip(&gzip(&gzip(b"x")))), Decoded::Unknown, &gzip(b"x"));
    }

    /// Case R7.
    #[test]
    fn bombs_stop_early() {
        let bomb = gzip(&vec![0; 8 << 20]);
        let mut decoder = Decoder::default();
        let (decoded, output) = decoder.decode(b"gzip", &bomb, 10 << 20);
        assert!(decoded == Decoded::Bomb && output.len() < 1 << 20, "{decoded:?} {}", output.len());
        let (decoded, output) = decoder.decode(b"gzip", &bomb, 50_000);
        assert_eq!((decoded, output.len()), (Decoded::Limited, 50_000));
    }

    proptest! {
        #[test]
        fn any_bytes_end(body in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..40) {
            let mut decoder = Decoder::default();
            let mixed = [&gzip(&body)[..cut.min(body.len())], &body].concat();
            for codings in [&b"gzip"[..], b"deflate", b"gzip,deflate"] {
                decoder.decode(codings, &mixed, 1000);
            }
        }
    }
}
