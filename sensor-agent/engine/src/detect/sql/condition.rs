//! Conditions and expressions: what makes a query true, probes it, or cuts it off.

use super::pattern::{Broken, LOOK_AHEAD, Shape, Shapes, is_operand};
use super::token::{Context, Key, Kind};
use super::words::{FUNCTIONS, TYPES};
use crate::detect::builtin::Code;

impl Shapes<'_> {
    /// AND/OR and a comparison.
    pub(super) fn condition(&self, at: usize) -> Shape {
        let joins = self.kind(at) == Kind::Logic
            || self.is(at, Key::Having)
            || self.is(at, Key::Where)
            || self.is(at, Key::When);
        if !joins {
            return None;
        }
        let (left, next) = self.operand(at + 1)?;
        let operator = match self.kind(next) {
            Kind::Compare => next,
            Kind::Not if self.kind(next + 1) == Kind::Compare => next + 1,
            Kind::Cast => return self.casts(left),
            Kind::Arithmetic if self.broken == Broken::Quote && left == Operand::Name => {
                let (_, end) = self.operand(next + 1)?;
                return Some((Code::SqlBoolean, end - at, 0.8));
            }
            _ => return None,
        };
        let again = usize::from(matches!(self.kind(operator + 1), Kind::Compare));
        let (right, end) = self.operand(operator + 1 + again)?;
        let same = self.text(at + 1).eq_ignore_ascii_case(self.text(operator + 1));
        let confidence = match (left, right, self.broken) {
            // `2 > 3 or 4 < 5` is arithmetic, and no way out of a query.
            (Operand::Literal, Operand::Literal, Broken::Number | Broken::No)
                if self.is_ordered(operator) && self.is_inequality(at) =>
            {
                0.6
            }
            // `does OR 1=1 mean anything`: no query goes on like this.
            (Operand::Literal, Operand::Literal, Broken::No | Broken::Word) if self.is_prose(end) => 0.6,
            (Operand::Literal, Operand::Literal, Broken::No) => 0.8,
            (Operand::Literal, Operand::Literal, Broken::Word) => 0.88,
            (Operand::Literal, Operand::Literal, _) => 0.95,
            (Operand::Query, ..) | (_, Operand::Query, _) => 0.9,
            (Operand::Literal, Operand::Function, _) if self.kind(operator + 1 + again) == Kind::Variable => {
                0.8
            }
            (Operand::Function, _, Broken::Quote | Broken::Number)
            | (_, Operand::Function, Broken::Quote | Broken::Number) => 0.85,
            (_, _, Broken::Quote) => 0.85,
            (_, _, Broken::Number) => 0.75,
            (_, _, Broken::Word) if same => 0.8,
            (Operand::Function, _, Broken::Word | Broken::No) if self.calls_known(at + 1) => 0.75,
            (Operand::Function, _, Broken::Word) => 0.45,
            _ => return None,
        };
        Some((Code::SqlBoolean, end - at, confidence))
    }

    /// Whether what stands at `at`, behind a condition, is words of a sentence.
    fn is_prose(&self, at: usize) -> bool {
        let word =
            |at: usize| self.kind(at) == Kind::Word && self.text(at).iter().all(u8::is_ascii_alphabetic);
        word(at + usize::from(self.text_is(at, &["in", "is", "and", "or"]))) && (word(at + 1) || word(at + 2))
    }

    /// Whether two numbers stand in front of the token at `at`, and which is the larger.
    fn is_inequality(&self, at: usize) -> bool {
        at.checked_sub(3).is_some_and(|start| {
            self.kind(start) == Kind::Number
                && self.is_ordered(start + 1)
                && self.kind(start + 2) == Kind::Number
        })
    }

    /// Whether the token at `at` says which of two numbers is the larger.
    fn is_ordered(&self, at: usize) -> bool {
        matches!(self.text(at), b"<" | b">" | b"<=" | b">=")
    }

    /// Whether a function that SQL knows is called at `at`.
    fn calls_known(&self, at: usize) -> bool {
        self.kind(at + 1) == Kind::Open && self.text_is(at, FUNCTIONS)
    }

    pub(super) fn casts(&self, left: Operand) -> Shape {
        (left == Operand::Literal).then_some((Code::SqlBoolean, 4, 0.85))
    }

    /// What stands at `at` as one side of a comparison, and where it ends.
    pub(super) fn operand(&self, mut at: usize) -> Option<(Operand, usize)> {
        let limit = at + LOOK_AHEAD / 2;
        while at < limit && matches!(self.kind(at), Kind::Open | Kind::Not | Kind::Arithmetic) {
            at += 1;
        }
        let literal = |next| Some((Operand::Literal, self.behind_brackets(next)));
        match self.kind(at) {
            Kind::Number | Kind::Text | Kind::OpenText | Kind::Constant => literal(at + 1),
            Kind::Variable => Some((Operand::Function, self.behind_brackets(at + 1))),
            Kind::Key(Key::Select | Key::Exists | Key::Case) => Some((Operand::Query, self.behind_call(at))),
            Kind::Word | Kind::Key(_) if self.kind(at + 1) == Kind::Open => {
                Some((Operand::Function, self.behind_brackets(self.behind_call(at + 1))))
            }
            // Words of statements that columns are named by as well.
            Kind::Word
            | Kind::Key(Key::User | Key::Role | Key::Database | Key::Schema | Key::View | Key::Index) => {
                Some((Operand::Name, self.behind_brackets(at + 1)))
            }
            _ => None,
        }
    }

    pub(super) fn behind_brackets(&self, at: usize) -> usize {
        let behind = (at..at + 8).find(|&at| self.kind(at) != Kind::Close).unwrap_or(at);
        // `1+1`, `2-1`: arithmetic between literals belongs to the operand.
        let more = self.kind(behind) == Kind::Arithmetic && self.kind(behind + 1) == Kind::Number;
        if more { behind + 2 } else { behind }
    }

    /// Behind the bracket that closes the one at or after `at`.
    pub(super) fn behind_call(&self, at: usize) -> usize {
        let mut depth = 0_usize;
        for next in at..at + LOOK_AHEAD {
            match self.kind(next) {
                Kind::Open => depth += 1,
                Kind::Close if depth <= 1 => return next + 1,
                Kind::Close => depth -= 1,
                Kind::End | Kind::Comment => return next,
                _ => {}
            }
        }
        at + LOOK_AHEAD
    }

    /// AND/OR and one true value, then the end.
    pub(super) fn truth(&self, at: usize) -> Shape {
        if self.kind(at) != Kind::Logic || self.broken < Broken::Number {
            return None;
        }
        if self.is(at + 1, Key::Exists)
            || self.is(at + 1, Key::Case)
            || self.kind(at + 1) == Kind::Not && self.is(at + 2, Key::Exists)
        {
            return Some((Code::SqlBoolean, 4, 0.88));
        }
        let (operand, end) = self.operand(at + 1)?;
        let stops = matches!(
            self.kind(end),
            Kind::Comment
                | Kind::End
                | Kind::Semicolon
                | Kind::Logic
                | Kind::Key(Key::Limit | Key::Order | Key::Group | Key::Union)
        );
        if !stops {
            return None;
        }
        let cut = self.kind(end) == Kind::Comment;
        let confidence = match (operand, self.broken, cut) {
            (Operand::Query, ..) => 0.88,
            (Operand::Literal, Broken::Quote, false) if self.is_quoted_word(at + 1) => 0.5,
            // `between ' and "`
            (Operand::Literal, Broken::Quote, false)
                if self.text(at + 1).len() == 1 && self.text(0).contains(&b' ') =>
            {
                0.5
            }
            (Operand::Literal | Operand::Function, Broken::Quote, _) | (_, Broken::Quote, true) => 0.85,
            (Operand::Literal | Operand::Function, _, true) => 0.85,
            // `true and false` are words.
            (Operand::Literal, Broken::Number, _) if self.kind(0) == Kind::Constant => 0.5,
            (Operand::Literal, ..) if self.kind(at + 1) == Kind::Constant => 0.75,
            (Operand::Function, ..) => 0.7,
            (Operand::Literal, ..) if self.before(at) != Kind::Number => 0.5,
            (Operand::Literal, ..) => 0.4,
            (_, Broken::Quote, _) => 0.5,
            _ => return None,
        };
        Some((Code::SqlBoolean, end - at, confidence))
    }

    /// An operator right behind the closed string, and something to operate on.
    pub(super) fn expression(&self, at: usize) -> Shape {
        if self.broken != Broken::Quote
            || at != 1
            || !matches!(self.kind(at), Kind::Compare | Kind::Arithmetic | Kind::Cast | Kind::Not)
        {
            return None;
        }
        let negated = self.kind(at) == Kind::Not;
        if negated && self.kind(at + 1) != Kind::Compare {
            return None;
        }
        if self.text_is(at, &["in"]) && self.text_is(at + 2, &["mode"]) {
            return Some((Code::SqlExpression, 3, 0.85));
        }
        // NOT LIKE, SOUNDS LIKE
        let two = negated || self.kind(at) == Kind::Compare && self.kind(at + 1) == Kind::Compare;
        let (operand, end) = self.operand(at + 1 + usize::from(two))?;
        let stops = matches!(
            self.kind(end),
            Kind::Comment | Kind::End | Kind::Logic | Kind::Arithmetic | Kind::Compare | Kind::Semicolon
        );
        // `6'-4"` is a measure, and so is `20" -pattern`.
        let inches = self.context == Context::Quoted(b'"');
        let measure = self.kind(at) == Kind::Arithmetic
            && (inches || self.kind(at + 1) == Kind::Number && self.tokens.len() <= 4)
            && self.text(0).iter().rev().nth(1).is_some_and(u8::is_ascii_digit)
            && self.kind(end) != Kind::Comment;
        let names = operand == Operand::Name
            && !matches!(self.kind(end), Kind::Compare | Kind::Arithmetic | Kind::Comment);
        if !stops || measure || names {
            return None;
        }
        let confidence = match operand {
            Operand::Query | Operand::Function => 0.88,
            _ if self.kind(end) == Kind::Comment => 0.85,
            _ if self.kind(at + 1) == Kind::OpenText && self.text(at + 1).len() > LONG_TEXT => 0.5,
            _ if self.is_quoted_word(at + 1) && self.text(at) != b"=" => 0.5,
            _ if self.is_sentence(0) => 0.5,
            // `"<p>text</p>"`
            Operand::Name
                if self.text(at) == b"<" && self.text(end) == b">" && self.gap(at + 1).is_empty() =>
            {
                0.5
            }
            // `url("/img/bg.png")`
            Operand::Name if self.text(at) == b"/" && self.text(end) == b"/" => 0.5,
            _ => 0.75,
        };
        Some((Code::SqlExpression, end - at, confidence))
    }

    /// Whether a string is a word or several that somebody put quotes around, or between: `small "&" sign`.
    fn is_quoted_word(&self, at: usize) -> bool {
        let text = self.text(at);
        let letters = text.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
        let double = self.context == Context::Quoted(b'"') || text.starts_with(b"\"");
        matches!(self.kind(at), Kind::Text | Kind::OpenText) && letters > 2 && double
    }

    /// Whether a string holds several words.
    fn is_sentence(&self, at: usize) -> bool {
        let words = self.text(at).split(|byte| *byte == b' ');
        words.filter(|word| word.len() > 1 && word.iter().all(u8::is_ascii_alphabetic)).count() >= 3
    }

    /// A comment that cuts off the rest of the query.
    pub(super) fn comment(&self, at: usize) -> Shape {
        if self.kind(at) != Kind::Comment || self.broken < Broken::Number {
            return None;
        }
        let text = self.text(at);
        let tail = text.iter().filter(|byte| byte.is_ascii_alphanumeric()).take(MAX_TAIL + 1).count();
        let clean = if text.starts_with(b"#") {
            text.trim_ascii_end().len() == 1
        } else {
            tail <= MAX_TAIL && !is_password(text)
        };
        let bare = (1..at).all(|before| matches!(self.kind(before), Kind::Close | Kind::Semicolon));
        let confidence = match (self.broken, clean, bare) {
            (Broken::Quote, true, true) => 0.75,
            (Broken::Quote, true, false) => 0.8,
            (Broken::Quote, false, _) => 0.45,
            (_, true, false) if self.is_cut_calculation(at) => 0.72,
            (_, true, true) if at > 1 => 0.6,
            (_, true, true) if self.kind(0) == Kind::Variable => 0.72,
            (_, true, true) if text.starts_with(b"#") => return None,
            (_, true, true) => 0.5,
            _ => return None,
        };
        Some((Code::SqlComment, 1, confidence))
    }

    /// A whole value that is one expression, cut off by a comment: `( cos ( 'a' or 1 ) ) --`.
    pub(super) fn cut_off(&self, at: usize) -> Shape {
        let short = (3..LOOK_AHEAD).contains(&at) && self.context == Context::Plain;
        if self.kind(at) != Kind::Comment || !short || self.text(at).len() > 6 {
            return None;
        }
        let adjacent = (1..at).any(|now| is_operand(self.kind(now - 1)) && is_operand(self.kind(now)));
        let foreign = (0..at).any(|now| self.kind(now) == Kind::Other);
        let has = |wanted: fn(Kind) -> bool| (0..at).any(|now| wanted(self.kind(now)));
        let literal = has(|kind| matches!(kind, Kind::Number | Kind::Text | Kind::Constant | Kind::Variable));
        let structure =
            has(|kind| matches!(kind, Kind::Open | Kind::Logic | Kind::Compare | Kind::Key(Key::Select)));
        (!adjacent && !foreign && literal && structure).then_some((Code::SqlComment, 1, 0.75))
    }
}

