//! A tokeniser for SQL in any dialect, as lenient as the most lenient one. It reads bytes once, left to right, from
//! one of three starting points: plain SQL, the inside of a string in single quotes, or of one in double quotes.

use crate::bytes::comment_end;

/// Most tokens of one value; the rest of it is not looked at.
pub(crate) const MAX_TOKENS: usize = 16 * 1024;

/// Where in a query the value is assumed to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// Outside of strings: a number, an identifier.
    Plain,
    /// Inside a string with this quote.
    Quoted(u8),
}

/// Kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A number.
    Number,
    /// A complete string.
    Text,
    /// A string that the value leaves open.
    OpenText,
    /// TRUE, FALSE, NULL.
    Constant,
    /// `@x`, `@@x`.
    Variable,
    /// An identifier, with its dots.
    Word,
    /// A keyword.
    Key(Key),
    /// AND, OR, XOR, `&&`, `||`.
    Logic,
    /// NOT, `!`.
    Not,
    /// `=`, `<`, `<>`, LIKE, IN, IS and their kin.
    Compare,
    /// `+ - * / % ^ | & ~`.
    Arithmetic,
    /// `::`.
    Cast,
    /// `,`.
    Comma,
    /// `;`.
    Semicolon,
    /// `(`.
    Open,
    /// `)`.
    Close,
    /// A comment that reaches to the end of the value.
    Comment,
    /// What is no SQL.
    Other,
    /// Behind the last token.
    End,
}

macro_rules! keywords {
    ($($key:ident = $text:literal,)*) => {
        /// A keyword.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names say it")]
        pub(crate) enum Key { $($key),* }

        const KEYWORDS: &[(&[u8], Kind)] = &[$(($text, Kind::Key(Key::$key)),)*];
    };
}

/// Words that are no [`Key`], and what they are.
const OPERATORS: &[(&[u8], Kind)] = &[
    (b"and", Kind::Logic),
    (b"or", Kind::Logic),
    (b"xor", Kind::Logic),
    (b"not", Kind::Not),
    (b"binary", Kind::Not),
    (b"true", Kind::Constant),
    (b"false", Kind::Constant),
    (b"null", Kind::Constant),
    (b"like", Kind::Compare),
    (b"rlike", Kind::Compare),
    (b"regexp", Kind::Compare),
    (b"in", Kind::Compare),
    (b"is", Kind::Compare),
    (b"between", Kind::Compare),
    (b"ilike", Kind::Compare),
    (b"similar", Kind::Compare),
    (b"glob", Kind::Compare),
    (b"sounds", Kind::Compare),
    (b"div", Kind::Arithmetic),
    (b"mod", Kind::Arithmetic),
];

/// Longest keyword.
const MAX_KEYWORD: usize = 9;

/// A word in lower case as one number, first letter lowest; equal for equal words.
const fn packed(word: &[u8]) -> u128 {
    let (mut number, mut at) = (0, 0);
    while at < word.len() {
        number |= (word[at] as u128) << (8 * at);
        at += 1;
    }
    number
}

/// Slots of [`SLOTS`]; enough that few of them have two words.
const SLOT_COUNT: usize = 512;
/// Words in one slot.
const DEPTH: usize = 3;

