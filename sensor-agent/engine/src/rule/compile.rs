//! Drafts → [`RuleSet`]: patterns compiled and linted, literals gathered into one automaton, examples run.

use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex_automata::meta;
use regex_automata::util::syntax;
use regex_syntax::hir::Hir;

use super::error::RuleError;
use super::named::{Named, Words};
use super::source::{self, Draft, DraftCondition, Text};
use super::{Condition, Exception, Rule, RuleSet, RuleSource, Short, example, literal};

/// Most bytes of a pattern's automaton.
pub const MAX_PATTERN_BYTES: usize = 512 * 1024;
/// Shortest required literal without a warning, in bytes.
pub const GOOD_LITERAL: usize = 4;
/// Shortest required literal that is accepted, in bytes; two are enough if both are punctuation.
pub const MIN_LITERAL: usize = 3;
/// Patterns that look at no longer values than this may have one mark of punctuation as their literal.
const SHORT_VALUE_BYTES: usize = 400;
/// Most literals for which the automaton is the fast, large one.
const DENSE_LITERALS: usize = 4000;

impl RuleSet {
    /// The rules of all sources together, or everything that is wrong with them.
    ///
    /// # Errors
    /// Every error of every source: syntax, unknown keys and names, patterns that do not compile, are too large, match
    /// the empty string or have no required literal, ids used twice, examples that fail.
    pub fn compile(sources: &[RuleSource<'_>]) -> Result<Self, Vec<RuleError>> {
        let mut errors = Vec::new();
        let mut compiler = Compiler::default();
        for &source in sources {
            let content = source::read(source, &mut errors);
            compiler.exceptions.extend(content.exceptions);
            for draft in content.drafts {
                compiler.add(source, draft, &mut errors);
            }
        }
        let (set, examples) = compiler.finish(&mut errors);
        if errors.is_empty() {
            example::run(&set, &examples, &mut errors);
        }
        if errors.is_empty() { Ok(set) } else { Err(errors) }
    }
}

/// Examples of a rule with the source they stand in.
pub(super) struct RuleExamples<'a> {
    pub(super) source: RuleSource<'a>,
    pub(super) rule: usize,
    pub(super) examples: Vec<source::Example>,
}

#[derive(Default)]
struct Compiler<'a> {
    rules: Vec<Rule>,
    literals: Vec<Vec<u8>>,
    literal_rules: Vec<u32>,
    short_rules: Vec<u32>,
    exceptions: Vec<Exception>,
    words: Words,
    warnings: Vec<RuleError>,
    examples: Vec<RuleExamples<'a>>,
}

impl<'a> Compiler<'a> {
    fn add(&mut self, source: RuleSource<'a>, draft: Draft, errors: &mut Vec<RuleError>) {
        let id = draft.info.id.clone();
        let mut report = Report { source, id: &id, errors, warnings: &mut self.warnings };
        if self.rules.iter().any(|rule| rule.info.id == id) {
            report.error(draft.at, format!("id `{id}` is used twice, expected a unique one"));
        }
        let pattern = compile_pattern(&draft.pattern, draft.case_sensitive, &mut report);
        let literals = pattern.as_ref().and_then(|(_, hir)| lint_literals(&draft, hir, &mut report));
        let mut conditions = |drafts: Vec<DraftCondition>| -> Vec<Condition> {
            let compile = |condition: DraftCondition| {
                let (regex, _) = compile_pattern(&condition.pattern, false, &mut report)?;
                Some(Condition { fields: condition.fields, regex, not: condition.not })
            };
            drafts.into_iter().filter_map(compile).collect()
        };
        let (also, any) = (conditions(draft.also), conditions(draft.any));
        let (Some((regex, _)), Some(literals)) = (pattern, literals) else { return };
        let number = u32::try_from(self.rules.len()).unwrap_or(u32::MAX);
        if literals.is_empty() {
            self.short_rules.push(number);
        }
        if draft.plain {
            self.words.add(&literals);
        }
        for literal in literals {
            self.literals.push(literal);
            self.literal_rules.push(number);
        }
        self.examples.push(RuleExamples { source, rule: self.rules.len(), examples: draft.examples });
        self.rules.push(Rule {
            info: Arc::new(draft.info),
            class: draft.class,
            severity: draft.severity,
            confidence: draft.confidence,
            places: draft.fields.iter().fold(0, |bits, field| bits | field.places()),
            fields: draft.fields,
            decoders: draft.decoders,
            regex,
            also,
            any,
            length: draft.length,
            documents: draft.documents,
        });
    }

