//! Cross-site request forgery: a request that changes something, carries the session's cookies, and comes from
//! another site's page. Sites are compared by their registrable domain, so that subdomains trust each other.

use std::net::IpAddr;

use crate::field::{Field, Fields, Place};
use crate::http::message::Request;

/// What gives a forged request away: the header, and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) header: &'static str,
    pub(crate) confidence: f32,
}

/// The sign of forgery in a request's head.
pub(crate) fn find(request: &Request) -> Option<Found> {
    if matches!(request.method(), b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"CONNECT" | b"") {
        return None;
    }
    let cookies = request.header("cookie")?;
    let session = has_session(cookies);
    let host = request.header("x-forwarded-host").or_else(|| request.header("host"))?;
    let (header, confidence) = foreign(request, host)?;
    // A script of another site cannot set this header without the server's leave.
    let token = request.header("authorization").is_some() || request.header("x-csrf-token").is_some();
    let factor = match (session, token) {
        (true, false) => 1.0,
        (true, true) => 0.6,
        (false, _) => 0.5,
    };
    Some(Found { header, confidence: confidence * factor })
}

/// Names of query parameters that carry a session's id.
const SESSION_PARAMETERS: &[&str] = &[
    "__host-next-auth.session-token",
    "__secure-next-auth.session-token",
    "_flask_session",
    "_session_id",
    "_session",
    "asp.net_sessionid",
    "aspsessionid",
    "cakephp",
    "cfid",
    "cfsid",
    "cftoken",
    "ci_session",
    "connect.sid",
    "codeigniter",
    "jservsession",
    "jsessionid",
    "jsessionidsso",
    "jwsession",
    "laravel_session",
    "next-auth.session-token",
    "phpsess",
    "phpsessid",
    "phpsession",
    "play_session",
    "rack.session",
    "_rails_session",
    "sails.sid",
    "express.sid",
    "koa.sess",
    "koa:sess",
    "koa.sid",
    "shiny-token",
    "meteor_login_token",
    "flask_session",
    "django_session",
    "beaker.session.id",
    "grails_session",
    "gsessionid",
    "phpsession_id",
    "ssid",
    "sessiontoken",
    "session_token",
    "session",
    "sess",
    "session-id",
    "session_id",
    "sessionid",
    "sessid",
    "sid",
    "symfony",
    "viewstate",
    "weblogicsession",
    "wordpress_logged_in",
    "zend_session_id",
    "zenid",
];

/// A session's id in the target of a request that another site's page caused: an attempt to fix the session.
pub(crate) fn fixation(request: &Request, fields: &Fields) -> Option<Found> {
    let from = host_of(request.header("referer")?)?;
    let host = request.header("x-forwarded-host").or_else(|| request.header("host"))?;
    if is_same_site(from, host) {
        return None;
    }
    let named =
        |name: &[u8]| SESSION_PARAMETERS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    let target = request.target();
    let mut pairs = target.split(|byte| matches!(byte, b'?' | b'&' | b';')).skip(1);
    let is_session = |pair: &[u8]| {
        let name = pair.split(|&byte| byte == b'=').next().unwrap_or_default();
        pair.len() > name.len() + 1 && named(name)
    };
    let place =
        |field: &Field<'_>| matches!(field.place, Place::Form | Place::Json | Place::Multipart | Place::Xml);
    let in_body = || fields.iter().any(|field| place(&field) && !field.value.is_empty() && named(field.name));
    (pairs.any(is_session) || in_body()).then_some(Found { header: "referer", confidence: 0.78 })
}

/// Whether another site's page caused a request, as far as its head tells; whoever attacks by hand can write that too.
pub(crate) fn is_foreign(request: &Request) -> bool {
    let host = request.header("x-forwarded-host").or_else(|| request.header("host"));
    host.is_some_and(|host| foreign(request, host).is_some())
}

/// The header that names another site.
fn foreign(request: &Request, host: &[u8]) -> Option<(&'static str, f32)> {
    if let Some(origin) = request.header("origin") {
        return match origin {
            b"null" => Some(("origin", 0.72)),
            _ => (!is_same_site(host_of(origin)?, host)).then_some(("origin", 0.85)),
        };
    }
    if let Some(referer) = request.header("referer")
        && let Some(from) = host_of(referer)
    {
        return (!is_same_site(from, host)).then_some(("referer", 0.82));
    }
    let fetched = request.header("sec-fetch-site")?;
    fetched.eq_ignore_ascii_case(b"cross-site").then_some(("sec-fetch-site", 0.8))
}

/// Parts of names of cookies that carry a session.
const SESSION_NAMES: &[&str] =
    &["sess", "sid", "auth", "token", "jwt", "login", "remember", "identity", "user", "account", "ticket"];

fn has_session(cookies: &[u8]) -> bool {
    cookies.split(|&byte| byte == b';').any(|pair| {
        let name = pair.split(|&byte| byte == b'=').next().unwrap_or_default();
        let holds =
            |part: &str| name.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()));
        SESSION_NAMES.iter().any(|part| holds(part))
    })
}

