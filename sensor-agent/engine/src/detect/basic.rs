//! User and password behind an Authorization header of the Basic scheme (RFC 7617). Applications look users up by them, so that attacks
//! stand there as they stand in a form of a login; what is wrong with the header itself is [`super::auth`]'s.

use crate::facts::credential::{Buffer, basic_text};
use crate::field::{Field, Place};

/// Name under which the password is a value.
pub(super) const PASSWORD: &[u8] = b"authorization.password";

/// The value of a header that may have such credentials.
pub(super) fn header<'a>(field: &Field<'a>) -> Option<&'a [u8]> {
    let named =
        field.place == Place::Header && matches!(field.name, b"authorization" | b"proxy-authorization");
    named.then_some(field.value)
}

/// User and password as values of parameters that are named after the header; none if they do not decode.
pub(super) fn credentials<'b>(value: &[u8], buffer: &'b mut Buffer) -> Option<[Field<'b>; 2]> {
    let text = basic_text(value, buffer)?;
    let colon = memchr::memchr(b':', text).unwrap_or(text.len());
    let field = |name, value| Field { place: Place::Query, name, value, offset: 0 };
    Some([
        field(b"authorization.user", text.get(..colon)?),
        field(PASSWORD, text.get(colon + 1..).unwrap_or_default()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords() {
        let of = |name: &'static str, value: &str| {
            let mut buffer = [0; _];
            let field =
                Field { place: Place::Header, name: name.as_bytes(), value: value.as_bytes(), offset: 0 };
            credentials(header(&field)?, &mut buffer)
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
        let padded = format!("Basic eCcgb3IgMT0xLS06{}", "cHBw".repeat(2000));
        let found = of("authorization", &padded).unwrap_or_default();
        assert!(found.starts_with(r"query.authorization.user=x\' or 1=1-- "), "{found}");
    }
}
