//! One `[[rule]]` table with a `behaviour` → [`BehaviourDraft`]. Its examples are dialogs: requests in miniature with their times.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::de::DeTable;

use super::reader::{Reader, Value};
use super::{Identity, Text};
use crate::facts::{Facts, Key, Login, Method, Text as Short, Why, flag};
use crate::rule::behaviour::{Condition, Trait};
use crate::rule::error::suggestion;
use crate::rule::keys::{BEHAVIOUR_KEYS, BEHAVIOUR_RULE_KEYS, STEP_KEYS, names};
use crate::time::Timestamp;

/// Most steps of a rule.
const MAX_STEPS: usize = 8;
/// Most transactions that a step counts, and most different values.
const MAX_COUNT: u32 = 10_000;
const MAX_DISTINCT: u32 = 256;
/// Longest window.
const MAX_WINDOW_SECS: u32 = 7 * 86_400;
/// Most requests of an example.
const MAX_REQUESTS: usize = 20_000;
/// When the first request of an example comes.
const START: u32 = 1_000_000;

/// What a request can be, by name.
const WORDS: &[(&str, u32)] = &[
    ("authenticated", flag::CREDENTIALS),
    ("cookies", flag::COOKIES),
    ("login", flag::LOGIN),
    ("basic", flag::BASIC),
    ("names-user", flag::NAMES_USER),
    ("sets-password", flag::SETS_PASSWORD),
    ("anti-forgery", flag::ANTI_FORGERY),
    ("foreign", flag::FOREIGN),
    ("same-site", flag::SAME_SITE),
    ("override", flag::OVERRIDE),
    ("static", flag::STATIC),
    ("slow", flag::SLOW),
];

/// A rule about behaviour as written.
#[derive(Debug)]
pub(crate) struct BehaviourDraft {
    pub(crate) identity: Identity,
    pub(crate) keys: Vec<Trait>,
    pub(crate) window_secs: u32,
    pub(crate) steps: Vec<StepDraft>,
    pub(crate) dialogs: Vec<Dialog>,
}

/// A step as written.
#[derive(Debug)]
pub(crate) struct StepDraft {
    pub(crate) path: Option<Text>,
    pub(crate) host: Option<Text>,
    pub(crate) condition: Condition,
}

/// Transactions in miniature that must or must not complete a rule.
#[derive(Debug)]
pub(crate) struct Dialog {
    /// Time in seconds, client, facts.
    pub(crate) requests: Vec<(u32, u64, Facts)>,
    pub(crate) matches: bool,
    /// As written, for messages.
    pub(crate) text: String,
    pub(crate) at: usize,
}

