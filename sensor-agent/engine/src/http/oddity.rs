//! What is odd about a head beside its framing: targets that servers normalise differently, headers that replace what the request line
//! says or that may stand once only. None of it decides how the message is read; detection and the list of transactions show it.

use memchr::{memchr, memchr_iter, memchr2, memchr3};

use super::anomaly::{Anomalies, Anomaly};
use super::framing::Framing;
use super::message::{Request, Response};
use super::start::is_token_byte;

/// Bytes of a target that servers should take at least (RFC 9112 section 3).
const LONG_TARGET: usize = 8000;
/// Longest header value that is usual: servers take 8 KiB of a line.
const LONG_HEADER: usize = 8 * 1024;
/// Ranges in one header from which on they are many; downloads in parts ask for one or a few.
const MANY_RANGES: usize = 16;

/// Methods of the registry of HTTP methods that servers may know (RFC 9110 section 16.1.1).
const METHODS: [&[u8]; 40] = [
    b"GET",
    b"POST",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"TRACE",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"SEARCH",
    b"REPORT",
    b"QUERY",
    b"ACL",
    b"BASELINE-CONTROL",
    b"BIND",
    b"CHECKIN",
    b"CHECKOUT",
    b"LABEL",
    b"LINK",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKREDIRECTREF",
    b"MKWORKSPACE",
    b"ORDERPATCH",
    b"PRI",
    b"REBIND",
    b"UNBIND",
    b"UNCHECKOUT",
    b"UNLINK",
    b"UPDATE",
    b"UPDATEREDIRECTREF",
    b"VERSION-CONTROL",
];

