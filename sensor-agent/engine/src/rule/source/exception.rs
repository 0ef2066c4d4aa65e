//! One `[[exception]]` table → [`Exception`].

use toml::de::DeTable;

use crate::rule::error::RuleError;
use crate::rule::exception::Exception;
use crate::rule::fields::NamePattern;
use crate::rule::keys::{EXCEPTION_KEYS, names};

use super::reader::{Reader, Value};

impl Reader<'_> {
    pub(super) fn exception(&mut self, value: &Value<'_>) -> Option<Exception> {
        let table = value.get_ref().as_table()?;
        let span = value.span();
        self.rule = None;
        self.known_keys(table, &names(EXCEPTION_KEYS));
        let rule = self.text(table, "rule", &span)?;
        let reason = self.text(table, "reason", &span)?;
        let path = self.optional_pattern(table, "path");
        let field = table.get("field").and_then(|field| self.as_text("field", field));
        let field = field.and_then(|text| self.field_pattern(&text));
        if path.is_none() && field.is_none() {
            self.error(
                span.start,
                "exception without `path` or `field`, expected at least one of them".into(),
            );
            return None;
        }
        let (at, named) = (rule.at, rule.text.clone());
        let Some(rule) = NamePattern::parse(&rule.text) else {
            self.error(at, "`rule` is empty, expected a rule's id, or a beginning of ids and `*`".into());
            return None;
        };
        let idle = format!(
            "an exception names `{named}`, which is no rule and no coded detection: it has no effect"
        );
        let idle = RuleError::at(self.source.name, self.source.text, at, None, idle);
        Some(Exception { rule, path, field, reason: reason.text, idle })
    }

    fn optional_pattern(&mut self, table: &DeTable<'_>, key: &str) -> Option<NamePattern> {
        let text = self.as_text(key, table.get(key)?)?;
        let pattern = NamePattern::parse(&text.text);
        if pattern.is_none() {
            self.error(text.at, format!("`{key}` is empty, expected a value, or its beginning and `*`"));
        }
        pattern
    }
}
