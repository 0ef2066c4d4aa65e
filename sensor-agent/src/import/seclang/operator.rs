//! Operators of a rule → what our rules ask of a value.

use std::collections::BTreeMap;

use crate::import::draft::Ask;
use crate::import::{Beside, pcre};

/// Most phrases read from a file.
const MAX_PHRASES: usize = 10_000;

/// An operator as it is written: `!@rx pattern`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operator<'t> {
    pub(super) not: bool,
    /// In lower case, without `@`.
    pub(super) name: String,
    pub(super) argument: &'t str,
}

/// What an operator asks, and what it says less exactly.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) ask: Ask,
    pub(super) losses: Vec<String>,
}

/// What the rule set's variables were set to, in lower case, with what was set where.
pub(super) type Macros = BTreeMap<String, String>;

impl<'t> Operator<'t> {
    /// Without a name it is a pattern.
    pub(super) fn parse(text: &'t str) -> Self {
        let trimmed = text.trim_start();
        let (not, rest) = trimmed.strip_prefix('!').map_or((false, trimmed), |rest| (true, rest));
        let Some(named) = rest.strip_prefix('@') else {
            return Self { not, name: "rx".to_owned(), argument: rest };
        };
        let end = named.find(char::is_whitespace).unwrap_or(named.len());
        let (name, argument) = named.split_at(end);
        let argument = argument.strip_prefix(' ').unwrap_or(argument);
        Self { not, name: name.to_ascii_lowercase(), argument }
    }

    /// Whether it compares numbers, and the numbers it accepts.
    pub(super) fn range(&self, macros: &Macros) -> Result<(Option<i64>, Option<i64>), String> {
        let text = resolve(self.argument, macros)?.0;
        let number: i64 = text.trim().parse().map_err(|_| format!("`{}` is no number", text.trim()))?;
        Ok(match self.name.as_str() {
            "eq" => (Some(number), Some(number)),
            "ge" => (Some(number), None),
            "gt" => (Some(number.saturating_add(1)), None),
            "le" => (None, Some(number)),
            "lt" => (None, Some(number.saturating_sub(1))),
            _ => return Err(format!("operator `@{}`", self.name)),
        })
    }

    pub(super) fn is_comparison(&self) -> bool {
        matches!(self.name.as_str(), "eq" | "ge" | "gt" | "le" | "lt")
    }

    /// What it asks of a value. Letters count if `case_sensitive`.
    pub(super) fn ask(
        &self,
        case_sensitive: bool,
        macros: &Macros,
        file: &str,
        beside: Beside<'_>,
    ) -> Result<Asked, String> {
        let exact = |ask| Ok(Asked { ask, losses: Vec::new() });
        let pattern = |text: String| Ask::Pattern { text, case_sensitive };
        if self.is_comparison() {
            let (from, to) = self.range(macros)?;
            return exact(Ask::Number { from, to });
        }
        match self.name.as_str() {
            "rx" | "rxglobal" => self.pattern(case_sensitive),
            "pm" => phrases(words(self.argument)),
            "pmf" | "pmfromfile" => phrases(self.phrases_of_files(file, beside)?),
            "detectsqli" => exact(Ask::Coded(vec!["sql-*".into()])),
            "detectxss" => exact(Ask::Coded(vec!["xss-*".into()])),
            "ipmatch" => {
                exact(Ask::Addresses(self.argument.split(',').map(|one| one.trim().to_owned()).collect()))
            }
            "validatebyterange" => {
                exact(Ask::Pattern { text: bytes_outside(self.argument)?, case_sensitive: true })
            }
            "validateurlencoding" => {
                exact(pattern("%(?:$|[^0-9a-fA-F]|[0-9a-fA-F](?:$|[^0-9a-fA-F]))".into()))
            }
            "unconditionalmatch" => exact(Ask::Any),
            "streq" | "contains" | "containsword" | "beginswith" | "endswith" | "strmatch" | "within" => {
                let (text, losses) = resolve(self.argument, macros)?;
                let text = self.text_pattern(&text)?;
                Ok(Asked { ask: pattern(text), losses })
            }
            other => Err(format!("operator `@{other}`")),
        }
    }

    fn pattern(&self, case_sensitive: bool) -> Result<Asked, String> {
        if self.argument.contains("%{") {
            return Err("pattern with a variable of the rule set in it".into());
        }
        let done = pcre::translate(self.argument)?;
        let losses = done.losses.iter().map(ToString::to_string).collect();
        Ok(Asked { ask: Ask::Pattern { text: done.pattern, case_sensitive }, losses })
    }

    fn text_pattern(&self, text: &str) -> Result<String, String> {
        if text.is_empty() {
            return Err(format!("operator `@{}` with nothing to compare", self.name));
        }
        let plain = pcre::escape(text);
        Ok(match self.name.as_str() {
            "streq" => format!("^{plain}$"),
            "beginswith" => format!("^{plain}"),
            "endswith" => format!("{plain}$"),
            "containsword" => format!(r"\b{plain}\b"),
            // The value stands somewhere in the text: it is one of the words there.
            "within" => {
                let words: Vec<String> =
                    text.split([' ', ',', '|']).filter(|word| !word.is_empty()).map(pcre::escape).collect();
                format!("^(?:{})$", words.join("|"))
            }
            _ => plain,
        })
    }

