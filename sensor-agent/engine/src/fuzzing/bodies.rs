//! Bodies: codings, multipart, and documents of every kind.

use super::choice;
use crate::body;
use crate::body::coding::{Decoded, Decoder, Limits};
use crate::body::response::push_text;
use crate::field::{Fields, MAX_FIELD_BYTES, MAX_FIELDS, Place};
use crate::http::message::Request;
use crate::http::{embedded, head};

/// Output of a coding has its limit, and the same bytes give the same.
pub(super) fn coding(data: &[u8]) {
    const CODINGS: [&[u8]; 7] =
        [b"gzip", b"deflate", b"br", b"zstd", b"gzip, gzip", b"br, deflate", b"x, gzip"];
    const MOST: usize = 20_000;
    let (which, data) = choice(data, CODINGS.len());
    let (mut fresh, mut used) = (Decoder::default(), Decoder::default());
    used.decode(CODINGS[which], b"\x1f\x8b\x08\0\0\0\0\0\0\0left over", MOST);
    let (decoded, output) = used.decode(CODINGS[which], data, MOST);
    let output = &output.to_vec()[..];
    assert!(output.len() <= MOST.max(data.len()) || decoded == Decoded::Bomb);
    assert_eq!((decoded, output), fresh.decode(CODINGS[which], data, MOST));
    // Beginning and end are those of the whole. Of several layers the inner ones have a limit of their own, and `deflate` is two formats.
    const BEGINNING: usize = 1000;
    let limits = Limits { output: BEGINNING, reach: MOST - BEGINNING, end: 500 };
    let is_one = which != 1 && !CODINGS[which].contains(&b',');
    let (again, beginning) = used.decode_ends(CODINGS[which], data, limits);
    if is_one && matches!(decoded, Decoded::Whole | Decoded::Limited | Decoded::Bomb) {
        assert_eq!((again, beginning), (decoded, output.get(..BEGINNING).unwrap_or(output)));
        assert!(output.ends_with(used.end().0));
    }
}

/// Reads `body` as a request with this Content-Type.
fn push(content_type: &[u8], body: &[u8]) {
    let mut request = Request::default();
    head::parse_request(
        &[b"POST / HTTP/1.1\r\nContent-Type: ", content_type, b"\r\n\r\n"].concat(),
        &mut request,
    );
    let mut fields = Fields::default();
    body::push_body(&request, body, &mut fields);
    check(&fields);
    // Whatever a body is said to be and whatever it is: only words in brackets, separators of
    // nothing, byte order marks with no more than that behind, and messages of numbers are nothing to look at.
    let wide = [&b"\xfe\xff"[..], b"\xff\xfe"].into_iter().find_map(|mark| body.strip_prefix(mark));
    let is_wide = wide.is_some();
    let text = wide.or_else(|| body.strip_prefix(b"\xef\xbb\xbf")).unwrap_or(body);
    let is_bare = |byte: &u8| {
        let is_separator = byte.is_ascii_whitespace() || b"{}[],:\"_.-&".contains(byte);
        byte.is_ascii_alphanumeric() || is_separator || is_wide && *byte == 0
    };
    let is_framed = content_type.starts_with(b"application/grpc") && matches!(body.first(), Some(0 | 1));
    assert!(!fields.is_empty() || is_framed || text.iter().all(is_bare), "{}", body.escape_ascii());
}

fn check(fields: &Fields) {
    let bytes: usize = fields.iter().map(|field| field.name.len() + field.value.len()).sum();
    assert!(fields.len() <= MAX_FIELDS && bytes <= MAX_FIELD_BYTES);
}

/// A multipart body, with boundaries of the data's own choice.
pub(super) fn multipart(data: &[u8]) {
    const TYPES: [&[u8]; 5] = [
        b"multipart/form-data; boundary=b",
        b"multipart/form-data; boundary=\"b\"; boundary=c",
        b"multipart/mixed; boundary*0=b;boundary*1=c",
        b"multipart/form-data",
        b"",
    ];
    let (which, body) = choice(data, TYPES.len());
    push(TYPES[which], body);
}

/// Forms, JSON, XML, GraphQL, gRPC, texts in any character set, and requests inside bodies.
pub(super) fn documents(data: &[u8]) {
    const TYPES: [&[u8]; 10] = [
        b"application/x-www-form-urlencoded",
        b"application/json",
        b"text/xml",
        b"application/graphql",
        b"application/grpc",
        b"text/plain; charset=utf-7",
        b"application/json; charset=utf-16le",
        b"application/x-www-form-urlencoded; charset=ibm037",
        b"text/html; charset=shift_jis",
        b"",
    ];
    let (which, body) = choice(data, TYPES.len());
    push(TYPES[which], body);
    push(b"", body);
    let mut fields = Fields::default();
    push_text(Some(TYPES[which]), body, &mut fields);
    body::push_trailer(body, &mut fields);
    fields.push(Place::Query, b"query", body, 0);
    body::nested::expand(&mut fields);
    check(&fields);
    let inside: usize = embedded::find(body).map(<[u8]>::len).sum();
    assert!(inside <= body.len());
}
