//! Values within values: the segments of a path, the parameters of the page that a request says it comes from, and what
//! a header holds that such headers do not. Applications route by the ones and log the others, so that attacks stand
//! there as they stand in parameters.

use crate::field::{Field, Place};
use crate::http::fields::segments;
use crate::rule::decode::is_hex_text;

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
        Place::Header if field.name == b"referer" && names_no_page(field.value) => {
            (field.value, 0, b"referer")
        }
        Place::Header if field.name == b"referer" => match behind_page(field.value) {
            Some(text) => (text, 0, b"referer"),
            None => (query_of(field.value), b'&', b"referer"),
        },
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

/// What stands behind the last slash of a page's address from a character on that no address has as it stands (RFC 3986 section 2).
fn behind_page(url: &[u8]) -> Option<&[u8]> {
    let foreign = |byte: &u8| matches!(byte, b' ' | b'"' | b'<' | b'>' | b'`' | b'\\' | b'^' | b'{' | b'|');
    let at = url.iter().position(foreign)?;
    let page = url.get(..at).filter(|page| !page.contains(&b'?'))?;
    url.get(memchr::memrchr(b'/', page)? + 1..)
}

/// What stands behind the question mark of a URL.
fn query_of(url: &[u8]) -> &[u8] {
    memchr::memchr(b'?', url).and_then(|at| url.get(at + 1..)).unwrap_or_default()
}

/// Headers that have a form of their own, which other detections know: what stands in them may be anything.
const FORMAL: &[&[u8]] = &[
    b"content-disposition",
    b"content-type",
    b"cookie",
    b"if-match",
    b"if-none-match",
    b"link",
    b"server-timing",
    b"tracestate",
];

/// Headers of names, numbers, dates and addresses (RFC 9110): what needs other signs than their grammar has is no such value.
const LISTS: &[&[u8]] = &[
    b"accept",
    b"accept-charset",
    b"accept-encoding",
    b"accept-language",
    b"cache-control",
    b"connection",
    b"content-length",
    b"date",
    b"expect",
    b"forwarded",
    b"host",
    b"if-modified-since",
    b"if-unmodified-since",
    b"keep-alive",
    b"origin",
    b"pragma",
    b"priority",
    b"range",
    b"te",
    b"traceparent",
    b"transfer-encoding",
    b"upgrade",
    b"via",
];

/// Of [`LISTS`] those with a blank only behind a comma or semicolon.
const UNSPACED: &[&[u8]] =
    &[b"accept-charset", b"accept-encoding", b"accept-language", b"host", b"origin", b"range"];

/// The part of a header's value that such headers do not have: behind the products of a User-Agent, or all of it.
fn foreign<'a>(field: &Field<'a>) -> Option<&'a [u8]> {
    let (name, value) = (field.name, field.value);
    if value.len() > MAX_HEADER || name.starts_with(b"sec-") || FORMAL.contains(&name) {
        return None;
    }
    if matches!(name, b"authorization" | b"proxy-authorization") {
        return beside_credentials(value);
    }
    if LISTS.contains(&name) {
        return leaves_list(name, value).then_some(value);
    }
    if name == b"user-agent" {
        let rest = behind_products(value);
        return (!rest.is_empty()).then_some(rest);
    }
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

/// Whether a value of one of [`LISTS`] holds what the grammar of such headers has no place for.
fn leaves_list(name: &[u8], value: &[u8]) -> bool {
    let foreign =
        |byte: &u8| matches!(byte, b'\'' | b'<' | b'>' | b'`' | b'$' | b'\\' | b'{' | b'|' | b'%' | b'#');
    let apart = |pair: &[u8]| matches!(pair, [byte, b' '] if byte.is_ascii_alphanumeric());
    value.iter().any(foreign)
        || memchr::memmem::find(value, b"..").is_some()
        || UNSPACED.contains(&name) && value.windows(2).any(apart)
}