    fn phrases_of_files(&self, file: &str, beside: Beside<'_>) -> Result<Vec<String>, String> {
        let mut phrases = Vec::new();
        for name in self.argument.split_whitespace() {
            let text = beside(file, name)?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            phrases.extend(lines.map(str::to_owned));
        }
        Ok(phrases)
    }
}

/// Phrases are always compared without case there.
fn phrases(mut texts: Vec<String>) -> Result<Asked, String> {
    texts.sort();
    texts.dedup();
    if texts.is_empty() || texts.len() > MAX_PHRASES {
        return Err(format!("{} phrases, expected 1 to {MAX_PHRASES}", texts.len()));
    }
    Ok(Asked { ask: Ask::Phrases { texts, case_sensitive: false }, losses: Vec::new() })
}

/// The words of `@pm`, in which `|41 42|` are bytes.
fn words(argument: &str) -> Vec<String> {
    argument.split_whitespace().map(str::to_owned).collect()
}

/// A pattern for a byte that is none of `1-255,9`.
fn bytes_outside(argument: &str) -> Result<String, String> {
    let mut allowed = [false; 256];
    for part in argument.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let bounds = from.trim().parse::<u8>().ok().zip(to.trim().parse::<u8>().ok());
        let (from, to) = bounds.ok_or_else(|| format!("`{part}` is no range of bytes"))?;
        allowed.iter_mut().take(usize::from(to) + 1).skip(usize::from(from)).for_each(|one| *one = true);
    }
    let outside: Vec<u8> =
        (0..=255).filter(|byte| !allowed.get(usize::from(*byte)).is_some_and(|one| *one)).collect();
    match &outside[..] {
        [] => Err("all bytes are allowed".into()),
        [one] => Ok(format!("\\x{one:02x}")),
        several => {
            Ok(format!("[{}]", several.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>()))
        }
    }
}

/// The text with what the rule set's variables were set to, and which were read so.
fn resolve(text: &str, macros: &Macros) -> Result<(String, Vec<String>), String> {
    let (mut done, mut losses, mut rest) = (String::new(), Vec::new(), text);
    while let Some((before, behind)) = rest.split_once("%{") {
        let (name, after) = behind.split_once('}').ok_or("`%{` without its end")?;
        let value = macros.get(&name.to_ascii_lowercase());
        let value =
            value.ok_or_else(|| format!("variable `{name}` of the rule set, which no file given sets"))?;
        losses.push(format!("`%{{{name}}}` is read as what the files set it to"));
        done.push_str(before);
        done.push_str(value);
        rest = after;
    }
    done.push_str(rest);
    Ok((done, losses))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        let macros = Macros::from([("tx.methods".to_owned(), "GET POST".to_owned())]);
        let beside = |_: &str, name: &str| match name {
            "words.data" => Ok("# x\none two\n\nthree\n".to_owned()),
            _ => Err(format!("`{name}` is not there")),
        };
        let operator = Operator::parse(text);
        let asked = operator.ask(false, &macros, "f.conf", &beside);
        let not = if operator.not { "not " } else { "" };
        match asked.map(|asked| asked.ask) {
            Ok(Ask::Pattern { text, .. }) => format!("{not}/{text}/"),
            Ok(Ask::Phrases { texts, .. }) => format!("{not}{texts:?}"),
            Ok(other) => format!("{not}{other:?}"),
            Err(reason) => format!("refused: {reason}"),
        }
    }

    #[test]
    fn operators_say_what_is_asked() {
        let rows = [
            ("@rx a(?:b|c)", "/a(?:b|c)/"),
            ("^a", "/^a/"),
            ("!@rx ^a$", "not /^a$/"),
            ("@streq a.b", r"/^a\.b$/"),
            ("@contains a+b", r"/a\+b/"),
            ("@beginsWith /x", "/^/x/"),
            ("@endsWith .php", r"/\.php$/"),
            ("@within %{tx.methods}", "/^(?:GET|POST)$/"),
            ("@pm b a b", r#"["a", "b"]"#),
            ("@pmFromFile words.data", r#"["one two", "three"]"#),
            ("@ge 5", "Number { from: Some(5), to: None }"),
            ("@lt 5", "Number { from: None, to: Some(4) }"),
            ("@detectSQLi", r#"Coded(["sql-*"])"#),
            ("@ipMatch 10.0.0.0/8, ::1", r#"Addresses(["10.0.0.0/8", "::1"])"#),
            ("@validateByteRange 1-255", r"/\x00/"),
            ("@validateByteRange 0-253,255", r"/\xfe/"),
            ("@pmFromFile other.data", "refused: `other.data` is not there"),
            ("@streq %{tx.other}", "refused: variable `tx.other` of the rule set, which no file given sets"),
            ("@geoLookup", "refused: operator `@geolookup`"),
            ("@eq x", "refused: `x` is no number"),
            ("@rx (?=a)", "refused: look-ahead"),
            ("@validateByteRange 0-999", "refused: `0-999` is no range of bytes"),
        ];
        for (text, expected) in rows {
            assert_eq!(check(text), expected, "{text}");
        }
    }
}
