//! Exceptions: findings that a site knows to be harmless, by rule, path and field.

use crate::field::Field;

use super::error::RuleError;
use super::fields::{FieldPattern, NamePattern};

/// Findings that are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    pub(super) rule: NamePattern,
    pub(super) path: Option<NamePattern>,
    pub(super) field: Option<FieldPattern>,
    pub(super) reason: String,
    pub(super) idle: RuleError,
}

impl Exception {
    /// Whether findings of `rule` in `field` of a request for `path` are left out.
    #[must_use]
    pub fn covers(&self, rule: &str, path: &[u8], field: &Field<'_>) -> bool {
        self.names(rule)
            && self.field.as_ref().is_none_or(|pattern| pattern.matches(field))
            && self.path.as_ref().is_none_or(|pattern| is_under(pattern, path))
    }

    /// Whether the exception is about this rule.
    #[must_use]
    pub fn names(&self, rule: &str) -> bool {
        self.rule.matches(rule.as_bytes())
    }

    /// Where it stands, and that it has no effect: what is to be said of an exception that is about no rule.
    #[must_use]
    pub fn idle(&self) -> &RuleError {
        &self.idle
    }

    /// Why the findings are harmless, as the file says.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// Whether `path` fits. A path that servers may resolve to another one is under no beginning but the empty one.
fn is_under(pattern: &NamePattern, path: &[u8]) -> bool {
    let plain = !path.iter().any(|byte| matches!(byte, b'%' | b';' | b'\\'))
        && memchr::memmem::find(path, b"..").is_none();
    pattern.matches(path) && (plain || *pattern == NamePattern::Any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Place;

    fn covers(rule: &str, path: Option<&str>, field: Option<&str>, got: (&str, &str, &[u8])) -> bool {
        let exception = Exception {
            rule: NamePattern::parse(rule).unwrap(),
            path: path.and_then(NamePattern::parse),
            field: field.and_then(FieldPattern::parse),
            reason: String::new(),
            idle: RuleError::at("", "", 0, None, String::new()),
        };
        let field = Field { place: Place::Query, name: got.2, value: b"", offset: 0 };
        exception.covers(got.0, got.1.as_bytes(), &field)
    }

    #[test]
    fn all_that_is_given_must_fit() {
        let (path, field) = (Some("/admin/sql"), Some("query.q"));
        assert!(covers("sql-boolean", path, field, ("sql-boolean", "/admin/sql", b"q")));
        assert!(!covers("sql-boolean", path, field, ("sql-union", "/admin/sql", b"q")));
        assert!(!covers("sql-boolean", path, field, ("sql-boolean", "/admin/sql/x", b"q")));
        assert!(!covers("sql-boolean", path, field, ("sql-boolean", "/admin/sql", b"r")));
        assert!(covers("sql-*", None, field, ("sql-union", "/any", b"q")));
        assert!(covers("*", Some("/admin/*"), None, ("xss", "/admin/a/b", b"x")));
    }

    #[test]
    fn a_path_that_leaves_its_beginning_is_not_under_it() {
        for path in ["/wiki/../login", "/wiki/%2e%2e/login", "/wiki/..;/login", "/wiki/..\\login"] {
            assert!(!covers("*", Some("/wiki/*"), None, ("xss", path, b"x")), "{path}");
            assert!(covers("*", Some("*"), None, ("xss", path, b"x")), "{path}");
        }
    }
}
