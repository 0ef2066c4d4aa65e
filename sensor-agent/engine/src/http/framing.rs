//! How a message's body is delimited (RFC 9112 section 6.3), with a name for every way in which two servers could come to
//! different answers.

use super::anomaly::{Anomalies, Anomaly};
use super::head::find_end;
use super::message::{Request, Response};
use super::start::is_blank;

/// How the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After that many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
    /// The connection is no longer HTTP.
    Tunnel,
}

/// What a response answers, as far as that decides about its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// The response has no body, whatever it says.
    Head,
    /// Success opens a tunnel.
    Connect,
    /// Nobody can have asked: this end sends requests itself, or nothing was sent before. Some server may read on behind
    /// such a head, so it must not hide what follows.
    Nothing,
    /// Everything else.
    Other,
    /// What was asked was not seen.
    #[default]
    Unseen,
}

/// The head that an HTTP/2 connection begins with (RFC 9113 section 3.4).
const PREFACE_HEAD: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// Framing of a request; sets what is odd about it.
pub fn of_request(request: &mut Request) -> Framing {
    let mut anomalies = Anomalies::NONE;
    let may_hide = holds_line_ends(request.anomalies);
    let marks = Marks::read(request.headers(), request.version, may_hide, &mut anomalies);
    let framing = marks.framing().unwrap_or(Framing::None);
    if request.head.starts_with(PREFACE_HEAD) {
        return Framing::Tunnel;
    }
    let bodiless = matches!(request.method(), b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"CONNECT");
    anomalies.insert_if(
        bodiless && !matches!(framing, Framing::None | Framing::Length(0)),
        Anomaly::UnexpectedBody,
    );
    check_host(request, &mut anomalies);
    check_spaces(request, &mut anomalies);
    check_expect(request, &mut anomalies);
    request.anomalies.merge(anomalies);
    framing
}

/// Framing of a response to a request of that kind; sets what is odd about it.
pub fn of_response(response: &mut Response, asked: Asked) -> Framing {
    let mut anomalies = Anomalies::NONE;
    let may_hide = holds_line_ends(response.anomalies);
    let marks = Marks::read(response.headers(), response.version, may_hide, &mut anomalies);
    response.anomalies.merge(anomalies);
    match (response.status, asked) {
        (_, Asked::Nothing) => Framing::None,
        // Who announces a body has opened no tunnel (RFC 9110 section 9.3.6): the method was any other to that server.
        (200..=299, Asked::Connect) if marks.framing().is_none() => Framing::Tunnel,
        (101, _) => Framing::Tunnel,
        (100..=199 | 204 | 304, _) | (_, Asked::Head) => Framing::None,
        _ => marks.framing().unwrap_or(Framing::UntilClose),
    }
}

/// The length that a message with both framings would have by its Content-Length: what a server reads that does not know
/// the other.
#[must_use]
pub fn other_length(request: &Request) -> Option<u64> {
    let both = request.anomalies.contains(Anomaly::ContentLengthAndTransferEncoding);
    let marks =
        both.then(|| Marks::read(request.headers(), request.version, false, &mut Anomalies::default()))?;
    marks.length
}

/// What one line of a head says about how the body ends.
#[must_use]
pub(super) fn of_line(line: &[u8]) -> Option<Framing> {
    let colon = memchr::memchr(b':', line)?;
    let named = [(line.get(..colon)?.trim_ascii(), line.get(colon + 1..)?.trim_ascii())];
    Marks::read(named.into_iter(), 1, false, &mut Anomalies::default()).framing()
}

#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    length: Option<u64>,
    chunked: bool,
}

impl Marks {
    fn framing(self) -> Option<Framing> {
        if self.chunked { Some(Framing::Chunked) } else { self.length.map(Framing::Length) }
    }

