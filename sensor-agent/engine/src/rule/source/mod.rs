//! Rule source: TOML as people write it → [`Draft`]s, which are well-formed, but not yet checked as patterns.
//! The tree is walked by hand, so that one run reports everything that is wrong, with its position.

mod behaviour;
mod exception;
mod operator;
mod reader;
mod table;

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

use crate::field::Place;
use crate::finding::{Class, Confidence, Decoder, RuleInfo, Severity};

use crate::served::ServingProcess;

use super::RuleError;
use super::exception::Exception;
use super::fields::FieldPattern;
pub(crate) use behaviour::{BehaviourDraft, Dialog, StepDraft};
use reader::{Reader, Value};

/// A rule file's text under the name that errors give.
#[derive(Clone, Copy, Debug)]
pub struct RuleSource<'a> {
    /// File name, for messages.
    pub name: &'a str,
    /// Content.
    pub text: &'a str,
}

/// A rule as written.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) info: RuleInfo,
    pub(crate) class: Class,
    pub(crate) severity: Severity,
    pub(crate) confidence: Confidence,
    pub(crate) fields: Vec<FieldPattern>,
    pub(crate) except: Vec<FieldPattern>,
    /// Decoders that may stand between the value and the match; `None`: any.
    pub(crate) decoders: Option<Vec<Decoder>>,
    pub(crate) literals: Vec<String>,
    pub(crate) operator: DraftOperator,
    pub(crate) short_field: bool,
    pub(crate) case_sensitive: bool,
    pub(crate) also: Vec<DraftCondition>,
    pub(crate) any: Vec<DraftCondition>,
    /// A condition in CEL.
    pub(crate) when: Option<Text>,
    /// Lengths of values in which the pattern is searched.
    pub(crate) length: RangeInclusive<usize>,
    pub(crate) documents: bool,
    /// Values that are plain words are looked at if they begin with a literal.
    pub(crate) plain: bool,
    pub(crate) examples: Vec<Example>,
    /// Where the rule's id stands.
    pub(crate) at: usize,
}

/// A further condition as written.
#[derive(Debug)]
pub(crate) struct DraftCondition {
    pub(crate) fields: Vec<FieldPattern>,
    pub(crate) except: Vec<FieldPattern>,
    pub(crate) operator: DraftOperator,
    pub(crate) length: RangeInclusive<usize>,
    /// How many fields must fulfil it.
    pub(crate) count: RangeInclusive<usize>,
    pub(crate) not: bool,
}

/// What is asked of a value, as written.
#[derive(Debug)]
pub(crate) enum DraftOperator {
    Pattern(Text),
    Phrases(Vec<Text>),
    /// Whole numbers, and where the key stands.
    Number(RangeInclusive<i64>, usize),
    Addresses(Vec<IpNet>, usize),
    /// Bits that a byte tells, and where the key stands.
    Entropy(RangeInclusive<f32>, usize),
    /// Nothing but its length.
    Any(usize),
    /// Coded detections, and how sure they must be.
    Coded(Vec<Text>, f32, usize),
}

impl DraftOperator {
    /// Where it stands.
    pub(crate) fn at(&self) -> usize {
        match self {
            Self::Pattern(text) => text.at,
            Self::Phrases(phrases) => phrases.first().map_or(0, |phrase| phrase.at),
            Self::Number(_, at)
            | Self::Addresses(_, at)
            | Self::Entropy(_, at)
            | Self::Any(at)
            | Self::Coded(_, _, at) => *at,
        }
    }
}

/// What every rule has.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) info: RuleInfo,
    pub(crate) class: Class,
    pub(crate) severity: Severity,
    pub(crate) confidence: Confidence,
    /// Where the rule's id stands.
    pub(crate) at: usize,
}

/// A rule of either kind as written.
#[derive(Debug)]
pub(crate) enum Drafted {
    /// About values of one request.
    Pattern(Box<Draft>),
    /// About many transactions.
    Behaviour(Box<BehaviourDraft>),
}

/// A string and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) at: usize,
}

/// A request in miniature that must or must not match.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) fields: Vec<(Place, String, String)>,
    /// Who sends it.
    pub(crate) client: Option<IpAddr>,
    /// Which process gets it.
    pub(crate) process: Option<ServingProcess>,
    /// How long its response takes.
    pub(crate) delay: Duration,
    pub(crate) matches: bool,
    /// As written, for messages.
    pub(crate) text: String,
    pub(crate) at: usize,
}

/// What one source holds.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) drafts: Vec<Draft>,
    pub(crate) behaviours: Vec<BehaviourDraft>,
    pub(crate) exceptions: Vec<Exception>,
}

/// The content of one source; what is wrong with it goes to `errors`.
pub(crate) fn read(source: RuleSource<'_>, errors: &mut Vec<RuleError>) -> Content {
    let (root, broken) = DeTable::parse_recoverable(source.text);
    let mut reader = Reader { source, rule: None, errors };
    if !broken.is_empty() {
        for error in broken {
            let at = error.span().map_or(0, |span| span.start);
            reader.error(at, error.message().replace('\n', ", "));
        }
        return Content::default();
    }
    let root = root.get_ref();
    reader.known_keys(root, &["rule", "exception"]);
    if root.is_empty() && !only_comments(source.text) {
        reader.error(0, "no `[[rule]]` table".into());
    }
    let (mut drafts, mut behaviours) = (Vec::new(), Vec::new());
    for rule in tables(&mut reader, root, "rule", Reader::rule) {
        match rule {
            Drafted::Pattern(draft) => drafts.push(*draft),
            Drafted::Behaviour(draft) => behaviours.push(*draft),
        }
    }
    let exceptions = tables(&mut reader, root, "exception", Reader::exception);
    Content { drafts, behaviours, exceptions }
}

/// What `read` makes of the tables `[[key]]`.
fn tables<'s, T>(
    reader: &mut Reader<'s>,
    root: &DeTable<'_>,
    key: &str,
    read: fn(&mut Reader<'s>, &Value<'_>) -> Option<T>,
) -> Vec<T> {
    let Some(value) = root.get(key) else { return Vec::new() };
    let DeValue::Array(tables) = value.get_ref() else {
        reader.wrong_type(key, &format!("an array of tables, `[[{key}]]`"), value);
        return Vec::new();
    };
    tables.iter().filter_map(|table| read(reader, table)).collect()
}

fn only_comments(text: &str) -> bool {
    text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

/// A number for systems that want one: FNV-1a of the id, positive as a signed 32-bit number.
pub(crate) fn number_of(id: &str) -> u32 {
    let hash =
        id.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash & 0x7fff_ffff).max(1)
}
