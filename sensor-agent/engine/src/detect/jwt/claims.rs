//! What the claims of a token say beyond names and numbers. Applications put them into queries, paths and pages as they stand, and whoever holds
//! a key that was guessed, or an account with a name of its own choice, writes them.

use serde_json::{Map, Value};

/// Most texts of a token that are looked at.
const MAX_TEXTS: usize = 16;
/// How deep claims within claims are followed.
const MAX_DEPTH: usize = 4;

/// A text among the claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// Where it stands, as `token.user.name`.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// The texts among the claims that hold what names, times and addresses do not. Most tokens have none.
pub(super) fn odd(claims: &Map<String, Value>) -> Vec<Claimed> {
    let mut found = Vec::new();
    for (name, value) in claims {
        collect(name, value, 1, &mut found);
    }
    found
}

fn collect(name: &str, value: &Value, depth: usize, found: &mut Vec<Claimed>) {
    if found.len() == MAX_TEXTS || depth > MAX_DEPTH {
        return;
    }
    match value {
        Value::String(text) if is_odd(text) => {
            found.push(Claimed { name: format!("token.{name}"), text: text.clone() });
        }
        Value::Array(items) => items.iter().for_each(|item| collect(name, item, depth + 1, found)),
        Value::Object(inner) => {
            inner.iter().for_each(|(key, item)| collect(&format!("{name}.{key}"), item, depth + 1, found));
        }
        _ => {}
    }
}

/// Whether a text holds what has a meaning to some interpreter.
fn is_odd(text: &str) -> bool {
    let sign = |byte: u8| {
        byte.is_ascii_control()
            || matches!(byte, b'\'' | b'"' | b'<' | b'>' | b'`' | b'$' | b'|' | b';' | b'\\' | b'*' | b'#')
            || matches!(byte, b'(' | b')' | b'{' | b'}')
    };
    text.bytes().any(sign) || text.contains("..") || text.contains(' ') && text.contains('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_odd_texts_are_looked_at() {
        for (claims, expected) in [
            (r#"{"sub":"1","iss":"https://id.example/","scope":"read write","aud":["a","b"]}"#, &[][..]),
            (r#"{"sub":"1' or '1'='1"}"#, &["token.sub=1' or '1'='1"]),
            (r#"{"a":{"b":[1,"../x"]}}"#, &["token.a.b=../x"]),
            (r#"{"n":"1 or 1=1"}"#, &["token.n=1 or 1=1"]),
            (r#"{"a":{"b":{"c":{"d":{"e":"<x>"}}}}}"#, &[]),
        ] {
            let claims: Map<String, Value> = serde_json::from_str(claims).unwrap();
            let found: Vec<_> = odd(&claims).iter().map(|one| format!("{}={}", one.name, one.text)).collect();
            assert_eq!(found, expected);
        }
        let many = Map::from_iter((0..99).map(|number| (number.to_string(), Value::from("<"))));
        assert_eq!(odd(&many).len(), MAX_TEXTS);
    }
}
