//! Parsing of complete heads. `httparse` takes what keeps to the standard; what it refuses goes through a parser of
//! lines that takes everything a server may take, and names what is odd.

use std::mem::MaybeUninit;

use memchr::{memchr, memchr_iter};

use super::anomaly::{Anomalies, Anomaly};
use super::framing::near_name;
use super::message::{HeaderSpan, MAX_HEADERS, Request, Response, Span};
use super::start::{is_blank, is_token_byte};

/// Position behind the empty line that ends a head, searching line ends from `from` on.
#[must_use]
pub fn find_end(bytes: &[u8], from: usize) -> Option<usize> {
    memchr_iter(b'\n', bytes.get(from..)?).map(|at| from + at).find_map(|at| match bytes.get(at + 1..) {
        Some([b'\n', ..]) => Some(at + 2),
        Some([b'\r', b'\n', ..]) => Some(at + 3),
        _ => None,
    })
}

/// Parses `head`, complete or not, into `request`.
pub fn parse_request(head: &[u8], request: &mut Request) {
    request.clear();
    request.head.extend_from_slice(head);
    match parse_request_strictly(request) {
        None => {
            request.headers.clear();
            let lines = skip_request_line(request);
            parse_lines(&request.head, lines, &mut request.headers, &mut request.anomalies);
            let controls = |byte: &u8| matches!(byte, 1..=8 | 11 | 12 | 14..=31 | 127);
            let holds =
                request.headers.iter().any(|header| header.value.of(&request.head).iter().any(controls));
            request.anomalies.insert_if(holds, Anomaly::HeaderControlByte);
        }
        // The strict parser takes neither NUL nor CR without LF, and no empty lines but in front: with as many CR as lines, each line
        // ends as it should.
        Some(length)
            if length == head.len()
                && !matches!(head.first(), Some(b'\r' | b'\n'))
                && count(b'\r', head) == request.headers.len() + 2 =>
        {
            return;
        }
        Some(_) => {}
    }
    note_line_ends(&request.head, &mut request.anomalies);
}

/// Parses `head`, complete or not, into `response`.
pub fn parse_response(head: &[u8], response: &mut Response) {
    response.clear();
    response.head.extend_from_slice(head);
    let line_end = memchr(b'\n', head).unwrap_or(head.len());
    let line = head[..line_end].trim_ascii_end();
    response.version = u8::from(line.get(5..8).is_none_or(|version| version != b"1.0"));
    let mut words = line.split(|&byte| is_blank(byte)).skip(1).filter(|word| !word.is_empty());
    response.status = words.next().map_or(0, status_code);
    parse_lines(&response.head, line_end + 1, &mut response.headers, &mut response.anomalies);
    note_line_ends(&response.head, &mut response.anomalies);
}

fn status_code(word: &[u8]) -> u16 {
    let digits = word.iter().take(3).take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
}

/// Bytes parsed; `None` if the standard does not allow such a head.
fn parse_request_strictly(request: &mut Request) -> Option<usize> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let Ok(httparse::Status::Complete(length)) =
        parsed.parse_with_uninit_headers(&request.head, &mut headers)
    else {
        return None;
    };
    let (method, target, version) = (parsed.method?, parsed.path?, parsed.version?);
    request.method = span_in(&request.head, method.as_bytes());
    request.target = span_in(&request.head, target.as_bytes());
    request.version = version;
    request.anomalies.insert_if(!target.is_ascii(), Anomaly::TargetInvalid);
    request.headers.extend(parsed.headers.iter().map(|header| HeaderSpan {
        name: span_in(&request.head, header.name.as_bytes()),
        value: trimmed(&request.head, span_in(&request.head, header.value)),
    }));
    Some(length)
}

/// The span of `part`, a slice of `whole`.
fn span_in(whole: &[u8], part: &[u8]) -> Span {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    span(start, start + part.len())
}

fn span(start: usize, end: usize) -> Span {
    Span { start: start as u32, end: end as u32 }
}

