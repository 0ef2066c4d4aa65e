//! Where messages start. At a place where a message must start, much is taken for one, as servers do; anywhere else (in
//! the middle of a stream, behind a gap) only what can hardly be anything else.

use memchr::{memchr, memrchr_iter};

/// What a first line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A request.
    Request,
    /// A response.
    Response,
    /// Neither.
    Neither,
}

/// Longest method that is believed.
const MAX_METHOD: usize = 64;

/// What a complete first line (without its LF) begins at a place where a message must start.
#[must_use]
pub fn lenient(line: &[u8]) -> Start {
    let sure = strict(line);
    if sure != Start::Neither {
        return sure;
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if starts_with_http(line) {
        return Start::Response;
    }
    // Some servers pass over blanks before the method.
    let line = &line[leading_blanks(line)..];
    let Some(method) = line.iter().position(|&byte| is_blank(byte)) else { return Start::Neither };
    let (method, rest) = (&line[..method], line[method..].trim_ascii());
    let named =
        !method.is_empty() && method.len() <= MAX_METHOD && method.iter().all(|&b| b.is_ascii_graphic());
    let targeted = method.iter().all(u8::is_ascii_alphabetic) && rest.first() == Some(&b'/');
    if named && (targeted || has_version(rest)) { Start::Request } else { Start::Neither }
}

/// What a complete first line begins at a place where none needs to.
#[must_use]
pub fn strict(line: &[u8]) -> Start {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if let Some(rest) = line.strip_prefix(b"HTTP/1.") {
        let is_status =
            matches!(rest, [b'0' | b'1', b' ', a, b, c, ..] if [a, b, c].iter().all(|d| d.is_ascii_digit()));
        return if is_status { Start::Response } else { Start::Neither };
    }
    let Some(before) = line.strip_suffix(b" HTTP/1.1").or_else(|| line.strip_suffix(b" HTTP/1.0")) else {
        return Start::Neither;
    };
    let method = memchr(b' ', before).unwrap_or(0);
    if is_method(&before[..method]) { Start::Request } else { Start::Neither }
}

/// Whether bytes without a line end may become a first line.
#[must_use]
pub fn is_plausible(bytes: &[u8]) -> bool {
    let blanks = leading_blanks(bytes);
    if blanks > MAX_METHOD {
        return false;
    }
    let bytes = &bytes[blanks..];
    match bytes.iter().position(|&byte| is_blank(byte)) {
        Some(end) => end <= MAX_METHOD && bytes[..end].iter().all(u8::is_ascii_graphic),
        None => bytes.len() <= MAX_METHOD && bytes.iter().all(u8::is_ascii_graphic),
    }
}

/// Whether a byte may stand in a token (RFC 9110 section 5.6.2).
#[must_use]
pub const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// What servers take for a space within a line.
#[must_use]
pub const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c)
}

fn leading_blanks(line: &[u8]) -> usize {
    line.iter().take_while(|&&byte| is_blank(byte)).count()
}

fn is_method(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.len() <= MAX_METHOD && bytes.iter().all(|&byte| is_token_byte(byte))
}

fn starts_with_http(line: &[u8]) -> bool {
    line.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"HTTP/"))
}

/// Whether a version stands anywhere in the bytes, in any case of letters. It mostly stands at their end.
#[must_use]
pub fn has_version(rest: &[u8]) -> bool {
    let is_version =
        |at: usize| rest.get(at.saturating_sub(4)..at).is_some_and(|name| name.eq_ignore_ascii_case(b"HTTP"));
    memrchr_iter(b'/', rest).any(is_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines() {
        for (line, at_start, anywhere) in [
            ("GET / HTTP/1.1", Start::Request, Start::Request),
            ("GET /a b HTTP/1.0\r", Start::Request, Start::Request),
            ("HTTP/1.1 200 OK", Start::Response, Start::Response),
            ("HTTP/1.1 200", Start::Response, Start::Response),
            ("http/1.0 200 OK", Start::Response, Start::Neither),
            ("GET /", Start::Request, Start::Neither),
            ("get / http/1.1", Start::Request, Start::Neither),
            ("GET / HTTP/2.0", Start::Request, Start::Neither),
            ("GET\t/  HTTP/1.1", Start::Request, Start::Neither),
            (" GET / HTTP/1.1", Start::Request, Start::Neither),
            (" \t", Start::Neither, Start::Neither),
            ("220 mail ready", Start::Neither, Start::Neither),
            ("{\"a\": 1}", Start::Neither, Start::Neither),
            ("", Start::Neither, Start::Neither),
            (" HTTP/1.1", Start::Neither, Start::Neither),
            ("\u{16}\u{3}\u{1} HTTP/1.1", Start::Neither, Start::Neither),
        ] {
            assert_eq!((lenient(line.as_bytes()), strict(line.as_bytes())), (at_start, anywhere), "{line:?}");
        }
    }

    #[test]
    fn every_beginning_of_a_first_line_is_plausible() {
        let line = b"DELETE /a b HTTP/1.1";
        assert!((0..=line.len()).all(|end| is_plausible(&line[..end])));
        assert!(
            !is_plausible(b"\x16\x03\x01")
                && is_plausible(b" GET /")
                && !is_plausible(&[b' '; 65])
                && !is_plausible(&[b'A'; 65])
        );
    }
}