/// Host and port of a URL.
fn host_of(url: &[u8]) -> Option<&[u8]> {
    let colon = memchr::memchr_iter(b':', url).find(|at| url[*at..].starts_with(b"://"))?;
    let start = colon + 3;
    let rest = url.get(start..)?;
    let authority = rest.split(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\')).next()?;
    authority.rsplit(|&byte| byte == b'@').next()
}

fn is_same_site(a: &[u8], b: &[u8]) -> bool {
    if a.eq_ignore_ascii_case(b) {
        return true;
    }
    let (a, b) = (site(without_port(a)), site(without_port(b)));
    a.eq_ignore_ascii_case(b)
}

fn without_port(host: &[u8]) -> &[u8] {
    let host = host.trim_ascii();
    match (host.first(), memchr::memrchr(b':', host)) {
        (Some(b'['), _) => memchr::memchr(b']', host).and_then(|end| host.get(..=end)).unwrap_or(host),
        (_, Some(colon)) => host.get(..colon).unwrap_or(host),
        _ => host,
    }
}

/// The registrable domain, near enough: the last two labels, or three below a short second-level domain (`co.uk`).
fn site(host: &[u8]) -> &[u8] {
    let host = host.strip_suffix(b".").unwrap_or(host);
    let is_address = std::str::from_utf8(host).is_ok_and(|text| text.parse::<IpAddr>().is_ok());
    if is_address || host.starts_with(b"[") {
        return host;
    }
    let mut dots = memchr::memrchr_iter(b'.', host);
    let (Some(last), Some(second)) = (dots.next(), dots.next()) else { return host };
    let short = host.len() - last == 3 && last - second <= 4;
    let cut = if short { dots.next().map_or(0, |third| third + 1) } else { second + 1 };
    host.get(cut..).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::message::{HeaderSpan, Span};

    fn request(method: &str, headers: &str) -> Request {
        let mut request = Request::default();
        let mut append = |text: &str| {
            let start = request.head.len() as u32;
            request.head.extend_from_slice(text.as_bytes());
            Span { start, end: request.head.len() as u32 }
        };
        request.method = append(method);
        for line in headers.split("\r\n") {
            let (name, value) = line.split_once(": ").unwrap();
            let (name, value) = (append(name), append(value));
            request.headers.push(HeaderSpan { name, value });
        }
        request
    }

    fn confidence(method: &str, headers: &str) -> f32 {
        let headers = format!("Host: shop.example.com\r\n{headers}");
        find(&request(method, &headers)).map_or(0.0, |found| found.confidence)
    }

    #[test]
    fn another_site_with_the_sessions_cookies() {
        for headers in [
            "Cookie: sessionid=1\r\nReferer: https://malicious-site.com",
            "Cookie: a=b; PHPSESSID=1\r\nOrigin: https://evil.example.org",
            "Cookie: connect.sid=1\r\nSec-Fetch-Site: cross-site",
            "Cookie: sid=1\r\nOrigin: https://shop.example.com.evil.net",
            "Cookie: sid=1\r\nReferer: https://shop.example.com@evil.net/",
        ] {
            assert!(confidence("POST", headers) >= 0.8, "{headers}");
        }
    }

    #[test]
    fn the_same_site_and_other_clients() {
        for headers in [
            "Cookie: sessionid=1\r\nReferer: https://www.example.com/form",
            "Cookie: sessionid=1\r\nOrigin: http://shop.example.com:8080",
            "Cookie: sessionid=1",
            "Referer: https://malicious-site.com",
            "Authorization: Bearer x\r\nOrigin: https://other.net",
            "Cookie: sid=1\r\nOrigin: https://shop.example.com\r\nSec-Fetch-Site: same-origin",
            "Cookie: lang=de\r\nOrigin: https://other.net",
        ] {
            assert!(confidence("POST", headers) < 0.5, "{headers}");
        }
        assert_eq!(confidence("GET", "Cookie: sessionid=1\r\nReferer: https://malicious-site.com"), 0.0);
    }

    #[test]
    fn a_session_id_that_another_site_chose() {
        let fixed = |target: &str, referer: &str| {
            let mut request = request("GET", &format!("Host: shop.example.com\r\nReferer: {referer}"));
            let start = request.head.len() as u32;
            request.head.extend_from_slice(target.as_bytes());
            request.target = Span { start, end: request.head.len() as u32 };
            fixation(&request, &Fields::default()).is_some()
        };
        assert!(fixed("/login?PHPSESSID=abc", "https://evil.net/"));
        assert!(fixed("/login;jsessionid=abc?x=1", "https://evil.net/"));
        assert!(!fixed("/login?PHPSESSID=abc", "https://www.example.com/"));
        assert!(
            !fixed("/login?PHPSESSID=", "https://evil.net/") && !fixed("/login?x=1", "https://evil.net/")
        );
    }

    #[test]
    fn sites() {
        let rows: &[(&str, &str, bool)] = &[
            ("a.example.com", "b.example.com", true),
            ("a.co.uk", "b.co.uk", false),
            ("x.a.co.uk", "a.co.uk", true),
            ("10.0.0.1", "10.1.0.1", false),
            ("10.0.0.1:80", "10.0.0.1", true),
            ("[::1]:80", "[::1]", true),
            ("localhost:3000", "localhost:8080", true),
        ];
        for (a, b, same) in rows {
            assert_eq!(is_same_site(a.as_bytes(), b.as_bytes()), *same, "{a} {b}");
        }
    }
}
