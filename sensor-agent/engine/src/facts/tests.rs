//! Messages in, facts out.

use std::sync::Arc;

use super::*;
use crate::field::Fields;
use crate::finding::{RuleInfo, Severity};
use crate::http::fields::push_head;
use crate::http::head::{parse_request, parse_response};
use crate::http::message::{Request, Response};

/// The facts of a transaction; the body of the request is a form or JSON.
pub(crate) fn facts(request: &str, response: &str) -> Facts {
    let key = Key::default();
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let wire = |text: &str| text.replace('\n', "\r\n") + "\r\n\r\n";
    let (mut parsed, mut fields) = (Request::default(), Fields::default());
    parse_request(wire(head).as_bytes(), &mut parsed);
    push_head(&parsed, &mut fields);
    let mut facts = Facts { request: RequestFacts::of_head(&key, &parsed, &fields), ..Facts::default() };
    fields.clear();
    crate::body::push_body(&parsed, body.as_bytes(), &mut fields);
    facts.request.note_body(&key, &parsed, &fields);
    let (head, body) = response.split_once("\n\n").unwrap_or((response, ""));
    let mut parsed = Response::default();
    parse_response(wire(head).as_bytes(), &mut parsed);
    facts.response = ResponseFacts::of_head(&key, &facts.request, (!response.is_empty()).then_some(&parsed));
    facts.response.note_login(&facts.request, body.as_bytes());
    facts
}

const FORM: &str =
    "POST /login HTTP/1.1\nHost: h\nContent-Type: application/x-www-form-urlencoded\n\nuser=alice&password=x";
const JSON: &str = "POST /api/session HTTP/1.1\nHost: h\nContent-Type: application/json\n\n{\"user\":{\"email\":\"alice\",\"password\":\"x\"}}";

fn login(request: &str, response: &str) -> Login {
    facts(request, response).response.login
}

#[test]
fn what_becomes_of_a_login() {
    for (response, expected) in [
        ("HTTP/1.1 401 Unauthorized", Login::Failed(Why::Refused)),
        ("HTTP/1.1 429 Too Many", Login::Failed(Why::Locked)),
        ("HTTP/1.1 200 OK\n\n<p>Wrong password</p>", Login::Failed(Why::Password)),
        ("HTTP/1.1 200 OK\n\n<p>Invalid username or password</p>", Login::Failed(Why::Refused)),
        ("HTTP/1.1 200 OK\n\n{\"success\":false,\"reason\":\"user not found\"}", Login::Failed(Why::User)),
        ("HTTP/1.1 401 No\n\n{\"error\":\"no such user\"}", Login::Failed(Why::User)),
        ("HTTP/1.1 200 OK\n\n<input type=\"password\">", Login::Failed(Why::Again)),
        ("HTTP/1.1 302 Found\nLocation: /login?error=1", Login::Failed(Why::Again)),
        ("HTTP/1.1 302 Found\nLocation: http://h/login", Login::Failed(Why::Again)),
        ("HTTP/1.1 302 Found\nLocation: /account\nSet-Cookie: session=abc", Login::Succeeded),
        ("HTTP/1.1 200 OK\nSet-Cookie: sid=abc\n\nhello", Login::Succeeded),
        ("HTTP/1.1 200 OK\nSet-Cookie: sid=abc\n\nlogin failed", Login::Failed(Why::Refused)),
        ("HTTP/1.1 200 OK\n\n{\"access_token\":\"x\"}", Login::Succeeded),
        ("HTTP/1.1 200 OK\n\nhello", Login::Failed(Why::Refused)),
        ("HTTP/1.1 503 Busy\n\nwrong password", Login::Unknown),
        ("", Login::Unknown),
    ] {
        for request in [FORM, JSON] {
            assert_eq!(login(request, response), expected, "{response}");
        }
    }
    let known = FORM.replace("\n\n", "\nCookie: session=1\n\n");
    assert_eq!(login(&known, "HTTP/1.1 200 OK\n\nhello"), Login::Unknown);
    assert_eq!(login("GET /login HTTP/1.1\nHost: h", "HTTP/1.1 401 No"), Login::None);
}

#[test]
fn basic_credentials_are_a_login_each_time() {
    let get = "GET /a HTTP/1.1\nHost: h\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
    assert_eq!(login(get, "HTTP/1.1 401 No"), Login::Failed(Why::Refused));
    assert_eq!(login(get, "HTTP/1.1 404 No"), Login::Succeeded);
    assert!(facts(get, "").request.has(flag::BASIC | flag::CREDENTIALS));
}

#[test]
fn users_and_passwords_are_told_apart_without_being_known() {
    let (one, other) = (facts(FORM, ""), facts(&FORM.replace("alice", "bob"), ""));
    let json = facts(JSON, "");
    assert_eq!((one.request.user, one.request.password), (json.request.user, json.request.password));
    assert_ne!(one.request.user, other.request.user);
    assert_eq!(one.request.password, other.request.password);
    assert_ne!(one.request.user, one.request.password);
}

