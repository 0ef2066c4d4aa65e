//! A tolerant scanner of JSON (RFC 8259). It keeps duplicate keys, gives out every value as soon as it is read, and does not
//! recurse; what follows an error was not read, and the caller inspects the whole as text.

use crate::bytes::has_controls;
use crate::field::{Fields, Place, Spare};
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::fields::{is_nearly_full, push_name};

/// Deepest nesting that is followed.
const MAX_DEPTH: usize = 16 * 1024;
/// Deeper nesting than people and programs write.
const DEEP: usize = 128;
/// Longest path that names a value; deeper keys are left out of the name.
const MAX_PATH: usize = 512;

/// Most keys that are compared with one another.
const MAX_KEYS: usize = 4096;

/// The text is no JSON, is cut off, or is nested too deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// Adds every string, number and literal, named by its path: `user.roles.0`.
pub(super) fn push(text: &[u8], fields: &mut Fields, anomalies: &mut Anomalies) -> Result<(), Invalid> {
    push_below(b"", text, fields, anomalies)
}

/// As [`push`], with paths that begin with `root`.
pub(super) fn push_below(
    root: &[u8],
    text: &[u8],
    fields: &mut Fields,
    anomalies: &mut Anomalies,
) -> Result<(), Invalid> {
    let at = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let Spare { mut path, string, keys, levels } = std::mem::take(&mut fields.spare);
    path.extend_from_slice(root);
    let (odd, deep, repeats) = Default::default();
    let mut scanner = Scanner { text, at, path, levels, string, keys, odd, deep, repeats, fields };
    let result = scanner.run();
    scanner.compare_keys();
    let Scanner { keys, odd, deep, repeats, path, string, levels, fields, .. } = scanner;
    anomalies.insert_if(deep, Anomaly::JsonDeep);
    anomalies.insert_if(repeats, Anomaly::JsonDuplicateKey);
    anomalies.insert_if(odd, Anomaly::JsonNonstandard);
    fields.spare = Spare { path, string, keys, levels }.cleared();
    result
}

#[derive(Debug)]
struct Scanner<'a> {
    text: &'a [u8],
    /// `at <= text.len()`.
    at: usize,
    path: Vec<u8>,
    /// Of each level the length of the path without its key or index, and the index, in an array.
    levels: Vec<(u32, Option<u32>)>,
    string: Vec<u8>,
    /// Hashes of the paths of keys, to see which came twice.
    keys: Vec<u64>,
    /// Whether there was what only lenient parsers take.
    odd: bool,
    deep: bool,
    /// Whether a key came twice within one document.
    repeats: bool,
    fields: &'a mut Fields,
}

