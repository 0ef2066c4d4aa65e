//! What injections consist of, as shapes in a sequence of tokens. Each shape looks ahead a bounded number of tokens.

use super::Found;
use super::token::{Context, Key, Kind, Token};
use crate::detect::builtin::Code;

/// Tokens that one shape looks ahead.
pub(super) const LOOK_AHEAD: usize = 48;

/// The strongest shape in `tokens`.
pub(super) fn find(value: &[u8], tokens: &[Token], context: Context) -> Option<Found> {
    let mut shapes = Shapes { value, tokens, context, broken: Broken::No };
    let (all, of_call, of_logic) = (all_shapes(), shapes_of_call(), shapes_of_logic());
    let mut best: Option<Found> = None;
    for at in 0..tokens.len() {
        shapes.broken = shapes.advance(at);
        let begun: &[Form<'_>] = match shapes.begun(at) {
            Begun::Nothing => continue,
            Begun::Procedure => &[Shapes::procedure],
            Begun::Statement => &[Shapes::stacked],
            Begun::Call => &of_call,
            Begun::Logic => &of_logic,
            Begun::Any => &all,
        };
        for shape in begun {
            let Some((code, len, confidence)) = shape(&shapes, at) else { continue };
            if best.is_none_or(|best| confidence > best.confidence) {
                best = Some(Found {
                    code,
                    start: shapes.start(at),
                    end: shapes.stop(at, len),
                    confidence,
                    breaks: shapes.broken >= Broken::Number,
                });
            }
        }
    }
    best
}

/// How a value has left its place in the query so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Broken {
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
pub(super) type Shape = Option<(Code, usize, f32)>;

/// Looks for a shape that begins at a token.
type Form<'v> = fn(&Shapes<'v>, usize) -> Shape;

/// What can begin at a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    Nothing,
    /// The name of a procedure.
    Procedure,
    /// What is called, or a table.
    Call,
    /// What AND and OR join.
    Logic,
    /// A statement behind a semicolon.
    Statement,
    Any,
}

/// Those that can begin at a name.
fn shapes_of_call<'v>() -> [Form<'v>; 4] {
    [Shapes::time_delay, Shapes::procedure, Shapes::subquery, Shapes::function]
}

/// Those that can begin at AND or OR.
fn shapes_of_logic<'v>() -> [Form<'v>; 3] {
    [Shapes::condition, Shapes::truth, Shapes::comment_gap]
}

/// All shapes.
fn all_shapes<'v>() -> [Form<'v>; 18] {
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
        Shapes::comment_gap,
        Shapes::cast,
        Shapes::comparison,
        Shapes::closed,
        Shapes::fragment,
    ]
}

pub(super) struct Shapes<'a> {
    pub(super) value: &'a [u8],
    pub(super) tokens: &'a [Token],
    pub(super) context: Context,
    pub(super) broken: Broken,
}

impl Shapes<'_> {
    pub(super) fn kind(&self, at: usize) -> Kind {
        self.tokens.get(at).map_or(Kind::End, |token| token.kind)
    }

    pub(super) fn before(&self, at: usize) -> Kind {
        at.checked_sub(1).map_or(Kind::End, |before| self.kind(before))
    }

    pub(super) fn is(&self, at: usize, key: Key) -> bool {
        self.kind(at) == Kind::Key(key)
    }

    /// What can begin at a token; behind the first two most tokens of prose begin nothing.
    fn begun(&self, at: usize) -> Begun {
        if at < 2 {
            return Begun::Any;
        }
        match self.kind(at) {
            Kind::Other
            | Kind::Comma
            | Kind::Close
            | Kind::Open
            | Kind::Constant
            | Kind::Compare
            | Kind::Arithmetic => Begun::Nothing,
            Kind::Text | Kind::OpenText | Kind::Not => Begun::Nothing,
            Kind::Number if at > 3 => Begun::Nothing,
            Kind::Word => self.begun_by_name(at),
            Kind::Logic => Begun::Logic,
            Kind::Semicolon => Begun::Statement,
            _ => Begun::Any,
        }
    }

    fn begun_by_name(&self, at: usize) -> Begun {
        let called = self.kind(at + 1) == Kind::Open;
        if called || matches!(self.before(at), Kind::Key(Key::From | Key::Select) | Kind::Comma | Kind::Open)
        {
            return Begun::Call;
        }
        match self.text(at).first() {
            Some(b'x' | b'X' | b'm' | b'M' | b's' | b'S') => Begun::Procedure,
            _ => Begun::Nothing,
        }
    }

    pub(super) fn start(&self, at: usize) -> usize {
        self.tokens.get(at).map_or(0, |token| token.start as usize)
    }

    /// Where the token `len - 1` behind `at`, or the last one, ends.
    pub(super) fn stop(&self, at: usize, len: usize) -> usize {
        let last = (at + len).min(self.tokens.len()).saturating_sub(1);
        self.tokens.get(last).map_or(0, |token| token.end as usize)
    }

    pub(super) fn text(&self, at: usize) -> &[u8] {
        let range = self.tokens.get(at).map_or(0..0, |token| token.start as usize..token.end as usize);
        self.value.get(range).unwrap_or_default()
    }

    /// What stands between the token in front of `at` and this one.
    pub(super) fn gap(&self, at: usize) -> &[u8] {
        let last = at.checked_sub(1).and_then(|last| self.tokens.get(last));
        let range = last.map_or(0..0, |last| last.end as usize..self.start(at).max(last.end as usize));
        self.value.get(range).unwrap_or_default()
    }

    pub(super) fn text_is(&self, at: usize, words: &[&str]) -> bool {
        let text = self.text(at);
        words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()))
    }

    pub(super) fn text_starts(&self, at: usize, words: &[&str]) -> bool {
        let text = self.text(at);
        let head = |word: &str| {
            text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
        };
        words.iter().any(|word| head(word))
    }

    /// The state before token `at`, from that before the token in front of it.
    pub(super) fn advance(&self, at: usize) -> Broken {
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
    pub(super) fn is_alias(&self, at: usize) -> bool {
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
}

pub(super) fn is_operand(kind: Kind) -> bool {
    matches!(kind, Kind::Number | Kind::Text | Kind::OpenText | Kind::Constant | Kind::Variable | Kind::Word)
}
