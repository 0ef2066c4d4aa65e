//! Inspection fields of a request head.

use memchr::{memchr, memchr_iter, memchr3, memchr3_iter};

use super::framing::holds_line_ends;
use super::message::{Request, Response, Span};
use crate::field::{Fields, MAX_FIELDS, Place};

/// Most pieces of a value with NULs or line ends that are looked at apart.
const MAX_PIECES: usize = 16;

/// Adds the fields of a request head: method, target, path, query, headers, cookies, and odd names.
pub fn push_head(request: &Request, fields: &mut Fields) {
    let target = request.target.start as usize;
    fields.push(Place::Method, b"", request.method(), request.method.start as usize);
    fields.push(Place::Target, b"", request.target(), target);
    let path = target + request.path_start();
    fields.push(Place::Path, b"", request.path(), path);
    push_pairs(Place::Query, b'&', request.query(), path + request.path().len() + 1, fields);
    let in_pieces = holds_line_ends(request.anomalies);
    for header in &request.headers {
        push_header(header.name.of(&request.head), header.value, &request.head, in_pieces, fields);
    }
}

/// Most segments of a path that are told apart.
pub const MAX_SEGMENTS: usize = 32;
const NUMBERS: [&str; MAX_SEGMENTS] = [
    "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19",
    "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31", "32",
];

/// The segments of a path with their numbers, empty ones left out: of `/a/b`, 1 is `a` and 2 is `b`.
pub fn segments(path: &[u8]) -> impl Iterator<Item = (&'static [u8], &[u8])> {
    let parts = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty());
    NUMBERS.iter().map(|number| number.as_bytes()).zip(parts)
}

/// Adds the fields of a response head: the status, and every header.
pub fn push_response_head(response: &Response, fields: &mut Fields) {
    let status = response.status;
    let digits = [status / 100 % 10, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8);
    fields.push(Place::ResponseStatus, b"", &digits, 0);
    for header in &response.headers {
        let (name, value) = (header.name.of(&response.head), header.value.of(&response.head));
        fields.push_lower(Place::ResponseHeader, name, value, header.value.start as usize);
    }
}

/// Adds the pairs of `name=value&name=value` (WHATWG URL, application/x-www-form-urlencoded); a piece without `=` is a name
/// with an empty value, so it counts as a name and is looked at there.
///
/// Of a name that is given more than once, some applications read the values joined by commas; so that is a value too, where
/// the pieces hold more than words.
pub fn push_pairs(place: Place, separator: u8, text: &[u8], offset: usize, fields: &mut Fields) {
    let first = fields.len();
    push_each(place, separator, text, offset, fields);
    if (2..=MAX_JOINED).contains(&(fields.len() - first)) {
        push_joined(place, first, fields);
    }
}

/// Most fields of one text among which names are compared.
const MAX_JOINED: usize = 32;

fn push_joined(place: Place, first: usize, fields: &mut Fields) {
    let end = fields.len();
    let of = |fields: &Fields, at: usize, name: &[u8]| {
        fields
            .at(at)
            .filter(|field| field.place == place && field.name == name)
            .map(|field| field.value.to_vec())
    };
    for at in first..end {
        let Some(field) = fields.at(at).filter(|field| field.place == place && !field.name.is_empty()) else {
            continue;
        };
        let named =
            |other: usize| fields.at(other).is_some_and(|one| one.place == place && one.name == field.name);
        if !(at + 1..end).any(named) || (first..at).any(named) {
            continue;
        }
        let (name, offset) = (field.name.to_vec(), field.offset as usize);
        let values: Vec<_> = (at..end).filter_map(|other| of(fields, other, &name)).collect();
        if values.iter().any(|value| !value.iter().all(|&byte| is_plain(byte))) {
            fields.push(place, &name, &values.join(&b','), offset);
        }
    }
}

fn push_each(place: Place, separator: u8, text: &[u8], offset: usize, fields: &mut Fields) {
    let mut start = 0;
    for end in memchr_iter(separator, text).chain([text.len()]) {
        if is_nearly_full(fields) {
            fields.push(place, b"", &text[start..], offset + start);
            return;
        }
        let pair = &text[start..end];
        if !pair.is_empty() {
            push_pair(place, pair, offset + start, fields);
        }
        start = end + 1;
    }
}

/// Whether so few fields are left that what follows should come as one, lest padding hide it.
#[must_use]
pub fn is_nearly_full(fields: &Fields) -> bool {
    const RESERVE: usize = 256;
    fields.len() >= MAX_FIELDS - RESERVE
}

/// Adds `name` as a value of [`Place::Name`] if it holds more than names do.
pub fn push_name(name: &[u8], offset: usize, fields: &mut Fields) {
    // Names are short, so that a walk without branches is faster than one that may end early.
    if !name.iter().fold(true, |plain, &byte| plain & is_plain(byte)) {
        fields.push(Place::Name, b"", name, offset);
    }
}

const fn is_plain(byte: u8) -> bool {
    PLAIN[byte as usize]
}

const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        plain[byte] =
            (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'_' | b'.' | b'[' | b']' | b'-');
        byte += 1;
    }
    plain
};

