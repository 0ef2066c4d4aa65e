//! A draft → a rule that our compiler takes. Foreign rules come without examples and without a word on which of their tests is
//! cheap, so that both are found out by trying, and the compiler has the last word.

use sensor_engine::rule::{RuleSet, RuleSource, sample};

use super::draft::{Ask, Draft, Fitted, Test, toml};

/// Most fields of one generated example.
const MAX_EXAMPLE_FIELDS: u32 = 300;
/// Longest generated value.
const MAX_VALUE: usize = 64 * 1024;
/// Longer lists of phrases are not looked for in values that are one plain word: each beginning costs time there.
const MAX_PLAIN_PHRASES: usize = 50;
/// Values in which a rule may have a mark of punctuation as its literal are no longer than this.
const MAX_SHORT_VALUE: u32 = 400;
/// How an example is put together.
#[derive(Clone, Copy)]
struct Joint {
    /// Of two values that must stand in one field, the later stands first.
    before: bool,
    /// What stands between them.
    between: &'static str,
    /// A value where any will do.
    any: &'static str,
}

const fn joint(before: bool, between: &'static str, any: &'static str) -> Joint {
    Joint { before, between, any }
}

/// Ways that are tried.
const JOINTS: [Joint; 8] = [
    joint(false, "", "a"),
    joint(false, " ", "a"),
    joint(true, "", "a"),
    joint(true, " ", "a"),
    joint(false, "&", "a"),
    joint(false, "/", "a"),
    joint(false, "", "?#1"),
    joint(false, "", "-9 B"),
];

/// The rule as TOML, or why it cannot be one.
pub(super) fn fit(draft: &mut Draft) -> Result<String, String> {
    anchor(draft)?;
    let mut refused = None;
    for main in 0..draft.tests.len() {
        let can_lead = |test: &Test| !test.not && !test.counts();
        if !draft.tests.get(main).is_some_and(can_lead) {
            continue;
        }
        match with_main(draft, main) {
            Ok((text, fitted)) => {
                if fitted.short_values {
                    draft.lose(format!("values of more than {MAX_SHORT_VALUE} bytes are not looked at: too little of the pattern is fixed"));
                }
                note_plain(draft, &fitted);
                note_conditions(draft, main);
                return Ok(text);
            }
            Err(reason) => refused = refused.or(Some(reason)),
        }
    }
    Err(refused.unwrap_or_else(|| "negated over many fields".into()))
}

/// A rule of nothing but negations and counts gets a test to stand on: that the field is there, or the request itself.
fn anchor(draft: &mut Draft) -> Result<(), String> {
    if draft.tests.iter().any(|test| !test.not && !test.counts()) {
        return Ok(());
    }
    let negated = draft.tests.iter().find(|test| test.not && !test.counts());
    let fields = match negated {
        Some(test) if test.fields.iter().all(|field| is_single(field)) => test.fields.clone(),
        Some(_) => return Err("negated over many fields: each value that does not match would count".into()),
        // Nothing is asked of fields: the request itself.
        None => vec!["method".to_owned()],
    };
    let ask = Ask::Pattern { text: ".".into(), case_sensitive: false };
    draft.tests.insert(0, Test::new(fields, ask));
    Ok(())
}

/// Whether the field is one value of a request.
pub(super) fn is_single(field: &str) -> bool {
    let named =
        ["query.", "cookie.", "header.", "response.header.", "body.form.", "body.json.", "body.multipart."];
    let name = named.iter().filter_map(|place| field.strip_prefix(place)).next_back();
    matches!(field, "method" | "response.status")
        || name.is_some_and(|name| !name.is_empty() && !name.contains('*'))
}

fn with_main(draft: &Draft, main: usize) -> Result<(String, Fitted), String> {
    let test = draft.tests.get(main).ok_or("no test")?;
    let single = test.fields.iter().all(|field| is_single(field));
    let plain =
        value_of(test, true, "a").is_some_and(|value| is_plain(&value)) && !single && few_phrases(test);
    let whole = Fitted { main, plain, ..Fitted::default() };
    let first = match examples(draft, &mut whole.clone()) {
        Ok(done) => return Ok(done),
        Err(reason) => reason,
    };
    // What needs a literal can do without in a short field, or with a lesser one in short values.
    let lesser = match single {
        true => Fitted { short_field: true, ..whole },
        false => Fitted { short_values: true, ..whole },
    };
    examples(draft, &mut lesser.clone()).map_err(|_| first)
}

/// Tries examples until the compiler is content.
fn examples(draft: &Draft, fitted: &mut Fitted) -> Result<(String, Fitted), String> {
    let short;
    let draft = match fitted.short_values {
        true => {
            short = in_short_values(draft, fitted.main);
            &short
        }
        false => draft,
    };
    let mut last = first_refusal(draft, fitted).unwrap_or_else(|| "no example was found".to_owned());
    let counter = counter_examples(draft, fitted.main);
    for joint in JOINTS {
        let Some(matching) = example(draft, fitted.main, joint) else { continue };
        fitted.examples[0] = matching;
        for counter in &counter {
            fitted.examples[1].clone_from(counter);
            let text = toml(draft, fitted);
            match refusals(&text) {
                None => return Ok((text, fitted.clone())),
                Some(reason) if reason.starts_with("example") => {
                    let wrong_match = reason.contains("expected a match");
                    last = format!("no example was found: {reason}");
                    if wrong_match {
                        break;
                    }
                }
                Some(reason) => return Err(reason),
            }
        }
    }
    Err(last)
}

