//! Bodies → named inspection fields: those of requests, by Content-Type where it is true and by content where it is missing or lies.
//! What does not parse is inspected as text, so that a broken body hides nothing.

pub mod coding;
pub mod nested;
pub mod response;

mod charset;
mod graphql;
mod graphql_work;
mod grpc;
mod json;
mod multipart;
mod parameter;
mod sniff;
mod transfer;
mod xml;

use charset::Charset;
use sniff::{Form, is_json, is_xml, sniff};

use crate::field::{Fields, Place};
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::fields::{is_nearly_full, push_name, push_pairs};
use crate::http::message::Request;

/// What a body in another charset is bound to be where it is read as it is.
const UNPARSED: [Anomaly; 5] = [
    Anomaly::JsonInvalid,
    Anomaly::XmlInvalid,
    Anomaly::GraphQlInvalid,
    Anomaly::MultipartInvalid,
    Anomaly::ContentTypeMismatch,
];

/// Most Content-Types of one request that are believed.
const MAX_TYPES: usize = 3;

/// Adds the fields of a body, or of as much of it as there is; returns what is odd about it.
pub fn push_body(request: &Request, body: &[u8], fields: &mut Fields) -> Anomalies {
    let mut anomalies = Anomalies::NONE;
    if body.trim_ascii_start().is_empty() {
        return anomalies;
    }
    let first = fields.len();
    let types = content_types(request, &mut anomalies);
    if grpc::is_framed(body) && types.iter().flatten().any(|one| grpc::is_grpc(one)) {
        grpc::push(request.header("grpc-encoding"), body, fields, &mut anomalies);
        anomalies.merge(nested::expand_from(first, fields));
        return anomalies;
    }
    if types.iter().flatten().any(|one| grpc::is_web_text(one))
        && let Some(packed) = transfer::decode(b"base64", body).filter(|packed| grpc::is_framed(packed))
    {
        grpc::push(request.header("grpc-encoding"), &packed, fields, &mut anomalies);
    }
    let declared = declared_charset(&types);
    let seen = Charset::sniff(body).filter(|seen| declared != Some(*seen));
    let mut is_text = false;
    for charset in declared.into_iter().chain(seen) {
        anomalies.insert_if(charset.is_unusual(), Anomaly::CharsetUnusual);
        let decoded = charset.decode(body);
        is_text |= decoded == body;
        push_forms(&types, looks(&decoded), &decoded, fields, &mut anomalies);
        if charset.is_unusual() && looks(body) == Form::UrlEncoded {
            push_escaped_pairs(charset, body, fields);
        }
    }
    // A server that does not know the charset, or looks at none, takes the body as it is.
    if !is_text {
        let is_only = fields.len() == first;
        let mut odd = Anomalies::NONE;
        push_forms(&types, looks(body), body, fields, &mut odd);
        anomalies.merge(if is_only { odd } else { odd.without(UNPARSED.into_iter().collect()) });
    }
    anomalies.merge(nested::expand_from(first, fields));
    anomalies
}

/// Adds the fields of a body's end, which is read as what its `beginning` is. What it lacks to be a document is no oddity.
pub fn push_end(request: &Request, beginning: &[u8], end: &[u8], fields: &mut Fields) {
    let mut anomalies = Anomalies::NONE;
    let first = fields.len();
    let types = content_types(request, &mut anomalies);
    if let Some(charset) = declared_charset(&types).or_else(|| Charset::sniff(beginning)) {
        let (beginning, decoded) = (charset.decode(beginning), charset.decode(end));
        if decoded != end {
            push_forms(&types, looks(&beginning), &decoded, fields, &mut anomalies);
        }
    }
    push_forms(&types, looks(beginning), end, fields, &mut anomalies);
    nested::expand_from(first, fields);
}

