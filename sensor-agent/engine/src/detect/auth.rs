//! Ways around authentication that one request shows: tokens that are placeholders, headers that claim another path,
//! method or client, identity parameters that walk or stand twice.

use crate::field::{Field, Fields, Place};

use super::builtin::Code;

/// A way around authentication in one field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) code: Code,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) confidence: f32,
}

/// What stands where a token should when a client's program had none.
const PLACEHOLDERS: &[&str] = &[
    "",
    "null",
    "undefined",
    "none",
    "nil",
    "nan",
    "true",
    "false",
    "0",
    "1",
    "{}",
    "[]",
    "[object object]",
    "(null)",
    "\"\"",
    "''",
    "\"null\"",
    "'null'",
    "admin",
    "invalid",
    "token",
    "bearer",
];
/// Headers that replace the path in some frameworks.
const REWRITE_HEADERS: &[&str] = &["x-original-url", "x-rewrite-url", "x-override-url", "x-original-uri"];
/// Headers that name the client, as applications use them to trust local ones; common ones are set by proxies too.
const CLIENT_HEADERS: &[(&str, f32)] = &[
    ("x-forwarded-for", 0.72),
    ("x-real-ip", 0.72),
    ("forwarded", 0.72),
    ("x-client-ip", 0.8),
    ("client-ip", 0.8),
    ("true-client-ip", 0.8),
    ("cf-connecting-ip", 0.8),
    ("x-originating-ip", 0.8),
    ("x-remote-ip", 0.8),
    ("x-remote-addr", 0.8),
    ("x-custom-ip-authorization", 0.85),
    ("x-cluster-client-ip", 0.8),
    ("cluster-client-ip", 0.8),
    ("x-forwarded-host", 0.6),
    ("x-forwarded", 0.8),
    ("x-proxyuser-ip", 0.8),
    ("x-forwarder-for", 0.8),
    ("x-forward-for", 0.8),
    ("wl-proxy-client-ip", 0.8),
];
/// Headers that replace the method.
const METHOD_HEADERS: &[&str] = &["x-http-method-override", "x-http-method", "x-method-override"];

/// What a header shows; `method` is the request's.
pub(crate) fn in_header(field: &Field<'_>, method: &[u8]) -> Option<Found> {
    let (code, confidence) = match std::str::from_utf8(field.name).ok()? {
        "authorization" => bearer(field.value)?,
        name if REWRITE_HEADERS.contains(&name) => (Code::AuthRewrite, 0.8),
        name if METHOD_HEADERS.contains(&name) => method_override(field.value, method)?,
        name => {
            let (_, confidence) = CLIENT_HEADERS.iter().find(|(known, _)| *known == name)?;
            is_local(field.value).then_some((Code::AuthLoopback, *confidence))?
        }
    };
    Some(Found { code, start: 0, end: field.value.len(), confidence })
}

/// Whether what a field means depends on the request's method.
pub(crate) fn depends_on_method(field: &Field<'_>) -> bool {
    field.place == Place::Header && METHOD_HEADERS.iter().any(|name| field.name == name.as_bytes())
}

fn bearer(value: &[u8]) -> Option<(Code, f32)> {
    let value = value.trim_ascii();
    let scheme = value.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let token = value.get(scheme..)?.trim_ascii();
    let is = |text: &[u8]| PLACEHOLDERS.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()));
    let named = value.get(..scheme)?;
    if !named.eq_ignore_ascii_case(b"bearer") && !named.eq_ignore_ascii_case(b"token") {
        // The placeholder stands for the whole header.
        return (is(value)).then_some((Code::AuthBearer, if value.is_empty() { 0.7 } else { 0.8 }));
    }
    let control = token.windows(2).any(|pair| pair == b"%0" || pair == b"%1");
    if is(token) || control {
        return Some((Code::AuthBearer, 0.9));
    }
    let sound = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=:|%".contains(byte);
    let looks_like_jwt = token.starts_with(b"ey");
    // A variable that a client forgot to fill in is its own mistake more often than a probe, and a secret that some program made up of
    // any signs is one of the application's.
    let confidence = if is_left_open(token) || is_made_up(token) { 0.5 } else { 0.72 };
    (!token.iter().all(sound) && !looks_like_jwt && !token.contains(&b','))
        .then_some((Code::AuthBearerForm, confidence))
}

/// Whether a token is small and capital letters and signs as chance puts them.
fn is_made_up(token: &[u8]) -> bool {
    let has = |kind: fn(&u8) -> bool| token.iter().any(kind);
    token.iter().all(u8::is_ascii_graphic) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase)
}

