//! Sources in, errors or what the rules say of dialogs out.

use super::*;

const RULE: &str = r#"
[[rule]]
id = "b"
title = "t"
class = "SESSION"
severity = "low"
confidence = 0.6
[rule.behaviour]
key = ["client"]
window_secs = 60
steps = [{ status = ["404"], count = 3 }, { method = ["POST"], path = '^/a' }]
[rule.examples]
match = [["3* +1 GET /x# 404", "POST /a 200"]]
no_match = [["2* +1 GET /x# 404", "POST /a 200"]]
"#;

fn errors(text: &str) -> Vec<String> {
    let compiled = RuleSet::compile(&[RuleSource { name: "b.toml", text }]);
    compiled.err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[track_caller]
fn check(from: &str, to: &str, expected: &str) {
    let found = errors(&RULE.replacen(from, to, 1));
    assert!(found.iter().any(|error| error.contains(expected)), "{found:#?}");
}

#[test]
fn a_rule_compiles_and_does_on_its_examples_what_it_says() {
    assert_eq!(errors(RULE), Vec::<String>::new());
    let set = RuleSet::compile(&[RuleSource { name: "b.toml", text: RULE }]).unwrap();
    assert_eq!((set.rules().len(), set.behaviours().len()), (0, 1));
    assert_eq!(set.behaviours()[0].counted(), ("transactions".to_owned(), 1));
}

#[test]
fn what_is_wrong_is_refused_with_its_place() {
    check(
        "3* +1",
        "2* +1",
        "b.toml:13:10: rule `b`: example `2* +1 GET /x# 404 | POST /a 200` does not match, expected a match",
    );
    check("\"2* +1", "\"3* +1", "matches, expected none");
    check(
        "key = [\"client\"]",
        "key = [\"cleint\"]",
        "b.toml:9:8: rule `b`: unknown word `cleint`, did you mean `client`?",
    );
    check("key = [\"client\"]\n", "", "missing key `key`");
    check(
        "window_secs = 60",
        "window_secs = 999999999",
        "`window_secs` is 999999999, expected at most 604800",
    );
    check("\"404\"", "\"teapot\"", "status `teapot` is none, expected one like `404` or `4xx`, or `none`");
    check("\"POST\"]", "\"post\"]", "unknown method `post`");
    check("'^/a'", "'('", "`pattern` does not parse");
    check("count = 3", "cuont = 3", "unknown key `cuont`, did you mean `count`?");
    check(
        "count = 3",
        "count = 3, distinct = \"colour\"",
        "unknown word `colour`, expected one of client, session",
    );
    check("GET /x# 404", "GET /x#", "expected `[N*] [+SECS] METHOD PATH STATUS [NAME=VALUE …]`");
    check("POST /a 200", "POST /a 200 colour=red", "unknown word `colour=red`");
    check("3* +1", "999999* +1", "expected at most 20000 requests");
    check(r#"[["3* +1 GET /x# 404", "POST /a 200"]]"#, "[\"GET /x 404\"]", "`match` is of type string");
    check("confidence = 0.6", "confidence = 6", "out of range");
    check(
        "confidence = 0.6",
        "response = \"kill\"\nconfidence = 0.6",
        "but many requests have no connection",
    );
    check("steps = [", "fields = [", "unknown key `fields`");
    let twice = format!("{RULE}{RULE}");
    assert!(errors(&twice).iter().any(|error| error.contains("id `b` is used twice")));
}

#[test]
fn steps_wait_for_each_other_and_windows_end() {
    let with = |examples: &str| {
        let at = RULE.find("[rule.examples]").unwrap();
        errors(&format!(
            "{}[rule.examples]\nmatch = [[\"3* GET /x 404\", \"POST /a 200\"]]\nno_match = [{examples}]\n",
            &RULE[..at]
        ))
    };
    for dialog in [
        // The second step before the first, too late, and by another client.
        r#"["POST /a 200", "3* +1 GET /x 404"]"#,
        r#"["3* +1 GET /x 404", "+61 POST /a 200"]"#,
        r#"["3* +1 GET /x 404", "+1 POST /a 200 client=other"]"#,
        r#"["3* +40 GET /x 404", "+1 POST /a 200"]"#,
        r#"["3* +1 GET /x 404", "+1 POST /b 200"]"#,
        r#"["3* +1 GET /x 404 client=c#", "+1 POST /a 200 client=c2"]"#,
    ] {
        assert_eq!(with(dialog), Vec::<String>::new(), "{dialog}");
    }
    assert!(!with(r#"["5* +1 GET /x 404", "+30 POST /a 200"]"#).is_empty());
}
