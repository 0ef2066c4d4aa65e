//! The chunked coding (RFC 9112 section 7.1), read byte-exactly at any split, without keeping anything.

use memchr::memchr;

use super::anomaly::{Anomalies, Anomaly};

/// What a step of the decoder found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// All input is used up.
    NeedMore,
    /// Body bytes, and what follows them.
    Data(&'a [u8], &'a [u8]),
    /// Text of a chunk extension as far as it came, with its line end, and what follows it.
    Extension(&'a [u8], &'a [u8]),
    /// Bytes of the trailer section, with line ends, and what follows them.
    Trailer(&'a [u8], &'a [u8]),
    /// The body is complete; what follows it.
    Done(&'a [u8]),
    /// This is no chunked coding; what was not read.
    Broken(&'a [u8]),
}

/// Where in the coding the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    SizeStart,
    Size,
    AfterSize,
    Extension,
    Data,
    AfterData,
    AfterDataCr,
    TrailerStart,
    TrailerCr,
    Trailer,
}

/// Decoder of one body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunked {
    place: Place,
    /// Of the chunk: while in its size the value so far, while in its data the bytes still to come.
    remaining: u64,
    /// Whether the byte before was a CR.
    cr: bool,
    /// Of the extension: whether a quote is open, and the bytes so far.
    quoted: bool,
    extension: u32,
}

/// Longest chunk extension that is not odd; whoever signs chunks needs less.
const MAX_EXTENSION: u32 = 256;

impl Chunked {
    /// Bytes to come of the chunk in hand.
    pub(super) fn left_of_data(&self) -> u64 {
        if self.place == Place::Data { self.remaining } else { 0 }
    }

