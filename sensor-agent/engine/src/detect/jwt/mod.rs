//! JSON web tokens in headers, cookies and parameters: what their headers and claims say, and whether their signatures
//! are right. A token is decoded leniently, because libraries do, and because a strict decoder cannot see `none`.

mod claims;
mod signature;

use base64::Engine as _;
use serde_json::{Map, Value};

use crate::field::{Field, Place};
use crate::rule::decode::URL_SAFE;

use super::CodeHit;
use super::builtin::Code;
use crate::token::SignedToken;

pub(crate) use signature::Tokens;

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

impl Found {
    /// As a hit in the raw value.
    pub(super) fn hit(self) -> CodeHit {
        let Self { code, start, end, confidence } = self;
        CodeHit { code, view: 0, start, end, confidence, breaks: false }
    }
}

/// A token whose signature can be looked at.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    token: &'a [u8],
    header: Map<String, Value>,
    bearer: bool,
    claims: Map<String, Value>,
    start: usize,
    end: usize,
}

impl Seen<'_> {
    /// Whether its validity begins or ends at some time.
    fn ends(&self) -> bool {
        self.claims.contains_key("exp") || self.claims.contains_key("nbf")
    }

    fn signed(&self) -> Option<SignedToken<'_>> {
        let dot = memchr::memrchr(b'.', self.token)?;
        let text = |name: &str| self.header.get(name).and_then(Value::as_str);
        Some(SignedToken {
            algorithm: text("alg")?,
            key_id: text("kid"),
            signed: self.token.get(..dot)?,
            signature: self.token.get(dot + 1..)?,
        })
    }
}

/// Appends what is wrong with the token in `value` of `field`, if there is one; `now` is the wall clock, if that is known. The result is
/// the token if it has a signature.
pub(crate) fn find<'a>(
    field: &Field<'_>,
    value: &'a [u8],
    now: Option<i64>,
    found: &mut Vec<Found>,
) -> Option<Seen<'a>> {
    let (start, bearer) = token_start(field, value)?;
    let token = value.get(start..).unwrap_or_default();
    let token =
        token.split(|byte| *byte <= b' ' || matches!(byte, b';' | b',' | b'"')).next().unwrap_or_default();
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let end = start + token.len();
    let mut add = |code, confidence| found.push(Found { code, start, end, confidence });
    let mut parts = token.split(|&byte| byte == b'.');
    let (head, claims, signature) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let (Some(header), Some(claims)) = (object(head), claims) else {
        if bearer && (claims.is_some() || object(head).is_some()) {
            add(Code::JwtMalformed, 0.72);
        }
        return None;
    };
    // Five parts are an encrypted token.
    let encrypted = parts.next().is_some();
    let none = has_no_algorithm(&header);
    let unsigned = signature.is_none_or(<[u8]>::is_empty) && !encrypted;
    if none {
        add(Code::JwtNone, 0.95);
    } else if unsigned {
        add(Code::JwtUnsigned, if signature.is_some() { 0.95 } else { 0.6 });
    }
    of_header(&header, &mut add);
    if let Some(confidence) =
        signature.filter(|_| !none && !unsigned).and_then(|given| impossible(&header, given))
    {
        add(Code::JwtImpossible, confidence);
    }
    if encrypted || none {
        return None;
    }
    let claims = object(claims);
    match &claims {
        None if bearer => add(Code::JwtMalformed, 0.72),
        None => {}
        Some(claims) => of_claims(claims, now, &mut add),
    }
    (!unsigned).then(|| Seen { token, header, bearer, claims: claims.unwrap_or_default(), start, end })
}

/// Keys that the header brings or names in a hostile way.
fn of_header(header: &Map<String, Value>, add: &mut impl FnMut(Code, f32)) {
    if header.get("kid").and_then(Value::as_str).is_some_and(is_hostile_key_id) {
        add(Code::JwtKid, 0.9);
    }
    if ["jku", "x5u"].iter().any(|name| header.get(*name).is_some_and(Value::is_string)) {
        add(Code::JwtKeyHeader, 0.75);
    } else if header.get("jwk").is_some_and(Value::is_object) {
        add(Code::JwtKeyHeader, 0.8);
    }
}

