//! Drafts → [`RuleSet`]: patterns compiled and linted, literals gathered into one automaton, examples run.

use std::ops::RangeInclusive;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex_automata::meta;
use regex_automata::util::syntax;
use regex_syntax::hir::Hir;

use crate::field::{Field, Place};
use crate::http::fields::{MAX_SEGMENTS, segments};

use super::behaviour::{self, Behaviour, Step};
use super::error::{RuleError, suggestion};
use super::finder::Literal;
use super::finders::Finders;
use super::marks::Needs;
use super::named::{Named, Words};
use super::operator::Operator;
use super::source::{self, BehaviourDraft, Draft, DraftCondition, DraftOperator, Identity, StepDraft, Text};
use super::when::{self, When, WhenError};
use super::{
    CodedDetectors, Condition, Exception, Rule, RuleSet, RuleSource, Short, doubt, example, literal,
};

/// Most bytes of a pattern's automaton.
pub const MAX_PATTERN_BYTES: usize = 512 * 1024;
/// Shortest required literal without a warning, in bytes.
pub const GOOD_LITERAL: usize = 4;
/// Shortest required literal that is accepted, in bytes; two are enough if both are punctuation.
pub const MIN_LITERAL: usize = 3;
/// Rules about lengths alone, in fields of many names, look at values from this length on.
pub const MIN_ANY_LENGTH: usize = 256;
/// Rules and conditions about entropy look at values from this length on: what is shorter cannot look random, or hardly help it.
pub const MIN_ENTROPY_LENGTH: usize = 16;
/// Patterns that look at no longer values than this may have one mark of punctuation as their literal.
const SHORT_VALUE_BYTES: usize = 400;

impl RuleSet {
    /// The rules of all sources together, or everything that is wrong with them.
    ///
    /// # Errors
    /// Every error of every source: syntax, unknown keys and names, patterns that do not compile, are too large, match
    /// the empty string or have no required literal, ids used twice, examples that fail.
    pub(crate) fn compile_with(
        sources: &[RuleSource<'_>],
        coded: &CodedDetectors,
    ) -> Result<Self, Vec<RuleError>> {
        let mut errors = Vec::new();
        let mut compiler = Compiler::new(coded);
        for &source in sources {
            let content = source::read(source, &mut errors);
            compiler.exceptions.extend(content.exceptions);
            for draft in content.drafts {
                compiler.add(source, draft, &mut errors);
            }
            for draft in content.behaviours {
                compiler.add_behaviour(source, draft, &mut errors);
            }
        }
        let dialogs = std::mem::take(&mut compiler.dialogs);
        let (mut set, examples) = compiler.finish();
        if errors.is_empty() {
            let matched = example::run(&set, coded, &examples, &mut errors);
            let doubts = doubt::find(&set, &examples, &matched);
            set.warnings.extend(doubts);
            behaviour::run(&set, &dialogs, &mut errors);
        }
        if errors.is_empty() { Ok(set) } else { Err(errors) }
    }
}

/// Examples of a rule with the source they stand in.
pub(super) struct RuleExamples<'a> {
    pub(super) source: RuleSource<'a>,
    pub(super) rule: usize,
    /// Where the rule's id stands.
    pub(super) at: usize,
    /// What it asks, to be compared.
    pub(super) asks: String,
    pub(super) examples: Vec<source::Example>,
}

/// Dialogs of a behaviour rule with the source they stand in.
pub(super) struct RuleDialogs<'a> {
    pub(super) source: RuleSource<'a>,
    pub(super) rule: usize,
    pub(super) dialogs: Vec<source::Dialog>,
}

struct Compiler<'a> {
    coded: &'a CodedDetectors,
    /// Functions of conditions.
    env: Arc<cel::Env>,
    rules: Vec<Rule>,
    literals: Vec<Literal>,
    short_rules: Vec<u32>,
    coded_rules: Vec<u32>,
    exceptions: Vec<Exception>,
    words: Words,
    warnings: Vec<RuleError>,
    examples: Vec<RuleExamples<'a>>,
    behaviours: Vec<Behaviour>,
    dialogs: Vec<RuleDialogs<'a>>,
}