/// The draft with its leading test bound to short values.
fn in_short_values(draft: &Draft, main: usize) -> Draft {
    let mut draft = draft.clone();
    if let Some(test) = draft.tests.get_mut(main) {
        test.max_length = Some(test.max_length.unwrap_or(u32::MAX).min(MAX_SHORT_VALUE));
    }
    draft
}

/// What the compiler says against the rule whatever its examples are.
fn first_refusal(draft: &Draft, fitted: &Fitted) -> Option<String> {
    let examples = [vec!["x".to_owned()], vec!["y".to_owned()]];
    refusals(&toml(draft, &Fitted { examples, ..fitted.clone() }))
        .filter(|reason| !reason.starts_with("example"))
}

/// What the compiler says against a rule.
fn refusals(text: &str) -> Option<String> {
    let errors = RuleSet::compile(&[RuleSource { name: "", text }]).err()?;
    let matters = errors.iter().find(|error| error.reason.contains("expected a match")).or(errors.first());
    matters.map(|error| super::draft::line(&error.reason, 300))
}

/// A request in miniature in which all tests hold.
fn example(draft: &Draft, main: usize, joint: Joint) -> Option<Vec<String>> {
    let mut fields: Vec<(String, Vec<u8>)> = Vec::new();
    let leading = draft.tests.get(main)?;
    add(&mut fields, leading, true, joint)?;
    let others = draft.tests.iter().enumerate().filter(|(number, _)| *number != main).map(|(_, test)| test);
    for test in others.chain(draft.any.first()).filter(|test| !test.not && test.at_most != Some(0)) {
        add(&mut fields, test, false, joint)?;
    }
    let client = draft.client.iter().map(|client| Some(format!("client={client}")));
    fields.into_iter().map(|(field, value)| assignment(&field, &value)).chain(client).collect()
}

fn add(fields: &mut Vec<(String, Vec<u8>)>, test: &Test, main: bool, joint: Joint) -> Option<()> {
    let value = value_of(test, main, joint.any)?;
    let times = test.at_least.unwrap_or(1).clamp(1, MAX_EXAMPLE_FIELDS);
    for time in 0..times {
        let field =
            test.fields.iter().map(|field| example_field(field, fields.len() + time as usize)).next()?;
        match fields.iter_mut().find(|(known, _)| *known == field) {
            Some((_, known)) if *known == value || test.ask == Ask::Any && test.min_length.is_none() => {}
            Some((_, known)) if joint.before => *known = [&value, joint.between.as_bytes(), known].concat(),
            Some((_, known)) => known.extend([joint.between.as_bytes(), &value].concat()),
            None => fields.push((field, value.clone())),
        }
    }
    Some(())
}

/// Requests in miniature of which one should not match: ordinary values first, then another field altogether.
fn counter_examples(draft: &Draft, main: usize) -> Vec<Vec<String>> {
    let field =
        draft.tests.get(main).and_then(|test| test.fields.first()).map(|field| example_field(field, 0));
    let ordinary = ["an ordinary value", "0", "GET"].into_iter();
    let same = field
        .into_iter()
        .flat_map(|field| ordinary.clone().filter_map(move |value| assignment(&field, value.as_bytes())));
    same.chain(["query.other=an ordinary value".to_owned()]).map(|text| vec![text]).collect()
}

/// A value in which the test holds.
fn value_of(test: &Test, main: bool, any: &str) -> Option<Vec<u8>> {
    let mut value = match &test.ask {
        Ask::Pattern { text, case_sensitive: true } if !main => sample(&format!("(?-i:{text})"), false)?,
        Ask::Pattern { text, case_sensitive } => sample(text, *case_sensitive)?,
        Ask::Phrases { texts, .. } => texts.first()?.as_bytes().to_vec(),
        Ask::Number { from, to } => from.or(*to)?.to_string().into_bytes(),
        Ask::Addresses(networks) => networks.first()?.split('/').next()?.as_bytes().to_vec(),
        Ask::Coded(ids) => coded_example(ids.first()?).as_bytes().to_vec(),
        Ask::Any => any.as_bytes().to_vec(),
    };
    let least = test.min_length.unwrap_or(0) as usize;
    if value.len() < least {
        value.resize(least.min(MAX_VALUE), b'a');
    }
    Some(value)
}

fn coded_example(id: &str) -> &'static str {
    match id.split('-').next() {
        Some("sql") => "1' union select 1,2 from users--",
        Some("xss") => "<script>alert(1)</script>",
        _ => ";cat /etc/passwd",
    }
}

