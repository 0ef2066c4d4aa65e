//! What is wrong with a rule source, and where. All errors of all sources are gathered before anything is refused, so
//! that a person sees them once.

use std::fmt;

/// One thing wrong (or, as a warning, doubtful) in a rule source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Name of the source, as a rule its file name.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// The rule, if it is known.
    pub rule: Option<String>,
    /// What is wrong and what was expected, in one line.
    pub reason: String,
}

impl RuleError {
    /// An error at byte `offset` of `text`.
    pub(crate) fn at(file: &str, text: &str, offset: usize, rule: Option<&str>, reason: String) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
        Self {
            file: file.to_owned(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
            rule: rule.map(str::to_owned),
            reason,
        }
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if let Some(rule) = &self.rule {
            write!(f, "rule `{rule}`: ")?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for RuleError {}

/// ", did you mean `…`?" if one of `known` is near `got`, else ", expected one of …".
pub(crate) fn suggestion(got: &str, known: &[&str]) -> String {
    let near = known.iter().map(|name| (distance(got, name), name)).min();
    match near {
        Some((0..=2, name)) => format!(", did you mean `{name}`?"),
        _ => format!(", expected one of {}", known.join(", ")),
    }
}

/// Edits between two short words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, to) in b.chars().enumerate() {
            let left = row.get(j).copied().unwrap_or(0);
            if let Some(cell) = row.get_mut(j + 1) {
                let changed = diagonal + usize::from(!from.eq_ignore_ascii_case(&to));
                diagonal = *cell;
                *cell = changed.min(left + 1).min(*cell + 1);
            }
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters() {
        let error = RuleError::at("a.toml", "x = 1\nä = 2", 10, Some("r"), "bad".into());
        assert_eq!(error.to_string(), "a.toml:2:4: rule `r`: bad");
        let error = RuleError::at("a.toml", "", 99, None, "empty".into());
        assert_eq!(error.to_string(), "a.toml:1:1: empty");
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_listed() {
        assert_eq!(suggestion("patern", &["id", "pattern"]), ", did you mean `pattern`?");
        assert_eq!(suggestion("zzzzzz", &["id", "pattern"]), ", expected one of id, pattern");
        assert_eq!((distance("kitten", "sitting"), distance("", "ab"), distance("ab", "")), (3, 2, 2));
    }
}