    fn finish(self, errors: &mut Vec<RuleError>) -> (RuleSet, Vec<RuleExamples<'a>>) {
        let dense = self.literals.len() <= DENSE_LITERALS;
        let kind = if dense { AhoCorasickKind::DFA } else { AhoCorasickKind::ContiguousNFA };
        let built = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(kind))
            .build(&self.literals);
        let prefilter = match built {
            Ok(prefilter) => Some(prefilter),
            Err(error) => {
                let reason = format!("the rules' literals do not fit into one automaton: {error}");
                errors.push(RuleError::at("rules", "", 0, None, reason));
                None
            }
        };
        let mut named = Named::default();
        let of_rule = |number: usize| {
            let literals = self.literals.iter().zip(&self.literal_rules);
            literals.filter(move |(_, rule)| **rule as usize == number).map(|(literal, _)| literal)
        };
        for (number, rule) in self.rules.iter().enumerate() {
            // A rule whose literals are no plain words finds nothing in plain words.
            let marked =
                of_rule(number).next().is_some() && !of_rule(number).any(|literal| is_plain_word(literal));
            if !marked {
                named.add(&rule.fields);
            }
        }
        let short = |&rule: &u32| {
            let places = self.rules.get(rule as usize).map_or(0, |rule| rule.places);
            Short { rule, places }
        };
        let short_rules: Vec<Short> = self.short_rules.iter().map(short).collect();
        let nameless = |short: &Short| {
            let fields = self.rules.get(short.rule as usize).map_or(&[][..], |rule| &rule.fields);
            let nameless = fields.iter().filter(|fields| fields.shape().is_none());
            nameless.fold(0, |bits, fields| bits | fields.places())
        };
        let set = RuleSet {
            short_places: short_rules.iter().fold(0, |bits, short| bits | nameless(short)),
            short_rules,
            places: self.rules.iter().fold(0, |bits, rule| bits | rule.places),
            named,
            words: self.words,
            rules: self.rules,
            prefilter: prefilter.filter(|_| !self.literals.is_empty()),
            literal_rules: self.literal_rules,
            exceptions: self.exceptions,
            warnings: self.warnings,
        };
        (set, self.examples)
    }
}

/// Where errors and warnings of one rule go.
struct Report<'a, 'e> {
    source: RuleSource<'a>,
    id: &'a str,
    errors: &'e mut Vec<RuleError>,
    warnings: &'e mut Vec<RuleError>,
}

impl Report<'_, '_> {
    fn error(&mut self, at: usize, reason: String) {
        self.errors.push(RuleError::at(self.source.name, self.source.text, at, Some(self.id), reason));
    }

    fn warning(&mut self, at: usize, reason: String) {
        self.warnings.push(RuleError::at(self.source.name, self.source.text, at, Some(self.id), reason));
    }
}