/// A field of the pattern; `number` tells fields of one place apart.
fn example_field(pattern: &str, number: usize) -> String {
    let name = ["x", "y", "z"].get(number).map_or_else(|| format!("x{number}"), |name| (*name).to_owned());
    match pattern {
        "args" => format!("query.{name}"),
        "body" => "body.text".to_owned(),
        "query" | "cookie" | "header" | "body.form" | "body.json" | "body.multipart" | "body.xml"
        | "body.graphql" | "body.grpc" | "response.header" => format!("{pattern}.{name}"),
        other => other.replace('*', "x"),
    }
}

/// `field=value` as examples write it; bytes that are no text are percent-encoded where a server would decode them.
fn assignment(field: &str, value: &[u8]) -> Option<String> {
    if let Ok(text) = std::str::from_utf8(value) {
        return Some(format!("{field}={text}"));
    }
    let decoded = ["query.", "body.form.", "target", "path"].iter().any(|place| field.starts_with(place));
    let encode = |&byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    decoded.then(|| format!("{field}={}", value.iter().map(encode).collect::<String>()))
}

/// Whether a value is of the kind that is not looked at unless a rule says so.
fn is_plain(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

fn few_phrases(test: &Test) -> bool {
    !matches!(&test.ask, Ask::Phrases { texts, .. } if texts.len() > MAX_PLAIN_PHRASES)
}

fn note_plain(draft: &mut Draft, fitted: &Fitted) {
    let Some(main) = draft.tests.get(fitted.main) else { return };
    let looked_at = ["method", "target", "path", "header", "response"];
    let passed_over = main.fields.iter().any(|field| !looked_at.iter().any(|place| field.starts_with(place)));
    let plain = value_of(main, true, "a").is_some_and(|value| is_plain(&value));
    let names = main.fields.iter().any(|field| field == "name");
    if passed_over && plain && !fitted.plain && !main.fields.iter().all(|field| is_single(field)) {
        draft.lose("values that are one plain word are not looked at");
    }
    if names && plain {
        draft.lose(
            "names of parameters are looked at only if they hold more than letters, digits and `._-[]`",
        );
    }
}

/// Conditions see what stands on the wire.
fn note_conditions(draft: &mut Draft, main: usize) {
    let others = draft.tests.iter().enumerate().filter(|(number, _)| *number != main).map(|(_, test)| test);
    let decoded = |test: &Test| test.decoders.as_ref().is_some_and(|decoders| !decoders.is_empty());
    if others.chain(&draft.any).any(decoded) {
        draft.lose("conditions see values as they stand on the wire");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::draft::At;
    use sensor_engine::finding::{Class, Severity};

    fn pattern(field: &str, text: &str) -> Test {
        let ask = Ask::Pattern { text: text.into(), case_sensitive: false };
        Test::new(vec![field.to_owned()], ask)
    }

    fn draft(tests: Vec<Test>) -> Draft {
        Draft {
            at: At::default(),
            directives: 1,
            id: "x".into(),
            number: None,
            revision: 1,
            title: "t".into(),
            class: Class::InputValidation,
            severity: Severity::High,
            confidence: 0.8,
            tags: Vec::new(),
            tests,
            any: Vec::new(),
            when: Vec::new(),
            client: None,
            losses: Vec::new(),
        }
    }

    fn check(tests: Vec<Test>) -> String {
        fit(&mut draft(tests)).unwrap_or_else(|reason| format!("refused: {reason}"))
    }

    #[test]
    fn examples_are_found_for_all_tests_together() {
        let text = check(vec![
            pattern("method", "^POST$"),
            pattern("target", r"/admin\b"),
            pattern("target", r"\?id=\d+$"),
        ]);
        assert!(
            text.contains(r"match = [['method=POST'") || text.contains("match = [[\"method=POST\""),
            "{text}"
        );
        assert!(text.contains("short_field = true") || text.contains("'/admin"), "{text}");
    }

    #[test]
    fn the_test_with_a_literal_leads() {
        let text = check(vec![pattern("query", r"\d+"), pattern("target", "/wp-login")]);
        assert!(text.contains("fields = [\"target\"]\npattern = \"/wp-login\""), "{text}");
    }

    #[test]
    fn negations_stand_on_their_field() {
        let mut test = pattern("header.content-type", "^text/");
        test.not = true;
        let text = check(vec![test.clone()]);
        assert!(text.contains("pattern = \".\"") && text.contains("not = true"), "{text}");
        test.fields = vec!["query".into()];
        assert!(check(vec![test]).starts_with("refused: negated over many fields"));
    }

    #[test]
    fn what_the_compiler_refuses_is_refused_with_its_reason() {
        let text = check(vec![pattern("query", r"\w+\d")]);
        assert!(text.starts_with("refused: the shortest literal"), "{text}");
    }

    #[test]
    fn bytes_that_are_no_text_are_encoded() {
        let text = check(vec![pattern("query", r"\xbc\xbescript")]);
        assert!(text.contains("query.x=%BC%BEscript"), "{text}");
    }
}
