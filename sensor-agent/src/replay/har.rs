//! HTTP archives, as browsers and proxies export them (HAR 1.2): their requests, written out as HTTP/1.1.

use std::io::Read;

use anyhow::{Context, Result};
use serde::Deserialize;

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
struct Header {
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct PostData {
    #[serde(default)]
    text: String,
}

/// The requests of an archive, in order.
pub(super) fn requests(source: impl Read) -> Result<Vec<Vec<u8>>> {
    let archive: Archive = serde_json::from_reader(source).context("no HTTP archive")?;
    Ok(archive.log.entries.iter().map(|entry| written_out(&entry.request)).collect())
}

/// Framing headers are those of the request as it is written here: an archive has the body without its transfer coding.
fn written_out(request: &Request) -> Vec<u8> {
    let (host, target) = split(&request.url);
    let mut head = format!("{} {target} HTTP/1.1\r\n", request.method);
    let named = |name: &str| request.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
    if !named("host") {
        head.push_str(&format!("Host: {host}\r\n"));
    }
    for header in request.headers.iter().filter(|header| kept(&header.name)) {
        head.push_str(&format!("{}: {}\r\n", header.name, header.value));
    }
    let body = request.post_data.as_ref().map_or("", |data| data.text.as_str());
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body.as_bytes()].concat()
}

/// Names with a colon first are HTTP/2's own.
fn kept(name: &str) -> bool {
    let framing = ["content-length", "transfer-encoding", "connection"];
    !name.starts_with(':') && !framing.iter().any(|other| name.eq_ignore_ascii_case(other))
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

    #[test]
    fn entries_become_requests() {
        let archive = r#"{"log": {"version": "1.2", "entries": [
            {"request": {"method": "GET", "url": "https://shop.example/a?b=1#c", "headers": [{"name": ":path", "value": "/a"}, {"name": "Accept", "value": "*/*"}]}},
            {"request": {"method": "POST", "url": "http://shop.example", "headers": [{"name": "host", "value": "x"}, {"name": "Content-Length", "value": "9"}], "postData": {"mimeType": "t", "text": "ab"}}}
        ]}}"#;
        let texts: Vec<_> = requests(archive.as_bytes())
            .unwrap()
            .into_iter()
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .collect();
        assert_eq!(
            texts,
            [
                "GET /a?b=1 HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\n\r\n",
                "POST / HTTP/1.1\r\nhost: x\r\nContent-Length: 2\r\n\r\nab",
            ]
        );
        assert!(requests(&b"{}"[..]).is_err());
    }
}
