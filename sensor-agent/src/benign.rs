//! Ordinary requests, made here: what rules cost is measured on them, and a rule that is sure of something in one of them is
//! surer than it should be. They hold what honest clients send and attacks resemble: names with apostrophes, prose about
//! databases and markup, code in a forum, numbers, paths, tokens, several languages.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use sensor_engine::engine::Settings;
use sensor_engine::finding::Finding;
use sensor_engine::policy::Policy;
use sensor_engine::rule::RuleSet;

use crate::judge::Judge;

/// Rounds in which rules are tried.
const ROUNDS: u32 = 5;

/// What these rules are sure of in ordinary requests: a line for each rule whose finding would be reported.
pub(crate) fn doubts(settings: &Settings, rules: &Arc<RuleSet>, policy: &Policy) -> Vec<String> {
    let mut judge = Judge::new(settings.clone(), Arc::clone(rules), policy);
    let own: HashSet<&str> = rules.rules().iter().map(|rule| rule.info().id.as_str()).collect();
    let mut doubts: BTreeMap<String, String> = BTreeMap::new();
    for request in (0..ROUNDS).flat_map(requests) {
        let findings = judge.judge(&request, b"").map(|judged| judged.findings).unwrap_or_default();
        let reported = |finding: &&Finding| {
            own.contains(finding.rule.id.as_str()) && finding.confidence >= policy.report_from
        };
        for finding in findings.iter().filter(reported) {
            doubts.entry(finding.rule.id.clone()).or_insert_with(|| {
                format!(
                    "rule `{}` is {} sure of something in an ordinary request, in `{}`: {}",
                    finding.rule.id, finding.confidence, finding.field, finding.evidence
                )
            });
        }
    }
    doubts.into_values().collect()
}

/// Requests that a browser, an application and a monitor send; each round says the same with other numbers and words.
pub(crate) fn requests(round: u32) -> Vec<Vec<u8>> {
    let words =
        |at: usize| WORDS.get((round as usize * 7 + at * 3) % WORDS.len()).copied().unwrap_or_default();
    let number = u64::from(round) * 7919 + 1000;
    let mut all = Vec::new();
    for (at, target) in TARGETS.iter().enumerate() {
        let target = target.replace("{n}", &(number + at as u64).to_string()).replace("{w}", words(at));
        all.push(get(&target, at, number));
    }
    for (at, (kind, body)) in BODIES.iter().enumerate() {
        let body = body.replace("{n}", &(number + at as u64).to_string()).replace("{w}", words(at));
        all.push(post(kind, &body, at, number));
    }
    all
}

const BROWSERS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    "okhttp/4.12.0",
    "Prometheus/2.53.0",
];

const WORDS: &[&str] = &[
    "garden",
    "union",
    "selection",
    "O%27Reilly",
    "caf%C3%A9",
    "table+lamp",
    "drop+earrings",
    "script",
    "alert",
    "system",
    "M%C3%BCller",
    "%D0%BA%D0%BD%D0%B8%D0%B3%D0%B0",
    "exec",
    "order+by+phone",
    "rock+%26+roll",
    "50%25+off",
    "C%2B%2B",
    "1%2F2+inch",
    "where+to+eat",
    "and+or+not",
];

const TARGETS: &[&str] = &[
    "/",
    "/index.html",
    "/search?q={w}&page={n}",
    "/search?q={w}+{w}&sort=-price&filter=price+%3E+5",
    "/products/{n}/{w}?ref=newsletter&utm_source=mail&utm_campaign=spring-{n}",
    "/api/v2/users/{n}?fields=name,email,address.city&expand=orders",
    "/api/v2/orders?since=2026-01-{n}T10:00:00Z&status=open,paid&limit=50",
    "/static/js/main.{n}.js",
    "/static/css/site.min.css?v={n}",
    "/images/hero%20shot-{n}.jpg?w=1200&h=630&fit=crop",
    "/docs/sql/select-statement?section=union#examples",
    "/login?next=%2Faccount%2Forders%3Fpage%3D{n}",
    "/oauth/callback?code=4%2F0AeaYSHB{n}xQ&state=eyJyIjoiL2hvbWUifQ&scope=openid%20email",
    "/maps?ll=52.52{n},13.405&z=12&t=m",
    "/wiki/Drop_table_(furniture)",
    "/wiki/Caf%C3%A9_(album)?action=history&limit={n}",
    "/feed?format=rss&since={n}",
    "/health",
    "/metrics",
    "/graph?query=%7Buser(id:{n})%7Bname%7D%7D",
    "/calendar?from=2026-11-01&to=2026-11-30&view=month&tz=Europe/Berlin",
    "/download?file=report-{n}.pdf&token=9f86d081884c7d659a2feaa0c55ad015",
    "/translate?text=It%27s+5+o%27clock+--+time+for+tea&to=de",
    "/calc?expr=(3%2B4)*{n}%2F2",
];

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

