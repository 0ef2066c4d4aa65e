//! A rule of somebody else's on its way to becoming ours: what it asks of a request, in our nouns, and as TOML.

use std::fmt::Write as _;

use sensor_engine::finding::{Class, Decoder, Severity};

/// Where something stands in a foreign file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct At {
    /// Name of the file.
    pub(crate) file: String,
    /// Line, from 1.
    pub(crate) line: usize,
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What is asked of a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ask {
    Pattern {
        text: String,
        case_sensitive: bool,
    },
    Phrases {
        texts: Vec<String>,
        case_sensitive: bool,
    },
    Number {
        from: Option<i64>,
        to: Option<i64>,
    },
    Addresses(Vec<String>),
    Coded(Vec<String>),
    /// Nothing but that there is a value (of some length).
    Any,
}

/// One test on the request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Test {
    pub(super) fields: Vec<String>,
    pub(super) except: Vec<String>,
    pub(super) ask: Ask,
    pub(super) not: bool,
    pub(super) min_length: Option<u32>,
    pub(super) max_length: Option<u32>,
    /// How many fields must fulfil it; by default one or more.
    pub(super) at_least: Option<u32>,
    pub(super) at_most: Option<u32>,
    /// Decoders that the value passes first; `None`: any.
    pub(super) decoders: Option<Vec<Decoder>>,
}

impl Test {
    /// A test of values in `fields`.
    pub(super) fn new(fields: Vec<String>, ask: Ask) -> Self {
        Self {
            fields,
            except: Vec::new(),
            ask,
            not: false,
            min_length: None,
            max_length: None,
            at_least: None,
            at_most: None,
            decoders: None,
        }
    }

    /// Whether it is about how many fields there are.
    pub(super) fn counts(&self) -> bool {
        self.at_least.is_some() || self.at_most.is_some()
    }
}

/// Whether the client is in one of these networks, in CEL.
pub(super) fn client_in(networks: &[String], not: bool) -> String {
    let one = |network: &String| format!("in_network(client.address, {})", cel_text(network));
    let any = networks.iter().map(one).collect::<Vec<_>>().join(" || ");
    if not { format!("!({any})") } else { format!("({any})") }
}

/// A text of CEL; what could end it is left out.
fn cel_text(text: &str) -> String {
    format!("'{}'", text.replace(['\'', '\\', '\n', '\r'], ""))
}

/// A foreign rule in our nouns.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) at: At,
    /// Directives of the foreign file that it stands for.
    pub(super) directives: usize,
    pub(super) id: String,
    pub(super) number: Option<u32>,
    pub(super) revision: u32,
    pub(super) title: String,
    pub(super) class: Class,
    pub(super) severity: Severity,
    pub(super) confidence: f32,
    pub(super) tags: Vec<String>,
    /// All of them must hold.
    pub(super) tests: Vec<Test>,
    /// One of them must hold, if there are any.
    pub(super) any: Vec<Test>,
    /// Conditions in CEL, of which all must hold.
    pub(super) when: Vec<String>,
    /// A client for whom they hold.
    pub(super) client: Option<String>,
    pub(super) losses: Vec<String>,
}

impl Draft {
    /// Notes once what the rule says less exactly than the foreign one.
    pub(super) fn lose(&mut self, loss: impl Into<String>) {
        let loss = loss.into();
        if !self.losses.contains(&loss) {
            self.losses.push(loss);
        }
    }
}

/// Keys beside the tests that are found out by trying.
#[derive(Clone, Debug, Default)]
pub(super) struct Fitted {
    /// Number of the test in which the rule matches.
    pub(super) main: usize,
    pub(super) short_field: bool,
    /// Only short values are looked at.
    pub(super) short_values: bool,
    pub(super) plain: bool,
    /// Each a request in miniature.
    pub(super) examples: [Vec<String>; 2],
}

/// The rule as TOML.
pub(super) fn toml(draft: &Draft, fitted: &Fitted) -> String {
    let mut text = format!("[[rule]]\nid = {}\nrevision = {}\n", quoted(&draft.id), draft.revision);
    if let Some(number) = draft.number {
        let _ = writeln!(text, "number = {number}");
    }
    let _ = writeln!(text, "title = {}", quoted(&draft.title));
    let _ = writeln!(
        text,
        "class = {}\nseverity = {}",
        quoted(draft.class.name()),
        quoted(draft.severity.name())
    );
    let _ = writeln!(text, "confidence = {}", draft.confidence);
    if !draft.tags.is_empty() {
        let _ = writeln!(text, "tags = {}", list(&draft.tags));
    }
    if let Some(main) = draft.tests.get(fitted.main) {
        for (key, value) in main_keys(main, fitted) {
            let _ = writeln!(text, "{key} = {value}");
        }
    }
    let also =
        draft.tests.iter().enumerate().filter(|(number, _)| *number != fitted.main).map(|(_, test)| test);
    conditions(&mut text, "also", also);
    conditions(&mut text, "any", draft.any.iter());
    if !draft.when.is_empty() {
        let _ = writeln!(text, "when = {}", quoted(&draft.when.join(" && ")));
    }
    let examples = fitted.examples.each_ref().map(|example| match &example[..] {
        [one] => quoted(one),
        several => list(several),
    });
    let _ = writeln!(text, "[rule.examples]\nmatch = [{}]\nno_match = [{}]", examples[0], examples[1]);
    text
}

