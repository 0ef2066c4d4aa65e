//! One `[[rule]]` table → [`Draft`].

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::finding::{Class, Confidence, Decoder, Response, RuleInfo, Severity, UnknownName};
use crate::rule::error::suggestion;
use crate::rule::fields::{FieldPattern, PLACES, parse_assignment};
use crate::rule::keys::{CONDITION_KEYS, RULE_KEYS, names};
use crate::served::ServingProcess;

use super::reader::{Reader, Value};
use super::{Draft, DraftCondition, Drafted, Example, Identity, Text, number_of};

impl Reader<'_> {
    pub(super) fn rule(&mut self, value: &Value<'_>) -> Option<Drafted> {
        let table = value.get_ref().as_table()?;
        self.rule = table.get("id").and_then(|id| id.get_ref().as_str()).map(str::to_owned);
        if table.contains_key("behaviour") {
            return self.behaviour(value).map(|draft| Drafted::Behaviour(Box::new(draft)));
        }
        self.pattern(value).map(|draft| Drafted::Pattern(Box::new(draft)))
    }

    /// Id, words and weight.
    pub(super) fn identity(&mut self, table: &DeTable<'_>, span: &Range<usize>) -> Option<Identity> {
        let id = self.text(table, "id", span);
        let title = self.text(table, "title", span);
        let class: Option<Class> = self.named(table, "class", span);
        let severity: Option<Severity> = self.named(table, "severity", span);
        let confidence = self.confidence(table, span);
        let response = self.response(table);
        let tags = self.strings(table, "tags");
        let revision = self.integer(table, "revision").unwrap_or(1);
        let number = self.integer(table, "number");
        if let Some(id) = &id {
            self.check_id(id);
        }
        let id = id?;
        let info = RuleInfo {
            number: number.unwrap_or_else(|| number_of(&id.text)),
            id: id.text,
            revision,
            title: title?.text,
            tags: tags.into_iter().map(|tag| tag.text).collect(),
            response,
        };
        Some(Identity { info, class: class?, severity: severity?, confidence: confidence?, at: id.at })
    }

    fn pattern(&mut self, value: &Value<'_>) -> Option<Draft> {
        let table = value.get_ref().as_table()?;
        let span = value.span();
        let before = self.errors.len();
        self.known_keys(table, &names(RULE_KEYS));
        let identity = self.identity(table, &span);
        let fields = self.fields(table, &span);
        let except = self.except(table);
        let operator = self.operator(table, &span);
        let also = self.conditions(table, "also");
        let any = self.conditions(table, "any");
        let when = table.get("when").and_then(|when| self.as_text("when", when));
        let length = self.length(table);
        let examples = self.examples(table, &span, fields.as_deref().unwrap_or_default());
        let literals = self.strings(table, "literals");
        let decoders = self.decoders(table);
        let short_field = self.boolean(table, "short_field");
        let case_sensitive = self.boolean(table, "case_sensitive");
        let documents = self.boolean(table, "documents");
        let plain = self.boolean(table, "plain");
        if self.errors.len() > before {
            return None;
        }
        let Identity { info, class, severity, confidence, at } = identity?;
        Some(Draft {
            info,
            class,
            severity,
            confidence,
            fields: fields?,
            except,
            decoders,
            literals: literals.into_iter().map(|literal| literal.text).collect(),
            operator: operator?,
            short_field,
            case_sensitive,
            also,
            any,
            when,
            length,
            documents,
            plain,
            examples,
            at,
        })
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

    fn fields(&mut self, table: &DeTable<'_>, span: &Range<usize>) -> Option<Vec<FieldPattern>> {
        self.required(table, "fields", span)?;
        let texts = self.strings(table, "fields");
        if texts.is_empty() {
            self.error(span.start, "`fields` is empty, expected at least one field pattern".into());
        }
        texts.into_iter().map(|text| self.field_pattern(&text)).collect()
    }

    fn except(&mut self, table: &DeTable<'_>) -> Vec<FieldPattern> {
        let texts = self.strings(table, "except");
        texts.into_iter().filter_map(|text| self.field_pattern(&text)).collect()
    }

    pub(super) fn field_pattern(&mut self, text: &Text) -> Option<FieldPattern> {
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

    /// Lengths from `min_length` to `max_length`.
    fn length(&mut self, table: &DeTable<'_>) -> RangeInclusive<usize> {
        let least = self.integer(table, "min_length").unwrap_or(0);
        let most = self.integer(table, "max_length").unwrap_or(u32::MAX);
        if least > most {
            let at = table.get("max_length").map_or(0, |value| value.span().start);
            self.error(at, format!("`max_length` is {most}, expected at least `min_length`, {least}"));
        }
        least as usize..=most as usize
    }

    /// `"score"`, which is what a rule without it does, `"observe"`, `"kill"` or `{ block_secs = 60 }`.
    fn response(&mut self, table: &DeTable<'_>) -> Option<Response> {
        let value = table.get("response")?;
        match value.get_ref().as_str() {
            Some("score") => return None,
            Some("observe") => return Some(Response::Observe),
            Some("kill") if table.contains_key("behaviour") => {
                self.error(
                    value.span().start,
                    "`response` is `\"kill\"`, but many requests have no connection".to_owned(),
                );
                return None;
            }
            Some("kill") => return Some(Response::Kill),
            _ => {}
        }
        let Some(settings) = value.get_ref().as_table() else {
            self.wrong_type(
                "response",
                "`\"score\"`, `\"observe\"`, `\"kill\"` or `{ block_secs = … }`",
                value,
            );
            return None;
        };
        self.known_keys(settings, &["block_secs"]);
        self.required(settings, "block_secs", &value.span())?;
        let secs = self.integer(settings, "block_secs")?;
        Some(Response::BlockFor(Duration::from_secs(secs.into())))
    }

    fn conditions(&mut self, table: &DeTable<'_>, key: &str) -> Vec<DraftCondition> {
        let Some(value) = table.get(key) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type(key, "an array of tables", value);
            return Vec::new();
        };
        list.iter().filter_map(|item| self.condition(key, item)).collect()
    }

    fn condition(&mut self, key: &str, value: &Value<'_>) -> Option<DraftCondition> {
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(key, "an array of tables", value);
            return None;
        };
        self.known_keys(table, &names(CONDITION_KEYS));
        let span = value.span();
        let fields = self.fields(table, &span);
        let except = self.except(table);
        let operator = self.operator(table, &span);
        let (length, count) = (self.length(table), self.count(table));
        let not = self.boolean(table, "not");
        Some(DraftCondition { fields: fields?, except, operator: operator?, length, count, not })
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
        let client = texts.iter().find_map(|text| text.text.strip_prefix("client=")?.parse().ok());
        let process = process(&texts);
        let delay = texts.iter().find_map(|text| text.text.strip_prefix(DELAY)?.parse().ok());
        let delay = Duration::from_millis(delay.unwrap_or(0));
        let about = |text: &Text| {
            text.text.starts_with("client=") || text.text.starts_with(DELAY) || of_process(text).is_some()
        };
        let fields = texts.into_iter().filter(|text| !about(text)).map(place).collect();
        Some(Example { fields, client, process, delay, matches, text, at: value.span().start })
    }
}

/// How an example says how long its response takes, in milliseconds.
const DELAY: &str = "response.delay_ms=";

/// `process.unit=shop.service`: which of its parts, and what it is.
fn of_process(text: &Text) -> Option<(&str, &str)> {
    let (name, value) = text.text.strip_prefix("process.")?.split_once('=')?;
    ["name", "unit", "container", "user"].contains(&name).then_some((name, value))
}

/// What an example says of the process that gets it.
fn process(texts: &[Text]) -> Option<ServingProcess> {
    let known: Vec<_> = texts.iter().filter_map(of_process).collect();
    let part = |wanted| {
        let (_, value) = known.iter().find(|(name, _)| *name == wanted)?;
        Some((*value).to_owned())
    };
    (!known.is_empty()).then(|| ServingProcess {
        name: part("name"),
        unit: part("unit"),
        container: part("container"),
        user: part("user"),
    })
}
