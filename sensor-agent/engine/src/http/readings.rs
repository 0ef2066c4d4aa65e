//! Other readings of an ambiguous request. Where its framing is odd, servers come to different answers about where the body
//! ends; what follows the head is kept as it stood on the wire, and every answer that some server gives is inspected beside
//! the one that the reader follows.
//!
//! A reading that is shorter than the one followed needs no look of its own: its body is part of the longer one, and a
//! request that stands behind it is found as one embedded in the longer body.

use super::chunked::{Chunked, Step};
use super::framing::{Framing, NearName, near_name};
use super::message::Request;
use super::reader::Sink;
use super::{anomaly::Anomalies, anomaly::Anomaly};

/// Most lengths that are tried for one request.
pub(super) const MAX_LENGTHS: usize = 4;
/// Most bytes behind an ambiguous head that are kept for its other readings.
pub(super) const MAX_RAW: usize = 64 * 1024;

/// Oddities that make servers frame a request differently.
const AMBIGUOUS: [Anomaly; 9] = [
    Anomaly::ContentLengthConflict,
    Anomaly::ContentLengthAndTransferEncoding,
    Anomaly::ContentLengthInvalid,
    Anomaly::TransferEncodingUnknown,
    Anomaly::TransferEncodingOnHttp10,
    Anomaly::FramingNameNearMiss,
    Anomaly::FramingHeaderHidden,
    Anomaly::SpaceBeforeColon,
    Anomaly::ObsFold,
];

/// Framings that some server may choose beside the one that is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Plausible {
    lengths: [u64; MAX_LENGTHS],
    /// `count <= MAX_LENGTHS`.
    count: usize,
    chunked: bool,
}

impl Plausible {
    /// The other framings of a request that the reader frames as `followed`; `None` if there are none.
    pub(super) fn of(request: &Request, followed: Framing) -> Option<Self> {
        if request.anomalies.is_empty() || !AMBIGUOUS.iter().any(|&one| request.anomalies.contains(one)) {
            return None;
        }
        let mut plausible = Self::default();
        for (name, value) in request.headers() {
            plausible.add_line(name, value);
            for line in value.split(|&byte| matches!(byte, b'\r' | b'\n' | 0)).skip(1) {
                plausible.add_hidden(line);
            }
        }
        plausible.without(followed)
    }

    fn add_hidden(&mut self, line: &[u8]) {
        if let Some(colon) = memchr::memchr(b':', line) {
            self.add_line(line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        }
    }

    fn add_line(&mut self, name: &[u8], value: &[u8]) {
        match near_name(name) {
            Some(NearName::ContentLength) => {
                value.split(|&byte| byte == b',').for_each(|part| self.add_lengths(part.trim_ascii()));
            }
            Some(NearName::TransferEncoding) => {
                self.chunked |= value.windows(5).any(|word| word.eq_ignore_ascii_case(b"chunk"));
            }
            None => {}
        }
    }

    /// What `strtoul` of base 10, 8 and 16 and digits with underscores make of a length.
    fn add_lengths(&mut self, text: &[u8]) {
        let text = text.strip_prefix(b"+").unwrap_or(text);
        self.add_number(text, 10, b"");
        if let Some(hex) = text.strip_prefix(b"0x").or_else(|| text.strip_prefix(b"0X")) {
            self.add_number(hex, 16, b"");
        } else if text.len() > 1 && text.starts_with(b"0") {
            self.add_number(text, 8, b"");
        }
        if text.contains(&b'_') {
            self.add_number(text, 10, b"_");
        }
    }

    fn add_number(&mut self, text: &[u8], base: u32, skipped: &[u8]) {
        let digits = text.iter().filter(|byte| !skipped.contains(byte));
        let digits = digits.map_while(|&byte| char::from(byte).to_digit(base));
        let value = digits.fold(0u64, |value, digit| {
            value.saturating_mul(u64::from(base)).saturating_add(u64::from(digit))
        });
        if value > 0 && !self.lengths[..self.count].contains(&value) && self.count < MAX_LENGTHS {
            self.lengths[self.count] = value;
            self.count += 1;
        }
    }

    /// Without the reading that is followed, and what is part of it.
    fn without(mut self, followed: Framing) -> Option<Self> {
        match followed {
            Framing::Chunked => self.chunked = false,
            Framing::Length(length) => {
                let longer = self.lengths.map(|other| if other > length { other } else { 0 });
                (self.lengths, self.count) = (longer, self.count);
            }
            Framing::None | Framing::UntilClose | Framing::Tunnel => {}
        }
        (self.chunked || self.longest() > 0).then_some(self)
    }

    fn longest(&self) -> usize {
        let longest = self.lengths.iter().copied().max().unwrap_or(0);
        usize::try_from(longest).unwrap_or(usize::MAX).min(MAX_RAW)
    }
}

/// An ambiguous request, and what followed it on the wire.
#[derive(Clone, Debug)]
pub(super) struct Readings {
    request: Request,
    plausible: Plausible,
    /// Whether the reader follows the chunked coding, and goes on by length where that is none.
    falls_back: bool,
    /// `raw.len() <= MAX_RAW`.
    raw: Vec<u8>,
    chunks: Chunked,
    chunks_end: bool,
    chunks_broken: bool,
    /// What the chunked coding gives.
    decoded: Vec<u8>,
}

impl Readings {
    pub(super) fn new(request: &Request, plausible: Plausible, followed: Framing) -> Self {
        Self {
            request: request.clone(),
            plausible,
            falls_back: followed == Framing::Chunked,
            raw: Vec::new(),
            chunks: Chunked::default(),
            chunks_end: false,
            chunks_broken: false,
            decoded: Vec::new(),
        }
    }

