//! Paths as routes: what names one object among many (numbers, UUIDs, digests, long mixed words, addresses) is a placeholder, so that
//! `/orders/17` and `/orders/18` are one route with two objects.

use std::hash::Hasher as _;

use super::Key;

/// Most segments of a path that are told apart.
const MAX_SEGMENTS: usize = 24;
/// Shortest word of hexadecimal digits that names an object.
const MIN_HEX: usize = 12;
/// Shortest word of letters and digits that names an object, if a quarter of it are digits.
const MIN_MIXED: usize = 8;

/// A path taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Route {
    /// The route's number, host included.
    pub(super) route: u64,
    /// The number of its objects; 0 if it names none.
    pub(super) object: u64,
    /// The last object, if it is a number.
    pub(super) id: Option<u64>,
}

/// The route of `path` on the host of this number.
pub(super) fn of(key: &Key, host: u64, path: &[u8]) -> Route {
    let (mut route, mut object) = (key.hasher(), key.hasher());
    route.write_u64(host);
    let (mut objects, mut id) = (0_u8, None);
    for segment in path.split(|&byte| byte == b'/').take(MAX_SEGMENTS) {
        if is_object(segment) {
            route.write_u8(b'*');
            object.write(segment);
            objects = objects.saturating_add(1);
            id = number(segment).or(id);
        } else {
            route.write(segment);
        }
        route.write_u8(b'/');
    }
    let object = if objects == 0 { 0 } else { object.finish().max(1) };
    Route { route: route.finish().max(1), object, id }
}

/// The number that decimal digits say.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 18 && text.iter().all(u8::is_ascii_digit);
    digits.then(|| text.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Whether a segment, or the value of an identifying parameter, names one object among many.
pub(super) fn is_object(segment: &[u8]) -> bool {
    let digits = segment.iter().filter(|byte| byte.is_ascii_digit()).count();
    if segment.is_empty() || digits == 0 {
        return memchr::memchr(b'@', segment).is_some();
    }
    let hex = || segment.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    let word = || segment.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    digits == segment.len()
        || segment.len() >= MIN_HEX && hex()
        || segment.len() >= MIN_MIXED && digits * 4 >= segment.len() && word()
        || memchr::memchr(b'@', segment).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str) -> Route {
        of(&Key::default(), 1, path.as_bytes())
    }

    #[test]
    fn objects_are_placeholders() {
        let one = route("/orders/17/items");
        for same in [
            "/orders/18/items",
            "/orders/550e8400-e29b-41d4-a716-446655440000/items",
            "/orders/ab12cd34/items",
        ] {
            assert_eq!(route(same).route, one.route, "{same}");
            assert_ne!(route(same).object, one.object, "{same}");
        }
        assert_eq!((one.id, route("/orders/x/17").id), (Some(17), Some(17)));
        for other in ["/orders/items", "/orders/17", "/orders/new/items", "/v1/orders/17/items"] {
            assert_ne!(route(other).route, one.route, "{other}");
        }
    }

    #[test]
    fn words_are_no_objects() {
        for path in ["/", "", "/about-us", "/api/v2/users", "/assets/app.min.js", "/2fa", "/html5/index"] {
            assert_eq!(route(path).object, 0, "{path}");
        }
        assert_ne!(of(&Key::default(), 2, b"/a").route, route("/a").route, "another host");
    }
}
