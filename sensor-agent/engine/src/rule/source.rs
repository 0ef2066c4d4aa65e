//! Rule source: TOML as people write it → [`Draft`]s, which are well-formed, but not yet checked as patterns.
//! The tree is walked by hand, so that one run reports everything that is wrong, with its position.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::field::Place;
use crate::finding::{Class, Confidence, Decoder, RuleInfo, Severity, UnknownName};

use super::error::{RuleError, suggestion};
use super::fields::{FieldPattern, PLACES, parse_assignment};

/// A rule file's text under the name that errors give.
#[derive(Clone, Copy, Debug)]
pub struct RuleSource<'a> {
    /// File name, for messages.
    pub name: &'a str,
    /// Content.
    pub text: &'a str,
}

/// Keys of a rule.
const KEYS: &[&str] = &[
    "id",
    "number",
    "revision",
    "title",
    "class",
    "severity",
    "confidence",
    "tags",
    "fields",
    "decoders",
    "literals",
    "pattern",
    "short_field",
    "case_sensitive",
    "also",
    "examples",
];
/// Keys of a further condition.
const CONDITION_KEYS: &[&str] = &["fields", "pattern", "not"];

/// A rule as written.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) info: RuleInfo,
    pub(crate) class: Class,
    pub(crate) severity: Severity,
    pub(crate) confidence: Confidence,
    pub(crate) fields: Vec<FieldPattern>,
    /// Decoders that may stand between the value and the match; `None`: any.
    pub(crate) decoders: Option<Vec<Decoder>>,
    pub(crate) literals: Vec<String>,
    pub(crate) pattern: Text,
    pub(crate) short_field: bool,
    pub(crate) case_sensitive: bool,
    pub(crate) also: Vec<DraftCondition>,
    pub(crate) examples: Vec<Example>,
    /// Where the rule's id stands.
    pub(crate) at: usize,
}

/// A further condition as written.
#[derive(Debug)]
pub(crate) struct DraftCondition {
    pub(crate) fields: Vec<FieldPattern>,
    pub(crate) pattern: Text,
    pub(crate) not: bool,
}

/// A string and where it stands.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) at: usize,
}

/// A request in miniature that must or must not match.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) fields: Vec<(Place, String, String)>,
    pub(crate) matches: bool,
    /// As written, for messages.
    pub(crate) text: String,
    pub(crate) at: usize,
}

/// The drafts of one source; what is wrong with it goes to `errors`.
pub(crate) fn read(source: RuleSource<'_>, errors: &mut Vec<RuleError>) -> Vec<Draft> {
    let (root, broken) = DeTable::parse_recoverable(source.text);
    let mut reader = Reader { source, rule: None, errors };
    if !broken.is_empty() {
        for error in broken {
            let at = error.span().map_or(0, |span| span.start);
            reader.error(at, error.message().replace('\n', ", "));
        }
        return Vec::new();
    }
    reader.known_keys(root.get_ref(), &["rule"]);
    let Some(rules) = root.get_ref().get("rule") else {
        if !source.text.trim().is_empty() && root.get_ref().is_empty() && !only_comments(source.text) {
            reader.error(0, "no `[[rule]]` table".into());
        }
        return Vec::new();
    };
    let Some(tables) = rules.get_ref().as_array() else {
        reader.wrong_type("rule", "an array of tables, `[[rule]]`", rules);
        return Vec::new();
    };
    tables.iter().filter_map(|table| reader.rule(table)).collect()
}

fn only_comments(text: &str) -> bool {
    text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

type Value<'i> = Spanned<DeValue<'i>>;

/// Reads values out of tables and gathers errors; what is missing or wrong is `None` and already reported.
struct Reader<'a> {
    source: RuleSource<'a>,
    rule: Option<String>,
    errors: &'a mut Vec<RuleError>,
}