/// Whether a token is the place where one should stand: `<ACCESS_TOKEN>`, `{{token}}`, `***`.
fn is_left_open(token: &[u8]) -> bool {
    let name = |inner: &[u8]| {
        let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-. {}$".contains(byte);
        !inner.is_empty() && inner.iter().all(of_name)
    };
    match token {
        [b'<', inner @ .., b'>'] | [b'[', inner @ .., b']'] => name(inner),
        [b'{', inner @ .., b'}'] | [b'$', inner @ ..] => name(inner),
        _ => token.iter().all(|byte| *byte == b'*'),
    }
}

fn method_override(value: &[u8], method: &[u8]) -> Option<(Code, f32)> {
    let changes = ["PUT", "DELETE", "PATCH", "CONNECT", "TRACE"];
    let replaces = changes.iter().any(|name| value.eq_ignore_ascii_case(name.as_bytes()));
    let safe = matches!(method, b"GET" | b"HEAD" | b"OPTIONS");
    // Behind POST it is an old custom of clients that cannot send other methods.
    (replaces && value != method).then_some((Code::AuthMethod, if safe { 0.75 } else { 0.3 }))
}

/// Whether the first address, that of the client, is a local one.
fn is_local(value: &[u8]) -> bool {
    let first = value.split(|byte| matches!(byte, b',' | b';')).next().unwrap_or_default().trim_ascii();
    let first = match first.get(..4) {
        Some(head) if head.eq_ignore_ascii_case(b"for=") => first.get(4..).unwrap_or_default(),
        _ => first,
    };
    let first = first.trim_ascii_start();
    let first: &[u8] = first.strip_prefix(b"\"").unwrap_or(first);
    let local = [
        "127.",
        "localhost",
        "::1",
        "[::1]",
        "0.0.0.0",
        "::ffff:127.",
        "[::ffff:127.",
        "[127.",
        "0x7f",
        "2130706433",
        "017700000001",
    ];
    local
        .iter()
        .any(|head| first.get(..head.len()).is_some_and(|start| start.eq_ignore_ascii_case(head.as_bytes())))
}

/// Names of parameters that say who the user is, without case and `_`, `-`.
const IDENTITY: &[&str] = &[
    "userid",
    "user",
    "uid",
    "id",
    "username",
    "account",
    "accountid",
    "accountno",
    "customer",
    "customerid",
    "member",
    "memberid",
    "profile",
    "profileid",
    "owner",
    "ownerid",
    "tenant",
    "tenantid",
    "orgid",
    "employeeid",
    "patientid",
    "studentid",
    "login",
    "loginid",
];
/// Names that are never given twice by an honest client.
const SINGLE: &[&str] = &[
    "amount",
    "price",
    "from",
    "to",
    "userid",
    "uid",
    "username",
    "accountid",
    "customerid",
    "memberid",
    "profileid",
    "role",
    "isadmin",
    "admin",
    "loginid",
    "password",
];

/// What an identity parameter's decoded `value` shows.
pub(crate) fn in_parameter(field: &Field<'_>, value: &[u8]) -> Option<Found> {
    if !is_parameter(field.place) || !is_named(field.name, IDENTITY) {
        return None;
    }
    let start = [&b"../"[..], b"..\\", b"..;/"].iter().find_map(|step| memchr::memmem::find(value, step))?;
    // A value that walks several levels wants a file, not another user.
    let levels = memchr::memmem::find_iter(value, b"..").count();
    let confidence = if levels <= 2 { 0.9 } else { 0.7 };
    Some(Found { code: Code::AuthWalk, start, end: value.len(), confidence })
}

/// Identity parameters that stand twice with different values: number of the second one, confidence.
pub(crate) fn repeated(fields: &Fields) -> Option<(usize, f32)> {
    let single =
        |field: &Field<'_>| matches!(field.place, Place::Query | Place::Form) && is_named(field.name, SINGLE);
    let pairs = fields.of(Place::Query).chain(fields.of(Place::Form));
    if pairs.take(2).count() < 2 {
        return None;
    }
    // Fields are few hundred at most here, and names that count are fewer: a second scan for each is bounded.
    for (index, field) in fields.iter().enumerate().filter(|(_, field)| single(field)).take(MAX_IDENTITIES) {
        let twin = fields.iter().take(index).find(|twin| {
            twin.place == field.place
                && twin.name.eq_ignore_ascii_case(field.name)
                && twin.value != field.value
        });
        if let Some(twin) = twin {
            let raised = [twin.value, field.value].iter().any(|value| is_privileged(value));
            return Some((index, if raised { 0.8 } else { 0.72 }));
        }
    }
    None
}

/// Identity parameters of one request that are compared.
const MAX_IDENTITIES: usize = 16;

fn is_privileged(value: &[u8]) -> bool {
    ["admin", "administrator", "root", "superuser"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word.as_bytes()))
}

