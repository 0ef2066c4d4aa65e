//! Bodies in other charsets. A body that is declared as EBCDIC, UTF-16 or UTF-7 does not look like an attack, or like
//! anything; the application turns it into text first, and so does the sensor.

use encoding_rs::Encoding;

/// Most bytes of a body that are converted.
const MAX_INPUT: usize = 1 << 20;

/// A charset in which ASCII is written otherwise, or one that `encoding_rs` knows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Charset {
    Utf7,
    Ebcdic,
    Known(&'static Encoding),
}

impl PartialEq for Charset {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Utf7, Self::Utf7) | (Self::Ebcdic, Self::Ebcdic) => true,
            (Self::Known(one), Self::Known(other)) => one == other,
            _ => false,
        }
    }
}

impl Charset {
    /// The charset of this label; `None` for UTF-8, Latin-1, and what nobody knows.
    pub(super) fn of(label: &[u8]) -> Option<Self> {
        let label = label.trim_ascii().to_ascii_lowercase();
        match label.as_slice() {
            b"utf-7" | b"utf7" | b"x-unicode-2-0-utf-7" | b"csutf7" => return Some(Self::Utf7),
            b"ibm037" | b"cp037" | b"ibm-037" | b"ibm500" | b"cp500" | b"ebcdic-cp-us" | b"csibm037"
            | b"037" => {
                return Some(Self::Ebcdic);
            }
            b"utf-16" | b"utf16" | b"ucs-2" => return Some(Self::Known(encoding_rs::UTF_16LE)),
            _ => {}
        }
        let encoding = Encoding::for_label(&label)?;
        let usual = [encoding_rs::UTF_8, encoding_rs::WINDOWS_1252, encoding_rs::REPLACEMENT];
        (!usual.contains(&encoding)).then_some(Self::Known(encoding))
    }

    /// What the first bytes say: a byte order mark, or the NULs that UTF-16 puts between Latin letters.
    pub(super) fn sniff(body: &[u8]) -> Option<Self> {
        match body {
            [0xff, 0xfe, ..] | [b'<' | b'{' | b'[' | b'"', 0, 1..=255, 0, ..] => {
                Some(Self::Known(encoding_rs::UTF_16LE))
            }
            [0xfe, 0xff, ..] | [0, b'<' | b'{' | b'[' | b'"', 0, 1..=255, ..] => {
                Some(Self::Known(encoding_rs::UTF_16BE))
            }
            _ => None,
        }
    }

    /// Whether text in it does not look like text to who takes it for ASCII.
    pub(super) fn is_unusual(self) -> bool {
        match self {
            Self::Utf7 | Self::Ebcdic => true,
            Self::Known(encoding) => !encoding.is_ascii_compatible(),
        }
    }

    /// The body as UTF-8; what is no character becomes the replacement character.
    pub(super) fn decode(self, body: &[u8]) -> Vec<u8> {
        let body = body.get(..MAX_INPUT).unwrap_or(body);
        match self {
            Self::Utf7 => utf7(body),
            Self::Ebcdic => body.iter().map(|&byte| EBCDIC[usize::from(byte)]).collect(),
            Self::Known(encoding) => {
                let body = match body {
                    [0xff, 0xfe, rest @ ..] | [0xfe, 0xff, rest @ ..] => rest,
                    _ => body,
                };
                encoding.decode_without_bom_handling(body).0.into_owned().into_bytes()
            }
        }
    }
}

/// UTF-7 (RFC 2152): runs of base64 between `+` and `-` hold UTF-16.
fn utf7(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    while let Some(plus) = memchr::memchr(b'+', body) {
        out.extend_from_slice(&body[..plus]);
        let run = &body[plus + 1..];
        let length = run.iter().position(|&byte| base64_value(byte).is_none()).unwrap_or(run.len());
        if length == 0 {
            out.push(b'+');
        } else {
            push_utf16(&run[..length], &mut out);
        }
        body = &run[length..];
        body = body.strip_prefix(b"-").unwrap_or(body);
    }
    out.extend_from_slice(body);
    out
}

