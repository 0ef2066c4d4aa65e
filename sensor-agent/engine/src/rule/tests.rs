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
        (
            "tags",
            "response = \"ignore\"\ntags",
            "`response` is of type string, expected `\"score\"`, `\"observe\"`,",
        ),
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
    assert_eq!(response("response = 'score'"), None);
    assert_eq!(response("response = 'observe'"), Some(Response::Observe));
    assert_eq!(response("response = 'kill'"), Some(Response::Kill));
    let minute = std::time::Duration::from_secs(60);
    assert_eq!(response("response = { block_secs = 60 }"), Some(Response::BlockFor(minute)));
}

#[test]
fn exceptions_come_with_their_reason() {
    let text = format!("[[exception]]\nrule = 'probe'\nfield = 'query.q'\nreason = 'ours'\n{GOOD}");
    let set = compile(&text).unwrap();
    assert_eq!((set.exceptions().len(), set.exceptions()[0].reason()), (1, "ours"));
}

/// A rule with these keys in place of a pattern, and these examples.
fn rule_with(keys: &str, examples: &str) -> String {
    format!(
        "[[rule]]\nid = 'r'\ntitle = 't'\nclass = 'INPUT_VALIDATION'\nseverity = 'low'\nconfidence = 0.5\n{keys}\n\
         [rule.examples]\n{examples}\n"
    )
}

#[test]
fn operators_beside_patterns() {
    let many: Vec<String> = (0..3000).map(|number| format!("'phrase-{number}'")).collect();
    let rows: &[(&str, &str)] = &[
        (
            "fields = ['args']\nphrases = ['union select', 'xp_cmdshell']",
            "match = ['1 UNION  SELECT 2', 'query.q=a%20xp_CmdShell']\nno_match = ['union of selects']",
        ),
        (
            &format!("fields = ['args']\nphrases = [{}]", many.join(", ")),
            "match = ['x phrase-2999']\nno_match = ['phrase-']",
        ),
        (
            "fields = ['header.content-length']\nnumber_from = 1000",
            "match = ['1000', ' 70000']\nno_match = ['999', 'x', '-5000']",
        ),
        (
            "fields = ['response.status']\nnumber_from = 500\nnumber_to = 599",
            "match = ['503']\nno_match = ['404']",
        ),
        (
            "fields = ['header.x-forwarded-for']\naddresses = ['127.0.0.0/8', '::1']",
            "match = ['127.0.0.1', '[::1]']\nno_match = ['10.0.0.1', '127.0.0.1, 10.0.0.1']",
        ),
        (
            "fields = ['header.x-tenant']\nmin_length = 16\nmax_length = 64\nentropy_from = 4.2",
            "match = ['q7Zp0XkV9bTr4LmWn2Ys']\nno_match = ['acme-subsidiary-north', 'eeeeeeeeeeeeeeeeeeee', 'q7Zp0XkV9bTr']",
        ),
        (
            "fields = ['query.fill']\nmin_length = 16\nentropy_to = 0.5",
            "match = ['aaaaaaaaaaaaaaaaaaaaaaaa', '%41%41%41%41%41%41%41%41']\nno_match = ['abababababababababab', 'aaaa']",
        ),
        (
            "fields = ['args']\npattern = 'mark<x'\nalso = [{ fields = ['header.x-key'], min_length = 16, entropy_from = 3.9, not = true }]",
            "match = ['mark<x', ['mark<x', 'header.x-key=aaaaaaaaaaaaaaaaaaaaaaaa']]\nno_match = [['mark<x', 'header.x-key=0f1e2d3c4b5a69780123456789abcdef']]",
        ),
        (
            "fields = ['query']\nexcept = ['query.*token*', 'query.q']\nphrases = ['evil<word']",
            "match = ['query.a=evil<word']\nno_match = ['query.csrf_TOKEN_x=evil<word', 'query.Q=evil<word']",
        ),
        (
            "fields = ['header.x-filter']\ncoded = ['sql-*']",
            "match = [\"1' or 1=1--\", \"1' union select 1,2--\"]\nno_match = [\"O'Reilly\", '<script>alert(1)</script>']",
        ),
        (
            "fields = ['args']\ncoded = ['xss-markup']\nalso = [{ fields = ['method'], pattern = '^PUT$' }]",
            "match = [['<script>alert(1)</script>', 'method=PUT']]\nno_match = [['<script>alert(1)</script>', 'method=GET']]",
        ),
        (
            "fields = ['method']\nshort_field = true\npattern = '^P'\nalso = [{ fields = ['query'], at_least = 3 }]",
            "match = [['P', 'query.a=1', 'query.b=', 'query.c=1']]\nno_match = [['P', 'query.a=1', 'query.b=1']]",
        ),
        (
            "fields = ['method']\nshort_field = true\npattern = '^P'\nalso = [{ fields = ['header.host'], at_most = 0 }]",
            "match = ['P']\nno_match = [['P', 'header.host=a']]",
        ),
        (
            "fields = ['header.accept']\nshort_field = true\npattern = '^$'",
            "match = ['header.accept=']\nno_match = ['a', 'header.a=']",
        ),
        (
            "fields = ['method']\nshort_field = true\npattern = '^P'\nalso = [{ fields = ['target'], min_length = 9 }]",
            "match = [['P', 'target=/a/long/one']]\nno_match = [['P', 'target=/a']]",
        ),
    ];
    for (keys, examples) in rows {
        if let Err(errors) = compile(&rule_with(keys, examples)) {
            panic!("{keys}\n{}", errors.join("\n"));
        }
    }
}

