//! HTTP archives, as browsers and proxies export them (HAR 1.2): their requests and responses, written out as HTTP/1.1. Exporters leave
//! members out, write `null` or other types, so that a member that cannot be read is taken for missing, and only an entry that is none at all
//! is passed over.

use std::io::Read;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

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
    entries: Vec<Value>,
}

#[derive(Deserialize)]
struct Entry {
    request: Request,
    #[serde(default, deserialize_with = "readable")]
    response: Option<Response>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    #[serde(default, deserialize_with = "readable")]
    method: String,
    url: String,
    #[serde(default, deserialize_with = "readable_ones")]
    headers: Vec<Header>,
    #[serde(default, deserialize_with = "readable")]
    post_data: Option<PostData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default, deserialize_with = "readable")]
    status: u16,
    #[serde(default, deserialize_with = "readable")]
    status_text: String,
    #[serde(default, deserialize_with = "readable_ones")]
    headers: Vec<Header>,
    #[serde(default, deserialize_with = "readable")]
    content: Option<Content>,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    #[serde(default, deserialize_with = "readable")]
    value: String,
}

#[derive(Deserialize)]
struct PostData {
    #[serde(default, deserialize_with = "readable")]
    text: String,
    /// No member of the standard, and written by some.
    #[serde(default, deserialize_with = "readable")]
    encoding: Option<String>,
    /// Given in place of the text by some.
    #[serde(default, deserialize_with = "readable_ones")]
    params: Vec<Header>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default, deserialize_with = "readable")]
    text: String,
    #[serde(default, deserialize_with = "readable")]
    encoding: Option<String>,
}

/// What a member says, or nothing if it is of another type.
fn readable<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(source: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(source)?).unwrap_or_default())
}

/// Those of a list that can be read.
fn readable_ones<'de, D: Deserializer<'de>, T: DeserializeOwned>(source: D) -> Result<Vec<T>, D::Error> {
    let all = Value::deserialize(source)?;
    let all = if let Value::Array(all) = all { all } else { Vec::new() };
    Ok(all.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect())
}

/// The exchanges of an archive, in order; `None` for an entry that holds no request.
pub(super) fn exchanges(mut source: impl Read) -> Result<Vec<Option<Exchange>>> {
    let mut text = Vec::new();
    source.read_to_end(&mut text)?;
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let archive: Archive = serde_json::from_slice(text).context("no HTTP archive")?;
    let exchange = |entry: Value| {
        let entry: Entry = serde_json::from_value(entry).ok()?;
        let response = entry.response.as_ref().map(response).unwrap_or_default();
        Some(Exchange { request: request(&entry.request), response })
    };
    Ok(archive.log.entries.into_iter().map(exchange).collect())
}

/// Framing headers are those of the request as it is written here: an archive has the body without its transfer coding.
fn request(request: &Request) -> Vec<u8> {
    let (host, target) = split(&request.url);
    let method = if request.method.is_empty() { "GET" } else { &request.method };
    let mut head = format!("{} {} HTTP/1.1\r\n", in_one_line(method), in_one_line(&target));
    let named = |name: &str| request.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
    if !named("host") {
        head.push_str(&format!("Host: {}\r\n", in_one_line(host)));
    }
    push_headers(&request.headers, &["content-length", "transfer-encoding", "connection"], &mut head);
    let body = request.post_data.as_ref().map(PostData::written_out).unwrap_or_default();
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    [head.as_bytes(), &body].concat()
}

/// An archive has the body without its content coding too. A status of 0 says that there was no response.
fn response(response: &Response) -> Vec<u8> {
    if response.status == 0 {
        return Vec::new();
    }
    let mut head = format!("HTTP/1.1 {} {}\r\n", response.status, in_one_line(&response.status_text));
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
        head.push_str(&format!("{}: {}\r\n", in_one_line(&header.name), folded(&header.value)));
    }
}

/// A line end within a name or a target came so over HTTP/2, where it is none; written out it would end the line.
fn in_one_line(text: &str) -> String {
    text.replace('\r', "%0D").replace('\n', "%0A")
}

