//! JSON web tokens in headers, cookies and parameters: what their headers say is looked at; signatures are not
//! verified here. A token is decoded leniently, because libraries do, and because a strict decoder cannot see `none`.

use base64::Engine as _;
use serde_json::{Map, Value};

use crate::field::{Field, Place};
use crate::rule::decode::URL_SAFE;

use super::builtin::Code;

/// Longer tokens are not decoded.
pub(crate) const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Something wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) code: Code,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) confidence: f32,
}

/// Appends what is wrong with the token in `value` of `field`, if there is one.
pub(crate) fn find(field: &Field<'_>, value: &[u8], found: &mut Vec<Found>) {
    let Some((start, bearer)) = token_start(field, value) else { return };
    let token = value.get(start..).unwrap_or_default();
    let token =
        token.split(|byte| *byte <= b' ' || matches!(byte, b';' | b',' | b'"')).next().unwrap_or_default();
    if token.len() > MAX_TOKEN_BYTES {
        return;
    }
    let end = start + token.len();
    let mut add = |code, confidence| found.push(Found { code, start, end, confidence });
    let mut parts = token.split(|&byte| byte == b'.');
    let (head, claims, signature) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let Some(header) = object(head) else {
        if bearer && claims.is_some() {
            add(Code::JwtMalformed, 0.72);
        }
        return;
    };
    let Some(claims) = claims else {
        if bearer {
            add(Code::JwtMalformed, 0.72);
        }
        return;
    };
    // Five parts are an encrypted token.
    let encrypted = parts.next().is_some();
    let none = has_no_algorithm(&header);
    if none {
        add(Code::JwtNone, 0.95);
    } else if signature.is_none_or(<[u8]>::is_empty) && !encrypted {
        add(Code::JwtUnsigned, if signature.is_some() { 0.95 } else { 0.6 });
    }
    if header.get("kid").and_then(Value::as_str).is_some_and(is_hostile_key_id) {
        add(Code::JwtKid, 0.9);
    }
    if ["jku", "x5u"].iter().any(|name| header.get(*name).is_some_and(Value::is_string)) {
        add(Code::JwtKeyHeader, 0.75);
    } else if header.get("jwk").is_some_and(Value::is_object) {
        add(Code::JwtKeyHeader, 0.8);
    }
    if !encrypted && !none {
        match object(claims) {
            None if bearer => add(Code::JwtMalformed, 0.72),
            Some(claims) if is_out_of_time(&claims) => add(Code::JwtTime, 0.78),
            Some(claims) if !["exp", "iat", "sub", "iss"].iter().any(|name| claims.contains_key(*name)) => {
                add(Code::JwtClaims, 0.3);
            }
            _ => {}
        }
    }
}

/// Tokens that ended before this time (November 2023) are older than any sensor: whoever sends them tries them out.
const LONG_AGO: i64 = 1_700_000_000;
/// Times before this one (September 2001) are no times, but numbers somebody made up.
const NO_TIME: i64 = 1_000_000_000;
/// Longest time between a token's issue and the beginning of its validity.
const YEAR: i64 = 366 * 86_400;

/// Whether a token is expired or not valid yet, whatever the time is.
fn is_out_of_time(claims: &Map<String, Value>) -> bool {
    let time = |name: &str| {
        let value = claims.get(name)?;
        value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
    };
    let expired = time("exp").is_some_and(|end| (NO_TIME..LONG_AGO).contains(&end));
    let issued = time("iat").or_else(|| time("exp")).unwrap_or(i64::MAX - YEAR);
    let early = time("nbf").is_some_and(|begin| begin > issued.saturating_add(YEAR));
    expired || early
}

/// Where a token begins in `value`, and whether it is a bearer token.
fn token_start(field: &Field<'_>, value: &[u8]) -> Option<(usize, bool)> {
    if field.place == Place::Header && field.name == b"authorization" {
        let scheme = value.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let blank = value.iter().skip(scheme).take_while(|byte| byte.is_ascii_whitespace()).count();
        let token = value.get(scheme + blank..)?;
        let is_token = blank > 0 && (token.starts_with(b"ey") || token.contains(&b'.'));
        let bearer = value.get(..scheme)?.eq_ignore_ascii_case(b"bearer");
        return (is_token && bearer).then_some((scheme + blank, true));
    }
    let scheme = if value.get(..7).is_some_and(|head| head.eq_ignore_ascii_case(b"bearer ")) { 7 } else { 0 };
    let token = value.get(scheme..)?;
    // `eyJ`, `eyA` and their kin are `{"`, `{ ` and so on in base64.
    (token.starts_with(b"ey") && token.contains(&b'.')).then_some((scheme, false))
}

