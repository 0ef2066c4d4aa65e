//! Fragments: short values that are no whole injection, but hardly anything else than a piece or a first probe of one. A
//! field of prose or of a query language is longer, begins with an operand, or goes on in words.

use super::condition::Operand;
use super::pattern::{LOOK_AHEAD, Shape, Shapes};
use super::token::{Context, Key, Kind};
use super::words::FUNCTIONS;
use super::words::INFORMATION;
use crate::detect::builtin::Code;

/// Longer values are no fragments.
const MAX_BYTES: usize = 100;
/// Longest value that is a probe of quotes and operators.
const MAX_PROBE: usize = 14;
/// How sure a fragment is.
const SURE: f32 = 0.74;
/// A fragment that could be something else.
const LIKELY: f32 = 0.72;

impl Shapes<'_> {
    /// A fragment, looked for once in a value, at its first token.
    pub(super) fn fragment(&self, at: usize) -> Shape {
        if at != 0 || self.value.len() > MAX_BYTES || self.tokens.len() > LOOK_AHEAD {
            return None;
        }
        let last = self.tokens.len();
        match self.context {
            Context::Plain => self
                .leading_logic()
                .or_else(|| self.whole_comparison())
                .or_else(|| self.leading_statement())
                .or_else(|| self.open_call(last))
                .or_else(|| self.information())
                .or_else(|| self.quote_probe()),
            Context::Quoted(_) => self.behind_quote(last),
        }
    }

    /// `&& 1==(`, `and x !=`, `xor 5-`: a value that begins with what joins conditions.
    fn leading_logic(&self) -> Shape {
        let skip = usize::from(matches!(self.kind(0), Kind::Arithmetic | Kind::Close | Kind::Number));
        let skip =
            skip + usize::from(skip == 1 && self.kind(0) == Kind::Arithmetic && self.kind(1) == Kind::Number);
        if self.kind(skip) != Kind::Logic {
            return None;
        }
        let symbol = matches!(self.text(skip), b"&&" | b"||");
        let joined = self.gap(skip + 1).is_empty() && !matches!(self.kind(skip + 1), Kind::Open | Kind::Text);
        if joined && !symbol {
            return None;
        }
        if self.kind(skip + 1) == Kind::Open && self.kind(skip + 2) == Kind::End {
            return found(Code::SqlBoolean, skip + 2, SURE);
        }
        let (operand, next) = self.operand(skip + 1)?;
        let known = operand == Operand::Function && self.text_is(skip + 1, FUNCTIONS);
        if known && matches!(self.kind(next), Kind::End | Kind::Comment | Kind::Compare) {
            return found(Code::SqlBoolean, next, SURE);
        }
        let compared = matches!(self.kind(next), Kind::Compare | Kind::Cast)
            || self.kind(next) == Kind::Arithmetic && self.is_literal(skip + 1)
            || self.kind(next) == Kind::Not;
        // `or is it so`: a comparison in words has an operand on both sides.
        let words = self.text(next).first().is_some_and(u8::is_ascii_alphabetic);
        let sure = compared && (!words || self.is_literal(skip + 1) || symbol);
        sure.then(|| found(Code::SqlBoolean, next, SURE)).flatten()
    }

    /// `1=1`, `11!=1`, `42 like 42`: two numbers compared, and nothing else.
    fn whole_comparison(&self) -> Shape {
        let start = usize::from(self.kind(0) == Kind::Word && self.kind(1) == Kind::Comma) * 2;
        let literal = |at: usize| matches!(self.kind(at), Kind::Number | Kind::Text);
        let two = usize::from(matches!(self.kind(start + 2), Kind::Compare | Kind::Not));
        let whole = self.kind(start + 1) == Kind::Compare
            && literal(start)
            && literal(start + 2 + two)
            && matches!(self.kind(start + 3 + two), Kind::End | Kind::Comment);
        let ordered = matches!(self.text(start + 1), b"<" | b">" | b"->" | b"->>");
        (whole && !ordered).then(|| found(Code::SqlBoolean, start + 3, SURE)).flatten()
    }

    /// `; insert into`, `select (case`, `having 1=`: a statement that begins behind a separator, or breaks off.
    fn leading_statement(&self) -> Shape {
        let verb = |at: usize| {
            matches!(
                self.kind(at),
                Kind::Key(
                    Key::Insert
                        | Key::Update
                        | Key::Delete
                        | Key::Drop
                        | Key::Alter
                        | Key::Create
                        | Key::Truncate
                        | Key::Select
                        | Key::Replace
                        | Key::Union
                        | Key::Exec
                        | Key::Execute
                        | Key::Declare
                )
            )
        };
        if self.kind(0) == Kind::Semicolon && verb(1) && self.tokens.len() <= 4 {
            return found(Code::SqlStacked, 2, SURE);
        }
        if self.is(0, Key::Select)
            && self.kind(1) == Kind::Open
            && matches!(self.kind(2), Kind::Key(_) | Kind::End)
        {
            return found(Code::SqlSubquery, 3, SURE);
        }
        let cut = self.is(0, Key::Having) && self.kind(1) == Kind::Number && self.kind(2) == Kind::Compare;
        cut.then(|| found(Code::SqlProbe, 3, SURE)).flatten()
    }

    /// `database() like schema()`, `19 version() limit 1,1`: what the database tells about itself, in an expression.
    fn information(&self) -> Shape {
        let called = |at: usize| {
            self.kind(at + 1) == Kind::Open
                && self.kind(at + 2) == Kind::Close
                && self.text_is(at, INFORMATION)
        };
        let at = (0..3).find(|&at| called(at))?;
        let goes_on = matches!(
            self.kind(at + 3),
            Kind::Compare | Kind::Logic | Kind::Comment | Kind::Key(Key::Limit | Key::From)
        );
        goes_on.then(|| found(Code::SqlFunction, at + 4, SURE)).flatten()
    }

    /// `ascii(`, `left')?$(`: a known function, and the value ends where its arguments would begin.
    fn open_call(&self, last: usize) -> Shape {
        let before = self.value.trim_ascii_end().strip_suffix(b"(")?;
        let name = before.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        let between = before.get(name..).unwrap_or_default();
        let known = self.text_is(0, FUNCTIONS) && self.text(0).len() == name;
        let marks =
            between.len() <= 6 && between.iter().all(|byte| byte.is_ascii_punctuation() || *byte == b' ');
        (known && marks).then(|| found(Code::SqlFunction, last, LIKELY)).flatten()
    }

    /// `'16/17`, `";`, `' = #`: quotes and operators around no words.
    fn quote_probe(&self) -> Shape {
        let value = self.value.trim_ascii();
        if matches!(value, b"\"'" | b"'\"" | b"'`" | b"`'") {
            return found(Code::SqlExpression, 1, LIKELY);
        }
        let starts = value.first().is_some_and(|byte| matches!(byte, b'\'' | b'"' | b'`'));
        if !starts || !(2..=MAX_PROBE).contains(&value.len()) {
            return None;
        }
        let count = |wanted: fn(&u8) -> bool| value.iter().filter(|byte| wanted(byte)).count();
        let quotes = count(|byte| matches!(byte, b'\'' | b'"' | b'`'));
        let letters = count(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80);
        let marks = count(|byte| {
            matches!(byte, b'=' | b'<' | b'>' | b'*' | b'^' | b';' | b'#' | b'|' | b'&' | b'!' | b'%' | b'+')
        });
        let divides = value.contains(&b'/') && value.iter().any(u8::is_ascii_digit);
        let probes = quotes % 2 == 1 && (marks > 0 || divides) && letters == 0;
        probes.then(|| found(Code::SqlExpression, 1, LIKELY)).flatten()
    }

    /// `' or x !=`, `x' or y--`, `' union a`: what follows a closed string joins, or begins a clause.
    fn behind_quote(&self, last: usize) -> Shape {
        let at_once = self.text(0).len() <= 1;
        let cut = last > 2 && self.kind(last - 1) == Kind::Comment && self.text(last - 1).len() <= 4;
        if self.kind(1) == Kind::Logic {
            if cut && self.tokens.len() < 12 {
                return found(Code::SqlBoolean, last, 0.8);
            }
            let (_, next) = self.operand(2)?;
            let open = matches!(self.kind(next), Kind::Compare | Kind::Not | Kind::Arithmetic)
                && !self.text(next).first().is_some_and(u8::is_ascii_alphabetic)
                && matches!(self.kind(next + 1), Kind::End | Kind::Text | Kind::OpenText | Kind::Other);
            return (open && !self.has_words()).then(|| found(Code::SqlBoolean, next, SURE)).flatten();
        }
        let clause = matches!(
            self.kind(1),
            Kind::Key(
                Key::Union | Key::Alter | Key::Select | Key::Drop | Key::Insert | Key::Delete | Key::Having
            )
        );
        let goes_on = matches!(self.kind(2), Kind::Text | Kind::OpenText);
        let short = self.tokens.len() <= 3 && at_once && !goes_on;
        (clause && short).then(|| found(Code::SqlUnion, 2, SURE)).flatten().or_else(|| {
            let ended = self.kind(1) == Kind::Semicolon && matches!(self.kind(2), Kind::Key(Key::Select));
            (ended && at_once).then(|| found(Code::SqlStacked, 3, SURE)).flatten()
        })
    }

    /// Whether the text in front of the quote is words.
    fn has_words(&self) -> bool {
        self.text(0).iter().filter(|byte| **byte == b' ').count() > 1
    }
}

#[allow(clippy::unnecessary_wraps, reason = "it ends the functions above, which find a shape or none")]
fn found(code: Code, len: usize, confidence: f32) -> Shape {
    Some((code, len, confidence))
}