fn main_keys(test: &Test, fitted: &Fitted) -> Vec<(&'static str, String)> {
    let mut keys = shared_keys(test);
    if let Some(decoders) = &test.decoders {
        let names: Vec<String> = decoders.iter().map(|decoder| decoder.name().to_owned()).collect();
        keys.push(("decoders", list(&names)));
    }
    match &test.ask {
        Ask::Pattern { text, case_sensitive } => {
            keys.push(("pattern", quoted(text)));
            if *case_sensitive {
                keys.push(("case_sensitive", "true".into()));
            }
        }
        Ask::Phrases { texts, case_sensitive } => {
            keys.push(("phrases", list(texts)));
            if *case_sensitive {
                keys.push(("case_sensitive", "true".into()));
            }
        }
        other => keys.extend(operator_keys(other)),
    }
    let flags = [("short_field", fitted.short_field), ("plain", fitted.plain)];
    keys.extend(flags.into_iter().filter(|(_, set)| *set).map(|(key, _)| (key, "true".to_owned())));
    keys
}

fn shared_keys(test: &Test) -> Vec<(&'static str, String)> {
    let mut keys = vec![("fields", list(&test.fields))];
    if !test.except.is_empty() {
        keys.push(("except", list(&test.except)));
    }
    let numbers = [("min_length", test.min_length), ("max_length", test.max_length)];
    keys.extend(numbers.into_iter().filter_map(|(key, number)| Some((key, number?.to_string()))));
    keys
}

fn operator_keys(ask: &Ask) -> Vec<(&'static str, String)> {
    match ask {
        // Conditions know no case, unless their pattern says so.
        Ask::Pattern { text, case_sensitive: true } => vec![("pattern", quoted(&format!("(?-i:{text})")))],
        Ask::Pattern { text, .. } => vec![("pattern", quoted(text))],
        Ask::Phrases { texts, .. } => vec![("phrases", list(texts))],
        Ask::Number { from, to } => {
            let bounds = [("number_from", from), ("number_to", to)];
            bounds.into_iter().filter_map(|(key, bound)| Some((key, bound.as_ref()?.to_string()))).collect()
        }
        Ask::Addresses(networks) => vec![("addresses", list(networks))],
        Ask::Coded(ids) => vec![("coded", list(ids))],
        Ask::Any => Vec::new(),
    }
}

fn conditions<'t>(text: &mut String, key: &str, tests: impl Iterator<Item = &'t Test>) {
    let tables: Vec<String> = tests.map(condition).collect();
    match &tables[..] {
        [] => {}
        [one] => {
            let _ = writeln!(text, "{key} = [{one}]");
        }
        several => {
            let _ = writeln!(text, "{key} = [\n    {},\n]", several.join(",\n    "));
        }
    }
}

fn condition(test: &Test) -> String {
    let mut keys = shared_keys(test);
    keys.extend(operator_keys(&test.ask));
    let counts = [("at_least", test.at_least), ("at_most", test.at_most)];
    keys.extend(counts.into_iter().filter_map(|(key, number)| Some((key, number?.to_string()))));
    let nothing_asked = test.ask == Ask::Any && test.min_length.is_none() && !test.counts();
    if nothing_asked {
        keys.push(("at_least", "1".into()));
    }
    if test.not {
        keys.push(("not", "true".into()));
    }
    let pairs: Vec<String> = keys.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// A string of TOML, a literal one where it can be.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", quoted.join(", "))
}

/// A text as the id of a rule: lower case, digits, and single hyphens within.
pub(super) fn kebab(text: &str) -> String {
    let mut id = String::new();
    for one in text.chars().take(MAX_ID) {
        let one = one.to_ascii_lowercase();
        if one.is_ascii_lowercase() || one.is_ascii_digit() {
            id.push(one);
        } else if !id.is_empty() && !id.ends_with('-') {
            id.push('-');
        }
    }
    id.trim_end_matches('-').to_owned()
}

/// Most characters of an id.
const MAX_ID: usize = 80;

/// One line of at most `most` characters, for titles and tags.
pub(super) fn line(text: &str, most: usize) -> String {
    let plain = |one: char| if one.is_control() { ' ' } else { one };
    text.trim().chars().map(plain).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_strings_are_made_fit() {
        assert_eq!(kebab("  SQL Injection (v2.1) — test!"), "sql-injection-v2-1-test");
        assert_eq!(kebab("---"), "");
        assert_eq!(line(" a\nb\tc\x1b[0m ", 6), "a b c ");
        for text in ["plain", r"a\d'b", "a'''b\"\"\"\\", "line\nend\u{0}", "ä\u{7f}"] {
            let read: toml::Table = toml::from_str(&format!("x = {}", quoted(text))).unwrap();
            assert_eq!(read["x"].as_str(), Some(text));
        }
    }
}
