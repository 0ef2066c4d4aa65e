//! Decoders: one step from a value to what an application might make of it. Each appends its result to `out` and
//! says whether it changed anything; each is one pass over the input and never grows it more than twofold.
//!
//! Decoders are tolerant on purpose: what does not decode stays as it is, because applications differ in what they
//! refuse, and a value that is refused does no harm when it is looked at.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use unicode_normalization::UnicodeNormalization;

use crate::bytes::{comment_begin, comment_end, has_controls};

/// Fewest characters that are tried as base64: shorter text is too often base64 by accident.
pub(crate) const MIN_BASE64: usize = 12;
/// Fewest hexadecimal digits that are tried as text: shorter ones are numbers.
pub(crate) const MIN_HEX: usize = 16;
/// Most characters that are tried as base64: longer values are files, whose decoded bytes are no parameter.
pub(crate) const MAX_BASE64: usize = 4 * 1024;

/// Percent-encoding once, `%uXXXX` too; `+` is a space if `plus`. A broken escape loses its `%`'s meaning, not its bytes.
pub(crate) fn percent(input: &[u8], plus: bool, out: &mut Vec<u8>) -> bool {
    let mut changed = false;
    let mut rest = input;
    while let Some((&byte, tail)) = rest.split_first() {
        let (taken, code) = match byte {
            b'%' => percent_escape(tail),
            b'+' if plus => (1, Some(u32::from(b' '))),
            _ => (0, None),
        };
        let Some(code) = code else {
            out.push(byte);
            rest = tail;
            continue;
        };
        changed = true;
        if taken == 6 {
            push_char(code, out);
        } else {
            out.push(code as u8);
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    changed
}

/// Drops percent signs before a letter that begin no escape, as some servers do: `s%elect`.
pub(crate) fn lone_percent(input: &[u8], out: &mut Vec<u8>) -> bool {
    let mut changed = false;
    for (at, &byte) in input.iter().enumerate() {
        let tail = input.get(at + 1..).unwrap_or_default();
        let lone = byte == b'%'
            && percent_escape(tail).1.is_none()
            && tail.first().is_some_and(u8::is_ascii_alphabetic);
        changed |= lone;
        if !lone {
            out.push(byte);
        }
    }
    changed
}

/// Plus signs that were encoded as if they were no blanks already: in a text without blanks, several stand for them.
pub(crate) fn pluses(input: &[u8], out: &mut Vec<u8>) -> bool {
    if input.contains(&b' ') || memchr::memchr_iter(b'+', input).nth(1).is_none() {
        return false;
    }
    out.extend(input.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }));
    true
}

/// Length of the escape with its `%`, and its code; the text behind the `%` is `tail`.
fn percent_escape(tail: &[u8]) -> (usize, Option<u32>) {
    match tail {
        [b'u' | b'U', digits @ ..] if hex(digits, 4).is_some() => (6, hex(digits, 4)),
        digits => (3, hex(digits, 2)),
    }
}

/// The number in the first `count` hexadecimal digits.
fn hex(text: &[u8], count: usize) -> Option<u32> {
    text.get(..count)?.iter().try_fold(0, |sum, &byte| Some(sum * 16 + (byte as char).to_digit(16)?))
}

/// Appends the character as UTF-8; what is no character becomes its low byte, as lenient decoders do.
fn push_char(code: u32, out: &mut Vec<u8>) {
    match char::from_u32(code) {
        Some(known) => out.extend_from_slice(known.encode_utf8(&mut [0; 4]).as_bytes()),
        None => out.push(code as u8),
    }
}