/// The pairs of a form whose names and values are written in the charset and percent-encoded then.
fn push_escaped_pairs(charset: Charset, body: &[u8], fields: &mut Fields) {
    for pair in body.split(|&byte| byte == b'&').filter(|pair| pair.contains(&b'%')) {
        if is_nearly_full(fields) {
            return;
        }
        let (name, value) = pair.split_at(memchr::memchr(b'=', pair).unwrap_or(pair.len()));
        let plain = |text: &[u8]| {
            let bytes: Vec<u8> = percent_encoding::percent_decode(text).collect();
            if bytes.len() < text.len() { charset.decode(&bytes) } else { bytes }
        };
        let (name, value) = (plain(name), plain(value.get(1..).unwrap_or_default()));
        push_name(&name, 0, fields);
        // The place is one that detection takes the percent-encoding off.
        let value = percent_encoding::percent_encode(&value, ESCAPED).to_string();
        fields.push(Place::Form, &name, value.as_bytes(), 0);
    }
}

const ESCAPED: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%').add(b'+');

fn declared_charset(types: &ContentTypes<'_>) -> Option<Charset> {
    types.iter().flatten().find_map(|one| Charset::of(parameter::parameter(one, b"charset")?))
}

fn looks(body: &[u8]) -> Form<'_> {
    sniff(body.trim_ascii_start())
}

type ContentTypes<'a> = [Option<&'a [u8]>; MAX_TYPES];

/// All that may be taken for the body's type: several headers, several types in one, and names that nearly read so.
fn content_types<'a>(request: &'a Request, anomalies: &mut Anomalies) -> ContentTypes<'a> {
    let mut types = [None; MAX_TYPES];
    let mut count = 0;
    for (name, value) in request.headers() {
        let exact = name.eq_ignore_ascii_case(b"content-type");
        anomalies.insert_if(is_nearly_content_encoding(name), Anomaly::ContentNameNearMiss);
        if !exact && !is_nearly_content_type(name) {
            continue;
        }
        anomalies.insert_if(!exact, Anomaly::ContentNameNearMiss);
        anomalies.insert_if(count > 0 && exact, Anomaly::ContentTypeRepeated);
        let several = value.split(|&byte| byte == b',').filter(|one| !one.trim_ascii().is_empty());
        for (number, one) in several.enumerate() {
            let is_type = number == 0 || one.contains(&b'/');
            anomalies.insert_if(number > 0 && is_type, Anomaly::ContentTypeRepeated);
            if let Some(free) = types.get_mut(count).filter(|_| is_type) {
                *free = Some(one);
                count += 1;
            }
        }
    }
    types
}

/// `Cntent-Type`, `ContentType`, `Content_-Type`.
fn is_nearly_content_type(name: &[u8]) -> bool {
    let letters = || name.iter().filter(|byte| byte.is_ascii_alphabetic()).map(u8::to_ascii_lowercase);
    let plausible = (9..=16).contains(&name.len()) && name[0].eq_ignore_ascii_case(&b'c');
    plausible && (letters().eq(*b"contenttype") || letters().count() == 10 && letters().skip(6).eq(*b"type"))
}

/// Whether a name reads Content-Encoding once everything but letters is left out, and is another one: `Content_Encoding`.
#[must_use]
pub fn is_nearly_content_encoding(name: &[u8]) -> bool {
    let letters = name.iter().filter(|byte| byte.is_ascii_alphabetic()).map(u8::to_ascii_lowercase);
    let plausible = (15..=24).contains(&name.len()) && !name.eq_ignore_ascii_case(b"content-encoding");
    plausible && letters.eq(*b"contentencoding")
}

/// Whether a Content-Type names documents that bodies of requests are taken apart as.
#[must_use]
pub fn is_document(content_type: &[u8]) -> bool {
    Form::declared(content_type) != Form::Text
}