#[test]
fn accounts_that_are_made_are_no_logins() {
    let flags = |request: &str| facts(request, "").request.flags;
    let sets = FORM.replace("password=x", "old_password=x&password=y");
    for request in [FORM.replace("/login", "/register"), sets] {
        assert_eq!(flags(&request) & (flag::LOGIN | flag::SETS_PASSWORD), flag::SETS_PASSWORD, "{request}");
    }
    let forgot = FORM.replace("/login", "/forgot-password").replace("&password=x", "");
    assert_eq!(flags(&forgot) & (flag::LOGIN | flag::NAMES_USER), flag::NAMES_USER);
}

#[test]
fn who_administers_users_is_no_one_who_logs_in() {
    let add = FORM.replace("/login", "/api/users");
    assert_eq!(login(&add, "HTTP/1.1 422 No"), Login::Unknown);
    assert_eq!(login(&add, "HTTP/1.1 200 OK\n\n{\"id\":7}"), Login::Unknown);
    assert_eq!(login(&add, "HTTP/1.1 200 OK\n\nwrong password"), Login::Failed(Why::Password));
    let with_token = add.replace("\n\n", "\nAuthorization: Bearer t\n\n");
    assert_eq!(login(&with_token, "HTTP/1.1 403 No"), Login::None);
}

#[test]
fn who_sends_a_request_and_from_where() {
    let flags =
        |headers: &str| facts(&format!("POST /a HTTP/1.1\nHost: shop.example\n{headers}"), "").request.flags;
    assert_eq!(flags("Cookie: theme=dark"), flag::COOKIES);
    assert_eq!(flags("Cookie: sid=1"), flag::COOKIES | flag::CREDENTIALS);
    assert_eq!(flags("X-API-Key: 1"), flag::CREDENTIALS);
    assert_eq!(flags("Origin: https://shop.example"), flag::SAME_SITE);
    assert_eq!(flags("Referer: https://www.shop.example/x\nOrigin: https://evil.example"), flag::FOREIGN);
    assert_eq!(flags("Referer: https://www.shop.example/x"), flag::SAME_SITE);
    assert_eq!(flags("Referer: https://evilshop.example/x"), flag::FOREIGN);
    assert_eq!(flags("X-CSRF-Token: 1"), flag::ANTI_FORGERY);
    assert_eq!(flags("X-HTTP-Method-Override: DELETE"), flag::OVERRIDE);
}

#[test]
fn objects_stand_in_paths_and_parameters() {
    let of = |target: &str| facts(&format!("GET {target} HTTP/1.1\nHost: h"), "").request;
    assert_eq!(
        (of("/orders/17").id, of("/order?order_id=18").id, of("/list?page=3").id),
        (Some(17), Some(18), None)
    );
    assert_eq!(of("/order?id=1").route, of("/order?id=2").route);
    assert_ne!(of("/order?id=1").object, of("/order?id=2").object);
    assert_eq!(of("/list?page=1&offset=20").object, 0);
    assert!(of("/app.js").has(flag::STATIC) && !of("/app").has(flag::STATIC));
    assert!(of("/a?PHPSESSID=0123456789abcdef01").has(flag::SESSION_IN_TARGET));
    assert!(!of("/verify?token=0123456789abcdef01").has(flag::SESSION_IN_TARGET));
}

#[test]
fn sessions_that_begin() {
    let issued = |cookie: &str| {
        facts("GET / HTTP/1.1\nHost: h", &format!("HTTP/1.1 200 OK\nSet-Cookie: {cookie}")).response.issued
    };
    let one = issued("PHPSESSID=1f; Path=/; HttpOnly; SameSite=Lax")[0];
    assert_eq!(
        (one.attributes, one.bits, one.counter),
        (attribute::HTTP_ONLY | attribute::SAME_SITE, 8, Some(31))
    );
    assert_eq!(issued("sid=1234; Secure")[0].counter, Some(1234));
    assert_eq!(issued("sid=zzzz")[0].counter, None);
    for none in ["theme=dark", "sid=", "sid=deleted", "sid", "csrftoken=1"] {
        assert_eq!(issued(none)[0].name, 0, "{none}");
    }
}

#[test]
fn findings_are_counted_once_each() {
    let finding = |number: u32, class: Class, confidence: f32| {
        let (id, title, tags, response) = (number.to_string(), String::new(), Vec::new(), None);
        Finding {
            rule: Arc::new(RuleInfo { id, number, revision: 1, title, tags, response }),
            class,
            severity: Severity::High,
            confidence: Confidence::new(confidence).unwrap(),
            field: String::new(),
            offset: 0,
            length: 0,
            decoders: Vec::new(),
            evidence: String::new(),
        }
    };
    let found = Found::of(&[
        finding(1, Class::SqlInjection, 0.9),
        finding(1, Class::SqlInjection, 0.9),
        finding(2, Class::Jwt, 0.3),
        finding(3, Class::Csrf, 0.1),
    ]);
    assert_eq!((found.rules, found.classes.count_ones()), ([1, 2, 0, 0], 2));
}