const BODIES: &[(&str, &str)] = &[
    (
        FORM,
        "name=Anna+O%27Neil&email=anna%40example.com&city=Saint-%C3%89tienne&note=call+me+at+{n}%3B+thanks",
    ),
    (FORM, "comment=I+think+the+{w}+is+great+%3A-%29+%26+cheap.+Would+order+again%21&rating=5&id={n}"),
    (FORM, "username=j.smith&password=correct-horse-{n}&remember=on&csrf=9b2d{n}e1"),
    (
        FORM,
        "subject=Re%3A+Select+committee&message=The+union+will+select+a+delegate+from+the+members+where+possible.",
    ),
    (
        JSON,
        "{\"id\":{n},\"name\":\"{w}\",\"tags\":[\"new\",\"sale\"],\"price\":19.99,\"active\":true,\"parent\":null}",
    ),
    (
        JSON,
        "{\"query\":\"query($id: ID!){ user(id: $id){ name orders(first: 5){ id total } } }\",\"variables\":{\"id\":\"{n}\"}}",
    ),
    (
        JSON,
        "{\"event\":\"page_view\",\"url\":\"https://shop.example.com/p/{n}?a=1&b=2\",\"referrer\":\"https://www.example.org/\",\"screen\":\"1920x1080\"}",
    ),
    (
        JSON,
        "{\"title\":\"Lamp <3 {w}\",\"text\":\"Size 10\\\" x 12\\\"; colour: black/white (matt). 100% cotton shade.\",\"n\":{n}}",
    ),
    (
        JSON,
        "{\"message\":\"Hi Tom,\\nthe meeting is at 3 o'clock -- room {n}.\\nBest, Ann\",\"to\":[\"tom@example.com\"]}",
    ),
    (
        JSON,
        "{\"jsonrpc\":\"2.0\",\"method\":\"eth_getBalance\",\"params\":[\"0x8d97689c9818892b700e27f316cc3e41e17fbeb9\",\"latest\"],\"id\":{n}}",
    ),
    (
        "application/xml",
        "<?xml version=\"1.0\"?><order id=\"{n}\"><item sku=\"A-1\" qty=\"2\"/><note>Leave at the door &amp; ring</note></order>",
    ),
    ("text/plain", "Dear all,\nplease update the list and delete what is old.\nThank you, {n}\n"),
    (
        "multipart/form-data; boundary=b7f3",
        "--b7f3\r\nContent-Disposition: form-data; name=\"file\"; filename=\"holiday {n}.jpg\"\r\nContent-Type: image/jpeg\r\n\r\nJFIF....\r\n--b7f3\r\nContent-Disposition: form-data; name=\"caption\"\r\n\r\nSun & sea, {w}\r\n--b7f3--\r\n",
    ),
];

fn head(method: &str, target: &str, at: usize, number: u64) -> String {
    let browser = BROWSERS.get(at % BROWSERS.len()).copied().unwrap_or_default();
    format!(
        "{method} {target} HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: {browser}\r\n\
         Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: de-DE,de;q=0.9,en;q=0.7\r\n\
         Accept-Encoding: gzip, deflate, br\r\nReferer: https://shop.example.com/products/{number}?ref=home\r\n\
         Cookie: _ga=GA1.2.{number}.1700000000; sid=s%3Aq{number}Kd.0aZ; theme=dark; consent=%7B%22a%22%3A1%7D\r\n"
    )
}

fn get(target: &str, at: usize, number: u64) -> Vec<u8> {
    format!("{}\r\n", head("GET", target, at, number)).into_bytes()
}

fn post(kind: &str, body: &str, at: usize, number: u64) -> Vec<u8> {
    let head = head("POST", "/api/v2/items", at, number);
    let origin = "Origin: https://shop.example.com\r\nSec-Fetch-Site: same-origin\r\n";
    format!("{head}{origin}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_engine::rule::RuleSource;

    #[test]
    fn rules_that_are_too_sure_are_named() {
        let rule = |id: &str, confidence: &str| {
            format!(
                "[[rule]]\nid = '{id}'\ntitle = 't'\nclass = 'INPUT_VALIDATION'\nseverity = 'low'\nconfidence = {confidence}\n\
                 fields = ['header.user-agent']\npattern = 'firefox/{confidence}?'\n[rule.examples]\nmatch = ['Firefox/{confidence}']\nno_match = ['x']\n"
            )
        };
        let text = rule("too-sure", "1").replace("firefox/1?", "firefox/1")
            + &rule("unsure", "0.2").replace("firefox/0.2?", "firefox/");
        let set = Arc::new(RuleSet::compile(&[RuleSource { name: "t", text: &text }]).unwrap());
        let found = doubts(&Settings::default(), &set, &Policy::default());
        assert!(
            found.len() == 1 && found[0].starts_with("rule `too-sure` is 1.00 sure of something"),
            "{found:?}"
        );
    }

    #[test]
    fn none_of_them_is_blocked_by_the_shipped_rules_and_no_two_rounds_are_the_same() {
        let rules = Arc::new(crate::detection::load(&[]).unwrap().rules);
        let mut judge = Judge::new(Settings::default(), rules, &Policy::default());
        for round in 0..WORDS.len() as u32 {
            for request in requests(round) {
                let judged = judge.judge(&request, b"").unwrap();
                assert!(!judged.blocked, "{}\n{judged:?}", request.escape_ascii());
            }
        }
        assert_ne!(requests(1), requests(2));
        assert_eq!(requests(3), requests(3));
    }
}