impl<'a> Compiler<'a> {
    fn new(coded: &'a CodedDetectors) -> Self {
        Self {
            coded,
            env: when::environment(),
            rules: Vec::new(),
            literals: Vec::new(),
            short_rules: Vec::new(),
            coded_rules: Vec::new(),
            exceptions: Vec::new(),
            words: Words::default(),
            warnings: Vec::new(),
            examples: Vec::new(),
            behaviours: Vec::new(),
            dialogs: Vec::new(),
        }
    }

    fn add(&mut self, source: RuleSource<'a>, draft: Draft, errors: &mut Vec<RuleError>) {
        let id = draft.info.id.clone();
        let mut report = Report { source, id: &id, errors, warnings: &mut self.warnings };
        if is_used(&self.rules, &self.behaviours, &id) {
            report.error(draft.at, format!("id `{id}` is used twice, expected a unique one"));
        }
        let asks = doubt::asks(&draft);
        let operator = compile_operator(
            &draft.operator,
            draft.short_field,
            draft.case_sensitive,
            self.coded,
            &mut report,
        );
        let literals = operator.as_ref().and_then(|built| lint(&draft, built, &mut report));
        let mut conditions = |drafts: Vec<DraftCondition>| -> Vec<Condition> {
            let compile = |condition: DraftCondition| {
                let built = compile_operator(&condition.operator, true, false, self.coded, &mut report)?;
                lint_entropy(&condition.operator, &condition.length, &mut report)?;
                Some(Condition {
                    fields: condition.fields,
                    except: condition.except,
                    length: condition.length,
                    operator: built.operator,
                    count: condition.count,
                    not: condition.not,
                })
            };
            drafts.into_iter().filter_map(compile).collect()
        };
        let (also, any) = (conditions(draft.also), conditions(draft.any));
        let when = draft.when.as_ref().and_then(|when| compile_when(when, &self.env, &mut report));
        let (Some(Built { operator, reach, needs, .. }), Some(literals)) = (operator, literals) else {
            return;
        };
        let number = u32::try_from(self.rules.len()).unwrap_or(u32::MAX);
        match operator {
            Operator::Coded { .. } => self.coded_rules.push(number),
            _ if literals.is_empty() => self.short_rules.push(number),
            _ => {}
        }
        if draft.plain {
            self.words.add(&literals);
        }
        // Of single bytes it is known that they stand in a value, not where.
        let reach = reach.filter(|_| literals.iter().all(|literal| literal.len() > 1));
        self.literals.extend(literals.into_iter().map(|text| Literal {
            text,
            rule: number,
            placed: reach.is_some(),
        }));
        let of_method = {
            let conditions = also.iter().chain(&any).map(|condition| &condition.fields);
            let mut asked = conditions.chain([&draft.fields]).flatten();
            when.is_none() && asked.all(|field| field.is_method())
        };
        let (rule, at, examples) = (self.rules.len(), draft.at, draft.examples);
        self.examples.push(RuleExamples { source, rule, at, asks, examples });
        self.rules.push(Rule {
            info: Arc::new(draft.info),
            class: draft.class,
            severity: draft.severity,
            confidence: draft.confidence,
            places: draft.fields.iter().fold(0, |bits, field| bits | field.places()),
            fields: draft.fields,
            except: draft.except,
            decoders: draft.decoders,
            operator,
            also,
            any,
            when,
            length: draft.length,
            reach,
            needs,
            documents: draft.documents,
            of_method,
        });
    }

