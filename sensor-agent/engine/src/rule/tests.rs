//! Rule sources in, rule sets or errors out.

use super::*;
use crate::finding::Response;

const GOOD: &str = r#"
[[rule]]
id = "probe"
revision = 3
title = "A probe"
class = "INPUT_VALIDATION"
severity = "high"
confidence = 0.9
tags = ["CWE-20"]
fields = ["args"]
pattern = 'probe\s+it'
[rule.examples]
match = ["now PROBE  it", "query.x=probe%20it"]
no_match = ["probes it"]
"#;

fn compile(text: &str) -> Result<RuleSet, Vec<String>> {
    RuleSet::compile(&[RuleSource { name: "t.toml", text }])
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn error(text: &str) -> String {
    compile(text).map(|_| ()).unwrap_err().join("\n")
}

#[test]
fn a_valid_rule_becomes_a_set() {
    let set = compile(GOOD).unwrap();
    let rule = &set.rules()[0];
    assert_eq!((rule.info().id.as_str(), rule.info().revision), ("probe", 3));
    assert_eq!((rule.class(), rule.severity()), (Class::InputValidation, Severity::High));
    assert!(rule.info().number > 0 && set.warnings().is_empty());
}

#[test]
fn what_is_wrong_is_refused_with_its_place() {
    let rows: &[(&str, &str, &str)] = &[
        ("pattern =", "patern =", "unknown key `patern`, did you mean `pattern`?"),
        ("title = \"A probe\"\n", "", "missing key `title`"),
        ("\"high\"", "\"hihg\"", "unknown severity `hihg`, expected one of critical, "),
        ("0.9", "1.5", "confidence `1.5` is out of range, expected 0 to 1"),
        ("0.9", "\"x\"", "`confidence` is of type string, expected a number from 0 to 1"),
        ("[\"args\"]", "[\"arg\"]", "unknown field `arg`, did you mean `args`?"),
        ("[\"args\"]", "[]", "`fields` is empty"),
        ("'probe\\s+it'", "'probe('", "`pattern` does not parse: unclosed group"),
        ("'probe\\s+it'", "'(?:probe)?'", "matches the empty string"),
        ("'probe\\s+it'", "'p[a-z]{3}\\s'", "has 1 bytes (p), expected at least 4"),
        ("'probe\\s+it'", "'probe[a-z]{1,900}[0-9]{900}(?:[a-z]{900}){9}'", "pattern is too large"),
        ("\"probes it\"", "\"probe it\"", "example `probe it` matches, expected none"),
        ("\"now PROBE  it\"", "\"now\"", "example `now` does not match, expected a match"),
        ("no_match = [\"probes it\"]", "no_match = []", "`examples.no_match` is missing or empty"),
        ("\"probe\"", "\"Probe_1\"", "id `Probe_1` is not kebab-case"),
        ("revision = 3", "revision = \"x\"", "`revision` is of type string, expected a whole number"),
        ("tags", "short_field = true\ntags", "`short_field` is set, expected fields of one name each"),
        ("tags", "decoders = [\"rot13\"]\ntags", "unknown decoder `rot13`, expected one of percent, "),
        (
            "tags",
            "min_length = 9\nmax_length = 3\ntags",
            "`max_length` is 3, expected at least `min_length`, 9",
        ),
        ("tags", "response = \"ignore\"\ntags", "`response` is of type string, expected `\"observe\"` or"),
        (
            "tags",
            "response = { block_seconds = 3 }\ntags",
            "unknown key `block_seconds`, expected one of block_secs",
        ),
        ("tags", "any = [{ fields = [\"method\"], patern = 'x' }]\ntags", "unknown key `patern`"),
        (
            "[[rule]]",
            "[[exception]]\nrule = \"x\"\nreason = \"y\"\n[[rule]]",
            "exception without `path` or `field`",
        ),
        ("[[rule]]", "[[exception]]\npath = \"/\"\nreason = \"y\"\n[[rule]]", "missing key `rule`"),
        ("tags", "also = [{ fields = [\"method\"], patern = 'x' }]\ntags", "unknown key `patern`"),
        ("[[rule]]", "[[rules]]", "unknown key `rules`, did you mean `rule`?"),
        ("= 3", "= = 3", "t.toml:4:"),
    ];
    for (from, to, expected) in rows {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let got = error(&text);
        assert!(got.contains(expected) && got.starts_with("t.toml:"), "{to}: {got}");
    }
}

#[test]
fn all_errors_come_at_once() {
    let text =
        format!("{}{}", GOOD.replace("high", "hig").replace("\"args\"", "\"arg\""), GOOD.replace("0.9", "2"));
    let got = compile(&text).unwrap_err();
    assert_eq!(got.len(), 3, "{got:?}");
    assert!(got[0].starts_with("t.toml:7:12: rule `probe`: unknown severity"), "{}", got[0]);
}

#[test]
fn an_id_is_used_once() {
    assert!(error(&GOOD.repeat(2)).contains("id `probe` is used twice"));
}

#[test]
fn short_literals_are_warned_of() {
    let text = GOOD.replace("probe\\s", "(?:probe|pro)\\s");
    assert!(compile(&text).unwrap().warnings()[0].reason.contains("(pro)"));
}

#[test]
fn a_short_field_needs_no_literal() {
    let text = r#"
[[rule]]
id = "odd-method"
title = "x"
class = "ACCESS_CONTROL"
severity = "low"
confidence = 0.5
fields = ["method"]
short_field = true
pattern = '^[a-z]+$'
case_sensitive = true
also = [{ fields = ["header.x-a"], pattern = '1' }, { fields = ["header.x-b"], pattern = '1', not = true }]
[rule.examples]
match = [["method=get", "header.x-a=1"]]
no_match = ["get", ["method=GET", "header.x-a=1"], ["method=get", "header.x-a=1", "header.x-b=1"]]
"#;
    compile(text).unwrap();
}

#[test]
fn decoders_bound_the_views_of_a_rule() {
    let raw = GOOD.replace("tags", "decoders = []\ntags");
    assert!(error(&raw).contains("example `query.x=probe%20it` does not match"));
    compile(&GOOD.replace("tags", "decoders = [\"percent\"]\ntags")).unwrap();
}

#[test]
fn matches_that_end_in_high_bytes_are_seen() {
    let text =
        GOOD.replace("'probe\\s+it'", r"'probe[\x80-\xff]'").replace("no_match", "x").replace("match", "y");
    let text =
        text.replace("y = [\"now PROBE  it\", \"query.x=probe%20it\"]", "match = ['query.x=probe%FF']");
    compile(&text.replace("x = [\"probes it\"]", "no_match = ['probes']")).unwrap();
}

#[test]
fn an_empty_set_is_a_set() {
    assert!(compile("# nothing yet\n").unwrap().rules().is_empty());
}

/// [`GOOD`] with further keys.
fn good_with(keys: &str) -> String {
    GOOD.replace("tags", &format!("{keys}\ntags"))
}

#[test]
fn one_of_any_must_hold() {
    let any = "any = [{ fields = ['method'], pattern = '^PUT$' }, { fields = ['header.x'], pattern = 'y' }]";
    let with =
        |examples: &str| good_with(any).replace("[\"now PROBE  it\", \"query.x=probe%20it\"]", examples);
    assert!(compile(&with("[['probe it', 'method=PUT'], ['probe it', 'header.x=y']]")).is_ok());
    assert!(error(&with("['probe it']")).contains("does not match"));
}

#[test]
fn lengths_bound_where_a_pattern_is_searched() {
    assert!(compile(&good_with("min_length = 5\nmax_length = 20")).is_ok());
    assert!(error(&good_with("max_length = 5")).contains("does not match"));
    assert!(error(&good_with("min_length = 100")).contains("does not match"));
}

#[test]
fn responses_stand_in_the_info() {
    let response = |keys: &str| compile(&good_with(keys)).unwrap().rules()[0].info().response;
    assert_eq!(response(""), None);
    assert_eq!(response("response = 'observe'"), Some(Response::Observe));
    let minute = std::time::Duration::from_secs(60);
    assert_eq!(response("response = { block_secs = 60 }"), Some(Response::BlockFor(minute)));
}

#[test]
fn exceptions_come_with_their_reason() {
    let text = format!("[[exception]]\nrule = 'probe'\nfield = 'query.q'\nreason = 'ours'\n{GOOD}");
    let set = compile(&text).unwrap();
    assert_eq!((set.exceptions().len(), set.exceptions()[0].reason()), (1, "ours"));
}