/// Characters that servers and databases fold to ASCII: overlong UTF-8, look-alike quotes, and what compatibility normalisation (NFKC)
/// turns into ASCII: fullwidth, mathematical and circled letters, ligatures. NUL and invisible characters vanish.
pub(crate) fn unicode(input: &[u8], out: &mut Vec<u8>) -> bool {
    if !input.iter().any(|&byte| byte == 0 || byte >= 0x80) {
        return false;
    }
    let mut changed = false;
    let mut rest = input;
    while !rest.is_empty() {
        let (taken, folded) = fold_char(rest);
        let (now, later) = rest.split_at(taken.min(rest.len()));
        match folded {
            Some(text) => {
                changed = true;
                out.extend(text.iter().filter(|&&byte| byte != 0));
            }
            None if compatible(now, out) => changed = true,
            None => out.extend_from_slice(now),
        }
        rest = later;
    }
    changed
}

/// Bytes of the first character, and what it folds to; a NUL stands for nothing.
fn fold_char(text: &[u8]) -> (usize, Option<[u8; 2]>) {
    let ascii = |byte: u8| Some([byte, 0]);
    match *text {
        [0, ..] => (1, ascii(0)),
        // Overlong: two or three bytes for what fits into one.
        [lead @ (0xc0 | 0xc1), low @ 0x80..=0xbf, ..] => (2, ascii((lead & 1) << 6 | low & 0x3f)),
        [0xe0, mid @ (0x80 | 0x81), low @ 0x80..=0xbf, ..] => (3, ascii((mid & 1) << 6 | low & 0x3f)),
        [0xf0, 0x80, mid @ (0x80 | 0x81), low @ 0x80..=0xbf, ..] => (4, ascii((mid & 1) << 6 | low & 0x3f)),
        [0xf8, 0x80, 0x80, mid @ (0x80 | 0x81), low @ 0x80..=0xbf, ..] => {
            (5, ascii((mid & 1) << 6 | low & 0x3f))
        }
        // The first byte of two with a whole character behind it: decoders that do not look at the second take its bits.
        [0xc0 | 0xc1, low @ b'!'..=b'~', ..] => (2, ascii(low)),
        // U+FF01..U+FF5E, fullwidth ASCII.
        [0xef, 0xbc, low @ 0x81..=0xbf, ..] => (3, ascii(low - 0x60)),
        [0xef, 0xbd, low @ 0x80..=0x9e, ..] => (3, ascii(low - 0x20)),
        // Quotes that best-fit mappings turn into `'` and `"`: U+02B9, U+02BC, U+2018..U+201D, U+2032, U+2033.
        [0xca, 0xb9 | 0xbc, ..] => (2, ascii(b'\'')),
        [0xe2, 0x80, 0x98..=0x9b | 0xb2, ..] => (3, ascii(b'\'')),
        [0xe2, 0x80, 0x9c..=0x9f | 0xb3, ..] => (3, ascii(b'"')),
        // Long s, Kelvin sign, dotless i: fold to letters.
        [0xc5, 0xbf, ..] => (2, ascii(b's')),
        [0xe2, 0x84, 0xaa, ..] => (3, ascii(b'k')),
        [0xc4, 0xb1, ..] => (2, ascii(b'i')),
        // Spaces: U+00A0, U+2000..U+200A, U+3000, and a bare 0xA0.
        [0xc2, 0xa0, ..] => (2, ascii(b' ')),
        [0xe2, 0x80, 0x80..=0x8a, ..] | [0xe3, 0x80, 0x80, ..] => (3, ascii(b' ')),
        [0xa0, ..] => (1, ascii(b' ')),
        // Invisible: soft hyphen, zero width, direction marks, word joiner, byte order mark.
        [0xc2, 0xad, ..] => (2, ascii(0)),
        [0xe2, 0x80, 0x8b..=0x8f | 0xaa..=0xae, ..] | [0xe2, 0x81, 0xa0..=0xa9, ..] => (3, ascii(0)),
        [0xef, 0xbb, 0xbf, ..] => (3, ascii(0)),
        [lead, ..] => (sequence_length(lead), None),
        [] => (1, None),
    }
}

