//! A tolerant scanner of GraphQL documents (October 2021 specification): the values of arguments become fields named by the
//! path of their selection, `user.orders.filter`; `operation` is what kind of operation it is and its name, `selection` the path of what is
//! asked for. Selections of the introspection schema are shown by name; batches, depth and aliases, which multiply work, are named oddities.

use super::graphql_work::Work;
use crate::field::{Fields, Place};
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::fields::is_nearly_full;

/// Deepest nesting that is followed.
const MAX_DEPTH: usize = 64;
/// Deeper selections than people write.
const DEEP: usize = 16;
/// More aliases than people write in one document.
const MANY_ALIASES: u32 = 32;
/// Most selections of one document that are shown.
const MAX_SELECTIONS: u32 = 64;
/// Most tokens of one document that are read.
const MAX_TOKENS: usize = 20_000;
/// Longest path that names a value.
const MAX_PATH: usize = 512;

/// Whether a text can only be a GraphQL document, or hardly anything else.
pub(super) fn looks_like(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let starts = |word: &[u8]| {
        let rest = text.strip_prefix(word);
        rest.is_some_and(|rest| matches!(rest.first(), Some(b' ' | b'\t' | b'\r' | b'\n' | b'{' | b'(')))
    };
    let named = [&b"query"[..], b"mutation", b"subscription", b"fragment"].into_iter().any(starts);
    let brace = text.strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    let selects =
        brace.is_some_and(|rest| rest.first().is_some_and(|&byte| is_name_byte(byte) || byte == b'.'));
    (named || selects) && memchr::memchr(b'{', text).is_some()
}

/// Adds the argument values of a document; `work` counts over all documents of a request.
pub(super) fn push(text: &[u8], fields: &mut Fields, anomalies: &mut Anomalies, work: &mut Work) {
    let (path, levels, heading, counts) = Default::default();
    work.begin();
    let mut scanner = Scanner { text, at: 0, path, levels, heading, counts, fields, work };
    let complete = scanner.run();
    let Counts { operations, aliases, depth, introspects, excess, .. } = scanner.counts;
    anomalies.extend(excess);
    anomalies.insert_if(scanner.work.has_cycle(), Anomaly::GraphQlCycle);
    anomalies.insert_if(introspects, Anomaly::GraphQlIntrospection);
    anomalies.insert_if(operations > 1, Anomaly::GraphQlBatch);
    anomalies.insert_if(depth > DEEP, Anomaly::GraphQlDeep);
    anomalies.insert_if(aliases > MANY_ALIASES, Anomaly::GraphQlAliases);
    if !complete {
        anomalies.insert(Anomaly::GraphQlInvalid);
        let (rest, at) = (text.get(scanner.at..).unwrap_or_default(), scanner.at);
        if !rest.is_empty() {
            fields.push(Place::Text, b"", rest, at);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Selection,
    Arguments,
    Value,
}

struct Scanner<'a> {
    text: &'a [u8],
    /// `at <= text.len()`.
    at: usize,
    path: Vec<u8>,
    /// What is open, and the length of the path there.
    levels: Vec<(Inside, usize)>,
    /// The words before the selections of an operation or fragment.
    heading: Vec<u8>,
    counts: Counts,
    fields: &'a mut Fields,
    work: &'a mut Work,
}

/// What the document consists of.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    operations: u32,
    selections: u32,
    aliases: u32,
    depth: usize,
    introspects: bool,
    /// What the document asks for again and again.
    excess: Option<Anomaly>,
}

