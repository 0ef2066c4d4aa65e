//! Rules of HTTP that every ordinary client keeps, and tools do not: media types that are none, character sets that nobody
//! has, names of parts that break out of their header line, header fields that belong to other methods. None of them is an
//! attack by itself; they are how parsers are made to differ.

use crate::field::{Field, Fields, Place};
use crate::http::anomaly::Anomaly;
use crate::http::message::Request;

/// A rule that a request breaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Violation<'a> {
    /// What is wrong, in a few words.
    pub(super) what: &'static str,
    /// Where it shows.
    pub(super) field: Field<'a>,
    pub(super) confidence: f32,
}

/// How sure what no ordinary client sends is.
const SURE: f32 = 0.74;
/// What some ordinary client may send.
const LIKELY: f32 = 0.72;
/// What few ordinary clients send.
const ODD: f32 = 0.55;
/// More parameters than this in one request.
const MANY_PARAMETERS: usize = 255;
/// Longer names of parameters are hardly names.
const LONG_NAME: usize = 100;

/// The surest violation that the head shows.
/// `of_headers` is the surest that a header field shows.
pub(super) fn in_head<'a>(
    request: &'a Request,
    fields: &'a Fields,
    of_headers: Option<Violation<'a>>,
) -> Option<Violation<'a>> {
    let parameters = fields.of(Place::Query).count();
    let many = (parameters > MANY_PARAMETERS).then(|| of_target(request, "too many parameters", SURE));
    let version = request.anomalies.contains(Anomaly::VersionInvalid);
    let version = version.then(|| of_target(request, "no known version of HTTP", SURE));
    let host = request.anomalies.contains(Anomaly::MissingHost) && request.version > 0;
    let host = host.then(|| of_target(request, "no Host field", SURE));
    let name = fields.of(Place::Query).find(|field| field.name.len() > LONG_NAME);
    let name = name.map(|field| Violation { what: "a very long name", field, confidence: ODD });
    surest(
        of_headers.into_iter().chain(many).chain(version).chain(host).chain(name).chain(body_of_get(request)),
    )
}

/// The surest violation that the body shows.
pub(super) fn in_body<'a>(request: &'a Request, fields: &'a Fields) -> Option<Violation<'a>> {
    let of_parts = fields.of(Place::Multipart).filter_map(|field| {
        let (what, confidence) = part(&field)?;
        Some(Violation { what, field, confidence })
    });
    surest(of_parts.chain(body_of_get(request)))
}

/// The violation that a header field shows.
pub(super) fn in_header<'a>(field: &Field<'a>, request: &Request) -> Option<Violation<'a>> {
    let (what, confidence) = header(field.name, field.value, request.method())?;
    Some(Violation { what, field: *field, confidence })
}

/// Whether a header field shows none, whatever the method is.
pub(super) fn is_sound(field: &Field<'_>) -> bool {
    header(field.name, field.value, b"GET").is_none()
}

/// The surest of violations, the first of those alike.
pub(super) fn surest<'a>(violations: impl Iterator<Item = Violation<'a>>) -> Option<Violation<'a>> {
    violations.reduce(|a, b| if b.confidence > a.confidence { b } else { a })
}

fn of_target<'a>(request: &'a Request, what: &'static str, confidence: f32) -> Violation<'a> {
    let field = Field { place: Place::Target, name: b"", value: request.target(), offset: 0 };
    Violation { what, field, confidence }
}

/// A form in the body of a request that has none as a rule. Query languages in JSON are sent so by some clients.
fn body_of_get(request: &Request) -> Option<Violation<'_>> {
    if !request.anomalies.contains(Anomaly::UnexpectedBody) {
        return None;
    }
    let kind = request.header("content-type").unwrap_or_default();
    let json = memchr::memmem::find(kind, b"json").is_some();
    let confidence = if matches!(request.method(), b"GET" | b"HEAD") { SURE } else { ODD };
    (!json).then(|| of_target(request, "a body where none belongs", confidence))
}

