//! From a false alert to the exceptions that would have silenced it: one for each finding, by rule, path and field, as narrow as
//! the event can tell. An event holds its path escaped and redacted; what it does not hold exactly is left open, and said.

use sensor_engine::rule::{RuleSet, RuleSource};
use serde::Serialize;
use serde_json::Value;

use crate::import::quoted;

/// Longest path that an event holds whole; a longer one may have been cut.
const MAX_PATH: usize = 1000;
/// Most proposals for one alert.
const MAX_PROPOSALS: usize = 64;

/// An exception that would have silenced a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Proposal {
    /// The rule.
    pub(crate) rule: String,
    /// An `[[exception]]` table, as it can stand in a rule file.
    pub(crate) exception: String,
    /// Whether it silences this rule in this field of this very path, and nothing else.
    pub(crate) exact: bool,
    /// The same for every path of this form (`/orders/*`), where numbers or ids stand in the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exception_for_route: Option<String>,
}

/// The ids of the rules that made an event, each once.
pub(crate) fn rules(event: &Value) -> Vec<String> {
    let mut rules: Vec<String> = findings(event).map(|(rule, _)| rule.to_owned()).collect();
    rules.sort();
    rules.dedup();
    rules
}

/// What would have silenced an event.
pub(crate) fn proposals(event: &Value) -> Vec<Proposal> {
    let path = Path::of(event["http"]["url"].as_str().unwrap_or_default());
    let mut proposals: Vec<Proposal> = Vec::new();
    for (rule, field) in findings(event).take(MAX_PROPOSALS) {
        if let Some(proposal) = proposal(rule, field, &path)
            && !proposals.contains(&proposal)
        {
            proposals.push(proposal);
        }
    }
    proposals
}

fn findings(event: &Value) -> impl Iterator<Item = (&str, &str)> {
    let findings = event["sensor"]["findings"].as_array().into_iter().flatten();
    findings.filter_map(|finding| Some((finding["rule"].as_str()?, finding["field"].as_str()?)))
}

fn proposal(rule: &str, field: &str, path: &Path) -> Option<Proposal> {
    // What many requests come to has no field; a name that was escaped or that ends in a star would mean others.
    let named = !field.contains(['\\', '*']) && field != "behaviour";
    let field = Some(field).filter(|_| named);
    let table = |path: Option<&str>| table(rule, path, field).filter(|text| is_taken(text));
    Some(Proposal {
        rule: rule.to_owned(),
        exception: table(path.known.as_deref()).or_else(|| table(None))?,
        exact: path.exact && field.is_some(),
        exception_for_route: path.route.as_deref().and_then(|route| table(Some(route))),
    })
}

fn table(rule: &str, path: Option<&str>, field: Option<&str>) -> Option<String> {
    if path.is_none() && field.is_none() {
        return None;
    }
    let pairs = [
        ("rule", Some(rule)),
        ("path", path),
        ("field", field),
        ("reason", Some("marked as a false positive")),
    ];
    let lines = pairs.into_iter().filter_map(|(key, value)| Some(format!("{key} = {}\n", quoted(value?))));
    Some(format!("[[exception]]\n{}", lines.collect::<String>()))
}

/// Whether the language takes it.
fn is_taken(text: &str) -> bool {
    RuleSet::compile(&[RuleSource { name: "proposal", text }]).is_ok()
}

/// What an event tells of the path.
#[derive(Debug, Default, PartialEq, Eq)]
struct Path {
    /// The path, or its beginning and `*`.
    known: Option<String>,
    exact: bool,
    route: Option<String>,
}

impl Path {
    fn of(url: &str) -> Self {
        let path = url.split('?').next().unwrap_or_default();
        if !path.starts_with('/') {
            return Self::default();
        }
        let unfit =
            [path.find("[redacted]"), path.find(['\\', '*']), (path.len() > MAX_PATH).then_some(MAX_PATH)];
        match unfit.into_iter().flatten().min() {
            None => Self { known: Some(path.to_owned()), exact: true, route: route(path) },
            Some(at) => Self { known: beginning(path, at), exact: false, route: None },
        }
    }
}

/// Everything below the folder in which byte `at` stands; `None` where that is the root, or covers nothing.
fn beginning(path: &str, at: usize) -> Option<String> {
    let folder = path.get(..at)?.rfind('/').and_then(|end| path.get(..=end))?;
    let plain = !folder.contains(['%', ';']) && !folder.contains("..");
    (plain && folder.len() > 1).then(|| format!("{folder}*"))
}