fn push_utf16(run: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0u32, 0);
    let mut units = Vec::with_capacity(run.len() / 2);
    for value in run.iter().filter_map(|&byte| base64_value(byte)) {
        bits = bits << 6 | value;
        count += 6;
        if count >= 16 {
            count -= 16;
            units.push((bits >> count) as u16);
            bits &= (1 << count) - 1;
        }
    }
    for character in char::decode_utf16(units) {
        let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

fn base64_value(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

/// EBCDIC code page 037; what has no ASCII counterpart becomes `.`, a letter with an accent its base letter's place.
static EBCDIC: [u8; 256] = ebcdic();

const fn ebcdic() -> [u8; 256] {
    let mut table = [b'.'; 256];
    let runs: [(u8, &[u8]); 20] = [
        (0x40, b" "),
        (0x4b, b".<(+|&"),
        (0x5a, b"!$*);"),
        (0x60, b"-/"),
        (0x6b, b",%_>?"),
        (0x79, b"`:#@'=\""),
        (0x81, b"abcdefghi"),
        (0x91, b"jklmnopqr"),
        (0xa1, b"~stuvwxyz"),
        (0xb0, b"^"),
        (0xba, b"[]"),
        (0xc0, b"{ABCDEFGHI"),
        (0xd0, b"}JKLMNOPQR"),
        (0xe0, b"\\"),
        (0xe2, b"STUVWXYZ"),
        (0xf0, b"0123456789"),
        (0x05, b"\t"),
        (0x0d, b"\r"),
        (0x15, b"\n"),
        (0x25, b"\n"),
    ];
    let mut run = 0;
    while run < runs.len() {
        let (start, text) = runs[run];
        let mut at = 0;
        while at < text.len() {
            table[start as usize + at] = text[at];
            at += 1;
        }
        run += 1;
    }
    table[0] = 0;
    table
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(label: &str, body: &[u8], expected: &str) {
        let charset = Charset::of(label.as_bytes()).unwrap();
        assert_eq!(String::from_utf8_lossy(&charset.decode(body)), expected, "{label}");
    }

    /// Case C31.
    #[test]
    fn charsets_are_converted() {
        check("UTF-7", b"+ADw-script+AD4-alert(1)+ADw-/script+AD4-", "<script>alert(1)</script>");
        check("utf-7", b"1+-1 +2D3eAA-", "1+1 \u{1f600}");
        check("ibm037", b"\x81\x7e\x7d\x40\x96\x99\x40\xf1\x7e\xf1\x60\x60", "a=' or 1=1--");
        check("IBM500", b"\x4c\xa2\x83\x99\x89\x97\xa3\x6e\x5d\x5e\x4d", "<script>);(");
        check("utf-16le", b"a\0=\0'\0", "a='");
        check("utf-16be", b"\0a\0=\0'", "a='");
        check("utf-16", b"\xff\xfea\0=\0", "a=");
        check("shift_jis", b"\x83\x41'", "\u{30a2}'");
    }

    #[test]
    fn what_needs_no_conversion() {
        for label in ["utf-8", "ISO-8859-1", "us-ascii", "windows-1252", "nonsense", ""] {
            assert_eq!(Charset::of(label.as_bytes()), None, "{label}");
        }
    }

    #[test]
    fn utf16_is_seen_without_a_label() {
        assert!(Charset::sniff(b"{\0\"\0a\0").is_some() && Charset::sniff(b"\xfe\xff\0a").is_some());
        assert_eq!(Charset::sniff(b"{\"a\""), None);
    }

    proptest! {
        #[test]
        fn any_bytes_end(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            for label in [&b"utf-7"[..], b"cp037", b"utf-16", b"iso-2022-jp", b"gb18030"] {
                Charset::of(label).unwrap().decode(&body);
            }
        }
    }
}
