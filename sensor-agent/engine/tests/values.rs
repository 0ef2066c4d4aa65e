//! Values as tools, lists and people write them, in query, form and JSON: attacks of each kind, and ordinary ones that come near to
//! them. A line is a value; `## ` begins a kind. What stands percent-encoded is sent as it stands. Passwords are made up here.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Wire, content};
use sensor_engine::policy::{Action, Mode, Policy};

const ATTACKS: &str = include_str!("values/attacks.txt");
const ORDINARY: &str = include_str!("values/ordinary.txt");

/// Values with their kinds.
fn values(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut kind = "";
    text.lines().filter_map(move |line| match line.strip_prefix("## ") {
        Some(name) => {
            kind = name;
            None
        }
        None => Some((kind, line)),
    })
}

/// Passwords as programs make them up: letters of both cases, signs and, in every other one, digits at random.
fn passwords(count: usize) -> impl Iterator<Item = String> {
    let mut state = 0x5eed_u64;
    let mut next = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let signs = b"!#$%&()*+,-./:;<=>?@[]^_`{|}~";
    (0..count).map(move |number| {
        let mut password = vec![b'a' + next(26) as u8, b'A' + next(26) as u8];
        let digits = number % 2 == 0;
        password.push(signs[next(signs.len())]);
        for _ in 0..4 + next(24) {
            let byte = b'!' + next(94) as u8;
            if digits || !byte.is_ascii_digit() {
                password.insert(next(password.len()), byte);
            }
        }
        String::from_utf8(password).unwrap()
    })
}

fn percent(value: &str) -> String {
    let is_encoded = value.as_bytes().windows(3).any(
        |three| matches!(three, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()),
    );
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || is_encoded && !b" #&+".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") };
    value.bytes().map(one).collect()
}

/// The value in each place.
fn requests(value: &str) -> [(&'static str, String); 3] {
    const AGENT: &str = "Host: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\nAccept: */*\r\n";
    let post = |kind: &str, body: &str| {
        let length = body.len();
        format!(
            "POST /save HTTP/1.1\r\n{AGENT}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let form = format!("name=bob&comment={}&x=1", percent(value));
    let json = serde_json::json!({ "id": 7, "note": value, "ok": true }).to_string();
    [
        ("query", format!("GET /search?q={}&page=2 HTTP/1.1\r\n{AGENT}\r\n", percent(value))),
        ("form", post("application/x-www-form-urlencoded", &form)),
        ("json", post("application/json", &json)),
    ]
}

/// What is blocked of each value: its kind, itself, the place, and whether it is.
fn judged(text: &'static str) -> Vec<(&'static str, &'static str, &'static str, bool)> {
    let policy = Policy { mode: Mode::Enforce, ..Policy::default() };
    let mut wire = Wire::new(content(), Arc::new(policy));
    let mut all = Vec::new();
    for (kind, value) in values(text) {
        for (place, request) in requests(value) {
            let records = wire.records(request.as_bytes());
            let reports = wire.run(&records);
            let blocked = reports.iter().any(|report| matches!(report.verdict.action, Action::Block(_)));
            all.push((kind, value, place, blocked));
        }
    }
    all
}

#[test]
fn attacks_of_each_kind_are_blocked() {
    let all = judged(ATTACKS);
    let mut kinds: BTreeMap<&str, (usize, usize, Vec<String>)> = BTreeMap::new();
    for (kind, value, place, blocked) in &all {
        let (found, of, missed) = kinds.entry(kind).or_default();
        *found += usize::from(*blocked);
        *of += 1;
        if !blocked {
            missed.push(format!("{value} ({place})"));
        }
    }
    for (kind, (found, of, missed)) in &kinds {
        assert!(found * 100 >= of * 65, "{kind}: {found} of {of}\n{}", missed.join("\n"));
    }
    let found = all.iter().filter(|(.., blocked)| *blocked).count();
    assert!(found * 1000 >= all.len() * 970, "{found} of {}", all.len());
}

#[test]
fn ordinary_values_are_not() {
    let all = judged(ORDINARY);
    assert!(all.len() > 900, "{}", all.len());
    let flagged: Vec<_> = all
        .iter()
        .filter(|(.., blocked)| *blocked)
        .map(|(kind, value, place, _)| format!("{kind}: {value} ({place})"))
        .collect();
    assert!(flagged.is_empty(), "{}", flagged.join("\n"));
}

#[test]
fn passwords_made_up_at_random_block_hardly_anybody() {
    let policy = Policy { mode: Mode::Enforce, ..Policy::default() };
    let mut wire = Wire::new(content(), Arc::new(policy));
    let mut blocked = Vec::new();
    for password in passwords(4_000) {
        let body = serde_json::json!({ "user": "bob", "password": password }).to_string();
        let login = format!(
            "POST /login HTTP/1.1\r\nHost: shop.example.com\r\nAccept: */*\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let credentials = STANDARD.encode(format!("backup:{password}"));
        let of_program = format!(
            "GET /api/orders HTTP/1.1\r\nHost: shop.example.com\r\nAccept: */*\r\nAuthorization: Basic {credentials}\r\n\r\n"
        );
        for request in [login, of_program] {
            let records = wire.records(request.as_bytes());
            if wire.run(&records).iter().any(|report| matches!(report.verdict.action, Action::Block(_))) {
                blocked.push(request);
            }
        }
    }
    assert!(blocked.len() <= 8, "{blocked:#?}");
}