impl Reader<'_> {
    pub(super) fn behaviour(&mut self, value: &Value<'_>) -> Option<BehaviourDraft> {
        let table = value.get_ref().as_table()?;
        let span = value.span();
        let before = self.errors.len();
        self.known_keys(table, &names(BEHAVIOUR_RULE_KEYS));
        let identity = self.identity(table, &span);
        let behaviour = table.get("behaviour")?;
        let Some(inner) = behaviour.get_ref().as_table() else {
            self.wrong_type("behaviour", "a table with `key`, `window_secs` and `steps`", behaviour);
            return None;
        };
        self.known_keys(inner, &names(BEHAVIOUR_KEYS));
        let inner_span = behaviour.span();
        let keys = self.traits(inner, &inner_span);
        let window_secs = self.whole(inner, "window_secs", &inner_span, MAX_WINDOW_SECS);
        let steps = self.steps(inner, &inner_span);
        let dialogs = self.dialogs(table, &span);
        if self.errors.len() > before {
            return None;
        }
        Some(BehaviourDraft { identity: identity?, keys, window_secs: window_secs?, steps, dialogs })
    }

    fn traits(&mut self, table: &DeTable<'_>, span: &Range<usize>) -> Vec<Trait> {
        if self.required(table, "key", span).is_none() {
            return Vec::new();
        }
        let texts = self.strings(table, "key");
        if texts.is_empty() {
            self.error(span.start, "`key` is empty, expected at least one of what a transaction has".into());
        }
        texts.iter().filter_map(|text| self.known(text, Trait::NAMED)).collect()
    }

    /// What a name stands for in a list of names.
    fn known<T: Copy>(&mut self, text: &Text, names: &[(&str, T)]) -> Option<T> {
        let found = names.iter().find(|(name, _)| *name == text.text).map(|(_, value)| *value);
        if found.is_none() {
            let all: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            self.error(text.at, format!("unknown word `{}`{}", text.text, suggestion(&text.text, &all)));
        }
        found
    }

    /// A whole number from 1 to `most`.
    fn whole(&mut self, table: &DeTable<'_>, key: &str, span: &Range<usize>, most: u32) -> Option<u32> {
        self.required(table, key, span)?;
        let number = self.integer(table, key)?;
        if number > most {
            let at = table.get(key).map_or(span.start, |value| value.span().start);
            self.error(at, format!("`{key}` is {number}, expected at most {most}"));
        }
        Some(number)
    }

    fn steps(&mut self, table: &DeTable<'_>, span: &Range<usize>) -> Vec<StepDraft> {
        let Some(value) = self.required(table, "steps", span) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type("steps", "an array of tables", value);
            return Vec::new();
        };
        if list.is_empty() || list.len() > MAX_STEPS {
            let reason = format!("`steps` has {} tables, expected 1 to {MAX_STEPS}", list.len());
            self.error(value.span().start, reason);
        }
        list.iter().filter_map(|step| self.step(step)).collect()
    }

    fn step(&mut self, value: &Value<'_>) -> Option<StepDraft> {
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type("steps", "an array of tables", value);
            return None;
        };
        self.known_keys(table, &names(STEP_KEYS));
        let optional = |reader: &mut Self, key: &str| reader.as_text(key, table.get(key)?);
        let (path, host) = (optional(self, "path"), optional(self, "host"));
        let distinct = optional(self, "distinct").and_then(|text| self.known(&text, Trait::NAMED));
        let login = optional(self, "login")
            .and_then(|text| self.known(&text, &[("failed", false), ("succeeded", true)]));
        let most = if distinct.is_some() { MAX_DISTINCT } else { MAX_COUNT };
        let count = match table.contains_key("count") {
            true => self.whole(table, "count", &value.span(), most)?,
            false => 1,
        };
        let (is, is_not) = (self.words(table, "is"), self.words(table, "is_not"));
        let (methods, statuses) = (self.methods(table), self.statuses(table));
        let least = self.integer(table, "min_bytes").map_or(0, u64::from);
        let bytes = least..=self.integer(table, "max_bytes").map_or(u64::MAX, u64::from);
        let condition = Condition { methods, statuses, login, is, is_not, bytes, count, distinct };
        Some(StepDraft { path, host, condition })
    }

    fn words(&mut self, table: &DeTable<'_>, key: &str) -> u32 {
        let texts = self.strings(table, key);
        texts.iter().filter_map(|text| self.known(text, WORDS)).fold(0, |all, one| all | one)
    }

    fn methods(&mut self, table: &DeTable<'_>) -> Vec<Method> {
        let texts = self.strings(table, "method");
        let read = |text: &Text| {
            let method = Method::of(text.text.as_bytes());
            if method == Method::Other && text.text != Method::Other.name() {
                let reason = format!(
                    "unknown method `{}`, expected one of HTTP's in upper case, or `OTHER`",
                    text.text
                );
                self.error(text.at, reason);
            }
            method
        };
        texts.iter().map(read).collect()
    }

    fn statuses(&mut self, table: &DeTable<'_>) -> Vec<RangeInclusive<u16>> {
        let texts = self.strings(table, "status");
        let mut read = |text: &Text| {
            let range = status_range(&text.text);
            if range.is_none() {
                let reason =
                    format!("status `{}` is none, expected one like `404` or `4xx`, or `none`", text.text);
                self.error(text.at, reason);
            }
            range
        };
        texts.iter().filter_map(&mut read).collect()
    }

    fn dialogs(&mut self, table: &DeTable<'_>, span: &Range<usize>) -> Vec<Dialog> {
        let Some(value) = self.required(table, "examples", span) else { return Vec::new() };
        let Some(lists) = value.get_ref().as_table() else {
            self.wrong_type("examples", "a table with `match` and `no_match`", value);
            return Vec::new();
        };
        self.known_keys(lists, &["match", "no_match"]);
        let mut dialogs = Vec::new();
        for (key, matches) in [("match", true), ("no_match", false)] {
            let list = lists.get(key).and_then(|list| list.get_ref().as_array());
            let Some(list) = list.filter(|list| !list.is_empty()) else {
                let reason = format!("`examples.{key}` is missing or empty, expected at least one example");
                self.error(value.span().start, reason);
                continue;
            };
            dialogs.extend(list.iter().filter_map(|item| self.dialog(key, item, matches)));
        }
        dialogs
    }

    /// One example: an array of lines, one line for a request or for a row of like ones.
    fn dialog(&mut self, key: &str, value: &Value<'_>, matches: bool) -> Option<Dialog> {
        let Some(lines) = value.get_ref().as_array() else {
            self.wrong_type(key, "an array of arrays of strings", value);
            return None;
        };
        let lines: Vec<Text> = lines.iter().filter_map(|line| self.as_text(key, line)).collect();
        let text = lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join(" | ");
        let (mut requests, mut now) = (Vec::new(), START);
        for line in &lines {
            if let Err(reason) = Line::parse(&line.text).and_then(|line| line.expand(&mut now, &mut requests))
            {
                self.error(line.at, format!("example `{}`: {reason}", line.text));
            }
        }
        Some(Dialog { requests, matches, text, at: value.span().start })
    }
}