    fn add_behaviour(&mut self, source: RuleSource<'a>, draft: BehaviourDraft, errors: &mut Vec<RuleError>) {
        let Identity { info, class, severity, confidence, at } = draft.identity;
        let id = info.id.clone();
        let mut report = Report { source, id: &id, errors, warnings: &mut self.warnings };
        if is_used(&self.rules, &self.behaviours, &id) {
            report.error(at, format!("id `{id}` is used twice, expected a unique one"));
        }
        let mut pattern = |text: Option<Text>| match text {
            Some(text) => compile_pattern(&text, false, &mut report).map(|(regex, _)| Some(regex)),
            None => Some(None),
        };
        let mut steps = Vec::with_capacity(draft.steps.len());
        for StepDraft { path, host, condition } in draft.steps {
            let (Some(path), Some(host)) = (pattern(path), pattern(host)) else { return };
            steps.push(Step { path, host, condition });
        }
        self.dialogs.push(RuleDialogs { source, rule: self.behaviours.len(), dialogs: draft.dialogs });
        let (keys, window_secs) = (draft.keys, draft.window_secs);
        self.behaviours.push(Behaviour {
            info: Arc::new(info),
            class,
            severity,
            confidence,
            keys,
            window_secs,
            steps,
        });
    }

    fn finish(self) -> (RuleSet, Vec<RuleExamples<'a>>) {
        let finders = Finders::new(&self.literals, &self.rules);
        let mut named = Named::default();
        let of_rule = |number: usize| {
            let literals = self.literals.iter();
            literals.filter(move |literal| literal.rule as usize == number).map(|literal| &literal.text)
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
            short_places: short_rules.iter().fold(0, |bits, short| bits | nameless(short))
                | self.formal_places(),
            short_rules,
            places: self.rules.iter().fold(0, |bits, rule| bits | rule.places),
            named_segments: named_segments(&named),
            named,
            words: self.words,
            rules: self.rules,
            finders,
            behaviours: self.behaviours,
            coded_rules: self.coded_rules,
            exceptions: self.exceptions,
            warnings: self.warnings,
            token_keys: None,
        };
        (set, self.examples)
    }

    /// A bit for each of [`FORMAL_PLACES`] that some rule looks into.
    fn formal_places(&self) -> u32 {
        let formal = FORMAL_PLACES.iter().fold(0, |bits, &place| bits | super::fields::bit(place));
        self.rules.iter().fold(0, |bits, rule| bits | rule.places) & formal
    }
}

/// A bit for each segment of the path that is named.
fn named_segments(named: &Named) -> u32 {
    let long = [b'/', b'x'].repeat(MAX_SEGMENTS);
    let bit = |(number, (name, value)): (usize, (&[u8], &[u8]))| {
        let is_named = named.has(&Field { place: Place::Segment, name, value, offset: 0 });
        u32::from(is_named) << number
    };
    segments(&long).enumerate().map(bit).fold(0, |bits, bit| bits | bit)
}
/// Places whose values are plain whenever they are in order: a rule about one of them means such values.
const FORMAL_PLACES: [Place; 2] = [Place::Method, Place::ResponseStatus];

