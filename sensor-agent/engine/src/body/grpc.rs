//! gRPC messages: length-prefixed, each a Protocol Buffers message. Without its schema a message still tells its field numbers and
//! wire types; what is text becomes a field named by the path of numbers, and what may be a message is looked into.

use crate::field::{Fields, Place};
use crate::http::anomaly::{Anomalies, Anomaly};

use super::coding::{Decoded, Decoder};

/// Messages inside messages.
const MAX_DEPTH: usize = 8;
/// Longest path of field numbers.
const MAX_PATH: usize = 64;
/// Most bytes of a message once it is decompressed.
const MAX_MESSAGE: usize = 128 * 1024;
/// Length of the prefix: a flag, and the message's length.
const PREFIX: usize = 5;

/// Whether a Content-Type is one of gRPC or gRPC-Web in binary form.
#[must_use]
pub(super) fn is_grpc(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let starts = essence.get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"));
    starts && !essence.get(16..).is_some_and(|rest| rest.to_ascii_lowercase().starts_with(b"-web-text"))
}

/// Whether a Content-Type is one of gRPC-Web in base64.
#[must_use]
pub(super) fn is_web_text(content_type: &[u8]) -> bool {
    const NAME: &[u8] = b"application/grpc-web-text";
    content_type.trim_ascii_start().get(..NAME.len()).is_some_and(|start| start.eq_ignore_ascii_case(NAME))
}

/// Whether a body begins as messages do: with a flag that is 0 or 1. What does not is something else that lies about its type.
pub(super) fn is_framed(body: &[u8]) -> bool {
    matches!(body.first(), Some(0 | 1))
}

/// Adds the texts of the messages in `body`; `coding` is how compressed ones are. What does not parse is kept as text.
pub(super) fn push(coding: Option<&[u8]>, body: &[u8], fields: &mut Fields, anomalies: &mut Anomalies) {
    let (mut rest, mut decoder) = (body, Decoder::default());
    while let Some((&[flag, a, b, c, d], behind)) = rest.split_first_chunk::<PREFIX>() {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let message = behind.get(..length).unwrap_or(behind);
        anomalies.insert_if(message.len() < length, Anomaly::GrpcInvalid);
        rest = behind.get(length..).unwrap_or_default();
        let mut path = Path::default();
        match coding.filter(|_| flag & 1 != 0) {
            Some(coding) => {
                let (decoded, message) = decoder.decode(coding, message, MAX_MESSAGE);
                anomalies.insert_if(decoded != Decoded::Whole, Anomaly::BodyEncoded);
                push_message(message, &mut path, fields, anomalies);
            }
            None => push_message(message, &mut path, fields, anomalies),
        }
    }
    if !rest.is_empty() {
        fields.push(Place::Text, b"", rest, body.len() - rest.len());
    }
}

/// Adds a message's texts; one that is no Protocol Buffers is text as a whole.
fn push_message(message: &[u8], path: &mut Path, fields: &mut Fields, anomalies: &mut Anomalies) {
    if message.is_empty() {
        return;
    }
    if is_message(message) {
        push_fields(message, path, fields);
    } else {
        anomalies.insert(Anomaly::GrpcInvalid);
        fields.push(Place::Grpc, path.text(), message, 0);
    }
}

fn push_fields(message: &[u8], path: &mut Path, fields: &mut Fields) {
    for entry in entries(message) {
        let Value::Bytes(bytes) = entry.value else { continue };
        let before = path.enter(entry.number);
        let text = std::str::from_utf8(bytes).is_ok_and(is_text);
        // A text can look like a message by chance, and a message like a text.
        if !bytes.is_empty() && (text || path.depth >= MAX_DEPTH || !is_message(bytes)) {
            fields.push(Place::Grpc, path.text(), bytes, 0);
        }
        if path.depth < MAX_DEPTH && bytes.len() > 2 && is_message(bytes) {
            push_fields(bytes, path, fields);
        }
        path.leave(before);
    }
}

/// Text has no control characters but white space.
fn is_text(text: &str) -> bool {
    text.chars().all(|one| !one.is_control() || one.is_ascii_whitespace())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry<'a> {
    number: u64,
    value: Value<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    Number,
    Bytes(&'a [u8]),
    /// The message breaks off here, or is none.
    Broken,
}

/// Whether all of `bytes` reads as one message.
fn is_message(bytes: &[u8]) -> bool {
    !bytes.is_empty() && entries(bytes).all(|entry| entry.value != Value::Broken)
}

/// The fields of a message (protobuf.dev, encoding).
fn entries(mut rest: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let read = entry(rest);
        rest = read.map_or(&[][..], |(_, behind)| behind);
        Some(read.map_or(Entry { number: 0, value: Value::Broken }, |(entry, _)| entry))
    })
}

