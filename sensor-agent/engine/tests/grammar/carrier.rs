//! Where a value stands in a request, and how it is written there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A place for a value.
pub(crate) struct Carrier {
    pub(crate) name: &'static str,
    /// Fewest bytes of a value that it can hold.
    pub(crate) least: usize,
    /// Whether it is a body.
    pub(crate) body: bool,
    write: fn(&str) -> Vec<u8>,
}

impl Carrier {
    pub(crate) fn request(&self, value: &str) -> Vec<u8> {
        (self.write)(value)
    }
}

const HOST: &str = "Host: shop.example\r\n";
const AGENT: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n";

const fn row(name: &'static str, least: usize, body: bool, write: fn(&str) -> Vec<u8>) -> Carrier {
    Carrier { name, least, body, write }
}

pub(crate) const CARRIERS: &[Carrier] = &[
    row("target", 1, false, |value| get(&value.replace(' ', "%20"), "")),
    row("query", 1, false, |value| get(&format!("/search?lang=en&q={}", percent(value)), "")),
    row("query twice encoded", 1, false, |value| get(&format!("/search?q={}", percent(&percent(value))), "")),
    row("query lightly encoded", 1, false, |value| get(&format!("/search?q={}", needed(value)), "")),
    row("form", 1, true, |value| {
        post("application/x-www-form-urlencoded", &format!("a=1&text={}", percent(value).replace("%20", "+")))
    }),
    row("json", 1, true, |value| {
        post("application/json", &format!("{{\"user\":{{\"name\":{}}}}}", serde_json::json!(value)))
    }),
    row("json escaped", 1, true, |value| {
        post("application/json", &format!("{{\"name\":\"{}\"}}", escaped(value)))
    }),
    row("json in form", 1, true, |value| {
        let json = serde_json::json!({ "filter": { "text": value } }).to_string();
        post("application/x-www-form-urlencoded", &format!("payload={}", percent(&json)))
    }),
    row("multipart", 1, true, |value| {
        let head = "Content-Disposition: form-data; name=\"c\"";
        post("multipart/form-data; boundary=b", &format!("--b\r\n{head}\r\n\r\n{value}\r\n--b--\r\n"))
    }),
    row("xml", 1, true, |value| {
        let text = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        post("application/xml", &format!("<?xml version=\"1.0\"?><r><a>{text}</a></r>"))
    }),
    row("graphql variable", 1, true, |value| {
        let query = "query($q: String) { search(q: $q) { id } }";
        post(
            "application/json",
            &serde_json::json!({ "query": query, "variables": { "q": value } }).to_string(),
        )
    }),
    row("cookie", 1, false, |value| get("/", &format!("Cookie: theme=dark; pref={}\r\n", percent(value)))),
    row("path", 1, false, |value| get(&format!("/items/{}", percent(value)), "")),
    row("referer", 1, false, |value| {
        get("/", &format!("Referer: https://shop.example/?from={}\r\n", percent(value)))
    }),
    row("user-agent", 1, false, |value| head(&format!("User-Agent: {}\r\n", line(value)))),
    row("user-agent behind", 1, false, |value| {
        head(&format!("User-Agent: Mozilla/5.0 (X11; Linux x86_64) {}\r\n", line(value)))
    }),
    row("x-forwarded-for", 1, false, |value| get("/", &format!("X-Forwarded-For: {}\r\n", line(value)))),
    row("x-header", 1, false, |value| get("/", &format!("X-Api-Version: {}\r\n", line(value)))),
    row("base64 query", 12, false, |value| get(&format!("/x?data={}", percent(&STANDARD.encode(value))), "")),
    row("base64 json", 12, true, |value| {
        post("application/json", &format!("{{\"blob\":\"{}\"}}", STANDARD.encode(value)))
    }),
    row("base64 cookie", 12, false, |value| {
        get("/", &format!("Cookie: prefs={}\r\n", STANDARD.encode(value)))
    }),
];

fn get(target: &str, more: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\n{HOST}{AGENT}Accept: */*\r\n{more}\r\n").into_bytes()
}

fn head(agent: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\n{HOST}{agent}Accept: */*\r\n\r\n").into_bytes()
}

fn post(kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST /api/items HTTP/1.1\r\n{HOST}{AGENT}Accept: */*\r\nContent-Type: {kind}\r\n");
    format!("{head}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// A header's value has no line ends of its own.
fn line(value: &str) -> String {
    value.replace(['\r', '\n'], " ")
}

fn percent(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02x}") }
    };
    text.bytes().map(byte).collect()
}

/// What a request line cannot hold is encoded, and nothing else.
fn needed(text: &str) -> String {
    let byte = |byte: u8| {
        if byte <= b' ' || byte >= 0x7f || b"#&+%\"<>".contains(&byte) {
            format!("%{byte:02X}")
        } else {
            char::from(byte).to_string()
        }
    };
    text.bytes().map(byte).collect()
}

fn escaped(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
}