/// The JSON object in a part of a token.
fn object(part: &[u8]) -> Option<Map<String, Value>> {
    let part: Vec<u8> = part
        .iter()
        .map(|byte| match byte {
            b'+' => b'-',
            b'/' => b'_',
            other => *other,
        })
        .collect();
    let bytes = URL_SAFE.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Whether the header names no algorithm, in any spelling that some library takes for `none`.
fn has_no_algorithm(header: &Map<String, Value>) -> bool {
    let named = |(name, _): &(&String, &Value)| name.eq_ignore_ascii_case("alg");
    match header.iter().find(named).map(|(_, value)| value) {
        None => false,
        Some(Value::String(name)) => {
            let name = name.trim_matches(|letter: char| letter.is_whitespace() || letter.is_control());
            name.is_empty() || name.eq_ignore_ascii_case("none")
        }
        Some(Value::Null | Value::Bool(false)) => true,
        Some(_) => false,
    }
}

/// Whether a key id is a path, a query or a command instead of a name.
fn is_hostile_key_id(id: &str) -> bool {
    let signs = [
        "../", "..\\", "/dev/", "/proc/", "/etc/", "'", "\"", ";", "|", "`", "$(", "<", "\0", "\n",
        " union ", "://",
    ];
    signs.iter().any(|sign| id.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str, signature: &str) -> String {
        format!("{}.{}.{signature}", URL_SAFE.encode(header), URL_SAFE.encode(claims))
    }

    fn codes(name: &str, value: &str) -> Vec<Code> {
        let place = if name == "authorization" { Place::Header } else { Place::Cookie };
        let field = Field { place, name: name.as_bytes(), value: value.as_bytes(), offset: 0 };
        let mut found = Vec::new();
        find(&field, value.as_bytes(), &mut found);
        found.iter().map(|found| found.code).collect()
    }

    const CLAIMS: &str = r#"{"sub":"1","exp":1}"#;

    #[test]
    fn no_algorithm_in_every_spelling() {
        for alg in [r#""none""#, r#""None""#, r#""nOnE""#, r#"" none\u0000""#, r#""""#, "null"] {
            let value = token(&format!("{{\"alg\":{alg},\"typ\":\"JWT\"}}"), CLAIMS, "");
            assert_eq!(codes("authorization", &format!("Bearer {value}")), [Code::JwtNone], "{alg}");
            assert_eq!(codes("session", &value), [Code::JwtNone], "{alg}");
        }
        let given = "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0NTY3ODkwIn0.";
        assert_eq!(codes("authorization", given), [Code::JwtNone]);
    }

    #[test]
    fn a_sound_token_is_no_finding() {
        let value = token(r#"{"alg":"RS256","kid":"2024-01"}"#, CLAIMS, "c2ln");
        assert_eq!(codes("authorization", &format!("Bearer {value}")), []);
        assert_eq!(codes("authorization", "Bearer 0123456789abcdef"), []);
        assert_eq!(codes("authorization", "Basic YTpi.x"), []);
        assert_eq!(codes("x", "eyes. And ears."), []);
    }

    #[test]
    fn what_else_is_wrong_with_tokens() {
        let rows: &[(&str, &str, &str, Code)] = &[
            (r#"{"alg":"HS256"}"#, CLAIMS, "", Code::JwtUnsigned),
            (r#"{"alg":"HS256","kid":"../../dev/null"}"#, CLAIMS, "x", Code::JwtKid),
            (r#"{"alg":"HS256","kid":"x' union select 'k"}"#, CLAIMS, "x", Code::JwtKid),
            (r#"{"alg":"RS256","jku":"https://evil/k.json"}"#, CLAIMS, "x", Code::JwtKeyHeader),
            (r#"{"alg":"RS256","jwk":{"kty":"RSA"}}"#, CLAIMS, "x", Code::JwtKeyHeader),
            (r#"{"alg":"HS256"}"#, "{}", "x", Code::JwtClaims),
            (r#"{"alg":"HS256"}"#, "{broken", "x", Code::JwtMalformed),
        ];
        for (header, claims, signature, expected) in rows {
            let value = format!("Bearer {}", token(header, claims, signature));
            assert_eq!(codes("authorization", &value), [*expected], "{header}");
        }
        assert_eq!(codes("authorization", "Bearer eyJhbGciOiJIUzI1NiJ9"), [Code::JwtMalformed]);
        assert_eq!(codes("authorization", "Bearer eyJ%%%.x.y"), [Code::JwtMalformed]);
    }
}
