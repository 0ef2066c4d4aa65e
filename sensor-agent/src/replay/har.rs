//! HTTP archives, as browsers and proxies export them (HAR 1.2): their requests and responses, written out as HTTP/1.1.

use std::io::Read;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// A request and its response as they go over the wire; the response is empty if there was none.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) request: Vec<u8>,
    pub(super) response: Vec<u8>,
}

#[derive(Deserialize)]
struct Archive {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    request: Request,
    response: Option<Response>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<Header>,
    post_data: Option<PostData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    status: u16,
    #[serde(default)]
    status_text: String,
    #[serde(default)]
    headers: Vec<Header>,
    content: Option<Content>,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct PostData {
    #[serde(default)]
    text: String,
    /// Given in place of the text by some.
    #[serde(default)]
    params: Vec<Parameter>,
}

#[derive(Deserialize)]
struct Parameter {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    text: String,
    encoding: Option<String>,
}

/// The exchanges of an archive, in order.
pub(super) fn exchanges(source: impl Read) -> Result<Vec<Exchange>> {
    let archive: Archive = serde_json::from_reader(source).context("no HTTP archive")?;
    let exchange = |entry: &Entry| Exchange {
        request: request(&entry.request),
        response: entry.response.as_ref().map(response).unwrap_or_default(),
    };
    Ok(archive.log.entries.iter().map(exchange).collect())
}

/// Framing headers are those of the request as it is written here: an archive has the body without its transfer coding.
fn request(request: &Request) -> Vec<u8> {
    let (host, target) = split(&request.url);
    let mut head = format!("{} {target} HTTP/1.1\r\n", request.method);
    let named = |name: &str| request.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
    if !named("host") {
        head.push_str(&format!("Host: {host}\r\n"));
    }
    push_headers(&request.headers, &["content-length", "transfer-encoding", "connection"], &mut head);
    let body = request.post_data.as_ref().map(PostData::written_out).unwrap_or_default();
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body.as_bytes()].concat()
}

/// An archive has the body without its content coding too. A status of 0 says that there was no response.
fn response(response: &Response) -> Vec<u8> {
    if response.status == 0 {
        return Vec::new();
    }
    let mut head = format!("HTTP/1.1 {} {}\r\n", response.status, response.status_text);
    let framing = ["content-length", "transfer-encoding", "connection", "content-encoding"];
    push_headers(&response.headers, &framing, &mut head);
    let body = response.content.as_ref().map(Content::bytes).unwrap_or_default();
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    [head.as_bytes(), &body].concat()
}

/// Names with a colon first are HTTP/2's own.
fn push_headers(headers: &[Header], left_out: &[&str], head: &mut String) {
    let kept = |header: &&Header| {
        !header.name.starts_with(':') && !left_out.iter().any(|other| header.name.eq_ignore_ascii_case(other))
    };
    for header in headers.iter().filter(kept) {
        head.push_str(&format!("{}: {}\r\n", header.name, header.value));
    }
}

impl PostData {
    fn written_out(&self) -> String {
        if !self.text.is_empty() {
            return self.text.clone();
        }
        let pairs = self.params.iter().map(|one| format!("{}={}", one.name, one.value));
        pairs.collect::<Vec<_>>().join("&")
    }
}

impl Content {
    fn bytes(&self) -> Vec<u8> {
        let encoded = self.encoding.as_deref() == Some("base64");
        let decoded = encoded.then(|| STANDARD.decode(self.text.trim()).ok()).flatten();
        decoded.unwrap_or_else(|| self.text.clone().into_bytes())
    }
}

/// Host and target of an absolute URL.
fn split(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split('#').next().unwrap_or(rest);
    match rest.find(['/', '?']) {
        Some(at) => (&rest[..at], &rest[at..]),
        None => (rest, "/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(archive: &str) -> Vec<(String, String)> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let exchanges = exchanges(archive.as_bytes()).unwrap();
        exchanges.into_iter().map(|one| (text(one.request), text(one.response))).collect()
    }

    #[test]
    fn entries_become_requests() {
        let archive = r#"{"log": {"version": "1.2", "entries": [
            {"request": {"method": "GET", "url": "https://shop.example/a?b=1#c", "headers": [{"name": ":path", "value": "/a"}, {"name": "Accept", "value": "*/*"}]}},
            {"request": {"method": "POST", "url": "http://shop.example", "headers": [{"name": "host", "value": "x"}, {"name": "Content-Length", "value": "9"}], "postData": {"mimeType": "t", "text": "ab"}}},
            {"request": {"method": "POST", "url": "http://h/", "postData": {"mimeType": "t", "params": [{"name": "a", "value": "1"}, {"name": "b"}]}}}
        ]}}"#;
        let requests: Vec<_> = shown(archive).into_iter().map(|(request, _)| request).collect();
        assert_eq!(
            requests,
            [
                "GET /a?b=1 HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\n\r\n",
                "POST / HTTP/1.1\r\nhost: x\r\nContent-Length: 2\r\n\r\nab",
                "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\na=1&b=",
            ]
        );
        assert!(exchanges(&b"{}"[..]).is_err());
    }

    #[test]
    fn entries_become_responses() {
        let archive = r#"{"log": {"entries": [
            {"request": {"method": "GET", "url": "http://h/"}, "response": {"status": 200, "statusText": "OK",
             "headers": [{"name": "Content-Encoding", "value": "gzip"}, {"name": "X", "value": "y"}],
             "content": {"size": 2, "mimeType": "text/html", "text": "ab"}}},
            {"request": {"method": "GET", "url": "http://h/"}, "response": {"status": 404, "statusText": "",
             "content": {"text": "YWJj", "encoding": "base64"}}},
            {"request": {"method": "GET", "url": "http://h/"}, "response": {"status": 0}}
        ]}}"#;
        let responses: Vec<_> = shown(archive).into_iter().map(|(_, response)| response).collect();
        assert_eq!(
            responses,
            [
                "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 2\r\n\r\nab",
                "HTTP/1.1 404 \r\nContent-Length: 3\r\n\r\nabc",
                "",
            ]
        );
    }
}