#[test]
fn a_condition_in_cel_is_asked_last() {
    let keys = "fields = ['args']\npattern = 'evil<thing'\nwhen = \"request.method == 'POST' && in_network(client.address, '10.0.0.0/8')\"";
    let examples = "match = [['evil<thing', 'method=POST', 'client=10.1.1.1']]\n\
                    no_match = [['evil<thing', 'method=GET', 'client=10.1.1.1'], ['evil<thing', 'method=POST', 'client=11.1.1.1'], ['evil<thing', 'method=POST']]";
    assert!(compile(&rule_with(keys, examples)).unwrap().asks_for_client());
    let got = error(&rule_with(
        "fields = ['args']\npattern = 'evil<thing'\nwhen = \"request.methd == 'x'\"",
        examples,
    ));
    assert!(
        got.contains("t.toml:9:17: rule `r`: `when` `request` has no `methd`, expected one of method"),
        "{got}"
    );
}

/// A rule whose examples would not be looked at in traffic is warned of.
#[test]
fn examples_are_as_plain_as_traffic() {
    let rule = |keys: &str| {
        format!(
            "[[rule]]\nid = 'r'\ntitle = 't'\nclass = 'SESSION'\nseverity = 'low'\nconfidence = 0.5\n{keys}\n[rule.examples]\n"
        )
    };
    let plain = "match = ['root']\nno_match = ['x']\n";
    let warned = |text: &str| {
        let set = compile(text).unwrap();
        set.warnings().iter().any(|warning| warning.reason.contains("too plain to be looked at in traffic"))
    };
    let args = rule("fields = ['args']\npattern = 'root'");
    assert!(warned(&format!("{args}{plain}")));
    for keys in
        ["fields = ['query.role']\npattern = 'root'", "fields = ['args']\npattern = 'root'\nplain = true"]
    {
        assert!(!warned(&format!("{}{plain}", rule(keys))), "{keys}");
    }
    let status = rule("fields = ['response.status']\nshort_field = true\npattern = '^500$'");
    assert!(!warned(&format!("{status}match = ['500']\nno_match = ['200']\n")));
}

#[test]
fn lengths_alone_are_an_operator() {
    let long = "a".repeat(300);
    let examples = format!("match = ['{long}']\nno_match = ['short']");
    compile(&rule_with("fields = ['args']\nmin_length = 256", &examples)).unwrap();
    let got = error(&rule_with("fields = ['args']\nmin_length = 10", &examples));
    assert!(got.contains("a rule about lengths alone looks at many fields"), "{got}");
}

