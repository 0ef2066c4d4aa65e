//! Calls: delays, procedures, functions, subqueries and clauses that attacks use.

use super::pattern::{Broken, LOOK_AHEAD, Shape, Shapes};
use super::token::{Key, Kind};
use super::words::{FUNCTIONS, INFORMATION, STRONG_FUNCTIONS, SYSTEM_TABLES};
use crate::detect::builtin::Code;

/// Longest comment that only cuts off a query: `-- -`.
const SHORT_COMMENT: usize = 4;

impl Shapes<'_> {
    pub(super) fn time_delay(&self, at: usize) -> Shape {
        let found = |len, confidence| Some((Code::SqlTime, len, confidence));
        let delay = self.behind_sign(at + 1);
        if self.is(at, Key::Waitfor) && matches!(self.kind(delay), Kind::Key(Key::Delay | Key::Time)) {
            let value = matches!(
                self.kind(self.behind_sign(delay + 1)),
                Kind::Text | Kind::OpenText | Kind::Variable | Kind::Number
            );
            return if value || self.broken == Broken::Quote { found(3, 0.95) } else { None };
        }
        if self.kind(at) != Kind::Word || self.kind(at + 1) != Kind::Open {
            return None;
        }
        let argument = self.kind(at + 2);
        let number = matches!(
            argument,
            Kind::Number
                | Kind::Text
                | Kind::Open
                | Kind::Arithmetic
                | Kind::Key(Key::Select | Key::If | Key::Case)
        );
        const SURE: &[&str] = &[
            "pg_sleep",
            "pg_sleep_for",
            "dbms_pipe.receive_message",
            "dbms_lock.sleep",
            "user_lock.sleep",
            "dbms_session.sleep",
            "pg_catalog.pg_sleep",
        ];
        if self.text_is(at, SURE) {
            return found(3, 0.95);
        }
        if self.text_is(at, &["benchmark"]) && number && self.kind(at + 3) == Kind::Comma {
            return found(4, 0.95);
        }
        if self.text_is(at, &["randomblob", "zeroblob"]) && number {
            return found(3, 0.9);
        }
        if !self.text_is(at, &["sleep"]) || !number {
            return None;
        }
        let behind = matches!(
            self.before(at),
            Kind::Logic
                | Kind::Not
                | Kind::Key(_)
                | Kind::Comma
                | Kind::Arithmetic
                | Kind::Compare
                | Kind::Open
        );
        match self.broken {
            Broken::Quote | Broken::Number if behind => found(3, 0.95),
            Broken::Word if behind && self.before(at) != Kind::Compare => found(3, 0.75),
            Broken::No if matches!(self.before(at), Kind::Key(Key::Select) | Kind::Logic) => found(3, 0.9),
            _ if at == 0
                && self.kind(at + 3) == Kind::Close
                && matches!(self.kind(at + 4), Kind::End | Kind::Comment | Kind::Logic) =>
            {
                found(4, 0.7)
            }
            _ => None,
        }
    }

    /// The token at `at`, or the one behind it if that is a plus sign that should have been a blank, or half of a character that was to
    /// swallow a backslash.
    fn behind_sign(&self, at: usize) -> usize {
        let half = self.kind(at) == Kind::Word && !self.text(at).is_ascii() && self.text(at).len() < 3;
        at + usize::from(self.text(at) == b"+" || half)
    }

    pub(super) fn procedure(&self, at: usize) -> Shape {
        let found = |len, confidence| Some((Code::SqlProcedure, len, confidence));
        if self.kind(at) == Kind::Word
            && self.text_starts(
                at,
                &[
                    "xp_",
                    "master..xp_",
                    "master.dbo.xp_",
                    "master..sp_",
                    "sp_oacreate",
                    "sp_executesql",
                    "sp_makewebtask",
                ],
            )
            && self.text(at).len() > 5
        {
            return found(1, 0.9);
        }
        if !matches!(self.kind(at), Kind::Key(Key::Exec | Key::Execute)) {
            return None;
        }
        let named = self.text_starts(at + 1, &["sp_", "xp_", "master", "sys.", "immediate"]);
        match self.kind(at + 1) {
            Kind::Word if named => found(2, 0.93),
            Kind::Word if self.before(at) == Kind::Semicolon && self.broken >= Broken::Number => {
                found(2, 0.85)
            }
            Kind::Open | Kind::Variable if self.broken >= Broken::Number => found(2, 0.85),
            Kind::Variable => found(2, 0.7),
            _ => None,
        }
    }

    /// ORDER BY n, GROUP BY … HAVING, LIMIT n, PROCEDURE ANALYSE.
    pub(super) fn probe(&self, at: usize) -> Shape {
        let cut = |end| matches!(self.kind(end), Kind::Comment);
        let ends = |end| matches!(self.kind(end), Kind::Comment | Kind::End | Kind::Comma);
        let quoted = self.broken == Broken::Quote;
        match self.kind(at) {
            Kind::Key(Key::Order)
                if self.broken == Broken::Word && self.is(at + 1, Key::By) && self.counts_columns(at + 2) =>
            {
                Some((Code::SqlProbe, 4, 0.8))
            }
            Kind::Key(Key::Order | Key::Group)
                if self.is(at + 1, Key::By) && self.broken >= Broken::Number =>
            {
                let number = self.kind(at + 2) == Kind::Number;
                let confidence = match (number, cut(at + 3)) {
                    (true, true) => 0.9,
                    (true, false) if ends(at + 3) => 0.8,
                    (_, true) => 0.8,
                    _ if quoted && self.kind(at + 2) == Kind::Word && ends(at + 3) => 0.7,
                    _ => return None,
                };
                Some((Code::SqlProbe, 3, confidence))
            }
            Kind::Key(Key::Having) if self.broken >= Broken::Number && self.is_condition(at + 1) => {
                Some((Code::SqlProbe, 3, 0.75))
            }
            Kind::Key(Key::Having)
                if at == 1
                    && matches!(self.kind(2), Kind::Open | Kind::Number | Kind::Text)
                    && self.is_condition(2) =>
            {
                Some((Code::SqlProbe, 3, 0.72))
            }
            Kind::Key(Key::Limit) if quoted && self.kind(at + 1) == Kind::Number => {
                Some((Code::SqlProbe, 2, 0.8))
            }
            Kind::Key(Key::Procedure) if self.text_is(at + 1, &["analyse"]) => Some((Code::SqlProbe, 3, 0.9)),
            // `') as x where 1`, `' group by`, `' into @x`
            Kind::Key(Key::Where | Key::Into | Key::As | Key::Collate | Key::Escape)
                if quoted && self.before(at) == Kind::Close && at <= 3 =>
            {
                Some((Code::SqlProbe, 2, 0.7))
            }
            _ => None,
        }
    }

    /// Whether numbers stand at `at`, and right behind them a comment that cuts off the rest of a query: in prose a dash has blanks.
    fn counts_columns(&self, at: usize) -> bool {
        let behind = (at..at + LOOK_AHEAD).find(|&at| !matches!(self.kind(at), Kind::Number | Kind::Comma));
        // Behind a bracket that closes what was not opened, the end will do.
        let closed = at.checked_sub(3).is_some_and(|before| self.kind(before) == Kind::Close);
        let Some(comment) = behind.filter(|&comment| comment > at) else { return false };
        if self.kind(comment) != Kind::Comment {
            return closed && self.kind(comment) == Kind::End;
        }
        matches!(self.gap(comment), b"" | b"*/") || self.text(comment).len() <= SHORT_COMMENT
    }

    /// Whether what stands at `at` is a value that is compared, or ends there: `having 1 or 2 children` is none.
    fn is_condition(&self, at: usize) -> bool {
        let compared = |kind| {
            matches!(
                kind,
                Kind::Compare | Kind::Arithmetic | Kind::End | Kind::Comment | Kind::Semicolon | Kind::Not
            )
        };
        self.kind(at) == Kind::Open || self.operand(at).is_none_or(|(_, next)| compared(self.kind(next)))
    }

    pub(super) fn subquery(&self, at: usize) -> Shape {
        let found = |len, confidence| Some((Code::SqlSubquery, len, confidence));
        if matches!(self.kind(at), Kind::Word) && self.text_starts(at, SYSTEM_TABLES) {
            return match self.before(at) {
                // `f(sys.argv[1])` is Python.
                Kind::Open | Kind::Comma if self.text_starts(at, &["sys."]) && !self.has_select(at) => None,
                Kind::Key(Key::From) | Kind::Comma | Kind::Open => found(1, 0.85),
                Kind::Key(Key::Select) => found(1, 0.75),
                _ => None,
            };
        }
        if !self.is(at, Key::Select) {
            return None;
        }
        let sure = self.select_list(at + 1) == Some(true);
        let inside = self.before(at) == Kind::Open;
        let from = sure && self.has_from(at);
        match self.broken {
            Broken::Quote | Broken::Number if sure && inside => found(3, 0.88),
            Broken::Quote | Broken::Number if sure && !self.is_quoted(at + 1) => found(3, 0.8),
            _ if inside && from && at <= 2 => found(3, 0.8),
            _ if inside && from => found(3, 0.65),
            _ if inside && sure && at == 1 => found(3, 0.75),
            // Honest queries select columns, probes select literals.
            _ if sure && at == 0 && self.is_literal(at + 1) => found(3, 0.75),
            _ if at == 0 && self.calls_with_literal(at + 1) => found(4, 0.72),
            _ if from && at == 0 && self.lists_literals(at + 1) => found(3, 0.72),
            _ if from => found(3, 0.55),
            _ => None,
        }
    }

    /// Whether a SELECT stands in front of `at`.
    fn has_select(&self, at: usize) -> bool {
        (at.saturating_sub(LOOK_AHEAD)..at).any(|at| self.is(at, Key::Select))
    }

    /// Whether a select list mixes in literals.
    pub(super) fn lists_literals(&self, at: usize) -> bool {
        let list = || (at..at + LOOK_AHEAD).take_while(|&at| !self.is(at, Key::From));
        let literal = |at: usize| matches!(self.kind(at), Kind::Number | Kind::Text | Kind::Variable);
        list().any(|at| self.kind(at) == Kind::Comma) && list().any(literal)
    }

    pub(super) fn is_literal(&self, at: usize) -> bool {
        let at = at + usize::from(self.kind(at) == Kind::Open);
        matches!(self.kind(at), Kind::Number | Kind::Text | Kind::OpenText | Kind::Constant | Kind::Variable)
    }

    /// Whether a known function of a literal stands at `at`; `count(1)` is how rows are counted.
    fn calls_with_literal(&self, at: usize) -> bool {
        self.kind(at + 1) == Kind::Open
            && self.is_literal(at + 2)
            && self.text_is(at, FUNCTIONS)
            && !self.text_is(at, &["count"])
    }

    /// Whether a call at the value's beginning asks for what the database tells about itself.
    fn asks_for_information(&self, at: usize) -> bool {
        let inner = |at: usize| {
            self.kind(at + 1) == Kind::Open
                && self.kind(at + 2) == Kind::Close
                && self.text_is(at, INFORMATION)
        };
        at == 0 && self.text_is(at, FUNCTIONS) && (at + 2..at + LOOK_AHEAD).any(inner)
    }

    pub(super) fn function(&self, at: usize) -> Shape {
        let found = |len, confidence| Some((Code::SqlFunction, len, confidence));
        if self.kind(at) == Kind::Variable
            && self.text_is(
                at,
                &["@@version", "@@datadir", "@@hostname", "@@servername", "@@basedir", "@@global.version"],
            )
        {
            return found(1, 0.75);
        }
        if self.is(at, Key::Case) {
            let inside = self.broken >= Broken::Number || self.before(at) == Kind::Open;
            return match self.is(at + 1, Key::When) && inside {
                true => found(3, 0.85),
                false if at == 0 && self.is_whole_case() => found(3, 0.75),
                false => None,
            };
        }
        if !matches!(self.kind(at), Kind::Word | Kind::Key(Key::If)) || self.kind(at + 1) != Kind::Open {
            return None;
        }
        if self.text_is(at, STRONG_FUNCTIONS) {
            return found(3, 0.88);
        }
        // CHAR(83)||CHAR(69), CONCAT(0x7e, …
        let number = self.kind(at + 2) == Kind::Number;
        let codes = self.text_is(at, &["char", "chr", "nchar"]) && number;
        if codes
            && (self.kind(at + 3) == Kind::Comma
                || matches!(self.kind(at + 4), Kind::Logic | Kind::Arithmetic))
        {
            return found(5, 0.8);
        }
        if self.text_is(at, &["concat", "concat_ws", "group_concat"])
            && self.text_starts(at + 2, &["0x", "char", "@@", "version", "user"])
        {
            return found(3, 0.85);
        }
        if self.asks_for_information(at) {
            return found(LOOK_AHEAD, 0.8);
        }
        if self.compares_numbers(at) {
            return Some((Code::SqlBoolean, 5, 0.85));
        }
        let known = self.text_is(at, FUNCTIONS);
        match self.broken {
            Broken::Quote if known => found(3, 0.8),
            Broken::Number if known => found(3, 0.72),
            _ => None,
        }
    }

    /// Whether a call behind AND or OR, or one that chooses, asks whether two numbers are equal: whoever writes a query knows that.
    fn compares_numbers(&self, at: usize) -> bool {
        let numbers = self.kind(at + 2) == Kind::Number
            && self.kind(at + 3) == Kind::Compare
            && self.kind(at + 4) == Kind::Number;
        let chooses = || self.text_is(at, &["if", "iif", "elt", "interval", "make_set", "decode"]);
        numbers
            && match self.before(at) {
                Kind::Logic => self.broken >= Broken::Word,
                Kind::Comma | Kind::Arithmetic | Kind::Semicolon => self.broken >= Broken::Word && chooses(),
                _ => false,
            }
    }

    /// Whether the value is CASE … WHEN … THEN … END from its first token on.
    fn is_whole_case(&self) -> bool {
        let mut wanted = [Key::When, Key::Then, Key::EndCase].into_iter();
        let mut next = wanted.next();
        for at in 1..LOOK_AHEAD {
            match next {
                Some(key) if self.is(at, key) => next = wanted.next(),
                Some(_) => {}
                None => return true,
            }
        }
        false
    }

    /// INTO OUTFILE 'x', LOAD DATA INFILE.
    pub(super) fn file(&self, at: usize) -> Shape {
        let into =
            self.is(at, Key::Into) && matches!(self.kind(at + 1), Kind::Key(Key::Outfile | Key::Dumpfile));
        let load = self.is(at, Key::Load)
            && self.text_is(at + 1, &["data"])
            && self.text_is(at + 2, &["infile", "local"]);
        (into || load).then_some((Code::SqlFunction, 3, 0.9))
    }
}