/// Reads the request line the way lenient servers do: the method is the first word, the version the last if it looks like
/// one, and the target everything between. Returns where the next line starts.
fn skip_request_line(request: &mut Request) -> usize {
    let head = &request.head;
    let line_end = memchr(b'\n', head).unwrap_or(head.len());
    let mut end = trim_end(head, 0, line_end);
    let method_start = position_from(head, 0, end, |byte| !is_blank(byte));
    let method_end = position_from(head, method_start, end, is_blank);
    let target_start = position_from(head, method_end, end, |byte| !is_blank(byte));
    let version_start = (target_start..end).rev().find(|&at| is_blank(head[at])).map_or(end, |at| at + 1);
    let version = head[version_start..end].to_ascii_uppercase();
    let mut odd = target_start != method_end + 1 || method_start > 0;
    let number;
    if version.starts_with(b"HTTP/") {
        number = u8::from(version != b"HTTP/1.0");
        let known = matches!(&head[version_start..end], b"HTTP/1.0" | b"HTTP/1.1");
        request.anomalies.insert_if(!known, Anomaly::VersionInvalid);
        end = trim_end(head, target_start, version_start);
        odd |= end + 1 != version_start;
    } else {
        let complete = line_end < head.len();
        number = u8::from(!complete);
        request.anomalies.insert_if(complete, Anomaly::VersionInvalid);
    }
    let bad_method = !head[method_start..method_end].iter().all(|&byte| is_token_byte(byte));
    request.anomalies.insert_if(odd || bad_method, Anomaly::RequestLineInvalid);
    let bad_target = !head[target_start..end].iter().all(u8::is_ascii_graphic);
    request.anomalies.insert_if(bad_target, Anomaly::TargetInvalid);
    request.method = span(method_start, method_end);
    request.target = span(target_start, end);
    request.version = number;
    line_end + 1
}

/// First position in `start..end` whose byte satisfies `wanted`, or `end`.
fn position_from(head: &[u8], start: usize, end: usize, wanted: impl Fn(u8) -> bool) -> usize {
    (start..end).find(|&at| head.get(at).is_some_and(|&byte| wanted(byte))).unwrap_or(end)
}

fn trim_end(head: &[u8], start: usize, end: usize) -> usize {
    let line = head.get(start..end).unwrap_or_default();
    start + line.iter().rposition(|&byte| !is_space(byte)).map_or(0, |at| at + 1)
}

/// Reads header lines from `at` on.
fn parse_lines(head: &[u8], mut at: usize, headers: &mut Vec<HeaderSpan>, anomalies: &mut Anomalies) {
    while at < head.len() {
        let end = memchr(b'\n', &head[at..]).map_or(head.len(), |length| at + length);
        let (line_end, first) = (trim_end(head, at, end), head[at]);
        if line_end == at {
            break;
        }
        if is_blank(first) && !headers.is_empty() {
            anomalies.insert(Anomaly::ObsFold);
            if let Some(last) = headers.last_mut() {
                last.value = trimmed(head, span(last.value.start as usize, line_end));
            }
        } else if headers.len() >= MAX_HEADERS {
            anomalies.insert(Anomaly::TooManyHeaders);
            return parse_rest(head, at, headers, anomalies);
        } else {
            anomalies.insert_if(is_blank(first), Anomaly::SpaceBeforeHeaders);
            headers.push(parse_line(head, at, line_end, anomalies));
        }
        at = end + 1;
    }
}

/// More headers than are kept apart: they become one value without a name, and what decides how the message is read stands apart all the same.
fn parse_rest(head: &[u8], mut at: usize, headers: &mut Vec<HeaderSpan>, anomalies: &mut Anomalies) {
    headers.push(HeaderSpan { name: span(at, at), value: trimmed(head, span(at, head.len())) });
    while at < head.len() && headers.len() < MAX_HEADERS + MAX_LATE_HEADERS {
        let end = memchr(b'\n', &head[at..]).map_or(head.len(), |length| at + length);
        let line_end = trim_end(head, at, end);
        let mut late = Anomalies::NONE;
        let line = parse_line(head, at, line_end, &mut late);
        if decides(line.name.of(head)) {
            anomalies.merge(late);
            headers.push(line);
        }
        at = end + 1;
    }
}

/// Most headers beyond [`MAX_HEADERS`] that are kept for what they decide.
pub(super) const MAX_LATE_HEADERS: usize = 32;

