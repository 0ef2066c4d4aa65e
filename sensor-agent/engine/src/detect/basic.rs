//! User and password behind an Authorization header of the Basic scheme (RFC 7617). Applications look users up by them, so that attacks
//! stand there as they stand in a form of a login; what is wrong with the header itself is [`super::auth`]'s.

use base64::Engine as _;

use crate::field::{Field, Place};
use crate::rule::decode::{STANDARD, URL_SAFE};

/// Longest encoded credentials that are decoded.
const MAX_ENCODED: usize = 1024;
/// Bytes of what they decode to.
const MAX_DECODED: usize = MAX_ENCODED / 4 * 3 + 3;

/// Name under which the password is a value.
pub(super) const PASSWORD: &[u8] = b"authorization.password";

/// Memory for what is decoded.
pub(super) type Buffer = [u8; MAX_DECODED];

/// The encoded credentials of a header that has such.
pub(super) fn encoded<'a>(field: &Field<'a>) -> Option<&'a [u8]> {
    let named =
        field.place == Place::Header && matches!(field.name, b"authorization" | b"proxy-authorization");
    let (scheme, encoded) = field.value.split_at_checked(6).filter(|_| named)?;
    scheme.eq_ignore_ascii_case(b"basic ").then_some(encoded.trim_ascii())
}

/// User and password as values of parameters that are named after the header; none if they do not decode.
pub(super) fn credentials<'b>(encoded: &[u8], buffer: &'b mut Buffer) -> Option<[Field<'b>; 2]> {
    let engine = if memchr::memchr2(b'-', b'_', encoded).is_some() { &URL_SAFE } else { &STANDARD };
    let length = engine.decode_slice(encoded, buffer).ok()?;
    let text = buffer.get(..length)?;
    let colon = memchr::memchr(b':', text).unwrap_or(text.len());
    let value = |name, value| Field { place: Place::Query, name, value, offset: 0 };
    Some([
        value(b"authorization.user", text.get(..colon)?),
        value(PASSWORD, text.get(colon + 1..).unwrap_or_default()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords() {
        let of = |name: &'static str, value: &str| {
            let mut buffer = [0; MAX_DECODED];
            let field =
                Field { place: Place::Header, name: name.as_bytes(), value: value.as_bytes(), offset: 0 };
            credentials(encoded(&field)?, &mut buffer)
                .map(|both| both.map(|one| format!("{one}={}", one.value.escape_ascii())).join(" "))
        };
        assert_eq!(
            of("authorization", "Basic eCcgb3IgMT0xLS06cDpx").as_deref(),
            Some(r"query.authorization.user=x\' or 1=1-- query.authorization.password=p:q")
        );
        assert_eq!(
            of("proxy-authorization", "BASIC  dQ==").as_deref(),
            Some("query.authorization.user=u query.authorization.password=")
        );
        for (name, value) in [
            ("authorization", "Bearer dTpw"),
            ("authorization", "Basic %"),
            ("x-auth", "Basic dTpw"),
            ("authorization", "Basi"),
        ] {
            assert_eq!(of(name, value), None, "{name} {value}");
        }
        assert_eq!(of("authorization", &format!("Basic {}", "A".repeat(9000))), None);
    }
}
