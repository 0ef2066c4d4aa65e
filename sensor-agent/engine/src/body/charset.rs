//! Bodies in other charsets. A body that is declared as EBCDIC, UTF-16 or UTF-7 does not look like an attack, or like
//! anything; the application turns it into text first, and so does the sensor.

use encoding_rs::Encoding;

/// Most bytes of a body that are converted.
const MAX_INPUT: usize = 1 << 20;
/// Longest XML declaration that is looked at.
const MAX_DECLARATION: usize = 256;
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A charset in which ASCII is written otherwise, or one that `encoding_rs` knows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Charset {
    Utf7,
    Ebcdic,
    Utf32(Order),
    /// UTF-16 whose order a byte order mark says, or else the place of the NULs.
    Utf16,
    Known(&'static Encoding),
}

/// Which byte of a unit comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl PartialEq for Charset {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Utf7, Self::Utf7) | (Self::Ebcdic, Self::Ebcdic) | (Self::Utf16, Self::Utf16) => true,
            (Self::Known(one), Self::Known(other)) => one == other,
            (Self::Utf32(one), Self::Utf32(other)) => one == other,
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
            b"utf-16" | b"utf16" | b"ucs-2" | b"iso-10646-ucs-2" | b"unicode" => return Some(Self::Utf16),
            b"utf-32" | b"utf32" | b"utf-32be" | b"ucs-4" => return Some(Self::Utf32(Order::Big)),
            b"utf-32le" => return Some(Self::Utf32(Order::Little)),
            _ => {}
        }
        let encoding = Encoding::for_label(&label)?;
        let usual = [encoding_rs::UTF_8, encoding_rs::WINDOWS_1252, encoding_rs::REPLACEMENT];
        (!usual.contains(&encoding)).then_some(Self::Known(encoding))
    }

    /// What the first bytes say: a byte order mark, the NULs that UTF-16 and UTF-32 put between Latin letters, an XML declaration (XML 1.0,
    /// appendix F).
    pub(super) fn sniff(body: &[u8]) -> Option<Self> {
        let text = |byte: u8| matches!(byte, b'\t' | b'\r' | b'\n' | b' '..=b'~');
        match *body {
            [0, 0, 0xfe, 0xff, ..] => Some(Self::Utf32(Order::Big)),
            [0xff, 0xfe, 0, 0, ..] => Some(Self::Utf32(Order::Little)),
            [0xff, 0xfe, ..] => Some(Self::Known(encoding_rs::UTF_16LE)),
            [0xfe, 0xff, ..] => Some(Self::Known(encoding_rs::UTF_16BE)),
            [0, 0, 0, a, 0, 0, 0, b, ..] if text(a) && text(b) => Some(Self::Utf32(Order::Big)),
            [a, 0, 0, 0, b, 0, 0, 0, ..] if text(a) && text(b) => Some(Self::Utf32(Order::Little)),
            [a, 0, b, 0, ..] if text(a) && text(b) => Some(Self::Known(encoding_rs::UTF_16LE)),
            [0, a, 0, b, ..] if text(a) && text(b) => Some(Self::Known(encoding_rs::UTF_16BE)),
            [0x4c, 0x6f, 0xa7, 0x94, 0x93, ..] => Some(Self::Ebcdic),
            [b'<', b'?', b'x', b'm', b'l', ref declaration @ ..] => Self::declared_in_xml(declaration),
            _ => None,
        }
    }

    /// The encoding that an XML declaration names.
    fn declared_in_xml(declaration: &[u8]) -> Option<Self> {
        let end = memchr::memchr(b'>', declaration.get(..MAX_DECLARATION).unwrap_or(declaration))?;
        let (_, name) = split_at_word(declaration.get(..end)?, b"encoding")?;
        let name = name.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
        let (&quote, name) = name.split_first()?;
        let length = name.iter().position(|&byte| byte == quote)?;
        // What says so in ASCII is no UTF-16.
        Self::of(name.get(..length)?).filter(|one| matches!(one, Self::Utf7 | Self::Known(_)))
    }

    /// Whether text in it does not look like text to who takes it for ASCII.
    pub(super) fn is_unusual(self) -> bool {
        match self {
            Self::Utf7 | Self::Ebcdic | Self::Utf16 | Self::Utf32(_) => true,
            Self::Known(encoding) => !encoding.is_ascii_compatible(),
        }
    }

    /// The body as UTF-8; what is no character becomes the replacement character.
    pub(super) fn decode(self, body: &[u8]) -> Vec<u8> {
        let body = body.get(..MAX_INPUT).unwrap_or(body);
        match self {
            Self::Utf7 => utf7(body),
            Self::Ebcdic => body.iter().map(|&byte| EBCDIC[usize::from(byte)]).collect(),
            Self::Utf32(order) => utf32(body, order),
            Self::Utf16 => {
                let order = Self::sniff(body).filter(|one| matches!(one, Self::Known(_)));
                let likely =
                    Self::Known(if is_big(body) { encoding_rs::UTF_16BE } else { encoding_rs::UTF_16LE });
                order.unwrap_or(likely).decode(body)
            }
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

/// Whether more of the units of two bytes begin with a NUL than end with one.
fn is_big(body: &[u8]) -> bool {
    const SAMPLE: usize = 256;
    let (units, _) = body.get(..SAMPLE).unwrap_or(body).as_chunks::<2>();
    let (high, low) = (|unit: &&[u8; 2]| unit[0] == 0, |unit: &&[u8; 2]| unit[1] == 0);
    units.iter().filter(high).count() > units.iter().filter(low).count()
}

fn utf32(body: &[u8], order: Order) -> Vec<u8> {
    let order = match *body {
        [0, 0, 0xfe, 0xff, ..] => Order::Big,
        [0xff, 0xfe, 0, 0, ..] => Order::Little,
        _ => order,
    };
    let (units, _) = body.as_chunks::<4>();
    let code = |unit: &[u8; 4]| match order {
        Order::Big => u32::from_be_bytes(*unit),
        Order::Little => u32::from_le_bytes(*unit),
    };
    let characters =
        units.iter().map(|unit| char::from_u32(code(unit)).unwrap_or(char::REPLACEMENT_CHARACTER));
    characters.filter(|&one| one != BYTE_ORDER_MARK).collect::<String>().into_bytes()
}

/// What stands before and behind a word.
fn split_at_word<'a>(text: &'a [u8], word: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = memchr::memmem::find(text, word)?;
    Some((text.get(..at)?, text.get(at + word.len()..)?))
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
        check("utf-16", b"\xfe\xff\0a\0=", "a=");
        check("utf-16", b"\0a\0=\0'\x30\x42", "a='\u{3042}");
        check("utf-16", b"\x42\x30a\0=\0", "\u{3042}a=");
        check("utf-32", b"\0\0\0a\0\0\0=\0\0\xd8\0", "a=\u{fffd}");
        check("utf-32", b"\xff\xfe\0\0a\0\0\0", "a");
        check("utf-32le", b"a\0\0\0=\0\0\0x", "a=");
        check("shift_jis", b"\x83\x41'", "\u{30a2}'");
    }

    #[test]
    fn what_needs_no_conversion() {
        for label in ["utf-8", "ISO-8859-1", "us-ascii", "windows-1252", "nonsense", ""] {
            assert_eq!(Charset::of(label.as_bytes()), None, "{label}");
        }
    }

    #[test]
    fn charsets_are_seen_without_a_label() {
        for (body, expected) in [
            (&b"{\0\"\0a\0"[..], Some("{\"a")),
            (b"\n\0{\0", Some("\n{")),
            (b"\xfe\xff\0a", Some("a")),
            (b"\0{\0\"", Some("{\"")),
            (b"{\0\0\0\"\0\0\0", Some("{\"")),
            (b"\0\0\0{\0\0\0\"", Some("{\"")),
            (b"\x4c\x6f\xa7\x94\x93\x40", Some("<?xml ")),
            (
                b"<?xml version='1.0' encoding = 'utf-7'?>+ADw-",
                Some("<?xml version='1.0' encoding = 'utf-7'?><"),
            ),
            (b"<?xml encoding=\"utf-16\"?>", None),
            (b"<?xml encoding=\"utf-8\"?>", None),
            (b"<?xml encoding", None),
            (b"{\"a\"", None),
            (b"\0\0\0\x20ftyp", None),
            (b"\0\0\0\0\x05\n\x03", None),
        ] {
            let text =
                Charset::sniff(body).map(|one| String::from_utf8_lossy(&one.decode(body)).into_owned());
            assert_eq!(text.as_deref(), expected, "{}", body.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            Charset::sniff(&body);
            for label in [&b"utf-7"[..], b"cp037", b"utf-16", b"utf-32", b"iso-2022-jp", b"gb18030"] {
                Charset::of(label).unwrap().decode(&body);
            }
        }
    }
}