    /// Reads the next thing from `input`.
    pub(super) fn step<'a>(&mut self, mut input: &'a [u8], anomalies: &mut Anomalies) -> Step<'a> {
        loop {
            if self.place == Place::Data {
                return self.data(input);
            }
            if self.place == Place::Trailer {
                return self.trailer(input);
            }
            if self.place == Place::Extension {
                return self.extension_text(input, anomalies);
            }
            let Some((&byte, rest)) = input.split_first() else { return Step::NeedMore };
            let valid = match self.place {
                Place::SizeStart | Place::Size => self.size(byte, anomalies),
                Place::AfterSize => self.extension(byte, anomalies),
                Place::TrailerStart | Place::TrailerCr => match byte {
                    b'\n' => {
                        anomalies.insert_if(self.place == Place::TrailerStart, Anomaly::ChunkLineEnd);
                        return Step::Done(rest);
                    }
                    b'\r' if self.place == Place::TrailerStart => {
                        self.place = Place::TrailerCr;
                        true
                    }
                    _ => {
                        self.place = Place::Trailer;
                        continue;
                    }
                },
                _ => self.after_data(byte, anomalies),
            };
            if !valid {
                return Step::Broken(input);
            }
            input = rest;
        }
    }

    /// Lets `bytes` of the body go by unseen; false if they reach beyond the chunk, so that the place is lost.
    pub(super) fn skip(&mut self, bytes: u64) -> bool {
        if self.place != Place::Data || bytes > self.remaining {
            return false;
        }
        self.remaining -= bytes;
        if self.remaining == 0 {
            self.place = Place::AfterData;
        }
        true
    }

    fn size(&mut self, byte: u8, anomalies: &mut Anomalies) -> bool {
        if let Some(digit) = (byte as char).to_digit(16) {
            if self.remaining >> 60 != 0 {
                anomalies.insert(Anomaly::ChunkSizeInvalid);
                return false;
            }
            (self.remaining, self.place) = (self.remaining << 4 | u64::from(digit), Place::Size);
            return true;
        }
        let blank = matches!(byte, b' ' | b'\t');
        if self.place == Place::SizeStart {
            anomalies.insert(Anomaly::ChunkSizeInvalid);
            return blank;
        }
        self.place = Place::AfterSize;
        self.cr = false;
        anomalies.insert_if(blank, Anomaly::ChunkSizeInvalid);
        self.extension(byte, anomalies)
    }

    /// Behind the size: blanks, then an extension or the line end.
    fn extension(&mut self, byte: u8, anomalies: &mut Anomalies) -> bool {
        match byte {
            b'\n' => {
                self.end_size(anomalies);
                return true;
            }
            b'\r' => {
                anomalies.insert_if(self.cr, Anomaly::ChunkLineEnd);
                self.cr = true;
                return true;
            }
            b';' => {
                (self.place, self.quoted, self.extension) = (Place::Extension, false, 0);
                anomalies.insert(Anomaly::ChunkExtension);
            }
            b' ' | b'\t' => _ = anomalies.insert(Anomaly::ChunkSizeInvalid),
            _ => {
                anomalies.insert(Anomaly::ChunkSizeInvalid);
                return false;
            }
        }
        anomalies.insert_if(self.cr, Anomaly::ChunkLineEnd);
        self.cr = false;
        true
    }

    fn end_size(&mut self, anomalies: &mut Anomalies) {
        anomalies.insert_if(!self.cr, Anomaly::ChunkLineEnd);
        self.cr = false;
        self.place = if self.remaining == 0 { Place::TrailerStart } else { Place::Data };
    }

    /// The extension is over at the first LF, quoted or not, as most servers have it.
    fn extension_text<'a>(&mut self, input: &'a [u8], anomalies: &mut Anomalies) -> Step<'a> {
        if input.is_empty() {
            return Step::NeedMore;
        }
        let end = memchr(b'\n', input);
        let (text, rest) = input.split_at(end.map_or(input.len(), |end| end + 1));
        for &byte in text {
            anomalies.insert_if(self.cr && byte != b'\n', Anomaly::ChunkLineEnd);
            anomalies.insert_if(self.quoted && byte == b'\n', Anomaly::ChunkExtensionInvalid);
            self.cr = byte == b'\r' || self.cr && byte == b'\n';
            self.quoted ^= byte == b'"';
        }
        self.extension = self.extension.saturating_add(u32::try_from(text.len()).unwrap_or(u32::MAX));
        anomalies.insert_if(self.extension > MAX_EXTENSION, Anomaly::ChunkExtensionInvalid);
        if end.is_some() {
            self.end_size(anomalies);
        }
        Step::Extension(text, rest)
    }

    fn data<'a>(&mut self, input: &'a [u8]) -> Step<'a> {
        if input.is_empty() {
            return Step::NeedMore;
        }
        let length = usize::try_from(self.remaining).map_or(input.len(), |left| left.min(input.len()));
        let (data, rest) = input.split_at(length);
        self.remaining -= length as u64;
        if self.remaining == 0 {
            self.place = Place::AfterData;
        }
        Step::Data(data, rest)
    }

    fn after_data(&mut self, byte: u8, anomalies: &mut Anomalies) -> bool {
        match (self.place, byte) {
            (Place::AfterData, b'\r') => self.place = Place::AfterDataCr,
            (Place::AfterData | Place::AfterDataCr, b'\n') => {
                anomalies.insert_if(self.place == Place::AfterData, Anomaly::ChunkLineEnd);
                self.place = Place::SizeStart;
            }
            _ => {
                anomalies.insert(Anomaly::ChunkDataOverrun);
                return false;
            }
        }
        true
    }

    fn trailer<'a>(&mut self, input: &'a [u8]) -> Step<'a> {
        if input.is_empty() {
            return Step::NeedMore;
        }
        let Some(end) = memchr(b'\n', input) else { return Step::Trailer(input, &[]) };
        self.place = Place::TrailerStart;
        let (line, rest) = input.split_at(end + 1);
        Step::Trailer(line, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Body, trailer, what follows, and the anomalies.
    fn decode(wire: &str, piece: usize) -> String {
        let (mut decoder, mut anomalies) = (Chunked::default(), Anomalies::NONE);
        let (mut body, mut trailer) = (String::new(), String::new());
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let mut end = "more".to_owned();
        let mut pieces = wire.as_bytes().chunks(piece);
        'all: while let Some(mut input) = pieces.next() {
            loop {
                input = match decoder.step(input, &mut anomalies) {
                    Step::NeedMore => break,
                    Step::Data(data, rest) => {
                        body += &text(data);
                        rest
                    }
                    Step::Extension(_, rest) => rest,
                    Step::Trailer(data, rest) => {
                        trailer += &text(data);
                        rest
                    }
                    Step::Done(rest) => {
                        end =
                            format!("done:{}", text(&[rest, &pieces.collect::<Vec<_>>().concat()].concat()));
                        break 'all;
                    }
                    Step::Broken(rest) => {
                        end = format!(
                            "broken:{}",
                            text(&[rest, &pieces.collect::<Vec<_>>().concat()].concat())
                        );
                        break 'all;
                    }
                };
            }
        }
        let names: Vec<_> = anomalies.iter().map(Anomaly::name).collect();
        format!("{body}|{trailer}|{end}|{}", names.join(","))
    }

    #[test]
    fn bodies_at_every_split() {
        for (wire, expected) in [
            ("5\r\nhello\r\n0\r\n\r\nGET", "hello||done:GET|"),
            ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world||done:|"),
            ("5\r\nhel", "hel||more|"),
            ("0\r\nA: b\r\n\r\nX", r"|A: b\r\n|done:X|"),
            ("5;a=\"b\"\r\nhello\r\n0\r\n\r\n", "hello||done:|chunk-extension"),
            ("5\nhello\n0\n\n", "hello||done:|chunk-line-end"),
            ("005\r\nhello\r\n0\r\n\r\n", "hello||done:|"),
            (" 5\r\nhello\r\n0\r\n\r\n", "hello||done:|chunk-size-invalid"),
            ("5 \r\nhello\r\n0\r\n\r\n", "hello||done:|chunk-size-invalid"),
            ("0x5\r\nhello", r"||broken:x5\r\nhello|chunk-size-invalid"),
            ("+5\r\nhello", r"||broken:+5\r\nhello|chunk-size-invalid"),
            ("FFFFFFFFFFFFFFFF0\r\n", r"||broken:0\r\n|chunk-size-invalid"),
            ("5\r\nhelloXX0\r\n\r\n", r"hello||broken:XX0\r\n\r\n|chunk-data-overrun"),
            ("5\r\r\nhello\r\n0\r\n\r\n", "hello||done:|chunk-line-end"),
        ] {
            for piece in 1..=wire.len() {
                assert_eq!(decode(wire, piece), expected, "{wire:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_gap_within_a_chunk_keeps_the_place() {
        let (mut decoder, mut anomalies) = (Chunked::default(), Anomalies::NONE);
        assert_eq!(decoder.step(b"a\r\n01", &mut anomalies), Step::Data(b"01", b""));
        assert!(!decoder.skip(9));
        assert!(decoder.skip(8));
        assert_eq!(decoder.step(b"\r\n0\r\n\r\n", &mut anomalies), Step::Done(b""));
    }
}
