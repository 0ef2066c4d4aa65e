//! Parameters of header lines (RFC 9110 section 5.6.6, RFC 2231): `; name=value; name="value"; name*0=...`.

use memchr::memchr;

/// Most parameters of one line that are looked at.
const MAX_PARAMETERS: usize = 32;
/// Most boundaries that one Content-Type may mean.
const MAX_BOUNDARIES: usize = 4;

/// Names and values of the parameters of a line, without quotes.
pub(super) fn parameters(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = memchr(b';', line).map_or(&[][..], |at| &line[at + 1..]);
    std::iter::from_fn(move || {
        let equals = memchr(b'=', rest)?;
        let key = rest[..equals].rsplit(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let after = rest[equals + 1..].trim_ascii_start();
        let (value, next) = match after.strip_prefix(b"\"") {
            Some(quoted) => quoted.split_at(closing_quote(quoted)),
            None => after.split_at(memchr(b';', after).unwrap_or(after.len())),
        };
        rest = next.get(1..).unwrap_or_default();
        Some((key, value.trim_ascii_end()))
    })
    .take(MAX_PARAMETERS)
}

/// Value of the first parameter of this name.
pub(super) fn parameter<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    parameters(line).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The different boundaries that a Content-Type may mean: the plain ones, and those in pieces or percent-encoded.
pub(super) fn boundaries(content_type: &[u8]) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut add = |boundary: Vec<u8>| {
        if !boundary.is_empty() && !found.contains(&boundary) && found.len() < MAX_BOUNDARIES {
            found.push(boundary);
        }
    };
    let mut joined = Vec::new();
    for (key, value) in parameters(content_type) {
        let Some(suffix) = key.get(8..).filter(|_| key[..8].eq_ignore_ascii_case(b"boundary")) else {
            continue;
        };
        match suffix {
            b"" => add(value.to_vec()),
            b"*" => add(percent_decoded(value)),
            [b'*', .., b'*'] => joined.extend(percent_decoded(value)),
            [b'*', ..] => joined.extend_from_slice(value),
            _ => {}
        }
    }
    add(joined);
    found
}

/// The value of an extended parameter, `charset'language'percent-encoded`, decoded.
pub(super) fn percent_decoded(value: &[u8]) -> Vec<u8> {
    let text = value.splitn(3, |&byte| byte == b'\'').nth(2).unwrap_or(value);
    percent_encoding::percent_decode(text).collect()
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
    use super::*;

    #[test]
    fn boundaries_of_a_content_type() {
        for (line, expected) in [
            ("multipart/form-data; boundary=abc", &["abc"][..]),
            ("multipart/form-data; charset=x; Boundary=\"a;b\"; c=d", &["a;b"]),
            ("multipart/form-data; boundary=a; boundary=b; boundary=a", &["a", "b"]),
            ("multipart/form-data; boundary*0=a;boundary*1*=%62", &["ab"]),
            ("multipart/form-data", &[]),
            ("multipart/form-data; boundary=", &[]),
            ("multipart/form-data; bound", &[]),
        ] {
            let found = boundaries(line.as_bytes());
            assert_eq!(found, expected.iter().map(|text| text.as_bytes()).collect::<Vec<_>>(), "{line}");
        }
    }

    #[test]
    fn values_with_quotes_and_escapes() {
        let line = br#"form-data; name="a\"b;c"; filename*=UTF-8''x%20y"#;
        assert_eq!(parameter(line, b"NAME"), Some(&br#"a\"b;c"#[..]));
        assert_eq!(percent_decoded(parameter(line, b"filename*").unwrap()), b"x y");
    }
}
