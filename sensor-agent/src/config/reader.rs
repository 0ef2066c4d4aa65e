//! Reads a TOML document key by key and collects every mistake with its place, instead of stopping at the first: an
//! operator mends a file once, not once for each error.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// The file.
    pub(crate) file: PathBuf,
    /// Line, from 1.
    pub(crate) line: usize,
    /// Column in characters, from 1.
    pub(crate) column: usize,
    /// What is wrong, and what is expected.
    pub(crate) reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = crate::printable::line(&self.reason);
        write!(f, "{}:{}:{}: {reason}", self.file.display(), self.line, self.column)
    }
}

/// A mistake at a place of the text.
#[derive(Debug)]
pub(super) struct Fault {
    span: Range<usize>,
    reason: String,
}

impl Fault {
    /// A mistake in `value`.
    pub(super) fn new(value: &Spanned<DeValue<'_>>, reason: String) -> Vec<Self> {
        vec![Self { span: value.span(), reason }]
    }
}

/// A value that was read, or all that is wrong with it.
pub(super) type Parsed<T> = Result<T, Vec<Fault>>;

/// The document being read, and what was found wrong with it.
pub(super) struct Document<'a> {
    file: &'a Path,
    text: &'a str,
    table: Spanned<DeTable<'a>>,
    faults: Vec<Fault>,
    sections: Vec<&'static str>,
    keys: Vec<String>,
}

impl<'a> Document<'a> {
    /// Parses the syntax of `text`, the content of `file`.
    pub(super) fn parse(file: &'a Path, text: &'a str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let faults = errors.iter().map(|error| Fault {
            span: error.span().unwrap_or(0..0),
            reason: error.message().replace('\n', ", "),
        });
        Self { file, text, faults: faults.collect(), table, sections: Vec::new(), keys: Vec::new() }
    }

    /// Reads the table `name` with `read`, then refuses the keys that `read` did not ask for.
    pub(super) fn section<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Section<'_, 'a>) -> T,
    ) -> T {
        self.sections.push(name);
        let empty = DeTable::new();
        let mut section = Section { name, table: &empty, asked: Vec::new(), faults: Vec::new() };
        if let Some(value) = self.table.get_ref().get(name) {
            match value.get_ref().as_table() {
                Some(table) => section.table = table,
                None => section.faults.extend(Fault::new(
                    value,
                    format!("`{name}` is {}, expected a section `[{name}]`", kind(value)),
                )),
            }
        }
        let read = read(&mut section);
        section.refuse_unknown();
        self.keys.extend(section.asked.iter().map(|key| format!("{name}.{key}")));
        self.faults.append(&mut section.faults);
        read
    }

    /// Reports a mistake that lies in no single value.
    pub(super) fn fault(&mut self, section: &str, key: &str, reason: String) {
        let table = self.table.get_ref().get(section);
        let value = table.and_then(|table| table.get_ref().as_table()).and_then(|table| table.get(key));
        let span = value.or(table).map_or(0..0, Spanned::span);
        self.faults.push(Fault { span, reason });
    }

    /// Every key that was asked for, as `section.key`.
    #[cfg(test)]
    pub(super) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// All mistakes, in the order of the text.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        for (key, _) in self.table.get_ref() {
            if !self.sections.contains(&key.get_ref().as_ref()) {
                let reason = unknown("section", "", key.get_ref(), &self.sections);
                self.faults.push(Fault { span: key.span(), reason });
            }
        }
        self.faults.sort_by_key(|fault| fault.span.start);
        self.faults.iter().map(|fault| self.problem(fault)).collect()
    }

    fn problem(&self, fault: &Fault) -> Problem {
        let before = self.text.get(..fault.span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Problem {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            reason: fault.reason.clone(),
        }
    }
}

/// One section being read.
pub(super) struct Section<'a, 'i> {
    name: &'static str,
    table: &'a DeTable<'i>,
    asked: Vec<&'static str>,
    faults: Vec<Fault>,
}

impl Section<'_, '_> {
    /// The value of `key` read by `parse`, or `default` if the key is absent or wrong.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&Spanned<DeValue<'_>>) -> Parsed<T>,
    ) -> T {
        self.asked.push(key);
        let Some(value) = self.table.get(key) else { return default };
        parse(value).unwrap_or_else(|faults| {
            let name = self.name;
            let named =
                faults.into_iter().map(|f| Fault { reason: format!("`{name}.{key}`: {}", f.reason), ..f });
            self.faults.extend(named);
            default
        })
    }

    fn refuse_unknown(&mut self) {
        for (key, _) in self.table {
            if !self.asked.contains(&key.get_ref().as_ref()) {
                let reason = unknown("key", self.name, key.get_ref(), &self.asked);
                self.faults.push(Fault { span: key.span(), reason });
            }
        }
    }
}

fn unknown(what: &str, section: &str, got: &str, known: &[&str]) -> String {
    let shown = if section.is_empty() { got.to_owned() } else { format!("{section}.{got}") };
    match closest(got, known) {
        Some(meant) => format!("unknown {what} `{shown}`, did you mean `{meant}`?"),
        None => format!("unknown {what} `{shown}`, expected one of {}", known.join(", ")),
    }
}

fn closest<'k>(got: &str, known: &[&'k str]) -> Option<&'k str> {
    let best = known.iter().map(|name| (distance(got, name), *name)).min()?;
    (best.0 <= 1 + got.len() / 4).then_some(best.1)
}

/// Longest name compared; a longer one resembles no key.
const LONGEST_NAME: usize = 64;

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > LONGEST_NAME {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// What a value is, with the value if it is short.
pub(super) fn kind(value: &Spanned<DeValue<'_>>) -> String {
    match value.get_ref() {
        DeValue::String(text) => format!("the text `{}`", crate::printable::short(text, 40)),
        DeValue::Integer(number) => format!("the integer `{number}`"),
        DeValue::Float(number) => format!("the number `{number}`"),
        DeValue::Boolean(flag) => format!("`{flag}`"),
        DeValue::Datetime(time) => format!("the time `{time}`"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
