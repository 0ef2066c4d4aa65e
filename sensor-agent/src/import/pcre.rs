//! Patterns written for PCRE → the syntax of the `regex` crate. What the two say differently is rewritten; what has no
//! counterpart in linear time (look-around, back-references, recursion) is refused with its name.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// Longest pattern.
const MAX_PATTERN: usize = 64 * 1024;

/// A pattern that was rewritten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Translated {
    /// In the syntax of the `regex` crate.
    pub(super) pattern: String,
    /// What it says less exactly.
    pub(super) losses: Vec<&'static str>,
}

const POSSESSIVE: &str = "possessive quantifiers and atomic groups read as plain ones, which match more";

/// The pattern in the other syntax.
///
/// # Errors
/// What in it has no counterpart.
pub(super) fn translate(pattern: &str) -> Result<Translated, String> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!("the pattern has {} bytes, expected at most {MAX_PATTERN}", pattern.len()));
    }
    let mut reader = Reader { rest: pattern.chars().peekable(), out: Translated::default() };
    reader.all()?;
    Ok(reader.out)
}

struct Reader<'p> {
    rest: Peekable<Chars<'p>>,
    out: Translated,
}

/// One member of a class.
enum Member {
    /// A single character, as it is written.
    One(String),
    /// A set such as `\d`.
    Set(String),
}

