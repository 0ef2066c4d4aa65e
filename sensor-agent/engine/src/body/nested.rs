//! Documents inside values: JSON or XML in a form field, a cookie, a query parameter or a JSON string, in base64 too, GraphQL in a
//! member named `query`, and forms. What the application parses again is taken apart again, a few times over.

use std::borrow::Cow;

use super::graphql_work::Work;
use super::{graphql, is_json, is_xml, json, transfer, xml};
use crate::field::{Field, Fields, Place};
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::fields::push_pairs;

/// Documents inside documents.
const MAX_DEPTH: usize = 3;
/// Most values of one message that are taken apart.
const MAX_VALUES: usize = 32;
/// Longest value that is taken apart.
const MAX_VALUE: usize = 128 * 1024;

/// Adds the fields of documents that stand in the values of `fields`.
pub fn expand(fields: &mut Fields) -> Anomalies {
    expand_from(0, fields)
}

/// As [`expand`], for the fields from this number on.
pub(super) fn expand_from(mut from: usize, fields: &mut Fields) -> Anomalies {
    let (mut anomalies, mut left, mut operations) = (Anomalies::NONE, MAX_VALUES, 0);
    let mut work = Work::default();
    for _ in 0..MAX_DEPTH {
        let end = fields.len();
        for index in from..end {
            let Some(field) = fields.at(index).filter(may_hold) else { continue };
            let value = plain(&field);
            let value = in_base64(&value).map_or(value, Cow::Owned);
            let Some(kind) = Kind::of(&field, &value) else { continue };
            if left == 0 {
                fields.note_unopened();
                continue;
            }
            left -= 1;
            let (name, value) = (field.name.to_vec(), value.into_owned());
            match kind {
                Kind::Json => _ = json::push_below(&name, &value, fields, &mut anomalies),
                Kind::Xml => xml::push(&value, fields, &mut Anomalies::default()),
                Kind::Form => push_pairs(Place::Form, b'&', &value, 0, fields),
                Kind::GraphQl => {
                    graphql::push(&value, fields, &mut anomalies, &mut work);
                    operations += 1;
                    anomalies.insert_if(operations > 1, Anomaly::GraphQlBatch);
                }
            }
        }
        from = end;
    }
    anomalies
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Json,
    Xml,
    GraphQl,
    Form,
}

impl Kind {
    fn of(field: &Field<'_>, value: &[u8]) -> Option<Self> {
        let start = value.trim_ascii_start();
        let last = field.name.rsplit(|&byte| byte == b'.').next().unwrap_or_default();
        if last.eq_ignore_ascii_case(b"query") && graphql::looks_like(value) {
            Some(Self::GraphQl)
        } else if is_json(start) {
            Some(Self::Json)
        } else {
            let xml = field.place != Place::Xml && is_xml(start) && start.ends_with(b">");
            xml.then_some(Self::Xml).or_else(|| is_form(value).then_some(Self::Form))
        }
    }
}

/// A quick look: whether a value of this place may begin a document.
fn may_hold(field: &Field<'_>) -> bool {
    let Some(signs) = signs_of_form(field.place) else { return false };
    (4..=MAX_VALUE).contains(&field.value.len())
        && (may_begin(field.value) || is_named_query(field.name) || has_form(signs, field.value))
}

/// What stands between pairs in the values of a place, written as it is there: as itself, percent-encoded. `None` if values of the place
/// are not taken apart.
fn signs_of_form(place: Place) -> Option<(bool, bool)> {
    match place {
        // The pairs of the place itself end at the sign.
        Place::Query | Place::Form => Some((false, true)),
        Place::Cookie => Some((true, true)),
        Place::Json | Place::Multipart | Place::Xml | Place::WebSocket | Place::Grpc => Some((true, false)),
        // In a header, an ampersand is one of an address.
        Place::Header => Some((false, false)),
        _ => None,
    }
}

fn has_form((plain, encoded): (bool, bool), value: &[u8]) -> bool {
    plain && memchr::memchr(b'&', value).is_some()
        || encoded && memchr::memchr_iter(b'%', value).any(|at| value[at..].starts_with(b"%26"))
}

/// Whether the first bytes are those of JSON or XML, encoded or not.
fn may_begin(value: &[u8]) -> bool {
    match value {
        [b'{' | b'[' | b'<' | b'+' | b' ' | b'\t' | b'\n' | b'\x0c' | b'\r', ..] => matches!(
            value.trim_ascii_start(),
            [b'{' | b'[' | b'<' | b'+', ..] | [b'%', b'7' | b'5' | b'3', ..] | [b'%', b'2', b'0', ..]
        ),
        [b'%', b'7' | b'5' | b'3', ..] | [b'%', b'2', b'0', ..] => true,
        [b'e' | b'W' | b'P', ..] => begins_base64(value),
        _ => false,
    }
}

fn is_named_query(name: &[u8]) -> bool {
    matches!(name, [.., b'y' | b'Y'])
        && name.len() >= 5
        && name[name.len() - 5..].eq_ignore_ascii_case(b"query")
}

