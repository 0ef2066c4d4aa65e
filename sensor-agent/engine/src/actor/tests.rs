//! Dialogs of clients with an application in, findings out; each attack has a benign twin that stays silent.

use std::time::Duration;

use super::*;
use crate::facts::{Found, tests::facts};
use crate::http::client::Client;
use crate::time::Timestamp;

pub(super) const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
pub(super) const OK: &str = "HTTP/1.1 200 OK\nContent-Type: text/html\n\nwelcome";
pub(super) const MISSING: &str = "HTTP/1.1 404 Not Found";
pub(super) const DENIED: &str = "HTTP/1.1 403 Forbidden";
pub(super) const WRONG: &str = "HTTP/1.1 401 Unauthorized\n\n{\"error\":\"invalid credentials\"}";
const WELCOME: &str = "HTTP/1.1 302 Found\nLocation: /home\nSet-Cookie: session=8f14e45fceea167a5a36dedd4bea2543; Secure; HttpOnly; SameSite=Lax";

/// An application and those who visit it.
pub(super) struct Town {
    pub(super) actors: Actors,
    millis: u64,
    told: Vec<(String, Notice)>,
}

impl Town {
    pub(super) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(super) fn with(settings: Settings) -> Self {
        Self {
            actors: Actors::new(settings, Arc::default(), Key::default()),
            millis: 1_000_000,
            told: Vec::new(),
        }
    }

    pub(super) fn pass(&mut self, millis: u64) {
        self.millis += millis;
    }

    fn observe(&mut self, client: &str, facts: &Facts) {
        self.observe_from(ClientSource::Peer, client, facts);
    }

    fn observe_from(&mut self, source: ClientSource, client: &str, facts: &Facts) {
        let mut facts = *facts;
        facts.time = Timestamp::from_nanos(0) + Duration::from_millis(self.millis);
        facts.client = Client { address: client.parse().unwrap(), source };
        let mut notices = Vec::new();
        self.actors.observe(&facts, &mut notices);
        self.told.extend(notices.into_iter().map(|notice| (client.to_owned(), notice)));
    }

    /// A request with further header lines, and its response.
    pub(super) fn ask(&mut self, client: &str, line: &str, headers: &str, response: &str) {
        let headers = if headers.is_empty() { String::new() } else { format!("\n{headers}") };
        let (headers, body) = headers.split_once("\n\n").map_or((&*headers, ""), |(head, body)| (head, body));
        let request = format!("{line} HTTP/1.1\nHost: shop.example{headers}\n\n{body}");
        self.observe(client, &facts(&request, response));
    }

    pub(super) fn login(&mut self, client: &str, user: &str, password: &str, response: &str) {
        self.ask(client, "POST /login", &format!("{FORM}\n\nuser={user}&password={password}"), response);
    }

