//! Names of parameters that are values in disguise: `java.lang.Runtime=x`, `a.__proto__.b=1`. What holds other
//! characters than names do is a field of its own already.

use crate::field::{Field, Place};
use crate::rule::decode::{MIN_HEX, is_hex_text};

/// The field's name as a value to look at, if it tells anything.
pub(super) fn as_value<'a>(field: &Field<'a>) -> Option<Field<'a>> {
    let named = matches!(
        field.place,
        Place::Query | Place::Form | Place::Json | Place::Cookie | Place::Multipart | Place::Xml
    );
    if named && field.name.len() >= MIN_HEX {
        let last = field.name.rsplit(|&byte| byte == b'.').next().unwrap_or_default();
        if is_hex_text(last) {
            return Some(Field { place: Place::Name, name: b"", value: last, offset: field.offset });
        }
    }
    // Dots in the paths of JSON and XML are ours.
    let path = matches!(field.place, Place::Json | Place::Xml);
    // A name without a value may be all that there is of a body or query.
    let alone =
        matches!(field.place, Place::Query | Place::Form) && field.value.is_empty() && !field.name.is_empty();
    (named && (is_telling(field.name) || alone) && (!path || is_package(field.name))).then_some(Field {
        place: Place::Name,
        name: b"",
        value: field.name,
        offset: field.offset,
    })
}

/// The pair that a name without a value is, if its `=` is percent-encoded: some servers decode before they split.
pub(super) fn as_pair<'a>(field: &Field<'a>) -> Option<Field<'a>> {
    let named = matches!(field.place, Place::Query | Place::Form) && field.value.is_empty();
    let at = named
        .then(|| field.name.windows(3).position(|three| three.eq_ignore_ascii_case(b"%3d")))
        .flatten()?;
    let (name, value) = (field.name.get(..at)?, field.name.get(at + 3..)?);
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (name.iter().all(plain) && !value.is_empty()).then_some(Field { name, value, ..*field })
}

/// Whether a path begins as the names of classes do, or holds underscores in a row.
fn is_package(path: &[u8]) -> bool {
    let first = path.split(|&byte| byte == b'.').next().unwrap_or_default();
    matches!(
        first,
        b"java"
            | b"javax"
            | b"org"
            | b"com"
            | b"net"
            | b"sun"
            | b"jdk"
            | b"class"
            | b"constructor"
            | b"runtime"
            | b"ProcessBuilder"
    ) || memchr::memmem::find(path, b"__").is_some()
}

/// A dot between letters, or underscores in a row.
fn is_telling(name: &[u8]) -> bool {
    let path =
        |three: &[u8]| matches!(three, [a, b'.', b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic());
    if let [b'r', b'O', b'0', b'A', b'B', b'Q' | b'X', ..]
    | [b'K', b'z', b't', b'A', b'A', b'U', ..]
    | [b'C', b's', b'7', b'Q', b'A', b'F', ..] = name
    {
        return true;
    }
    // Names are short, so that a plain walk is faster than a search.
    if !name.iter().fold(false, |found, byte| found | matches!(byte, b'_' | b'[' | b'.')) {
        return false;
    }
    let in_name =
        |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'[' | b']' | b'-');
    (name.windows(2).any(|pair| pair == b"__")
        || memchr::memchr(b'[', name).is_some()
        || memchr::memchr(b'.', name).is_some() && name.windows(3).any(path))
        && name.iter().all(in_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_tell() {
        let value = |name: &'static str| {
            as_value(&Field { place: Place::Query, name: name.as_bytes(), value: b"1", offset: 0 })
        };
        assert!(value("java.lang.Runtime").is_some_and(|field| field.place == Place::Name));
        assert!(value("a.__proto__.b").is_some() && value("a[constructor][prototype]").is_some());
        assert!(value("user_name").is_none() && value("items.0").is_none() && value("").is_none());
        let alone = Field { place: Place::Query, name: b"information_schema", value: b"", offset: 0 };
        assert!(as_value(&alone).is_some(), "it may be all there is");
        let json = |name: &'static str| {
            as_value(&Field { place: Place::Json, name: name.as_bytes(), value: b"", offset: 0 })
        };
        assert!(json("java.io.File").is_some() && json("a.__proto__").is_some());
        assert!(json("window.name").is_none(), "the dot is ours");
        assert!(json("a.27206f7220313d312d2d").is_some_and(|field| field.value == b"27206f7220313d312d2d"));
        assert!(value("<script>.a").is_none(), "it is a field of its own");
    }

    #[test]
    fn pairs_whose_sign_is_encoded() {
        let of = |name: &'static str| {
            let pair = as_pair(&Field { place: Place::Form, name: name.as_bytes(), value: b"", offset: 0 })?;
            Some((std::str::from_utf8(pair.name).unwrap(), std::str::from_utf8(pair.value).unwrap()))
        };
        assert_eq!(of("pay%3D1%3D1"), Some(("pay", "1%3D1")));
        assert!(of("pay").is_none() && of("a%26b%3dc").is_none() && of("a%3D").is_none());
    }
}