/// Whether what stands right behind two dashes is no word: a password may have `--9z!`.
fn is_password(comment: &[u8]) -> bool {
    let rest = comment.strip_prefix(b"--").unwrap_or_default();
    rest.first().is_some_and(u8::is_ascii_alphanumeric)
        && rest.iter().any(|byte| byte.is_ascii_punctuation() && !matches!(byte, b'-' | b'_' | b'+'))
}

impl Shapes<'_> {
    /// A comment where white space would do, in front of a keyword: `1/**/union`.
    pub(super) fn comment_gap(&self, at: usize) -> Shape {
        let keyword = matches!(
            self.kind(at),
            Kind::Logic
                | Kind::Key(Key::Union | Key::Select | Key::Order | Key::Group | Key::Having | Key::Into)
        );
        let gap = self.gap(at).trim_ascii();
        let comment = gap.starts_with(b"/*") || gap.starts_with(b"#") || gap.starts_with(b"--");
        (keyword && comment && self.broken >= Broken::Number).then_some((Code::SqlComment, 1, 0.78))
    }

    /// `'{…}'::jsonb`, `f(x)::int`
    pub(super) fn cast(&self, at: usize) -> Shape {
        if self.kind(at) != Kind::Cast || !self.text_is(at + 1, TYPES) {
            return None;
        }
        let ends = matches!(self.kind(at + 2), Kind::End | Kind::Comment | Kind::Word) && at < LOOK_AHEAD;
        let confidence = match self.before(at) {
            Kind::Text => 0.78,
            Kind::Close if ends && self.context == Context::Plain => 0.72,
            _ => return None,
        };
        Some((Code::SqlExpression, 2, confidence))
    }

    /// `(1234=1234)`, `iif(1=2, …`: two numbers compared.
    pub(super) fn comparison(&self, at: usize) -> Shape {
        let numbers = self.kind(at) == Kind::Number && self.kind(at + 2) == Kind::Number;
        let enclosed =
            self.before(at) == Kind::Open && matches!(self.kind(at + 3), Kind::Close | Kind::Comma);
        if self.kind(at + 1) != Kind::Compare || !numbers || !enclosed || at > 3 {
            return None;
        }
        Some((Code::SqlBoolean, 3, 0.75))
    }

    /// `x';`: a string closed and the statement ended; `'x'='y`: a comparison that the query's own quote completes.
    pub(super) fn closed(&self, at: usize) -> Shape {
        let value = || self.text(0).iter().all(|byte| *byte > b' ');
        let ended = at == 1 && self.broken == Broken::Quote && self.kind(at) == Kind::Semicolon;
        if ended && matches!(self.kind(2), Kind::End | Kind::Comment) && value() {
            return Some((Code::SqlComment, 1, 0.72));
        }
        let open = at == 1 && self.kind(at) == Kind::Compare && self.kind(2) == Kind::OpenText;
        let completes = open && self.before(at) == Kind::Text && self.tokens.len() == 3;
        (completes && self.context == Context::Plain && self.value.len() < 64).then_some((
            Code::SqlBoolean,
            3,
            0.75,
        ))
    }

    /// `1*1--`: a calculation and a comment behind it.
    pub(super) fn is_cut_calculation(&self, at: usize) -> bool {
        let number = |at: usize| self.kind(at) == Kind::Number;
        at == 3 && number(0) && self.kind(1) == Kind::Arithmetic && number(2) && self.text(at).len() <= 4
    }
}

/// Letters and digits behind two dashes up to which they only cut off a query.
const MAX_TAIL: usize = 12;

/// An open string longer than this is text, not an operand.
const LONG_TEXT: usize = 12;

/// One side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Literal,
    Name,
    Function,
    Query,
}