/// Appends what compatibility normalisation makes of a character, if that is ASCII.
fn compatible(character: &[u8], out: &mut Vec<u8>) -> bool {
    // The first bytes of the blocks that have such characters.
    if !matches!(character.first(), Some(0xc2 | 0xc4 | 0xc7 | 0xca | 0xcb | 0xcd | 0xe1..=0xe3 | 0xef | 0xf0))
    {
        return false;
    }
    let Some(one) = std::str::from_utf8(character).ok().and_then(|text| text.chars().next()) else {
        return false;
    };
    let start = out.len();
    for folded in std::iter::once(one).nfkc() {
        if !folded.is_ascii() {
            out.truncate(start);
            return false;
        }
        out.push(folded as u8);
    }
    out.len() > start
}

/// Bytes of the UTF-8 sequence that `lead` begins; 1 for what begins none.
fn sequence_length(lead: u8) -> usize {
    match lead {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    }
}

/// HTML character references: numeric ones with and without `;`, and the names that attacks need.
pub(crate) fn html(input: &[u8], out: &mut Vec<u8>) -> bool {
    let mut changed = false;
    let mut rest = input;
    while let Some(at) = memchr::memchr(b'&', rest) {
        let (before, from) = rest.split_at(at);
        out.extend_from_slice(before);
        match html_reference(from) {
            Some((taken, code)) => {
                changed = true;
                push_char(code, out);
                rest = from.get(taken..).unwrap_or_default();
            }
            None => {
                out.push(b'&');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    out.extend_from_slice(rest);
    changed
}

/// Length and code of the reference that begins `text`.
fn html_reference(text: &[u8]) -> Option<(usize, u32)> {
    let (start, radix) = match text {
        [b'&', b'#', b'x' | b'X', ..] => (3, 16),
        [b'&', b'#', ..] => (2, 10),
        _ => return html_name(text),
    };
    let digits = text.get(start..)?.iter().take_while(|byte| (**byte as char).is_digit(radix)).count();
    if digits == 0 {
        return None;
    }
    let number = text.get(start..start + digits)?;
    let code = number
        .iter()
        .try_fold(0_u32, |sum, &byte| sum.checked_mul(radix)?.checked_add((byte as char).to_digit(radix)?))?;
    let semicolon = usize::from(text.get(start + digits) == Some(&b';'));
    Some((start + digits + semicolon, code))
}

fn html_name(text: &[u8]) -> Option<(usize, u32)> {
    const NAMES: &[(&[u8], char)] = &[
        (b"&lt;", '<'),
        (b"&gt;", '>'),
        (b"&quot;", '"'),
        (b"&amp;", '&'),
        (b"&apos;", '\''),
        (b"&tab;", '\t'),
        (b"&newline;", '\n'),
        (b"&colon;", ':'),
        (b"&lpar;", '('),
        (b"&rpar;", ')'),
        (b"&sol;", '/'),
        (b"&bsol;", '\\'),
        (b"&grave;", '`'),
        (b"&equals;", '='),
        (b"&excl;", '!'),
        (b"&lbrace;", '{'),
        (b"&rbrace;", '}'),
        (b"&lcub;", '{'),
        (b"&rcub;", '}'),
        (b"&lbrace", '{'),
        (b"&lsqb;", '['),
        (b"&rsqb;", ']'),
        (b"&num;", '#'),
        (b"&quest;", '?'),
        (b"&vert;", '|'),
        (b"&lowbar;", '_'),
        (b"&dollar;", '$'),
        (b"&nbsp;", ' '),
        (b"&comma;", ','),
        (b"&semi;", ';'),
        (b"&period;", '.'),
        (b"&lt", '<'),
        (b"&gt", '>'),
        (b"&quot", '"'),
    ];
    let same = |name: &[u8]| text.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
    NAMES.iter().find(|(name, _)| same(name)).map(|&(name, code)| (name.len(), u32::from(code)))
}

/// Backslash escapes of JavaScript and JSON: `\uXXXX`, `\u{X}`, `\xXX`, three octal digits, `\/`, `\'` and `\"`.
pub(crate) fn js(input: &[u8], out: &mut Vec<u8>) -> bool {
    let mut changed = false;
    let mut rest = input;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, from) = rest.split_at(at);
        out.extend_from_slice(before);
        match js_escape(from) {
            Some((taken, code)) => {
                changed = true;
                push_char(code, out);
                rest = from.get(taken..).unwrap_or_default();
            }
            None => {
                out.push(b'\\');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    out.extend_from_slice(rest);
    changed
}

/// Length and code of the escape that begins `text`. `\n` and its kin stay: Windows paths look the same.
fn js_escape(text: &[u8]) -> Option<(usize, u32)> {
    match text {
        [b'\\', b'u', b'{', digits @ ..] => {
            let count = digits.iter().take(6).take_while(|byte| byte.is_ascii_hexdigit()).count();
            let closed = digits.get(count) == Some(&b'}') && count > 0;
            closed.then(|| Some((count + 4, hex(digits, count)?)))?
        }
        [b'\\', b'u', digits @ ..] => Some((6, hex(digits, 4)?)),
        [b'\\', b'x', digits @ ..] => Some((4, hex(digits, 2)?)),
        [b'\\', high @ b'0'..=b'3', mid @ b'0'..=b'7', low @ b'0'..=b'7', ..] => {
            let digit = |byte: u8| u32::from(byte - b'0');
            Some((4, digit(*high) * 64 + digit(*mid) * 8 + digit(*low)))
        }
        [b'\\', quote @ (b'/' | b'\'' | b'"'), ..] => Some((2, u32::from(*quote))),
        _ => None,
    }
}

/// Escapes of style sheets (CSS Syntax, section 4.3.7): a backslash, up to six hexadecimal digits, a blank. Only those of printable ASCII
/// are resolved: paths of Windows look the same.
pub(crate) fn css(input: &[u8], out: &mut Vec<u8>) -> bool {
    const MAX_DIGITS: usize = 6;
    let (mut changed, mut rest) = (false, input);
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, from) = rest.split_at(at);
        out.extend_from_slice(before);
        let behind = from.get(1..).unwrap_or_default();
        let count = behind.iter().take(MAX_DIGITS).take_while(|byte| byte.is_ascii_hexdigit()).count();
        match hex(behind, count).filter(|code| count > 1 && (0x20..0x7f).contains(code)) {
            Some(code) => {
                changed = true;
                out.push(code as u8);
                let after = behind.get(count..).unwrap_or_default();
                let blank =
                    after.first().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 12));
                rest = after.get(usize::from(blank)..).unwrap_or_default();
            }
            None => {
                out.push(b'\\');
                rest = behind;
            }
        }
    }
    out.extend_from_slice(rest);
    changed
}