/// As [`in_one_line`], for a value, which may go on in another line.
fn folded(value: &str) -> String {
    value.replace("\r\n", "\n").replace(['\r', '\n'], "\r\n\t")
}

impl PostData {
    fn written_out(&self) -> Vec<u8> {
        if !self.text.is_empty() {
            return decoded(&self.text, self.encoding.as_deref());
        }
        let pairs = self.params.iter().map(|one| format!("{}={}", one.name, one.value));
        pairs.collect::<Vec<_>>().join("&").into_bytes()
    }
}

impl Content {
    fn bytes(&self) -> Vec<u8> {
        decoded(&self.text, self.encoding.as_deref())
    }
}

/// What is no base64 was none.
fn decoded(text: &str, encoding: Option<&str>) -> Vec<u8> {
    let packed = || text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<_>>();
    let encoded = encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case("base64"));
    let decoded = encoded.then(|| STANDARD.decode(packed()).ok()).flatten();
    decoded.unwrap_or_else(|| text.as_bytes().to_vec())
}

/// Host and target of a URL; some archives have the target only.
fn split(url: &str) -> (&str, String) {
    let is_scheme =
        |scheme: &str| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let url = url.split('#').next().unwrap_or(url);
    let Some((_, rest)) = url.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        let from = url.find(['/', '?']).unwrap_or(url.len());
        return (&url[..from], at_root(&url[from..]));
    };
    let from = rest.find(['/', '?']).unwrap_or(rest.len());
    (&rest[..from], at_root(&rest[from..]))
}

fn at_root(target: &str) -> String {
    if target.starts_with('/') { target.to_owned() } else { format!("/{target}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(archive: &str) -> Vec<(String, String)> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let exchanges = exchanges(archive.as_bytes()).unwrap();
        exchanges.into_iter().flatten().map(|one| (text(one.request), text(one.response))).collect()
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
    /// What is missing or of another type is not there, and takes nothing else with it.
    #[test]
    fn odd_members_spoil_nothing() {
        let archive = r#"{"log": {"entries": [
            1, {}, {"request": {"url": 5}},
            {"request": {"url": "/a?u=http://x/#b", "method": null, "headers": [{"name": "X"}, {"value": "y"}, 7, {"name": "Y", "value": 1}]},
             "response": {"status": -1}},
            {"request": {"url": "h:8080/a", "method": "PUT", "headers": null, "postData": {"text": null, "params": [{"name": "a", "value": null}]}},
             "response": {"status": 200, "statusText": 4, "headers": {}, "content": {"text": "YW\nI=", "encoding": "BASE64"}}},
            {"request": {"url": "http://h?q=1", "method": "POST", "postData": {"text": "YQ==", "encoding": "base64"}}, "response": 3},
            {"request": {"url": "http://h/\r\nX: y", "method": "G\nET", "headers": [{"name": "A\r\nB", "value": "c\r\n\r\nGET / HTTP/1.1\n"}]}}
        ]}}"#;
        let shown = shown(&format!("\u{feff}{archive}"));
        let expected = [
            ("GET /a?u=http://x/ HTTP/1.1\r\nHost: \r\nX: \r\nY: \r\n\r\n", ""),
            (
                "PUT /a HTTP/1.1\r\nHost: h:8080\r\nContent-Length: 2\r\n\r\na=",
                "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nab",
            ),
            ("POST /?q=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na", ""),
            (
                "G%0AET /%0D%0AX: y HTTP/1.1\r\nHost: h\r\nA%0D%0AB: c\r\n\t\r\n\tGET / HTTP/1.1\r\n\t\r\n\r\n",
                "",
            ),
        ];
        assert_eq!(shown, expected.map(|(request, response)| (request.to_owned(), response.to_owned())));
        assert_eq!(exchanges(archive.as_bytes()).unwrap().iter().filter(|one| one.is_none()).count(), 3);
    }
}