fn of_claims(claims: &Map<String, Value>, now: Option<i64>, add: &mut impl FnMut(Code, f32)) {
    if is_out_of_time(claims) {
        add(Code::JwtTime, 0.78);
    } else if let Some(confidence) = now.and_then(|now| lifetime(claims, now)) {
        add(Code::JwtTime, confidence);
    } else if !["exp", "iat", "sub", "iss"].iter().any(|name| claims.contains_key(*name)) {
        add(Code::JwtClaims, 0.3);
    }
}

/// How sure it is that no key made this signature: by its length under its algorithm (RFC 7518 section 3.1), or zeros, which some
/// libraries took for a signature of anything by a curve (CVE-2022-21449).
fn impossible(header: &Map<String, Value>, signature: &[u8]) -> Option<f32> {
    let algorithm = header.get("alg")?.as_str()?;
    let bytes = URL_SAFE.decode(signature).ok()?;
    // Some write the numbers of a curve's signature in DER.
    let of_curve = |len: usize| bytes.len() == len || bytes.first() == Some(&0x30) && bytes.len() < len + 12;
    let fits = match algorithm {
        "HS256" => bytes.len() == 32,
        "HS384" => bytes.len() == 48,
        "HS512" => bytes.len() == 64,
        "ES256" | "EdDSA" => of_curve(64),
        "ES384" => of_curve(96),
        "ES512" => of_curve(132),
        "RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512" => bytes.len() >= 128,
        _ => return None,
    };
    let zeros = bytes.len() >= 32 && bytes.iter().all(|byte| *byte == 0)
        || algorithm.starts_with("ES") && bytes == [0x30, 6, 2, 1, 0, 2, 1, 0];
    if zeros { Some(0.95) } else { (!fits).then_some(0.55) }
}

/// Seconds for which a token that ended is still an ordinary client's that has not noticed yet.
const JUST_ENDED: i64 = 60;
/// Seconds after which nobody sends a token any more that has ended, but for clients that slept.
const LONG_ENDED: i64 = 86_400;
/// Seconds that clocks may differ.
const CLOCK_SKEW: i64 = 300;

/// How sure it is that a token is used out of its time.
fn lifetime(claims: &Map<String, Value>, now: i64) -> Option<f32> {
    if time(claims, "nbf").is_some_and(|begin| begin > now.saturating_add(CLOCK_SKEW)) {
        return Some(0.72);
    }
    let ended = now.saturating_sub(time(claims, "exp")?);
    (ended > JUST_ENDED).then_some(if ended > LONG_ENDED { 0.6 } else { 0.4 })
}