/// Whether a value begins as `{"`, `[{`, `["`, `<?x` or `<!D` do in base64.
fn begins_base64(value: &[u8]) -> bool {
    matches!(value, [b'e', b'y', b'J', ..] | [b'W', b'3', b's', ..] | [b'W', b'y', b'J', ..])
        || value.starts_with(b"PD94")
        || value.starts_with(b"PCFE")
}

/// What a document in base64 of either alphabet is. Tokens have dots, and are taken apart as tokens.
fn in_base64(value: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=');
    if !begins_base64(value) || !value.iter().all(digit) {
        return None;
    }
    let usual = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => *byte,
    };
    transfer::decode(b"base64", &value.iter().map(usual).collect::<Vec<_>>())
}

/// Whether a value is pairs as forms have them, of plain names, and holds nothing that pairs have encoded.
fn is_form(value: &[u8]) -> bool {
    let plain = |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'[' | b']' | b'-');
    let is_pair = |pair: &[u8]| {
        let name = memchr::memchr(b'=', pair).and_then(|at| pair.get(..at)).unwrap_or_default();
        !name.is_empty() && name.iter().all(plain)
    };
    value.contains(&b'&')
        && value.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>'))
        && value.split(|&byte| byte == b'&').all(is_pair)
}

/// The value without the percent-encoding that its place has as a rule.
fn plain<'a>(field: &Field<'a>) -> Cow<'a, [u8]> {
    if !field.place.is_url_encoded() && field.place != Place::Cookie {
        return Cow::Borrowed(field.value);
    }
    let spaced = field.place != Place::Cookie && field.value.contains(&b'+');
    if !spaced {
        return percent_encoding::percent_decode(field.value).into();
    }
    let spaces: Vec<u8> = field.value.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    Cow::Owned(percent_encoding::percent_decode(&spaces).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(place: Place, name: &str, value: &str, expected: &[&str]) {
        let mut fields = Fields::default();
        fields.push(place, name.as_bytes(), value.as_bytes(), 0);
        expand(&mut fields);
        let shown: Vec<_> =
            fields.iter().skip(1).map(|field| format!("{field}={}", field.value.escape_ascii())).collect();
        assert_eq!(shown, expected, "{value}");
    }

    /// Case C39.
    #[test]
    fn documents_in_values() {
        check(Place::Form, "d", "%7B%22a%22%3A%22x'%22%7D", &[r"body.json.d.a=x\'"]);
        check(Place::Cookie, "c", "{\"a\":[\"EVIL\"]}", &["body.json.c.a.0=EVIL"]);
        check(Place::Query, "q", "+[{%22a%22:1}]", &["body.json.q.0.a=1"]);
        check(Place::Form, "x", "<a>EVIL</a>", &["body.xml.a=EVIL"]);
        check(
            Place::Query,
            "query",
            "{user(id:%22EVIL%22){n}}",
            &[
                "body.graphql.operation=query",
                "body.graphql.selection=user",
                "body.graphql.user.id=EVIL",
                "body.graphql.selection=user.n",
            ],
        );
        check(
            Place::Json,
            "0.query",
            "query {a(b: 1)}",
            &["body.graphql.operation=query", "body.graphql.selection=a", "body.graphql.a.b=1"],
        );
        check(Place::Cookie, "c", "eyJhIjoiRVZJTCJ9", &["body.json.c.a=EVIL"]);
        check(Place::Json, "c", "WyJFVklMIl0", &["body.json.c.0=EVIL"]);
        check(Place::Json, "c", "a=1&b=x%27", &["body.form.a=1", "body.form.b=x%27"]);
        check(Place::Form, "c", "a%3D1%26b%3Dx", &["body.form.a=1", "body.form.b=x"]);
        for other in [
            "eyJhIjoiRVZJTCJ9.e30.x",
            "eyJhIj!",
            "https://a.example/?b=1&c=2",
            "a=1&b",
            "a=1& b=2",
            "R&D=1 & more",
        ] {
            check(Place::Cookie, "c", other, &[]);
        }
        check(Place::Query, "q", "{x}", &[]);
        check(Place::Header, "x", "[::1]:80", &[]);
    }

    #[test]
    fn several_operations_are_a_batch() {
        let mut fields = Fields::default();
        (0..2).for_each(|_| _ = fields.push(Place::Json, b"0.query", b"{a{b}}", 0));
        assert!(expand(&mut fields).contains(Anomaly::GraphQlBatch));
    }

    #[test]
    fn nesting_has_an_end() {
        let json = |value: &str| format!("{{\"a\":{}}}", serde_json::to_string(value).unwrap());
        let deep = json(&json(&json(&json("EVIL"))));
        let mut fields = Fields::default();
        fields.push(Place::Form, b"d", deep.as_bytes(), 0);
        expand(&mut fields);
        assert_eq!(fields.len(), 1 + MAX_DEPTH);
        let mut fields = Fields::default();
        (0..100).for_each(|_| _ = fields.push(Place::Json, b"d", b"{\"a\":1}", 0));
        expand(&mut fields);
        assert_eq!(fields.len(), 100 + MAX_VALUES);
    }
}
