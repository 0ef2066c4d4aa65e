//! One entry of a selection, `cs-uri-query|contains: value` → tests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::Value;

use super::condition::Expression;
use crate::import::draft::{Ask, Test, line};
use crate::import::pcre;

/// Most values of one entry.
const MAX_VALUES: usize = 10_000;
/// From this number on, plain values are phrases.
const MANY: usize = 9;

/// What a field of a log is here, and how its values stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Whole,
    /// Behind the `?` of the target.
    Query,
    /// Behind the last dot of the path.
    Extension,
}

const FIELDS: &[(&[&str], &str, Kind)] = &[
    (&["cs-method", "c-method", "method", "http.method"], "method", Kind::Whole),
    (&["cs-uri-query", "c-uri-query"], "target", Kind::Query),
    (&["cs-uri-stem", "c-uri-path", "cs-uri-path", "c-uri-stem"], "path", Kind::Whole),
    (&["c-uri", "cs-uri", "uri", "url", "request", "c-url"], "target", Kind::Whole),
    (&["c-uri-extension"], "path", Kind::Extension),
    (
        &["cs-user-agent", "c-useragent", "c-user-agent", "useragent", "user-agent"],
        "header.user-agent",
        Kind::Whole,
    ),
    (&["cs-referer", "cs-referrer", "c-referer", "c-referrer", "referer"], "header.referer", Kind::Whole),
    (&["cs-host", "c-host", "r-dns", "c-uri-host", "host"], "header.host", Kind::Whole),
    (&["cs-cookie", "c-cookie", "cookie"], "header.cookie", Kind::Whole),
    (&["cs-content-type", "c-content-type"], "header.content-type", Kind::Whole),
    (&["x-forwarded-for"], "header.x-forwarded-for", Kind::Whole),
    (&["sc-status", "c-status", "status", "http.status"], "response.status", Kind::Whole),
    (&["cs-post-data", "cs-body", "post_data"], "body", Kind::Whole),
];

/// Where words without a field are looked for: what a line of a log holds.
const LINE: &[&str] = &["target", "header.user-agent", "header.referer", "header.cookie"];

/// How the values of an entry are meant.
#[derive(Clone, Debug, Default)]
struct Modifiers {
    contains: bool,
    starts: bool,
    ends: bool,
    pattern: bool,
    all: bool,
    windash: bool,
    cased: bool,
    /// `base64`, `base64offset`, `wide`, in order.
    encodings: Vec<String>,
    other: Option<String>,
}

/// The tests of one entry; what they say less exactly goes to `losses`.
pub(super) fn entry(key: &str, value: &Value, losses: &mut Vec<String>) -> Result<Expression, String> {
    let mut parts = key.split('|');
    let name = parts.next().unwrap_or_default();
    let modifiers = modifiers(parts)?;
    let known = FIELDS.iter().find(|(names, ..)| names.iter().any(|known| known.eq_ignore_ascii_case(name)));
    let (_, field, kind) = known.ok_or_else(|| format!("field `{}`", line(name, 40)))?;
    let values = values(value)?;
    let fields = vec![(*field).to_owned()];
    if *kind == Kind::Query && modifiers.pattern {
        losses.push("the target is looked at in place of the query".to_owned());
    }
    match modifiers.other.as_deref() {
        None => {}
        Some("exists") => return exists(fields, &values),
        Some("cidr") => {
            let networks = values.iter().map(text).collect::<Option<Vec<String>>>();
            let networks = networks.ok_or("`cidr` without a network")?;
            return Ok(Expression::Test(Test::new(fields, Ask::Addresses(networks))));
        }
        Some(comparison) => return compare(comparison, fields, &values),
    }
    join(&fields, *kind, &modifiers, &values)
}

/// Words that stand anywhere in a line of the log.
pub(super) fn keywords(values: &[Value]) -> Result<Expression, String> {
    let modifiers = Modifiers { contains: true, ..Modifiers::default() };
    let fields: Vec<String> = LINE.iter().map(ToString::to_string).collect();
    join(&fields, Kind::Whole, &modifiers, values)
}

fn modifiers<'m>(parts: impl Iterator<Item = &'m str>) -> Result<Modifiers, String> {
    let mut found = Modifiers::default();
    for part in parts {
        match part.to_ascii_lowercase().as_str() {
            "contains" => found.contains = true,
            "startswith" => found.starts = true,
            "endswith" => found.ends = true,
            "re" => found.pattern = true,
            "i" | "m" | "s" if found.pattern => {}
            "all" => found.all = true,
            "windash" => found.windash = true,
            "cased" => found.cased = true,
            encoding @ ("base64" | "base64offset" | "wide" | "utf16le" | "utf16") => {
                found.encodings.push(encoding.to_owned());
            }
            other @ ("exists" | "cidr" | "lt" | "lte" | "gt" | "gte") => found.other = Some(other.to_owned()),
            other => return Err(format!("modifier `{}`", line(other, 30))),
        }
    }
    Ok(found)
}

