//! The frame layer of one direction (RFC 9113 section 4). Data passes through; header blocks are put together from their
//! frames and decoded; everything else is counted.

use super::hpack::{Decoder, FieldList};

/// Most bytes kept of a header block; the rest is left out, and the dynamic table is no longer known.
const MAX_BLOCK: usize = 128 * 1024;
/// Length of a frame's header.
const HEADER: usize = 9;

/// Who listens to the frames of one direction.
pub trait Frames {
    /// The fields of a head or of trailers; `end` says that the stream ends with them.
    fn fields(&mut self, stream: u32, list: &FieldList, end: bool);
    /// Bytes of a stream's body.
    fn data(&mut self, stream: u32, data: &[u8]);
    /// The stream has ended after its data.
    fn end(&mut self, stream: u32);
    /// A frame that carries no message, or a continued block, came.
    fn control(&mut self, stream: u32, control: Control);
}

/// Frames that floods are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// RST_STREAM.
    Reset,
    /// SETTINGS.
    Settings,
    /// PING.
    Ping,
    /// CONTINUATION.
    Continuation,
    /// Any other.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    Headers,
    PushPromise,
    Continuation,
    Other(Control),
}

/// The frame in hand.
#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: Kind,
    flags: u8,
    stream: u32,
    /// Bytes of the payload to come.
    left: usize,
    /// Of them, bytes of padding at the end; known once the first byte was read.
    padding: usize,
    /// Bytes at the beginning that are no content: the padding's length, a priority.
    lead: usize,
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// Reader of one direction.
#[derive(Debug)]
pub struct Reader {
    /// What of the preface is still to come.
    preface: &'static [u8],
    /// Whether the next frame is the first, which is SETTINGS.
    is_first: bool,
    header: [u8; HEADER],
    /// `have <= HEADER`.
    have: usize,
    frame: Option<Frame>,
    block: Vec<u8>,
    /// Whether bytes of the block in hand were left out.
    cut: bool,
    /// Stream and flags of the block in hand.
    of: (u32, u8),
    decoder: Decoder,
    list: FieldList,
}

/// The bytes are no HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHttp2;

impl Reader {
    /// A reader of a direction that begins with `preface`.
    #[must_use]
    pub fn new(preface: &'static [u8]) -> Self {
        Self {
            preface,
            is_first: !preface.is_empty(),
            header: [0; HEADER],
            have: 0,
            frame: None,
            block: Vec::new(),
            cut: false,
            of: (0, 0),
            decoder: Decoder::default(),
            list: FieldList::default(),
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// [`NotHttp2`] if the direction does not begin as HTTP/2 does.
    pub fn data(&mut self, mut data: &[u8], sink: &mut impl Frames) -> Result<(), NotHttp2> {
        let preface = self.preface.len().min(data.len());
        if data[..preface] != self.preface[..preface] {
            return Err(NotHttp2);
        }
        (self.preface, data) = (&self.preface[preface..], &data[preface..]);
        while !data.is_empty() {
            data = match self.frame {
                None => self.frame_header(data, sink)?,
                Some(frame) => self.payload(data, frame, sink),
            };
        }
        Ok(())
    }

    /// Lets bytes go by unseen; false if the place is lost.
    pub fn gap(&mut self, bytes: u64) -> bool {
        self.decoder.forget();
        let (Some(frame), Ok(bytes)) = (&mut self.frame, usize::try_from(bytes)) else { return false };
        if bytes > frame.left {
            return false;
        }
        frame.left -= bytes;
        self.cut = true;
        if frame.left == 0 {
            self.frame = None;
        }
        true
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.block.capacity() + self.decoder.memory()
    }

    fn frame_header<'a>(&mut self, data: &'a [u8], sink: &mut impl Frames) -> Result<&'a [u8], NotHttp2> {
        let taken = data.len().min(HEADER - self.have);
        self.header[self.have..self.have + taken].copy_from_slice(&data[..taken]);
        self.have += taken;
        if self.have == HEADER {
            self.have = 0;
            let frame = Frame::read(self.header);
            if std::mem::take(&mut self.is_first) && frame.kind != Kind::Other(Control::Settings) {
                return Err(NotHttp2);
            }
            self.begin(frame, sink);
        }
        Ok(&data[taken..])
    }

    fn begin(&mut self, frame: Frame, sink: &mut impl Frames) {
        match frame.kind {
            Kind::Headers | Kind::PushPromise => {
                self.block.clear();
                (self.of, self.cut) = ((frame.stream, frame.flags), false);
            }
            Kind::Continuation => {
                sink.control(frame.stream, Control::Continuation);
                self.of.1 |= frame.flags & END_HEADERS;
            }
            Kind::Other(control) => sink.control(frame.stream, control),
            Kind::Data => {}
        }
        self.frame = Some(frame);
        if frame.left == 0 {
            self.finish(frame, sink);
        }
    }

