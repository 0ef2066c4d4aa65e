//! Values within values: the segments of a path, and the parameters of the page that a request says it comes from.
//! Applications route by the ones and log the others, so that attacks stand there as they stand in parameters.

use crate::field::{Field, Place};

/// Most values of one field that are looked at.
const MAX_VALUES: usize = 32;

/// The values within a path or a Referer that could hold anything; they pass for parameters.
pub(super) fn values<'a>(field: &Field<'a>) -> impl Iterator<Item = Field<'a>> + use<'a> {
    let (text, sign, name): (&[u8], u8, &[u8]) = match field.place {
        Place::Path => (field.value, b'/', b"path"),
        Place::Header if field.name == b"referer" => (query_of(field.value), b'&', b"referer"),
        _ => (b"", b'/', b""),
    };
    let parts = text.split(move |&byte| byte == sign).map(move |part| match sign {
        b'&' => memchr::memchr(b'=', part).map_or(part, |at| part.get(at + 1..).unwrap_or_default()),
        _ => part,
    });
    let value = move |value| Field { place: Place::Query, name, value, offset: 0 };
    parts.filter(|part| is_telling(part)).take(MAX_VALUES).map(value)
}

/// What stands behind the question mark of a URL.
fn query_of(url: &[u8]) -> &[u8] {
    memchr::memchr(b'?', url).and_then(|at| url.get(at + 1..)).unwrap_or_default()
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
        values(&field).map(|inner| std::str::from_utf8(inner.value).unwrap()).collect()
    }

    #[test]
    fn segments_and_parameters_that_tell() {
        assert_eq!(of(Place::Path, "", "/a/b.html/x%27y/sleep(1)"), ["x%27y", "sleep(1)"]);
        assert_eq!(of(Place::Header, "referer", "https://a.example/b?c=1&d=%3Cx%3E#e"), ["%3Cx%3E#e"]);
        assert!(of(Place::Header, "host", "a?b=<").is_empty() && of(Place::Query, "q", "<").is_empty());
    }
}
