//! Header fields → request and response heads, as HTTP/1 would write them, so that everything behind looks at one form.
//! What HTTP/1 would read as something else is named: a server in front that translates makes two requests of it.

use super::hpack::FieldList;
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::head::{MAX_LATE_HEADERS, decides};
use crate::http::message::{HeaderSpan, MAX_HEADERS, Request, Response, Span};
use crate::http::start::is_token_byte;

/// Fields that belong to one connection (RFC 9113 section 8.2.2).
const OF_CONNECTION: [&[u8]; 5] =
    [b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"];
/// The version of messages that came by HTTP/2.
pub const VERSION: u8 = 2;

/// Makes a request head of the fields.
pub fn request(list: &FieldList, request: &mut Request) {
    request.clear();
    let mut anomalies = check(list, &[b":method", b":scheme", b":path", b":authority", b":protocol"]);
    let get = |name: &[u8]| list.get(name).unwrap_or_default();
    let (method, path, authority) = (get(b":method"), get(b":path"), get(b":authority"));
    let is_connect = method == b"CONNECT";
    let missing = method.is_empty() || path.is_empty() && !is_connect;
    anomalies.insert_if(missing && list.undecoded == 0, Anomaly::PseudoHeaderInvalid);
    anomalies.insert_if(!path.is_empty() && !is_target(path), Anomaly::FieldInvalid);
    let host = list.get(b"host");
    let differs = host.is_some_and(|host| !authority.is_empty() && !host.eq_ignore_ascii_case(authority));
    anomalies.insert_if(differs, Anomaly::HostInvalid);
    let head = &mut request.head;
    request.method = append(head, method, b" ");
    request.target = append(head, if is_connect { authority } else { path }, b" HTTP/2\r\n");
    request.version = VERSION;
    if !authority.is_empty() && host.is_none() {
        push_header(head, &mut request.headers, b"host", authority);
    }
    push_headers(list, head, &mut request.headers, &mut anomalies);
    request.anomalies = anomalies;
}

/// Makes a response head of the fields.
pub fn response(list: &FieldList, response: &mut Response) {
    response.clear();
    let mut anomalies = check(list, &[b":status"]);
    let status = list.get(b":status").and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
    anomalies.insert_if(status.is_none() && list.undecoded == 0, Anomaly::PseudoHeaderInvalid);
    (response.status, response.version) = (status.unwrap_or(0), VERSION);
    response.head.extend_from_slice(b"HTTP/2\r\n");
    push_headers(list, &mut response.head, &mut response.headers, &mut anomalies);
    response.anomalies = anomalies;
}

/// Writes trailers as lines.
pub fn trailers(list: &FieldList, out: &mut Vec<u8>) {
    for (name, value) in list.iter() {
        for part in [name, b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
}

fn check(list: &FieldList, pseudo: &[&[u8]]) -> Anomalies {
    let mut anomalies = Anomalies::NONE;
    let mut regular = false;
    for (number, (name, value)) in list.iter().enumerate() {
        if name.starts_with(b":") {
            let repeated = list.iter().take(number).any(|(earlier, _)| earlier == name);
            let valid = pseudo.contains(&name) && !regular && !repeated;
            anomalies.insert_if(!valid, Anomaly::PseudoHeaderInvalid);
        } else {
            regular = true;
            let plain = name.iter().all(|&byte| is_token_byte(byte) && !byte.is_ascii_uppercase());
            let unseen = name.is_empty() && list.undecoded > 0;
            anomalies.insert_if(!unseen && (name.is_empty() || !plain), Anomaly::FieldInvalid);
            let te = name == b"te" && !value.eq_ignore_ascii_case(b"trailers");
            anomalies.insert_if(te || OF_CONNECTION.contains(&name), Anomaly::FieldOfConnection);
        }
        let split = value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        anomalies.insert_if(split, Anomaly::FieldInvalid);
    }
    anomalies.insert_if(list.undecoded > 0 || list.broken, Anomaly::FieldsUndecoded);
    anomalies.insert_if(list.broken, Anomaly::FieldsMalformed);
    anomalies.insert_if(list.cut, Anomaly::HeadTooLong);
    anomalies
}

fn is_target(path: &[u8]) -> bool {
    matches!(path.first(), Some(b'/' | b'*')) && path.iter().all(|&byte| byte > b' ' && byte != 0x7f)
}

fn push_headers(
    list: &FieldList,
    head: &mut Vec<u8>,
    headers: &mut Vec<HeaderSpan>,
    anomalies: &mut Anomalies,
) {
    let mut late = None;
    for (name, value) in list.iter().filter(|(name, _)| !name.starts_with(b":")) {
        if headers.len() < MAX_HEADERS {
            push_header(head, headers, name, value);
            continue;
        }
        late.get_or_insert(head.len());
        let name_at = append(head, name, b": ");
        let value_at = append(head, value, b"\r\n");
        if decides(name) && headers.len() < MAX_HEADERS + MAX_LATE_HEADERS {
            headers.push(HeaderSpan { name: name_at, value: value_at });
        }
    }
    // Those that are too many become one value without a name.
    if let Some(start) = late.and_then(|at| u32::try_from(at).ok()) {
        anomalies.insert(Anomaly::TooManyHeaders);
        let value = Span { start, end: head.len() as u32 };
        headers.push(HeaderSpan { name: Span { start, end: start }, value });
    }
    head.extend_from_slice(b"\r\n");
}

fn push_header(head: &mut Vec<u8>, headers: &mut Vec<HeaderSpan>, name: &[u8], value: &[u8]) {
    let name = append(head, name, b": ");
    let value = append(head, value, b"\r\n");
    headers.push(HeaderSpan { name, value });
}

fn append(head: &mut Vec<u8>, text: &[u8], behind: &[u8]) -> Span {
    let start = head.len() as u32;
    head.extend_from_slice(text);
    let span = Span { start, end: head.len() as u32 };
    head.extend_from_slice(behind);
    span
}

#[cfg(test)]
mod tests {
    use super::super::hpack::Decoder;
    use super::*;

    fn block(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            for text in [name, value] {
                block.push(text.len() as u8);
                block.extend_from_slice(text.as_bytes());
            }
        }
        block
    }

    #[track_caller]
    fn check(more: &[(&str, &str)], expected: &str) {
        let fields = [&[(":method", "GET"), (":path", "/a"), (":authority", "h")], more].concat();
        let (mut list, mut request) = (FieldList::default(), Request::default());
        Decoder::default().decode(&block(&fields), &mut list);
        super::request(&list, &mut request);
        let headers: Vec<_> = request
            .headers()
            .map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()))
            .collect();
        let names: String = request.anomalies.iter().map(|anomaly| format!(" !{anomaly}")).collect();
        assert_eq!((request.method(), request.target()), (&b"GET"[..], &b"/a"[..]));
        assert_eq!(format!("{}{names}", headers.join(" ")), expected, "{more:?}");
    }

    /// Case H33.
    #[test]
    fn what_becomes_something_else_in_http1() {
        check(&[("x", "y")], "host=h x=y");
        check(&[("x", "y\r\nz: a")], r"host=h x=y\r\nz: a !http2-field-invalid");
        check(&[("X", "y")], "host=h X=y !http2-field-invalid");
        check(&[("", "y")], "host=h =y !http2-field-invalid");
        check(&[("x: y\r\nz", "a")], r"host=h x: y\r\nz=a !http2-field-invalid");
        check(
            &[("transfer-encoding", "chunked")],
            "host=h transfer-encoding=chunked !http2-field-of-connection",
        );
        check(&[("te", "trailers")], "host=h te=trailers");
        check(&[(":path", "/b")], "host=h !http2-pseudo-header-invalid");
        check(&[("x", "y"), (":scheme", "http")], "host=h x=y !http2-pseudo-header-invalid");
        check(&[(":odd", "y")], "host=h !http2-pseudo-header-invalid");
        check(&[("host", "other")], "host=other !host-invalid");
    }

    /// Case H33.
    #[test]
    fn targets_with_spaces() {
        let (mut list, mut request) = (FieldList::default(), Request::default());
        Decoder::default().decode(&block(&[(":method", "GET"), (":path", "/ HTTP/1.1\r\nx: y")]), &mut list);
        super::request(&list, &mut request);
        assert!(request.anomalies.contains(Anomaly::FieldInvalid));
        assert_eq!(request.target(), b"/ HTTP/1.1\r\nx: y");
    }

    /// Fields beyond those that are kept apart are one value, and what decides how the message is read stands apart.
    #[test]
    fn more_fields_than_are_kept() {
        let name = |n: usize| format!("h{n}");
        let names: Vec<_> = (0..2000).map(name).collect();
        let mut fields = vec![(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "h")];
        fields.extend(names[..200].iter().map(|name| (&**name, "v")));
        fields.extend([("content-encoding", "gzip"), ("x", "EVIL")]);
        let (mut list, mut request_read) = (FieldList::default(), Request::default());
        let mut read = |fields: &[(&str, &str)]| {
            Decoder::default().decode(&block(fields), &mut list);
            request(&list, &mut request_read);
            assert!(!list.cut && request_read.anomalies.contains(Anomaly::TooManyHeaders));
            request_read.header("").map(|rest| memchr::memmem::find(rest, b"EVIL").is_some())
        };
        assert_eq!(read(&fields), Some(true));
        fields.splice(204..204, names[200..].iter().map(|name| (&**name, "v")));
        assert_eq!(read(&fields), Some(true));
        fields.truncate(204);
        fields.push(("content-encoding", "gzip"));
        read(&fields);
        assert_eq!(request_read.header("content-encoding"), Some(&b"gzip"[..]));
    }
}
