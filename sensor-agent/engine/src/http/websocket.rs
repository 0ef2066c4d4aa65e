//! WebSocket (RFC 6455): the frames of a client unmasked, the fragments of a message joined, control frames between them
//! passed over, and permessage-deflate (RFC 7692) removed.

use std::fmt;

use flate2::{Decompress, FlushDecompress};

use super::anomaly::Anomaly;

/// Who listens to the messages of one direction.
pub trait Messages {
    /// A message, or its beginning if it is longer than is kept.
    fn message(&mut self, data: &[u8], is_text: bool);
    /// Bytes of messages beyond what is kept, or that could not be decompressed.
    fn uninspected(&mut self, bytes: u64);
    /// Something about the frames is odd.
    fn odd(&mut self, _anomaly: Anomaly) {}
}

/// Longest frame header: two bytes, a length of eight, a mask of four.
const MAX_HEADER: usize = 14;
const TEXT: u8 = 1;
/// First opcode of control frames.
const CONTROL: u8 = 8;
/// Output of decompression is made in steps of this size.
const STEP: usize = 16 * 1024;

/// The frame in hand.
#[derive(Clone, Copy, Debug)]
struct Frame {
    fin: bool,
    opcode: u8,
    mask: [u8; 4],
    masked: bool,
    left: u64,
    /// Position in the mask of the next byte.
    at: usize,
}

impl Frame {
    /// Whether a client may send such (RFC 6455 sections 5.2 and 5.5).
    fn is_usual(&self) -> bool {
        const MAX_CONTROL: u64 = 125;
        let control = (CONTROL..=CONTROL + 2).contains(&self.opcode) && self.fin && self.left <= MAX_CONTROL;
        self.masked && (self.opcode <= 2 || control)
    }
}

/// Reader of one direction.
pub struct WebSocket {
    header: [u8; MAX_HEADER],
    /// `have <= MAX_HEADER`.
    have: usize,
    frame: Option<Frame>,
    /// The message so far: as it came, without its mask.
    message: Vec<u8>,
    is_text: bool,
    is_compressed: bool,
    /// Whether messages may be compressed, and whether each is so on its own.
    deflate: Option<bool>,
    inflate: Option<Box<Decompress>>,
    /// Whether what earlier messages left for later ones is no longer known.
    desynced: bool,
    inflated: Vec<u8>,
    max_message: usize,
    /// Whether the handshake was not seen, so that this may be something else.
    joined: bool,
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").field("frame", &self.frame).finish_non_exhaustive()
    }
}

impl WebSocket {
    /// A reader of a client, with the `Sec-WebSocket-Extensions` that the server agreed to.
    #[must_use]
    pub fn new(extensions: &[u8], max_message: usize) -> Self {
        let has = |word: &[u8]| extensions.windows(word.len()).any(|found| found.eq_ignore_ascii_case(word));
        let deflate = has(b"permessage-deflate").then(|| has(b"client_no_context_takeover"));
        Self {
            header: [0; MAX_HEADER],
            have: 0,
            frame: None,
            message: Vec::new(),
            is_text: false,
            is_compressed: false,
            deflate,
            inflate: None,
            desynced: false,
            inflated: Vec::new(),
            max_message,
            joined: false,
        }
    }

    /// A reader of a client whose handshake was not seen. Compressed messages are tried one by one: those that lean on earlier ones
    /// cannot be read, and are counted.
    #[must_use]
    pub fn joined(max_message: usize) -> Self {
        Self { deflate: Some(true), joined: true, ..Self::new(b"", max_message) }
    }

    /// Takes the next bytes; false if a connection that was joined carries something else.
    pub fn data(&mut self, mut data: &[u8], sink: &mut impl Messages) -> bool {
        while !data.is_empty() {
            data = match self.frame {
                None => self.frame_header(data, sink),
                Some(frame) => self.payload(data, frame, sink),
            };
            if self.joined && self.frame.is_some_and(|frame| !frame.is_usual()) {
                return false;
            }
        }
        true
    }

