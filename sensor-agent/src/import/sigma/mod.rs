//! Sigma's rules for logs of web servers and proxies (YAML): what they ask of a line of a log is asked of the request and the answer
//! behind it. A condition with alternatives over several fields becomes several rules.

mod condition;
mod field;

use std::collections::BTreeMap;

use sensor_engine::finding::{Class, Severity};
use serde_json::{Map, Value};

use super::draft::{At, Draft, kebab, line};
use super::{Entry, Fate, Foreign, Read};
use condition::Expression;

/// Most documents of one file.
const MAX_DOCUMENTS: usize = 10_000;
/// Most selections of one rule.
const MAX_SELECTIONS: usize = 500;

/// The rules of all files.
pub(super) fn read(files: &[Foreign]) -> Vec<Read> {
    files
        .iter()
        .flat_map(|file| {
            documents(&file.text).into_iter().flat_map(|(line, text)| one(&file.name, line, text))
        })
        .collect()
}

/// The documents of a file, and the lines on which they begin.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut begin, mut at) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line.trim_end() == "---" {
            documents.push((begin, text.get(start..at).unwrap_or_default()));
            (start, begin) = (at + line.len(), number + 2);
        }
        at += line.len();
    }
    documents.push((begin, text.get(start..).unwrap_or_default()));
    let blank =
        |text: &str| text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    documents.into_iter().filter(|(_, text)| !blank(text)).take(MAX_DOCUMENTS).collect()
}

fn one(file: &str, at: usize, text: &str) -> Vec<Read> {
    let at = At { file: file.to_owned(), line: at };
    let left = |name: &str, why: String| {
        vec![Err(Entry { at: at.clone(), name: line(name, 80), directives: 1, fate: Fate::Left(why) })]
    };
    let rule: Value = match serde_saphyr::from_str(text) {
        Ok(rule) => rule,
        Err(error) => {
            return left(
                "(document)",
                format!("no YAML: {}", line(error.to_string().lines().next().unwrap_or_default(), 200)),
            );
        }
    };
    let title = rule.get("title").and_then(Value::as_str).unwrap_or("(no title)");
    drafts(&at, &rule, title)
        .map_or_else(|why| left(title, why), |drafts| drafts.into_iter().map(Ok).collect())
}

fn drafts(at: &At, rule: &Value, title: &str) -> Result<Vec<Draft>, String> {
    is_of_web(rule.get("logsource"))?;
    let detection = rule.get("detection").and_then(Value::as_object).ok_or("no `detection`")?;
    let mut losses = Vec::new();
    let selections = selections(detection, &mut losses)?;
    let mut alternatives = Vec::new();
    for text in conditions(detection)? {
        alternatives.extend(condition::alternatives(&condition::parse(text, &selections)?)?);
    }
    if detection.contains_key("timeframe") {
        losses.push("times are not looked at".to_owned());
    }
    let (severity, confidence) = severity(rule);
    let id = kebab(title);
    let draft = |(number, tests)| Draft {
        at: at.clone(),
        // Of several rules out of one, the first stands for it.
        directives: usize::from(number == 0),
        id: format!("sigma-{}", if id.is_empty() { "rule" } else { &id }),
        number: None,
        revision: 1,
        title: line(title, 200),
        class: class(title),
        severity,
        confidence,
        tags: tags(rule),
        tests,
        any: Vec::new(),
        when: Vec::new(),
        client: None,
        losses: losses.clone(),
    };
    Ok(alternatives.into_iter().enumerate().map(draft).collect())
}

/// Refuses rules for other logs.
fn is_of_web(source: Option<&Value>) -> Result<(), String> {
    let of =
        |key: &str| source.and_then(|source| source.get(key)).and_then(Value::as_str).unwrap_or_default();
    let (category, product, service) = (of("category"), of("product"), of("service"));
    let web = ["webserver", "proxy", "apache", "nginx", "iis"];
    let known =
        web.contains(&category) || category.is_empty() && (web.contains(&product) || web.contains(&service));
    let name = [category, product, service].into_iter().find(|name| !name.is_empty()).unwrap_or("(none)");
    if known { Ok(()) } else { Err(format!("log source `{}`", line(name, 40))) }
}

fn conditions(detection: &Map<String, Value>) -> Result<Vec<&str>, String> {
    let texts = match detection.get("condition") {
        Some(Value::String(text)) => vec![text.as_str()],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if texts.is_empty() { Err("no `condition`".into()) } else { Ok(texts) }
}

fn selections(
    detection: &Map<String, Value>,
    losses: &mut Vec<String>,
) -> Result<BTreeMap<String, Expression>, String> {
    let named = detection.iter().filter(|(name, _)| !matches!(name.as_str(), "condition" | "timeframe"));
    let mut selections = BTreeMap::new();
    for (name, value) in named.take(MAX_SELECTIONS) {
        selections.insert(name.clone(), selection(value, losses)?);
    }
    Ok(selections)
}

/// A table of entries that must all hold, or a list of alternatives.
fn selection(value: &Value, losses: &mut Vec<String>) -> Result<Expression, String> {
    match value {
        Value::Object(entries) => {
            let parts: Result<Vec<_>, String> =
                entries.iter().map(|(key, value)| field::entry(key, value, losses)).collect();
            Ok(Expression::And(parts?))
        }
        Value::Array(list) if list.iter().all(Value::is_object) && !list.is_empty() => {
            let parts: Result<Vec<_>, String> = list.iter().map(|one| selection(one, losses)).collect();
            Ok(Expression::Or(parts?))
        }
        Value::Array(list) => field::keywords(list),
        Value::String(_) | Value::Number(_) => field::keywords(std::slice::from_ref(value)),
        _ => Err("a selection that is neither a table nor a list".into()),
    }
}

/// How bad it says it is, and how sure: by how long it has been in use.
fn severity(rule: &Value) -> (Severity, f32) {
    let of = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or_default();
    let severity = match of("level") {
        "critical" => Severity::Critical,
        "high" => Severity::High,
        "low" => Severity::Low,
        "informational" => Severity::Info,
        _ => Severity::Medium,
    };
    let confidence = match of("status") {
        "stable" => 0.8,
        "test" => 0.7,
        "experimental" => 0.55,
        _ => 0.6,
    };
    (severity, confidence)
}

fn class(title: &str) -> Class {
    let title = title.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| title.contains(word));
    match () {
        () if has(&["sql injection", "sqli"]) => Class::SqlInjection,
        () if has(&["auth bypass", "authentication bypass"]) => Class::AuthBypass,
        () if has(&["disclosure", "source code enumeration"]) => Class::DataExposure,
        () => Class::InputValidation,
    }
}

fn tags(rule: &Value) -> Vec<String> {
    let list = rule.get("tags").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let tag = |tag: &str| match tag.strip_prefix("cve.") {
        Some(number) => format!("CVE-{}", number.trim_start_matches("cve-").replace('.', "-")),
        None => tag.replace("attack.t", "ATTACK-T"),
    };
    list.iter().filter_map(Value::as_str).map(|text| line(&tag(text), 60)).take(16).collect()
}
