//! Multipart bodies (RFC 2046 section 5.1, RFC 7578): part name → value, file name as a field of its own. Lines may end in
//! LF alone, and the last boundary may be missing, as servers accept that.

use memchr::memchr;
use memchr::memmem::Finder;

use crate::field::{Fields, Place};
use crate::http::fields::push_name;

/// Most parts that are looked at; the rest is one part.
const MAX_PARTS: usize = 512;

/// The boundary parameter of a Content-Type; the first, where there are several.
pub(super) fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    parameter(content_type, b"boundary").filter(|boundary| !boundary.is_empty())
}

/// Adds the fields of a multipart body; false if the boundary does not occur in it.
pub(super) fn push(boundary: &[u8], body: &[u8], fields: &mut Fields) -> bool {
    if boundary.is_empty() {
        return false;
    }
    let delimiter = [b"--", boundary].concat();
    let finder = Finder::new(&delimiter);
    let Some(first) = finder.find(body) else { return false };
    let mut start = first + delimiter.len();
    for number in 1..=MAX_PARTS {
        if body.get(start..).is_none_or(|rest| rest.starts_with(b"--")) {
            return true;
        }
        let next = if number < MAX_PARTS { finder.find(&body[start..]).map(|at| start + at) } else { None };
        push_part(body, start, next.unwrap_or(body.len()), fields);
        let Some(next) = next else { return true };
        start = next + delimiter.len();
    }
    true
}

/// Adds the part in `body[start..end]`, from behind its delimiter.
fn push_part(body: &[u8], start: usize, end: usize, fields: &mut Fields) {
    let (mut name, mut at) = (&[][..], after_line(body, start, end));
    while let Some(line) = line_at(body, at, end) {
        let next = after_line(body, at, end);
        let line = line.trim_ascii_end();
        if line.is_empty() {
            at = next;
            break;
        }
        if starts_with_ignore_case(line, b"content-disposition") {
            name = parameter(line, b"name").unwrap_or_default();
            push_name(name, at, fields);
            if let Some(file) = parameter(line, b"filename").or_else(|| parameter(line, b"filename*")) {
                fields.push(Place::Multipart, &[name, b".filename"].concat(), file, at);
            }
        } else if !starts_with_ignore_case(line, b"content-type:") {
            fields.push(Place::Multipart, &[name, b".header"].concat(), line, at);
        }
        at = next;
    }
    let value = body.get(at..end).unwrap_or_default();
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    fields.push(Place::Multipart, name, value.strip_suffix(b"\r").unwrap_or(value), at);
}

fn line_at(body: &[u8], at: usize, end: usize) -> Option<&[u8]> {
    let rest = body.get(at..end).filter(|rest| !rest.is_empty())?;
    Some(&rest[..memchr(b'\n', rest).unwrap_or(rest.len())])
}

fn after_line(body: &[u8], at: usize, end: usize) -> usize {
    line_at(body, at, end).map_or(end, |line| (at + line.len() + 1).min(end))
}

fn starts_with_ignore_case(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start))
}

/// Value of the first parameter of this name in a header line, without its quotes.
fn parameter<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = &line[memchr(b';', line)? + 1..];
    loop {
        let equals = memchr(b'=', rest)?;
        let key = rest[..equals].trim_ascii();
        let after = rest[equals + 1..].trim_ascii_start();
        let (value, next) = match after.strip_prefix(b"\"") {
            Some(quoted) => quoted.split_at(closing_quote(quoted)),
            None => after.split_at(memchr(b';', after).unwrap_or(after.len())),
        };
        let key = key.rsplit(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        if key.eq_ignore_ascii_case(name) {
            return Some(value.trim_ascii_end());
        }
        rest = next.get(1..).unwrap_or_default();
    }
}

/// Position of the quote that ends a quoted string, or its length.
fn closing_quote(text: &[u8]) -> usize {
    let mut escaped = false;
    let is_end = |&byte: &u8| {
        let end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        end
    };
    text.iter().position(is_end).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(boundary: &str, body: &str, expected: &str) {
        let mut fields = Fields::default();
        let found = push(boundary.as_bytes(), body.as_bytes(), &mut fields);
        let shown: Vec<_> = fields
            .iter()
            .map(|field| format!("{}={}", field.name.escape_ascii(), field.value.escape_ascii()))
            .collect();
        assert_eq!(format!("{}{}", shown.join(" "), if found { "" } else { "!" }), expected, "{body:?}");
    }

    const DISPOSITION: &str = "Content-Disposition: form-data; name=";

    #[test]
    fn parts() {
        check(
            "b",
            &format!(
                "--b\r\n{DISPOSITION}\"a\"\r\n\r\n1\r\n--b\r\n{DISPOSITION}c\r\n\r\n2\r\n3\r\n--b--\r\n"
            ),
            r"a=1 c=2\r\n3",
        );
        check("b", &format!("--b\n{DISPOSITION}\"a\"\n\n1\n--b--"), "a=1");
        check("b", &format!("--b\r\n{DISPOSITION}\"a\"\r\n\r\ncut o"), "a=cut o");
        check(
            "b",
            &format!(
                "--b\r\n{DISPOSITION}\"f\"; filename=\"x;\\\".php\"\r\nContent-Type: x/y\r\n\r\n<?\r\n--b--"
            ),
            r#"f.filename=x;\\\".php f=<?"#,
        );
        check("b", "--b\r\nX-Odd: y\r\n\r\n1\r\n--b--", r".header=X-Odd: y =1");
        check("b", "no parts", "!");
        check("", "--\r\n", "!");
    }

    #[test]
    fn boundaries() {
        for (line, expected) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("multipart/form-data; charset=x; Boundary=\"a;b\"; c=d", Some("a;b")),
            ("multipart/form-data; boundary=a; boundary=b", Some("a")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
        ] {
            assert_eq!(boundary(line.as_bytes()), expected.map(str::as_bytes), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(body in proptest::collection::vec(proptest::sample::select(b"-b\r\n:;=\"name\\".to_vec()), 0..80)) {
            push(b"b", &body, &mut Fields::default());
            boundary(&body);
        }
    }
}