/// Everything below the first segment that stands for an object: a number, or an id with digits.
fn route(path: &str) -> Option<String> {
    let is_object = |segment: &str| {
        let digits = segment.bytes().filter(u8::is_ascii_digit).count();
        digits > 0 && (digits == segment.len() || segment.len() >= 16 && digits >= 4)
    };
    let mut at = 0;
    for segment in path.split('/') {
        if is_object(segment) {
            return beginning(path, at);
        }
        at += segment.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sensor_engine::engine::Settings;
    use sensor_engine::finding::Confidence;
    use sensor_engine::policy::Policy;
    use serde_json::json;

    use super::*;
    use crate::config::Config;
    use crate::judge::Judge;

    #[test]
    fn paths_are_taken_as_far_as_they_are_known() {
        let rows: &[(&str, Option<&str>, bool, Option<&str>)] = &[
            ("/admin/sql?q=1", Some("/admin/sql"), true, None),
            ("/orders/17/notes", Some("/orders/17/notes"), true, Some("/orders/*")),
            ("/17", Some("/17"), true, None),
            ("/f/3f2c9a7e11b04c5d8e21/x", Some("/f/3f2c9a7e11b04c5d8e21/x"), true, Some("/f/*")),
            ("/users/[redacted]/x", Some("/users/*"), false, None),
            (r"/a/b\x1b", Some("/a/*"), false, None),
            ("/[redacted]", None, false, None),
            ("/a/../[redacted]", None, false, None),
            ("/a*", None, false, None),
            ("http://h/a", None, false, None),
            ("", None, false, None),
        ];
        for (url, known, exact, route) in rows {
            let got = Path::of(url);
            let shown = (got.known.as_deref(), got.exact, got.route.as_deref());
            assert_eq!(shown, (*known, *exact, *route), "{url}");
        }
        let long = format!("/a/{}", "b".repeat(2000));
        assert_eq!(Path::of(&long).known.as_deref(), Some("/a/*"));
    }

    #[test]
    fn events_that_tell_nothing_exact_give_what_they_can() {
        let event = |url: &str, field: &str| json!({ "http": { "url": url }, "sensor": { "findings": [{ "rule": "r", "field": field }] } });
        let texts = |event: &Value| -> Vec<(String, bool)> {
            proposals(event).into_iter().map(|one| (one.exception.replace('\n', "|"), one.exact)).collect()
        };
        let end = "reason = \"marked as a false positive\"|";
        assert_eq!(
            texts(&event("/login", "behaviour")),
            [(format!("[[exception]]|rule = \"r\"|path = \"/login\"|{end}"), false)]
        );
        assert_eq!(
            texts(&event("/[redacted]", "query.q")),
            [(format!("[[exception]]|rule = \"r\"|field = \"query.q\"|{end}"), false)]
        );
        assert_eq!(texts(&event("/[redacted]", "behaviour")), []);
        assert_eq!(texts(&event("/a", r"query.\x1b").clone()).len(), 1, "the path alone");
        assert_eq!(rules(&json!({})), Vec::<String>::new());
    }

    /// What is found with the shipped rules and `more` beside them: rule and field.
    fn found(more: &str, request: &str) -> Vec<(String, String)> {
        let shipped = crate::detection::shipped();
        let sources = shipped.iter().map(|(name, text)| RuleSource { name, text });
        let sources: Vec<_> = sources.chain([RuleSource { name: "more", text: more }]).collect();
        let rules = Arc::new(RuleSet::compile(&sources).unwrap());
        let policy = Policy { report_from: Confidence::ZERO, ..Policy::default() };
        // The model speaks up where what was surer is silenced.
        let settings = Settings { model: false, ..Config::default().engine_settings() };
        let mut judge = Judge::new(settings, rules, &policy);
        let judged = judge.judge(&crate::request::with_line_ends(request.as_bytes()), b"").unwrap();
        judged.findings.iter().map(|one| (one.rule.id.clone(), one.field.clone())).collect()
    }

    /// Each proposal silences what it was made for, and neither another field nor another path.
    #[test]
    fn a_proposal_silences_its_finding_and_nothing_else() {
        let requests = [
            ("GET /report/run?q=1%27+union+select+1,2--+ HTTP/1.1\nHost: h\n\n", "/report/run"),
            ("GET /wiki/edit?text=%3Cscript%3Ealert(1)%3C/script%3E HTTP/1.1\nHost: h\n\n", "/wiki/edit"),
            ("GET /x HTTP/1.1\nHost: h\nAuthorization: Bearer null\n\n", "/x"),
            ("GET /files/get?name=../../etc/passwd HTTP/1.1\nHost: h\n\n", "/files/get"),
            ("POST /t HTTP/1.1\nHost: h\nContent-Length: 3\nTransfer-Encoding: chunked\n\n0\n\n", "/t"),
        ];
        for (request, path) in requests {
            let before = found("# none\n", request);
            assert!(!before.is_empty(), "{request}");
            for (rule, field) in &before {
                let event = json!({ "http": { "url": path }, "sensor": { "findings": [{ "rule": rule, "field": field }] } });
                let [proposal] = &proposals(&event)[..] else { panic!("{rule} {field}") };
                let pair = (rule.clone(), field.clone());
                let silenced = found(&proposal.exception, request);
                let others: Vec<_> = before.iter().filter(|one| **one != pair).cloned().collect();
                assert_eq!(silenced, others, "{}", proposal.exception);
                let elsewhere = request.replacen(path, "/other", 1);
                assert!(found(&proposal.exception, &elsewhere).contains(&pair), "{}", proposal.exception);
            }
        }
    }
}
