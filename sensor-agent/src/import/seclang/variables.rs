//! Variables of a rule → fields. Some are read less exactly than they are meant, and say so; what no field stands for is refused.

use std::collections::BTreeSet;

/// Where a rule looks, in our nouns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) fields: Vec<String>,
    pub(super) except: Vec<String>,
    /// It asks how many there are.
    pub(super) counted: bool,
    /// It asks for what the rule in front of it matched.
    pub(super) matched: bool,
    /// Variables of the rule set itself.
    pub(super) own: Vec<String>,
    pub(super) unknown: Vec<String>,
    pub(super) losses: BTreeSet<&'static str>,
}

/// What a collection is called here.
const COLLECTIONS: &[(&str, &[&str])] = &[
    ("ARGS", &["query", "body.form", "body.json", "body.multipart"]),
    ("ARGS_GET", &["query"]),
    ("ARGS_POST", &["body.form", "body.json", "body.multipart"]),
    ("ARGS_NAMES", &["name"]),
    ("ARGS_GET_NAMES", &["name"]),
    ("ARGS_POST_NAMES", &["name"]),
    ("REQUEST_COOKIES", &["cookie"]),
    ("REQUEST_COOKIES_NAMES", &["name"]),
    ("REQUEST_HEADERS", &["header"]),
    ("REQUEST_METHOD", &["method"]),
    ("REQUEST_URI", &["target"]),
    ("REQUEST_URI_RAW", &["target"]),
    ("REQUEST_FILENAME", &["path"]),
    ("REQUEST_BASENAME", &["path"]),
    ("REQUEST_LINE", &["target"]),
    ("QUERY_STRING", &["target"]),
    ("PATH_INFO", &["path"]),
    ("REQUEST_BODY", &["body"]),
    ("FULL_REQUEST", &["target", "header", "body"]),
    ("XML", &["body.xml"]),
    ("FILES", &["body.multipart.*.filename"]),
    ("MULTIPART_FILENAME", &["body.multipart.*.filename"]),
    ("FILES_NAMES", &["name"]),
    ("MULTIPART_NAME", &["name"]),
    ("MULTIPART_PART_HEADERS", &["body.multipart.*.header"]),
    ("FILES_TMP_CONTENT", &["body.multipart"]),
    ("RESPONSE_BODY", &["response.body"]),
    ("RESPONSE_STATUS", &["response.status"]),
    ("RESPONSE_HEADERS", &["response.header"]),
    ("RESPONSE_CONTENT_TYPE", &["response.header.content-type"]),
    ("RESPONSE_CONTENT_LENGTH", &["response.header.content-length"]),
    ("REQUEST_BODY_LENGTH", &["header.content-length"]),
    ("SERVER_NAME", &["header.host"]),
    ("AUTH_TYPE", &["header.authorization"]),
];

/// What is read less exactly.
const LOSSES: &[(&str, &str)] = &[
    ("REQUEST_BASENAME", "the whole path is looked at in place of its last segment"),
    ("REQUEST_LINE", "the target is looked at in place of the request line"),
    ("QUERY_STRING", "the target is looked at in place of the query string"),
    ("PATH_INFO", "the whole path is looked at in place of what follows the program's name"),
    ("REQUEST_BODY", "values in the body are looked at in place of the body as a whole"),
    ("FULL_REQUEST", "the parts of a request are looked at in place of the request as a whole"),
    ("REQUEST_BODY_LENGTH", "the declared length of the body is looked at in place of its true one"),
];

/// Variables that live in the rule set.
const OWN: &[&str] = &[
    "TX",
    "IP",
    "GLOBAL",
    "SESSION",
    "USER",
    "RESOURCE",
    "RULE",
    "ENV",
    "DURATION",
    "UNIQUE_ID",
    "WEBSERVER_ERROR_LOG",
    "HIGHEST_SEVERITY",
    "INBOUND_DATA_ERROR",
    "OUTBOUND_DATA_ERROR",
    "PERF_ALL",
    "TIME",
    "TIME_EPOCH",
    "TIME_HOUR",
    "TIME_DAY",
    "TIME_MON",
    "TIME_WDAY",
    "TIME_YEAR",
    "MODSEC_BUILD",
    "REQBODY_PROCESSOR",
    "WEBAPPID",
    "SESSIONID",
];

/// The fields of `text`, variables joined by `|`.
pub(super) fn target(text: &str) -> Target {
    let mut target = Target::default();
    for part in parts(text) {
        add(&mut target, part.trim());
    }
    target
}