/// SQL block comments removed; of MySQL's conditional comments (`/*!50000 x*/`) the inside stays.
pub(crate) fn sql_comments(input: &[u8], out: &mut Vec<u8>) -> bool {
    let mut changed = false;
    let mut rest = input;
    while let Some(at) = comment_begin(rest) {
        let (before, from) = rest.split_at(at);
        let Some(end) = comment_end(from) else { break };
        changed = true;
        out.extend_from_slice(before);
        if let Some(inside) = from.get(2..end).and_then(|inside| inside.strip_prefix(b"!")) {
            out.push(b' ');
            out.extend(inside.iter().skip_while(|byte| byte.is_ascii_digit()));
            out.push(b' ');
        }
        rest = from.get(end + 2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    changed
}

/// White space and control characters folded to single spaces, letters to lower case.
pub(crate) fn fold(input: &[u8], out: &mut Vec<u8>) -> bool {
    // What holds single spaces only stays as it is.
    if !has_controls(input) && memchr::memmem::find(input, b"  ").is_none() {
        return false;
    }
    let mut changed = false;
    let mut blank = false;
    for &byte in input {
        let is_blank = byte <= b' ';
        changed |= is_blank && (blank || byte != b' ');
        if !(is_blank && blank) {
            out.push(if is_blank { b' ' } else { byte.to_ascii_lowercase() });
        }
        blank = is_blank;
    }
    changed
}

/// Path normalised as servers do: backslashes to slashes, path parameters (`;x`) cut from dot segments, doubled
/// slashes, `.` and `..` resolved; `..` beyond the root stays, so that it can be seen.
pub(crate) fn path(input: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    for (index, raw) in input.split(|&byte| byte == b'/' || byte == b'\\').enumerate() {
        let segment = match memchr::memchr(b';', raw) {
            Some(at @ 1..=2) if raw.iter().take(at).all(|&byte| byte == b'.') => raw.get(..at).unwrap_or(raw),
            _ => raw,
        };
        match segment {
            b"." => {}
            b"" if index > 0 => {}
            b".." if pops(out, start) => {}
            _ => {
                if index > 0 && (out.len() > start || !input.is_empty()) && !out.ends_with(b"/") {
                    out.push(b'/');
                }
                out.extend_from_slice(segment);
            }
        }
    }
    out.get(start..) != Some(input)
}

/// Removes the last segment behind `start`; false if there is none or it is `..` itself.
fn pops(out: &mut Vec<u8>, start: usize) -> bool {
    let Some(last) = out.get(start..) else { return false };
    let cut = memchr::memrchr(b'/', last).unwrap_or(0);
    let segment = last.get(cut..).unwrap_or_default().strip_prefix(b"/").unwrap_or(last);
    if segment.is_empty() || segment == b".." {
        return false;
    }
    out.truncate(start + cut);
    true
}

/// Base64 of either alphabet, padded or not, if it gives mostly printable text.
pub(crate) fn base64(input: &[u8], out: &mut Vec<u8>) -> bool {
    if !(MIN_BASE64..=MAX_BASE64).contains(&input.len()) {
        return false;
    }
    let of = |extra: [u8; 2]| {
        input.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'=' || extra.contains(&byte))
    };
    let engine = match (of(*b"+/"), of(*b"-_")) {
        (true, _) => &STANDARD,
        (_, true) => &URL_SAFE,
        _ => return false,
    };
    let start = out.len();
    let done = engine.decode_vec(input, out).is_ok() && out.get(start..).is_some_and(mostly_text);
    if !done {
        out.truncate(start);
    }
    done
}

/// Whether [`base64`] may give text, by its first eight characters. Most words, names and random identifiers are told here.
pub(crate) fn may_begin_base64(input: &[u8]) -> bool {
    let Some(first) = input.first_chunk::<8>() else { return false };
    let bits = first.iter().try_fold(0_u64, |bits, &byte| {
        let value = SIX_BITS[usize::from(byte)];
        (value < 64).then_some(bits << 6 | u64::from(value))
    });
    // Only the last characters may be padding.
    let Some(bits) = bits else { return false };
    let [_, _, bytes @ ..] = bits.to_be_bytes();
    odd_bytes(&bytes) <= input.len() * 3 / 4 / TEXT_SHARE
}

/// What a character of either alphabet stands for; 64: nothing.
const SIX_BITS: [u8; 256] = {
    let mut table = [64; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value = 0;
    while value < alphabet.len() {
        table[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    table[b'-' as usize] = 62;
    table[b'_' as usize] = 63;
    table
};

/// Whether a text is hexadecimal digits of mostly printable text.
pub(crate) fn is_hex_text(input: &[u8]) -> bool {
    (MIN_HEX..=MAX_BASE64).contains(&input.len())
        && input.len().is_multiple_of(2)
        && input.iter().all(u8::is_ascii_hexdigit)
        // Digits alone are a number.
        && input.iter().any(u8::is_ascii_alphabetic)
        && input.first_chunk().is_some_and(begins_as_text)
}

/// Whether the first bytes that these digits stand for are text.
fn begins_as_text(digits: &[u8; MIN_HEX]) -> bool {
    let mut bytes = [0; MIN_HEX / 2];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = hex(pair, 2).map_or(0, |value| value as u8);
    }
    odd_bytes(&bytes) == 0
}

/// Text written as hexadecimal digits.
pub(crate) fn hex_text(input: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    if !is_hex_text(input) {
        return false;
    }
    out.extend(input.chunks_exact(2).filter_map(|pair| u8::try_from(hex(pair, 2)?).ok()));
    let text = out.get(start..).is_some_and(mostly_text);
    if !text {
        out.truncate(start);
    }
    text
}

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
/// Base64 for URLs, as in tokens.
pub(crate) const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);

/// Of so many bytes of text one may be something else.
const TEXT_SHARE: usize = 10;

/// Whether at least nine in ten bytes are printable or white space.
fn mostly_text(bytes: &[u8]) -> bool {
    !bytes.is_empty() && odd_bytes(bytes) * TEXT_SHARE <= bytes.len()
}

/// Bytes that no text holds: control characters and, unless all is UTF-8 or the beginning of it, what is not ASCII.
fn odd_bytes(bytes: &[u8]) -> usize {
    let is_odd = |letter: &char| letter.is_control() && !letter.is_whitespace();
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => {
            bytes.get(..error.valid_up_to()).and_then(|whole| std::str::from_utf8(whole).ok())
        }
        Err(_) => None,
    };
    match text {
        Some(text) => text.chars().filter(is_odd).count(),
        None => bytes.iter().filter(|byte| !byte.is_ascii() || is_odd(&char::from(**byte))).count(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Decode = fn(&[u8], &mut Vec<u8>) -> bool;

    /// Each row: input, result; a result of `None` says that the decoder changes nothing.
    fn check(decode: Decode, rows: &[(&[u8], Option<&[u8]>)]) {
        for (input, expected) in rows {
            let mut out = b"kept".to_vec();
            let changed = decode(input, &mut out);
            assert!(out.starts_with(b"kept"), "the buffer's content is left alone");
            let got = changed.then(|| out[4..].escape_ascii().to_string());
            assert_eq!(
                got,
                expected.map(|bytes| bytes.escape_ascii().to_string()),
                "{}",
                input.escape_ascii()
            );
        }
    }

    #[test]
    fn percent_escapes() {
        check(
            |input, out| percent(input, true, out),
            &[
                (b"%27%20OR+1", Some(b"' OR 1")),
                (b"%u0027x%uff1c", Some("'x\u{ff1c}".as_bytes())),
                (b"s%elect%zz%2", None),
                (b"%zz%27", Some(b"%zz'")),
                (b"%2527", Some(b"%27")),
                (b"plain", None),
            ],
        );
    }

    #[test]
    fn characters_that_fold_to_ascii() {
        check(
            unicode,
            &[
                (b"\xc0\xae\xc0\xae\xc0\xaf", Some(b"../")),
                (b"\xe0\x80\xa7", Some(b"'")),
                (b"\xc0.\xc0./\xc0\\", Some(b"../\\")),
                (b"\xf0\x80\x80\xae\xf8\x80\x80\x80\xaf", Some(b"./")),
                ("＜script＞".as_bytes(), Some(b"<script>")),
                ("ʼ or sel\u{200b}ect".as_bytes(), Some(b"' or select")),
                (b"sel\0ect", Some(b"select")),
                (b"union\xa0select", Some(b"union select")),
                ("ﬁle: ſelect \u{212a}".as_bytes(), Some(b"file: select k")),
                ("𝓾𝓷𝓲𝓸𝓷 𝚜𝚎𝚕𝚎𝚌𝚝 ⓢⓔⓛ ①②⑦".as_bytes(), Some(b"union select sel 127")),
                ("﹤script﹥ …/ ⁱ²".as_bytes(), Some(b"<script> .../ i2")),
                ("Ζεύς Привет 日本語 ½ é".as_bytes(), None),
                ("Grüße à Zürich".as_bytes(), None),
                (b"cut \xe2\x80", None),
            ],
        );
    }

    #[test]
    fn html_references() {
        check(
            html,
            &[
                (b"&#x3c;script&#62", Some(b"<script>")),
                (b"&#0000039 or", Some(b"' or")),
                (b"java&Tab;script&colon;", Some(b"java\tscript:")),
                (b"a&b=c&copy", None),
                (b"&#;&#x;&#99999999999;", None),
            ],
        );
    }

    #[test]
    fn javascript_escapes() {
        check(
            js,
            &[
                (br"\u0027 \x6fr \u{31}=1", Some(b"' or 1=1")),
                (br"<\/script>", Some(b"</script>")),
                (br"\047 or", Some(b"' or")),
                (br"C:\new\temp", None),
            ],
        );
    }

    #[test]
    fn css_escapes() {
        check(
            css,
            &[
                (br"\3c script\3e", Some(b"<script>")),
                (br"\000065xpression(", Some(b"expression(")),
                (br"u\72 l(java\73 cript\3a x)", Some(b"url(javascript:x)")),
                (br"C:\abc\new\d", None),
                (br"\", None),
            ],
        );
    }

    #[test]
    fn sql_comments_and_folding() {
        check(
            sql_comments,
            &[
                (b"UN/**/ION/*!50000SELECT*/1", Some(b"UNION SELECT 1")),
                (b"a /* open", None),
                (b"2*3/4", None),
            ],
        );
        check(fold, &[(b"UNION\x0b\n SELECT", Some(b"union select")), (b"Two Words", None)]);
    }

    #[test]
    fn paths_as_servers_see_them() {
        check(
            path,
            &[
                (b"/a/..;/admin", Some(b"/admin")),
                (b"..\\..\\etc", Some(b"../../etc")),
                (b"/./x//y", Some(b"/x/y")),
                (b"../../etc", None),
                (b"/a/b", None),
                (b"/a/../../etc", Some(b"/../etc")),
            ],
        );
    }

    /// Case C29.
    #[test]
    fn hexadecimal_digits_that_are_text() {
        check(
            hex_text,
            &[
                (b"27206f7220313d312d2d203d3d2078", Some(b"' or 1=1-- == x")),
                (b"0123456789abcdef0123456789abcdef", None),
                (b"27206f", None),
                (b"27206f7220313d312d2d203d3d20zz", None),
            ],
        );
    }

    /// Case C7.
    #[test]
    fn pluses_that_stand_for_blanks() {
        check(
            pluses,
            &[
                (b"a+or+b", Some(b"a or b")),
                (b"c++ or c", None),
                (b"+49", None),
                (b"<a\n+=+x", Some(b"<a\n = x")),
            ],
        );
    }

    #[test]
    fn percent_signs_that_are_dropped() {
        check(
            lone_percent,
            &[(b"s%elect", Some(b"select")), (b"100% sure", None), (b"a%41%zb%", Some(b"a%41zb%"))],
        );
    }

    proptest! {
        /// What the first look refuses is no text.
        #[test]
        fn the_beginning_tells_of_base64(text in "[ -~\\x00-\\xff]{1,40}", letters in "[A-Za-z0-9+/_-]{12,40}") {
            for encoded in [STANDARD.encode(&text), URL_SAFE.encode(&text), letters] {
                let decodes = base64(encoded.as_bytes(), &mut Vec::new());
                prop_assert!(!decodes || may_begin_base64(encoded.as_bytes()), "{encoded}");
            }
        }
    }

    #[test]
    fn base64_that_is_text() {
        check(
            base64,
            &[
                (b"JyBvciAxPTEtLSA9PSB4", Some(b"' or 1=1-- == x")),
                (b"JyBvciAxPTEt", Some(b"' or 1=1-")),
                (b"JyBvciAxPQ", None),
                (b"administrator", None),
                (b"sessionToken", None),
                (b"abcdefghijklmnopqrstuvwxyz", None),
                (b"not base64, but text of prose", None),
                (b"77ycc2NyaXB077yeYWxlcnQoMSk", Some("\u{ff1c}script\u{ff1e}alert(1)".as_bytes())),
            ],
        );
    }
}
