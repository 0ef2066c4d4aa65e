//! Attacks and what came back, with the content as it is shipped: findings that a response confirms, and clients behind proxies.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::content;
use sensor_common::record::{EGRESS, INGRESS, RecordHeader, mapped, mark, tcp};
use sensor_engine::engine::{Command, Engine, Outcome, Report, Settings};
use sensor_engine::http::client::Proxies;
use sensor_engine::http::listener::Scoped;
use sensor_engine::policy::{Action, Mode, Policy};
use zerocopy::IntoBytes as _;

/// One connection between a client and the application.
struct Talk {
    engine: Engine,
    next: [u32; 2],
    peer: [u8; 4],
    time_ns: u64,
}

impl Talk {
    fn new(peer: [u8; 4], trusted: &[&str]) -> Self {
        let trusted = trusted.iter().map(|net| Scoped::parse(net, str::parse).unwrap()).collect();
        let proxies = Proxies { trusted, ..Proxies::default() };
        let policy = Policy { mode: Mode::Enforce, block_for: TEN_MINUTES, ..Policy::default() };
        let settings = Settings { proxies, ..Settings::default() };
        Self {
            engine: Engine::new(settings, content(), Arc::new(policy)),
            next: [1000, 5000],
            peer,
            time_ns: 1_000_000,
        }
    }

    fn say(&mut self, side: usize, payload: &[u8]) -> (Vec<Report>, Vec<String>) {
        let ends = [(mapped(self.peer), 40_000), (mapped([10, 9, 9, 9]), 80)];
        let header = RecordHeader {
            time_ns: self.time_ns,
            source: ends[side].0,
            source_port: ends[side].1,
            destination: ends[1 - side].0,
            destination_port: ends[1 - side].1,
            sequence: self.next[side],
            acknowledgement: self.next[1 - side],
            initial_sequence: [1000, 5000][side],
            peer_initial_sequence: [5000, 1000][side],
            payload_len: payload.len() as u32,
            captured_len: payload.len() as u32,
            tcp_flags: tcp::ACK,
            direction: [INGRESS, EGRESS][side],
            ip_version: 4,
            marks: mark::INITIAL_SEQUENCE | mark::HANDSHAKE,
            ..RecordHeader::default()
        };
        self.next[side] += payload.len() as u32;
        self.engine.handle_record(&[header.as_bytes(), payload].concat());
        let (mut reports, mut blocks) = (Vec::new(), Vec::new());
        while let Some(command) = self.engine.next_command() {
            match command {
                Command::Report(report) => reports.push(*report),
                Command::Block(block) => blocks.push(block.source.to_string()),
                _ => {}
            }
        }
        (reports, blocks)
    }
}

const TEN_MINUTES: Duration = Duration::from_secs(600);
const CLIENT: [u8; 4] = [203, 0, 113, 9];
const SCRIPT: &str = "GET /?q=%3Cscript%3Ealert(1)%3C/script%3E HTTP/1.1\r\nHost: h\r\n\r\n";
const GOOD: &str = "GET /?q=tea HTTP/1.1\r\nHost: h\r\n\r\n";