    /// Lets bytes go by unseen; false if the place is lost.
    pub fn gap(&mut self, bytes: u64) -> bool {
        self.desynced = true;
        let Some(frame) = self.frame.as_mut().filter(|frame| frame.left >= bytes) else { return false };
        frame.left -= bytes;
        frame.at = frame.at.wrapping_add((bytes % 4) as usize);
        if frame.left == 0 {
            self.frame = None;
        }
        true
    }

    /// The direction is over: what there is of a message is given out.
    pub fn end(&mut self, sink: &mut impl Messages) {
        if !self.message.is_empty() {
            self.finish_message(sink);
        }
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        const INFLATE: usize = 48 * 1024;
        let inflate = if self.inflate.is_some() { INFLATE } else { 0 };
        size_of::<Self>() + self.message.capacity() + self.inflated.capacity() + inflate
    }

    fn frame_header<'a>(&mut self, data: &'a [u8], sink: &mut impl Messages) -> &'a [u8] {
        for (used, &byte) in data.iter().enumerate() {
            if let Some(free) = self.header.get_mut(self.have) {
                *free = byte;
            }
            self.have += 1;
            if self.have >= header_length(&self.header, self.have) {
                self.begin(sink);
                return &data[used + 1..];
            }
        }
        &[]
    }

    fn begin(&mut self, sink: &mut impl Messages) {
        let [first, second, rest @ ..] = self.header;
        self.have = 0;
        let (left, mask) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes([rest[0], rest[1]])), 2),
            127 => (
                u64::from_be_bytes([rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6], rest[7]]),
                8,
            ),
            short => (u64::from(short), 0),
        };
        let masked = second & 0x80 != 0;
        let mask = if masked { [rest[mask], rest[mask + 1], rest[mask + 2], rest[mask + 3]] } else { [0; 4] };
        let opcode = first & 0x0f;
        if opcode != 0 && opcode < CONTROL {
            if !self.message.is_empty() {
                self.finish_message(sink);
            }
            self.is_text = opcode == TEXT;
            self.is_compressed = first & 0x40 != 0;
        }
        let reserved = first & 0x30 != 0 || first & 0x40 != 0 && self.deflate.is_none();
        let frame = Frame { fin: first & 0x80 != 0, opcode, mask, masked, left, at: 0 };
        if !masked {
            sink.odd(Anomaly::WebSocketUnmasked);
        }
        if reserved || !frame.is_usual() && masked {
            sink.odd(Anomaly::WebSocketReserved);
        }
        self.frame = Some(frame);
        if left == 0 {
            self.finish_frame(frame, sink);
        }
    }

    fn payload<'a>(&mut self, data: &'a [u8], mut frame: Frame, sink: &mut impl Messages) -> &'a [u8] {
        let taken = usize::try_from(frame.left).map_or(data.len(), |left| left.min(data.len()));
        let (payload, rest) = data.split_at(taken);
        if frame.opcode < 8 {
            let kept = taken.min(self.max_message.saturating_sub(self.message.len()));
            let unmask = |(at, byte): (usize, &u8)| byte ^ frame.mask[(frame.at + at) % 4];
            self.message.extend(payload[..kept].iter().enumerate().map(unmask));
            if kept < taken {
                sink.uninspected((taken - kept) as u64);
                self.desynced |= self.is_compressed;
            }
        }
        (frame.left, frame.at) = (frame.left - taken as u64, (frame.at + taken) % 4);
        self.frame = Some(frame);
        if frame.left == 0 {
            self.finish_frame(frame, sink);
        }
        rest
    }

    fn finish_frame(&mut self, frame: Frame, sink: &mut impl Messages) {
        self.frame = None;
        if frame.fin && frame.opcode < 8 {
            self.finish_message(sink);
        }
    }

    fn finish_message(&mut self, sink: &mut impl Messages) {
        match self.deflate.filter(|_| self.is_compressed) {
            None => sink.message(&self.message, self.is_text),
            Some(alone) => self.inflate(alone, sink),
        }
        self.message.clear();
    }

    /// A compressed message continues the stream of those before it, unless each stands alone.
    fn inflate(&mut self, alone: bool, sink: &mut impl Messages) {
        if self.desynced && !alone {
            sink.odd(Anomaly::WebSocketUndecoded);
            return sink.uninspected(self.message.len() as u64);
        }
        self.desynced = false;
        let inflate = self.inflate.get_or_insert_with(|| Box::new(Decompress::new(false)));
        if alone {
            inflate.reset(false);
        }
        self.message.extend_from_slice(&[0, 0, 0xff, 0xff]);
        self.inflated.clear();
        let before = inflate.total_in();
        loop {
            let (used, made) = ((inflate.total_in() - before) as usize, self.inflated.len());
            if made >= self.max_message {
                self.desynced = true;
                break;
            }
            self.inflated.resize((made + STEP).min(self.max_message), 0);
            let out = inflate.total_out();
            let rest = self.message.get(used..).unwrap_or_default();
            let status = inflate.decompress(rest, &mut self.inflated[made..], FlushDecompress::Sync);
            let grown = (inflate.total_out() - out) as usize;
            self.inflated.truncate(made + grown);
            let progress = grown > 0 || (inflate.total_in() - before) as usize > used;
            self.desynced |= status.is_err();
            if status.is_err() || !progress {
                break;
            }
        }
        if self.desynced {
            sink.odd(Anomaly::WebSocketUndecoded);
            let used = (inflate.total_in() - before) as usize;
            sink.uninspected((self.message.len().saturating_sub(used)) as u64);
        }
        sink.message(&self.inflated, self.is_text);
    }
}

