//! Whole statements: what UNION joins, and what stands behind a semicolon.

use super::pattern::{Broken, LOOK_AHEAD, Shape, Shapes};
use super::token::{Context, Key, Kind};
use crate::detect::builtin::Code;

impl Shapes<'_> {
    pub(super) fn union_select(&self, at: usize) -> Shape {
        let set = matches!(self.kind(at), Kind::Key(Key::Union | Key::Intersect | Key::Except | Key::Minus));
        if !set {
            return None;
        }
        let mut next = at + 1;
        while next < at + LOOK_AHEAD
            && matches!(self.kind(next), Kind::Key(Key::All | Key::Distinct) | Kind::Open)
        {
            next += 1;
        }
        if self.is(next, Key::Values) && self.kind(next + 1) == Kind::Open {
            return Some((Code::SqlUnion, next + 2 - at, 0.9));
        }
        // MySQL's statement of a whole table.
        if self.is(next, Key::Table) && self.kind(next + 1) == Kind::Word && self.broken >= Broken::Number {
            return Some((Code::SqlUnion, next + 2 - at, 0.88));
        }
        if !self.is(next, Key::Select) {
            return None;
        }
        let found = |confidence| Some((Code::SqlUnion, next + 3 - at, confidence));
        match self.select_list(next + 1) {
            Some(true) => found(0.95),
            Some(false) if self.broken >= Broken::Number => found(0.92),
            _ if self.broken == Broken::Quote => found(0.9),
            _ => None,
        }
    }

    /// Whether what stands at `at`, behind SELECT, is surely a select list (true), perhaps one (false), or none.
    pub(super) fn select_list(&self, mut at: usize) -> Option<bool> {
        while matches!(self.kind(at), Kind::Key(Key::All | Key::Distinct)) {
            at += 1;
        }
        match self.kind(at) {
            Kind::Number | Kind::Text | Kind::OpenText | Kind::Constant | Kind::Variable | Kind::Open => {
                Some(true)
            }
            Kind::Key(Key::Case | Key::If) => Some(true),
            Kind::Arithmetic => Some(true),
            Kind::Word | Kind::Key(_) => match self.kind(at + 1) {
                Kind::Comma if self.has_from(at) => Some(true),
                Kind::Open | Kind::Key(Key::From) => Some(true),
                Kind::Arithmetic if self.kind(at + 2) == Kind::Number && self.has_from(at) => Some(true),
                Kind::Comma | Kind::End | Kind::Comment | Kind::Close | Kind::Semicolon => Some(false),
                _ => None,
            },
            Kind::End | Kind::Comment => Some(false),
            _ => None,
        }
    }

    pub(super) fn has_from(&self, at: usize) -> bool {
        (at..at + LOOK_AHEAD).take_while(|&at| self.kind(at) != Kind::End).any(|at| self.is(at, Key::From))
    }

    pub(super) fn stacked(&self, at: usize) -> Shape {
        if self.kind(at) != Kind::Semicolon {
            // T-SQL needs nothing between two statements.
            let at_once = at == 1 && self.broken >= Broken::Number;
            let confidence = if self.broken == Broken::Quote { 0.85 } else { 0.75 };
            return at_once
                .then(|| self.statement(at))
                .flatten()
                .map(|len| (Code::SqlStacked, len, confidence));
        }
        let len = self.statement(at + 1)?;
        let confidence = match self.broken {
            Broken::Quote => 0.95,
            Broken::Number => 0.92,
            Broken::Word => 0.8,
            // What is a statement from its first word on is somebody's script.
            Broken::No if self.context == Context::Plain && self.statement(0).is_some() => 0.55,
            Broken::No => 0.7,
        };
        Some((Code::SqlStacked, len + 1, confidence))
    }

    /// Tokens of a statement's beginning that hardly stands in prose.
    pub(super) fn statement(&self, at: usize) -> Option<usize> {
        let Kind::Key(verb) = self.kind(at) else { return None };
        let next = self.kind(at + 1);
        let name = matches!(self.kind(at + 2), Kind::Word | Kind::Key(_));
        let fits = match verb {
            Key::Select => self.select_list(at + 1) == Some(true) && !self.is_quoted(at + 1),
            Key::Drop | Key::Create | Key::Alter | Key::Truncate | Key::Rename => self.is_object(at + 1),
            Key::Delete => {
                let at = at + usize::from(self.text_is(at + 1, &["low_priority", "quick", "ignore"]));
                let name = matches!(self.kind(at + 2), Kind::Word | Kind::Key(_));
                self.is(at + 1, Key::From) && name && self.ends_name(at + 3)
            }
            Key::Begin => self.is(at + 1, Key::Declare) && self.kind(at + 2) == Kind::Variable,
            Key::Insert | Key::Merge | Key::Replace => {
                self.is(at + 1, Key::Into)
                    && name
                    && matches!(self.kind(at + 3), Kind::Open | Kind::Key(Key::Values | Key::Select))
            }
            Key::Update => {
                matches!(next, Kind::Word | Kind::Key(_))
                    && self.is(at + 2, Key::Set)
                    && self.kind(at + 4) == Kind::Compare
            }
            Key::Exec | Key::Execute => {
                matches!(next, Kind::Variable | Kind::Open)
                    || next == Kind::Word
                        && !matches!(
                            self.kind(at + 2),
                            Kind::Word | Kind::Key(_) | Kind::Arithmetic | Kind::Other
                        )
            }
            Key::Declare => next == Kind::Variable || self.is(at + 2, Key::Time),
            Key::Waitfor => matches!(next, Kind::Key(Key::Delay | Key::Time)),
            Key::Shutdown => {
                matches!(next, Kind::End | Kind::Comment | Kind::Semicolon) || self.text_is(at + 1, &["with"])
            }
            Key::Call => next == Kind::Word && self.kind(at + 2) == Kind::Open,
            Key::Copy => next == Kind::Word && matches!(self.kind(at + 2), Kind::Key(Key::From) | Kind::Open),
            Key::Set => next == Kind::Variable,
            Key::If => {
                next == Kind::Open
                    && (at..at + LOOK_AHEAD).any(|at| self.is(at, Key::Waitfor) || self.is(at, Key::Select))
            }
            Key::Handler => next == Kind::Word && self.text_is(at + 2, &["open"]),
            Key::Load => self.text_is(at + 1, &["data", "xml"]),
            Key::Grant => {
                self.is(at + 1, Key::All)
                    || self.text_is(at + 2, &["on", "to"])
                        && matches!(self.kind(at + 3), Kind::Word | Kind::Key(_) | Kind::Text)
            }
            _ => false,
        };
        fits.then_some(3)
    }

    /// Whether the quote that opened in front of a SELECT, which ends at `at`, closes at once or behind its FROM: `press "select"`,
    /// `why does "select * from" fail`.
    pub(super) fn is_quoted(&self, at: usize) -> bool {
        let Context::Quoted(quote) = self.context else { return false };
        let closes = |at: usize| self.gap(at).is_empty() && self.text(at).starts_with(&[quote]);
        let from = (at..at + LOOK_AHEAD).find(|&at| self.is(at, Key::From));
        // A string that ends may be what is selected.
        self.kind(at) == Kind::OpenText && closes(at)
            || quote == b'"' && from.is_some_and(|from| closes(from + 1))
    }

    /// TABLE x, DATABASE x, … and nothing behind it that makes it a sentence.
    pub(super) fn is_object(&self, at: usize) -> bool {
        let kinds = [
            Key::Table,
            Key::Database,
            Key::Schema,
            Key::View,
            Key::Index,
            Key::User,
            Key::Role,
            Key::Trigger,
            Key::Procedure,
            Key::Function,
        ];
        if !kinds.iter().any(|&key| self.is(at, key)) {
            return false;
        }
        let name = if self.is(at + 1, Key::If) { at + 2 + self.if_exists(at + 2) } else { at + 1 };
        matches!(self.kind(name), Kind::Word | Kind::Key(_) | Kind::Text) && self.ends_name(name + 1)
    }

    /// Tokens of `[NOT] EXISTS`.
    pub(super) fn if_exists(&self, at: usize) -> usize {
        usize::from(self.kind(at) == Kind::Not) + 1
    }

    /// Whether what stands at `at` can follow a table's name in a statement, and hardly a noun in a sentence.
    pub(super) fn ends_name(&self, at: usize) -> bool {
        let word = self.kind(at) == Kind::Word
            && self.text_is(
                at,
                &["cascade", "restrict", "identified", "with", "add", "character", "purge", "column"],
            );
        let ends = matches!(
            self.kind(at),
            Kind::End
                | Kind::Comment
                | Kind::Semicolon
                | Kind::Open
                | Kind::Key(Key::Where | Key::Drop | Key::As | Key::Set | Key::Limit)
        );
        word || ends
    }
}