/// Reads a body as everything that a server may take it for.
fn push_forms(
    types: &ContentTypes<'_>,
    sniffed: Form<'_>,
    body: &[u8],
    fields: &mut Fields,
    anomalies: &mut Anomalies,
) {
    let mut done: [Option<Form<'_>>; MAX_TYPES + 1] = [None; MAX_TYPES + 1];
    let declared =
        || types.iter().flatten().map(|one| Form::declared(one)).filter(|form| *form != Form::Text);
    let lies = declared().next().is_some_and(|form| !form.same_kind(sniffed)) && sniffed.is_sure();
    let multipart = declared().any(|form| matches!(form, Form::Multipart(_)));
    anomalies.insert_if(lies && !multipart, Anomaly::ContentTypeMismatch);
    let leads = lies && !multipart || declared().next().is_none();
    let all = leads.then_some(sniffed).into_iter().chain(declared());
    for form in all {
        let known = done.iter().flatten().any(|one| *one == form);
        let Some(free) = done.iter_mut().find(|one| one.is_none()).filter(|_| !known) else { continue };
        *free = Some(form);
        push_form(form, sniffed, body, fields, anomalies);
    }
    let plain_text = types.iter().flatten().next().is_some() && declared().next().is_none();
    if plain_text && sniffed == Form::UrlEncoded {
        fields.push(Place::Text, b"", body, 0);
    }
}

fn push_form(form: Form<'_>, sniffed: Form<'_>, body: &[u8], fields: &mut Fields, anomalies: &mut Anomalies) {
    let parsed = match form {
        Form::UrlEncoded => return push_pairs(Place::Form, b'&', body, 0, fields),
        Form::Text => false,
        Form::GraphQl => {
            let before = fields.len();
            graphql::push(body, fields, anomalies, &mut graphql_work::Work::default());
            fields.len() > before
        }
        Form::Xml => {
            // Markup that is data to the application would not show among texts and attributes.
            xml::push(body, fields, anomalies);
            false
        }
        Form::Json => {
            let parsed = json::push(body, fields, anomalies).is_ok();
            anomalies.insert_if(!parsed, Anomaly::JsonInvalid);
            parsed
        }
        Form::Multipart(content_type) => {
            let parsed = multipart::push(content_type, body, fields, anomalies);
            anomalies.insert_if(!parsed, Anomaly::MultipartInvalid);
            parsed
        }
    };
    if !parsed {
        fields.push(Place::Text, b"", body, 0);
        if matches!(form, Form::Json | Form::Multipart(_)) && sniffed == Form::UrlEncoded {
            push_pairs(Place::Form, b'&', body, 0, fields);
        } else if matches!(form, Form::Multipart(_)) && sniffed == Form::Json {
            _ = json::push(body, fields, anomalies);
        }
    }
}

/// Adds the lines of a request's trailer section as headers.
pub fn push_trailer(trailer: &[u8], fields: &mut Fields) -> Anomalies {
    push_lines(Place::Header, trailer, fields)
}

/// Adds the lines of a trailer section as headers of that place.
pub fn push_lines(place: Place, trailer: &[u8], fields: &mut Fields) -> Anomalies {
    const FORBIDDEN: &[&str] = &[
        "content-length",
        "transfer-encoding",
        "host",
        "authorization",
        "proxy-authorization",
        "cookie",
        "content-type",
        "content-encoding",
        "content-range",
        "range",
        "trailer",
        "expect",
        "te",
        "max-forwards",
        "cache-control",
    ];
    let mut anomalies = Anomalies::NONE;
    for line in trailer.split(|&byte| byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else {
            anomalies.insert_if(!line.trim_ascii().is_empty(), Anomaly::TrailerInvalid);
            continue;
        };
        let name = line[..colon].trim_ascii().to_ascii_lowercase();
        anomalies
            .insert_if(FORBIDDEN.iter().any(|known| known.as_bytes() == name), Anomaly::TrailerForbidden);
        fields.push(place, &name, line[colon + 1..].trim_ascii(), 0);
    }
    anomalies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::parse_request;

    #[track_caller]
    fn check(content_type: &str, body: &str, expected: &[&str]) {
        let (mut request, mut fields) = (Request::default(), Fields::default());
        let header =
            if content_type.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
        parse_request(format!("POST / HTTP/1.0\r\n{header}\r\n").as_bytes(), &mut request);
        let anomalies = push_body(&request, body.as_bytes(), &mut fields);
        let mut shown: Vec<_> =
            fields.iter().map(|field| format!("{field}={}", field.value.escape_ascii())).collect();
        shown.extend(anomalies.iter().map(|anomaly| format!("!{anomaly}")));
        assert_eq!(shown, expected, "{body:?}");
    }

    #[test]
    fn forms() {
        let form = "application/x-www-form-urlencoded";
        check(form, "a=1&b[c]=%27&d", &["body.form.a=1", "body.form.b[c]=%27", "body.form.d="]);
        check("", "a=1&b=2", &["body.form.a=1", "body.form.b=2"]);
        check(form, "", &[]);
        check("text/plain", "a=1", &["body.form.a=1", "body.text=a=1"]);
        check("text/plain", "a text", &["body.text=a text"]);
        check("", "<a b=c>", &["body.xml.a@b=c", "body.text=<a b=c>", "!xml-invalid"]);
        check("application/soap+xml", "<a>1</a>", &["body.xml.a=1", "body.text=<a>1</a>"]);
        check("application/grpc", "\0\0\0\0\x03\n\x01a", &["body.grpc.1=a"]);
        check(
            "application/grpc-web-text",
            "AAAAAAMKAWE=",
            &["body.grpc.1=a", "body.form.AAAAAAMKAWE=", "body.text=AAAAAAMKAWE="],
        );
        check(
            "application/grpc-web-text",
            "AAAAAAMKAWE=AAAAAAMKAWI=",
            &[
                "body.grpc.1=a",
                "body.grpc.1=b",
                "body.form.AAAAAAMKAWE=AAAAAAMKAWI=",
                "body.text=AAAAAAMKAWE=AAAAAAMKAWI=",
            ],
        );
        check("application/grpc", "a=1&b=2", &["body.form.a=1", "body.form.b=2", "body.text=a=1&b=2"]);
        check(
            "application/graphql",
            "{a(b:1)}",
            &["body.graphql.operation=query", "body.graphql.selection=a", "body.graphql.a.b=1"],
        );
    }

    #[test]
    fn a_type_that_lies() {
        check(
            "application/x-www-form-urlencoded",
            r#"{"a": "b"}"#,
            &[
                "body.json.a=b",
                "name={\"a\": \"b\"}".replace('"', "\\\"").as_str(),
                "body.form.{\\\"a\\\": \\\"b\\\"}=",
                "!content-type-mismatch",
            ],
        );
        check("text/plain", r#"{"a": "b"}"#, &["body.json.a=b"]);
        check("", r#" [{"a": 1}]"#, &["body.json.0.a=1"]);
        check("application/json", "a=1", &["body.json=a", "body.text=a=1", "body.form.a=1", "!json-invalid"]);
    }

    /// Cases C11 and C34.
    #[test]
    fn types_that_are_missing_repeated_or_misspelt() {
        let json = r#"{"a": "b"}"#;
        let with = |headers: &str| {
            let (mut request, mut fields) = (Request::default(), Fields::default());
            parse_request(format!("POST / HTTP/1.0\r\n{headers}\r\n\r\n").as_bytes(), &mut request);
            let anomalies = push_body(&request, json.as_bytes(), &mut fields);
            assert_eq!(fields.get(Place::Json, b"a").map(|field| field.value), Some(&b"b"[..]), "{headers}");
            anomalies.iter().map(Anomaly::name).collect::<Vec<_>>().join(",")
        };
        assert_eq!(with("A: b"), "");
        assert_eq!(with("ContentType: application/json"), "content-name-near-miss");
        assert_eq!(with("Cntent-Type: application/json"), "content-name-near-miss");
        assert_eq!(with("Content_-Type: application/json"), "content-name-near-miss");
        assert_eq!(with("Content-Type: application/json;/x-www-form-urlencoded"), "");
        assert_eq!(with("CONTENT-TYPE: APPLICATION/JSON"), "");
        assert_eq!(with("Content-Type: image/png"), "");
        let repeated = "Content-Type: application/json\r\nContent-Type: text/xml";
        assert!(with(repeated).contains("content-type-repeated"));
        assert!(with("Content-Type: text/xml, application/json").contains("content-type-repeated"));
    }

    /// Case C31.
    #[test]
    fn declared_charsets_are_converted() {
        let utf7 = "application/x-www-form-urlencoded; charset=utf-7";
        check(utf7, "a=+ADw-b+AD4-", &["body.form.a=<b>", "body.form.a=+ADw-b+AD4-", "!charset-unusual"]);
        let ebcdic = "application/x-www-form-urlencoded; charset=ibm037";
        let mut fields = Fields::default();
        push_body(&with_type(ebcdic), b"a=%7D%40%6C&%82=%4C", &mut fields);
        assert_eq!(fields.get(Place::Form, b"a").map(|field| field.value), Some(&b"' %25"[..]));
        assert_eq!(fields.get(Place::Form, b"b").map(|field| field.value), Some(&b"<"[..]));
        for (content_type, body) in [
            ("", &b"{\0\"\0a\0\"\0:\x001\0}\0"[..]),
            ("", b"\n\0\0\0{\0\0\0\"\0\0\0a\0\0\0\"\0\0\0:\0\0\x001\0\0\0}\0\0\0"),
            ("application/json; charset=shift_jis", b"{\0\"\0a\0\"\0:\x001\0}\0"),
            ("application/json; charset=utf-16", b"\xfe\xff\0{\0\"\0a\0\"\0:\x001\0}"),
            ("application/json; charset=utf-16", b"\0{\0\"\0a\0\"\0:\x001\0}"),
        ] {
            let (request, mut fields) = (with_type(content_type), Fields::default());
            let anomalies = push_body(&request, body, &mut fields);
            let value = fields.iter().find(|field| field.place == Place::Json && field.name == b"a");
            assert_eq!(
                value.map(|field| field.value),
                Some(&b"1"[..]),
                "{content_type} {}",
                body.escape_ascii()
            );
            assert!(anomalies.contains(Anomaly::CharsetUnusual));
        }
    }

    /// Case C31: whatever charset a body is in or claims to be in, who takes it as it is reads the attack.
    #[test]
    fn a_charset_hides_nothing_from_who_ignores_it() {
        for (content_type, body) in [
            ("application/x-www-form-urlencoded; charset=ibm037", &b"q=EVIL&z=\xe9"[..]),
            ("application/x-www-form-urlencoded; charset=utf-16le", b"q=EVIL&z=\xe9"),
            ("application/x-www-form-urlencoded; charset=utf-32", b"q=EVIL&z=\xe9"),
            ("application/x-www-form-urlencoded", b"\"\0x\0=1&q=EVIL"),
            ("application/x-www-form-urlencoded", b"\xff\xfe=1&q=EVIL"),
            ("application/x-www-form-urlencoded; charset=gbk", b"q=EVIL&z=\x81"),
        ] {
            let (request, mut fields) = (with_type(content_type), Fields::default());
            push_body(&request, body, &mut fields);
            let value = fields.get(Place::Form, b"q").map(|field| field.value);
            assert_eq!(value, Some(&b"EVIL"[..]), "{content_type} {}", body.escape_ascii());
        }
    }

    fn with_type(content_type: &str) -> Request {
        let mut request = Request::default();
        parse_request(
            format!("POST / HTTP/1.0\r\nContent-Type: {content_type}\r\n\r\n").as_bytes(),
            &mut request,
        );
        request
    }

    #[test]
    fn trailers_are_headers_and_some_must_not_be() {
        let mut fields = Fields::default();
        let anomalies = push_trailer(b"X-A: b\r\nHost: c\r\n", &mut fields);
        assert_eq!(fields.get(Place::Header, b"x-a").map(|field| field.value), Some(&b"b"[..]));
        assert!(anomalies.contains(Anomaly::TrailerForbidden));
    }
}
