//! Values out of TOML tables, with an error for everything that is missing or of the wrong kind.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::finding::UnknownName;

use super::{RuleSource, Text};
use crate::rule::error::{RuleError, suggestion};

pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// Reads values out of tables and gathers errors; what is missing or wrong is `None` and already reported.
pub(super) struct Reader<'a> {
    pub(super) source: RuleSource<'a>,
    pub(super) rule: Option<String>,
    pub(super) errors: &'a mut Vec<RuleError>,
}

impl Reader<'_> {
    pub(super) fn error(&mut self, at: usize, reason: String) {
        let Self { source, rule, errors } = self;
        errors.push(RuleError::at(source.name, source.text, at, rule.as_deref(), reason));
    }

    pub(super) fn wrong_type(&mut self, key: &str, expected: &str, got: &Value<'_>) {
        let kind = got.get_ref().type_str();
        self.error(got.span().start, format!("`{key}` is of type {kind}, expected {expected}"));
    }

    pub(super) fn known_keys(&mut self, table: &DeTable<'_>, known: &[&str]) {
        for key in table.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                self.error(key.span().start, format!("unknown key `{name}`{}", suggestion(name, known)));
            }
        }
    }

    pub(super) fn required<'t, 'i>(
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

    pub(super) fn text(&mut self, table: &DeTable<'_>, key: &str, span: &Range<usize>) -> Option<Text> {
        let value = self.required(table, key, span)?;
        self.as_text(key, value)
    }

    pub(super) fn as_text(&mut self, key: &str, value: &Value<'_>) -> Option<Text> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, "a string", value);
            return None;
        };
        Some(Text { text: text.to_owned(), at: value.span().start })
    }

    pub(super) fn strings(&mut self, table: &DeTable<'_>, key: &str) -> Vec<Text> {
        let Some(value) = table.get(key) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type(key, "an array of strings", value);
            return Vec::new();
        };
        list.iter().filter_map(|item| self.as_text(key, item)).collect()
    }

    pub(super) fn named<T>(&mut self, table: &DeTable<'_>, key: &str, span: &Range<usize>) -> Option<T>
    where
        T: std::str::FromStr<Err = UnknownName>,
    {
        let text = self.text(table, key, span)?;
        text.text.parse().map_err(|error: UnknownName| self.error(text.at, error.to_string())).ok()
    }

    pub(super) fn integer(&mut self, table: &DeTable<'_>, key: &str) -> Option<u32> {
        let value = table.get(key)?;
        let number = value.get_ref().as_integer().and_then(|number| number.as_str().parse().ok());
        if number.is_none_or(|number| number == 0) {
            self.wrong_type(key, "a whole number from 1", value);
        }
        number
    }

    pub(super) fn boolean(&mut self, table: &DeTable<'_>, key: &str) -> bool {
        let Some(value) = table.get(key) else { return false };
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            self.wrong_type(key, "true or false", value);
        }
        boolean.unwrap_or(false)
    }
}