impl Scanner<'_> {
    fn run(&mut self) -> Result<(), Invalid> {
        loop {
            if is_nearly_full(self.fields) {
                self.fields.push(Place::Text, b"", &self.text[self.at..], self.at);
                return Ok(());
            }
            let opened = self.value()?;
            if !opened && !self.next_value()? {
                match self.peek() {
                    None => return Ok(()),
                    // One document behind the other, as lines of JSON come.
                    Some(b'{' | b'[') => {
                        self.odd = true;
                        self.compare_keys();
                    }
                    Some(_) => return Err(Invalid),
                }
            }
        }
    }

    /// Reads a value; true if it is an array or object with a first value, which is next.
    fn value(&mut self) -> Result<bool, Invalid> {
        match self.peek().ok_or(Invalid)? {
            b'{' => self.open(None),
            b'[' => self.open(Some(0)),
            b'"' | b'\'' => {
                let start = self.at + 1;
                let complete = self.string();
                self.fields.push(Place::Json, &self.path, &self.string, start);
                complete.map(|()| false)
            }
            _ => self.literal().map(|()| false),
        }
    }

    fn open(&mut self, index: Option<u32>) -> Result<bool, Invalid> {
        self.at += 1;
        let close = if index.is_some() { b']' } else { b'}' };
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(false);
        }
        if self.levels.len() >= MAX_DEPTH {
            return Err(Invalid);
        }
        self.levels.push((self.path.len() as u32, index));
        self.deep |= self.levels.len() > DEEP;
        self.enter()?;
        Ok(true)
    }

    /// Behind a value: goes on to the next one, closing what ends; false at the end of the outermost.
    fn next_value(&mut self) -> Result<bool, Invalid> {
        loop {
            let Some((path, index)) = self.levels.last_mut() else { return Ok(false) };
            self.path.truncate(*path as usize);
            let close = if index.is_some() { b']' } else { b'}' };
            *index = index.map(|index| index.saturating_add(1));
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    // Lenient parsers forgive a comma behind the last one.
                    let is_last = self.peek() == Some(close);
                    self.odd |= is_last;
                    if !is_last {
                        self.enter()?;
                        return Ok(true);
                    }
                }
                Some(byte) if byte == close => {
                    self.at += 1;
                    self.levels.pop();
                }
                _ => return Err(Invalid),
            }
        }
    }

    /// Extends the path by the index, or by the key, which is read.
    fn enter(&mut self) -> Result<(), Invalid> {
        match self.levels.last().and_then(|(_, index)| *index) {
            Some(index) => {
                let (digits, from) = decimal(index);
                self.extend_path(&digits[from..]);
            }
            None => {
                let start = self.at + 1;
                let complete = match self.peek() {
                    Some(b'"' | b'\'') => self.string(),
                    Some(byte) if is_key_byte(byte) => self.bare_key(),
                    _ => return Err(Invalid),
                };
                let key = std::mem::take(&mut self.string);
                push_name(&key, start, self.fields);
                self.extend_path(&key);
                self.note_key();
                self.string = key;
                complete?;
                if self.peek() != Some(b':') {
                    return Err(Invalid);
                }
                self.at += 1;
            }
        }
        Ok(())
    }

    fn extend_path(&mut self, part: &[u8]) {
        if self.path.len() + part.len() < MAX_PATH {
            if !self.path.is_empty() {
                self.path.push(b'.');
            }
            self.path.extend_from_slice(part);
        }
    }

    /// Reads a string into `self.string`, escapes resolved, as far as it goes; a raw control character is kept.
    fn string(&mut self) -> Result<(), Invalid> {
        self.string.clear();
        let quote = self.text.get(self.at).copied().unwrap_or(b'"');
        self.odd |= quote != b'"';
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let plain = memchr::memchr2(quote, b'\\', rest).unwrap_or(rest.len());
            self.string.extend_from_slice(&rest[..plain]);
            self.odd |= has_controls(&rest[..plain]);
            self.at += plain + 1;
            match rest.get(plain) {
                Some(&byte) if byte == quote => return Ok(()),
                Some(_) => self.escape()?,
                None => {
                    self.at = self.text.len();
                    return Err(Invalid);
                }
            }
        }
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        let byte = *self.text.get(self.at).ok_or(Invalid)?;
        self.at += 1;
        self.string.push(match byte {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 12,
            b'u' => return self.unicode(),
            b'x' => return self.byte(),
            // A line that goes on.
            b'\n' => return Ok(()),
            other => other,
        });
        Ok(())
    }

    /// `\xHH`, which JSON5 knows.
    fn byte(&mut self) -> Result<(), Invalid> {
        self.odd = true;
        let digit = |at: usize| self.text.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        let Some((high, low)) = digit(self.at).zip(digit(self.at + 1)) else {
            self.string.push(b'x');
            return Ok(());
        };
        self.at += 2;
        let character = char::from_u32(high << 4 | low).unwrap_or(char::REPLACEMENT_CHARACTER);
        self.string.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    /// `\uXXXX`, with surrogate pairs joined; a lone surrogate becomes the replacement character.
    fn unicode(&mut self) -> Result<(), Invalid> {
        let mut code = self.hex()?;
        if (0xd800..0xdc00).contains(&code) && self.text.get(self.at..self.at + 2) == Some(b"\\u") {
            let back = self.at;
            self.at += 2;
            match self.hex()? {
                low @ 0xdc00..0xe000 => code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00),
                _ => self.at = back,
            }
        }
        let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        self.string.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn hex(&mut self) -> Result<u32, Invalid> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(Invalid)?;
        self.at += 4;
        digits.iter().try_fold(0, |code, &digit| Ok(code << 4 | (digit as char).to_digit(16).ok_or(Invalid)?))
    }

    fn literal(&mut self) -> Result<(), Invalid> {
        let rest = &self.text[self.at..];
        let is_part = |&&byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let length = rest.iter().take_while(is_part).count();
        if length == 0 {
            return Err(Invalid);
        }
        let (word, start) = (&rest[..length], self.at);
        self.at += length;
        self.fields.push(Place::Json, &self.path, word, start);
        let known = matches!(word, b"true" | b"false" | b"null") || matches!(word[0], b'-' | b'0'..=b'9');
        // `NaN` and the like are read by lenient parsers.
        self.odd |= !known && !self.levels.is_empty();
        Ok(())
    }

    /// The next byte that is neither white space nor part of a comment, which lenient parsers skip.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let rest = self.text.get(self.at..)?;
            self.at += rest.len() - rest.trim_ascii_start().len();
            let (lead, end): (usize, &[u8]) = match self.text.get(self.at..)? {
                [b'/', b'*', ..] => (2, b"*/"),
                [b'/', b'/', ..] => (2, b"\n"),
                [b'#', ..] => (1, b"\n"),
                [byte, ..] => return Some(*byte),
                [] => return None,
            };
            let inside = self.text.get(self.at + lead..).unwrap_or_default();
            let length = memchr::memmem::find(inside, end).unwrap_or(inside.len());
            self.fields.push(Place::Json, b"comment", &inside[..length], self.at + lead);
            self.at = (self.at + lead + length + end.len()).min(self.text.len());
            self.odd = true;
        }
    }

    /// A key without quotes.
    fn bare_key(&mut self) -> Result<(), Invalid> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().take_while(|&&byte| is_key_byte(byte)).count();
        self.string.clear();
        self.string.extend_from_slice(&rest[..length]);
        self.at += length;
        self.odd = true;
        Ok(())
    }

    /// At the end of a document: whether a key came twice.
    fn compare_keys(&mut self) {
        self.keys.sort_unstable();
        self.repeats |= self.keys.windows(2).any(|pair| pair[0] == pair[1]);
        self.keys.clear();
    }

    /// Remembers the path of a key (FNV-1a: two that are equal by chance only make a harmless anomaly).
    fn note_key(&mut self) {
        if self.keys.len() < MAX_KEYS && self.path.len() < MAX_PATH / 2 {
            let hash = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            self.keys.push(self.path.iter().fold(0xcbf2_9ce4_8422_2325, hash));
        }
    }
}