impl Scanner<'_> {
    /// Reads to the end; whether all was understood.
    fn run(&mut self) -> bool {
        for _ in 0..MAX_TOKENS {
            self.skip_ignored();
            let Some(&byte) = self.text.get(self.at) else { return self.levels.is_empty() };
            if is_nearly_full(self.fields) {
                return false;
            }
            let understood = match byte {
                b'{' | b'(' | b'[' => self.open(byte),
                b'}' | b')' | b']' => self.close(),
                b'"' => self.string(),
                b'@' => self.directive(),
                b'$' | b'!' | b'=' | b'|' | b'&' | b':' | b'.' => {
                    self.at += 1;
                    true
                }
                _ if is_name_byte(byte) || byte == b'-' => self.word(),
                _ => false,
            };
            if !understood {
                return false;
            }
        }
        false
    }

    /// White space, commas and comments mean nothing.
    fn skip_ignored(&mut self) {
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b',' | 0xef | 0xbb | 0xbf => self.at += 1,
                b'#' => {
                    let rest = self.text.get(self.at..).unwrap_or_default();
                    let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                    self.fields.push(Place::GraphQl, b"comment", &rest[..end.unwrap_or(rest.len())], self.at);
                    self.at += end.unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }

    fn inside(&self) -> Inside {
        self.levels.last().map_or(Inside::Selection, |&(inside, _)| inside)
    }

    fn open(&mut self, byte: u8) -> bool {
        if self.levels.len() >= MAX_DEPTH {
            return false;
        }
        let inside = match (byte, self.inside()) {
            (b'(', _) => Inside::Arguments,
            (b'{', Inside::Selection) => Inside::Selection,
            _ => Inside::Value,
        };
        if self.levels.is_empty() && byte == b'{' {
            self.operation();
        }
        self.levels.push((inside, self.path.len()));
        let selections = self.levels.iter().filter(|(inside, _)| *inside == Inside::Selection).count();
        self.counts.depth = self.counts.depth.max(selections);
        self.at += 1;
        true
    }

    /// Shows what the selections that begin here belong to; without a word it is a query.
    fn operation(&mut self) {
        let heading = std::mem::take(&mut self.heading);
        let heading = if heading.is_empty() { b"query" } else { &heading[..] };
        self.counts.operations += u32::from(!heading.starts_with(b"fragment"));
        self.work.heading(heading);
        self.fields.push(Place::GraphQl, b"operation", heading, self.at);
    }

    /// Shows a selection, or remembers a word of what is to begin.
    fn select(&mut self, word: &[u8], start: usize) {
        self.counts.introspects |= matches!(word, b"__schema" | b"__type");
        if self.levels.is_empty() {
            if self.heading.len() + word.len() < MAX_PATH {
                self.heading.extend_from_slice(if self.heading.is_empty() { b"" } else { b" " });
                self.heading.extend_from_slice(word);
            }
            return;
        }
        extend(&mut self.path, word);
        let spread = self.text.get(..start).is_some_and(|before| before.ends_with(b"..."));
        if spread {
            self.work.spread(word);
        }
        self.counts.excess = self.counts.excess.or(self.work.select(word, self.levels.len()));
        self.counts.selections += 1;
        if self.counts.selections <= MAX_SELECTIONS {
            self.fields.push(Place::GraphQl, b"selection", &self.path, start);
        }
    }

    fn close(&mut self) -> bool {
        self.at += 1;
        let Some((_, path)) = self.levels.pop() else { return false };
        self.path.truncate(path);
        true
    }

    fn directive(&mut self) -> bool {
        self.counts.excess = self.counts.excess.or(self.work.directive());
        let start = self.at;
        self.at += 1;
        let name = self.take_word();
        self.at = start + 1 + name.len();
        let name = self.text.get(start..self.at).unwrap_or_default();
        extend(&mut self.path, name);
        true
    }

    /// A name: a selection, an argument's key before a colon, or a value.
    fn word(&mut self) -> bool {
        let start = self.at;
        let word = self.take_word();
        let word = self.text.get(start..start + word.len()).unwrap_or_default();
        self.at = start + word.len().max(1);
        self.skip_ignored();
        let named = self.text.get(self.at) == Some(&b':');
        let base = self.levels.last().map_or(0, |&(_, path)| path);
        match (self.inside(), named) {
            // An alias names nothing that the application knows.
            (Inside::Selection, true) => self.counts.aliases += 1,
            (Inside::Selection, false) => {
                self.path.truncate(base);
                self.select(word, start);
            }
            (_, true) => {
                self.path.truncate(base);
                extend(&mut self.path, word);
            }
            (_, false) => _ = self.fields.push(Place::GraphQl, &self.path, word, start),
        }
        true
    }

    fn take_word(&self) -> &[u8] {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_part = |&byte: &u8| is_name_byte(byte) || matches!(byte, b'-' | b'+' | b'.');
        &rest[..rest.iter().take_while(|byte| is_part(byte)).count()]
    }

    /// A string or block string, with escapes resolved as far as scanners need it.
    fn string(&mut self) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let (lead, close) = if rest.starts_with(b"\"\"\"") { (3, &b"\"\"\""[..]) } else { (1, &b"\""[..]) };
        let inside = rest.get(lead..).unwrap_or_default();
        let mut value = Vec::new();
        let mut at = 0;
        while at < inside.len() && !inside[at..].starts_with(close) {
            if lead == 3 && inside[at..].starts_with(b"\\\"\"\"") {
                value.extend_from_slice(close);
                at += 1 + close.len();
            } else if inside[at] == b'\\' && lead == 1 {
                at += unescape(&inside[at + 1..], &mut value) + 1;
            } else {
                value.push(inside[at]);
                at += 1;
            }
        }
        self.fields.push(Place::GraphQl, &self.path, &value, self.at + lead);
        let complete = at < inside.len();
        self.at = (self.at + lead + at + close.len()).min(self.text.len());
        complete
    }
}