/// Whether a header decides how a message is framed, decoded or paired.
pub(super) fn decides(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 8] = [
        b"content-type",
        b"content-encoding",
        b"host",
        b"expect",
        b"upgrade",
        b"connection",
        b"cookie",
        b"authorization",
    ];
    near_name(name).is_some() || NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// A line without a colon becomes a header of that value and no name, so that it is inspected.
fn parse_line(head: &[u8], start: usize, end: usize, anomalies: &mut Anomalies) -> HeaderSpan {
    let Some(colon) = memchr(b':', &head[start..end]).map(|at| start + at) else {
        anomalies.insert(Anomaly::HeaderWithoutColon);
        return HeaderSpan { name: span(start, start), value: trimmed(head, span(start, end)) };
    };
    let name = trimmed(head, span(start, colon));
    anomalies.insert_if(name.end as usize != colon, Anomaly::SpaceBeforeColon);
    let bytes = name.of(head);
    let invalid = bytes.is_empty() || !bytes.iter().all(|&byte| is_token_byte(byte));
    anomalies.insert_if(invalid, Anomaly::HeaderNameInvalid);
    HeaderSpan { name, value: trimmed(head, span(colon + 1, end)) }
}

/// The span without spaces, tabs and line ends around it. Other white space stays: servers differ about it.
fn trimmed(head: &[u8], whole: Span) -> Span {
    let bytes = whole.of(head);
    let start = bytes.iter().position(|&byte| !is_space(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|&byte| !is_space(byte)).map_or(start, |at| at + 1);
    span(whole.start as usize + start, whole.start as usize + end)
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn count(byte: u8, bytes: &[u8]) -> usize {
    memchr_iter(byte, bytes).count()
}

/// One pass without branches, which the compiler makes one of vectors.
fn note_line_ends(head: &[u8], anomalies: &mut Anomalies) {
    let (mut bare_lf, mut bare_cr, mut nul) = (head.first() == Some(&b'\n'), false, head.first() == Some(&0));
    for (&byte, &next) in head.iter().zip(head.get(1..).unwrap_or_default()) {
        bare_lf |= (next == b'\n') & (byte != b'\r');
        bare_cr |= (byte == b'\r') & (next != b'\n');
        nul |= next == 0;
    }
    anomalies.insert_if(bare_lf, Anomaly::BareLf);
    anomalies.insert_if(bare_cr, Anomaly::BareCr);
    anomalies.insert_if(nul, Anomaly::NulByte);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(head: &str) -> String {
        let mut request = Request::default();
        parse_request(head.as_bytes(), &mut request);
        let escaped = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let headers: Vec<_> =
            request.headers().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
        let names: Vec<_> = request.anomalies.iter().map(Anomaly::name).collect();
        let (method, target) = (escaped(request.method()), escaped(request.target()));
        format!("{method}|{target}|{}|{}|{}", request.version, headers.join(","), names.join(","))
    }

    #[test]
    fn request_heads() {
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\nX:  b \r\n\r\n", "GET|/|1|Host=a,X=b|"),
            ("GET / HTTP/1.0\r\n\r\n", "GET|/|0||"),
            ("GET / HTTP/1.1\nHost: a\n\n", "GET|/|1|Host=a|bare-lf"),
            ("GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n", "GET|/|1|Host=a,B=c|bare-lf"),
            ("\r\nGET / HTTP/1.1\nHost: a\r\n\r\n", "GET|/|1|Host=a|bare-lf"),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "GET|/a b|1|Host=a|target-invalid"),
            ("GET  / HTTP/1.1\r\n\r\n", "GET|/|1||request-line-invalid"),
            ("GET /\u{e4} HTTP/1.1\r\n\r\n", r"GET|/\xc3\xa4|1||target-invalid"),
            ("GET /\r\n\r\n", "GET|/|0||version-invalid"),
            ("get / http/1.1\r\n\r\n", "get|/|1||version-invalid"),
            ("GET / HTTP/2.0\r\n\r\n", "GET|/|1||version-invalid"),
            ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", r"GET|/|1|A=b\r\n c|obs-fold"),
            ("GET / HTTP/1.1\r\nA : b\r\n\r\n", "GET|/|1|A=b|space-before-colon"),
            ("GET / HTTP/1.1\r\nAb\r\nC: d\r\n\r\n", "GET|/|1|=Ab,C=d|header-without-colon"),
            ("GET / HTTP/1.1\r\n: b\r\n\r\n", "GET|/|1|=b|header-name-invalid"),
            ("GET / HTTP/1.1\r\n A: b\r\n\r\n", "GET|/|1|A=b|space-before-headers"),
            ("GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", r"GET|/|1|A=b\x00c|nul-byte"),
            ("GET / HTTP/1.1\r\nA: b\u{b}c\r\n\r\n", r"GET|/|1|A=b\x0bc|header-control-byte"),
            ("GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n", r"GET|/|1|A=b\rC: d|bare-cr"),
            ("GET / HTTP/1.1\r\nA: b", "GET|/|1|A=b|"),
            ("GET /cut?a=", "GET|/cut?a=|1||"),
        ] {
            assert_eq!(shown(head), expected, "{head:?}");
        }
    }

    #[test]
    fn more_headers_than_are_kept() {
        let lines: String = (0..200).map(|n| format!("H{n}: v\r\n")).collect();
        let mut request = Request::default();
        let head = format!("GET / HTTP/1.1\r\n{lines}Content-Length : 5\r\nX: EVIL\r\n\r\n");
        parse_request(head.as_bytes(), &mut request);
        assert_eq!(request.headers.len(), MAX_HEADERS + 2);
        assert!(request.anomalies.contains(Anomaly::TooManyHeaders));
        assert!(request.anomalies.contains(Anomaly::SpaceBeforeColon));
        assert_eq!(request.header("content-length"), Some(&b"5"[..]));
        let rest = request.header("").unwrap_or_default();
        assert!(rest.starts_with(b"H128: v\r\n") && rest.ends_with(b"X: EVIL"));
    }

    #[test]
    fn both_parsers_agree_on_what_keeps_to_the_standard() {
        for head in [
            "GET / HTTP/1.1\r\nHost: a\r\nB:\r\nC: \t d e \t\r\n\r\n",
            "P@T /x?y=%20;z HTTP/1.0\r\nA: \u{e4}\r\n\r\n",
        ] {
            let (mut strict, mut lenient) = (Request::default(), Request::default());
            strict.head.extend_from_slice(head.as_bytes());
            lenient.head.extend_from_slice(head.as_bytes());
            if parse_request_strictly(&mut strict).is_none() {
                continue;
            }
            let lines = skip_request_line(&mut lenient);
            parse_lines(&lenient.head, lines, &mut lenient.headers, &mut lenient.anomalies);
            assert_eq!(strict, lenient);
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_from_any_earlier_place() {
        for head in
            ["GET / HTTP/1.1\r\nA: b\r\n\r\n", "GET / HTTP/1.1\nA: b\n\n", "GET / HTTP/1.1\r\nA: b\n\r\n"]
        {
            let end = head.rfind('b').unwrap() + 1;
            assert!((0..end).all(|from| find_end(head.as_bytes(), from) == Some(head.len())), "{head:?}");
            assert!((0..head.len()).all(|cut| find_end(&head.as_bytes()[..cut], 0).is_none()));
        }
    }

    proptest::proptest! {
        /// The shorter way to see that all line ends are as they should be sees what looking at each of them sees.
        #[test]
        fn line_ends_are_noted_whichever_parser_reads(
            lines in proptest::collection::vec(("(GET / HTTP/1.1|A: b|B:c |)", "(\r\n|\n|\r|\0)"), 0..6),
        ) {
            let head: String = lines.iter().flat_map(|(text, end)| [&**text, &**end]).collect();
            let (mut request, mut expected) = (Request::default(), Anomalies::NONE);
            parse_request(head.as_bytes(), &mut request);
            note_line_ends(head.as_bytes(), &mut expected);
            for kind in [Anomaly::BareLf, Anomaly::BareCr, Anomaly::NulByte] {
                proptest::prop_assert_eq!(request.anomalies.contains(kind), expected.contains(kind), "{:?}", &head);
            }
        }
    }
}
