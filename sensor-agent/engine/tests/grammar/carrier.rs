//! Where a value stands in a request, and how it is written there.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A place for a value.
pub(crate) struct Carrier {
    pub(crate) name: &'static str,
    /// Fewest bytes of a value that it can hold.
    pub(crate) least: usize,
    /// Whether it is a body.
    #[allow(dead_code, reason = "not every test asks")]
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

/// Places where people's own words stand too.
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
    row("json in base64 cookie", 1, false, |value| {
        get("/", &format!("Cookie: prefs={}\r\n", STANDARD.encode(member(value))))
    }),
    row("json in json in json", 1, true, |value| post("application/json", &member(&member(&member(value))))),
    row("json in gzip", 1, true, |value| {
        post_bytes("application/json", "Content-Encoding: gzip\r\n", &gzip(&member(value)))
    }),
    row("json without a type", 1, true, |value| post("text/plain", &member(value))),
    row("json in cookie", 1, false, |value| get("/", &format!("Cookie: c={}\r\n", percent(&member(value))))),
    row("xml attribute", 1, true, |value| {
        let text = value.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
        post("text/xml", &format!("<r><a b=\"{text}\"/></r>"))
    }),
    row("xml cdata", 1, true, |value| post("text/xml", &format!("<r><![CDATA[{value}]]></r>"))),
    row("json in multipart", 1, true, |value| {
        part("name=\"a\"\r\nContent-Type: application/json", &member(value))
    }),
    row("graphql argument", 1, true, |value| {
        let query = format!("{{search(q: {}){{id}}}}", serde_json::json!(value));
        post("application/json", &serde_json::json!({ "query": query }).to_string())
    }),
];

/// Places where only attackers put more than names, numbers and tokens.
pub(crate) const DISGUISES: &[Carrier] = &[
    row("hexadecimal query", 12, false, |value| {
        get(&format!("/x?data={}", value.bytes().map(|byte| format!("{byte:02x}")).collect::<String>()), "")
    }),
    row("query thrice encoded", 1, false, |value| {
        get(&format!("/search?q={}", percent(&percent(&percent(value)))), "")
    }),
    row("query name", 1, false, |value| get(&format!("/search?{}=1", percent(value)), "")),
    row("form name", 1, true, |value| {
        post("application/x-www-form-urlencoded", &format!("a=1&{}=1", percent(value)))
    }),
    row("form twice encoded", 1, true, |value| {
        post("application/x-www-form-urlencoded", &format!("a=1&b={}", percent(&percent(value))))
    }),
    row("form in json", 1, true, |value| {
        post("application/json", &member(&format!("a=1&b={}", percent(value))))
    }),
    row("form in utf-16", 1, true, |value| {
        let text: Vec<u8> =
            format!("a=1&b={}", percent(value)).encode_utf16().flat_map(u16::to_le_bytes).collect();
        post_bytes("application/x-www-form-urlencoded; charset=utf-16le", "", &text)
    }),
    row("json name", 1, true, |value| {
        post("application/json", &format!("{{\"a\":{{{}:1}}}}", serde_json::json!(value)))
    }),
    row("cookie name", 1, false, |value| get("/", &format!("Cookie: a=b; {}=1\r\n", percent(value)))),
    row("path twice encoded", 1, false, |value| get(&format!("/items/{}/x", percent(&percent(value))), "")),
    row("multipart name", 1, true, |value| part(&format!("name=\"{}\"", quoted(value)), "x")),
    row("multipart file name", 1, true, |value| {
        part(&format!("name=\"a\"; filename=\"{}\"", quoted(value)), "x")
    }),
    row("x-trailer", 1, false, |value| {
        let head =
            format!("POST / HTTP/1.1\r\n{HOST}{AGENT}Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n");
        format!("{head}3\r\na=b\r\n0\r\nX-T: {}\r\n\r\n", line(value)).into_bytes()
    }),
    // A user's name ends at a colon.
    row("x-basic user", 1, false, |value| {
        get(
            "/",
            &format!(
                "Authorization: Basic {}\r\n",
                STANDARD.encode(if value.contains(':') {
                    format!("bob:{value}")
                } else {
                    format!("{value}:secret")
                })
            ),
        )
    }),
    row("x-authorization", 1, false, |value| get("/", &format!("Authorization: {}\r\n", line(value)))),
];

#[allow(clippy::unwrap_used, reason = "memory takes everything")]
fn gzip(text: &str) -> Vec<u8> {
    let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    coder.write_all(text.as_bytes()).unwrap();
    coder.finish().unwrap()
}

fn member(value: &str) -> String {
    serde_json::json!({ "a": value }).to_string()
}

fn part(disposition: &str, body: &str) -> Vec<u8> {
    let head = format!("--b\r\nContent-Disposition: form-data; {disposition}");
    post("multipart/form-data; boundary=b", &format!("{head}\r\n\r\n{body}\r\n--b--\r\n"))
}

/// As browsers write names of parts (WHATWG HTML, multipart/form-data).
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

fn get(target: &str, more: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\n{HOST}{AGENT}Accept: */*\r\n{more}\r\n").into_bytes()
}

fn head(agent: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\n{HOST}{agent}Accept: */*\r\n\r\n").into_bytes()
}

fn post(kind: &str, body: &str) -> Vec<u8> {
    post_bytes(kind, "", body.as_bytes())
}

fn post_bytes(kind: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST /api/items HTTP/1.1\r\n{HOST}{AGENT}Accept: */*\r\nContent-Type: {kind}\r\n");
    [format!("{head}{more}Content-Length: {length}\r\n\r\n").as_bytes(), body].concat()
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