impl Reader<'_> {
    fn all(&mut self) -> Result<(), String> {
        while let Some(next) = self.rest.next() {
            match next {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '*' | '+' | '?' => {
                    self.out.pattern.push(next);
                    self.possessive();
                }
                '{' => self.braces(),
                '}' | ']' => self.literal(next),
                other => self.out.pattern.push(other),
            }
        }
        Ok(())
    }

    fn push(&mut self, text: &str) {
        self.out.pattern.push_str(text);
    }

    fn literal(&mut self, one: char) {
        self.out.pattern.push_str(&literal(one));
    }

    fn lose(&mut self, loss: &'static str) {
        if !self.out.losses.contains(&loss) {
            self.out.losses.push(loss);
        }
    }

    /// A `+` behind a quantifier, which forbids to go back.
    fn possessive(&mut self) {
        if self.rest.next_if_eq(&'+').is_some() {
            self.lose(POSSESSIVE);
        } else if self.rest.next_if_eq(&'?').is_some() {
            self.push("?");
        }
    }

    /// `{3,5}` is a quantifier, any other brace is a brace.
    fn braces(&mut self) {
        let inside: String = self.rest.clone().take_while(|&one| one != '}').take(12).collect();
        let closed = self.rest.clone().nth(inside.chars().count()) == Some('}');
        let (least, most) = inside.split_once(',').unwrap_or((&inside, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !closed || least.is_empty() || !digits(least) || !digits(most) {
            return self.literal('{');
        }
        let _ = write!(self.out.pattern, "{{{inside}}}");
        self.rest.nth(inside.chars().count());
        self.possessive();
    }

    /// What follows a backslash outside of a class.
    fn escape(&mut self) -> Result<(), String> {
        let Some(next) = self.rest.next() else { return Err("the pattern ends in a backslash".into()) };
        match next {
            '1'..='9' | 'g' | 'k' => return Err("back-reference".into()),
            'b' | 'B' | 'A' | 'z' => {
                let _ = write!(self.out.pattern, "\\{next}");
            }
            'Z' => self.push(r"(?:\n?\z)"),
            'R' => self.push(r"(?:\r\n|[\n\x0b\x0c\r])"),
            'N' => self.push(r"[^\n]"),
            'Q' => self.quoted(),
            'E' => {}
            'K' | 'G' | 'C' | 'X' => return Err(format!("`\\{next}` has no counterpart")),
            _ => match self.shared_escape(next)? {
                Member::One(text) | Member::Set(text) => self.push(&text),
            },
        }
        Ok(())
    }

    fn quoted(&mut self) {
        while let Some(next) = self.rest.next() {
            if next == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.literal(next);
        }
    }

    /// Escapes that mean the same in a class and outside.
    fn shared_escape(&mut self, next: char) -> Result<Member, String> {
        let set = |text: &str| Ok(Member::Set(text.to_owned()));
        let byte = |byte: u8| Ok(Member::One(format!("\\x{byte:02x}")));
        match next {
            'd' | 'D' | 'w' | 'W' | 's' | 'S' => set(&format!("\\{next}")),
            'h' => set(r"[ \t]"),
            'H' => set(r"[^ \t]"),
            'v' => set(r"[\n\x0b\x0c\r]"),
            'V' => set(r"[^\n\x0b\x0c\r]"),
            'n' | 'r' | 't' | 'f' => Ok(Member::One(format!("\\{next}"))),
            'a' => byte(7),
            'e' => byte(27),
            'c' => {
                let letter = self.rest.next().filter(char::is_ascii).ok_or("`\\c` without a letter")?;
                byte(letter.to_ascii_uppercase() as u8 ^ 64)
            }
            '0' => byte(self.octal()),
            'x' => self.hexadecimal(),
            'p' | 'P' => Err("Unicode property".into()),
            '1'..='9' | 'A'..='Z' | 'a'..='z' => Err(format!("`\\{next}` has no counterpart")),
            other => Ok(Member::One(literal(other))),
        }
    }

    fn octal(&mut self) -> u8 {
        let mut code: u8 = 0;
        for _ in 0..2 {
            let Some(digit) = self.rest.next_if(|one| one.is_digit(8)) else { break };
            code = code * 8 + digit.to_digit(8).unwrap_or(0) as u8;
        }
        code
    }

    fn hexadecimal(&mut self) -> Result<Member, String> {
        let braced = self.rest.next_if_eq(&'{').is_some();
        let most = if braced { 8 } else { 2 };
        let mut code: u32 = 0;
        for _ in 0..most {
            let Some(digit) = self.rest.next_if(char::is_ascii_hexdigit) else { break };
            code = code.wrapping_mul(16).wrapping_add(digit.to_digit(16).unwrap_or(0));
        }
        if braced && self.rest.next_if_eq(&'}').is_none() {
            return Err("`\\x{` without its end".into());
        }
        match u8::try_from(code) {
            Ok(byte) => Ok(Member::One(format!("\\x{byte:02x}"))),
            Err(_) => Err("character beyond a byte".into()),
        }
    }

    fn group(&mut self) -> Result<(), String> {
        if self.rest.next_if_eq(&'*').is_some() {
            return Err("verb `(*…)`".into());
        }
        if self.rest.next_if_eq(&'?').is_none() {
            self.push("(");
            return Ok(());
        }
        let Some(next) = self.rest.next() else { return Err("unclosed group".into()) };
        match next {
            '=' | '!' => Err("look-ahead".into()),
            '<' if matches!(self.rest.peek(), Some('=' | '!')) => Err("look-behind".into()),
            '<' | '\'' => self.named(if next == '<' { '>' } else { next }),
            'P' => match self.rest.next() {
                Some('<') => self.named('>'),
                _ => Err("back-reference".into()),
            },
            '>' => {
                self.lose(POSSESSIVE);
                self.push("(?:");
                Ok(())
            }
            '#' => {
                let _ = self.rest.by_ref().find(|&one| one == ')');
                Ok(())
            }
            '|' => Err("branch reset".into()),
            '(' => Err("conditional group".into()),
            'R' | '&' | '0'..='9' | '+' => Err("recursion".into()),
            other => self.flags(other),
        }
    }

    /// A name is worth nothing without references to it.
    fn named(&mut self, end: char) -> Result<(), String> {
        self.rest.by_ref().find(|&one| one == end).ok_or("unclosed group name")?;
        self.push("(");
        Ok(())
    }

    /// `(?i)`, `(?i-s:`, `(?:`; the first character is `next`.
    fn flags(&mut self, next: char) -> Result<(), String> {
        let mut flags = String::new();
        let mut next = Some(next);
        loop {
            match next {
                Some(one @ ('i' | 's' | 'm' | 'x' | '-')) => flags.push(one),
                Some('U') => return Err("flag `U`".into()),
                Some(end @ (':' | ')')) => {
                    let flags = flags.trim_end_matches('-');
                    if end == ')' && flags.is_empty() {
                        return Ok(());
                    }
                    let _ = write!(self.out.pattern, "(?{flags}{end}");
                    return Ok(());
                }
                Some(other) => return Err(format!("`(?{flags}{other}`")),
                None => return Err("unclosed group".into()),
            }
            next = self.rest.next();
        }
    }

    fn class(&mut self) -> Result<(), String> {
        let mut text = String::from("[");
        if self.rest.next_if_eq(&'^').is_some() {
            text.push('^');
        }
        let mut members: Vec<Member> = Vec::new();
        // A bracket at once is no end.
        if self.rest.next_if_eq(&']').is_some() {
            members.push(Member::One(r"\]".into()));
        }
        loop {
            let Some(next) = self.rest.next() else { return Err("unclosed class".into()) };
            if next == ']' {
                break;
            }
            if next == '-' && self.range(&mut members)? {
                continue;
            }
            let member = self.member(next)?;
            members.extend(member);
        }
        for member in members {
            match member {
                Member::One(one) | Member::Set(one) => text.push_str(&one),
            }
        }
        text.push(']');
        self.push(&text);
        Ok(())
    }

    /// Joins what stands on both sides of a `-` to a range, if both are single characters; else the `-` is one itself.
    fn range(&mut self, members: &mut Vec<Member>) -> Result<bool, String> {
        let ends = self.rest.peek().is_none_or(|&next| next == ']');
        let Some(Member::One(_)) = members.last().filter(|_| !ends) else { return Ok(false) };
        let Some(next) = self.rest.next() else { return Ok(false) };
        match self.member(next)? {
            Some(Member::One(to)) => {
                if let Some(Member::One(from)) = members.pop() {
                    members.push(Member::Set(format!("{from}-{to}")));
                }
            }
            other => {
                members.push(Member::One(r"\-".into()));
                members.extend(other);
            }
        }
        Ok(true)
    }

    fn member(&mut self, next: char) -> Result<Option<Member>, String> {
        match next {
            '\\' => {
                let Some(next) = self.rest.next() else { return Err("unclosed class".into()) };
                match next {
                    'b' => Ok(Some(Member::One(r"\x08".into()))),
                    'E' => Ok(None),
                    'Q' | 'R' | 'N' | 'X' | 'B' => Err(format!("`\\{next}` in a class")),
                    _ => self.shared_escape(next).map(Some),
                }
            }
            '[' if matches!(self.rest.peek(), Some(':')) => Ok(Some(self.posix())),
            // Blanks are kept where a flag lets them vanish.
            ' ' => Ok(Some(Member::One(r"\x20".into()))),
            '#' => Ok(Some(Member::One(r"\x23".into()))),
            '-' => Ok(Some(Member::One(r"\-".into()))),
            // Without Unicode, a character in a class is each of its bytes.
            other if !other.is_ascii() => {
                let bytes =
                    other.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("\\x{byte:02x}")).collect();
                Ok(Some(Member::Set(bytes)))
            }
            other => Ok(Some(Member::One(literal(other)))),
        }
    }

    /// `[:alpha:]`, or a bracket that stands for itself.
    fn posix(&mut self) -> Member {
        let name: String = self
            .rest
            .clone()
            .skip(1)
            .take_while(|one| one.is_ascii_lowercase() || *one == '^')
            .take(12)
            .collect();
        let behind: String = self.rest.clone().skip(1 + name.chars().count()).take(2).collect();
        if behind != ":]" {
            return Member::One(r"\[".into());
        }
        self.rest.nth(name.chars().count() + 2);
        Member::Set(format!("[:{name}:]"))
    }
}