    fn payload<'a>(&mut self, data: &'a [u8], mut frame: Frame, sink: &mut impl Frames) -> &'a [u8] {
        let taken = data.len().min(frame.left);
        let (mut payload, rest) = data.split_at(taken);
        while frame.lead > 0 && !payload.is_empty() {
            if frame.flags & PADDED != 0 && frame.is_at_padding_length() {
                frame.padding = usize::from(payload[0]);
            }
            (frame.lead, frame.left, payload) = (frame.lead - 1, frame.left - 1, &payload[1..]);
        }
        let content = payload.len().min(frame.left.saturating_sub(frame.padding));
        match frame.kind {
            Kind::Data => sink.data(frame.stream, &payload[..content]),
            Kind::Headers | Kind::PushPromise | Kind::Continuation => self.keep(&payload[..content]),
            Kind::Other(_) => {}
        }
        frame.left -= payload.len();
        self.frame = Some(frame);
        if frame.left == 0 {
            self.finish(frame, sink);
        }
        rest
    }

    fn keep(&mut self, part: &[u8]) {
        let taken = part.len().min(MAX_BLOCK.saturating_sub(self.block.len()));
        self.block.extend_from_slice(&part[..taken]);
        self.cut |= taken < part.len();
    }

    fn finish(&mut self, frame: Frame, sink: &mut impl Frames) {
        self.frame = None;
        match frame.kind {
            Kind::Data if frame.flags & END_STREAM != 0 => sink.end(frame.stream),
            Kind::Headers | Kind::PushPromise | Kind::Continuation if frame.flags & END_HEADERS != 0 => {
                self.finish_block(frame.kind, sink);
            }
            _ => {}
        }
    }

    fn finish_block(&mut self, kind: Kind, sink: &mut impl Frames) {
        self.decoder.decode(&self.block, &mut self.list);
        if self.cut {
            self.decoder.forget();
            self.list.cut = true;
        }
        self.block.clear();
        let (stream, flags) = self.of;
        if kind != Kind::PushPromise {
            sink.fields(stream, &self.list, flags & END_STREAM != 0);
        }
    }
}

impl Frame {
    fn read(header: [u8; HEADER]) -> Self {
        let [a, b, c, kind, flags, d, e, f, g] = header;
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Headers,
            5 => Kind::PushPromise,
            9 => Kind::Continuation,
            3 => Kind::Other(Control::Reset),
            4 => Kind::Other(Control::Settings),
            6 => Kind::Other(Control::Ping),
            _ => Kind::Other(Control::Other),
        };
        let padded = usize::from(flags & PADDED != 0);
        let lead = match kind {
            Kind::Data => padded,
            Kind::Headers => padded + if flags & PRIORITY != 0 { 5 } else { 0 },
            Kind::PushPromise => padded + 4,
            Kind::Continuation | Kind::Other(_) => 0,
        };
        Self {
            kind,
            flags,
            stream: u32::from_be_bytes([d & 0x7f, e, f, g]),
            left: u32::from_be_bytes([0, a, b, c]) as usize,
            padding: 0,
            lead,
        }
    }

    /// Whether the next byte is the length of the padding: the first of the lead.
    fn is_at_padding_length(&self) -> bool {
        let whole = match self.kind {
            Kind::Headers if self.flags & PRIORITY != 0 => 6,
            Kind::PushPromise => 5,
            _ => 1,
        };
        self.lead == whole
    }
}