fn page(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[track_caller]
fn confirmed(request: &str, response: &str) -> Vec<(u64, String)> {
    let mut talk = Talk::new(CLIENT, &[]);
    let (attempts, _) = talk.say(0, request.as_bytes());
    assert!(attempts.iter().all(|report| report.outcome == Outcome::Attempt) && !attempts.is_empty());
    let (reports, _) = talk.say(1, response.as_bytes());
    assert!(reports.iter().all(|report| report.outcome == Outcome::Confirmed));
    let surest = |report: &Report| report.findings.iter().all(|one| one.confidence.get() > 0.97);
    assert!(reports.iter().all(surest), "{reports:#?}");
    reports.iter().map(|report| (report.transaction, report.findings[0].field.clone())).collect()
}

#[test]
fn a_script_that_comes_back_is_confirmed() {
    let found = vec![(0, "query.q".to_owned())];
    assert_eq!(confirmed(SCRIPT, &page("<p>No results for <script>alert(1)</script>")), found);
    assert_eq!(confirmed(SCRIPT, &page("<p>No results for &lt;script&gt;alert(1)&lt;/script&gt;")), []);
    assert_eq!(confirmed(SCRIPT, &page("<p>Welcome <script>init()</script>")), []);
    let image = page("<script>alert(1)</script>").replace("text/html", "image/png");
    assert_eq!(confirmed(SCRIPT, &image), []);
    let form = "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 45\r\n\r\n\
                name=%3Cscript%3Ealert(document.domain)%3C/sc";
    let back = page("Hello <script>alert(document.domain)</sc");
    assert_eq!(confirmed(form, &back), [(0, "body.form.name".to_owned())]);
}

/// Case A8: a browser that another site's page made attack is blocked for a short time only.
#[test]
fn a8_who_is_led_to_attack_is_blocked_for_less() {
    let lasts = |headers: &str| {
        let request = SCRIPT.replace("\r\n\r\n", &format!("\r\n{headers}\r\n\r\n"));
        let (reports, blocks) = Talk::new(CLIENT, &[]).say(0, request.as_bytes());
        assert_eq!((reports.len(), blocks.len()), (1, 1));
        match reports[0].verdict.action {
            Action::Block(duration) => duration.as_secs(),
            other => panic!("{other:?}"),
        }
    };
    for headers in [
        "Sec-Fetch-Site: cross-site",
        "Referer: https://evil.example/page",
        "Sec-Fetch-Site: cross-site\r\nOrigin: https://evil.example",
    ] {
        assert_eq!(lasts(headers), 60, "{headers}");
    }
    for headers in ["Accept: */*", "Referer: https://h/", "Sec-Fetch-Site: same-origin"] {
        assert_eq!(lasts(headers), 600, "{headers}");
    }
}

/// Case H27.
#[test]
fn h27_the_reflection_belongs_to_the_right_one_of_many() {
    let mut talk = Talk::new(CLIENT, &[]);
    let requests: String = (0..100).map(|number| if number == 57 { SCRIPT } else { GOOD }).collect();
    let (attempts, _) = talk.say(0, requests.as_bytes());
    assert_eq!(attempts.iter().map(|report| report.transaction).collect::<Vec<_>>(), [57]);
    let responses: String = (0..100)
        .map(|number| {
            page(if number == 57 { "for <script>alert(1)</script>" } else { "<script>alert(2)</script>" })
        })
        .collect();
    let (reports, _) = talk.say(1, responses.as_bytes());
    let seen: Vec<_> = reports.iter().map(|report| (report.transaction, report.outcome)).collect();
    assert_eq!(seen, [(57, Outcome::Confirmed)]);
    assert_eq!(talk.engine.stats().named("transactions"), 100);
}

/// Case H34.
#[test]
fn h34_a_header_smuggled_into_the_response_is_confirmed() {
    let request = "GET /go?to=/x%0d%0aSet-Cookie:%20admin=1 HTTP/1.1\r\nHost: h\r\n\r\n";
    let response =
        |location: &str| format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    let found = [(0, "query.to".to_owned())];
    assert_eq!(confirmed(request, &response("/x\r\nSet-Cookie: admin=1")), found);
    assert_eq!(confirmed(request, &response("/x%0d%0aSet-Cookie:%20admin=1")), []);
    assert_eq!(confirmed(request, &response("/x\r\nSet-Cookie: session=1")), []);
}

const ATTACK: &str = "GET /?id=1%27%20UNION%20SELECT%20password%20FROM%20users-- HTTP/1.1\r\nHost: h\r\n";

#[track_caller]
fn behind(peer: [u8; 4], prefix: &[u8], headers: &str) -> (String, Action, Vec<String>) {
    let mut talk = Talk::new(peer, &["10.0.0.0/8", "fd00::/8"]);
    let request = [prefix, ATTACK.as_bytes(), headers.as_bytes(), b"\r\n"].concat();
    let (reports, blocks) = talk.say(0, &request);
    let report = reports.first().expect("a report");
    (report.identity.to_string(), report.verdict.action, blocks)
}

/// Case A5.
#[test]
fn a5_behind_a_trusted_proxy_the_client_is_named_and_nobody_is_blocked() {
    let none = Vec::<String>::new();
    let named = |who: &str| (who.to_owned(), Action::Exempt, none.clone());
    let proxy = [10, 0, 0, 7];
    assert_eq!(
        behind(proxy, b"", "X-Forwarded-For: 198.51.100.1, 203.0.113.50\r\n"),
        named("203.0.113.50 (x-forwarded-for)")
    );
    assert_eq!(behind(proxy, b"", "Forwarded: for=\"[2001:db8::5]\"\r\n"), named("2001:db8::5 (forwarded)"));
    assert_eq!(behind(proxy, b"", "X-Forwarded-For: junk\r\n"), named("10.0.0.7 (untold)"));
    assert_eq!(behind(proxy, b"", ""), named("10.0.0.7 (untold)"));
    let v1 = b"PROXY TCP4 203.0.113.60 10.9.9.9 4000 80\r\n";
    assert_eq!(behind(proxy, v1, ""), named("203.0.113.60 (proxy-protocol)"));
    let v2 =
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[203, 0, 113, 61, 10, 9, 9, 9, 0, 1, 0, 80]].concat();
    assert_eq!(behind(proxy, &v2, ""), named("203.0.113.61 (proxy-protocol)"));
}

