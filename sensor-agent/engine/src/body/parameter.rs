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

/// The value of a parameter that comes in pieces (RFC 2231 section 3), `name*0=...; name*1*=...`, joined in the order of their numbers.
pub(super) fn continued(line: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut pieces: Vec<(u32, Vec<u8>)> = Vec::new();
    for (key, value) in parameters(line) {
        let Some(rest) = key.get(name.len()..).filter(|_| key[..name.len()].eq_ignore_ascii_case(name))
        else {
            continue;
        };
        let Some(number) = rest.strip_prefix(b"*") else { continue };
        let digits = number.strip_suffix(b"*").unwrap_or(number);
        let Some(at) = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()) else {
            continue;
        };
        let extended = digits.len() < number.len();
        pieces.push((at, if extended { percent_decoded(value) } else { value.to_vec() }));
    }
    pieces.sort_by_key(|&(at, _)| at);
    (!pieces.is_empty()).then(|| pieces.into_iter().flat_map(|(_, piece)| piece).collect())
}

/// Whether a line is made of parameters and nothing else: no piece of it lacks a `=`, and no value begins with a single quote, which is a
/// quote to some servers.
pub(super) fn is_all_parameters(line: &[u8]) -> bool {
    let (mut quoted, mut pieces) = (false, 0);
    let mut rest = memchr(b';', line).map_or(&[][..], |at| &line[at + 1..]);
    while !rest.is_empty() {
        let mut escaped = false;
        let end = rest.iter().position(|&byte| {
            quoted ^= byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            byte == b';' && !quoted
        });
        let (piece, behind) = rest.split_at(end.unwrap_or(rest.len()));
        pieces += usize::from(!piece.trim_ascii().is_empty());
        rest = behind.get(1..).unwrap_or_default();
    }
    let mut known = 0;
    let plain = parameters(line).all(|(_, value)| {
        known += 1;
        value.first() != Some(&b'\'')
    });
    plain && known == pieces
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
    fn values_in_pieces() {
        let line = br#"form-data; filename*1="swd"; filename*0*=utf-8''%2fetc/pas; name=a"#;
        assert_eq!(continued(line, b"filename").as_deref(), Some(&b"/etc/passwd"[..]));
        assert_eq!(continued(line, b"name"), None);
        assert_eq!(continued(b"x; na=1; name*x=2; name*=3", b"name"), None);
    }

    #[test]
    fn what_is_no_parameter_is_seen() {
        for (line, expected) in [
            ("form-data; name=a; filename=\"b;c\\\"d\"", true),
            ("form-data", true),
            ("form-data; name=a;", true),
            ("form-data; name=a; EVIL", false),
            ("form-data; name='a;EVIL'", false),
            ("form-data; EVIL; name=a", false),
        ] {
            assert_eq!(is_all_parameters(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn values_with_quotes_and_escapes() {
        let line = br#"form-data; name="a\"b;c"; filename*=UTF-8''x%20y"#;
        assert_eq!(parameter(line, b"NAME"), Some(&br#"a\"b;c"#[..]));
        assert_eq!(percent_decoded(parameter(line, b"filename*").unwrap()), b"x y");
    }
}