fn entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (tag, rest) = varint(bytes)?;
    let (number, wire) = (tag >> 3, tag & 7);
    if number == 0 || number > 0x1fff_ffff {
        return None;
    }
    let (value, rest) = match wire {
        0 => (Value::Number, varint(rest)?.1),
        1 => (Value::Number, rest.get(8..)?),
        2 => {
            let (length, rest) = varint(rest)?;
            let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            (Value::Bytes(bytes), rest)
        }
        5 => (Value::Number, rest.get(4..)?),
        _ => return None,
    };
    Some((Entry { number, value }, rest))
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    const MAX_BYTES: usize = 10;
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().take(MAX_BYTES).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * at as u32).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

/// Field numbers from the outermost message inwards, `1.2`.
#[derive(Debug, Default)]
struct Path {
    bytes: Vec<u8>,
    depth: usize,
}

impl Path {
    fn text(&self) -> &[u8] {
        &self.bytes
    }

    /// Goes into a field; the result goes to [`Path::leave`].
    fn enter(&mut self, number: u64) -> usize {
        let before = self.bytes.len();
        self.depth += 1;
        if before < MAX_PATH {
            let dot = if before > 0 { "." } else { "" };
            self.bytes.extend_from_slice(format!("{dot}{number}").as_bytes());
        }
        before
    }

    fn leave(&mut self, before: usize) {
        self.bytes.truncate(before);
        self.depth -= 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        [&[flag][..], &(message.len() as u32).to_be_bytes(), message].concat()
    }

    #[track_caller]
    fn check(body: &[u8], expected: &[&str]) {
        let mut fields = Fields::default();
        push(None, body, &mut fields, &mut Anomalies::default());
        let shown: Vec<_> =
            fields.iter().map(|field| format!("{field}={}", field.value.escape_ascii())).collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn texts_of_messages() {
        check(&framed(0, b"\x0a\x05alice\x10\x07"), &["body.grpc.1=alice"]);
        check(&framed(0, b"\x12\x09\x0a\x07it's me"), &[r"body.grpc.2.1=it\'s me"]);
        let two = [framed(0, b"\x0a\x01a"), framed(0, b"\x1a\x01b")].concat();
        check(&two, &["body.grpc.1=a", "body.grpc.3=b"]);
        check(&framed(0, b"no message"), &["body.grpc=no message"]);
        check(&framed(0, b"\x0a\x04\xff\xfe\x00\x01"), &[r"body.grpc.1=\xff\xfe\x00\x01"]);
        check(&[&framed(0, b"\x0a\x01a")[..], b"\0\0"].concat(), &["body.grpc.1=a", r"body.text=\x00\x00"]);
        check(b"\0\0\0\0\xff\x0a\x03cut", &["body.grpc.1=cut"]);
        check(&framed(0, b""), &[]);
    }

    #[test]
    fn what_is_no_message_is_named() {
        let odd = |body: &[u8]| {
            let mut anomalies = Anomalies::NONE;
            push(None, body, &mut Fields::default(), &mut anomalies);
            anomalies.contains(Anomaly::GrpcInvalid)
        };
        assert!(!odd(&framed(0, b"\x0a\x01a")) && !odd(&framed(0, b"")));
        assert!(odd(&framed(0, b"no message")) && odd(b"\0\0\0\0\xff\x0a\x03cut"));
    }

    #[test]
    fn compressed_messages() {
        let mut packed = Vec::with_capacity(100);
        let mut compress = flate2::Compress::new(flate2::Compression::best(), false);
        compress.compress_vec(b"\x0a\x04EVIL", &mut packed, flate2::FlushCompress::Finish).unwrap();
        let mut fields = Fields::default();
        push(Some(b"deflate"), &framed(1, &packed), &mut fields, &mut Anomalies::default());
        assert_eq!(fields.get(Place::Grpc, b"1").map(|field| field.value), Some(&b"EVIL"[..]));
    }

    #[test]
    fn types() {
        for yes in ["application/grpc", "application/grpc+proto", "Application/gRPC-Web+proto; a=b"] {
            assert!(is_grpc(yes.as_bytes()), "{yes}");
        }
        assert!(!is_grpc(b"application/grpc-web-text") && !is_grpc(b"application/json"));
    }

    proptest! {
        #[test]
        fn any_bytes_end(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut fields = Fields::default();
            push(Some(b"gzip"), &body, &mut fields, &mut Anomalies::default());
            push(None, &framed(0, &body), &mut fields, &mut Anomalies::default());
        }
    }
}
