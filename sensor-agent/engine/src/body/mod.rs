//! Request bodies → named inspection fields, by Content-Type where it is true and by content where it is missing or lies.
//! What does not parse is inspected as text, so that a broken body hides nothing.

pub mod coding;

mod json;
mod multipart;

use crate::field::{Fields, Place};
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::fields::push_pairs;
use crate::http::message::Request;

/// What a body is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form<'a> {
    UrlEncoded,
    Json,
    Multipart(&'a [u8]),
    Text,
}

/// Adds the fields of a body, or of as much of it as there is; returns what is odd about it.
pub fn push_body(request: &Request, body: &[u8], fields: &mut Fields) -> Anomalies {
    let mut anomalies = Anomalies::NONE;
    let body_start = body.trim_ascii_start();
    if body_start.is_empty() {
        return anomalies;
    }
    let declared = request.header("content-type").map(declared_form);
    let sniffed = sniff(body_start);
    let form = declared.unwrap_or(sniffed);
    let lies = form != Form::Json && sniffed == Form::Json && !matches!(form, Form::Multipart(_));
    anomalies
        .insert_if(lies && declared.is_some_and(|form| form != Form::Text), Anomaly::ContentTypeMismatch);
    match if lies { Form::Json } else { form } {
        Form::Json => push_json(body, fields, &mut anomalies),
        Form::Multipart(boundary) => push_multipart(boundary, body, fields, &mut anomalies),
        Form::UrlEncoded => push_pairs(Place::Form, b'&', body, 0, fields),
        Form::Text => _ = fields.push(Place::Text, b"", body, 0),
    }
    let pairs_too = if anomalies.contains(Anomaly::JsonInvalid) { sniffed } else { form } == Form::UrlEncoded;
    if pairs_too && (lies || form == Form::Json) {
        push_pairs(Place::Form, b'&', body, 0, fields);
    }
    anomalies
}

/// Adds the lines of a trailer section as headers.
pub fn push_trailer(trailer: &[u8], fields: &mut Fields) -> Anomalies {
    const FORBIDDEN: &[&str] =
        &["content-length", "transfer-encoding", "host", "authorization", "cookie", "content-type"];
    let mut anomalies = Anomalies::NONE;
    for line in trailer.split(|&byte| byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else {
            anomalies.insert_if(!line.trim_ascii().is_empty(), Anomaly::TrailerInvalid);
            continue;
        };
        let name = line[..colon].trim_ascii().to_ascii_lowercase();
        anomalies
            .insert_if(FORBIDDEN.iter().any(|known| known.as_bytes() == name), Anomaly::TrailerForbidden);
        fields.push(Place::Header, &name, line[colon + 1..].trim_ascii(), 0);
    }
    anomalies
}

fn declared_form(content_type: &[u8]) -> Form<'_> {
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
    if is("application/x-www-form-urlencoded") {
        Form::UrlEncoded
    } else if is("application/json") || is("text/json") || ends_with_ignore_case(essence, b"+json") {
        Form::Json
    } else if essence.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/")) {
        Form::Multipart(multipart::boundary(content_type).unwrap_or_default())
    } else {
        Form::Text
    }
}

fn ends_with_ignore_case(text: &[u8], end: &[u8]) -> bool {
    text.len() >= end.len() && text[text.len() - end.len()..].eq_ignore_ascii_case(end)
}

/// What a body looks like whose type is not given, or not believed.
fn sniff(body: &[u8]) -> Form<'_> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    match body {
        [b'{', ..] if matches!(body[1..].trim_ascii_start(), [b'"' | b'}' | b'\'', ..]) => Form::Json,
        [b'[', ..] if matches!(body[1..].trim_ascii_start(), [b'"' | b'{' | b'[' | b'0'..=b'9', ..]) => {
            Form::Json
        }
        [b'-', b'-', ..] => {
            let end = memchr::memchr(b'\n', body).unwrap_or(2);
            let line = body[2..end.max(2)].trim_ascii_end();
            if line.is_empty() { Form::Text } else { Form::Multipart(line) }
        }
        _ => {
            let name = body.iter().take_while(|&&byte| !matches!(byte, b'=' | b'&')).count();
            let named =
                name > 0 && body.get(name) == Some(&b'=') && body[..name].iter().all(u8::is_ascii_graphic);
            if named && body[0] != b'<' { Form::UrlEncoded } else { Form::Text }
        }
    }
}

fn push_json(body: &[u8], fields: &mut Fields, anomalies: &mut Anomalies) {
    if json::push(body, fields).is_err() {
        anomalies.insert(Anomaly::JsonInvalid);
        fields.push(Place::Text, b"", body, 0);
    }
}

fn push_multipart(boundary: &[u8], body: &[u8], fields: &mut Fields, anomalies: &mut Anomalies) {
    if !multipart::push(boundary, body, fields) {
        anomalies.insert(Anomaly::MultipartInvalid);
        fields.push(Place::Text, b"", body, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::parse_request;

    #[track_caller]
    fn check(content_type: &str, body: &str, expected: &[&str]) {
        let (mut request, mut fields) = (Request::default(), Fields::default());
        let header =
            if content_type.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
        parse_request(format!("POST / HTTP/1.0\r\n{header}\r\n").as_bytes(), &mut request);
        let anomalies = push_body(&request, body.as_bytes(), &mut fields);
        let mut shown: Vec<_> =
            fields.iter().map(|field| format!("{field}={}", field.value.escape_ascii())).collect();
        shown.extend(anomalies.iter().map(|anomaly| format!("!{anomaly}")));
        assert_eq!(shown, expected, "{body:?}");
    }

    #[test]
    fn forms() {
        let form = "application/x-www-form-urlencoded";
        check(form, "a=1&b[c]=%27&d", &["body.form.a=1", "body.form.b[c]=%27", "body.form.d="]);
        check("", "a=1&b=2", &["body.form.a=1", "body.form.b=2"]);
        check(form, "", &[]);
        check("text/plain", "a=1", &["body.text=a=1"]);
        check("", "<a b=c>", &["body.text=<a b=c>"]);
    }

    #[test]
    fn a_type_that_lies() {
        check(
            "application/x-www-form-urlencoded",
            r#"{"a": "b"}"#,
            &[
                "body.json.a=b",
                "name={\"a\": \"b\"}".replace('"', "\\\"").as_str(),
                "body.form.{\\\"a\\\": \\\"b\\\"}=",
                "!content-type-mismatch",
            ],
        );
        check("text/plain", r#"{"a": "b"}"#, &["body.json.a=b"]);
        check("", r#" [{"a": 1}]"#, &["body.json.0.a=1"]);
        check("application/json", "a=1", &["body.json=a", "body.text=a=1", "body.form.a=1", "!json-invalid"]);
    }

    #[test]
    fn trailers_are_headers_and_some_must_not_be() {
        let mut fields = Fields::default();
        let anomalies = push_trailer(b"X-A: b\r\nHost: c\r\n", &mut fields);
        assert_eq!(fields.get(Place::Header, b"x-a").map(|field| field.value), Some(&b"b"[..]));
        assert!(anomalies.contains(Anomaly::TrailerForbidden));
    }
}