/// What is wrong with a header field.
fn header(name: &[u8], value: &[u8], method: &[u8]) -> Option<(&'static str, f32)> {
    let is = |known: &str| name.len() == known.len() && name.eq_ignore_ascii_case(known.as_bytes());
    let safe = matches!(method, b"GET" | b"HEAD" | b"POST");
    if is("content-type") {
        return media_type(value);
    }
    if is("content-range") || is("lock-token") || is("if") || is("translate") {
        return safe.then_some(("a field of other methods", SURE));
    }
    if is("content-encoding") && matches!(method, b"GET" | b"HEAD") {
        return Some(("an encoding of no body", SURE));
    }
    if is("accept") && rare_charset(value) {
        return Some(("a rare character set in Accept", LIKELY));
    }
    if is("accept-encoding") && value.len() > LONG_NAME {
        return Some(("a very long list of encodings", SURE));
    }
    if is("accept") || is("host") || is("user-agent") {
        let empty = value.trim_ascii().is_empty();
        return empty.then_some(("an empty field", if is("user-agent") { ODD } else { SURE }));
    }
    if is("connection") {
        let options = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        let lasting = options
            .filter(|one| one.eq_ignore_ascii_case(b"close") || one.eq_ignore_ascii_case(b"keep-alive"));
        return (lasting.count() > 1).then_some(("contradicting options of the connection", SURE));
    }
    (is("x-up-devcap-post-charset")).then_some(("a character set for another body", SURE))
}

/// Whether a list of media types asks for a character set that texts hardly come in.
fn rare_charset(value: &[u8]) -> bool {
    let parts = value.split(|byte| matches!(byte, b',' | b';')).map(<[u8]>::trim_ascii);
    parts.filter(|part| starts_with(part, b"charset=")).any(|part| {
        let name = part.get(8..).unwrap_or_default();
        let name = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name);
        !COMMON_CHARSETS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
    })
}

/// What is wrong with a media type (RFC 9110 section 8.3.1).
fn media_type(value: &[u8]) -> Option<(&'static str, f32)> {
    let mut parts = Parameters { rest: value };
    let kind = parts.next().unwrap_or_default();
    let token = |text: &[u8]| !text.is_empty() && text.iter().all(|byte| is_token(*byte));
    let slash = memchr::memchr(b'/', kind);
    let sound = slash.is_some_and(|at| {
        token(kind.get(..at).unwrap_or_default()) && token(kind.get(at + 1..).unwrap_or_default())
    });
    if !sound && !kind.is_empty() {
        return Some(("no media type", SURE));
    }
    let multipart = kind.get(..10).is_some_and(|head| head.eq_ignore_ascii_case(b"multipart/"));
    let mut charsets = 0;
    for parameter in parts.filter(|part| !part.is_empty()) {
        let Some(equals) = memchr::memchr(b'=', parameter) else {
            // `application/json; utf-8` is a widespread mistake.
            if is_known_charset(parameter) {
                continue;
            }
            return Some(("a parameter without a value", SURE));
        };
        let (key, text) = (parameter.get(..equals)?.trim_ascii(), parameter.get(equals + 1..)?);
        let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
        if key.eq_ignore_ascii_case(b"charset") {
            charsets += 1;
            if !is_known_charset(text.trim_ascii()) {
                return Some(("a character set that nobody has", SURE));
            }
        }
        if key.eq_ignore_ascii_case(b"boundary") && (!multipart || text.starts_with(b" ")) {
            return Some(("a boundary of no parts", SURE));
        }
    }
    (charsets > 1).then_some(("two character sets", SURE))
}

/// Parts of a header value between semicolons that stand in no quotes.
struct Parameters<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Parameters<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let mut quoted = false;
        let end = self.rest.iter().position(|&byte| {
            quoted ^= byte == b'"';
            byte == b';' && !quoted
        });
        let (part, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest.get(1..).unwrap_or_default();
        Some(part.trim_ascii())
    }
}

/// A character of a token (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Character sets of parts.
const COMMON_CHARSETS: &[&str] = &[
    "utf-8",
    "utf8",
    "us-ascii",
    "ascii",
    "iso-8859-1",
    "iso-8859-15",
    "windows-1252",
    "windows-1251",
    "gbk",
    "",
];

