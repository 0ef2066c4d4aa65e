//! What injections consist of, as shapes in a sequence of tokens. Each shape looks ahead a bounded number of tokens.

use super::Found;
use super::token::{Context, Key, Kind, Token};
use crate::detect::builtin::Code;

/// Tokens that one shape looks ahead.
const LOOK_AHEAD: usize = 48;

/// The strongest shape in `tokens`.
pub(super) fn find(value: &[u8], tokens: &[Token], context: Context) -> Option<Found> {
    let mut shapes = Shapes { value, tokens, context, broken: Broken::No };
    let mut best: Option<Found> = None;
    for at in 0..tokens.len() {
        shapes.broken = shapes.advance(at);
        for shape in all_shapes() {
            let Some((code, len, confidence)) = shape(&shapes, at) else { continue };
            if best.is_none_or(|best| confidence > best.confidence) {
                best = Some(Found { code, start: shapes.start(at), end: shapes.stop(at, len), confidence });
            }
        }
    }
    best
}

/// How a value has left its place in the query so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Broken {
    /// Not, or what follows is no SQL.
    No,
    /// An identifier stands first: it may be prose.
    Word,
    /// A number, bracket or complete string stands first.
    Number,
    /// A quote closed the string.
    Quote,
}

/// A shape that was found: what it is, its length in tokens, confidence.
type Shape = Option<(Code, usize, f32)>;

/// All shapes.
fn all_shapes<'v>() -> [fn(&Shapes<'v>, usize) -> Shape; 13] {
    [
        Shapes::union_select,
        Shapes::stacked,
        Shapes::time_delay,
        Shapes::condition,
        Shapes::truth,
        Shapes::expression,
        Shapes::comment,
        Shapes::procedure,
        Shapes::probe,
        Shapes::subquery,
        Shapes::function,
        Shapes::file,
        Shapes::cut_off,
    ]
}

struct Shapes<'a> {
    value: &'a [u8],
    tokens: &'a [Token],
    context: Context,
    broken: Broken,
}