fn time(claims: &Map<String, Value>, name: &str) -> Option<i64> {
    let value = claims.get(name)?;
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

/// Tokens that ended before this time (November 2023) are older than any sensor: whoever sends them tries them out.
const LONG_AGO: i64 = 1_700_000_000;
/// Times before this one (September 2001) are no times, but numbers somebody made up.
const NO_TIME: i64 = 1_000_000_000;
/// Longest time between a token's issue and the beginning of its validity.
const YEAR: i64 = 366 * 86_400;

/// Whether a token is expired or not valid yet, whatever the time is.
fn is_out_of_time(claims: &Map<String, Value>) -> bool {
    let time = |name| time(claims, name);
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
        // What is signed in other ways may begin with an object too, but does not call itself a token.
        None => {
            header.get("typ").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("jwt"))
        }
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
        find(&field, value.as_bytes(), None, &mut found);
        found.iter().map(|found| found.code).collect()
    }

    const CLAIMS: &str = r#"{"sub":"1","exp":1}"#;
    /// As long as one of HS256 is.
    const SIGNATURE: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";

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
        let value = token(r#"{"alg":"RS256","kid":"2024-01"}"#, CLAIMS, &URL_SAFE.encode([7; 256]));
        assert_eq!(codes("authorization", &format!("Bearer {value}")), []);
        assert_eq!(codes("authorization", "Bearer 0123456789abcdef"), []);
        assert_eq!(codes("authorization", "Basic YTpi.x"), []);
        assert_eq!(codes("x", "eyes. And ears."), []);
    }

    #[test]
    fn signatures_that_no_key_makes() {
        for (algorithm, signature, expected) in [
            ("HS256", &[7; 32][..], None),
            ("HS256", &[7; 1], Some(0.55)),
            ("HS512", &[7; 32], Some(0.55)),
            ("RS256", &[7; 64], Some(0.55)),
            ("ES256", &[7; 64], None),
            ("ES256", &[0; 64], Some(0.95)),
            ("ES256", &[0x30, 6, 2, 1, 0, 2, 1, 0], Some(0.95)),
            ("EdDSA", &[7; 64], None),
            ("X9", &[7; 1], None),
        ] {
            let header = Map::from_iter([("alg".to_owned(), Value::from(algorithm))]);
            assert_eq!(impossible(&header, URL_SAFE.encode(signature).as_bytes()), expected, "{algorithm}");
        }
        let value = token(r#"{"typ":"JWT"}"#, CLAIMS, "c2ln");
        assert_eq!(codes("session", &value), [Code::JwtNone]);
        let value = token(r#"{"user":"bob"}"#, CLAIMS, "c2ln");
        assert_eq!(codes("session", &value), []);
    }

    #[test]
    fn times_are_compared_with_the_wall_clock() {
        const NOW: i64 = 1_800_000_000;
        let rows: &[(&str, i64, Option<f32>)] = &[
            ("exp", NOW + 60, None),
            ("exp", NOW - 30, None),
            ("exp", NOW - 3_600, Some(0.4)),
            ("exp", NOW - 2 * 86_400, Some(0.6)),
            ("exp", 1_600_000_000, Some(0.78)),
            ("nbf", NOW + 60, None),
            ("nbf", NOW + 3_600, Some(0.72)),
            ("nbf", NOW - 3_600, None),
        ];
        for (claim, at, expected) in rows {
            let value = token(
                r#"{"alg":"HS256"}"#,
                &format!(r#"{{"sub":"1","{claim}":{at}}}"#),
                &URL_SAFE.encode([7; 32]),
            );
            let field = Field { place: Place::Cookie, name: b"t", value: value.as_bytes(), offset: 0 };
            let mut found = Vec::new();
            let seen = find(&field, value.as_bytes(), Some(NOW), &mut found);
            let of_time: Vec<_> = found.iter().map(|found| (found.code, found.confidence)).collect();
            let expected: Vec<_> = expected.iter().map(|sure| (Code::JwtTime, *sure)).collect();
            assert_eq!((of_time, seen.is_some_and(|seen| seen.ends())), (expected, true), "{claim} {at}");
        }
    }

    #[test]
    fn what_else_is_wrong_with_tokens() {
        let rows: &[(&str, &str, &str, Code)] = &[
            (r#"{"alg":"HS256"}"#, CLAIMS, "", Code::JwtUnsigned),
            (r#"{"alg":"HS256","kid":"../../dev/null"}"#, CLAIMS, SIGNATURE, Code::JwtKid),
            (r#"{"alg":"HS256","kid":"x' union select 'k"}"#, CLAIMS, SIGNATURE, Code::JwtKid),
            (r#"{"alg":"HS256","jku":"https://evil/k.json"}"#, CLAIMS, SIGNATURE, Code::JwtKeyHeader),
            (r#"{"alg":"HS256","jwk":{"kty":"RSA"}}"#, CLAIMS, SIGNATURE, Code::JwtKeyHeader),
            (r#"{"alg":"HS256"}"#, "{}", SIGNATURE, Code::JwtClaims),
            (r#"{"alg":"HS256"}"#, "{broken", SIGNATURE, Code::JwtMalformed),
        ];
        for (header, claims, signature, expected) in rows {
            let value = format!("Bearer {}", token(header, claims, signature));
            assert_eq!(codes("authorization", &value), [*expected], "{header}");
        }
        assert_eq!(codes("authorization", "Bearer eyJhbGciOiJIUzI1NiJ9"), [Code::JwtMalformed]);
        assert_eq!(codes("authorization", "Bearer eyJ%%%.x.y"), [Code::JwtMalformed]);
    }
}
