//! Content codings removed (RFC 9110 section 8.4): gzip, deflate, br and zstd, several times over. A few bytes can become gigabytes,
//! so that output, ratio and layers are limited, and what came out up to the limit is inspected. Beyond it decoding goes on for a while, and
//! keeps the end only. What is coded otherwise than its name says is told by its first bytes, as some servers do.

use std::fmt;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Most codings on top of each other that are removed.
const MAX_LAYERS: usize = 3;
/// Output per input byte from which on a body is a bomb; text that people write stays far below.
const MAX_RATIO: usize = 200;
/// Output up to which the ratio does not count.
const RATIO_FROM: usize = 64 * 1024;
/// Largest Zstandard window: the largest that the reference decoder takes, though RFC 9659 section 3 asks for no more than 8 MiB. No memory
/// is taken before there is output to fill it.
const MAX_WINDOW: u64 = 128 << 20;
/// Bytes of the inspected beginning that are given out again with an end that follows at once, so that nothing hides on the border.
const OVERLAP: usize = 1024;
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
    /// They were removed, and the body was coded otherwise than they say.
    Otherwise,
}

/// How much of a body is decoded.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes from its beginning.
    pub output: usize,
    /// Bytes behind these that are decoded to get to the end.
    pub reach: usize,
    /// Bytes of the end that are kept.
    pub end: usize,
}

impl Limits {
    /// The beginning and nothing else.
    #[must_use]
    pub const fn beginning(output: usize) -> Self {
        Self { output, reach: 0, end: 0 }
    }

    const fn total(self) -> usize {
        self.output.saturating_add(self.reach)
    }
}

/// Memory to decode in, reused from body to body.
pub struct Decoder {
    inflate: Decompress,
    input: Vec<u8>,
    /// The beginning, and behind it the end as far as it came.
    output: Vec<u8>,
    /// Bytes between these that were made and not kept.
    passed: usize,
    /// What the same body is to who takes the other format of the name `deflate`.
    other: Vec<u8>,
    end: Vec<u8>,
    unseen: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        let inflate = Decompress::new(false);
        let (input, output, other, end) = Default::default();
        Self { inflate, input, output, passed: 0, other, end, unseen: 0 }
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

    /// What the first bytes of a body say.
    fn sniff(body: &[u8]) -> Option<Self> {
        match *body {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstandard),
            _ => is_zlib(body).then_some(Self::Deflate),
        }
    }
}

/// Whether a body begins as the zlib format does (RFC 1950 section 2.2).
fn is_zlib(body: &[u8]) -> bool {
    matches!(*body, [method, flags, ..]
        if method & 0x0f == 8 && method >> 4 <= 7 && u16::from_be_bytes([method, flags]).is_multiple_of(31))
}

