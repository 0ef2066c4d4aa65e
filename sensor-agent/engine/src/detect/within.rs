//! Values within values: the segments of a path, the parameters of the page that a request says it comes from, and what
//! a header holds that such headers do not. Applications route by the ones and log the others, so that attacks stand
//! there as they stand in parameters.

use crate::field::{Field, Place};
use crate::http::fields::segments;

/// Most values of one field that are looked at.
const MAX_VALUES: usize = 32;
/// Longest header in which something is looked for: longer ones are tokens.
const MAX_HEADER: usize = 2048;
/// Longest header of words that could be a command.
const MAX_COMMAND: usize = 256;

/// The values within a path, a Referer or another header that could hold anything; they pass for parameters. `named` has a bit
/// for each segment that some rule names, so that it is looked at whatever is in it.
pub(super) fn values<'a>(field: &Field<'a>, named: u32) -> impl Iterator<Item = Field<'a>> + use<'a> {
    let path = if field.place == Place::Path { field.value } else { b"" };
    let segments = segments(path)
        .enumerate()
        .filter(move |(number, (_, part))| is_telling(part) || named & 1 << number != 0)
        .map(|(_, (name, value))| Field { place: Place::Segment, name, value, offset: 0 });
    let (text, sign, name): (&[u8], u8, &'a [u8]) = match field.place {
        Place::Header if field.name == b"referer" => (query_of(field.value), b'&', b"referer"),
        Place::Header => (foreign(field).unwrap_or_default(), 0, field.name),
        _ => (b"", 0, b""),
    };
    let parts = text.split(move |&byte| byte == sign && sign != 0).map(move |part| match sign {
        b'&' => memchr::memchr(b'=', part).map_or(part, |at| part.get(at + 1..).unwrap_or_default()),
        _ => part,
    });
    let value = move |value| Field { place: Place::Query, name, value, offset: 0 };
    segments.chain(parts.filter(|part| is_telling(part)).take(MAX_VALUES).map(value))
}

/// What stands behind the question mark of a URL.
fn query_of(url: &[u8]) -> &[u8] {
    memchr::memchr(b'?', url).and_then(|at| url.get(at + 1..)).unwrap_or_default()
}

/// Headers that have a form of their own, which other detections know.
const FORMAL: &[&[u8]] = &[
    b"accept",
    b"accept-charset",
    b"accept-encoding",
    b"accept-language",
    b"authorization",
    b"cache-control",
    b"connection",
    b"content-disposition",
    b"content-length",
    b"content-type",
    b"cookie",
    b"date",
    b"expect",
    b"forwarded",
    b"host",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"keep-alive",
    b"link",
    b"origin",
    b"pragma",
    b"priority",
    b"proxy-authorization",
    b"range",
    b"server-timing",
    b"te",
    b"traceparent",
    b"tracestate",
    b"transfer-encoding",
    b"upgrade",
    b"via",
];

/// The part of a header's value that such headers do not have: behind the products of a User-Agent, or all of it.
fn foreign<'a>(field: &Field<'a>) -> Option<&'a [u8]> {
    let name = field.name;
    if field.value.len() > MAX_HEADER || name.starts_with(b"sec-") || FORMAL.contains(&name) {
        return None;
    }
    if name == b"user-agent" {
        let rest = behind_products(field.value);
        return (!rest.is_empty()).then_some(rest);
    }
    let value = field.value;
    let ordinary = |&byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b',' | b' ' | b'/')
    };
    let holds = |sign: &[u8]| memchr::memmem::find(value, sign).is_some();
    let odd = !value.iter().all(ordinary)
        || value.starts_with(b"/")
        || [&b".."[..], b":/", b"__"].into_iter().any(holds)
        || value.contains(&b' ') && value.len() < MAX_COMMAND;
    odd.then_some(value)
}

/// What follows the products and comments with which a User-Agent begins, `a/1.0 (b; c) d/2`, with the words without a version that
/// stand right before it. The whole value, if it begins otherwise.
fn behind_products(value: &[u8]) -> &[u8] {
    let (mut rest, mut words) = (value, None);
    while !rest.is_empty() {
        let next = if rest.first() == Some(&b'(') { comment(rest) } else { product(rest) };
        let Some((behind, versioned)) = next else { return words.unwrap_or(rest) };
        words = if versioned { None } else { words.or(Some(rest)) };
        rest = behind.strip_prefix(b" ").unwrap_or(behind);
    }
    rest
}