/// Whether bytes from the middle of a connection are whole frames of a client, one behind the other, with text where they say so.
#[must_use]
pub fn looks_like_messages(mut data: &[u8]) -> bool {
    const SHORTEST: usize = 6;
    if data.len() < SHORTEST {
        return false;
    }
    while !data.is_empty() {
        let Some((length, rest)) = whole_frame(data) else { return false };
        data = rest.get(length..).unwrap_or_default();
    }
    true
}

/// Length of the payload of a usual frame that is all there, and what begins with it.
fn whole_frame(data: &[u8]) -> Option<(usize, &[u8])> {
    let &[first, second] = data.first_chunk()?;
    let (opcode, masked) = (first & 0x0f, second & 0x80 != 0);
    let (length, mask_at) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(*data.get(2..)?.first_chunk()?)), 4),
        127 => return None,
        short => (usize::from(short), 2),
    };
    let mask = *data.get(mask_at..)?.first_chunk::<4>()?;
    let rest = data.get(mask_at + 4..)?;
    let payload = rest.get(..length)?;
    let frame = Frame { fin: first & 0x80 != 0, opcode, mask, masked, left: length as u64, at: 0 };
    let plain_text = opcode == TEXT && first & 0x40 == 0;
    let unmasked = || payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect::<Vec<_>>();
    let is_text = !plain_text || std::str::from_utf8(&unmasked()).is_ok();
    (frame.is_usual() && first & 0x30 == 0 && is_text).then_some((length, rest))
}

