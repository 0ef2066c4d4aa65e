//! Text → rules: a head and options. Options end in semicolons, unless these are escaped or quoted.

/// Longest rule.
const MAX_RULE: usize = 256 * 1024;
/// Most options of one rule.
const MAX_OPTIONS: usize = 1000;

/// A rule as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Line on which it begins, from 1.
    pub(super) line: usize,
    /// `alert http any any -> any any`, split at blanks.
    pub(super) head: Vec<String>,
    pub(super) options: Vec<(String, String)>,
}

/// The rules of a file, and the lines that are none.
pub(super) fn rules(text: &str) -> Vec<Result<Rule, usize>> {
    let mut found = Vec::new();
    let mut whole = String::new();
    let mut begin = 0;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if whole.is_empty() {
            begin = number + 1;
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
        }
        let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        if whole.len() + part.len() <= MAX_RULE {
            whole.push_str(part);
        }
        if !goes_on {
            found.push(rule(&whole, begin).ok_or(begin));
            whole.clear();
        }
    }
    if !whole.is_empty() {
        found.push(rule(&whole, begin).ok_or(begin));
    }
    found
}

fn rule(text: &str, line: usize) -> Option<Rule> {
    let (head, rest) = text.split_once('(')?;
    let body = rest.trim_end().strip_suffix(')')?;
    let head: Vec<String> = head.split_whitespace().map(str::to_owned).collect();
    (head.len() >= 2).then(|| Rule { line, head, options: options(body) })
}

fn options(body: &str) -> Vec<(String, String)> {
    let mut options = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, one) in body.char_indices() {
        match one {
            '"' if !escaped => quoted = !quoted,
            ';' if !escaped && !quoted => {
                options.extend(option(body.get(start..at).unwrap_or_default()));
                start = at + 1;
            }
            _ => {}
        }
        escaped = one == '\\' && !escaped;
    }
    options.extend(option(body.get(start..).unwrap_or_default()));
    options.truncate(MAX_OPTIONS);
    options
}

fn option(text: &str) -> Option<(String, String)> {
    let text = text.trim();
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    (!name.is_empty()).then(|| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

/// What stands between quotes, and whether a `!` stands in front.
pub(super) fn quoted(value: &str) -> (bool, &str) {
    let (not, rest) = value.strip_prefix('!').map_or((false, value), |rest| (true, rest.trim_start()));
    (not, rest.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(rest))
}

/// The bytes of a content: text with escapes, and hexadecimal between bars.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for (number, part) in text.split('|').enumerate() {
        if number % 2 == 1 {
            let digits: String = part.chars().filter(|one| !one.is_whitespace()).collect();
            for pair in digits.as_bytes().chunks(2) {
                let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
                bytes.push(u8::from_str_radix(pair, 16).ok()?);
            }
            continue;
        }
        let mut escaped = false;
        for &byte in part.as_bytes() {
            let escape = byte == b'\\' && !escaped;
            if !escape {
                bytes.push(byte);
            }
            escaped = escape;
        }
    }
    let bars = text.bytes().filter(|byte| *byte == b'|').count();
    (bars % 2 == 0 && !bytes.is_empty()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_split_into_options() {
        let text = "# no\n\nalert http any any -> any any (msg:\"a; \\\"b\\\"\"; \\\n content:\"x|3b 20|\"; nocase;)\nnonsense\n";
        let found = rules(text);
        let rule = found[0].as_ref().unwrap();
        assert_eq!((rule.line, rule.head.len()), (3, 7));
        let pairs: Vec<_> = rule.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(pairs, ["msg=\"a; \\\"b\\\"\"", "content=\"x|3b 20|\"", "nocase="]);
        assert_eq!(found[1], Err(5));
    }

    #[test]
    fn contents_are_bytes() {
        assert_eq!(bytes(r"a|20 3b|\;\\b").as_deref(), Some(&b"a ;;\\b"[..]));
        assert_eq!((bytes("a|2|"), bytes("a|zz|"), bytes("a|20"), bytes("")), (None, None, None, None));
        assert_eq!(quoted("! \"a\""), (true, "a"));
    }
}
