//! Content transfer encodings of parts (RFC 2045 section 6), base64 and quoted-printable, and words in them within names (RFC 2047), which
//! some servers read in names of files.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::charset::Charset;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The value behind the encoding of this name; `None` if there is none to remove.
pub(super) fn decode(encoding: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    if encoding.eq_ignore_ascii_case(b"base64") {
        return base64(value);
    }
    encoding.eq_ignore_ascii_case(b"quoted-printable").then(|| quoted_printable(value))
}

/// What is no base64 is passed over, as servers do (RFC 2045 section 6.8), and what stands behind padding is read as some do.
fn base64(value: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let runs = value.split(|&byte| byte == b'=').map(|run| run.iter().copied().filter(digit).collect());
    let mut out = Vec::with_capacity(value.len());
    for run in runs {
        let mut run: Vec<u8> = run;
        // One digit alone is no byte.
        run.truncate(run.len() - usize::from(run.len() % 4 == 1));
        out.extend(LENIENT.decode(run).ok()?);
    }
    (!out.is_empty()).then_some(out)
}

/// A text with its encoded words (`=?charset?B?...?=`, RFC 2047 section 2) decoded; `None` if there is none.
pub(super) fn words(text: &[u8]) -> Option<Vec<u8>> {
    let (mut rest, mut out, mut found) = (text, Vec::new(), false);
    while let Some(at) = memchr::memmem::find(rest, b"=?") {
        let mut parts = rest[at + 2..].splitn(4, |&byte| byte == b'?');
        let (charset, kind, word) = (parts.next()?, parts.next(), parts.next().unwrap_or_default());
        let bytes = match kind {
            Some(b"B" | b"b") => base64(word),
            Some(b"Q" | b"q") => Some(quoted_printable(&underscores(word))),
            _ => None,
        };
        let behind = parts.next().and_then(|behind| behind.strip_prefix(b"="));
        let (Some(bytes), Some(behind)) = (bytes, behind) else {
            out.extend_from_slice(&rest[..at + 2]);
            rest = &rest[at + 2..];
            continue;
        };
        // White space between two words is none of the text.
        let before = &rest[..at];
        out.extend_from_slice(if found { before.trim_ascii() } else { before });
        out.extend(Charset::of(charset).map_or_else(|| bytes.clone(), |charset| charset.decode(&bytes)));
        (rest, found) = (behind, true);
    }
    out.extend_from_slice(rest);
    found.then_some(out)
}

fn underscores(word: &[u8]) -> Vec<u8> {
    word.iter().map(|&byte| if byte == b'_' { b' ' } else { byte }).collect()
}

fn quoted_printable(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'=', [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..]) => rest,
            (b'=', [high, low, rest @ ..]) if let Some(byte) = hex(*high, *low) => {
                out.push(byte);
                rest
            }
            _ => {
                out.push(byte);
                after
            }
        };
    }
    out
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings() {
        assert_eq!(decode(b"BASE64", b"RVZ\r\nJTA").as_deref(), Some(&b"EVIL"[..]));
        assert_eq!(decode(b"quoted-printable", b"a=3Db=\r\nc=zz=").as_deref(), Some(&b"a=bc=zz="[..]));
        assert_eq!((decode(b"8bit", b"x"), decode(b"base64", b"'!")), (None, None));
        assert_eq!(decode(b"base64", b"!RV-Z\0JTA").as_deref(), Some(&b"EVIL"[..]));
        assert_eq!(decode(b"base64", b"YQ==RVZJTA==").as_deref(), Some(&b"aEVIL"[..]));
        assert_eq!(decode(b"base64", b"YWJjR").as_deref(), Some(&b"abc"[..]));
    }

    #[test]
    fn encoded_words() {
        for (text, expected) in [
            ("=?UTF-8?B?c2guanNw?=", Some("sh.jsp")),
            ("a=?utf-8?q?=2e=2E_b?= =?utf-8?Q?c?=d", Some("a.. bcd")),
            ("=?utf-7?Q?+ADw-?=", Some("<")),
            ("=?utf-8?X?c2g?=", None),
            ("=?utf-8?B?c2g", None),
            ("=?=?utf-8?Q?a?=", Some("=?a")),
            ("plain", None),
        ] {
            let got = words(text.as_bytes()).map(|text| String::from_utf8_lossy(&text).into_owned());
            assert_eq!(got.as_deref(), expected, "{text}");
        }
    }
}