/// What follows a comment in brackets, which holds no bracket of its own but one within another.
fn comment(text: &[u8]) -> Option<(&[u8], bool)> {
    let mut depth = 0_usize;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b')' if at == 1 => return None,
            b'(' => depth += 1,
            b')' if depth == 1 => return Some((text.get(at + 1..)?, true)),
            b')' => depth -= 1,
            b'<' | b'>' | b'`' | b'$' | b'|' | b'\'' | b'%' | b'*' => return None,
            _ if depth > 2 => return None,
            _ => {}
        }
    }
    None
}

/// What follows a product or word, and whether it has a version: letters and signs that names have.
fn product(text: &[u8]) -> Option<(&[u8], bool)> {
    let end = memchr::memchr(b' ', text).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end)?;
    let named = word.first().is_some_and(u8::is_ascii_alphabetic);
    let sign = |&byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'+' | b'!' | b',' | b'~')
    };
    let path = [&b".."[..], b"__", b"//"].into_iter().any(|sign| memchr::memmem::find(word, sign).is_some());
    (named && word.iter().all(sign) && !path).then(|| (rest, word.contains(&b'/')))
}

/// Whether a part holds other characters than names and numbers do.
fn is_telling(part: &[u8]) -> bool {
    let plain = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'+' | b':' | b'@')
    };
    !part.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(place: Place, name: &'static str, value: &'static str) -> Vec<&'static str> {
        let field = Field { place, name: name.as_bytes(), value: value.as_bytes(), offset: 0 };
        values(&field, 0).map(|inner| std::str::from_utf8(inner.value).unwrap()).collect()
    }

    #[test]
    fn segments_have_numbers() {
        let shown = |named: u32| -> Vec<_> {
            let field = Field { place: Place::Path, name: b"", value: b"/a//b%27c/d", offset: 0 };
            let inner = values(&field, named);
            inner.map(|inner| format!("{inner}={}", inner.value.escape_ascii())).collect()
        };
        assert_eq!(shown(0), ["path.segment.2=b%27c"]);
        assert_eq!(shown(0b100), ["path.segment.2=b%27c", "path.segment.3=d"]);
    }

    #[test]
    fn segments_and_parameters_that_tell() {
        assert_eq!(of(Place::Path, "", "/a/b.html/x%27y/sleep(1)"), ["x%27y", "sleep(1)"]);
        assert_eq!(of(Place::Header, "referer", "https://a.example/b?c=1&d=%3Cx%3E#e"), ["%3Cx%3E#e"]);
        assert!(of(Place::Header, "host", "a?b=<").is_empty() && of(Place::Query, "q", "<").is_empty());
    }

    #[test]
    fn what_headers_do_not_hold() {
        for (name, value, expected) in [
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) ' or 1=1--", "' or 1=1--"),
            ("user-agent", "curl/8.0 (a) b/1 ;id", ";id"),
            ("user-agent", "() { :;}; echo x", "() { :;}; echo x"),
            ("user-agent", "../../etc/passwd", "../../etc/passwd"),
            ("x-forwarded-for", "127.0.0.1; sleep 5", "127.0.0.1; sleep 5"),
            ("x-api-version", "cat /etc/passwd", "cat /etc/passwd"),
            ("user-agent", "a/1 cmd /c dir", "cmd /c dir"),
            ("user-agent", "php://input", "php://input"),
            ("x-forwarded-for", "http://127.0.0.1/", "http://127.0.0.1/"),
        ] {
            assert_eq!(of(Place::Header, name, value), [expected], "{name}");
        }
        for (name, value) in [
            (
                "user-agent",
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)",
            ),
            ("user-agent", "My App/1.0"),
            ("x-request-id", "00-ab-cd-01"),
            ("accept", "text/html;q=0.9,*/*"),
        ] {
            assert_eq!(of(Place::Header, name, value), [""; 0], "{name}");
        }
    }
}