/// `404`, `4xx`, `none`.
fn status_range(text: &str) -> Option<RangeInclusive<u16>> {
    if text == "none" {
        return Some(0..=0);
    }
    if let Some(hundreds) = text.strip_suffix("xx") {
        let hundreds: u16 = hundreds.parse().ok().filter(|hundreds| (1..=9).contains(hundreds))?;
        return Some(hundreds * 100..=hundreds * 100 + 99);
    }
    let status = text.parse().ok().filter(|status| (100..=999).contains(status))?;
    Some(status..=status)
}

/// A line of an example: `30* +2 POST /login 401 user=alice password=#`.
struct Line<'t> {
    times: usize,
    every: u32,
    method: &'t str,
    path: &'t str,
    status: u16,
    rest: Vec<&'t str>,
}

impl<'t> Line<'t> {
    fn parse(text: &'t str) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace().peekable();
        let times = words
            .next_if(|word| word.ends_with('*'))
            .map_or(Ok(1), |word| word.trim_end_matches('*').parse());
        let every = words
            .next_if(|word| word.starts_with('+'))
            .map_or(Ok(1), |word| word.trim_start_matches('+').parse());
        let expected = "expected `[N*] [+SECS] METHOD PATH STATUS [NAME=VALUE …]`";
        let (Ok(times), Ok(every)) = (times, every) else { return Err(expected.to_owned()) };
        let (Some(method), Some(path), Some(status)) = (words.next(), words.next(), words.next()) else {
            return Err(expected.to_owned());
        };
        let status = if status == "none" { Ok(0) } else { status.parse() };
        let status = status.map_err(|_| expected.to_owned())?;
        Ok(Self { times, every, method, path, status, rest: words.collect() })
    }

    /// The requests; `#` in a value is the number in the row.
    fn expand(&self, now: &mut u32, requests: &mut Vec<(u32, u64, Facts)>) -> Result<(), String> {
        if requests.len().saturating_add(self.times) > MAX_REQUESTS {
            return Err(format!("expected at most {MAX_REQUESTS} requests"));
        }
        for number in 0..self.times {
            *now = now.saturating_add(self.every);
            let (client, facts) = self.facts(number, *now)?;
            requests.push((*now, client, facts));
        }
        Ok(())
    }

    fn facts(&self, number: usize, now: u32) -> Result<(u64, Facts), String> {
        let key = Key::default();
        let numbered = |text: &str| text.replace('#', &number.to_string());
        let path = numbered(self.path);
        let mut facts =
            Facts { time: Timestamp::default() + Duration::from_secs(now.into()), ..Facts::default() };
        let request = &mut facts.request;
        request.method = Method::of(self.method.as_bytes());
        (request.path, request.path_text) = (key.number(path.as_bytes()), Short::of(path.as_bytes()));
        (request.route, request.host) = (request.path, key.number(b""));
        facts.response.status = self.status;
        let mut client = key.number(b"client");
        for word in &self.rest {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let value = numbered(value);
            match name {
                "client" => client = key.number(value.as_bytes()),
                _ => set(&mut facts, &key, name, &value).ok_or_else(|| format!("unknown word `{word}`"))?,
            }
        }
        Ok((client, facts))
    }
}

/// Sets what a word of an example names; `None` if there is no such word or value.
fn set(facts: &mut Facts, key: &Key, name: &str, value: &str) -> Option<()> {
    let (request, number) = (&mut facts.request, key.number(value.as_bytes()));
    match name {
        "user" => request.user = number,
        "password" => request.password = number,
        "session" => {
            request.session = number;
            request.flags |= flag::CREDENTIALS | flag::COOKIES;
        }
        "credential" => {
            request.authorization = number;
            request.flags |= flag::CREDENTIALS;
        }
        "agent" => request.agent = number,
        "object" => request.object = number,
        "route" => request.route = number,
        "host" => (request.host, request.host_text) = (number, Short::of(value.as_bytes())),
        "bytes" => facts.response.bytes = value.parse().ok()?,
        "login" if value == "failed" => facts.response.login = Login::Failed(Why::Refused),
        "login" if value == "succeeded" => facts.response.login = Login::Succeeded,
        _ => {
            let (_, bit) = WORDS.iter().find(|(known, _)| *known == name && value.is_empty())?;
            request.flags |= bit;
        }
    }
    Some(())
}