    fn read<'a>(
        headers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        version: u8,
        may_hide: bool,
        anomalies: &mut Anomalies,
    ) -> Self {
        let (mut marks, mut codings, mut encoded) = (Self::default(), Codings::default(), false);
        for (name, value) in headers {
            if name.eq_ignore_ascii_case(b"content-length") {
                marks.add_length(value, anomalies);
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                encoded = true;
                codings.add(value);
            } else if near_name(name).is_some() || name.is_empty() && begins_framing_name(value) {
                anomalies.insert(Anomaly::FramingNameNearMiss);
            }
            anomalies.insert_if(may_hide && hides_framing(value), Anomaly::FramingHeaderHidden);
        }
        if encoded {
            // Without a length, `chunked` is the only framing in which there can be a body at all.
            marks.chunked = codings.chunked || marks.length.is_none();
            anomalies.insert_if(!codings.is_clean(), Anomaly::TransferEncodingUnknown);
            anomalies.insert_if(version == 0, Anomaly::TransferEncodingOnHttp10);
            anomalies.insert_if(marks.length.is_some(), Anomaly::ContentLengthAndTransferEncoding);
        }
        marks
    }

    /// The first value counts; servers differ, and the difference has a name.
    fn add_length(&mut self, value: &[u8], anomalies: &mut Anomalies) {
        for part in value.split(|&byte| byte == b',') {
            let (length, valid) = parse_length(trim_blanks(part));
            anomalies.insert_if(!valid, Anomaly::ContentLengthInvalid);
            match self.length {
                Some(known) if known == length => anomalies.insert(Anomaly::ContentLengthRepeated),
                Some(_) => anomalies.insert(Anomaly::ContentLengthConflict),
                None => self.length.replace(length).is_some(),
            };
        }
    }
}

/// Reads leading digits as `strtoull` does; the second value says whether that was all, without a leading zero.
fn parse_length(text: &[u8]) -> (u64, bool) {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    let digits = &digits[..digits.iter().take_while(|byte| byte.is_ascii_digit()).count()];
    let value = digits
        .iter()
        .try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    let plain = digits.len() == text.len() && (digits == b"0" || !digits.is_empty() && digits[0] != b'0');
    (value.unwrap_or(u64::MAX), plain && value.is_some())
}

#[derive(Clone, Copy, Debug, Default)]
struct Codings {
    chunked: bool,
    chunked_times: u32,
    last_is_chunked: bool,
    odd: bool,
}

impl Codings {
    fn add(&mut self, value: &[u8]) {
        for coding in value.split(|&byte| byte == b',') {
            let coding = trim_blanks(coding);
            self.last_is_chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.chunked_times += u32::from(self.last_is_chunked);
            let known = [&b"gzip"[..], b"x-gzip", b"deflate", b"compress", b"x-compress"];
            self.odd |= !self.last_is_chunked && !known.iter().any(|name| coding.eq_ignore_ascii_case(name));
            self.chunked |= core_word(coding).eq_ignore_ascii_case(b"chunked");
        }
    }

    fn is_clean(self) -> bool {
        !self.odd && self.last_is_chunked && self.chunked_times == 1
    }
}

fn trim_blanks(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|&byte| byte != b' ' && byte != b'\t').unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|&byte| byte != b' ' && byte != b'\t').map_or(start, |at| at + 1);
    &bytes[start..end]
}

/// The first run of letters, which is what tolerant servers make of `"chunked"`, `chunked;x=1` and `\x0bchunked`.
fn core_word(coding: &[u8]) -> &[u8] {
    let start = coding.iter().position(u8::is_ascii_alphabetic).unwrap_or(coding.len());
    let length = coding[start..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    &coding[start..start + length]
}

/// A framing header that a name reads as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NearName {
    ContentLength,
    TransferEncoding,
}

/// The framing header that a name reads as once everything but letters is left out.
pub(super) fn near_name(name: &[u8]) -> Option<NearName> {
    let begins =
        name.first().is_some_and(|first| !first.is_ascii_alphabetic() || matches!(first | 0x20, b'c' | b't'));
    if !begins || !(13..=24).contains(&name.len()) {
        return None;
    }
    let letters = || name.iter().filter(|byte| byte.is_ascii_alphabetic()).map(u8::to_ascii_lowercase);
    if letters().eq(*b"contentlength") {
        return Some(NearName::ContentLength);
    }
    letters().eq(*b"transferencoding").then_some(NearName::TransferEncoding)
}

/// Whether a line without a colon begins a framing header: the rest may stand on the next line.
fn begins_framing_name(line: &[u8]) -> bool {
    let starts = |word: &[u8]| line.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if memchr::memchr(b':', line).is_some() {
        return false;
    }
    starts(b"transfer") || starts(b"content-len") || starts(b"content length")
}