/// What an Authorization header holds that is neither a token nor parameters behind a scheme (RFC 9110 section 11.4).
fn beside_credentials(value: &[u8]) -> Option<&[u8]> {
    let in_token = |&byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=:|@,!".contains(&byte);
    let (scheme, rest) = value.split_at(memchr::memchr(b' ', value).unwrap_or(value.len()));
    let (scheme_is_word, rest) = (scheme.iter().all(in_token), rest.trim_ascii());
    if scheme_is_word && (rest.iter().all(in_token) || is_parameters(rest)) {
        let telling = |sign: &[u8]| memchr::memmem::find(value, sign).is_some();
        let alone = rest.is_empty() && (value.starts_with(b"/") || telling(b"..") || telling(b"://"));
        return alone.then_some(value);
    }
    // A single word behind a scheme is a secret of its own, whatever it is made of.
    let secret = scheme_is_word && !rest.contains(&b' ');
    Some(if secret { rest } else { value })
}

/// Whether a text is parameters, `a=b, c="d e"`, whose values hold no quotes or markup of their own.
fn is_parameters(text: &[u8]) -> bool {
    let in_value = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/:|@,;*!%=".contains(byte);
    let in_quotes = |byte: &u8| in_value(byte) || b" ()?&#".contains(byte);
    let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).all(|piece| {
        let Some((name, value)) = memchr::memchr(b'=', piece).and_then(|at| piece.split_at_checked(at))
        else {
            return false;
        };
        let value = value.get(1..).unwrap_or_default();
        let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        name.iter().all(in_name)
            && quoted.map_or(value.iter().all(in_value), |text| text.iter().all(in_quotes))
    })
}

/// How the addresses of pages begin that a browser names in a Referer.
const PAGES: &[&[u8]] = &[
    b"http:",
    b"https:",
    b"android-app:",
    b"ios-app:",
    b"about:",
    b"app:",
    b"file:///",
    b"capacitor:",
    b"ionic:",
    b"chrome-extension:",
    b"moz-extension:",
    b"safari-web-extension:",
];

/// Whether a Referer names no page at all.
fn names_no_page(value: &[u8]) -> bool {
    let begins =
        |page: &&&[u8]| value.get(..page.len()).is_some_and(|start| start.eq_ignore_ascii_case(page));
    let path = value.first() == Some(&b'/') && value.get(1) != Some(&b'/');
    value.len() <= MAX_HEADER && !path && !PAGES.iter().any(|page| begins(&page))
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
    !part.iter().all(plain) || is_hex_text(part)
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
        assert_eq!(
            of(Place::Path, "", "/0123456789abcdef0123/27206f7220313d312d2d"),
            ["27206f7220313d312d2d"]
        );
        assert_eq!(of(Place::Header, "referer", "https://a.example/b?c=1&d=%3Cx%3E#e"), ["%3Cx%3E#e"]);
        assert!(of(Place::Header, "link", "a?b=<").is_empty() && of(Place::Query, "q", "<").is_empty());
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
            ("accept-language", "1 UNION SELECT 1", "1 UNION SELECT 1"),
            ("accept", "x' or 'a'='a", "x' or 'a'='a"),
            ("host", "a.example`id`", "a.example`id`"),
            ("authorization", "' or 1=1--", "' or 1=1--"),
            ("authorization", "/etc/passwd", "/etc/passwd"),
            ("authorization", "Bearer a'b$c", "a'b$c"),
            ("authorization", "Bearer 1 or 1=1", "Bearer 1 or 1=1"),
            ("proxy-authorization", "Digest username=\"x' or 1=1--\"", "Digest username=\"x' or 1=1--\""),
            ("referer", "php://filter/x", "php://filter/x"),
            ("referer", "*)(uid=*", "*)(uid=*"),
            ("referer", "https://a.example/b/c order by 1-- x", "c order by 1-- x"),
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
            ("accept-language", "de-DE, de;q=0.9, en_US;q=0.8, *;q=0.5"),
            ("range", "bytes=0-99, 200-"),
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("host", "[::1]:8080"),
            ("referer", "https://a.example/b/c"),
            ("referer", "android-app://com.example"),
            ("referer", "/a/b"),
            ("authorization", "Basic dTpw"),
            ("authorization", "Bearer a.b-c_d~e+f/g=="),
            ("authorization", "Bearer 12|abc"),
            ("authorization", "Digest username=\"u v\", uri=\"/a?b=c&d\", nc=00000001, qop=auth"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=A/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;range, Signature=f0",
            ),
            (
                "authorization",
                "Signature keyId=\"https://a.example/u#main\",headers=\"(request-target) host date\",signature=\"a+/=\"",
            ),
        ] {
            assert_eq!(of(Place::Header, name, value), [""; 0], "{name}");
        }
    }
}
