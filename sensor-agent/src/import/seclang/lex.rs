//! Text → directives: comments, lines that go on, quoted arguments.

/// Longest directive.
const MAX_DIRECTIVE: usize = 1 << 20;
/// Stands in place of a directive that is longer.
const TOO_LONG: &str = "(too-long)";
/// Most arguments of a directive that are kept.
const MAX_ARGUMENTS: usize = 8;

/// A directive and its arguments, without quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    /// Line on which it begins, from 1.
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) arguments: Vec<String>,
}

/// The directives of a file; a line that is too long counts as a directive that nobody knows.
pub(super) fn directives(text: &str) -> Vec<Directive> {
    let mut found = Vec::new();
    let mut whole = String::new();
    let mut begin = 0;
    for (number, line) in text.lines().enumerate() {
        if whole.is_empty() {
            begin = number + 1;
            if line.trim_start().starts_with('#') {
                continue;
            }
        }
        let line = if whole.is_empty() { line } else { line.trim_start() };
        let (part, goes_on) = match line.trim_end().strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        if whole.len() + part.len() <= MAX_DIRECTIVE {
            whole.push_str(part);
        } else {
            TOO_LONG.clone_into(&mut whole);
        }
        if !goes_on {
            found.extend(directive(&whole, begin));
            whole.clear();
        }
    }
    found.extend(directive(&whole, begin));
    found
}

fn directive(text: &str, line: usize) -> Option<Directive> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() && words.len() <= MAX_ARGUMENTS {
        let (word, behind) = word(rest);
        words.push(word);
        rest = behind.trim_start();
    }
    let mut words = words.into_iter();
    Some(Directive { line, name: words.next()?, arguments: words.collect() })
}

/// The first argument and what stands behind it. In double quotes a backslash in front of a quote keeps it.
fn word(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        return (word.to_owned(), rest);
    };
    let mut word = String::new();
    let mut escaped = false;
    for (at, one) in quoted.char_indices() {
        match one {
            '"' if escaped => {
                word.pop();
                word.push('"');
            }
            '"' => return (word, quoted.get(at + 1..).unwrap_or_default()),
            other => word.push(other),
        }
        escaped = one == '\\' && !escaped;
    }
    (word, "")
}

/// The parts of `text` between separators that stand in no single quotes.
pub(super) fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, one) in text.char_indices() {
        if one == '\'' && !escaped {
            quoted = !quoted;
        } else if one == separator && !quoted {
            parts.push(text.get(start..at).unwrap_or_default());
            start = at + one.len_utf8();
        }
        escaped = one == '\\' && !escaped;
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let show = |one: Directive| format!("{} {} {:?}", one.line, one.name, one.arguments);
        directives(text).into_iter().map(show).collect()
    }

    #[test]
    fn directives_go_over_lines_and_keep_what_is_quoted() {
        let text = "# no\nSecRule ARGS|XML:/* \"@rx a\\\"b\\\\d c\" \\\n    \"id:1,\\\n    msg:'x, y'\"\n\nSecMarker END-X\n";
        assert_eq!(
            shown(text),
            [
                r#"2 SecRule ["ARGS|XML:/*", "@rx a\"b\\\\d c", "id:1,msg:'x, y'"]"#,
                r#"6 SecMarker ["END-X"]"#,
            ]
        );
    }

    #[test]
    fn what_is_cut_off_is_still_read() {
        assert_eq!(shown("SecRule ARGS \"open"), [r#"1 SecRule ["ARGS", "open"]"#]);
        assert_eq!(shown("SecRule \\"), [r"1 SecRule []"]);
        assert!(shown("\\\n\\\n  \n# x").is_empty());
        let long = format!("SecRule {}\nSecMarker X", "ARGS|".repeat(MAX_DIRECTIVE / 4));
        assert_eq!(shown(&long), ["1 (too-long) []", "2 SecMarker [\"X\"]"]);
    }

    #[test]
    fn quotes_hide_separators() {
        assert_eq!(split(r"id:1,msg:'a,b\',c',t:none", ','), ["id:1", r"msg:'a,b\',c'", "t:none"]);
    }
}