/// Case A5.
#[test]
fn a5_a_stranger_gets_itself_blocked_and_not_its_victim() {
    let victim = "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\n";
    let long = format!("X-Forwarded-For: {}192.0.2.1\r\n", "192.0.2.1, ".repeat(900));
    let v1 = b"PROXY TCP4 192.0.2.1 10.9.9.9 4000 80\r\n";
    for (prefix, headers) in [(&b""[..], victim), (b"", &long), (v1, "")] {
        let (who, action, blocks) = behind(CLIENT, prefix, headers);
        assert_eq!((who.as_str(), blocks), ("203.0.113.9 (peer)", vec!["203.0.113.9".to_owned()]));
        assert!(matches!(action, Action::Block(_)), "{action:?}");
    }
}

/// What a response to an ordinary request exposes, with blocking on: the rules that report it, and the sources that are blocked.
#[track_caller]
fn exposed(responses: &[String]) -> (Vec<String>, Vec<String>) {
    let policy = Policy { mode: Mode::Enforce, ..Policy::default() };
    let settings = Settings { response_exposure: true, ..Settings::default() };
    let engine = Engine::new(settings, content(), Arc::new(policy));
    let mut talk = Talk { engine, next: [1000, 5000], peer: CLIENT, time_ns: 1_000_000 };
    let (mut rules, mut blocks) = (Vec::new(), Vec::new());
    for response in responses {
        for (side, text) in [GOOD, response].into_iter().enumerate() {
            let (reports, blocked) = talk.say(side, text.as_bytes());
            rules.extend(reports.iter().flat_map(|report| &report.findings).map(|one| one.rule.id.clone()));
            blocks.extend(blocked);
        }
    }
    (rules, blocks)
}

#[test]
fn what_responses_expose_is_reported_and_blocks_nobody() {
    for (body, rule) in [
        ("card 4111 1111 1111 1111, card 5555 5555 5555 4444", "exposed-card-number"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "exposed-private-key"),
        ("uid=33(www-data) gid=33(www-data)", "exposed-command-output"),
        ("<title>x - WSO 4.2.6</title>", "exposed-web-shell"),
    ] {
        assert_eq!(exposed(&[page(body)]), (vec![rule.to_owned()], vec![]), "{body}");
    }
}

#[test]
fn a_page_is_searched_now_and_then_and_one_that_failed_always() {
    let leak = page("card 4111 1111 1111 1111");
    assert_eq!(exposed(&vec![leak.clone(); 68]).0.len(), 6);
    let failed = leak.replace("200 OK", "500 Oh");
    assert_eq!(exposed(&vec![failed; 36]).0.len(), 36);
}