/// Whether values of a head can hold line ends or NULs: what has none of these oddities was checked for them.
pub(super) fn holds_line_ends(anomalies: Anomalies) -> bool {
    [Anomaly::ObsFold, Anomaly::BareCr, Anomaly::NulByte, Anomaly::FieldInvalid]
        .into_iter()
        .any(|one| anomalies.contains(one))
}

/// Whether a value holds a framing header behind a line end of its own.
fn hides_framing(value: &[u8]) -> bool {
    if memchr::memchr3(b'\r', b'\n', 0, value).is_none() {
        return false;
    }
    value.split(|&byte| matches!(byte, b'\r' | b'\n' | 0)).skip(1).any(|line| {
        let name = memchr::memchr(b':', line).map(|colon| line[..colon].trim_ascii());
        name.is_some_and(|name| near_name(name).is_some())
    })
}

/// Framing and Host headers with white space around their names, which some servers take and others do not.
fn check_spaces(request: &Request, anomalies: &mut Anomalies) {
    if !request.anomalies.contains(Anomaly::SpaceBeforeColon)
        && !request.anomalies.contains(Anomaly::SpaceBeforeHeaders)
    {
        return;
    }
    for header in &request.headers {
        let (start, end) = (header.name.start as usize, header.name.end as usize);
        let before = start.checked_sub(1).and_then(|at| request.head.get(at));
        let spaced = request.head.get(end) != Some(&b':') || before.is_some_and(|&byte| is_blank(byte));
        let name = header.name.of(&request.head);
        let counts = near_name(name).is_some() || name.eq_ignore_ascii_case(b"host");
        anomalies.insert_if(spaced && counts, Anomaly::FramingNameNearMiss);
    }
}

/// Only `100-continue` is defined (RFC 9110 section 10.1.1).
fn check_expect(request: &Request, anomalies: &mut Anomalies) {
    let odd = request.all_named(b"expect").any(|value| !value.eq_ignore_ascii_case(b"100-continue"));
    anomalies.insert_if(odd, Anomaly::ExpectInvalid);
}

fn check_host(request: &Request, anomalies: &mut Anomalies) {
    let mut hosts = request.all_named(b"host");
    let Some(host) = hosts.next() else {
        let complete = find_end(&request.head, request.head.len().saturating_sub(4)).is_some();
        anomalies.insert_if(request.version == 1 && complete, Anomaly::MissingHost);
        return;
    };
    anomalies.insert_if(hosts.next().is_some(), Anomaly::DuplicateHost);
    let odd =
        host.iter().any(|&byte| is_blank(byte) || matches!(byte, b'@' | b',' | b'/' | b'?' | b'#' | b'\\'));
    let other = authority(request.target()).is_some_and(|authority| {
        let plain = |text| without_port(request.target(), text);
        !plain(authority).eq_ignore_ascii_case(plain(host))
    });
    anomalies.insert_if(odd || other, Anomaly::HostInvalid);
}

/// An authority without the port that its target's scheme has anyway (RFC 9110 section 4.2.3).
fn without_port<'a>(target: &[u8], authority: &'a [u8]) -> &'a [u8] {
    let secure = target.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https:"));
    let authority = authority.strip_suffix(if secure { &b":443"[..] } else { b":80" }).unwrap_or(authority);
    authority.strip_suffix(b":").unwrap_or(authority)
}