fn starts_with(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

/// Beginnings of the names of character sets that forms and texts are sent in.
const CHARSETS: &[&str] = &[
    "utf-8",
    "utf8",
    "utf-16",
    "us-ascii",
    "ascii",
    "iso-8859-",
    "iso8859-",
    "latin",
    "windows-12",
    "cp12",
    "koi8-",
    "gbk",
    "gb2312",
    "gb18030",
    "big5",
    "euc-",
    "shift_jis",
    "shift-jis",
    "sjis",
    "iso-2022-jp",
    "windows-31j",
    "windows-874",
    "tis-620",
    "macintosh",
    "unicode",
    "ansi",
];

fn is_known_charset(name: &[u8]) -> bool {
    let known = CHARSETS.iter().any(|known| {
        let ends = |rest: &[u8]| known.ends_with('-') || rest.iter().all(|byte| !byte.is_ascii_digit());
        name.get(..known.len()).is_some_and(|head| head.eq_ignore_ascii_case(known.as_bytes()))
            && (ends(name.get(known.len()..).unwrap_or_default()) || !known.starts_with("utf"))
    });
    known || name.is_empty()
}

/// What is wrong with a part of a multipart body: what would end its name in a parser that reads quotes otherwise.
fn part(field: &Field<'_>) -> Option<(&'static str, f32)> {
    let breaks = |text: &[u8], signs: &[u8]| text.iter().any(|byte| signs.contains(byte));
    if field.name.ends_with(b".filename") {
        // Some mail programs encode names as mail does (RFC 2047).
        let file = if field.value.starts_with(b"=?") { &b""[..] } else { field.value };
        let entity = memchr::memchr(b'&', file).is_some() && memchr::memchr(b';', file).is_some();
        return (breaks(file, b"\";=") || entity)
            .then_some(("a file name that breaks out of its header", SURE));
    }
    let dotted = field.name.ends_with(b".header");
    if let Some(kind) = field.value.get(13..).filter(|_| dotted && starts_with(field.value, b"content-type:"))
    {
        let charset = Parameters { rest: kind }.skip(1).find_map(|part| {
            let at = memchr::memchr(b'=', part)?;
            starts_with(part, b"charset").then(|| part.get(at + 1..).unwrap_or_default())
        });
        let common =
            |name: &[u8]| COMMON_CHARSETS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        let text = charset.map(|text| {
            text.trim_ascii().strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text)
        });
        return text.filter(|text| !common(text)).map(|_| ("a part in a rare character set", SURE));
    }
    (!dotted && field.name.len() < LONG_NAME && breaks(field.name, b"\";='"))
        .then_some(("a name that breaks out of its header", SURE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_that_are_none() {
        for value in [
            "my-new-content-type",
            "multipart/",
            "text/plain; charset=\"UTF-8\"; garbage",
            "application/x-www-form-urlencoded; charset=utf-80",
            "application/x-www-form-urlencoded;boundary=\"text/xml\"",
            "text/xml; blah",
            "application/json; charset=utf-8; charset=utf-7",
            "%{(#a='multipart/form-data')}",
        ] {
            assert!(media_type(value.as_bytes()).is_some(), "{value}");
        }
    }

    #[test]
    fn media_types_of_ordinary_clients() {
        for value in [
            "text/plain",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "text/html; charset=ISO-8859-15;",
            "multipart/form-data; boundary=----WebKitFormBoundaryabc; charset=utf-8",
            "multipart/form-data; boundary=\"a;b=c\"",
            "application/vnd.api+json; ext=\"https://jsonapi.org/ext/atomic\"; profile=x",
            "application/soap+xml; charset=utf-8; action=\"urn:x\"",
            "text/plain;charset=Windows-31J",
            "application/json; utf-8",
            "",
        ] {
            assert_eq!(media_type(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn names_of_parts() {
        let of = |name: &str, value: &str| {
            let field =
                Field { place: Place::Multipart, name: name.as_bytes(), value: value.as_bytes(), offset: 0 };
            part(&field).is_some()
        };
        assert!(
            of("fi;le", "") && of("a=b", "") && of("x.filename", "a\";b.txt") && of("x.filename", "&amp;a;b")
        );
        assert!(
            !of("x.filename", "=?UTF-8?B?w7w=?=")
                && !of("file", "a=b;c")
                && !of("x.filename", "John's R&D plan.pdf")
                && !of("a[b].c", "")
        );
    }
}