/// Splits at `|` outside of quotes and of `/patterns/`.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut slashed, mut quoted, mut last) = (0, false, false, ' ');
    for (at, one) in text.char_indices() {
        match one {
            '\'' => quoted = !quoted,
            '/' if last == ':' && !text.get(start..at).unwrap_or_default().ends_with("XML:") => {
                slashed = true;
            }
            '/' if slashed && last != '\\' => slashed = false,
            '|' if !quoted && !slashed => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
        last = one;
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

fn add(target: &mut Target, part: &str) {
    let part = part.trim_matches('"');
    let (excluded, rest) = part.strip_prefix('!').map_or((false, part), |rest| (true, rest));
    let (counted, rest) = rest.strip_prefix('&').map_or((false, rest), |rest| (true, rest));
    let (name, selector) =
        rest.split_once(':').map_or((rest, None), |(name, selector)| (name, Some(selector)));
    let name = name.to_ascii_uppercase();
    target.counted |= counted;
    if OWN.contains(&name.as_str()) {
        target.own.push(rest.to_owned());
        return;
    }
    if name.starts_with("MATCHED_VAR") {
        target.matched = true;
        return;
    }
    let Some((_, places)) = COLLECTIONS.iter().find(|(known, _)| *known == name) else {
        if !part.is_empty() {
            target.unknown.push(rest.to_owned());
        }
        return;
    };
    target.losses.extend(LOSSES.iter().find(|(of, _)| *of == name).map(|(_, loss)| *loss));
    let selected = match selector {
        Some(selector) if name != "XML" && places.iter().all(|place| has_names(place)) => {
            match name_pattern(selector) {
                Some(selected) => Some(selected),
                None => {
                    target.unknown.push(rest.to_owned());
                    return;
                }
            }
        }
        _ => None,
    };
    let fields = places.iter().map(|place| match &selected {
        Some(name) => format!("{place}.{name}"),
        None => (*place).to_owned(),
    });
    let list = if excluded { &mut target.except } else { &mut target.fields };
    for field in fields {
        if !list.contains(&field) {
            list.push(field);
        }
    }
}

fn has_names(place: &str) -> bool {
    matches!(
        place,
        "query" | "body.form" | "body.json" | "body.multipart" | "cookie" | "header" | "response.header"
    )
}

/// A selector as a pattern of names: a name, or a simple regular expression.
fn name_pattern(selector: &str) -> Option<String> {
    let selector = selector.trim_matches('\'');
    let Some(pattern) = selector.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) else {
        let plain = !selector.is_empty() && !selector.contains(['*', ' ']);
        return plain.then(|| selector.to_ascii_lowercase());
    };
    let (begins, pattern) = pattern.strip_prefix('^').map_or((false, pattern), |rest| (true, rest));
    let (ends, pattern) = pattern.strip_suffix('$').map_or((false, pattern), |rest| (true, rest));
    let pattern = pattern.replace(r"\.", ".").replace(r"\-", "-");
    let word = |one: char| one.is_ascii_alphanumeric() || matches!(one, '_' | '-' | '.');
    if pattern.is_empty() || !pattern.chars().all(word) {
        return None;
    }
    let pattern = pattern.to_ascii_lowercase();
    Some(match (begins, ends) {
        (true, true) => pattern,
        (true, false) => format!("{pattern}*"),
        (false, true) => format!("*{pattern}"),
        (false, false) => format!("*{pattern}*"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_fields() {
        let rows: &[(&str, &[&str], &[&str])] = &[
            (
                "REQUEST_COOKIES|!REQUEST_COOKIES:/__utm/|REQUEST_COOKIES_NAMES|ARGS_NAMES|ARGS|XML:/*",
                &["cookie", "name", "query", "body.form", "body.json", "body.multipart", "body.xml"],
                &["cookie.*__utm*"],
            ),
            ("REQUEST_HEADERS:User-Agent|REQUEST_HEADERS:'/^X-/'", &["header.user-agent", "header.x-*"], &[]),
            ("ARGS_GET:/^a|b$/|REQUEST_METHOD", &["method"], &[]),
            ("RESPONSE_BODY", &["response.body"], &[]),
            ("FILES|!FILES:x", &["body.multipart.*.filename"], &["body.multipart.*.filename"]),
        ];
        for (text, fields, except) in rows {
            let got = target(text);
            assert_eq!((got.fields, got.except), (to_owned(fields), to_owned(except)), "{text}");
        }
    }

    fn to_owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_no_field_is_named() {
        let got = target("&ARGS|TX:/x/|GEO:COUNTRY_CODE|MATCHED_VARS|ARGS:/a.*b/");
        assert!(got.counted && got.matched);
        assert_eq!(
            (got.own, got.unknown),
            (to_owned(&["TX:/x/"]), to_owned(&["GEO:COUNTRY_CODE", "ARGS:/a.*b/"]))
        );
        assert_eq!(target("REQUEST_BASENAME").losses.len(), 1);
    }
}