/// Whether a byte may stand in a key without quotes.
const fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'-' | 0x80..)
}

/// The digits of a number, and where they begin.
fn decimal(mut number: u32) -> ([u8; 10], usize) {
    let (mut digits, mut from) = ([b'0'; 10], 10);
    loop {
        from -= 1;
        digits[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return (digits, from);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut fields = Fields::default();
        let end =
            if push(text.as_bytes(), &mut fields, &mut Anomalies::default()).is_ok() { "" } else { " !" };
        let shown: Vec<_> = fields
            .iter()
            .map(|field| {
                let name = if field.place == Place::Name {
                    "NAME".into()
                } else {
                    field.name.escape_ascii().to_string()
                };
                format!("{name}={}", String::from_utf8_lossy(field.value))
            })
            .collect();
        assert_eq!(format!("{}{end}", shown.join(" ")), expected, "{text:?}");
    }

    #[test]
    fn values_are_named_by_their_path() {
        check(
            r#"{"user": {"roles": ["a", "b"], "id": 7}, "ok": true}"#,
            "user.roles.0=a user.roles.1=b user.id=7 ok=true",
        );
        check(r#"[1, [2, {}], [], {"a": null}]"#, "0=1 1.0=2 3.a=null");
        check(r#""text""#, "=text");
        check(r#"{"a": 1, "a": 2}"#, "a=1 a=2");
        check(r#"{"$ne": 1}"#, "NAME=$ne $ne=1");
    }

    #[test]
    fn escapes_are_resolved() {
        check(r#"["\u0027 \u006fr\/\n", "\ud83d\ude00\ud83d"]"#, "0=' or/\n 1=😀\u{fffd}");
    }

    #[test]
    fn what_was_read_before_an_error_is_kept() {
        check(r#"{"a": "x", "b": "union sel"#, "a=x b=union sel !");
        check(r#"{"a": "x" "b": 1}"#, "a=x !");
        check(r#"{"a": nope~}"#, "a=nope !");
        check(r#"{"a": 1} x"#, "a=1 !");
        check("", " !");
        check(&"[".repeat(100_000), " !");
    }

    /// Case C10.
    #[test]
    fn what_lenient_parsers_take() {
        let odd = |text: &str| {
            let mut anomalies = Anomalies::NONE;
            _ = push(text.as_bytes(), &mut Fields::default(), &mut anomalies);
            anomalies.iter().map(Anomaly::name).collect::<Vec<_>>().join(",")
        };
        check("\u{feff}{\"a\": \"x\"}", "a=x");
        check("{\"a\": /* 1 */ \"x\" // y\n}", "comment= 1  a=x comment= y");
        check("{'a': 'x\"y', b: 1}", "a=x\"y b=1");
        check("{\"f\u{0}ield\": \"x\"}", "NAME=f\u{0}ield f\\x00ield=x");
        check(r#"{"n": NaN, "a": [1,], "b": "\u0027",}"#, "n=NaN a.0=1 b='");
        check("{\"a\": 1}\n{\"b\": \"\\x27\\xg\\\n\"}", "a=1 b='xg");
        check("{$a-b: 1, \u{e4}: 2}", "NAME=$a-b $a-b=1 NAME=\u{e4} \\xc3\\xa4=2");
        assert_eq!(odd("{\"a\": 1}\n{\"a\": 2}"), "json-nonstandard");
        assert_eq!(odd(r#"{"a": 1, "b": {"a": 2}, "a": 3}"#), "json-duplicate-key");
        assert_eq!(odd(r#"[{"a": 1}, {"a": 2}]"#), "");
        assert_eq!(odd(&format!("{}1{}", "[".repeat(128), "]".repeat(128))), "");
        assert_eq!(odd(&format!("{}1{}", "[".repeat(129), "]".repeat(129))), "json-deep");
        for text in [
            "{'a': 1}",
            "{\"a\": \"b\nc\"}",
            "{\"a\0\": 1}",
            "[1,]",
            "[NaN]",
            "{a: 1}",
            r#"["\x41"]"#,
            "[1] // b",
        ] {
            assert_eq!(odd(text), "json-nonstandard", "{text}");
        }
        assert_eq!(odd(r#"{"a": "b\nc", "b": [true, -1e5, null]}"#), "");
        let deep = format!("{}\"EVIL\"{}", "[".repeat(10_000), "]".repeat(10_000));
        let mut fields = Fields::default();
        assert_eq!(push(deep.as_bytes(), &mut fields, &mut Anomalies::default()), Ok(()));
        assert_eq!(fields.iter().next_back().map(|field| field.value.to_vec()), Some(b"EVIL".to_vec()));
    }

    #[test]
    fn what_follows_many_values_is_one_field() {
        let mut fields = Fields::default();
        push(format!("[{}\"EVIL\"]", "1,".repeat(3000)).as_bytes(), &mut fields, &mut Anomalies::default())
            .unwrap();
        let last = fields.iter().next_back().map(|field| field.value.ends_with(b"\"EVIL\"]"));
        assert_eq!((last, fields.dropped()), (Some(true), 0));
    }

    proptest! {
        #[test]
        fn any_bytes_end(text in proptest::collection::vec(proptest::sample::select(br#"{}[]",:\u0d1 n/*'a"#.to_vec()), 0..80)) {
            _ = push(&text, &mut Fields::default(), &mut Anomalies::default());
        }
    }
}