fn push_pair(place: Place, pair: &[u8], offset: usize, fields: &mut Fields) {
    let equals = memchr(b'=', pair);
    let name = &pair[..equals.unwrap_or(pair.len())];
    let value = equals.map_or(&[][..], |at| &pair[at + 1..]);
    push_name(name, offset, fields);
    fields.push(place, name, value, offset + pair.len() - value.len());
}

fn push_header(name: &[u8], value: Span, head: &[u8], in_pieces: bool, fields: &mut Fields) {
    if name.eq_ignore_ascii_case(b"cookie") {
        return push_cookies(value.of(head), value.start as usize, fields);
    }
    push_name(name, (value.start as usize).saturating_sub(name.len()), fields);
    fields.push_lower(Place::Header, name, value.of(head), value.start as usize);
    if in_pieces {
        push_pieces(name, value.of(head), value.start as usize, fields);
    }
}

/// Where a value has a NUL or a line end inside, some servers see only what stands before, and others what stands behind.
fn push_pieces(name: &[u8], value: &[u8], offset: usize, fields: &mut Fields) {
    if memchr3(0, b'\r', b'\n', value).is_none() {
        return;
    }
    let mut start = 0;
    for end in memchr3_iter(0, b'\r', b'\n', value).chain([value.len()]).take(MAX_PIECES) {
        let piece = &value[start..end];
        if !piece.trim_ascii().is_empty() {
            fields.push_lower(Place::Header, name, piece, offset + start);
        }
        start = end + 1;
    }
}

/// Adds the pairs of a Cookie header (RFC 6265 section 4.2.1).
fn push_cookies(text: &[u8], offset: usize, fields: &mut Fields) {
    let mut start = 0;
    for end in memchr_iter(b';', text).chain([text.len()]) {
        let pair = &text[start..end];
        let lead = pair.len() - pair.trim_ascii_start().len();
        let trimmed = pair.trim_ascii();
        if !trimmed.is_empty() {
            match memchr(b'=', trimmed) {
                Some(_) => push_pair(Place::Cookie, trimmed, offset + start + lead, fields),
                None => _ = fields.push(Place::Cookie, b"", trimmed, offset + start + lead),
            }
        }
        start = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::parse_request;

    fn shown(head: &str) -> Vec<String> {
        let (mut request, mut fields) = (Request::default(), Fields::default());
        parse_request(head.as_bytes(), &mut request);
        push_head(&request, &mut fields);
        for field in fields.iter().filter(|field| field.place != Place::Name && !field.value.is_empty()) {
            assert_eq!(&request.head[field.offset as usize..][..field.value.len()], field.value, "{field}");
        }
        fields.iter().map(|field| format!("{field}={}", field.value.escape_ascii())).collect()
    }

    #[test]
    fn fields_of_a_head() {
        let head = "POST /a/b?id=1'&x&a%5b%5d=2&=3? HTTP/1.1\r\nHost: h\r\nUser-Agent:  u v\r\nCookie: s=1; t=a=b;;u\r\n\r\n";
        assert_eq!(
            shown(head),
            [
                "method=POST",
                r"target=/a/b?id=1\'&x&a%5b%5d=2&=3?",
                "path=/a/b",
                r"query.id=1\'",
                "query.x=",
                "name=a%5b%5d",
                "query.a%5b%5d=2",
                "query=3?",
                "header.host=h",
                "header.user-agent=u v",
                "cookie.s=1",
                "cookie.t=a=b",
                "cookie=u",
            ]
        );
    }

    #[test]
    fn the_path_of_a_target_in_absolute_form() {
        let shown = shown("GET http://h/a/b?c=d HTTP/1.0\r\n\r\n");
        assert_eq!(shown, ["method=GET", "target=http://h/a/b?c=d", "path=/a/b", "query.c=d"]);
    }

    /// Case C12.
    #[test]
    fn values_of_one_name_are_joined_too() {
        let shown = |query: &str| {
            let mut fields = Fields::default();
            push_pairs(Place::Query, b'&', query.as_bytes(), 0, &mut fields);
            let all: Vec<_> =
                fields.iter().map(|field| format!("{field}={}", field.value.escape_ascii())).collect();
            all.join(" ")
        };
        assert_eq!(shown("id=1/*&x=2&id=*/3"), "query.id=1/* query.x=2 query.id=*/3 query.id=1/*,*/3");
        assert_eq!(shown("id=1&id=2"), "query.id=1 query.id=2");
        assert_eq!(shown("a='&b='"), r"query.a=\' query.b=\'");
    }

    /// Case C37.
    #[test]
    fn what_follows_many_parameters_is_one_field() {
        let (mut fields, padding) = (Fields::default(), "a=1&".repeat(3000));
        push_pairs(Place::Form, b'&', format!("{padding}b=EVIL").as_bytes(), 0, &mut fields);
        let last = fields.iter().next_back().map(|field| field.value.ends_with(b"&b=EVIL"));
        assert_eq!((last, fields.dropped()), (Some(true), 0));
    }

    #[test]
    fn odd_names_are_looked_at_as_values() {
        let shown = shown("GET /?<script>=1&$where=2 HTTP/1.0\r\nX{}: y\r\n\r\n");
        assert_eq!(shown.iter().filter(|field| field.starts_with("name=")).count(), 3);
    }
}