/// What `Connection` is there to name; anything else is a field that the client wants a proxy to take off.
const CONNECTION_OPTIONS: [&[u8]; 6] =
    [b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings", b"proxy-connection"];

/// Names what is odd about a request's line and headers.
pub fn of_request(request: &mut Request, framing: Framing) {
    let mut anomalies = Anomalies::NONE;
    of_method(request.method(), &mut anomalies);
    of_target(request, &mut anomalies);
    of_headers(request, framing, &mut anomalies);
    request.anomalies.merge(anomalies);
}

/// Names what is odd about a response; `is_asked` says whether a request for it was seen.
pub fn of_response(response: &mut Response, is_asked: bool) {
    let status = response.status;
    let bodiless = matches!(status, 100..=199 | 204);
    let announces = |(name, value): (&[u8], &[u8])| {
        name.eq_ignore_ascii_case(b"transfer-encoding")
            || name.eq_ignore_ascii_case(b"content-length") && value != b"0"
    };
    let forbidden = bodiless && response.headers().any(announces);
    let anomalies = &mut response.anomalies;
    anomalies.insert_if(forbidden, Anomaly::BodyForbidden);
    anomalies.insert_if(!(100..=599).contains(&status), Anomaly::StatusInvalid);
    anomalies.insert_if(!is_asked, Anomaly::ResponseUnasked);
}

fn of_method(method: &[u8], anomalies: &mut Anomalies) {
    if matches!(method, b"GET" | b"POST" | b"HEAD" | b"PUT" | b"") || METHODS.contains(&method) {
        return;
    }
    anomalies.insert(Anomaly::MethodUnknown);
    anomalies.insert_if(method.iter().any(u8::is_ascii_lowercase), Anomaly::MethodLowerCase);
}

fn of_target(request: &Request, anomalies: &mut Anomalies) {
    let (target, path) = (request.target(), request.path());
    anomalies.insert_if(target.len() > LONG_TARGET, Anomaly::TargetTooLong);
    let form = match (target.first(), request.method()) {
        (None, _) => None,
        (Some(_), b"CONNECT") => memchr(b'/', target).map(|_| Anomaly::TargetFormInvalid),
        (Some(b'/'), _) => None,
        (Some(b'*'), b"OPTIONS") if target.len() == 1 => None,
        _ if is_absolute(target) => Some(Anomaly::TargetAbsolute),
        _ => Some(Anomaly::TargetFormInvalid),
    };
    anomalies.extend(form);
    if let Some(at) = memchr3(b'#', b';', b'%', target) {
        anomalies.insert_if(memchr(b'#', target).is_some(), Anomaly::TargetFragment);
        anomalies.insert_if(memchr(b';', path).is_some(), Anomaly::PathParameter);
        anomalies.insert_if(memchr(b';', request.query()).is_some(), Anomaly::QuerySemicolon);
        of_escapes(target, at, request.path_start() + path.len(), anomalies);
    }
    // Paths are short, so that a plain walk is faster than a search.
    let (mut before, mut is_ascii) = (0, true);
    for (at, &byte) in path.iter().enumerate() {
        match (before, byte) {
            (b'/', b'/') => _ = anomalies.insert(Anomaly::PathEmptySegment),
            (b'/', b'.' | b'%') => {
                let rest = path.get(at..).unwrap_or_default();
                anomalies.insert_if(is_dot_segment(rest), Anomaly::PathDotSegment);
            }
            (_, b'\\') => _ = anomalies.insert(Anomaly::PathBackslash),
            _ => {}
        }
        is_ascii &= byte.is_ascii();
        before = byte;
    }
    if !is_ascii {
        anomalies.insert_if(std::str::from_utf8(path).is_err(), Anomaly::Utf8Invalid);
        anomalies.insert_if(path.windows(2).any(is_overlong), Anomaly::Utf8Overlong);
    }
}

/// `scheme://`.
fn is_absolute(target: &[u8]) -> bool {
    memchr::memmem::find(target, b"://").is_some_and(|at| {
        at > 0 && target[..at].iter().all(|&byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// Whether a segment that begins here is `.` or `..`, whose dots may be encoded.
fn is_dot_segment(mut rest: &[u8]) -> bool {
    for dots in 0..=2 {
        if dots > 0 && matches!(rest.first(), None | Some(b'/' | b'\\' | b';' | b'?')) {
            return true;
        }
        rest = match rest {
            [b'.', behind @ ..] | [b'%', b'2', b'e' | b'E', behind @ ..] => behind,
            _ => return dots > 0 && rest.starts_with(b"%") && is_separator(rest),
        };
    }
    false
}

/// Whether an encoded slash or backslash begins here.
fn is_separator(rest: &[u8]) -> bool {
    matches!(rest, [b'%', b'2', b'f' | b'F', ..] | [b'%', b'5', b'c' | b'C', ..])
}

/// A first and a second byte of UTF-8 that say in two or three bytes what fits into one.
fn is_overlong(pair: &[u8]) -> bool {
    matches!(pair, [0xc0 | 0xc1, 0x80..=0xbf] | [0xe0, 0x80..=0x9f])
}

/// Percent-encodings from `from` on; the path ends at `path_end`.
fn of_escapes(target: &[u8], from: usize, path_end: usize, anomalies: &mut Anomalies) {
    let mut has_high = false;
    for at in memchr_iter(b'%', target.get(from..).unwrap_or_default()).map(|at| from + at) {
        let rest = target.get(at..).unwrap_or_default();
        let in_path = at < path_end;
        let Some(code) = escaped(rest) else {
            let unicode = matches!(rest, [_, b'u' | b'U', digits @ ..] if are_hex(digits, 4));
            anomalies.insert(if unicode { Anomaly::PercentUnicode } else { Anomaly::PercentInvalid });
            continue;
        };
        anomalies.insert_if(
            code == b'%' && rest.get(3..).is_some_and(|rest| are_hex(rest, 2)),
            Anomaly::PercentDouble,
        );
        anomalies.insert_if(code == 0, Anomaly::PercentNul);
        anomalies.insert_if(in_path && matches!(code, 1..=31 | 127), Anomaly::PercentControl);
        anomalies.insert_if(in_path && is_separator(rest), Anomaly::PathEncodedSeparator);
        let overlong = rest.get(3..).and_then(escaped).is_some_and(|next| is_overlong(&[code, next]));
        anomalies.insert_if(overlong, Anomaly::Utf8Overlong);
        has_high |= in_path && code > 127;
    }
    if has_high {
        let path = target.get(..path_end).unwrap_or_default();
        let bytes: Vec<u8> = percent_encoding::percent_decode(path).collect();
        anomalies.insert_if(std::str::from_utf8(&bytes).is_err(), Anomaly::Utf8Invalid);
    }
}

/// The byte of a percent-encoding.
fn escaped(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

fn are_hex(text: &[u8], count: usize) -> bool {
    text.get(..count).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// Headers of which there may be one (RFC 9110 section 5.3), beside Host and those of framing and content.
#[derive(Clone, Copy, Debug)]
enum Single {
    Authorization,
    UserAgent,
    Referer,
    Origin,
    MaxForwards,
    IfModifiedSince,
    IfUnmodifiedSince,
    IfRange,
    ProxyAuthorization,
    From,
}

/// What was seen of headers that may stand once.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// A bit for each [`Single`].
    singles: u16,
    cookies: u32,
}

impl Seen {
    fn note(&mut self, single: Single, anomalies: &mut Anomalies) {
        let bit = 1 << single as u16;
        anomalies.insert_if(self.singles & bit != 0, Anomaly::HeaderRepeated);
        self.singles |= bit;
    }
}

fn of_headers(request: &Request, framing: Framing, anomalies: &mut Anomalies) {
    let has_body = !matches!(framing, Framing::None | Framing::Length(0));
    let mut seen = Seen::default();
    for header in &request.headers {
        let (name, value) = (header.name.of(&request.head), header.value.of(&request.head));
        if KNOWN_LENGTHS >> name.len().min(31) & 1 != 0 {
            of_header(name, value, has_body, &mut seen, anomalies);
        }
        anomalies.insert_if(value.len() > LONG_HEADER, Anomaly::HeaderTooLong);
    }
    anomalies.insert_if(seen.cookies > 1 && request.version < 2, Anomaly::CookieRepeated);
    if !request.head.is_ascii() {
        let odd = request.headers().any(|(name, value)| !name.is_ascii() || !value.is_ascii());
        anomalies.insert_if(odd, Anomaly::HeaderNonAscii);
    }
}

/// A bit for each length of the names that [`of_header`] knows.
const KNOWN_LENGTHS: u32 = 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 7
    | 1 << 8
    | 1 << 10
    | 1 << 12
    | 1 << 13
    | 1 << 14
    | 1 << 17
    | 1 << 19
    | 1 << 22;

/// Most headers have a length, or a first letter, that none of these has.
fn of_header(name: &[u8], value: &[u8], has_body: bool, seen: &mut Seen, anomalies: &mut Anomalies) {
    let Some(first) = name.first().map(u8::to_ascii_lowercase) else { return };
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    match (name.len(), first) {
        (4, b'h') if is(b"host") => of_host(value, anomalies),
        (4, b'f') if is(b"from") => seen.note(Single::From, anomalies),
        (5, b'r') if is(b"range") => {
            anomalies.insert_if(memchr_iter(b',', value).count() >= MANY_RANGES, Anomaly::RangeMany);
        }
        (6, b'c') if is(b"cookie") => seen.cookies += 1,
        (6, b'e') if is(b"expect") => anomalies.insert_if(!has_body, Anomaly::ExpectWithoutBody),
        (6, b'o') if is(b"origin") => seen.note(Single::Origin, anomalies),
        (7, b'u') if is(b"upgrade") => anomalies.insert_if(has_body, Anomaly::UpgradeWithBody),
        (7, b'r') if is(b"referer") => seen.note(Single::Referer, anomalies),
        (8, b'i') if is(b"if-range") => seen.note(Single::IfRange, anomalies),
        (10, b'u') if is(b"user-agent") => seen.note(Single::UserAgent, anomalies),
        (10, b'c') if is(b"connection") => {
            anomalies.insert_if(names_a_field(value), Anomaly::ConnectionNamesField);
        }
        (12, b'm') if is(b"max-forwards") => seen.note(Single::MaxForwards, anomalies),
        (13, b'a') if is(b"authorization") => {
            seen.note(Single::Authorization, anomalies);
            anomalies.insert_if(!has_credentials(value), Anomaly::AuthorizationInvalid);
        }
        (17, b'i') if is(b"if-modified-since") => seen.note(Single::IfModifiedSince, anomalies),
        (19, b'i') if is(b"if-unmodified-since") => seen.note(Single::IfUnmodifiedSince, anomalies),
        (19, b'p') if is(b"proxy-authorization") => seen.note(Single::ProxyAuthorization, anomalies),
        (13, b'x') if is(b"x-rewrite-url") => _ = anomalies.insert(Anomaly::TargetOverridden),
        (14, b'x') if is(b"x-original-url") => _ = anomalies.insert(Anomaly::TargetOverridden),
        (13 | 17 | 22, b'x')
            if is(b"x-http-method") || is(b"x-method-override") || is(b"x-http-method-override") =>
        {
            anomalies.insert(Anomaly::MethodOverridden);
        }
        _ => {}
    }
}

fn of_host(value: &[u8], anomalies: &mut Anomalies) {
    anomalies.insert_if(value.is_empty(), Anomaly::HostEmpty);
    // Behind the bracket of an IPv6 address, if there is one.
    let from = memchr(b']', value).unwrap_or(0);
    let port = memchr(b':', value.get(from..).unwrap_or_default()).map(|at| &value[from + at + 1..]);
    anomalies.insert_if(port.is_some_and(|port| !is_port(port)), Anomaly::HostPortInvalid);
}

/// An empty one is the scheme's own (RFC 3986 section 3.2.3).
fn is_port(text: &[u8]) -> bool {
    let number = text.iter().try_fold(0u16, |number, byte| {
        let digit = char::from(*byte).to_digit(10).and_then(|digit| u16::try_from(digit).ok())?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.is_some()
}

fn names_a_field(connection: &[u8]) -> bool {
    if connection.eq_ignore_ascii_case(b"keep-alive") || connection.eq_ignore_ascii_case(b"close") {
        return false;
    }
    let options = connection.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    options
        .filter(|option| !option.is_empty())
        .any(|option| !CONNECTION_OPTIONS.iter().any(|known| option.eq_ignore_ascii_case(known)))
}

/// `scheme credentials`.
fn has_credentials(value: &[u8]) -> bool {
    let Some(space) = memchr2(b' ', b'\t', value) else { return false };
    value[..space].iter().all(|&byte| is_token_byte(byte)) && !value[space..].trim_ascii().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{parse_request, parse_response};

    #[track_caller]
    fn check(head: &str, expected: &[Anomaly]) {
        let mut request = Request::default();
        parse_request(&head.bytes().collect::<Vec<_>>(), &mut request);
        let before = request.anomalies;
        let framing = crate::http::framing::of_request(&mut request);
        let known = request.anomalies;
        of_request(&mut request, framing);
        let found: Vec<_> = request.anomalies.without(known).iter().collect();
        assert_eq!(found, expected, "{head:?} {before:?}");
    }

    fn target(target: &str, expected: &[Anomaly]) {
        check(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"), expected);
    }

    fn header(line: &str, expected: &[Anomaly]) {
        check(&format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n{line}\r\n\r\n"), expected);
    }

    #[test]
    fn an_ordinary_request_has_none() {
        check(
            "GET /a/b.html?c=%20d&e=1%2F2 HTTP/1.1\r\nHost: h:8080\r\nConnection: keep-alive, Upgrade\r\nCookie: a=b\r\n\
             User-Agent: u\r\nAuthorization: Basic YTpi\r\nRange: bytes=0-9,20-29\r\nReferer: http://h/\r\n\r\n",
            &[],
        );
        check("OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", &[]);
        check("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", &[]);
        target("/%C3%A4/..hidden/a.b", &[]);
    }

    #[test]
    fn targets() {
        use Anomaly as A;
        target("http://h/a", &[A::TargetAbsolute]);
        target("a", &[A::TargetFormInvalid]);
        target("*", &[A::TargetFormInvalid]);
        target("/a#b", &[A::TargetFragment]);
        target(&format!("/{}", "a".repeat(LONG_TARGET)), &[A::TargetTooLong]);
        target("/a?b=100%", &[A::PercentInvalid]);
        target("/a?b=%2527", &[A::PercentDouble]);
        target("/a?b=%u0027", &[A::PercentUnicode]);
        target("/a?b=x%00", &[A::PercentNul]);
        target("/a%0d%0ab", &[A::PercentControl]);
        target("/a%2fb", &[A::PathEncodedSeparator]);
        target("/a\\b", &[A::PathBackslash]);
        for dots in ["/a/../b", "/a/.", "/%2e%2e/b", "/a/.%2E;x/b"] {
            let more = if dots.contains(';') {
                vec![A::PathDotSegment, A::PathParameter]
            } else {
                vec![A::PathDotSegment]
            };
            target(dots, &more);
        }
        target("/..%2fa", &[A::PathEncodedSeparator, A::PathDotSegment]);
        target("/a//b", &[A::PathEmptySegment]);
        target("/a;b=c/d", &[A::PathParameter]);
        target("/a?b=c;d=e", &[A::QuerySemicolon]);
        for connect in ["CONNECT / HTTP/1.1", "CONNECT http://h/ HTTP/1.1", "CONNECT h:1/ HTTP/1.1"] {
            check(&format!("{connect}\r\nHost: h\r\n\r\n"), &[A::TargetFormInvalid]);
        }
        target("/%c0%ae", &[A::Utf8Overlong, A::Utf8Invalid]);
        target("/%ff", &[A::Utf8Invalid]);
        check("FOO / HTTP/1.0\r\n\r\n", &[A::MethodUnknown]);
        check("get / HTTP/1.0\r\n\r\n", &[A::MethodUnknown, A::MethodLowerCase]);
    }

    #[test]
    fn headers() {
        use Anomaly as A;
        header(&format!("X: {}", "y".repeat(LONG_HEADER + 1)), &[A::HeaderTooLong]);
        header("X: \u{e4}", &[A::HeaderNonAscii]);
        header("User-Agent: a\r\nuser-agent: b", &[A::HeaderRepeated]);
        header("Cookie: a=b\r\nCookie: c=d", &[A::CookieRepeated]);
        header(&format!("Range: bytes=0-{}", ",5-".repeat(20)), &[A::RangeMany]);
        header("Connection: close, X-Forwarded-For", &[A::ConnectionNamesField]);
        header("Upgrade: h2c", &[A::UpgradeWithBody]);
        header("X-HTTP-Method-Override: PUT", &[A::MethodOverridden]);
        header("X-Original-URL: /admin", &[A::TargetOverridden]);
        header("Authorization: secret", &[A::AuthorizationInvalid]);
        check("GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n", &[A::ExpectWithoutBody]);
        check("GET / HTTP/1.1\r\nHost:\r\n\r\n", &[A::HostEmpty]);
        for host in ["h:x", "h:65536", "h:-1", "[::1]:x", "::1"] {
            check(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), &[A::HostPortInvalid]);
        }
        for host in ["h:", "h:0080", "[::1]:", "[::1]", "h:65535"] {
            check(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), &[]);
        }
        header("If-Unmodified-Since: a\r\nIf-Unmodified-Since: b", &[A::HeaderRepeated]);
    }

    #[test]
    fn responses() {
        for (head, asked, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3", true, None),
            ("HTTP/1.1 304 N\r\nContent-Length: 3", true, None),
            ("HTTP/1.1 204 N\r\nContent-Length: 3", true, Some(Anomaly::BodyForbidden)),
            ("HTTP/1.1 100 C\r\nTransfer-Encoding: chunked", true, Some(Anomaly::BodyForbidden)),
            ("HTTP/1.1 99 X", true, Some(Anomaly::StatusInvalid)),
            ("HTTP/1.1 OK", true, Some(Anomaly::StatusInvalid)),
            ("HTTP/1.1 200 OK", false, Some(Anomaly::ResponseUnasked)),
        ] {
            let mut response = Response::default();
            parse_response(format!("{head}\r\n\r\n").as_bytes(), &mut response);
            of_response(&mut response, asked);
            assert_eq!(response.anomalies, expected.into_iter().collect(), "{head:?}");
        }
    }
}