impl Shapes<'_> {
    fn kind(&self, at: usize) -> Kind {
        self.tokens.get(at).map_or(Kind::End, |token| token.kind)
    }

    fn before(&self, at: usize) -> Kind {
        at.checked_sub(1).map_or(Kind::End, |before| self.kind(before))
    }

    fn is(&self, at: usize, key: Key) -> bool {
        self.kind(at) == Kind::Key(key)
    }

    fn start(&self, at: usize) -> usize {
        self.tokens.get(at).map_or(0, |token| token.start as usize)
    }

    /// Where the token `len - 1` behind `at`, or the last one, ends.
    fn stop(&self, at: usize, len: usize) -> usize {
        let last = (at + len).min(self.tokens.len()).saturating_sub(1);
        self.tokens.get(last).map_or(0, |token| token.end as usize)
    }

    fn text(&self, at: usize) -> &[u8] {
        let range = self.tokens.get(at).map_or(0..0, |token| token.start as usize..token.end as usize);
        self.value.get(range).unwrap_or_default()
    }

    fn text_is(&self, at: usize, words: &[&str]) -> bool {
        let text = self.text(at);
        words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()))
    }

    fn text_starts(&self, at: usize, words: &[&str]) -> bool {
        let text = self.text(at);
        let head = |word: &str| {
            text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
        };
        words.iter().any(|word| head(word))
    }

    /// The state before token `at`, from that before the token in front of it.
    fn advance(&self, at: usize) -> Broken {
        let (last, now) = (self.before(at), self.kind(at));
        match (at, self.context) {
            (0, _) => Broken::No,
            (1, Context::Quoted(_)) => {
                if is_operand(now) {
                    Broken::No
                } else {
                    Broken::Quote
                }
            }
            (1, Context::Plain) => match last {
                _ if is_operand(now) => Broken::No,
                Kind::Number | Kind::Constant | Kind::Variable | Kind::Close | Kind::Text => Broken::Number,
                Kind::Arithmetic if matches!(now, Kind::Number | Kind::Open) => Broken::Number,
                Kind::Word => Broken::Word,
                _ => Broken::No,
            },
            // `-1 or`: the sign came first.
            (2, Context::Plain) if self.before(1) == Kind::Arithmetic && last == Kind::Number => {
                Broken::Number
            }
            _ if is_operand(last) && is_operand(now) && !self.is_alias(at) => Broken::No,
            _ if last == Kind::Other => Broken::No,
            _ => self.broken,
        }
    }

    /// Whether two operands side by side are a function or table with its alias, as SQL allows behind FROM.
    fn is_alias(&self, at: usize) -> bool {
        let two_before = at.checked_sub(2).map_or(Kind::End, |before| self.kind(before));
        let sql_word = matches!(
            two_before,
            Kind::Key(
                Key::From
                    | Key::Into
                    | Key::Update
                    | Key::Table
                    | Key::As
                    | Key::Exec
                    | Key::Execute
                    | Key::Delay
                    | Key::Time
            )
        ) || matches!(two_before, Kind::Close);
        sql_word || matches!(two_before, Kind::Compare) && self.text_is(at - 2, &["sounds"])
    }

    fn union_select(&self, at: usize) -> Shape {
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
    fn select_list(&self, mut at: usize) -> Option<bool> {
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
                Kind::Comma | Kind::End | Kind::Comment | Kind::Close | Kind::Semicolon => Some(false),
                _ => None,
            },
            Kind::End | Kind::Comment => Some(false),
            _ => None,
        }
    }

    fn has_from(&self, at: usize) -> bool {
        (at..at + LOOK_AHEAD).take_while(|&at| self.kind(at) != Kind::End).any(|at| self.is(at, Key::From))
    }

    fn stacked(&self, at: usize) -> Shape {
        if self.kind(at) != Kind::Semicolon {
            return None;
        }
        let len = self.statement(at + 1)?;
        let confidence = match self.broken {
            Broken::Quote => 0.95,
            Broken::Number => 0.92,
            Broken::Word => 0.8,
            Broken::No => 0.7,
        };
        Some((Code::SqlStacked, len + 1, confidence))
    }

    /// Tokens of a statement's beginning that hardly stands in prose.
    fn statement(&self, at: usize) -> Option<usize> {
        let Kind::Key(verb) = self.kind(at) else { return None };
        let next = self.kind(at + 1);
        let name = matches!(self.kind(at + 2), Kind::Word | Kind::Key(_));
        let fits = match verb {
            Key::Select => self.select_list(at + 1) == Some(true),
            Key::Drop | Key::Create | Key::Alter | Key::Truncate | Key::Rename => self.is_object(at + 1),
            Key::Delete => self.is(at + 1, Key::From) && name && self.ends_name(at + 3),
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
            Key::Exec | Key::Execute => matches!(next, Kind::Word | Kind::Variable | Kind::Open),
            Key::Declare => next == Kind::Variable || self.is(at + 2, Key::Time),
            Key::Waitfor => matches!(next, Kind::Key(Key::Delay | Key::Time)),
            Key::Shutdown => matches!(next, Kind::End | Kind::Comment | Kind::Semicolon),
            Key::Call => next == Kind::Word && self.kind(at + 2) == Kind::Open,
            Key::Copy => next == Kind::Word && matches!(self.kind(at + 2), Kind::Key(Key::From) | Kind::Open),
            Key::Set => next == Kind::Variable,
            Key::If => {
                next == Kind::Open
                    && (at..at + LOOK_AHEAD).any(|at| self.is(at, Key::Waitfor) || self.is(at, Key::Select))
            }
            Key::Handler => next == Kind::Word && self.text_is(at + 2, &["open"]),
            Key::Load => self.text_is(at + 1, &["data", "xml"]),
            Key::Grant => self.is(at + 1, Key::All) || self.text_is(at + 2, &["on", "to"]),
            _ => false,
        };
        fits.then_some(3)
    }

    /// TABLE x, DATABASE x, … and nothing behind it that makes it a sentence.
    fn is_object(&self, at: usize) -> bool {
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
    fn if_exists(&self, at: usize) -> usize {
        usize::from(self.kind(at) == Kind::Not) + 1
    }

    /// Whether what stands at `at` can follow a table's name in a statement, and hardly a noun in a sentence.
    fn ends_name(&self, at: usize) -> bool {
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

    fn time_delay(&self, at: usize) -> Shape {
        let found = |len, confidence| Some((Code::SqlTime, len, confidence));
        if self.is(at, Key::Waitfor) && matches!(self.kind(at + 1), Kind::Key(Key::Delay | Key::Time)) {
            let value =
                matches!(self.kind(at + 2), Kind::Text | Kind::OpenText | Kind::Variable | Kind::Number);
            return if value { found(3, 0.95) } else { None };
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
            Kind::Logic | Kind::Key(_) | Kind::Comma | Kind::Arithmetic | Kind::Compare | Kind::Open
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

    /// AND/OR and a comparison.
    fn condition(&self, at: usize) -> Shape {
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
            _ => return None,
        };
        let again = usize::from(matches!(self.kind(operator + 1), Kind::Compare));
        let (right, end) = self.operand(operator + 1 + again)?;
        let same = self.text(at + 1).eq_ignore_ascii_case(self.text(operator + 1));
        let confidence = match (left, right, self.broken) {
            (Operand::Literal, Operand::Literal, Broken::No) => 0.8,
            (Operand::Literal, Operand::Literal, Broken::Word) => 0.88,
            (Operand::Literal, Operand::Literal, _) => 0.95,
            (Operand::Query, ..) | (_, Operand::Query, _) => 0.9,
            (Operand::Function, _, Broken::Quote | Broken::Number)
            | (_, Operand::Function, Broken::Quote | Broken::Number) => 0.85,
            (_, _, Broken::Quote) => 0.85,
            (_, _, Broken::Number) => 0.75,
            (_, _, Broken::Word) if same => 0.8,
            (Operand::Function, _, Broken::Word) => 0.45,
            _ => return None,
        };
        Some((Code::SqlBoolean, end - at, confidence))
    }

    fn casts(&self, left: Operand) -> Shape {
        (left == Operand::Literal).then_some((Code::SqlBoolean, 4, 0.85))
    }

    /// What stands at `at` as one side of a comparison, and where it ends.
    fn operand(&self, mut at: usize) -> Option<(Operand, usize)> {
        let limit = at + 8;
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
            Kind::Word => Some((Operand::Name, self.behind_brackets(at + 1))),
            _ => None,
        }
    }

    fn behind_brackets(&self, at: usize) -> usize {
        let behind = (at..at + 8).find(|&at| self.kind(at) != Kind::Close).unwrap_or(at);
        // `1+1`, `2-1`: arithmetic between literals belongs to the operand.
        let more = self.kind(behind) == Kind::Arithmetic && self.kind(behind + 1) == Kind::Number;
        if more { behind + 2 } else { behind }
    }

    /// Behind the bracket that closes the one at or after `at`.
    fn behind_call(&self, at: usize) -> usize {
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
    fn truth(&self, at: usize) -> Shape {
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
            (Operand::Literal | Operand::Function, Broken::Quote, _) | (_, Broken::Quote, true) => 0.85,
            (Operand::Literal | Operand::Function, _, true) => 0.85,
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
    fn expression(&self, at: usize) -> Shape {
        if self.broken != Broken::Quote
            || at != 1
            || !matches!(self.kind(at), Kind::Compare | Kind::Arithmetic | Kind::Cast)
        {
            return None;
        }
        let (operand, end) = self.operand(at + 1)?;
        let stops = matches!(
            self.kind(end),
            Kind::Comment | Kind::End | Kind::Logic | Kind::Arithmetic | Kind::Compare | Kind::Semicolon
        );
        // `6'-4"` is a measure.
        let measure = self.text(at) == b"-"
            && self.kind(at + 1) == Kind::Number
            && self.tokens.len() <= 4
            && self.text(0).iter().rev().nth(1).is_some_and(u8::is_ascii_digit);
        let names = operand == Operand::Name
            && !matches!(self.kind(end), Kind::Compare | Kind::Arithmetic | Kind::Comment);
        if !stops || measure || names {
            return None;
        }
        let confidence = match operand {
            Operand::Query | Operand::Function => 0.88,
            _ if self.kind(end) == Kind::Comment => 0.85,
            _ if self.kind(at + 1) == Kind::OpenText && self.text(at + 1).len() > LONG_TEXT => 0.5,
            _ => 0.75,
        };
        Some((Code::SqlExpression, end - at, confidence))
    }

    /// A comment that cuts off the rest of the query.
    fn comment(&self, at: usize) -> Shape {
        if self.kind(at) != Kind::Comment || self.broken < Broken::Number {
            return None;
        }
        let text = self.text(at);
        let tail = text.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
        let clean = if text.starts_with(b"#") { text.trim_ascii_end().len() == 1 } else { tail <= 12 };
        let bare = (1..at).all(|before| matches!(self.kind(before), Kind::Close | Kind::Semicolon));
        let confidence = match (self.broken, clean, bare) {
            (Broken::Quote, true, true) => 0.75,
            (Broken::Quote, true, false) => 0.8,
            (Broken::Quote, false, _) => 0.45,
            (_, true, true) if at > 1 => 0.6,
            (_, true, true) if self.kind(0) == Kind::Variable => 0.72,
            (_, true, true) if text.starts_with(b"#") => return None,
            (_, true, true) => 0.5,
            _ => return None,
        };
        Some((Code::SqlComment, 1, confidence))
    }

    /// A whole value that is one expression, cut off by a comment: `( cos ( 'a' or 1 ) ) --`.
    fn cut_off(&self, at: usize) -> Shape {
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

    fn procedure(&self, at: usize) -> Shape {
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
    fn probe(&self, at: usize) -> Shape {
        let cut = |end| matches!(self.kind(end), Kind::Comment);
        let ends = |end| matches!(self.kind(end), Kind::Comment | Kind::End | Kind::Comma);
        let quoted = self.broken == Broken::Quote;
        match self.kind(at) {
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
            Kind::Key(Key::Having) if self.broken >= Broken::Number => Some((Code::SqlProbe, 3, 0.75)),
            Kind::Key(Key::Having)
                if at == 1 && matches!(self.kind(2), Kind::Open | Kind::Number | Kind::Text) =>
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

    fn subquery(&self, at: usize) -> Shape {
        let found = |len, confidence| Some((Code::SqlSubquery, len, confidence));
        if matches!(self.kind(at), Kind::Word) && self.text_starts(at, SYSTEM_TABLES) {
            let behind = matches!(self.before(at), Kind::Key(Key::From) | Kind::Comma | Kind::Open);
            return if behind { found(1, 0.85) } else { None };
        }
        if !self.is(at, Key::Select) {
            return None;
        }
        let sure = self.select_list(at + 1) == Some(true);
        let inside = self.before(at) == Kind::Open;
        let from = sure && self.has_from(at);
        match self.broken {
            Broken::Quote | Broken::Number if sure && inside => found(3, 0.88),
            Broken::Quote | Broken::Number if sure => found(3, 0.8),
            _ if inside && from && at <= 2 => found(3, 0.8),
            _ if inside && from => found(3, 0.65),
            _ if inside && sure && at == 1 => found(3, 0.75),
            // Honest queries select columns, probes select literals.
            _ if sure && at == 0 && self.is_literal(at + 1) => found(3, 0.75),
            _ if from && at == 0 && self.lists_literals(at + 1) => found(3, 0.72),
            _ if from => found(3, 0.55),
            _ => None,
        }
    }

    /// Whether a select list mixes in literals.
    fn lists_literals(&self, at: usize) -> bool {
        let list = || (at..at + LOOK_AHEAD).take_while(|&at| !self.is(at, Key::From));
        let literal = |at: usize| matches!(self.kind(at), Kind::Number | Kind::Text | Kind::Variable);
        list().any(|at| self.kind(at) == Kind::Comma) && list().any(literal)
    }

    fn is_literal(&self, at: usize) -> bool {
        let at = at + usize::from(self.kind(at) == Kind::Open);
        matches!(self.kind(at), Kind::Number | Kind::Text | Kind::OpenText | Kind::Constant)
    }

    fn function(&self, at: usize) -> Shape {
        let found = |len, confidence| Some((Code::SqlFunction, len, confidence));
        if self.kind(at) == Kind::Variable
            && self.text_is(
                at,
                &["@@version", "@@datadir", "@@hostname", "@@servername", "@@basedir", "@@global.version"],
            )
        {
            return found(1, 0.75);
        }
        if self.kind(at) == Kind::Key(Key::Case) && self.is(at + 1, Key::When) {
            return if self.broken >= Broken::Number || self.before(at) == Kind::Open {
                found(3, 0.85)
            } else {
                None
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
        let known = self.text_is(at, FUNCTIONS);
        match self.broken {
            Broken::Quote if known => found(3, 0.8),
            Broken::Number if known => found(3, 0.72),
            _ => None,
        }
    }

    /// INTO OUTFILE 'x', LOAD DATA INFILE.
    fn file(&self, at: usize) -> Shape {
        let into =
            self.is(at, Key::Into) && matches!(self.kind(at + 1), Kind::Key(Key::Outfile | Key::Dumpfile));
        let load = self.is(at, Key::Load)
            && self.text_is(at + 1, &["data"])
            && self.text_is(at + 2, &["infile", "local"]);
        (into || load).then_some((Code::SqlFunction, 3, 0.9))
    }
}

/// An open string longer than this is text, not an operand.
const LONG_TEXT: usize = 24;

/// One side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    Literal,
    Name,
    Function,
    Query,
}

fn is_operand(kind: Kind) -> bool {
    matches!(kind, Kind::Number | Kind::Text | Kind::OpenText | Kind::Constant | Kind::Variable | Kind::Word)
}

/// Beginnings of the names of catalogues that only a database's own tools ask for.
const SYSTEM_TABLES: &[&str] = &[
    "information_schema",
    "sysobjects",
    "syscolumns",
    "sysusers",
    "sysdatabases",
    "sys.",
    "sqlite_master",
    "sqlite_schema",
    "pg_catalog",
    "pg_user",
    "pg_shadow",
    "pg_tables",
    "pg_database",
    "all_tables",
    "all_tab_columns",
    "user_tables",
    "mysql.",
    "msysobjects",
    "master..",
    "master.dbo",
    "v$",
    "dba_users",
    "dual",
    "rdb$",
];

/// Functions that hardly anybody writes outside of an attack.
const STRONG_FUNCTIONS: &[&str] = &[
    "extractvalue",
    "updatexml",
    "load_file",
    "xmltype",
    "utl_inaddr.get_host_address",
    "utl_inaddr.get_host_name",
    "utl_http.request",
    "ctxsys.drithsx.sn",
    "dbms_xmlgen.getxml",
    "dbms_utility.sqlid_to_sqlhash",
    "httpuritype",
    "sys_eval",
    "sys_exec",
    "name_const",
    "pg_read_file",
    "pg_ls_dir",
    "lo_import",
    "openrowset",
    "opendatasource",
    "gtid_subset",
    "gtid_subtract",
    "procedure_analyse",
    "json_keys",
    "query_to_xml",
    "database_to_xml",
    "dblink_connect",
    "sysibm.xmlquery",
    "fn_sqlvarbasetostr",
    "make_set",
    "xp_cmdshell",
    "load_extension",
];

/// Functions that are evidence behind a break-out only.
const FUNCTIONS: &[&str] = &[
    "ascii",
    "substring",
    "substr",
    "mid",
    "char",
    "chr",
    "concat",
    "concat_ws",
    "group_concat",
    "version",
    "user",
    "database",
    "current_user",
    "system_user",
    "session_user",
    "hex",
    "unhex",
    "ord",
    "length",
    "len",
    "count",
    "elt",
    "ifnull",
    "nullif",
    "coalesce",
    "cast",
    "convert",
    "floor",
    "rand",
    "exp",
    "row",
    "if",
    "iif",
    "least",
    "greatest",
    "md5",
    "sha1",
    "left",
    "right",
    "bin",
    "conv",
    "field",
    "strcmp",
    "db_name",
    "host_name",
    "user_name",
    "object_id",
    "cot",
    "pi",
    "now",
    "abs",
    "polygon",
    "multipoint",
    "geometrycollection",
    "linestring",
    "to_char",
    "bitand",
    "quote",
    "sqlite_version",
    "string_agg",
    "array_agg",
    "quarter",
    "crc32",
    "row_count",
    "pow",
    "power",
    "sqrt",
    "sign",
    "space",
];
