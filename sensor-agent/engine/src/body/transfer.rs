//! Content transfer encodings of parts (RFC 2045 section 6): base64 and quoted-printable.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The value behind the encoding of this name; `None` if there is none to remove.
pub(super) fn decode(encoding: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    if encoding.eq_ignore_ascii_case(b"base64") {
        let packed: Vec<u8> = value.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        return LENIENT.decode(packed).ok();
    }
    encoding.eq_ignore_ascii_case(b"quoted-printable").then(|| quoted_printable(value))
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
    }
}
