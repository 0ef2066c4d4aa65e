//! Content codings removed (RFC 9110 section 8.4): gzip, deflate, br and zstd, several times over. A few bytes can become gigabytes,
//! so that output, ratio and layers are limited, and what came out up to the limit is inspected.

use std::fmt;
use std::io::Read;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::StreamingDecoder;

/// Most codings on top of each other that are removed.
const MAX_LAYERS: usize = 3;
/// Output per input byte from which on a body is a bomb; text that people write stays far below.
const MAX_RATIO: usize = 200;
/// Output up to which the ratio does not count.
const RATIO_FROM: usize = 64 * 1024;
/// Largest Zstandard window, as in RFC 9659 section 3.
const MAX_WINDOW: u64 = 8 << 20;
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

/// Whether one coding is known, and removed by [`Decoder`].
#[must_use]
pub fn is_known(coding: &[u8]) -> bool {
    Coding::of(coding.trim_ascii()).is_some()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstandard,
}

impl Coding {
    fn of(name: &[u8]) -> Option<Self> {
        const NAMES: [(&[u8], Coding); 6] = [
            (b"gzip", Coding::Gzip),
            (b"x-gzip", Coding::Gzip),
            (b"deflate", Coding::Deflate),
            (b"br", Coding::Brotli),
            (b"zstd", Coding::Zstandard),
            (b"x-zstd", Coding::Zstandard),
        ];
        NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|&(_, coding)| coding)
    }
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
            let step = match Coding::of(coding) {
                _ if number >= MAX_LAYERS => Decoded::Unknown,
                Some(Coding::Gzip) => self.gzip(max_output),
                Some(Coding::Deflate) => self.deflate(max_output),
                Some(Coding::Brotli) => self.brotli(max_output),
                Some(Coding::Zstandard) => self.zstandard(max_output),
                None => Decoded::Unknown,
            };
            // What the name does not fit was not encoded, perhaps; it is looked at as it is.
            if step == Decoded::Unknown || step == Decoded::Part && self.output.is_empty() {
                std::mem::swap(&mut self.input, &mut self.output);
                return (step, &self.output);
            }
            decoded = if step == Decoded::Whole { decoded } else { step };
        }
        (decoded, &self.output)
    }

    /// What the last [`Decoder::decode`] gave.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output
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

    /// Brotli (RFC 7932) without the extension of large windows, which would need memory by the sender's leave.
    fn brotli(&mut self, max_output: usize) -> Decoded {
        let alloc = StandardAlloc::default();
        let mut state = BrotliState::new_strict(alloc, alloc, alloc);
        let (mut left, mut at, mut total) = (self.input.len(), 0, 0);
        loop {
            let made = self.output.len();
            if made >= max_output {
                return Decoded::Limited;
            }
            if is_bomb(made, at) {
                return Decoded::Bomb;
            }
            self.output.resize(made + STEP.min(max_output - made), 0);
            let (mut room, mut end) = (self.output.len() - made, made);
            let result = BrotliDecompressStream(
                &mut left,
                &mut at,
                &self.input,
                &mut room,
                &mut end,
                &mut self.output,
                &mut total,
                &mut state,
            );
            self.output.truncate(end);
            match result {
                BrotliResult::ResultSuccess => return Decoded::Whole,
                BrotliResult::NeedsMoreOutput if end > made => {}
                _ => return Decoded::Part,
            }
        }
    }

    /// Zstandard (RFC 8878), frames one after the other; a frame that wants a larger window than servers allow is refused.
    fn zstandard(&mut self, max_output: usize) -> Decoded {
        let mut rest = &self.input[..];
        while !rest.is_empty() {
            let opened = StreamingDecoder::new_with_max_window_size(&mut rest, MAX_WINDOW);
            let Ok(reader) = opened else { return Decoded::Part };
            let decoded = take_all(reader, self.input.len(), max_output, &mut self.output);
            if decoded != Decoded::Whole {
                return decoded;
            }
        }
        Decoded::Whole
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
            if is_bomb(made, from + used) {
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

fn is_bomb(made: usize, used: usize) -> bool {
    made > RATIO_FROM && made / MAX_RATIO > used
}

/// Reads up to a limit; `input` is the length of what it is made from.
fn take_all(mut reader: impl Read, input: usize, max_output: usize, output: &mut Vec<u8>) -> Decoded {
    loop {
        let made = output.len();
        if made >= max_output {
            return Decoded::Limited;
        }
        if is_bomb(made, input) {
            return Decoded::Bomb;
        }
        output.resize(made + STEP.min(max_output - made), 0);
        let read = reader.read(&mut output[made..]);
        output.truncate(made + read.as_ref().map_or(0, |&read| read));
        match read {
            Ok(0) => return Decoded::Whole,
            Ok(_) => {}
            Err(_) => return Decoded::Part,
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
        check("gzip", b"no gzip", Decoded::Part, b"no gzip");
    }

    #[test]
    fn what_is_not_known_stays() {
        check("compress", b"body", Decoded::Unknown, b"body");
        check("gzip, gzip, gzip, gzip", &gzip(&gzip(&gzip(&gzip(b"x")))), Decoded::Unknown, &gzip(b"x"));
    }

    /// Made by the reference encoders.
    const BROTLI: &[u8] = b"\x1b\x97\x00\xe0\x8d\x54\xb5\xbf\x06\x89\xe9\x09\x13\x3b\xe0\x90\x03\xf6\x7f\x25\x12\x29\xd5\x3b\x52\xea\x74\xa7\x73\x66\x60\x88\xbb\x05\x1c\xa6\x77\xce\x48";
    const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x04\x68\x75\x01\x00\x64\x02\x61\x3d\x31\x20\x55\x4e\x49\x4f\x4e\x20\x53\x45\x4c\x45\x43\x54\x20\x70\x61\x73\x73\x77\x6f\x72\x64\x20\x46\x52\x4f\x4d\x20\x75\x73\x65\x72\x73\x3b\x20\x01\x00\x7e\x29\x55\x4f\x1a\x5d\x2e\xd2";

    /// Case C30.
    #[test]
    fn brotli_and_zstandard() {
        let text = b"a=1 UNION SELECT password FROM users; ".repeat(4);
        check("br", BROTLI, Decoded::Whole, &text);
        check("zstd", ZSTD, Decoded::Whole, &text);
        check("zstd", &[ZSTD, ZSTD].concat(), Decoded::Whole, &text.repeat(2));
        check("br, gzip", &gzip(BROTLI), Decoded::Whole, &text);
        check("br", &BROTLI[..BROTLI.len() - 3], Decoded::Part, b"a=1 UNION SELECT password FROM ");
        check("zstd", b"no frame", Decoded::Part, b"no frame");
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
            for codings in [&b"gzip"[..], b"deflate", b"gzip,deflate", b"br", b"zstd"] {
                decoder.decode(codings, &mixed, 1000);
            }
        }
    }
}