#[test]
fn operators_that_are_wrong_are_refused() {
    let rows: &[(&str, &str)] = &[
        ("fields = ['args']", "missing key `pattern`, or one of `phrases`"),
        ("fields = ['args']\npattern = 'abcd'\nphrases = ['abcd']", "`pattern` and `phrases` are given"),
        ("fields = ['args']\nphrases = []", "`phrases` has 0 entries, expected 1 to 10000"),
        ("fields = ['args']\nphrases = ['']", "a phrase is empty"),
        ("fields = ['args']\nphrases = ['a']", "the shortest literal that every match contains has 1 bytes"),
        ("fields = ['args']\nnumber_from = 1", "fields of one name each"),
        ("fields = ['header.a']\nnumber_from = 'x'", "`number_from` is of type string"),
        ("fields = ['header.a']\nnumber_from = 2\nnumber_to = 1", "`number_from` is 2, expected at most"),
        ("fields = ['header.a']\nentropy_from = 9\nmin_length = 16", "expected a number from 0 to 8"),
        ("fields = ['header.a']\nentropy_from = 4", "expected `min_length` of at least 16"),
        (
            "fields = ['header.a']\nmin_length = 16\nentropy_from = 5\nentropy_to = 4",
            "`entropy_from` is 5, expected at most `entropy_to`, 4",
        ),
        (
            "fields = ['header.a']\nmin_length = 16\nmax_length = 32\nentropy_from = 5.5",
            "`entropy_from` is 5.5, but a value of 32 bytes has at most 5.00",
        ),
        ("fields = ['args']\nmin_length = 16\nentropy_from = 4", "a rule about entropy alone looks at many"),
        (
            "fields = ['args']\npattern = 'abcd'\nalso = [{ fields = ['query'], entropy_to = 1 }]",
            "expected `min_length` of at least 16",
        ),
        ("fields = ['header.a']\naddresses = ['10.0.0.0/33']", "`10.0.0.0/33` is no address or prefix"),
        ("fields = ['args']\npattern = 'abcd'\ncoded_from = 0.5", "`coded_from` without `coded`"),
        ("fields = ['args']\ncoded = ['sqli']", "unknown coded detection `sqli`"),
        ("fields = ['args']\ncoded = ['sql-*']\ncoded_from = 2", "expected a number from 0 to 1"),
        (
            "fields = ['args']\npattern = 'abcd'\nalso = [{ fields = ['query'], at_least = 3, at_most = 1 }]",
            "`at_most` is 1, expected at least `at_least`, 3",
        ),
    ];
    for (keys, expected) in rows {
        let got = error(&rule_with(keys, "match = ['abcd']\nno_match = ['x']"));
        assert!(got.contains(expected), "{keys}: {got}");
    }
}

#[test]
fn rules_that_add_nothing_are_warned_of() {
    let warned = |text: &str| {
        let set = compile(text).unwrap();
        set.warnings().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let other = |(from, to): (&str, &str)| {
        let text = GOOD.replacen("\"probe\"", "\"other\"", 1);
        assert!(text.contains(from), "{from}");
        format!("{GOOD}{}", text.replacen(from, to, 1))
    };
    let surer = "rule `probe` is at least as sure and finds every example of this one";
    let rows: &[((&str, &str), &str)] = &[
        (("0.9", "0.5"), "asks what rule `probe` asks"),
        ((r"probe\s+it", r"probe\s+i[t]"), surer),
        (("tags", "also = [{ fields = ['method'], pattern = 'X', not = true }]\ntags"), surer),
    ];
    for (change, expected) in rows {
        let expected = format!("t.toml:17:6: rule `other`: {expected}");
        assert_eq!(warned(&other(*change)), [expected], "{change:?}");
    }
    let rows =
        [("\"INPUT_VALIDATION\"", "\"SESSION\""), ("[\"args\"]", "[\"args\", \"path\"]"), ("0.9", "0.95")];
    for change in rows {
        let text = other(change);
        let (first, second) = text.split_at(GOOD.len());
        let got = warned(&format!("{first}{}", second.replace(r"probe\s+it", r"probe\s+i[t]")));
        assert!(!got.iter().any(|line| line.contains("rule `other`: ")), "{change:?}\n{got:?}");
    }
    let large = GOOD.replace(r"probe\s+it", r"probe\s+it(?:[a-z]{0,400}[0-9]{0,400}){3}");
    assert!(
        warned(&large)[0].contains("KiB of memory: lists of words are smaller as `phrases`"),
        "{:?}",
        warned(&large)
    );
}