/// A character that means itself.
fn literal(one: char) -> String {
    if regex_syntax::is_meta_character(one) { format!("\\{one}") } else { one.to_string() }
}

/// A text as a pattern that matches it and nothing else.
pub(super) fn escape(text: &str) -> String {
    text.chars().map(literal).collect()
}

/// Bytes as a pattern that matches them and nothing else.
pub(super) fn escape_bytes(bytes: &[u8]) -> String {
    let one = |&byte: &u8| match byte {
        b' '..=b'~' => literal(char::from(byte)),
        _ => format!("\\x{byte:02x}"),
    };
    bytes.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str) -> String {
        translate(pattern).map_or_else(|refused| format!("refused: {refused}"), |done| done.pattern)
    }

    #[test]
    fn patterns_are_rewritten() {
        let rows: &[(&str, &str)] = &[
            (r"(?i)\bunion\b.*?select", r"(?i)\bunion\b.*?select"),
            (r#"["'`[(]x"#, r#"["'`\[\(]x"#),
            (r"[]a]", r"[\]a]"),
            (r"[^]-]", r"[^\]\-]"),
            (r"[\w-.]", r"[\w\-\.]"),
            (r"[a-z\d_-]", r"[a-z\d_\-]"),
            (r"[+--]", r"[\+-\-]"),
            (r"[a&&b~~]", r"[a\&\&b\~\~]"),
            (r"[[:alpha:]_[x]", r"[[:alpha:]_\[x]"),
            (r"a{2,3}b{,4}c{x}d{5}", r"a{2,3}b\{,4\}c\{x\}d{5}"),
            (r"\x{bc}\xA\x00\012\0", r"\xbc\x0a\x00\x0a\x00"),
            (r"a++b*+c?+(?>d|e)", r"a+b*c?(?:d|e)"),
            (r"\h\R\Z\e\cA", r"[ \t](?:\r\n|[\n\x0b\x0c\r])(?:\n?\z)\x1b\x01"),
            (r"\Qa.b\E.", r"a\.b."),
            (r"(?<n>a)(?P<m>b)(?#c)", r"(a)(b)"),
            (r"(?is-x:a)(?-i)b", r"(?is-x:a)(?-i)b"),
            (r"\/\<\>\#\'\%", r"/<>\#'%"),
            (r"[a b#]", r"[a\x20b\x23]"),
            (r"}]", r"\}\]"),
            ("[é-]", r"[\xc3\xa9\-]"),
        ];
        for (from, to) in rows {
            assert_eq!(check(from), **to, "{from}");
            regex_syntax::ParserBuilder::new()
                .unicode(false)
                .utf8(false)
                .build()
                .parse(to)
                .unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn what_has_no_counterpart_is_named() {
        let rows = [
            ("a(?=b)", "look-ahead"),
            ("(?<!a)b", "look-behind"),
            (r"(a)\1", "back-reference"),
            (r"(?P=n)", "back-reference"),
            (r"\p{L}", "Unicode property"),
            (r"\x{3b1}", "character beyond a byte"),
            ("(?R)", "recursion"),
            ("(?(1)a|b)", "conditional group"),
            ("(*SKIP)", "verb"),
            ("[a", "unclosed class"),
            ("\\", "the pattern ends in a backslash"),
        ];
        for (pattern, expected) in rows {
            let got = check(pattern);
            assert!(got.starts_with("refused: ") && got.contains(expected), "{pattern}: {got}");
        }
        assert_eq!(translate("a++").unwrap().losses, [POSSESSIVE]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_pattern_or_refused(text in r"[\\\[\](){}?*+^$|a-c0-9:<>=!,#&~ -]{0,40}") {
            if let Ok(done) = translate(&text) {
                proptest::prop_assert!(done.pattern.len() <= text.len() * 24 + 8);
            }
        }

        #[test]
        fn escaped_bytes_match_themselves(bytes: Vec<u8>) {
            let pattern = escape_bytes(&bytes);
            let hir = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(&pattern).unwrap();
            let literal = match hir.kind() {
                regex_syntax::hir::HirKind::Literal(literal) => literal.0.to_vec(),
                _ => Vec::new(),
            };
            proptest::prop_assert_eq!(literal, bytes);
        }
    }
}
