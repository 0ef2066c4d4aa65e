//! The scenarios that every build of the sensor must detect, each with a benign twin that it must not.

use crate::http::{get, post};

/// An attack, its twin, and what must be said of it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Short name.
    pub name: &'static str,
    /// The attack as it goes over the wire.
    pub attack: Vec<u8>,
    /// A request of the same shape that means no harm.
    pub benign: Vec<u8>,
    /// Class that the alert names.
    pub class: &'static str,
    /// Least confidence.
    pub confidence: f64,
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// All scenarios.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let mut all = sql_injection();
    all.extend(sql_injection_elsewhere());
    all.extend(identity());
    all.extend(input());
    all
}

fn sql_injection() -> Vec<Scenario> {
    let sql = |name, attack: &str, benign: &str, confidence| Scenario {
        name,
        attack: get(attack),
        benign: get(benign),
        class: "SQL_INJECTION",
        confidence,
    };
    vec![
        sql(
            "stacked drop",
            "/api/users?search='; DROP TABLE users; --",
            "/api/users?search=drop%20table%20lamp",
            0.70,
        ),
        sql(
            "union select",
            "/api/users?search=1' UNION SELECT * FROM admin_users--",
            "/api/users?search=select%20a%20union%20representative",
            0.90,
        ),
        sql(
            "time-based",
            "/api/items?id=1; WAITFOR DELAY '0:0:5'",
            "/api/items?id=1&note=wait%20for%20the%20delay",
            0.90,
        ),
        sql("stored procedure", "/api/items?id=1; EXEC sp_who", "/api/items?id=1&note=exec%20summary", 0.80),
    ]
}

fn sql_injection_elsewhere() -> Vec<Scenario> {
    let sql =
        |name, attack, benign| Scenario { name, attack, benign, class: "SQL_INJECTION", confidence: 0.70 };
    let json = |value: &str| post("/api/users", JSON, &format!(r#"{{"filter":{{"search":"{value}"}}}}"#));
    let form = |value: &str| post("/api/users", FORM, &format!("page=1&search={}", percent(value, 1)));
    let twice = |value: &str| get(&format!("/api/users?search={}", percent(value, 2)));
    let (drop, union) = ("'; DROP TABLE users; --", "1' UNION SELECT * FROM admin_users--");
    let harmless = "O'Reilly & sons -- a union of bakers";
    vec![
        sql("stacked drop in JSON", json(drop), json(harmless)),
        sql("union select in JSON", json(union), json("select the best plan")),
        sql("stacked drop in a form", form(drop), form(harmless)),
        sql("union select in a form", form(union), form("select the best plan")),
        sql("stacked drop, encoded twice", twice(drop), twice(harmless)),
        sql("union select, encoded twice", twice(union), twice("select the best plan")),
    ]
}

fn identity() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "bearer null",
            attack: with_headers("GET /api/admin", "Authorization: Bearer null\r\n", ""),
            benign: with_headers(
                "GET /api/admin",
                "Authorization: Bearer 9f86d081884c7d659a2feaa0c55ad015\r\n",
                "",
            ),
            class: "AUTH_BYPASS",
            confidence: 0.80,
        },
        Scenario {
            name: "walking user id",
            attack: get("/api/user/profile?userId=../admin"),
            benign: get("/api/user/profile?userId=4711"),
            class: "AUTH_BYPASS",
            confidence: 0.80,
        },
        Scenario {
            name: "token without algorithm",
            attack: with_headers(
                "GET /api/me",
                &bearer("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0NTY3ODkwIn0."),
                "",
            ),
            benign: with_headers(
                "GET /api/me",
                &bearer(
                    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                ),
                "",
            ),
            class: "JWT",
            confidence: 0.90,
        },
        Scenario {
            name: "cross-site transfer",
            attack: transfer("https://malicious-site.com"),
            benign: transfer("https://app.example/transfer"),
            class: "CSRF",
            confidence: 0.80,
        },
    ]
}

fn input() -> Vec<Scenario> {
    let input = |name, attack: &str, benign: &str| Scenario {
        name,
        attack: get(attack),
        benign: get(benign),
        class: "INPUT_VALIDATION",
        confidence: 0.80,
    };
    vec![
        input(
            "path traversal",
            "/files?name=../../../../etc/passwd",
            "/files?name=reports/2026/passwords-policy.pdf",
        ),
        input(
            "script",
            "/search?q=<script>alert(1)</script>",
            "/search?q=how%20to%20write%20a%20script%20alert",
        ),
    ]
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn transfer(referer: &str) -> Vec<u8> {
    let headers =
        format!("Cookie: session=8f14e45fceea167a\r\nReferer: {referer}\r\nContent-Type: {FORM}\r\n");
    with_headers("POST /api/transfer-funds", &headers, "amount=1000&to=someone")
}

/// A request with further header lines.
#[must_use]
pub fn with_headers(method_and_target: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!(
        "{method_and_target} HTTP/1.1\r\nHost: app.example\r\nUser-Agent: test-client/1.0\r\n{headers}{length}\r\n{body}"
    )
    .into_bytes()
}

/// Percent-encodes everything that is not a letter or digit, `times` over.
#[must_use]
pub fn percent(text: &str, times: u8) -> String {
    (0..times).fold(text.to_owned(), |text, _| {
        text.bytes().fold(String::new(), |mut out, byte| {
            if byte.is_ascii_alphanumeric() {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
            out
        })
    })
}