/// The values of an entry: one, or a list.
fn values(value: &Value) -> Result<Vec<Value>, String> {
    let values = match value {
        Value::Array(list) => list.clone(),
        Value::Object(_) => return Err("a table where values are expected".into()),
        one => vec![one.clone()],
    };
    match values.len() {
        0 => Err("an entry without values".into()),
        count if count > MAX_VALUES => {
            Err(format!("an entry of {count} values, expected at most {MAX_VALUES}"))
        }
        _ => Ok(values),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(one) => Some(one.to_string()),
        _ => None,
    }
}

/// A field that is not there stands as nothing or as a dash in logs.
fn absent(fields: &[String]) -> Expression {
    Expression::Test(Test { at_most: Some(0), ..Test::new(fields.to_vec(), Ask::Any) })
}

fn exists(fields: Vec<String>, values: &[Value]) -> Result<Expression, String> {
    match values {
        [Value::Bool(true)] => {
            Ok(Expression::Test(Test { at_least: Some(1), ..Test::new(fields, Ask::Any) }))
        }
        [Value::Bool(false)] => Ok(absent(&fields)),
        _ => Err("`exists` without true or false".into()),
    }
}

fn compare(comparison: &str, fields: Vec<String>, values: &[Value]) -> Result<Expression, String> {
    let number = match values {
        [Value::Number(number)] => number.as_i64(),
        _ => None,
    };
    let number = number.ok_or_else(|| format!("`{comparison}` without a whole number"))?;
    let (from, to) = match comparison {
        "lt" => (None, Some(number.saturating_sub(1))),
        "lte" => (None, Some(number)),
        "gt" => (Some(number.saturating_add(1)), None),
        _ => (Some(number), None),
    };
    Ok(Expression::Test(Test::new(fields, Ask::Number { from, to })))
}

/// One of the values, or with `all` each of them.
fn join(
    fields: &[String],
    kind: Kind,
    modifiers: &Modifiers,
    values: &[Value],
) -> Result<Expression, String> {
    let test = |text: String| {
        let ask = Ask::Pattern { text, case_sensitive: modifiers.cased || modifiers.pattern };
        Expression::Test(Test::new(fields.to_vec(), ask))
    };
    let mut patterns = Vec::new();
    let mut without = Vec::new();
    for value in values {
        match text(value) {
            Some(text) if !matches!(text.as_str(), "" | "-") => {
                patterns.push(pattern(&text, kind, modifiers)?);
            }
            Some(_) => without.push(absent(fields)),
            None if value.is_null() => without.push(absent(fields)),
            None => return Err("a value that is neither text nor a number".into()),
        }
    }
    if modifiers.all {
        return Ok(Expression::And(patterns.into_iter().map(test).chain(without).collect()));
    }
    let plain = modifiers.contains
        && !modifiers.windash
        && modifiers.encodings.is_empty()
        && kind == Kind::Whole
        && !modifiers.cased;
    let texts: Vec<String> = values.iter().filter_map(text).collect();
    let wild = |text: &String| text.contains(['*', '?', '\\']);
    if plain && texts.len() >= MANY && without.is_empty() && !texts.iter().any(wild) {
        let ask = Ask::Phrases { texts, case_sensitive: false };
        return Ok(Expression::Test(Test::new(fields.to_vec(), ask)));
    }
    let joined = match patterns.len() {
        0 => None,
        1 => patterns.pop().map(test),
        _ => Some(test(format!("(?:{})", patterns.join("|")))),
    };
    let mut parts: Vec<Expression> = joined.into_iter().chain(without).collect();
    Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Or(parts) })
}

/// One value as a pattern.
fn pattern(value: &str, kind: Kind, modifiers: &Modifiers) -> Result<String, String> {
    if modifiers.pattern {
        return pcre::translate(value).map(|done| format!("(?-s:{})", done.pattern));
    }
    if !modifiers.encodings.is_empty() {
        return encoded(value, &modifiers.encodings);
    }
    let mut inner = wildcards(value);
    if modifiers.windash {
        inner = inner.replacen(r"\-", "(?:-|/|–|—|―)", 1);
    }
    let inner = inner.as_str();
    let open_start = modifiers.contains || modifiers.ends || inner.starts_with(".*");
    let open_end = modifiers.contains || modifiers.starts || inner.ends_with(".*");
    let inner = inner.strip_prefix(".*").unwrap_or(inner);
    let inner = inner.strip_suffix(".*").filter(|_| !inner.ends_with(r"\.*")).unwrap_or(inner);
    let start = match (kind, open_start) {
        (Kind::Query, true) => r"\?.*",
        (Kind::Query, false) => r"\?",
        (Kind::Extension, true) => r"\.[^./]*",
        (Kind::Extension, false) => r"\.",
        (Kind::Whole, true) => "",
        (Kind::Whole, false) => "^",
    };
    Ok(format!("{start}{inner}{}", if open_end { "" } else { "$" }))
}