const fn slot(packed: u128) -> usize {
    (((packed ^ (packed >> 32)) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55) as usize
}

/// Every keyword at its place, so that a word of prose is told by one look.
static SLOTS: [[(u128, Kind); DEPTH]; SLOT_COUNT] = {
    let mut slots = [[(0, Kind::Other); DEPTH]; SLOT_COUNT];
    let mut at = 0;
    while at < KEYWORDS.len() + OPERATORS.len() {
        let (word, kind) = if at < KEYWORDS.len() { KEYWORDS[at] } else { OPERATORS[at - KEYWORDS.len()] };
        assert!(word.len() <= MAX_KEYWORD);
        let packed = packed(word);
        let mut free = 0;
        while slots[slot(packed)][free].0 != 0 {
            free += 1;
        }
        slots[slot(packed)][free] = (packed, kind);
        at += 1;
    }
    slots
};

/// What the word of `len` bytes that `rest` begins with is, if it is a keyword.
fn keyword(rest: &[u8], len: usize) -> Option<Kind> {
    if len > MAX_KEYWORD {
        return None;
    }
    let wide: [u8; 16] = rest.first_chunk().copied().unwrap_or_else(|| padded(rest));
    // Only letters become letters by this.
    let packed = (u128::from_le_bytes(wide) | LOWER) & MASKS.get(len)?;
    let slot = SLOTS.get(slot(packed))?;
    slot.iter().find(|(word, _)| *word == packed).map(|(_, kind)| *kind)
}

/// Folds letters to lower case.
const LOWER: u128 = u128::from_le_bytes([0x20; 16]);

/// The bytes of a word, by its length.
static MASKS: [u128; MAX_KEYWORD + 1] = {
    let mut masks = [0; MAX_KEYWORD + 1];
    let mut len = 1;
    while len <= MAX_KEYWORD {
        masks[len] = masks[len - 1] << 8 | 0xff;
        len += 1;
    }
    masks
};

/// The end of a value, which is shorter than the number it is made into.
fn padded(rest: &[u8]) -> [u8; 16] {
    let mut wide = [0; 16];
    wide.iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
    wide
}

keywords! {
    Union = b"union", Intersect = b"intersect", Except = b"except", Minus = b"minus",
    Select = b"select", All = b"all", Distinct = b"distinct", From = b"from", Where = b"where", As = b"as",
    Having = b"having", Group = b"group", Order = b"order", By = b"by", Limit = b"limit", Offset = b"offset",
    Into = b"into", Outfile = b"outfile", Dumpfile = b"dumpfile", Procedure = b"procedure",
    Insert = b"insert", Update = b"update", Delete = b"delete", Set = b"set", Values = b"values",
    Drop = b"drop", Create = b"create", Alter = b"alter", Truncate = b"truncate", Table = b"table",
    Database = b"database", Schema = b"schema", View = b"view", Index = b"index", User = b"user", Role = b"role",
    Trigger = b"trigger", Function = b"function",
    Exec = b"exec", Execute = b"execute", Declare = b"declare", Waitfor = b"waitfor", Delay = b"delay",
    Time = b"time", Shutdown = b"shutdown", Call = b"call", Merge = b"merge", Copy = b"copy", Load = b"load",
    Grant = b"grant", Revoke = b"revoke", Case = b"case", When = b"when", Then = b"then", Else = b"else",
    EndCase = b"end", If = b"if", Exists = b"exists", Begin = b"begin", Escape = b"escape",
    Collate = b"collate", Asc = b"asc", Desc = b"desc", Handler = b"handler", Rename = b"rename",
    Replace = b"replace",
}

/// A token: `start <= end`, in bytes of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Replaces `tokens` by those of `value`. In a quoted context the first one is the text up to the closing quote, and
/// there are none if no quote closes it.
pub(crate) fn tokenise(value: &[u8], context: Context, tokens: &mut Vec<Token>) {
    tokens.clear();
    let mut reader = Reader { value, at: 0 };
    if let Context::Quoted(quote) = context {
        if !reader.string(quote) {
            return;
        }
        tokens.push(Token { kind: Kind::Text, start: 0, end: reader.at as u32 });
    }
    while tokens.len() < MAX_TOKENS {
        reader.skip_blank();
        let start = reader.at;
        let last = tokens.last().map(|token| token.kind);
        let Some(kind) = reader.token(last) else { break };
        if let Some(kind) = kind {
            tokens.push(Token { kind, start: start as u32, end: reader.at as u32 });
        }
    }
}

/// `at <= value.len()`
struct Reader<'a> {
    value: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.value.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest(&self) -> &[u8] {
        self.value.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count).min(self.value.len());
    }

    fn take(&mut self, count: usize, kind: Kind) -> Option<Kind> {
        self.skip(count);
        Some(kind)
    }

    fn skip_blank(&mut self) {
        let blank = |byte: &&u8| **byte <= b' ' || **byte == 0xa0;
        self.skip(self.rest().iter().take_while(blank).count());
    }

    /// The next token; `Some(None)` for a comment within the value, `None` at the end.
    #[allow(clippy::option_option, reason = "end, nothing and something are three outcomes of one step")]
    fn token(&mut self, last: Option<Kind>) -> Option<Option<Kind>> {
        let byte = *self.rest().first()?;
        Some(match byte {
            b'\'' | b'"' => self.quoted(byte),
            b'`' => self.bracketed(b'`'),
            b'[' => self.bracketed(b']'),
            b'-' if self.peek(1) == b'-' && !self.is_double_minus(last) => self.line_comment(),
            b'#' => self.line_comment(),
            b'/' if self.peek(1) == b'*' => self.block_comment(),
            b'*' if self.peek(1) == b'/' => {
                self.skip(2);
                None
            }
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_ascii_digit() => self.number(),
            b'@' if matches!(self.peek(1), b'>' | b'?') => self.take(2, Kind::Compare),
            b'?' if last == Some(Kind::Text) => {
                self.take(1 + usize::from(matches!(self.peek(1), b'|' | b'&')), Kind::Compare)
            }
            b'@' => self.variable(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | 0x80.. => self.word(),
            _ => self.operator(byte),
        })
    }

    /// `1--1` is arithmetic.
    fn is_double_minus(&self, last: Option<Kind>) -> bool {
        last == Some(Kind::Number) && (self.peek(2).is_ascii_digit() || self.peek(2) == b'(')
    }

    /// Reads to behind the closing quote; false if there is none. A doubled or escaped quote closes nothing.
    fn string(&mut self, quote: u8) -> bool {
        while let Some(found) = memchr::memchr2(quote, b'\\', self.rest()) {
            self.skip(found);
            let doubled = self.peek(0) == quote && self.peek(1) == quote;
            let closes = self.peek(0) == quote && !doubled;
            self.skip(if closes { 1 } else { 2 });
            if closes {
                return true;
            }
        }
        self.skip(self.value.len());
        false
    }

    fn quoted(&mut self, quote: u8) -> Option<Kind> {
        self.skip(1);
        // An empty string is two quotes with none behind them.
        if self.peek(0) == quote && self.peek(1) != quote {
            return self.take(1, Kind::Text);
        }
        Some(if self.string(quote) { Kind::Text } else { Kind::OpenText })
    }

    fn bracketed(&mut self, close: u8) -> Option<Kind> {
        let inside = self.rest().iter().skip(1).take(64).position(|&byte| byte == close);
        match inside {
            Some(len) if len > 0 => self.take(len + 2, Kind::Word),
            _ => self.take(1, Kind::Other),
        }
    }

    fn line_comment(&mut self) -> Option<Kind> {
        match memchr::memchr(b'\n', self.rest()) {
            Some(len) => {
                self.skip(len + 1);
                None
            }
            None => self.take(self.value.len(), Kind::Comment),
        }
    }

    /// A block comment is white space, except for MySQL's conditional ones, whose inside is SQL.
    fn block_comment(&mut self) -> Option<Kind> {
        if self.peek(2) == b'!' {
            let digits = self.rest().iter().skip(3).take_while(|byte| byte.is_ascii_digit()).count();
            self.skip(3 + digits);
            return None;
        }
        match comment_end(self.rest().get(2..).unwrap_or_default()) {
            Some(len) => {
                self.skip(len + 4);
                None
            }
            None => self.take(self.value.len(), Kind::Comment),
        }
    }

    fn number(&mut self) -> Option<Kind> {
        let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if let [b'0', b'x' | b'X' | b'b' | b'B', tail @ ..] = self.rest() {
            let count = tail.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            if count > 0 {
                return self.take(2 + count, Kind::Number);
            }
        }
        self.skip(digits(self.rest()));
        if self.peek(0) == b'.' {
            self.skip(1 + digits(self.rest().get(1..).unwrap_or_default()));
        }
        if matches!(self.peek(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            let exponent = digits(self.rest().get(1 + sign..).unwrap_or_default());
            if exponent > 0 {
                self.skip(1 + sign + exponent);
            }
        }
        Some(Kind::Number)
    }

    fn variable(&mut self) -> Option<Kind> {
        let marks = self.rest().iter().take_while(|&&byte| byte == b'@').count();
        let name = self.rest().iter().skip(marks).take_while(|byte| is_word(**byte)).count();
        self.take(marks + name, if name > 0 { Kind::Variable } else { Kind::Other })
    }

    fn word(&mut self) -> Option<Kind> {
        let rest = self.rest();
        let len = word_len(rest).max(1);
        if let [b'n' | b'N' | b'x' | b'X' | b'b' | b'B' | b'e' | b'E', b'\'', ..] = rest {
            self.skip(1);
            return self.quoted(b'\'');
        }
        let known = keyword(rest, len);
        self.take(len, known.unwrap_or(Kind::Word))
    }

    fn operator(&mut self, byte: u8) -> Option<Kind> {
        let next = self.peek(1);
        match (byte, next) {
            (b'|', b'|') | (b'&', b'&') => self.take(2, Kind::Logic),
            (b':', b':') => self.take(2, Kind::Cast),
            // PostgreSQL's and MySQL's operators on JSON.
            (b'-', b'>') => self.take(2 + usize::from(self.peek(2) == b'>'), Kind::Compare),
            (b':', b'=') | (b'!', b'=' | b'<' | b'>' | b'~') => self.take(2, Kind::Compare),
            (b'<' | b'>' | b'=', _) => {
                let more =
                    self.rest().iter().skip(1).take(2).take_while(|byte| b"<=>@".contains(byte)).count();
                self.take(1 + more, Kind::Compare)
            }
            (b'!', _) => self.take(1, Kind::Not),
            (b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b'|' | b'&' | b'~', _) => {
                self.take(1, Kind::Arithmetic)
            }
            (b',', _) => self.take(1, Kind::Comma),
            (b';', _) => self.take(1, Kind::Semicolon),
            (b'(', _) => self.take(1, Kind::Open),
            (b')', _) => self.take(1, Kind::Close),
            _ => self.take(1, Kind::Other),
        }
    }
}

/// Bytes of the word that `rest` begins with. Eight are looked at together, so that a processor has no end to guess.
fn word_len(rest: &[u8]) -> usize {
    let Some(eight) = rest.first_chunk::<8>() else {
        return rest.iter().take_while(|byte| is_word(**byte)).count();
    };
    let word = eight.iter().enumerate().fold(0, |word, (at, byte)| word | u32::from(is_word(*byte)) << at);
    match word.trailing_ones() {
        8 => 8 + rest.iter().skip(8).take_while(|byte| is_word(**byte)).count(),
        len => len as usize,
    }
}

fn is_word(byte: u8) -> bool {
    static WORD: [bool; 256] = {
        let mut word = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            let at = byte as u8;
            word[byte] =
                at.is_ascii_alphanumeric() || matches!(at, b'_' | b'$' | b'.') || at >= 0x80 && at != 0xa0;
            byte += 1;
        }
        word
    };
    WORD[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(value: &str, context: Context) -> Vec<Kind> {
        let mut tokens = Vec::new();
        tokenise(value.as_bytes(), context, &mut tokens);
        tokens.iter().map(|token| token.kind).collect()
    }

    #[test]
    fn plain_sql() {
        use Kind::*;
        let rows: &[(&str, &[Kind])] = &[
            ("1 or 1=1", &[Number, Logic, Number, Compare, Number]),
            (
                "1e0union(select 0x41)",
                &[Number, Key(super::Key::Union), Open, Key(super::Key::Select), Number, Close],
            ),
            ("'a''b' \"c\\\"d\" 'open", &[Text, Text, OpenText]),
            ("'' N'x'", &[Text, Text]),
            ("@@version := @x", &[Variable, Compare, Variable]),
            ("a/* b */c -- d\n e#f", &[Word, Word, Word, Comment]),
            ("union/*!50000select*/1", &[Key(super::Key::Union), Key(super::Key::Select), Number]),
            ("1--1", &[Number, Arithmetic, Arithmetic, Number]),
            ("1--", &[Number, Comment]),
            ("`t`.[x y] {", &[Word, Other, Word, Other]),
            ("'{}'::jsonb <@ 'x'", &[Text, Cast, Word, Compare, Text]),
            ("", &[]),
        ];
        for (value, expected) in rows {
            assert_eq!(kinds(value, Context::Plain), *expected, "{value}");
        }
    }

    #[test]
    fn from_inside_a_string() {
        use Kind::*;
        let single = Context::Quoted(b'\'');
        assert_eq!(kinds("x' or 'a", single), [Text, Logic, OpenText]);
        assert_eq!(kinds("no quote", single), []);
        assert_eq!(kinds("doubled '' only", single), []);
        assert_eq!(kinds("\\' or", single), []);
    }

    #[test]
    fn any_bytes_end() {
        let bytes: Vec<u8> = (0..=255).cycle().take(4096).collect();
        let mut tokens = Vec::new();
        for context in [Context::Plain, Context::Quoted(b'\''), Context::Quoted(b'"')] {
            tokenise(&bytes, context, &mut tokens);
            assert!(tokens.iter().all(|token| token.start < token.end && token.end <= 4096));
        }
    }
}