fn is_parameter(place: Place) -> bool {
    matches!(place, Place::Query | Place::Form | Place::Json | Place::Multipart | Place::Cookie)
}

/// Longest name in the lists.
const LONGEST_NAME: usize = 16;

/// Whether the last part of a name is in `list`, without case and separators.
fn is_named(name: &[u8], list: &[&str]) -> bool {
    let last = name.rsplit(|&byte| byte == b'.').next().unwrap_or_default();
    let mut folded = [0; LONGEST_NAME];
    let mut length = 0;
    for byte in last.iter().filter(|byte| !matches!(byte, b'_' | b'-')) {
        let Some(place) = folded.get_mut(length) else { return false };
        (*place, length) = (byte.to_ascii_lowercase(), length + 1);
    }
    let folded = folded.get(..length).unwrap_or_default();
    list.iter().any(|word| word.as_bytes() == folded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: &str, method: &str) -> Option<(Code, f32)> {
        let field = Field { place: Place::Header, name: name.as_bytes(), value: value.as_bytes(), offset: 0 };
        in_header(&field, method.as_bytes()).map(|found| (found.code, found.confidence))
    }

    #[test]
    fn placeholders_for_tokens() {
        for value in
            ["Bearer null", "bearer undefined", "Bearer", "Bearer  ", "BEARER [object Object]", "Token nil"]
        {
            assert_eq!(header("authorization", value, "GET"), Some((Code::AuthBearer, 0.9)), "{value}");
        }
        assert_eq!(header("authorization", "null", "GET"), Some((Code::AuthBearer, 0.8)));
        for value in ["Bearer a'b<c", "Bearer <script>alert(1)</script>", "Bearer {\"a\":1}"] {
            assert_eq!(header("authorization", value, "GET"), Some((Code::AuthBearerForm, 0.72)), "{value}");
        }
        for value in [
            "bearer <ACCESS_TOKEN>",
            "Token {token}",
            "Bearer {{ token }}",
            "Bearer ${TOKEN}",
            "Bearer ***",
            "Token M?Dk/(t^;P",
        ] {
            assert_eq!(header("authorization", value, "GET"), Some((Code::AuthBearerForm, 0.5)), "{value}");
        }
        for value in ["Bearer abc.def-1", "Basic YTpi", "Bearer eyJ{", "AWS4-HMAC-SHA256 Credential=x, y"] {
            assert_eq!(header("authorization", value, "GET"), None, "{value}");
        }
    }

    #[test]
    fn headers_that_claim_something() {
        assert_eq!(header("x-original-url", "/admin", "GET"), Some((Code::AuthRewrite, 0.8)));
        assert_eq!(header("x-forwarded-for", "127.0.0.1", "GET"), Some((Code::AuthLoopback, 0.72)));
        assert_eq!(header("forwarded", "for=\"[::1]\";proto=http", "GET"), Some((Code::AuthLoopback, 0.72)));
        let with_port = "for=\"[127.0.0.1]:8000\";by=\"[127.0.0.1]:9000\"";
        assert_eq!(header("forwarded", with_port, "GET"), Some((Code::AuthLoopback, 0.72)));
        assert_eq!(header("x-forwarded-for", "203.0.113.9, 127.0.0.1", "GET"), None);
        assert_eq!(header("x-http-method-override", "DELETE", "GET"), Some((Code::AuthMethod, 0.75)));
        assert_eq!(header("x-http-method-override", "PUT", "POST"), Some((Code::AuthMethod, 0.3)));
        assert_eq!(header("x-http-method-override", "GET", "POST"), None);
    }

    #[test]
    fn identities_that_walk() {
        let walks = |name: &str, value: &str| {
            let field =
                Field { place: Place::Query, name: name.as_bytes(), value: value.as_bytes(), offset: 0 };
            in_parameter(&field, value.as_bytes()).is_some()
        };
        assert!(walks("userId", "../admin") && walks("user_id", "1/../2") && walks("data.user-id", "..\\x"));
        assert!(!walks("userId", "a..b") && !walks("file", "../admin") && !walks("userId", "42"));
    }

    #[test]
    fn identities_given_twice() {
        let check = |pairs: &[(&str, &str)]| {
            let mut fields = Fields::default();
            for (name, value) in pairs {
                fields.push(Place::Query, name.as_bytes(), value.as_bytes(), 0);
            }
            repeated(&fields)
        };
        assert_eq!(check(&[("userId", "1"), ("x", "2"), ("userid", "2")]), Some((2, 0.72)));
        assert_eq!(check(&[("role", "user"), ("role", "admin")]), Some((1, 0.8)));
        assert_eq!(check(&[("id", "1"), ("id", "2"), ("userId", "1"), ("userId", "1")]), None);
    }
}