    /// The rules told, each once, with the client.
    pub(super) fn rules(&self) -> Vec<String> {
        let mut rules = Vec::new();
        for (client, notice) in &self.told {
            let rule = format!("{client} {}", notice.finding.rule.id);
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        rules
    }

    /// How often a rule was told.
    pub(super) fn told_of(&self, rule: &str) -> usize {
        self.told.iter().filter(|(_, notice)| notice.finding.rule.id == rule).count()
    }

    /// What was told first of a rule.
    pub(super) fn finding(&self, rule: &str) -> &crate::finding::Finding {
        let of = |(_, notice): &&(String, Notice)| notice.finding.rule.id == rule;
        &self.told.iter().find(of).unwrap().1.finding
    }

    pub(super) fn surest(&self, rule: &str) -> f32 {
        let of = |(_, notice): &&(String, Notice)| notice.finding.rule.id == rule;
        self.told.iter().filter(of).map(|(_, notice)| notice.finding.confidence.get()).fold(0.0, f32::max)
    }

    #[track_caller]
    pub(super) fn check(&self, expected: &[&str]) {
        assert_eq!(self.rules(), expected, "{:#?}", self.told);
    }

    pub(super) fn counter(&self, name: &str) -> u64 {
        self.actors.stats().iter().find(|(known, ..)| *known == name).unwrap().2
    }
}

const A: &str = "203.0.113.9";

/// An address of the documentation prefixes.
pub(super) fn address(number: usize) -> String {
    format!("198.51.{}.{}", 100 + number / 250, 1 + number % 250)
}

#[test]
fn many_passwords_for_one_user_are_a_brute_force() {
    let mut town = Town::new();
    for number in 0..9 {
        town.login(A, "alice", &format!("p{number}"), WRONG);
        town.pass(500);
    }
    town.check(&[]);
    for number in 9..30 {
        town.login(A, "alice", &format!("p{number}"), WRONG);
    }
    town.check(&["203.0.113.9 login-brute-force"]);
    assert!(town.surest("login-brute-force") > 0.85, "it gets surer");
    let notice = &town.told[0].1;
    assert_eq!(notice.finding.evidence, "10 passwords of one user, 10 failed logins within 300 s");
    assert_eq!(notice.account.counts[0], ("passwords of one user".to_owned(), 10));
    assert_eq!(notice.account.examples.last().unwrap(), "POST /login 401");
}

#[test]
fn other_thresholds_count_at_once_and_nobody_is_forgotten_for_them() {
    let mut town = Town::with(Settings { brute_force_passwords: 60, ..Settings::default() });
    for number in 0..20 {
        town.login(A, "alice", &format!("p{number}"), WRONG);
    }
    town.check(&[]);
    town.actors.replace_settings(Settings::default());
    town.login(A, "alice", "p20", WRONG);
    town.check(&["203.0.113.9 login-brute-force"]);
    assert_eq!(town.told[0].1.account.counts[0].1, 21);
}

#[test]
fn people_who_mistype_are_no_attackers() {
    let mut town = Town::new();
    for password in ["hunter1", "hunter2 ", "Hunter2", "hunter22"] {
        town.login(A, "alice", password, WRONG);
        town.pass(4_000);
    }
    town.login(A, "alice", "hunter2", WELCOME);
    // A program with an old password asks again and again.
    for _ in 0..500 {
        town.login("203.0.113.10", "bob", "old", WRONG);
        town.pass(200);
    }
    town.check(&[]);
}

#[test]
fn credentials_of_many_users_are_stuffing_and_a_success_then_is_worse() {
    let mut town = Town::new();
    for number in 0..20 {
        town.login(A, &format!("user{number}"), &format!("secret{number}"), WRONG);
    }
    town.login(A, "user21", "secret21", WELCOME);
    town.check(&["203.0.113.9 login-credential-stuffing", "203.0.113.9 login-success-after-failures"]);
    assert_eq!(town.surest("login-success-after-failures"), 0.9);
}

#[test]
fn one_password_for_many_users_is_spraying() {
    let mut town = Town::new();
    for number in 0..12 {
        town.login(A, &format!("user{number}"), "Winter2026!", WRONG);
        town.pass(10_000);
    }
    town.check(&["203.0.113.9 login-password-spraying"]);
}

#[test]
fn an_office_behind_one_address_is_no_attacker() {
    let mut town = Town::new();
    for number in 0..40 {
        let user = format!("employee{number}");
        if number % 5 == 0 {
            town.login(A, &user, &format!("tpyo{number}"), WRONG);
            town.pass(2_000);
        }
        town.login(A, &user, &format!("right{number}"), WELCOME);
        for page in 0..5 {
            town.ask(
                A,
                &format!("GET /pages/{page}"),
                &format!("Cookie: session={number}aaaaaaaaaaaaaaaa{number}"),
                OK,
            );
        }
        town.pass(5_000);
    }
    town.check(&[]);
}

#[test]
fn many_clients_that_try_one_user_are_reported_and_never_block() {
    let mut town = Town::new();
    for number in 0..40 {
        town.login(&address(number), "admin", &format!("p{}", number % 20), WRONG);
        town.pass(5_000);
    }
    assert_eq!(town.told.len(), 1, "{:?}", town.rules());
    let finding = &town.told[0].1.finding;
    assert_eq!(finding.rule.id, "login-distributed-brute-force");
    assert_eq!(finding.rule.response, Some(crate::finding::Response::Observe));
}

#[test]
fn a_success_after_many_failures_is_a_finding() {
    let mut town = Town::new();
    for number in 0..7 {
        town.login(A, "alice", &format!("p{number}"), WRONG);
    }
    town.login(A, "alice", "right", WELCOME);
    town.check(&["203.0.113.9 login-success-after-failures"]);
}

#[test]
fn answers_that_tell_users_apart_are_enumerated() {
    let mut town = Town::new();
    for number in 0..12 {
        let words = if number % 3 == 0 { "wrong password" } else { "user not found" };
        let response = format!("HTTP/1.1 200 OK\n\n<p>{words}</p>");
        town.login(A, &format!("user{number}"), &format!("x{number}"), &response);
    }
    town.check(&["203.0.113.9 login-user-enumeration"]);
    let mut town = Town::new();
    for number in 0..25 {
        town.ask(A, "POST /forgot-password", &format!("{FORM}\n\nemail=u{number}@x.example"), OK);
    }
    town.check(&["203.0.113.9 login-user-enumeration"]);
}

#[test]
fn basic_credentials_are_tried_too_and_used_ones_are_silent() {
    use base64::Engine as _;
    let basic = |text: &str| {
        format!("Authorization: Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
    };
    let mut town = Town::new();
    for number in 0..300 {
        town.ask(A, &format!("GET /dav/file{number}"), &basic("alice:right"), OK);
    }
    town.check(&[]);
    for number in 0..10 {
        town.ask(A, "GET /dav/", &basic(&format!("root:p{number}")), "HTTP/1.1 401 No");
    }
    town.check(&["203.0.113.9 login-brute-force"]);
}

#[test]
fn refused_tokens_are_a_guessing_only_if_they_differ() {
    let mut town = Town::new();
    let token = |town: &mut Town, number: usize| {
        town.ask(A, "GET /api/me", &format!("Authorization: Bearer t{number}"), "HTTP/1.1 401 No");
    };
    (0..100).for_each(|_| token(&mut town, 7));
    town.check(&[]);
    (0..25).for_each(|number| token(&mut town, number));
    town.check(&["203.0.113.9 token-guessing"]);
}

#[test]
fn paths_that_are_not_there_are_forced_browsing() {
    let mut town = Town::new();
    for number in 0..100 {
        town.ask(A, &format!("GET /word{number}x"), "", if number % 20 == 0 { OK } else { MISSING });
        town.pass(100);
    }
    town.check(&["203.0.113.9 forced-browsing"]);
    assert!(town.surest("forced-browsing") > 0.8);
}

#[test]
fn names_that_scanners_look_for_are_few_enough() {
    let mut town = Town::new();
    for path in ["/.env", "/.git/config", "/wp-login.php", "/phpmyadmin/", "/backup.zip"] {
        town.ask(A, &format!("GET {path}"), "", MISSING);
    }
    town.check(&["203.0.113.9 probe-names"]);
}

#[test]
fn browsers_crawlers_and_health_checks_are_silent() {
    let mut town = Town::new();
    for number in 0..100 {
        let response = if number % 25 == 0 { MISSING } else { OK };
        town.ask(A, &format!("GET /assets/app{number}.js"), "Referer: https://shop.example/", response);
    }
    // Pages of an old site map are gone, and the crawler is polite.
    for number in 0..300 {
        let response = if number % 4 == 0 { MISSING } else { OK };
        town.ask("203.0.113.10", &format!("GET /articles/title-{number}"), "User-Agent: bot", response);
        town.pass(1_000);
    }
    for _ in 0..2_000 {
        town.ask("203.0.113.11", "GET /health", "", OK);
        town.ask("203.0.113.12", "GET /healthz", "", MISSING);
    }
    // A page with broken pictures.
    for number in 0..60 {
        town.ask(
            "203.0.113.13",
            &format!("GET /gone/{number}.png"),
            "Referer: https://shop.example/gallery",
            MISSING,
        );
    }
    town.check(&[]);
}

const SESSION: &str = "Cookie: session=0cc175b9c0f1b6a831c399e269772661";

#[test]
fn objects_one_after_the_other_with_refusals_are_a_walk() {
    let mut town = Town::new();
    for number in 0..80 {
        let response = if number % 3 == 0 { OK } else { DENIED };
        town.ask(A, &format!("GET /api/orders/{}", 5000 + number), SESSION, response);
        town.pass(100);
    }
    assert!(town.rules().contains(&"203.0.113.9 object-walk".to_owned()), "{:?}", town.rules());
    assert!(town.surest("object-walk") >= 0.7);
}

#[test]
fn many_objects_beyond_a_routes_habit_are_reported() {
    let mut town = Town::new();
    for client in 0..10 {
        for order in 0..2 {
            let session = format!("Cookie: session={client}aaaaaaaaaaaaaaaaaaaaaaaa");
            town.ask(
                &address(client),
                &format!("GET /api/orders/{}", 7 * client * order + 100),
                &session,
                OK,
            );
        }
    }
    for number in 0..60 {
        town.ask(A, &format!("GET /api/orders/{}", 10_000 - number * 17), SESSION, OK);
    }
    town.check(&["203.0.113.9 object-walk"]);
    assert!(town.surest("object-walk") < 0.7, "reported, not blocked");
}

#[test]
fn clients_of_an_api_may_page_and_fetch() {
    let mut town = Town::new();
    let key = "Authorization: Bearer 8f14e45fceea167a5a36dedd4bea2543";
    for page in 1..=200 {
        town.ask(A, &format!("GET /api/items?page={page}"), key, OK);
    }
    for item in 1..=50 {
        town.ask(A, &format!("GET /items/{item}"), key, OK);
        town.pass(3_000);
    }
    town.check(&[]);
}

#[test]
fn anonymous_success_where_only_others_were_served() {
    let mut town = Town::new();
    for number in 0..12 {
        town.ask(
            &address(number),
            "GET /api/report",
            &format!("Cookie: session={number}aaaaaaaaaaaaaaa"),
            OK,
        );
    }
    for _ in 0..2 {
        town.ask(
            "203.0.113.8",
            "GET /api/report",
            "",
            "HTTP/1.1 302 Found\nLocation: /login?next=/api/report",
        );
    }
    town.check(&[]);
    town.ask(A, "GET /api/report", "", OK);
    town.ask(A, "GET /api/report", "", OK);
    town.check(&["203.0.113.9 anonymous-access"]);
}

#[test]
fn public_pages_are_no_secret() {
    let mut town = Town::new();
    for number in 0..50 {
        let headers = if number % 2 == 0 { "" } else { SESSION };
        town.ask(&address(number), "GET /", headers, OK);
    }
    town.check(&[]);
}

#[test]
fn refused_and_then_served_with_another_method() {
    let mut town = Town::new();
    town.ask(A, "GET /admin/users", SESSION, DENIED);
    town.ask(A, "HEAD /admin/users", SESSION, OK);
    town.check(&["203.0.113.9 verb-tampering"]);
    let mut town = Town::new();
    town.ask(A, "POST /admin/users", SESSION, DENIED);
    town.ask(A, "POST /admin/users", &format!("{SESSION}\nX-HTTP-Method-Override: GET"), OK);
    town.check(&["203.0.113.9 verb-tampering"]);
}

#[test]
fn a_form_that_wants_a_login_first_is_no_tampering() {
    let mut town = Town::new();
    town.ask(A, "GET /api/session", "", "HTTP/1.1 401 No");
    town.ask(A, "OPTIONS /api/session", "", OK);
    town.ask(A, "POST /api/session", "", OK);
    town.ask(A, "GET /api/session", SESSION, OK);
    town.check(&[]);
}

/// Sessions of an application that the memory knows well.
fn known_sessions(town: &mut Town) {
    for number in 0..25 {
        let cookie = format!(
            "session={:032x}; Secure; HttpOnly; SameSite=Lax",
            (number as u128 + 1) << 99 | 0xdead_beef << (number % 9)
        );
        let response = format!("HTTP/1.1 200 OK\nSet-Cookie: {cookie}");
        town.ask(&address(number), "GET /", "", &response);
    }
}

#[test]
fn an_id_that_the_server_never_issued_and_that_survives_a_login() {
    let mut town = Town::new();
    known_sessions(&mut town);
    town.check(&[]);
    let body = format!("{SESSION}\n{FORM}\n\nuser=alice&password=x");
    town.ask("192.0.2.7", "GET /", &format!("{SESSION}\nUser-Agent: attacker"), OK);
    town.ask(A, "POST /login", &format!("User-Agent: victim\n{body}"), "HTTP/1.1 302 Found\nLocation: /home");
    assert!(town.rules().contains(&"203.0.113.9 session-fixation".to_owned()), "{:?}", town.rules());
    assert_eq!(town.surest("session-fixation"), 0.85);
    let mut town = Town::new();
    known_sessions(&mut town);
    town.ask(A, "POST /login", &body, WELCOME);
    town.check(&[]);
}

#[test]
fn one_session_in_two_places_with_two_programs() {
    let mut town = Town::new();
    let with = |agent: &str| format!("{SESSION}\nUser-Agent: {agent}");
    town.ask(A, "GET /a", &with("Firefox/140"), OK);
    town.ask("203.0.113.77", "GET /a", &with("curl/8"), OK);
    town.ask("192.0.2.1", "GET /a", &with("curl/8"), OK);
    town.check(&[]);
    town.ask("198.51.100.1", "GET /a", &with("python"), OK);
    town.check(&["198.51.100.1 session-shared"]);
}

#[test]
fn a_phone_that_changes_its_network_is_one_client() {
    let mut town = Town::new();
    for number in 0..20 {
        town.ask(&address(number * 250), "GET /a", &format!("{SESSION}\nUser-Agent: phone"), OK);
        town.pass(1_000);
    }
    town.check(&[]);
}

#[test]
fn ids_that_follow_each_other_and_cookies_without_attributes() {
    let mut town = Town::new();
    for number in 0..10 {
        let response = format!("HTTP/1.1 200 OK\nSet-Cookie: SESSIONID={}", 100_200 + number * 3);
        town.ask(&address(number), "GET /", "", &response);
    }
    let rules: Vec<_> = town.told.iter().map(|(_, notice)| &*notice.finding.rule.id).collect();
    assert_eq!(rules, ["session-cookie-attributes", "session-id-short", "session-id-sequence"]);
    assert_eq!(town.told[0].1.finding.evidence, "SESSIONID without Secure, HttpOnly, SameSite");
}

#[test]
fn a_session_in_a_target_is_told_once() {
    let mut town = Town::new();
    for number in 0..5 {
        town.ask(&address(number), &format!("GET /a?PHPSESSID=0123456789abcdef{number}"), "", OK);
    }
    assert_eq!(town.told.len(), 1);
    assert_eq!(town.told[0].1.finding.rule.id, "session-id-in-url");
}

#[test]
fn a_change_without_the_usual_token() {
    let mut town = Town::new();
    let post = |town: &mut Town, client: &str, headers: &str, body: &str| {
        let headers = format!("{headers}Cookie: session={client}aaaaaaaa\n{FORM}\n\n{body}");
        town.ask(client, "POST /account/mail", &headers, OK);
    };
    for number in 0..25 {
        post(&mut town, &address(number), "Origin: https://shop.example\n", "csrf_token=1&mail=x");
    }
    post(&mut town, "203.0.113.7", "Origin: https://shop.example\n", "mail=x");
    town.check(&[]);
    post(&mut town, A, "Origin: https://evil.example\n", "mail=x");
    town.check(&["203.0.113.9 csrf-missing-token"]);
    assert!(town.surest("csrf-missing-token") > 0.8);
}

#[test]
fn routes_without_tokens_miss_none() {
    let mut town = Town::new();
    for number in 0..60 {
        let token = if number % 5 == 0 { "" } else { "csrf_token=1&" };
        town.ask(&address(number), "POST /api/vote", &format!("{SESSION}\n{FORM}\n\n{token}a=1"), OK);
    }
    town.check(&[]);
}

#[test]
fn many_weak_findings_of_one_client_add_up() {
    let attack = |number: u32, path: usize| {
        let mut facts = facts(&format!("GET /p{path}?q=x HTTP/1.1\nHost: h"), OK);
        facts.found = Found { rules: [number, 0, 0, 0], classes: 1 << (number % 3) };
        facts
    };
    let mut town = Town::new();
    (0..15).for_each(|number| town.observe(A, &attack(number + 1, number as usize)));
    town.check(&["203.0.113.9 many-attacks"]);
    assert!(town.surest("many-attacks") > 0.8);
    // An author trips over the same rules in the same form.
    let mut town = Town::new();
    (0..50).for_each(|number| town.observe(A, &attack(1 + number % 4, 0)));
    town.check(&[]);
}

#[test]
fn an_issuer_with_a_private_key_that_signs_with_a_secret() {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let token = |alg: &str, sub: usize| {
        let (head, claims) =
            (format!("{{\"alg\":\"{alg}\",\"kid\":\"k\"}}"), format!("{{\"iss\":\"i\",\"sub\":\"{sub}\"}}"));
        format!("Authorization: Bearer {}.{}.c2ln", encode(&head), encode(&claims))
    };
    let mut town = Town::new();
    for number in 0..12 {
        town.ask(&address(number), "GET /api/me", &token("RS256", number), OK);
    }
    town.ask(A, "GET /api/me", &token("HS256", 0), OK);
    town.check(&["203.0.113.9 jwt-algorithm-confusion"]);
    let mut town = Town::new();
    for number in 0..50 {
        town.ask(&address(number), "GET /api/me", &token(["HS256", "RS256"][number % 2], number), OK);
    }
    town.check(&[]);
}

#[test]
fn addresses_of_one_ipv6_network_are_one_client() {
    let mut town = Town::new();
    for number in 0..12 {
        town.login(&format!("2001:db8:1:2::{number:x}"), "alice", &format!("p{number}"), WRONG);
    }
    // Each address is told of, so that each is blocked; but it takes no ten passwords of each.
    let expected = [9, 10, 11].map(|number| format!("2001:db8:1:2::{number:x} login-brute-force"));
    town.check(&expected.each_ref().map(|rule| &**rule));
}

#[test]
fn a_proxy_that_does_not_tell_its_clients_is_not_one_client() {
    let failed = |user: usize, flow_id: u64| {
        let request = format!("POST /login HTTP/1.1\nHost: h\n{FORM}\n\nuser=u{user}&password=p{user}");
        let mut facts = facts(&request, WRONG);
        facts.flow_id = flow_id;
        facts
    };
    let mut town = Town::new();
    for user in 0..30 {
        town.observe_from(ClientSource::Untold, "10.0.0.1", &failed(user, user as u64));
    }
    town.check(&[]);
    (0..30).for_each(|user| town.observe_from(ClientSource::Untold, "10.0.0.1", &failed(user, 7)));
    town.check(&["10.0.0.1 login-credential-stuffing"]);
}

#[test]
fn memory_is_bounded_and_what_goes_is_counted() {
    let settings =
        Settings { max_clients: 50, max_users: 50, max_routes: 50, max_sessions: 50, ..Settings::default() };
    let mut town = Town::with(settings);
    for number in 0..1_000 {
        let client = address(number);
        town.ask(
            &client,
            &format!(
                "GET /route{}/x",
                char::from(b'a' + (number % 26) as u8).to_string().repeat(number % 30)
            ),
            &format!("Cookie: sid={number}"),
            MISSING,
        );
        town.login(&client, &format!("user{number}"), "x", WRONG);
    }
    for name in ["clients_evicted", "users_evicted", "routes_evicted", "sessions_evicted"] {
        assert!(town.counter(name) > 0, "{name}");
    }
    assert!(town.counter("clients_now") <= 50 && town.counter("routes_now") <= 50);
    let mut town = Town::with(Settings { max_bytes: 1 << 20, ..Settings::default() });
    for number in 0..5_000 {
        for password in 0..8 {
            town.login(&address(number), "alice", &format!("p{number}{password}"), WRONG);
        }
    }
    assert!(town.counter("bytes_now") <= 1 << 20, "{}", town.counter("bytes_now"));
    assert!(town.counter("evicted_memory") > 0 && town.counter("clients_now") > 100);
    // What there is most of makes room, and clients stay.
    let mut town = Town::with(Settings { max_bytes: 1 << 20, ..Settings::default() });
    for number in 0..30_000 {
        town.ask(&address(number % 500), "GET /", &format!("Cookie: sid=a{number}"), OK);
    }
    assert!(town.counter("bytes_now") <= 1 << 20 && town.counter("clients_now") == 500);
}

#[test]
fn exceptions_cover_behaviour_too() {
    let text = "[[exception]]\nrule = \"login-*\"\npath = \"/login\"\nreason = \"a load test\"\n";
    let rules = RuleSet::compile(&[crate::rule::RuleSource { name: "x.toml", text }]).unwrap();
    let mut town = Town::new();
    town.actors.replace_rules(Arc::new(rules));
    for number in 0..30 {
        town.login(A, "alice", &format!("p{number}"), WRONG);
    }
    town.check(&[]);
    assert!(town.counter("findings_excepted") > 0);
}

#[test]
fn the_same_facts_give_the_same_notices_and_no_secret_is_in_them() {
    let run = || {
        let mut town = Town::new();
        for number in 0..40 {
            town.login(A, "alice@mail.example", &format!("hunter{number}"), WRONG);
            town.ask(A, &format!("GET /word{number}"), "Authorization: Bearer topsecret", MISSING);
        }
        town.told
    };
    let told = run();
    assert_eq!(told, run());
    let shown = format!("{told:?}");
    for secret in ["hunter", "alice", "topsecret"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn rules_about_behaviour_are_run_and_told_once() {
    let text = "[[rule]]\nid = \"sweep\"\ntitle = \"t\"\nclass = \"ACCESS_CONTROL\"\nseverity = \"high\"\nconfidence = 0.8\n\
                [rule.behaviour]\nkey = [\"client\", \"host\"]\nwindow_secs = 60\n\
                steps = [{ path = '^/api/', status = [\"2xx\"], distinct = \"path\", count = 5 }]\n\
                [rule.examples]\nmatch = [[\"5* GET /api/# 200\"]]\nno_match = [[\"5* GET /api/a 200\"]]\n";
    let rules = RuleSet::compile(&[crate::rule::RuleSource { name: "x.toml", text }]).unwrap();
    let mut town = Town::new();
    town.actors.replace_rules(Arc::new(rules));
    for round in 0..3 {
        for number in 0..5 {
            town.ask(A, &format!("GET /api/part-{number}"), "", OK);
            town.ask(&address(round * 10 + number), &format!("GET /api/part-{number}"), "", OK);
        }
    }
    assert_eq!(town.told.len(), 1, "{:?}", town.rules());
    let notice = &town.told[0].1;
    assert_eq!(notice.finding.evidence, "5 different values of path within 60 s");
    assert_eq!((&*notice.finding.rule.id, notice.finding.confidence.get()), ("sweep", 0.8));
    assert_eq!(notice.account.examples, ["GET /api/part-4 200"]);
    assert!(town.counter("findings_repeated") > 0);
}

/// Case A25.
#[test]
fn a25_one_client_teaches_little() {
    let mut town = Town::new();
    let post = |town: &mut Town, client: &str, origin: &str, body: &str| {
        let headers = format!("Origin: {origin}\nCookie: session={client}aaaaaaaa\n{FORM}\n\n{body}");
        town.ask(client, "POST /account/mail", &headers, OK);
    };
    for number in 0..40 {
        post(&mut town, &address(number), "https://shop.example", "csrf_token=1&mail=x");
        post(&mut town, "203.0.113.7", "https://shop.example", "mail=x");
    }
    post(&mut town, A, "https://evil.example", "mail=x");
    town.check(&["203.0.113.9 csrf-missing-token"]);
    // Nor does one who walks make walking usual.
    let mut town = Town::new();
    let session = |client: &str| format!("Cookie: session={client}aaaaaaaa");
    for client in 0..8 {
        town.ask(
            &address(client),
            &format!("GET /api/orders/{}", 7 * client + 100),
            &session(&address(client)),
            OK,
        );
    }
    for walker in ["203.0.113.7", A] {
        for number in 0..60 {
            town.ask(walker, &format!("GET /api/orders/{}", 10_000 - number * 17), &session(walker), OK);
        }
    }
    town.check(&["203.0.113.7 object-walk", "203.0.113.9 object-walk"]);
}

#[test]
fn an_office_whose_tokens_run_out_is_no_guesser() {
    let mut town = Town::new();
    let ask = |town: &mut Town, token: String, response: &str| {
        town.ask(A, "GET /api/me", &format!("Authorization: Bearer {token}"), response);
    };
    for number in 0..40 {
        ask(&mut town, format!("old{number}"), "HTTP/1.1 401 No");
        ask(&mut town, format!("new{number}"), OK);
        town.pass(1_000);
    }
    town.check(&[]);
}

#[test]
fn programs_with_credentials_that_look_before_they_put_are_not_blocked() {
    let mut town = Town::new();
    for number in 0..500 {
        town.ask(A, &format!("HEAD /v2/app/blobs/sha256:{number:08x}"), "Authorization: Bearer k", MISSING);
        town.pass(50);
    }
    assert!(town.surest("forced-browsing") < 0.7, "{:?}", town.rules());
}

proptest::proptest! {
    /// Whatever facts say, they are survived, and memory keeps to its limit.
    #[test]
    fn any_facts_are_survived(
        rows in proptest::collection::vec((proptest::prelude::any::<[u8; 12]>(), 0u64..1 << 40), 1..200),
    ) {
        let rules = ["key = [\"client\", \"agent\"]", "key = [\"session\"]"].map(|key| format!(
            "[[rule]]\nid = \"r{}\"\ntitle = \"t\"\nclass = \"SESSION\"\nseverity = \"low\"\nconfidence = 0.6\n[rule.behaviour]\n\
             {key}\nwindow_secs = 60\nsteps = [{{ count = 2 }}, {{ distinct = \"path\", count = 2 }}]\n[rule.examples]\n\
             match = [[\"9* GET /# 200 agent=a session=s\"]]\nno_match = [[\"GET / 200\"]]\n", key.len()));
        let sources = rules.each_ref().map(|text| crate::rule::RuleSource { name: "x", text });
        let mut town = Town::with(Settings { max_bytes: 1 << 20, max_clients: 16, ..Settings::default() });
        town.actors.replace_rules(Arc::new(RuleSet::compile(&sources).unwrap()));
        for (bytes, time) in rows {
            let mut facts = Facts::default();
            town.millis = time;
            facts.request.flags = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
            facts.request.method = crate::facts::Method::of([&b"GET"[..], b"POST", b"HEAD", b"X"][usize::from(bytes[3] % 4)]);
            facts.response.status = [0, 200, 302, 401, 403, 404, 500, 999][usize::from(bytes[4] % 8)];
            facts.response.login = [Login::None, Login::Succeeded, Login::Unknown, Login::Failed(crate::facts::Why::User)][usize::from(bytes[5] % 4)];
            (facts.request.user, facts.request.password) = (u64::from(bytes[6] % 5), u64::from(bytes[6]));
            (facts.request.session, facts.request.session_name) = (u64::from(bytes[7] % 7), u64::from(bytes[7] % 2));
            (facts.request.route, facts.request.object) = (u64::from(bytes[8] % 5), u64::from(bytes[8]));
            (facts.request.id, facts.request.path) = (Some(u64::from(bytes[9]) << (bytes[9] % 60)), u64::from(bytes[9]));
            (facts.request.authorization, facts.request.issuer) = (u64::from(bytes[10] % 9), u64::from(bytes[10] % 3));
            facts.response.issued[0].name = u64::from(bytes[11] % 3);
            facts.response.issued[0].counter = Some(u64::MAX - u64::from(bytes[11]));
            facts.found.rules[0] = u32::from(bytes[11]);
            town.observe(&address(usize::from(bytes[0])), &facts);
            proptest::prop_assert!(town.actors.bytes() <= 1 << 20);
        }
    }
}