    /// Takes what followed; whether that is all that any reading needs.
    pub(super) fn push(&mut self, data: &[u8]) -> bool {
        let taken = data.len().min(MAX_RAW.saturating_sub(self.raw.len()));
        self.raw.extend_from_slice(&data[..taken]);
        self.decode(&data[..taken]);
        let length_known = self.raw.len() >= self.plausible.longest();
        self.raw.len() >= MAX_RAW || length_known && (self.chunks_end || !self.plausible.chunked)
    }

    /// Hands every reading over.
    pub(super) fn give_out(mut self, sink: &mut impl Sink) {
        if self.plausible.chunked && !self.decoded.is_empty() {
            sink.other_reading(&mut self.request, &self.decoded);
        }
        for (at, &length) in self.plausible.lengths.iter().enumerate() {
            let already = at == 0 && self.falls_back && self.chunks_broken && self.decoded.is_empty();
            let end = usize::try_from(length).unwrap_or(usize::MAX).min(self.raw.len());
            let repeats = self.plausible.lengths[..at].iter().any(|&other| other as usize >= self.raw.len());
            if end > 0 && !already && !(repeats && end == self.raw.len()) {
                sink.other_reading(&mut self.request, &self.raw[..end]);
            }
        }
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.request.head.capacity() + self.raw.capacity() + self.decoded.capacity()
    }

    fn decode(&mut self, mut data: &[u8]) {
        let mut anomalies = Anomalies::NONE;
        while !self.chunks_end {
            data = match self.chunks.step(data, &mut anomalies) {
                Step::NeedMore => return,
                Step::Data(data, rest) => {
                    self.decoded.extend_from_slice(data);
                    rest
                }
                Step::Trailer(_, rest) | Step::Extension(_, rest) => rest,
                step @ (Step::Done(_) | Step::Broken(_)) => {
                    self.chunks_end = true;
                    self.chunks_broken = matches!(step, Step::Broken(_));
                    return;
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::framing::of_request;
    use crate::http::head::parse_request;

    #[track_caller]
    fn check(headers: &str, lengths: &[u64], chunked: bool) {
        let mut request = Request::default();
        parse_request(format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n").as_bytes(), &mut request);
        let followed = of_request(&mut request);
        let found = Plausible::of(&request, followed).unwrap_or_default();
        let kept: Vec<_> = found.lengths.into_iter().filter(|&length| length > 0).collect();
        assert_eq!((&kept[..], found.chunked), (lengths, chunked), "{headers:?}");
    }

    #[test]
    fn other_framings() {
        check("Content-Length: 5", &[], false);
        check("Content-Length: 5\r\nContent-Length: 8", &[8], false);
        check("Content-Length: 8\r\nContent-Length: 5", &[], false);
        check("Content-Length: 5\r\nTransfer-Encoding: chunked", &[5], false);
        check("Content-Length: 5\r\nTransfer-Encoding: xchunked", &[], true);
        check("Content-Length: 0x10", &[16], false);
        check("Content-Length: 1_0", &[10], false);
        check("Content_Length: 5", &[5], false);
        check("Transfer_Encoding: chunked", &[], true);
        check("X: y\rContent-Length: 5", &[5], false);
        check("X: y\r\n Transfer-Encoding: chunked", &[], true);
        check("Content-Length: 1, 2, 3, 4, 5, 6", &[2, 3, 4], false);
    }
}
