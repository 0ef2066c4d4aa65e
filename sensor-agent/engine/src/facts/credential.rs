//! Credentials in headers, decoded in place: Basic (RFC 7617), and how a JWT says that it is signed (RFC 7515).

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::Key;

/// As servers decode: padding may be missing, and what is left over is let go.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);

/// Longest encoded credentials that are decoded.
const MAX_ENCODED: usize = 1024;
/// Bytes of what they decode to.
const MAX_DECODED: usize = MAX_ENCODED / 4 * 3 + 3;

/// Memory for what is decoded.
pub(crate) type Buffer = [u8; MAX_DECODED];

/// User and password of an Authorization header with the Basic scheme, as numbers.
pub(super) fn basic(key: &Key, value: &[u8]) -> Option<(u64, u64)> {
    let mut buffer = [0; MAX_DECODED];
    let text = basic_text(value, &mut buffer)?;
    let colon = memchr::memchr(b':', text)?;
    Some((key.number(&text[..colon]), key.number(&text[colon + 1..])))
}

/// `user:password` of such a header, of long ones the beginning. Either alphabet is read, and what is no base64 is passed over, as servers do.
pub(crate) fn basic_text<'b>(value: &[u8], buffer: &'b mut Buffer) -> Option<&'b [u8]> {
    let encoded = after_scheme(value, b"basic")?;
    let digits = encoded.iter().filter_map(|&byte| match byte {
        b'-' => Some(b'+'),
        b'_' => Some(b'/'),
        byte => (byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')).then_some(byte),
    });
    let mut text = [0; MAX_ENCODED];
    let len = text.iter_mut().zip(digits).map(|(slot, digit)| *slot = digit).count();
    // One digit alone is no byte.
    let len = len - usize::from(len % 4 == 1);
    let length = STANDARD.decode_slice(text.get(..len)?, buffer.as_mut_slice()).ok()?;
    buffer.get(..length).filter(|text| !text.is_empty())
}

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signing {
    /// With a secret that both sides know.
    Symmetric,
    /// With a private key.
    Asymmetric,
}

/// How the bearer token of an Authorization header is signed, and the number of its issuer and key.
pub(super) fn token(key: &Key, value: &[u8]) -> Option<(Signing, u64)> {
    let token = after_scheme(value, b"bearer")?;
    if !token.starts_with(b"ey") {
        return None;
    }
    let mut parts = token.split(|&byte| byte == b'.');
    let (mut head, mut claims) = ([0; MAX_DECODED], [0; MAX_DECODED]);
    let head = decode(parts.next()?, &mut head)?;
    let claims = decode(parts.next()?, &mut claims)?;
    let signing = match string(head, b"alg")?.first_chunk::<2>()? {
        b"HS" | b"hs" | b"Hs" => Signing::Symmetric,
        b"RS" | b"ES" | b"PS" | b"Ed" => Signing::Asymmetric,
        _ => return None,
    };
    let issuer = string(claims, b"iss").unwrap_or_default();
    Some((signing, key.pair(issuer, string(head, b"kid").unwrap_or_default())))
}

fn decode<'b>(encoded: &[u8], buffer: &'b mut [u8; MAX_DECODED]) -> Option<&'b [u8]> {
    // The beginning of long claims says enough; a whole number of groups of four decodes by itself.
    let encoded = encoded.get(..MAX_ENCODED).unwrap_or(encoded);
    let length = URL_SAFE.decode_slice(encoded, buffer.as_mut_slice()).ok()?;
    buffer.get(..length)
}

/// The string under `name` in an object written as JSON, without escapes resolved.
fn string<'t>(json: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    memchr::memmem::find_iter(json, name).find_map(|at| {
        let before = json.get(at.checked_sub(1)?)?;
        let rest = json.get(at + name.len()..)?.strip_prefix(b"\"").filter(|_| *before == b'"')?;
        let value = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
        value.get(..memchr::memchr(b'"', value)?)
    })
}

/// What follows `scheme` and white space.
fn after_scheme<'v>(value: &'v [u8], scheme: &[u8]) -> Option<&'v [u8]> {
    let value = value.trim_ascii();
    let (head, rest) = value.split_at_checked(scheme.len())?;
    let fits = head.eq_ignore_ascii_case(scheme) && rest.first().is_some_and(u8::is_ascii_whitespace);
    fits.then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials() {
        let key = Key::default();
        let pair = |user: &[u8], password: &[u8]| Some((key.number(user), key.number(password)));
        assert_eq!(basic(&key, b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), pair(b"Aladdin", b"open sesame"));
        assert_eq!(basic(&key, b"BASIC  dTphOmI="), pair(b"u", b"a:b"));
        assert_eq!(basic(&key, b"Basic\tdTp*hOmJ"), pair(b"u", b"a:b"), "what is no base64 is passed over");
        let long = format!("Basic {}", STANDARD.encode(format!("u:{}", "x".repeat(5000))));
        assert!(basic(&key, long.as_bytes()).is_some_and(|(user, _)| user == key.number(b"u")));
        for other in [&b"Basic"[..], b"Basic %%%", b"Bearer QQ==", b"Basic QQ==", b"", &[b'A'; 9000]] {
            assert_eq!(basic(&key, other), None);
        }
    }

    #[test]
    fn how_tokens_are_signed() {
        let key = Key::default();
        let made = |head: &str, claims: &str| {
            let text = format!("Bearer {}.{}.x", URL_SAFE.encode(head), URL_SAFE.encode(claims));
            token(&key, text.as_bytes())
        };
        let rs = made(r#"{"alg":"RS256","kid":"1"}"#, r#"{"sub":"iss","iss":"https://id.example"}"#).unwrap();
        let hs =
            made(r#"{"typ":"JWT", "alg" : "HS256","kid":"1"}"#, r#"{"iss":"https://id.example"}"#).unwrap();
        assert_eq!((rs.0, hs.0), (Signing::Asymmetric, Signing::Symmetric));
        assert_eq!(rs.1, hs.1, "the same issuer and key");
        assert_ne!(made(r#"{"alg":"RS256","kid":"2"}"#, r#"{"iss":"https://id.example"}"#).unwrap().1, rs.1);
        assert_eq!(made(r#"{"alg":"none"}"#, "{}"), None);
        assert_eq!(token(&key, b"Bearer eyJ.x.y"), None);
        assert_eq!(token(&key, b"Bearer abc"), None);
    }
}