/// Length of the header that begins with `header[..have]`; more than `have` while that is not known.
fn header_length(header: &[u8; MAX_HEADER], have: usize) -> usize {
    if have < 2 {
        return 2;
    }
    let mask = if header[1] & 0x80 != 0 { 4 } else { 0 };
    match header[1] & 0x7f {
        126 => 4 + mask,
        127 => 10 + mask,
        _ => 2 + mask,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use flate2::{Compress, Compression, FlushCompress};
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Log(Vec<String>);

    impl Messages for Log {
        fn message(&mut self, data: &[u8], is_text: bool) {
            self.0.push(format!("{}{}", if is_text { "" } else { "binary " }, data.escape_ascii()));
        }

        fn uninspected(&mut self, bytes: u64) {
            self.0.push(format!("-{bytes}"));
        }
    }

    /// A masked frame's wire bytes.
    pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x5a, 0, 0xff, 7];
        let length = match payload.len() {
            short @ ..126 => vec![0x80 | short as u8],
            long => [&[0xfe][..], &(long as u16).to_be_bytes()].concat(),
        };
        let masked: Vec<u8> = payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
        [&[first][..], &length, &mask, &masked].concat()
    }

    #[track_caller]
    fn check(extensions: &str, frames: &[Vec<u8>], expected: &[&str]) {
        let wire = frames.concat();
        for piece in 1..=wire.len() {
            let (mut reader, mut log) = (WebSocket::new(extensions.as_bytes(), 300), Log::default());
            wire.chunks(piece).for_each(|piece| assert!(reader.data(piece, &mut log)));
            reader.end(&mut log);
            assert_eq!(log.0, expected, "in pieces of {piece}");
        }
    }

    /// Case H31.
    #[test]
    fn messages_at_every_split() {
        check("", &[frame(0x81, b"hello")], &["hello"]);
        check("", &[frame(0x01, b"EV"), frame(0x89, b"ping"), frame(0x80, b"IL")], &["EVIL"]);
        check("", &[frame(0x82, b"x"), frame(0x88, b""), frame(0x01, b"cut")], &["binary x", "cut"]);
        check("", &[frame(0x81, &[b'x'; 200])], &["x".repeat(200).as_str()]);
        check("", &[frame(0x81, &[b'x'; 299]), frame(0x81, b"y")], &["x".repeat(299).as_str(), "y"]);
    }

    #[test]
    fn long_messages_are_cut() {
        let (mut reader, mut log) = (WebSocket::new(b"", 300), Log::default());
        reader.data(&frame(0x81, &[b'x'; 1000]), &mut log);
        assert_eq!(log.0, ["-700", &"x".repeat(300)]);
    }

    /// Case H31.
    #[test]
    fn compressed_messages() {
        let mut compress = Compress::new(Compression::default(), false);
        let mut pack = |text: &[u8]| {
            let mut out = Vec::with_capacity(200);
            compress.compress_vec(text, &mut out, FlushCompress::Sync).unwrap();
            out.truncate(out.len() - 4);
            out
        };
        let (first, second) = (pack(b"an EVIL message"), pack(b"an EVIL message again"));
        let (begin, end) = first.split_at(3);
        let frames = [frame(0x41, begin), frame(0x80, end), frame(0xc1, &second), frame(0x81, b"plain")];
        check("permessage-deflate", &frames, &["an EVIL message", "an EVIL message again", "plain"]);
        // What was missed makes later messages unreadable, unless each stands alone.
        let (mut reader, mut log) = (WebSocket::new(b"permessage-deflate", 300), Log::default());
        assert!(!reader.gap(10));
        reader.data(&frame(0xc1, &second), &mut log);
        assert_eq!(log.0, [format!("-{}", second.len())]);
        let alone = b"permessage-deflate; client_no_context_takeover";
        let (mut reader, mut log) = (WebSocket::new(alone, 300), Log::default());
        (0..2).for_each(|_| assert!(reader.data(&frame(0xc1, &first), &mut log)));
        assert_eq!(log.0, ["an EVIL message", "an EVIL message"]);
    }

    #[test]
    fn bombs_are_cut() {
        let mut out = Vec::with_capacity(10_000);
        let mut compress = Compress::new(Compression::best(), false);
        compress.compress_vec(&vec![0; 1 << 20], &mut out, FlushCompress::Sync).unwrap();
        let (mut reader, mut log) = (WebSocket::new(b"permessage-deflate", 4096), Log::default());
        reader.data(&frame(0xc1, &out), &mut log);
        assert_eq!(log.0.last().map(|text| text.len()), Some(4096 * 4));
    }

    proptest! {
        #[test]
        fn any_bytes_end(wire in proptest::collection::vec(any::<u8>(), 0..300), piece in 1usize..50) {
            let (mut reader, mut log) = (WebSocket::new(b"permessage-deflate", 100), Log::default());
            for piece in wire.chunks(piece) {
                reader.data(piece, &mut log);
                reader.gap(2);
            }
            reader.end(&mut log);
        }
    }
}