/// `*` and `?` stand for anything, unless a backslash stands in front.
fn wildcards(value: &str) -> String {
    let mut pattern = String::new();
    let mut rest = value.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            '\\' => {
                let escaped = rest.next_if(|one| matches!(one, '*' | '?' | '\\'));
                pattern.push_str(&pcre::escape(&escaped.unwrap_or('\\').to_string()));
            }
            other => pattern.push_str(&pcre::escape(&other.to_string())),
        }
    }
    pattern
}

/// What a value is in base64, at each of three places for `base64offset`.
fn encoded(value: &str, encodings: &[String]) -> Result<String, String> {
    let mut bytes = value.as_bytes().to_vec();
    let mut forms = None;
    for encoding in encodings {
        match encoding.as_str() {
            "wide" | "utf16le" => bytes = value.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            "utf16" => return Err("modifier `utf16`".into()),
            "base64" => forms = Some(vec![STANDARD_NO_PAD.encode(&bytes)]),
            _ => forms = Some((0..3).map(|offset| at_offset(&bytes, offset)).collect()),
        }
    }
    let forms: Vec<String> =
        forms.ok_or("an encoding without `base64`")?.iter().map(|form| pcre::escape(form)).collect();
    // Letters count in base64.
    Ok(format!("(?-i:{})", forms.join("|")))
}

/// The characters of base64 that are the same whatever stands around the bytes.
fn at_offset(bytes: &[u8], offset: usize) -> String {
    let padded = [&vec![0; offset][..], bytes].concat();
    let text = STANDARD_NO_PAD.encode(&padded);
    let start = [0, 2, 3].get(offset).copied().unwrap_or(0);
    let end = text.len() - usize::from(padded.len() % 3 != 0);
    text.get(start..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, value: &str) -> String {
        let value: Value = serde_json::from_str(value).unwrap();
        shown(entry(key, &value, &mut Vec::new()))
    }

    fn shown(result: Result<Expression, String>) -> String {
        match result {
            Ok(Expression::Test(Test { ask: Ask::Pattern { text, .. }, fields, .. })) => {
                format!("{} {text}", fields.join(","))
            }
            Ok(Expression::Test(Test { ask, at_least, at_most, .. })) => {
                format!("{ask:?} {at_least:?} {at_most:?}")
            }
            Ok(Expression::And(parts)) => {
                parts.into_iter().map(|one| shown(Ok(one))).collect::<Vec<_>>().join(" and ")
            }
            Ok(Expression::Or(parts)) => {
                parts.into_iter().map(|one| shown(Ok(one))).collect::<Vec<_>>().join(" or ")
            }
            Ok(Expression::Not(_)) => "not".into(),
            Err(reason) => format!("refused: {reason}"),
        }
    }

    #[test]
    fn entries_are_tests() {
        let rows = [
            ("cs-method", r#""POST""#, "method ^POST$"),
            ("cs-uri-stem|endswith", r#"["/a.php", "/b*.asp?"]"#, r"path (?:/a\.php$|/b.*\.asp.$)"),
            ("cs-uri-query|contains", r#""x=../""#, r"target \?.*x=\.\./"),
            ("cs-uri-query|startswith", r#""id=""#, r"target \?id="),
            ("c-uri|contains|all", r#"["abc", "d-e"]"#, r"target abc and target d\-e"),
            ("c-uri", r#""*/evil/*""#, "target /evil/"),
            ("cs-user-agent|re", r#""^curl/\\d+""#, r"header.user-agent (?-s:^curl/\d+)"),
            ("c-uri-extension", r#"["exe"]"#, r"path \.exe$"),
            ("sc-status", "404", "response.status ^404$"),
            ("sc-status|gte", "500", "Number { from: Some(500), to: None } None None"),
            ("cs-referer", "null", "Any None Some(0)"),
            ("cs-referer|exists", "true", "Any Some(1) None"),
            ("cs-uri-query|base64", r#""whoami""#, "target (?-i:d2hvYW1p)"),
            ("c-uri|contains|windash", r#"" -enc""#, r"target  (?:-|/|–|—|―)enc"),
            ("cs-uri-stem", r#""a\\*b""#, r"path ^a\*b$"),
            ("x-forwarded-for|cidr", r#""10.0.0.0/8""#, r#"Addresses(["10.0.0.0/8"]) None None"#),
            ("c-ip", "1", "refused: field `c-ip`"),
            ("c-uri|fieldref", "1", "refused: modifier `fieldref`"),
            ("c-uri", "[]", "refused: an entry without values"),
            ("c-uri", "{}", "refused: a table where values are expected"),
        ];
        for (key, value, expected) in rows {
            assert_eq!(check(key, value), expected, "{key}");
        }
        let many: Vec<String> = (0..9).map(|number| format!("\"word{number}\"")).collect();
        assert!(check("c-uri|contains", &format!("[{}]", many.join(","))).starts_with("Phrases"));
    }

    #[test]
    fn base64_at_any_offset_is_found_in_what_it_stands_in() {
        for before in 0..6 {
            let whole = STANDARD_NO_PAD.encode([&vec![b'x'; before][..], b"select password", b"yz"].concat());
            assert!((0..3).any(|offset| whole.contains(&at_offset(b"select password", offset))), "{before}");
        }
    }
}