impl Reader<'_> {
    fn rule(&mut self, value: &Value<'_>) -> Option<Draft> {
        let table = value.get_ref().as_table()?;
        let span = value.span();
        self.rule = table.get("id").and_then(|id| id.get_ref().as_str()).map(str::to_owned);
        let before = self.errors.len();
        self.known_keys(table, KEYS);
        let id = self.text(table, "id", &span);
        let title = self.text(table, "title", &span);
        let class: Option<Class> = self.named(table, "class", &span);
        let severity: Option<Severity> = self.named(table, "severity", &span);
        let confidence = self.confidence(table, &span);
        let fields = self.fields(table, &span);
        let pattern = self.text(table, "pattern", &span);
        let also = self.conditions(table);
        let examples = self.examples(table, &span, fields.as_deref().unwrap_or_default());
        let tags = self.strings(table, "tags");
        let literals = self.strings(table, "literals");
        let decoders = self.decoders(table);
        let revision = self.integer(table, "revision").unwrap_or(1);
        let number = self.integer(table, "number");
        let short_field = self.boolean(table, "short_field");
        let case_sensitive = self.boolean(table, "case_sensitive");
        if let Some(id) = &id {
            self.check_id(id);
        }
        if self.errors.len() > before {
            return None;
        }
        let id = id?;
        let info = RuleInfo {
            number: number.unwrap_or_else(|| number_of(&id.text)),
            id: id.text,
            revision,
            title: title?.text,
            tags: tags.into_iter().map(|tag| tag.text).collect(),
        };
        Some(Draft {
            info,
            class: class?,
            severity: severity?,
            confidence: confidence?,
            fields: fields?,
            decoders,
            literals: literals.into_iter().map(|literal| literal.text).collect(),
            pattern: pattern?,
            short_field,
            case_sensitive,
            also,
            examples,
            at: id.at,
        })
    }

    fn error(&mut self, at: usize, reason: String) {
        let Self { source, rule, errors } = self;
        errors.push(RuleError::at(source.name, source.text, at, rule.as_deref(), reason));
    }

    fn wrong_type(&mut self, key: &str, expected: &str, got: &Value<'_>) {
        let kind = got.get_ref().type_str();
        self.error(got.span().start, format!("`{key}` is of type {kind}, expected {expected}"));
    }

    fn known_keys(&mut self, table: &DeTable<'_>, known: &[&str]) {
        for key in table.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                self.error(key.span().start, format!("unknown key `{name}`{}", suggestion(name, known)));
            }
        }
    }

    fn check_id(&mut self, id: &Text) {
        let kebab = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let edges = id.text.starts_with('-') || id.text.ends_with('-');
        if id.text.is_empty() || edges || !id.text.bytes().all(kebab) {
            self.error(
                id.at,
                format!("id `{}` is not kebab-case, expected one like `xss-script-tag`", id.text),
            );
        }
    }

    fn required<'t, 'i>(
        &mut self,
        table: &'t DeTable<'i>,
        key: &str,
        span: &Range<usize>,
    ) -> Option<&'t Value<'i>> {
        let value = table.get(key);
        if value.is_none() {
            self.error(span.start, format!("missing key `{key}`"));
        }
        value
    }

    fn text(&mut self, table: &DeTable<'_>, key: &str, span: &Range<usize>) -> Option<Text> {
        let value = self.required(table, key, span)?;
        self.as_text(key, value)
    }

    fn as_text(&mut self, key: &str, value: &Value<'_>) -> Option<Text> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, "a string", value);
            return None;
        };
        Some(Text { text: text.to_owned(), at: value.span().start })
    }

    fn strings(&mut self, table: &DeTable<'_>, key: &str) -> Vec<Text> {
        let Some(value) = table.get(key) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type(key, "an array of strings", value);
            return Vec::new();
        };
        list.iter().filter_map(|item| self.as_text(key, item)).collect()
    }

    fn named<T>(&mut self, table: &DeTable<'_>, key: &str, span: &Range<usize>) -> Option<T>
    where
        T: std::str::FromStr<Err = UnknownName>,
    {
        let text = self.text(table, key, span)?;
        text.text.parse().map_err(|error: UnknownName| self.error(text.at, error.to_string())).ok()
    }

    fn confidence(&mut self, table: &DeTable<'_>, span: &Range<usize>) -> Option<Confidence> {
        let value = self.required(table, "confidence", span)?;
        let text = match value.get_ref() {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) => number.as_str(),
            _ => {
                self.wrong_type("confidence", "a number from 0 to 1", value);
                return None;
            }
        };
        let confidence = text.parse().ok().and_then(Confidence::new);
        if confidence.is_none() {
            self.error(value.span().start, format!("confidence `{text}` is out of range, expected 0 to 1"));
        }
        confidence
    }

    fn integer(&mut self, table: &DeTable<'_>, key: &str) -> Option<u32> {
        let value = table.get(key)?;
        let number = value.get_ref().as_integer().and_then(|number| number.as_str().parse().ok());
        if number.is_none_or(|number| number == 0) {
            self.wrong_type(key, "a whole number from 1", value);
        }
        number
    }

    fn boolean(&mut self, table: &DeTable<'_>, key: &str) -> bool {
        let Some(value) = table.get(key) else { return false };
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            self.wrong_type(key, "true or false", value);
        }
        boolean.unwrap_or(false)
    }

    fn fields(&mut self, table: &DeTable<'_>, span: &Range<usize>) -> Option<Vec<FieldPattern>> {
        self.required(table, "fields", span)?;
        let texts = self.strings(table, "fields");
        if texts.is_empty() {
            self.error(span.start, "`fields` is empty, expected at least one field pattern".into());
        }
        texts.into_iter().map(|text| self.field_pattern(&text)).collect()
    }

    fn field_pattern(&mut self, text: &Text) -> Option<FieldPattern> {
        let pattern = FieldPattern::parse(&text.text);
        if pattern.is_none() {
            let names: Vec<&str> = PLACES.iter().map(|(name, _)| *name).collect();
            let place = text.text.split_once('.').map_or(text.text.as_str(), |(place, _)| place);
            let hint = suggestion(place, &names);
            self.error(text.at, format!("unknown field `{}`{hint}", text.text));
        }
        pattern
    }

    fn decoders(&mut self, table: &DeTable<'_>) -> Option<Vec<Decoder>> {
        table.get("decoders")?;
        let texts = self.strings(table, "decoders");
        let read = |text: Text| {
            text.text.parse().map_err(|error: UnknownName| self.error(text.at, error.to_string())).ok()
        };
        Some(texts.into_iter().filter_map(read).collect())
    }

    fn conditions(&mut self, table: &DeTable<'_>) -> Vec<DraftCondition> {
        let Some(value) = table.get("also") else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type("also", "an array of tables", value);
            return Vec::new();
        };
        list.iter().filter_map(|item| self.condition(item)).collect()
    }

    fn condition(&mut self, value: &Value<'_>) -> Option<DraftCondition> {
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type("also", "an array of tables", value);
            return None;
        };
        self.known_keys(table, CONDITION_KEYS);
        let span = value.span();
        let fields = self.fields(table, &span);
        let pattern = self.text(table, "pattern", &span);
        let not = self.boolean(table, "not");
        Some(DraftCondition { fields: fields?, pattern: pattern?, not })
    }

    fn examples(
        &mut self,
        table: &DeTable<'_>,
        span: &Range<usize>,
        fields: &[FieldPattern],
    ) -> Vec<Example> {
        let Some(value) = self.required(table, "examples", span) else { return Vec::new() };
        let Some(lists) = value.get_ref().as_table() else {
            self.wrong_type("examples", "a table with `match` and `no_match`", value);
            return Vec::new();
        };
        self.known_keys(lists, &["match", "no_match"]);
        let mut examples = Vec::new();
        for (key, matches) in [("match", true), ("no_match", false)] {
            let list = lists.get(key).and_then(|list| list.get_ref().as_array());
            let Some(list) = list.filter(|list| !list.is_empty()) else {
                let reason = format!("`examples.{key}` is missing or empty, expected at least one example");
                self.error(value.span().start, reason);
                continue;
            };
            examples.extend(list.iter().filter_map(|item| self.example(key, item, matches, fields)));
        }
        examples
    }

    /// One example: a string, or an array of strings that stand in one request.
    fn example(
        &mut self,
        key: &str,
        value: &Value<'_>,
        matches: bool,
        fields: &[FieldPattern],
    ) -> Option<Example> {
        let texts: Vec<Text> = match value.get_ref().as_array() {
            Some(list) => list.iter().filter_map(|item| self.as_text(key, item)).collect(),
            None => self.as_text(key, value).into_iter().collect(),
        };
        let text = texts.iter().map(|text| text.text.as_str()).collect::<Vec<_>>().join(" & ");
        let default = fields.first()?.example_field();
        let place = |text: Text| match parse_assignment(&text.text) {
            Some((place, name, value)) => (place, name.to_owned(), value.to_owned()),
            None => (default.0, default.1.clone(), text.text),
        };
        let fields = texts.into_iter().map(place).collect();
        Some(Example { fields, matches, text, at: value.span().start })
    }
}

/// A number for systems that want one: FNV-1a of the id, positive as a signed 32-bit number.
pub(crate) fn number_of(id: &str) -> u32 {
    let hash =
        id.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash & 0x7fff_ffff).max(1)
}