/// Resolves what follows a backslash; the result is its length.
fn unescape(rest: &[u8], out: &mut Vec<u8>) -> usize {
    let Some(&byte) = rest.first() else { return 0 };
    if byte == b'u' {
        let (digits, length) = unicode_digits(rest);
        let code = std::str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
        if let Some(character) = code.and_then(char::from_u32) {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return length;
        }
    }
    out.push(match byte {
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        other => other,
    });
    1
}

/// The digits of `uXXXX` or `u{X...}`, and the length of all.
fn unicode_digits(rest: &[u8]) -> (&[u8], usize) {
    const LONGEST: usize = 16;
    if let Some(braced) = rest.strip_prefix(b"u{")
        && let Some(end) = braced.iter().take(LONGEST).position(|&byte| byte == b'}')
    {
        return (&braced[..end], end + 3);
    }
    (rest.get(1..5).unwrap_or_default(), 5)
}

fn extend(path: &mut Vec<u8>, part: &[u8]) {
    if path.len() + part.len() < MAX_PATH {
        if !path.is_empty() {
            path.push(b'.');
        }
        path.extend_from_slice(part);
    }
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let (mut fields, mut anomalies) = (Fields::default(), Anomalies::NONE);
        push(text.as_bytes(), &mut fields, &mut anomalies, &mut Work::default());
        let name = |field: &crate::field::Field<'_>| match field.place {
            Place::GraphQl => field.name.escape_ascii().to_string(),
            _ => "TEXT".to_owned(),
        };
        let mut shown: Vec<_> =
            fields.iter().map(|field| format!("{}={}", name(&field), field.value.escape_ascii())).collect();
        shown.extend(anomalies.iter().map(|anomaly| format!("!{anomaly}")));
        assert_eq!(shown, expected, "{text}");
    }

    /// Case C39.
    #[test]
    fn arguments_are_named_by_their_path() {
        check(
            "{user(id: \"1' or 1=1\") {name}}",
            &["operation=query", "selection=user", r"user.id=1\' or 1=1", "selection=user.name"],
        );
        check(
            "query Q($v: Int = 5) { a: orders(filter: {name: \"x\", n: [1, -2.5]}, kind: OPEN) { items(first: 5) { id } } }",
            &[
                "v=Int",
                "v=5",
                "operation=query Q",
                "selection=orders",
                "orders.filter.name=x",
                "orders.filter.n=1",
                "orders.filter.n=-2.5",
                "orders.kind=OPEN",
                "selection=orders.items",
                "orders.items.first=5",
                "selection=orders.items.id",
            ],
        );
        check(
            r#"mutation { add(t: "\u0027\n\"x") }"#,
            &["operation=mutation", "selection=add", r#"add.t=\'\n\"x"#],
        );
        check("{a(b: \"\"\"x \"y\" z\"\"\")}", &["operation=query", "selection=a", r#"a.b=x \"y\" z"#]);
        check(
            "{a(b: \"\"\"x \\\"\"\" y\"\"\" c: \"\\u{27}\\u{110000}\")}",
            &["operation=query", "selection=a", r#"a.b=x \"\"\" y"#, r"a.c=\'u{110000}"],
        );
        check("{a # EVIL\n}", &["operation=query", "comment=# EVIL", "selection=a"]);
    }

    /// What asks for the schema, or for much work at once.
    #[test]
    fn introspection_batches_depth_and_aliases() {
        let odd = |text: &str| {
            let mut anomalies = Anomalies::NONE;
            push(text.as_bytes(), &mut Fields::default(), &mut anomalies, &mut Work::default());
            anomalies.iter().map(Anomaly::name).collect::<Vec<_>>().join(",")
        };
        assert_eq!(odd("{a{__typename b}}"), "");
        assert_eq!(odd("{__schema{types{name}}}"), "graphql-introspection");
        assert_eq!(odd("query{__type(name: \"A\"){name}}"), "graphql-introspection");
        assert_eq!(odd("query A {a} fragment F on B {c}"), "");
        assert_eq!(odd("query A {a} mutation B {b}"), "graphql-batch");
        assert_eq!(odd(&format!("{}{}", "{a".repeat(16), "}".repeat(16))), "");
        assert_eq!(odd(&format!("{}{}", "{a".repeat(17), "}".repeat(17))), "graphql-deep");
        assert_eq!(odd(&format!("{{{}}}", "x: a y: b ".repeat(17))), "graphql-aliases");
    }

    /// What a server would do over and over.
    #[test]
    fn repetition_is_named() {
        let odd = |text: &str| {
            let mut anomalies = Anomalies::NONE;
            push(text.as_bytes(), &mut Fields::default(), &mut anomalies, &mut Work::default());
            anomalies.iter().map(Anomaly::name).collect::<Vec<_>>().join(",")
        };
        let login =
            |times| format!("mutation {{{}}}", "a: logIn(user: \"a\", pass: \"b\") {token} ".repeat(times));
        assert_eq!((odd(&login(4)), odd(&login(5))), (String::new(), "graphql-credentials".to_owned()));
        assert_eq!(odd(&format!("{{a {}}}", "__typename ".repeat(33))), "");
        assert_eq!(odd(&format!("{{a {}}}", "__typename ".repeat(34))), "graphql-repeats");
        assert_eq!(odd(&format!("{{a {}}}", "@x".repeat(16))), "");
        assert_eq!(odd(&format!("{{a {}}}", "@x".repeat(17))), "graphql-repeats");
        assert_eq!(odd("{...A} fragment A on T {...B} fragment B on T {b ...A}"), "graphql-cycle");
        assert_eq!(odd("{...A} fragment A on T {...A}"), "graphql-cycle");
        assert_eq!(odd("{...A ...B} fragment A on T {...B} fragment B on T {b}"), "");
    }

    #[test]
    fn what_does_not_parse_is_text() {
        check("{a(b: \"open", &["operation=query", "selection=a", "a.b=open", "!graphql-invalid"]);
        check("{a ~ EVIL}", &["operation=query", "selection=a", "TEXT=~ EVIL}", "!graphql-invalid"]);
        let (mut fields, mut anomalies) = (Fields::default(), Anomalies::NONE);
        push(&b"{a".repeat(100_000), &mut fields, &mut anomalies, &mut Work::default());
        push(&b"a:b ".repeat(100_000), &mut fields, &mut anomalies, &mut Work::default());
        assert!(anomalies.contains(Anomaly::GraphQlInvalid));
    }

    #[test]
    fn documents_are_told_from_other_texts() {
        for text in ["{a}", "query{a}", " mutation M($x: Int) {a}", "{ ...f } fragment f on A {a}"] {
            assert!(looks_like(text.as_bytes()), "{text}");
        }
        for text in ["{\"a\": 1}", "query builder", "select a", "{}", ""] {
            assert!(!looks_like(text.as_bytes()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(text in proptest::collection::vec(proptest::sample::select(b"{}()[]\":a\\u0,#@$-\n".to_vec()), 0..100)) {
            push(&text, &mut Fields::default(), &mut Anomalies::default(), &mut Work::default());
        }
    }
}