/// Whether bytes from the middle of a connection are whole frames, one behind the other.
#[must_use]
pub fn looks_like_frames(mut data: &[u8]) -> bool {
    const MAX_USUAL: usize = 16 * 1024;
    if data.len() < HEADER {
        return false;
    }
    while !data.is_empty() {
        let Some(&header) = data.first_chunk::<HEADER>() else { return false };
        let frame = Frame::read(header);
        let on_connection = matches!(header[3], 4 | 6 | 7);
        let plausible = header[3] <= 9
            && header[5] & 0x80 == 0
            && frame.left <= MAX_USUAL
            && (frame.stream == 0) == on_connection | (header[3] == 8 && frame.stream == 0);
        let Some(rest) = data.get(HEADER + frame.left..).filter(|_| plausible) else { return false };
        data = rest;
    }
    true
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame's wire bytes.
    pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[derive(Default)]
    struct Log(Vec<String>);

    impl Frames for Log {
        fn fields(&mut self, stream: u32, list: &FieldList, end: bool) {
            let fields: Vec<_> = list
                .iter()
                .map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()))
                .collect();
            self.0.push(format!("{stream} {}{}", fields.join(" "), if end { " end" } else { "" }));
        }

        fn data(&mut self, stream: u32, data: &[u8]) {
            let prefix = format!("{stream} data ");
            match self.0.last_mut().filter(|last| last.starts_with(&prefix)) {
                Some(last) => last.push_str(&data.escape_ascii().to_string()),
                None => self.0.push(format!("{prefix}{}", data.escape_ascii())),
            }
        }

        fn end(&mut self, stream: u32) {
            self.0.push(format!("{stream} end"));
        }

        fn control(&mut self, stream: u32, control: Control) {
            self.0.push(format!("{stream} {control:?}"));
        }
    }

    fn read(wire: &[u8], piece: usize) -> Vec<String> {
        let (mut reader, mut log) = (Reader::new(super::super::PREFACE_REST), Log::default());
        for piece in wire.chunks(piece) {
            if reader.data(piece, &mut log).is_err() {
                log.0.push("no http2".to_owned());
                break;
            }
        }
        log.0
    }

    #[track_caller]
    fn check(frames: &[Vec<u8>], expected: &[&str]) {
        let wire = [b"SM\r\n\r\n".to_vec(), frame(4, 0, 0, b""), frames.concat()].concat();
        let expected = [&["0 Settings"], expected].concat();
        for piece in 1..=wire.len() {
            assert_eq!(read(&wire, piece), expected, "in pieces of {piece}");
        }
    }

    /// Case H32.
    #[test]
    fn streams_at_every_split() {
        check(
            &[
                frame(1, 4, 1, b"\x82\x84"),
                frame(1, 5, 3, b"\x82\x04\x02/b"),
                frame(0, 0, 1, b"a=1"),
                frame(0, 1, 1, b"&b=2"),
            ],
            &["1 :method=GET :path=/", "3 :method=GET :path=/b end", "1 data a=1&b=2", "1 end"],
        );
        // Padding and priority.
        check(
            &[frame(1, 0x2c, 1, b"\x02\0\0\0\0\x01\x82\x84pp"), frame(0, 9, 1, b"\x03abcppp")],
            &["1 :method=GET :path=/", "1 data abc", "1 end"],
        );
        // A block over several frames, cut within a string.
        check(
            &[frame(1, 1, 1, b"\x82\x04\x05/a"), frame(9, 0, 1, b""), frame(9, 4, 1, b"bcd")],
            &["1 Continuation", "1 Continuation", "1 :method=GET :path=/abcd end"],
        );
        check(&[frame(3, 0, 1, b"\0\0\0\x08"), frame(6, 0, 0, b"12345678")], &["1 Reset", "0 Ping"]);
    }

    #[test]
    fn what_begins_otherwise_is_no_http2() {
        assert_eq!(read(b"SX", 1), ["no http2"]);
        assert_eq!(read(b"SM\r\n\r\nGET / HTTP/1.1\r\n", 100), ["no http2"]);
    }

    #[test]
    fn frames_are_recognised_in_the_middle() {
        let wire = [frame(1, 4, 1, b"\x82\x84"), frame(0, 1, 1, b"a=1")].concat();
        assert!(looks_like_frames(&wire) && !looks_like_frames(&wire[1..]));
        assert!(!looks_like_frames(b"GET / HTTP/1.1\r\n\r\n") && !looks_like_frames(b""));
    }

    #[test]
    fn gaps_keep_the_place_within_a_frame() {
        let (mut reader, mut log) = (Reader::new(b""), Log::default());
        assert!(reader.data(&frame(0, 1, 1, &[b'x'; 20])[..19], &mut log).is_ok());
        assert!(reader.gap(10));
        assert!(reader.data(&frame(1, 5, 3, b"\x82\xbe"), &mut log).is_ok());
        assert!(!reader.gap(1));
        assert_eq!(log.0, ["1 data xxxxxxxxxx", "3 :method=GET end"]);
    }

    proptest! {
        #[test]
        fn any_bytes_end(wire in proptest::collection::vec(prop_oneof![0u8..10, any::<u8>()], 0..200), piece in 1usize..50) {
            let (mut reader, mut log) = (Reader::new(b""), Log::default());
            for piece in wire.chunks(piece) {
                prop_assert!(reader.data(piece, &mut log).is_ok());
                reader.gap(3);
            }
            _ = looks_like_frames(&wire);
        }
    }
}