/// The authority of a target in absolute form (RFC 9112 section 3.2.2).
fn authority(target: &[u8]) -> Option<&[u8]> {
    target.first().filter(|byte| byte.is_ascii_alphabetic() || **byte == b':')?;
    let scheme = memchr::memmem::find(target, b"://")
        .filter(|&at| target[..at].iter().all(u8::is_ascii_alphabetic))?;
    let rest = &target[scheme + 3..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{parse_request, parse_response};

    fn request(headers: &str) -> String {
        let mut request = Request::default();
        parse_request(format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n").as_bytes(), &mut request);
        let framing = of_request(&mut request);
        let names: Vec<_> = request.anomalies.iter().map(Anomaly::name).collect();
        format!("{framing:?} {}", names.join(",")).trim_end().to_owned()
    }

    #[test]
    fn request_framing() {
        for (headers, expected) in [
            ("A: b", "None"),
            ("Content-Length: 5", "Length(5)"),
            ("content-length:5", "Length(5)"),
            ("Transfer-Encoding: chunked", "Chunked"),
            ("Transfer-Encoding: gzip, Chunked", "Chunked"),
            (
                "Content-Length: 5\r\nTransfer-Encoding: chunked",
                "Chunked content-length-and-transfer-encoding",
            ),
            ("Content-Length: 5\r\nContent-Length: 6", "Length(5) content-length-conflict"),
            ("Content-Length: 5, 5", "Length(5) content-length-repeated"),
            ("Content-Length: +5", "Length(5) content-length-invalid"),
            ("Content-Length: -0", "Length(0) content-length-invalid"),
            ("Content-Length: 0x10", "Length(0) content-length-invalid"),
            ("Content-Length: 010", "Length(10) content-length-invalid"),
            ("Content-Length: 1e1", "Length(1) content-length-invalid"),
            ("Content-Length: 1Z", "Length(1) content-length-invalid"),
            ("Content-Length:", "Length(0) content-length-invalid"),
            ("Content-Length: 18446744073709551616", "Length(18446744073709551615) content-length-invalid"),
            ("Transfer-Encoding: xchunked", "Chunked transfer-encoding-unknown"),
            ("Transfer-Encoding: identity", "Chunked transfer-encoding-unknown"),
            (
                "Transfer-Encoding: x\r\nContent-Length: 5",
                "Length(5) content-length-and-transfer-encoding,transfer-encoding-unknown",
            ),
            ("Transfer-Encoding: chunked,", "Chunked transfer-encoding-unknown"),
            ("Transfer-Encoding: chunked, gzip", "Chunked transfer-encoding-unknown"),
            ("Transfer-Encoding: \u{b}chunked", "Chunked transfer-encoding-unknown,header-control-byte"),
            ("Transfer-Encoding: cow\r\nTransfer-Encoding: chunked", "Chunked transfer-encoding-unknown"),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Chunked transfer-encoding-unknown"),
            ("Transfer_Encoding: chunked", "None framing-name-near-miss"),
            ("Transfer-Encoding : chunked", "Chunked framing-name-near-miss,space-before-colon"),
            ("Host: b", "None duplicate-host"),
        ] {
            assert_eq!(request(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn hosts() {
        for (head, expected) in [
            ("GET / HTTP/1.1\r\n\r\n", Some(Anomaly::MissingHost)),
            ("GET / HTTP/1.0\r\n\r\n", None),
            ("GET http://a/x HTTP/1.1\r\nHost: A\r\n\r\n", None),
            ("GET http://a:80/x HTTP/1.1\r\nHost: A\r\n\r\n", None),
            ("GET http://a:/x HTTP/1.1\r\nHost: A:80\r\n\r\n", None),
            ("GET HTTPS://a/x HTTP/1.1\r\nHost: a:443\r\n\r\n", None),
            ("GET http://a/x HTTP/1.1\r\nHost: a:443\r\n\r\n", Some(Anomaly::HostInvalid)),
            ("GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", Some(Anomaly::HostInvalid)),
            ("GET / HTTP/1.1\r\nHost: a:80@b\r\n\r\n", Some(Anomaly::HostInvalid)),
            ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Some(Anomaly::HostInvalid)),
        ] {
            let mut request = Request::default();
            parse_request(head.as_bytes(), &mut request);
            of_request(&mut request);
            assert_eq!(request.anomalies, expected.into_iter().collect(), "{head:?}");
        }
    }

    #[test]
    fn response_framing() {
        for (head, asked, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3", Asked::Other, Framing::Length(3)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3", Asked::Head, Framing::None),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", Asked::Other, Framing::Chunked),
            ("HTTP/1.1 200 OK", Asked::Other, Framing::UntilClose),
            ("HTTP/1.1 200", Asked::Connect, Framing::Tunnel),
            ("HTTP/1.1 407 No\r\nContent-Length: 3", Asked::Connect, Framing::Length(3)),
            ("HTTP/1.1 101 Switching", Asked::Other, Framing::Tunnel),
            ("HTTP/1.1 100 Continue", Asked::Other, Framing::None),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 3", Asked::Other, Framing::None),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 3", Asked::Other, Framing::None),
        ] {
            let mut response = Response::default();
            parse_response(format!("{head}\r\n\r\n").as_bytes(), &mut response);
            assert_eq!(of_response(&mut response, asked), expected, "{head:?} {asked:?}");
        }
    }
}
