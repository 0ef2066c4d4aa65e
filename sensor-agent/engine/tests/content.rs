//! The content as it is shipped, through the real detector and the default policy: what must be found and named, and
//! what must not.

mod common;

use std::net::IpAddr;

use common::{content, inspect};
use sensor_engine::detect::Detector;
use sensor_engine::finding::{Class, Severity};
use sensor_engine::policy::{Action, Mode, Policy, Sender, Verdict};

fn judge(detector: &mut Detector, raw: &str) -> (Option<Verdict>, String) {
    let findings = inspect(detector, raw.as_bytes());
    let shown =
        findings.iter().map(|f| format!("{} {} {} {:?}\n", f.rule.id, f.confidence, f.field, f.evidence));
    let policy = Policy { mode: Mode::Enforce, ..Policy::default() };
    let sender = Sender { address: IpAddr::from([203, 0, 113, 9]), verified: true, led: false };
    (policy.judge(sender, &findings), shown.collect())
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")
}

fn post(kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /api/users HTTP/1.1\r\nHost: shop.example.com\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Percent-encodes everything that is not a letter or digit.
fn encoded(text: &str) -> String {
    let escape = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

fn with_headers(method: &str, target: &str, headers: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: shop.example.com\r\n{headers}\r\n\r\n")
}

const DROP: &str = "'; DROP TABLE users; --";
const UNION: &str = "1' UNION SELECT * FROM admin_users--";

#[test]
fn attacks_are_found_named_and_blocked() {
    let mut rows: Vec<(String, Class, f32)> = vec![
        (get(&format!("/api/users?search={DROP}")), Class::SqlInjection, 0.7),
        (get(&format!("/api/users?search={UNION}")), Class::SqlInjection, 0.9),
        (get("/p?id=1; WAITFOR DELAY '0:0:5'"), Class::SqlInjection, 0.9),
        (get("/p?id=1; EXEC sp_who"), Class::SqlInjection, 0.8),
        (with_headers("GET", "/api/admin", "Authorization: Bearer null"), Class::AuthBypass, 0.8),
        (get("/api/user/profile?userId=../admin"), Class::AuthBypass, 0.8),
        (get("/api/user/profile?userId=%2e%2e%2fadmin"), Class::AuthBypass, 0.8),
        (
            with_headers(
                "GET",
                "/api/me",
                "Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0NTY3ODkwIn0.",
            ),
            Class::Jwt,
            0.9,
        ),
        (
            with_headers(
                "POST",
                "/api/transfer-funds",
                "Cookie: session=abc123\r\nReferer: https://malicious-site.com",
            ),
            Class::Csrf,
            0.8,
        ),
        (get("/files?name=../../../../etc/passwd"), Class::InputValidation, 0.8),
        (get("/s?q=<script>alert(1)</script>"), Class::InputValidation, 0.8),
    ];
    for payload in [DROP, UNION] {
        let json = payload.to_owned();
        rows.push((
            post("application/json", &format!("{{\"search\":\"{json}\"}}")),
            Class::SqlInjection,
            0.7,
        ));
        let form = format!("search={}", encoded(payload));
        rows.push((post("application/x-www-form-urlencoded", &form), Class::SqlInjection, 0.7));
        rows.push((get(&format!("/api/users?search={}", encoded(payload))), Class::SqlInjection, 0.7));
        rows.push((
            get(&format!("/api/users?search={}", encoded(&encoded(payload)))),
            Class::SqlInjection,
            0.7,
        ));
    }
    let mut detector = Detector::new(content());
    for (raw, class, at_least) in rows {
        let (verdict, shown) = judge(&mut detector, &raw);
        let verdict = verdict.unwrap_or_else(|| panic!("nothing found in {raw}\n{shown}"));
        assert_eq!(verdict.class, class, "{raw}\n{shown}");
        assert!(verdict.confidence.get() >= at_least, "{raw}\n{verdict:?}\n{shown}");
        assert!(matches!(verdict.action, Action::Block(_)), "{raw}\n{verdict:?}");
    }
}

#[test]
fn their_benign_twins_are_nothing() {
    let twins = [
        get("/api/users?search=table%20users%20dropped"),
        get("/api/users?search=select+a+plan+--+union+of+workers"),
        get("/api/users?search=O'Reilly"),
        get("/api/users?search=drop%20table%20in%20the%20cafe;%20see%20you"),
        get("/p?id=1&delay=0:0:5"),
        get("/p?id=1--1"),
        post("application/json", "{\"search\":\"it's 5 o'clock -- select your union\"}"),
        post("application/x-www-form-urlencoded", "search=Tom+%26+Jerry%3B+the+%22best%22&next=%2Fhome"),
        with_headers("GET", "/api/admin", "Authorization: Bearer 7f3a9c0d1e5b4f6a8c2d"),
        get("/api/user/profile?userId=admin"),
        with_headers(
            "GET",
            "/api/me",
            "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIiwiZXhwIjoxfQ.BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc",
        ),
        with_headers(
            "POST",
            "/api/transfer-funds",
            "Cookie: session=abc123\r\nReferer: https://www.example.com/pay",
        ),
        with_headers(
            "GET",
            "/",
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\nAccept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nCookie: _ga=GA1.2.1; sid=abc\r\nSec-Fetch-Site: none",
        ),
        get("/files?name=report..2024.pdf"),
        get("/s?q=%3Cb%3Ebold%3C/b%3E+and+a+%3C+b"),
        get("/api/users?role=admin&page=2"),
        get("/graph/me?fields=name,friends{id,name}"),
        get("/search?q=setTimeout()"),
        get("/apt/release.asc"),
        get("/docs/window.open.html"),
        get("/blog/[slug]/page?next=%2Fhome%2F..hidden"),
        get("/items?filter=price+%3E+5+and+color&sort=-date"),
        with_headers("GET", "/a", "Range: bytes=0-99,200-299\r\nAccept-Language: de;q=0.9,en;q=0.8"),
        with_headers("PROPFIND", "/dav/", "Depth: 1"),
        post("application/json", "{\"icon\":\"data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==\"}"),
        post("application/json", "{\"document.name\":\"x\",\"a\":{\"document\":{\"name\":\"y\"}}}"),
        post("application/json", "{\"hours\":\"Mon-Fri; set by the manager | date of order\"}"),
        post("application/json", "{\"text\":\"# Heading\\n\\nC:\\\\..\\\\x is a path; see `docs`.\"}"),
    ];
    let mut detector = Detector::new(content());
    for raw in twins {
        let findings = inspect(&mut detector, raw.as_bytes());
        let bad: Vec<_> = findings.iter().filter(|finding| finding.severity <= Severity::Medium).collect();
        assert!(bad.is_empty(), "{raw}\n{bad:#?}");
    }
}

#[test]
fn evasions_are_decoded() {
    let rows: &[(&str, Class)] = &[
        ("/?q=%25252e%25252e%25252f%25252e%25252e%25252fetc%25252fpasswd", Class::InputValidation),
        ("/?q=%u0027%u0020or%u00201%3d1--", Class::SqlInjection),
        ("/?q=%c0%ae%c0%ae%c0%af%c0%ae%c0%ae%c0%afetc%c0%afpasswd", Class::InputValidation),
        ("/?q=%EF%BC%9Cscript%EF%BC%9Ealert(1)", Class::InputValidation),
        ("/?q=%CA%BC%20or%201=1--", Class::SqlInjection),
        ("/?q=1'%20un%E2%80%8Bion%20select%201,2--", Class::SqlInjection),
        ("/?q=%26%23x3c;script%26%23x3e;alert(1)", Class::InputValidation),
        ("/?q=1'%20UN/**/ION%20SEL/**/ECT%201,2", Class::SqlInjection),
        ("/?q=1'%0bunion%0cselect%a01,2", Class::SqlInjection),
        ("/?q=1'%20sel%00ect%201%20union%20sel%00ect%202--", Class::SqlInjection),
        ("/?q=\\u0027%20or%20\\u0027a\\u0027=\\u0027a", Class::SqlInjection),
        ("/?q=${${lower:j}ndi:${::-l}dap://x}", Class::InputValidation),
        ("/?q=;c''at${IFS}/e?c/p*d", Class::InputValidation),
        ("/?id[$ne]=1", Class::SqlInjection),
        ("/?a[__proto__][x]=1", Class::InputValidation),
        ("/?q=http://0x7f.1/", Class::InputValidation),
        ("/?q=$(cu$@rl%20http://x)", Class::InputValidation),
        ("/?q={cat,/etc/passwd}", Class::InputValidation),
        ("/?q=/etc/[p]asswd", Class::InputValidation),
        ("/?q=%24%7BPATH%23x%7D", Class::InputValidation),
        ("/?java.lang.Runtime=x", Class::InputValidation),
        ("/?a[constructor][prototype][x]=1", Class::InputValidation),
        ("/?q=$_GET[0]($_GET[1])", Class::InputValidation),
        ("/?q=(![]%2B[])[%2B!%2B[]]", Class::InputValidation),
        ("/?q=while(!false);", Class::InputValidation),
        ("/?q=val)|(uid=*", Class::InputValidation),
        ("/?q=http://[::ffff:127.0.0.1]/", Class::InputValidation),
        ("/?q=x%27%20NOT%20LIKE%20%27y", Class::SqlInjection),
        ("/?q=-1/**/union", Class::SqlInjection),
        ("/?q=MScgVU5JT04gU0VMRUNUIDEsMiBGUk9NIHVzZXJzLS0=", Class::SqlInjection),
    ];
    let mut detector = Detector::new(content());
    for (target, class) in rows {
        let (verdict, shown) = judge(&mut detector, &get(target));
        assert_eq!(verdict.map(|verdict| verdict.class), Some(*class), "{target}\n{shown}");
    }
}

#[test]
fn the_content_has_no_needless_warnings() {
    let set = content();
    assert!(set.rules().len() >= 60, "{}", set.rules().len());
    let lines: Vec<_> = set.warnings().iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}