#[test]
fn a_token_runs_out_while_it_is_used() {
    // {"alg":"HS256"}.{"sub":"1","exp":2000000000}
    let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIiwiZXhwIjoyMDAwMDAwMDAwfQ.BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut talk = Talk::new(CLIENT, &[]);
    let mut rules = |wall: i64| {
        talk.engine.set_wall_offset(Some(wall));
        let (reports, _) = talk.say(0, request.as_bytes());
        reports
            .iter()
            .flat_map(|report| &report.findings)
            .map(|finding| finding.rule.id.clone())
            .collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    assert_eq!(rules(1_999_999_999), none);
    assert_eq!(rules(2_000_200_000), ["jwt-time"]);
    assert_eq!(rules(1_999_999_999), none);
}

/// What a response proves of the request: the rules that it makes sure, if the response comes so much later.
#[track_caller]
fn proved(target: &str, response: &str, seconds: u64) -> Vec<String> {
    let settings = Settings { response_exposure: true, ..Settings::default() };
    let engine = Engine::new(settings, content(), Arc::new(Policy::default()));
    let mut talk = Talk { engine, next: [1000, 5000], peer: CLIENT, time_ns: 1_000_000 };
    let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    talk.say(0, request.as_bytes());
    talk.time_ns += seconds * 1_000_000_000;
    let (reports, _) = talk.say(1, response.as_bytes());
    let confirmed = reports.iter().filter(|report| report.outcome == Outcome::Confirmed);
    let mut rules: Vec<String> =
        confirmed.flat_map(|report| &report.findings).map(|finding| finding.rule.id.clone()).collect();
    rules.sort();
    rules.dedup();
    rules
}

#[test]
fn the_effect_of_an_attack_proves_it() {
    let error = page(
        "You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version",
    );
    let passwd = page("root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin");
    let output = page("uid=33(www-data) gid=33(www-data) groups=33(www-data)");
    let (sql, path, shell) =
        ("/?id=1%27%20UNION%20SELECT%201,2--%20", "/?f=../../../../etc/passwd", "/?h=127.0.0.1;id");
    let none: [&str; 0] = [];
    assert!(proved(sql, &error, 0).contains(&"sql-union-select".to_owned()));
    assert!(!proved(path, &passwd, 0).is_empty());
    assert_eq!(proved(shell, &output, 0), ["shell-command"]);
    // What shows is another attack's effect, or nothing.
    for (target, response) in [(sql, &passwd), (path, &error), (shell, &page("fine")), ("/?q=tea", &error)] {
        assert_eq!(proved(target, response, 0), none, "{target}");
    }
}

#[test]
fn an_answer_that_is_as_late_as_a_payload_asks_for_proves_it() {
    for (target, rule) in [
        ("/?id=1%27%20AND%20SLEEP(5)--%20", "sql-time-delay"),
        ("/?id=1;WAITFOR%20DELAY%20%270:0:5%27--", "sql-time-delay"),
        ("/?h=127.0.0.1;sleep%205", "shell-command"),
    ] {
        for (seconds, expected) in [(5, true), (6, true), (0, false), (2, false), (30, false)] {
            let found = proved(target, &page("ok"), seconds).contains(&rule.to_owned());
            assert_eq!(found, expected, "{target} after {seconds} s");
        }
    }
}

/// A rule of an operator's own about request and response together.
#[test]
fn a_rule_can_ask_how_late_the_answer_is() {
    let rule = r#"
[[rule]]
id = "slow-report"
title = "a report that takes long"
class = "INPUT_VALIDATION"
severity = "medium"
confidence = 0.6
fields = ["response.status"]
pattern = '^200$'
short_field = true
also = [{ fields = ["target"], pattern = 'report=' }]
when = "response.delay_ms >= 5000"
[rule.examples]
match = [["target=/?report=x", "response.status=200", "response.delay_ms=6000"]]
no_match = [["target=/?report=x", "response.status=200", "response.delay_ms=40"], ["response.status=200", "response.delay_ms=6000"]]
"#;
    let source = sensor_engine::rule::RuleSource { name: "own.toml", text: rule };
    let rules = Arc::new(sensor_engine::rule::RuleSet::compile(&[source]).unwrap());
    for (seconds, expected) in [(0, 0), (6, 1)] {
        let engine = Engine::new(Settings::default(), Arc::clone(&rules), Arc::new(Policy::default()));
        let mut talk = Talk { engine, next: [1000, 5000], peer: CLIENT, time_ns: 1_000_000 };
        talk.say(0, b"GET /?report=7 HTTP/1.1\r\nHost: h\r\n\r\n");
        talk.time_ns += seconds * 1_000_000_000;
        assert_eq!(talk.say(1, page("ok").as_bytes()).0.len(), expected, "{seconds} s");
    }
}