fn is_used(rules: &[Rule], behaviours: &[Behaviour], id: &str) -> bool {
    rules.iter().any(|rule| rule.info.id == id) || behaviours.iter().any(|rule| rule.info().id == id)
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

/// An operator, and the strings of which every match contains one, if they are known.
struct Built {
    operator: Operator,
    required: Option<Vec<Vec<u8>>>,
    /// Most bytes of a match, if they are known and few.
    reach: Option<usize>,
    /// Marks that every match has.
    needs: Needs,
}

fn compile_operator(
    draft: &DraftOperator,
    may_be_empty: bool,
    case_sensitive: bool,
    coded: &CodedDetectors,
    report: &mut Report<'_, '_>,
) -> Option<Built> {
    let plain = |operator| Some(Built { operator, required: None, reach: None, needs: Needs::default() });
    match draft {
        DraftOperator::Pattern(pattern) => {
            let (regex, hir) = compile_pattern(pattern, case_sensitive, report)?;
            if !may_be_empty && matches_nothing(&hir) {
                let text = &pattern.text;
                let reason =
                    format!("pattern `{text}` matches the empty string, expected one that needs a byte");
                report.error(pattern.at, reason);
                return None;
            }
            let reach = literal::reach(&hir).filter(|_| !case_sensitive);
            let required = literal::required(&hir);
            Some(Built { operator: Operator::Pattern(regex), required, reach, needs: Needs::of(&hir) })
        }
        DraftOperator::Phrases(phrases) => compile_phrases(phrases, case_sensitive, report),
        DraftOperator::Number(range, _) => plain(Operator::Number(range.clone())),
        DraftOperator::Addresses(networks, _) => plain(Operator::Addresses(networks.clone())),
        DraftOperator::Entropy(range, _) => plain(Operator::Entropy(range.clone())),
        DraftOperator::Any(_) => plain(Operator::Any),
        DraftOperator::Coded(names, from, _) => {
            let mut codes = 0;
            for name in names {
                match coded.bits(&name.text) {
                    Some(bits) => codes |= bits,
                    None => {
                        let hint = suggestion(&name.text, coded.ids);
                        report.error(name.at, format!("unknown coded detection `{}`{hint}", name.text));
                    }
                }
            }
            plain(Operator::Coded { codes, from: *from })
        }
    }
}

/// Positions in the expression are positions in the file, unless a basic string has escapes in front of them.
fn compile_when(text: &Text, env: &Arc<cel::Env>, report: &mut Report<'_, '_>) -> Option<When> {
    let quotes = match report.source.text.get(text.at..text.at + 3) {
        Some("\"\"\"" | "'''") => 3,
        _ => 1,
    };
    let place =
        |error: WhenError| report.error(text.at + quotes + error.at, format!("`when` {}", error.reason));
    When::compile(&text.text, env).map_err(place).ok()
}

/// Phrases need no pattern to be found, so that they may be many.
fn compile_phrases(phrases: &[Text], case_sensitive: bool, report: &mut Report<'_, '_>) -> Option<Built> {
    let texts: Vec<&[u8]> = phrases.iter().map(|phrase| phrase.text.as_bytes()).collect();
    let built = AhoCorasick::builder()
        .ascii_case_insensitive(!case_sensitive)
        .match_kind(MatchKind::LeftmostLongest)
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .build(&texts);
    match built {
        Ok(automaton) => {
            let mut required: Vec<Vec<u8>> = texts.iter().map(|text| text.to_ascii_lowercase()).collect();
            required.sort();
            required.dedup();
            Some(Built {
                operator: Operator::Phrases(automaton),
                required: Some(required),
                reach: None,
                needs: Needs::default(),
            })
        }
        Err(error) => {
            let at = phrases.first().map_or(0, |phrase| phrase.at);
            report.error(at, format!("the phrases do not fit into one automaton: {error}"));
            None
        }
    }
}

/// The pattern as automaton and as syntax, or what is wrong with it.
fn compile_pattern(
    text: &Text,
    case_sensitive: bool,
    report: &mut Report<'_, '_>,
) -> Option<(meta::Regex, Hir)> {
    pattern(&text.text, case_sensitive).map_err(|reason| report.error(text.at, reason)).ok()
}

/// The pattern as automaton and as syntax; on raw bytes, without Unicode, `.` matching line ends too.
pub(super) fn pattern(text: &str, case_sensitive: bool) -> Result<(meta::Regex, Hir), String> {
    let syntax = syntax::Config::new()
        .utf8(false)
        .unicode(false)
        .dot_matches_new_line(true)
        .case_insensitive(!case_sensitive);
    // The literals are searched without case, so that they are read off the pattern as it is written.
    let hir = syntax::parse_with(text, &syntax.case_insensitive(false))
        .map_err(|error| format!("`pattern` does not parse: {}", last_line(&error)))?;
    let config = meta::Config::new().utf8_empty(false).nfa_size_limit(Some(MAX_PATTERN_BYTES));
    let built = meta::Builder::new().syntax(syntax).configure(config).build(text);
    let regex = built.map_err(|error| match error.size_limit() {
        Some(limit) => format!("pattern is too large, expected an automaton of at most {limit} bytes"),
        None => format!("`pattern` does not compile: {error}"),
    })?;
    Ok((regex, hir))
}

/// Whether the pattern matches where there is nothing.
fn matches_nothing(hir: &Hir) -> bool {
    hir.properties().minimum_len().is_none_or(|len| len == 0)
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
    literal.iter().any(|byte| telling(byte) || matches!(byte, b'\n' | b'\r' | 0))
        || literal.len() > 1 && literal.iter().any(u8::is_ascii_punctuation)
}

/// Whether a literal is rare enough to stand in front of a pattern: three bytes, or two that are punctuation.
fn is_rare(literal: &[u8]) -> bool {
    literal.len() >= MIN_LITERAL || literal.len() == 2 && literal.iter().all(u8::is_ascii_punctuation)
}

/// The literals that stand in front of the rule; empty for a rule that needs none.
fn lint(draft: &Draft, built: &Built, report: &mut Report<'_, '_>) -> Option<Vec<Vec<u8>>> {
    let single = draft.fields.iter().all(super::FieldPattern::is_single);
    match built.operator {
        Operator::Pattern(_) | Operator::Phrases(_) => lint_literals(draft, built, report),
        Operator::Coded { .. } => Some(Vec::new()),
        Operator::Entropy(_) => {
            lint_entropy(&draft.operator, &draft.length, report)?;
            lint_width(draft, single, "entropy", report)
        }
        Operator::Any => lint_width(draft, single, "lengths", report),
        _ if single => Some(Vec::new()),
        _ => {
            let reason = "numbers and addresses are looked for in fields of one name each, such as `header.content-length`";
            report.error(draft.operator.at(), reason.into());
            None
        }
    }
}

/// A rule that is not held back by literals looks at long values only, or at fields of one name.
fn lint_width(draft: &Draft, single: bool, what: &str, report: &mut Report<'_, '_>) -> Option<Vec<Vec<u8>>> {
    if single || *draft.length.start() >= MIN_ANY_LENGTH {
        return Some(Vec::new());
    }
    let reason = format!(
        "a rule about {what} alone looks at many fields, expected `min_length` of at least {MIN_ANY_LENGTH}, or \
         fields of one name each, such as `header.origin`"
    );
    report.error(draft.at, reason);
    None
}

/// What a value of these lengths can have; nothing to say of other operators.
fn lint_entropy(
    operator: &DraftOperator,
    length: &RangeInclusive<usize>,
    report: &mut Report<'_, '_>,
) -> Option<()> {
    let DraftOperator::Entropy(bits, at) = operator else { return Some(()) };
    let most = u16::try_from(*length.end()).map_or(8.0, |most| f32::from(most).log2());
    let reason = if *length.start() < MIN_ENTROPY_LENGTH {
        format!("entropy is asked of short values, expected `min_length` of at least {MIN_ENTROPY_LENGTH}")
    } else if *bits.start() > most {
        format!(
            "`entropy_from` is {}, but a value of {} bytes has at most {most:.2}",
            bits.start(),
            length.end()
        )
    } else {
        return Some(());
    };
    report.error(*at, reason);
    None
}

fn lint_literals(draft: &Draft, built: &Built, report: &mut Report<'_, '_>) -> Option<Vec<Vec<u8>>> {
    let literals: Vec<Vec<u8>> = match draft.literals.is_empty() {
        false => draft.literals.iter().map(|literal| literal.as_bytes().to_ascii_lowercase()).collect(),
        true => built.required.clone().unwrap_or_default(),
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
        report.error(draft.operator.at(), reason);
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
        report.warning(draft.operator.at(), reason);
    }
    Some(literals)
}