/// The pattern as automaton and as syntax; on raw bytes, without Unicode, `.` matching line ends too.
fn compile_pattern(
    pattern: &Text,
    case_sensitive: bool,
    report: &mut Report<'_, '_>,
) -> Option<(meta::Regex, Hir)> {
    let syntax = syntax::Config::new()
        .utf8(false)
        .unicode(false)
        .dot_matches_new_line(true)
        .case_insensitive(!case_sensitive);
    // The literals are searched without case, so that they are read off the pattern as it is written.
    let hir = match syntax::parse_with(&pattern.text, &syntax.case_insensitive(false)) {
        Ok(hir) => hir,
        Err(error) => {
            report.error(pattern.at, format!("`pattern` does not parse: {}", last_line(&error)));
            return None;
        }
    };
    if hir.properties().minimum_len().is_none_or(|len| len == 0) {
        let reason =
            format!("pattern `{}` matches the empty string, expected one that needs a byte", pattern.text);
        report.error(pattern.at, reason);
        return None;
    }
    let config = meta::Config::new().utf8_empty(false).nfa_size_limit(Some(MAX_PATTERN_BYTES));
    let built = meta::Builder::new().syntax(syntax).configure(config).build(&pattern.text);
    match built {
        Ok(regex) => Some((regex, hir)),
        Err(error) => {
            let reason = match error.size_limit() {
                Some(limit) => {
                    format!("pattern is too large, expected an automaton of at most {limit} bytes")
                }
                None => format!("`pattern` does not compile: {error}"),
            };
            report.error(pattern.at, reason);
            None
        }
    }
}

/// The message of a regex syntax error without the drawing above it.
fn last_line(error: &regex_syntax::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// Whether a literal can stand in a value of letters, digits, `_`, `.` and `-`.
fn is_plain_word(literal: &[u8]) -> bool {
    literal.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Whether a literal holds punctuation: enough in front of a pattern that looks at short values only.
fn is_mark(literal: &[u8]) -> bool {
    let telling =
        |byte: &u8| byte.is_ascii_punctuation() && !matches!(byte, b'.' | b',' | b'-' | b'_' | b'/');
    literal.iter().any(|byte| telling(byte) || *byte == b'\n')
        || literal.len() > 1 && literal.iter().any(u8::is_ascii_punctuation)
}

/// Whether a literal is rare enough to stand in front of a pattern: three bytes, or two that are punctuation.
fn is_rare(literal: &[u8]) -> bool {
    literal.len() >= MIN_LITERAL || literal.len() == 2 && literal.iter().all(u8::is_ascii_punctuation)
}

/// The literals that stand in front of the rule; empty for a rule that runs on its short field always.
fn lint_literals(draft: &Draft, hir: &Hir, report: &mut Report<'_, '_>) -> Option<Vec<Vec<u8>>> {
    let literals: Vec<Vec<u8>> = match draft.literals.is_empty() {
        false => draft.literals.iter().map(|literal| literal.as_bytes().to_ascii_lowercase()).collect(),
        true => literal::required(hir).unwrap_or_default(),
    };
    let shortest = literals.iter().map(Vec::len).min().unwrap_or(0);
    if draft.short_field {
        if !draft.fields.iter().all(super::FieldPattern::is_single) {
            let reason = "`short_field` is set, expected fields of one name each, such as `header.origin`";
            report.error(draft.at, reason.into());
            return None;
        }
        return Some(if shortest >= MIN_LITERAL { literals } else { Vec::new() });
    }
    let short = *draft.length.end() <= SHORT_VALUE_BYTES;
    let rare = |literal: &Vec<u8>| is_rare(literal) || short && is_mark(literal);
    let weak = literals.is_empty() || !literals.iter().all(rare);
    if weak {
        let shown: Vec<_> = literals.iter().take(5).map(|one| one.escape_ascii().to_string()).collect();
        let reason = format!(
            "the shortest literal that every match contains has {shortest} bytes ({}), expected at least \
             {GOOD_LITERAL}: rewrite the pattern, give `literals`, or bind the rule to a `short_field`",
            shown.join(" ")
        );
        report.error(draft.pattern.at, reason);
        return None;
    }
    let common =
        |literal: &[u8]| literal.len() < GOOD_LITERAL && literal.iter().all(u8::is_ascii_alphanumeric);
    if literals.iter().any(|literal| common(literal)) {
        let short: Vec<_> =
            literals.iter().filter(|one| common(one)).map(|one| one.escape_ascii().to_string()).collect();
        let reason = format!(
            "required literals ({}) are short and common, which costs time: better at least {GOOD_LITERAL} bytes",
            short.join(" ")
        );
        report.warning(draft.pattern.at, reason);
    }
    Some(literals)
}