/// The coding of a body that begins as no text does, and as a compressed one.
#[must_use]
pub fn seen(body: &[u8]) -> Option<&'static [u8]> {
    match Coding::sniff(body)? {
        Coding::Gzip => Some(b"gzip"),
        Coding::Zstandard => Some(b"zstd"),
        // Two bytes may be so by chance.
        Coding::Deflate | Coding::Brotli => None,
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
        self.decode_ends(codings, body, Limits::beginning(max_output))
    }

    /// As [`decode`](Self::decode), and goes on to the body's end, which [`end`](Self::end) gives out then.
    pub fn decode_ends(&mut self, codings: &[u8], body: &[u8], limits: Limits) -> (Decoded, &[u8]) {
        self.forget();
        self.output.extend_from_slice(body);
        let (mut decoded, last) = (Decoded::Whole, layers(codings).count().saturating_sub(1));
        for (number, name) in layers(codings).enumerate() {
            std::mem::swap(&mut self.input, &mut self.output);
            let limits = if number == last { limits } else { Limits::beginning(limits.output) };
            let named = Coding::of(name).filter(|_| number < MAX_LAYERS);
            let mut step = self.layer(named, limits);
            if number < MAX_LAYERS
                && (step == Decoded::Unknown || step == Decoded::Part && self.output.is_empty())
            {
                let seen = Coding::sniff(&self.input).filter(|&seen| Some(seen) != named);
                step = if seen.is_some() { self.layer_seen(seen, limits) } else { step };
            }
            // What the name does not fit was not encoded, perhaps; it is looked at as it is.
            if step == Decoded::Unknown || step == Decoded::Part && self.output.is_empty() {
                std::mem::swap(&mut self.input, &mut self.output);
                return (step, &self.output);
            }
            decoded = if step == Decoded::Whole { decoded } else { step };
        }
        self.split_end(limits);
        (decoded, &self.output)
    }

    /// What the last call gave.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// The end of the last body, if it is longer than its beginning, and how many bytes stand between that nobody has seen.
    #[must_use]
    pub fn end(&self) -> (&[u8], usize) {
        (&self.end, self.unseen)
    }

    /// The last body as another server may decode it; empty if there is no doubt.
    #[must_use]
    pub fn other(&self) -> &[u8] {
        &self.other
    }

    /// Forgets the last body.
    pub fn forget(&mut self) {
        self.output.clear();
        self.other.clear();
        self.end.clear();
        (self.unseen, self.passed) = (0, 0);
    }

    fn layer(&mut self, coding: Option<Coding>, limits: Limits) -> Decoded {
        self.output.clear();
        self.passed = 0;
        match coding {
            Some(Coding::Gzip) => self.gzip(limits),
            Some(Coding::Deflate) => self.deflate(limits),
            Some(Coding::Brotli) => self.brotli(limits),
            Some(Coding::Zstandard) => self.zstandard(limits),
            None => Decoded::Unknown,
        }
    }

    /// As [`layer`](Self::layer), for a coding that is not the named one.
    fn layer_seen(&mut self, coding: Option<Coding>, limits: Limits) -> Decoded {
        match self.layer(coding, limits) {
            Decoded::Whole => Decoded::Otherwise,
            Decoded::Part if !self.output.is_empty() => Decoded::Otherwise,
            other => other,
        }
    }

    /// Bytes that were made so far.
    fn made(&self) -> usize {
        self.output.len() + self.passed
    }

    /// Makes room for the next step, and says where; `None` at the limit.
    fn grow(&mut self, limits: Limits) -> Option<usize> {
        let left = limits.total().saturating_sub(self.made());
        self.pass(limits);
        let from = self.output.len();
        self.output.resize(from + STEP.min(left), 0);
        (left > 0).then_some(from)
    }

    /// Gives up what is between the beginning and the end.
    fn pass(&mut self, limits: Limits) {
        let beyond = self.output.len().saturating_sub(limits.output);
        if beyond >= 2 * limits.end.max(STEP) {
            let given_up = beyond - limits.end;
            self.output.drain(limits.output..limits.output + given_up);
            self.passed += given_up;
        }
    }

    /// Tells the end from the beginning.
    fn split_end(&mut self, limits: Limits) {
        let beyond = self.output.get(limits.output..).unwrap_or_default();
        if beyond.is_empty() {
            return;
        }
        let kept = beyond.len().min(limits.end);
        self.unseen = self.passed + beyond.len() - kept;
        let overlap = if self.unseen == 0 { OVERLAP.min(limits.output) } else { 0 };
        let from = self.output.len() - kept - overlap;
        if kept > 0 {
            self.end.extend_from_slice(self.output.get(from..).unwrap_or_default());
        }
        self.output.truncate(limits.output);
    }

    /// Gzip members one after the other (RFC 1952 section 2.2).
    fn gzip(&mut self, limits: Limits) -> Decoded {
        let mut at = 0;
        loop {
            let Some(header) = self.input.get(at..).and_then(gzip_header) else {
                return if at > 0 { Decoded::Whole } else { Decoded::Part };
            };
            let (decoded, used) = self.inflate(at + header, limits, false);
            if decoded != Decoded::Whole {
                return decoded;
            }
            const TRAILER: usize = 8;
            at += header + used + TRAILER;
        }
    }

    /// The zlib format, or what many send instead: the raw one. Raw bytes can look like zlib's, so that both are tried then.
    fn deflate(&mut self, limits: Limits) -> Decoded {
        if !is_zlib(&self.input) {
            return self.inflate(0, limits, false).0;
        }
        let raw = self.inflate(0, Limits::beginning(limits.output), false).0;
        std::mem::swap(&mut self.output, &mut self.other);
        self.output.clear();
        let zlib = self.inflate(0, limits, true).0;
        if zlib != Decoded::Whole && raw == Decoded::Whole {
            std::mem::swap(&mut self.output, &mut self.other);
            self.passed = 0;
            return raw;
        }
        zlib
    }

    /// Brotli (RFC 7932) without the extension of large windows, which would need memory by the sender's leave.
    fn brotli(&mut self, limits: Limits) -> Decoded {
        let alloc = StandardAlloc::default();
        let mut state = BrotliState::new_strict(alloc, alloc, alloc);
        let (mut left, mut at, mut total) = (self.input.len(), 0, 0);
        loop {
            if is_bomb(self.made(), at) {
                return Decoded::Bomb;
            }
            let Some(from) = self.grow(limits) else { return Decoded::Limited };
            let (mut room, mut end) = (self.output.len() - from, from);
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
                BrotliResult::NeedsMoreOutput if end > from => {}
                _ => return Decoded::Part,
            }
        }
    }

    /// Zstandard (RFC 8878), frames one after the other; those that are there to be passed over are passed over.
    fn zstandard(&mut self, limits: Limits) -> Decoded {
        let mut at = 0;
        loop {
            match self.input.get(at..).unwrap_or_default() {
                [] => return Decoded::Whole,
                &[0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, ..] => {
                    at = at.saturating_add(8).saturating_add(u32::from_le_bytes([a, b, c, d]) as usize);
                }
                _ => match self.zstandard_frame(&mut at, limits) {
                    Decoded::Whole => {}
                    other => return other,
                },
            }
        }
    }

    /// One frame, whose whole output is held before it is given out: what the window covers is to be had at the frame's end only, and a frame
    /// that is cut off or reaches the limit is given one here.
    fn zstandard_frame(&mut self, at: &mut usize, limits: Limits) -> Decoded {
        /// A last block with nothing in it, and room for a checksum.
        const END: [u8; 7] = [1, 0, 0, 0, 0, 0, 0];
        let mut rest = self.input.get(*at..).unwrap_or_default();
        let room = limits.total().saturating_sub(self.made());
        if room == 0 {
            return Decoded::Limited;
        }
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        if decoder.init(&mut rest).is_err() {
            return Decoded::Part;
        }
        let finished = decoder.decode_blocks(&mut rest, BlockDecodingStrategy::UptoBytes(room));
        if !decoder.is_finished() {
            _ = decoder.decode_blocks(&mut &END[..], BlockDecodingStrategy::UptoBlocks(1));
        }
        *at = self.input.len() - rest.len();
        let made = decoder.collect().unwrap_or_default();
        for piece in made.get(..room).unwrap_or(&made).chunks(STEP) {
            self.pass(limits);
            self.output.extend_from_slice(piece);
        }
        match finished {
            Ok(true) if made.len() <= room => Decoded::Whole,
            Ok(_) if is_bomb(self.made(), self.input.len()) => Decoded::Bomb,
            Ok(_) => Decoded::Limited,
            Err(_) => Decoded::Part,
        }
    }

    /// Appends what `input[from..]` holds to the output; the second value is the input used up.
    fn inflate(&mut self, from: usize, limits: Limits, zlib: bool) -> (Decoded, usize) {
        self.inflate.reset(zlib);
        loop {
            let used = self.inflate.total_in() as usize;
            if is_bomb(self.made(), from + used) {
                return (Decoded::Bomb, used);
            }
            let Some(made) = self.grow(limits) else { return (Decoded::Limited, used) };
            let before = self.inflate.total_out();
            let rest = self.input.get(from + used..).unwrap_or_default();
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
        let skipped = [&b"\x50\x2a\x4d\x18\x03\0\0\0abc"[..], ZSTD, b"\x5f\x2a\x4d\x18\0\0\0\0"].concat();
        check("zstd", &skipped, Decoded::Whole, &text);
        // Without its checksum, and with a block cut off behind the first.
        check("zstd", &ZSTD[..ZSTD.len() - 2], Decoded::Part, &text);
        for window in [0x50, 0x68, 0x88] {
            let block = &ZSTD[6..ZSTD.len() - 4];
            let mut frame = [&b"\x28\xb5\x2f\xfd\0"[..], &[window], block, &[0x20, 3, 0], b"cut"].concat();
            // The block is not the last one.
            frame[6] &= !1;
            check("zstd", &frame, Decoded::Part, &text);
        }
    }

    /// Case C30: what some servers decode whatever its name is.
    #[test]
    fn what_is_coded_otherwise_than_it_says() {
        let text = b"a=1 UNION SELECT";
        for (codings, body) in [
            ("gzip", deflate(text, true)),
            ("deflate", gzip(text)),
            ("br", gzip(text)),
            ("\"gzip\"", gzip(text)),
            ("gzip;q=1", gzip(text)),
            ("x", deflate(text, true)),
        ] {
            check(codings, &body, Decoded::Otherwise, text);
        }
        assert_eq!((seen(&gzip(text)), seen(ZSTD)), (Some(&b"gzip"[..]), Some(&b"zstd"[..])));
        assert_eq!((seen(&deflate(text, true)), seen(text)), (None, None));
    }

    /// Case C30: raw deflate whose first block begins with the bytes of a zlib header.
    #[test]
    fn both_formats_of_deflate_are_read() {
        let stored = |text: &[u8], header: &[u8], last: bool| {
            let length = u16::try_from(text.len()).unwrap();
            let first: &[u8] = if header.is_empty() { &[u8::from(last)] } else { header };
            [first, &length.to_le_bytes(), &(!length).to_le_bytes(), text].concat()
        };
        let filler = vec![b'x'; 0x9c];
        let raw = [stored(&filler, &[0x78], false), deflate(b"&q=EVIL", false)].concat();
        let expected = [&filler[..], b"&q=EVIL"].concat();
        check("deflate", &raw, Decoded::Whole, &expected);
        let mut decoder = Decoder::default();
        decoder.decode(b"deflate", &deflate(b"plain", true), 1000);
        assert_eq!((decoder.output(), decoder.other()), (&b"plain"[..], &b""[..]));
        // Whole in both formats: the second block of one is the data of the other.
        let hidden = deflate(b"q=EVIL", false);
        let to_zlib = [vec![0; 0x9c - 2], hidden].concat();
        let mut both = [&[0x78, 0x9c, 0, 0x63, 0xff, 0x9c, 0][..], &to_zlib].concat();
        both.resize(5 + 4 - 2 + 0xff63, b'y');
        both.extend(deflate(b"", false));
        both.extend(adler(&both[7..7 + 0xff63]));
        decoder.decode(b"deflate", &both, 100_000);
        let shown =
            [decoder.output(), decoder.other()].map(|text| memchr::memmem::find(text, b"q=EVIL").is_some());
        assert!(shown.contains(&true), "{shown:?}");
    }

    fn adler(text: &[u8]) -> [u8; 4] {
        let (mut a, mut b) = (1u32, 0u32);
        for &byte in text {
            a = (a + u32::from(byte)) % 65_521;
            b = (b + a) % 65_521;
        }
        (b << 16 | a).to_be_bytes()
    }

    /// Beginning, end, and what is between.
    #[test]
    fn ends_of_long_bodies() {
        let text: Vec<u8> = (0..60_000u32).flat_map(|n| format!("{n} ").into_bytes()).collect();
        let zstd: Vec<u8> = raw_zstd(&text);
        let limits = Limits { output: 50_000, reach: 1 << 20, end: 4000 };
        let mut decoder = Decoder::default();
        for (coding, body) in [("gzip", gzip(&text)), ("deflate", deflate(&text, true)), ("zstd", zstd)] {
            let (decoded, output) = decoder.decode_ends(coding.as_bytes(), &body, limits);
            assert_eq!((decoded, output == &text[..50_000]), (Decoded::Whole, true), "{coding}");
            let (end, unseen) = decoder.end();
            assert!(text.ends_with(end) && end.len() == 4000 && unseen == text.len() - 54_000, "{coding}");
            // An end that follows at once comes with some of what is before it.
            let near = Limits { output: text.len() - 100, ..limits };
            decoder.decode_ends(coding.as_bytes(), &body, near);
            assert_eq!(decoder.end(), (&text[text.len() - 100 - OVERLAP..], 0), "{coding}");
            // What is further away than the reach is not to be had.
            let (decoded, _) =
                decoder.decode_ends(coding.as_bytes(), &body, Limits { reach: 100_000, ..limits });
            assert_eq!((decoded, decoder.end().0), (Decoded::Limited, &text[146_000..150_000]), "{coding}");
            decoder.decode(b"gzip", &gzip(b"x"), 100);
            assert_eq!(decoder.end(), (&b""[..], 0));
        }
    }

    /// A frame of blocks that are not compressed, with a window of 8 MiB.
    fn raw_zstd(text: &[u8]) -> Vec<u8> {
        let blocks = text.chunks(100_000).flat_map(|block| {
            let header = u32::try_from(block.len() << 3).unwrap().to_le_bytes();
            [&header[..3], block].concat()
        });
        b"\x28\xb5\x2f\xfd\0\x68".iter().copied().chain(blocks).chain([1, 0, 0]).collect()
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
                decoder.decode_ends(codings, &mixed, Limits { output: 20, reach: 40, end: 10 });
                prop_assert!(decoder.output().len() <= mixed.len().max(20) && decoder.end().0.len() <= 30);
            }
        }
    }
}
