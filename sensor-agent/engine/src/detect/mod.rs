//! Fields and rules in, findings out.
//!
//! Every value is turned into its views once; rules of the content and the coded detectors look at the same views. Of
//! the views in which a detection shows, the surest one is reported, so that one field gives one finding a detection.

mod auth;
mod basic;
mod binary;
pub(crate) mod builtin;
mod clean;
mod compile;
pub(crate) mod csrf;
mod document;
mod exposed;
pub mod exposure;
mod html;
mod jwt;
pub mod model;
mod name;
mod oddity;
mod opinion;
mod protocol;
pub mod redact;
mod report;
mod scan;
mod shell;
mod sql;
mod stats;
mod whole;
mod within;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::field::{Field, Fields, Place};
use crate::finding::{Finding, RuleInfo};
use crate::http::message::Request;
use crate::rule::{CodedMatch, Exception, Hit, Matcher, RuleFigures, RuleSet, RuleTimer, Scope, Views};
use crate::served::ServingProcess;

pub use builtin::{BUILTINS, Builtin};
use builtin::{Code, Infos};
use clean::Clean;
use opinion::Opinion;
use scan::Scanner;
pub use stats::DetectStats;

/// Most findings of one part; of more the surest are kept, so that no padding hides one, and the others are counted by
/// [`DetectStats::findings_dropped`].
pub const MAX_FINDINGS: usize = 64;

/// Which part of a request has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The head is complete; `fields` holds what it gave.
    Head,
    /// The body is complete, or as much of it as is inspected; `fields` holds what the body gave.
    Body,
    /// The response is there, or as much of it as is inspected; `fields` holds what it gave. Rules look at it, and the search for
    /// what it exposes if that is wanted.
    Response,
}

/// What is inspected at once.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The phase.
    pub phase: Phase,
    /// The head, in both phases.
    pub request: &'a Request,
    /// Fields of this phase.
    pub fields: &'a Fields,
}

/// Runs a rule set over requests. One a worker thread: it owns the scratch memory that matching needs.
#[derive(Debug)]
pub struct Detector {
    rules: Arc<RuleSet>,
    infos: Infos,
    matcher: Matcher,
    views: Views,
    hits: Vec<Hit>,
    scanner: Scanner,
    opinion: Opinion,
    clean: Clean,
    /// Whether bodies of responses are searched for what they expose.
    exposures: bool,
    /// Whether the request whose response comes next looked suspicious.
    suspicious: bool,
    timer: Option<RuleTimer>,
    client: Option<IpAddr>,
    asks_for_client: bool,
    process: Option<Arc<ServingProcess>>,
    asks_for_process: bool,
    /// How long the response took that is inspected next.
    delay: Duration,
    /// Work that is spent on a part.
    max_work: u64,
    /// Findings that were there before the part in hand.
    earlier: usize,
    stats: DetectStats,
}

/// A coded detection in a view of a field.
#[derive(Clone, Copy, Debug)]
struct CodeHit {
    code: Code,
    view: usize,
    start: usize,
    end: usize,
    confidence: f32,
    /// Whether the value left its place in a query before it.
    breaks: bool,
}

/// What a look at a value came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It needs none, or had one.
    Plain,
    /// Nothing is in it, whatever the rest of the request is.
    Clean,
    /// Something is in it, or may be in another request.
    Open,
}

impl Look {
    /// What the looks at a value and at one within it came to.
    fn and(self, inner: Self) -> Self {
        if inner == Self::Open { Self::Open } else { self }
    }
}

impl Detector {
    /// A detector for these rules.
    #[must_use]
    pub fn new(rules: Arc<RuleSet>) -> Self {
        Self {
            matcher: Matcher::new(&rules),
            scanner: Scanner::asking(rules.token_keys()),
            asks_for_client: rules.asks_for_client(),
            asks_for_process: rules.asks_for_process(),
            rules,
            infos: Infos::new(),
            views: Views::default(),
            hits: Vec::new(),
            opinion: Opinion::default(),
            clean: Clean::default(),
            exposures: false,
            suspicious: false,
            timer: None,
            client: None,
            process: None,
            delay: Duration::ZERO,
            max_work: u64::MAX,
            earlier: 0,
            stats: DetectStats::default(),
        }
    }

    /// Uses other rules from the next part on.
    pub fn replace_rules(&mut self, rules: Arc<RuleSet>) {
        self.matcher = Matcher::new(&rules);
        self.matcher.time_rules(self.timer);
        self.asks_for_client = rules.asks_for_client();
        self.asks_for_process = rules.asks_for_process();
        self.process = None;
        self.scanner.tokens.replace_keys(rules.token_keys().cloned());
        self.rules = rules;
        self.clean.clear();
    }

    /// Whether some rule asks who the client is.
    #[must_use]
    pub fn asks_for_client(&self) -> bool {
        self.asks_for_client
    }

    /// Says who sent what is inspected next.
    pub fn set_client(&mut self, client: Option<IpAddr>) {
        self.client = client;
    }

    /// Says when what is inspected next was sent: in seconds of the engine's clock, and of the wall clock where that is known.
    pub fn set_time(&mut self, second: u64, wall: Option<i64>) {
        self.scanner.tokens.begin(second, wall);
    }

    /// Whether some rule asks which process serves.
    #[must_use]
    pub fn asks_for_process(&self) -> bool {
        self.asks_for_process
    }

    /// Says which process gets what is inspected next, where that is known.
    pub fn set_process(&mut self, process: Option<Arc<ServingProcess>>) {
        self.process = process;
    }

    /// Times every so manieth look of a rule, with the shell's clock. A new detector times none.
    pub fn time_rules(&mut self, timer: Option<RuleTimer>) {
        self.timer = timer;
        self.matcher.time_rules(timer);
    }

    /// What each rule has cost and found since the rules were loaded; those that nothing asked are left out.
    pub fn rule_figures(&self) -> impl Iterator<Item = (&Arc<RuleInfo>, RuleFigures)> {
        let all = self.rules.rules().iter().zip(self.matcher.figures());
        all.filter(|(_, figures)| figures.candidates > 0).map(|(rule, figures)| (rule.info(), *figures))
    }

    /// Asks the model about up to `most` suspicious values of a part; about none if it is 0. A new detector does not ask it.
    pub fn ask_model(&mut self, most: usize) {
        self.opinion.ask_for(most);
        self.clean.clear();
    }

    /// Spends at most about so much work on each part: bytes and tokens looked at, and [`PATTERN_WORK`] for each pattern that is searched.
    /// What one value takes is bounded anyway, so that the sum is compared between values. A new detector has no limit.
    pub fn limit_work(&mut self, most: u64) {
        self.max_work = most;
    }

    /// Whether bodies of responses are searched for what they should not hold. A new detector does not.
    pub fn look_for_exposures(&mut self, wanted: bool) {
        self.exposures = wanted;
    }

    /// Says how long a request was over when the response began that is inspected next; zero stands for no response.
    pub fn set_delay(&mut self, delay: Duration) {
        self.delay = delay;
    }

    /// Says whether something was found in the request whose response is inspected next: then what it shows is no quotation.
    pub fn set_suspicious(&mut self, suspicious: bool) {
        self.suspicious = suspicious;
    }

    /// The exceptions of `rules` that are about no rule and no coded detection: they have no effect.
    pub fn idle_exceptions(rules: &RuleSet) -> impl Iterator<Item = &Exception> {
        let known = |exception: &&Exception| {
            rules.rules().iter().any(|rule| exception.names(&rule.info().id))
                || rules.behaviours().iter().any(|rule| exception.names(&rule.info().id))
                || BUILTINS.iter().any(|builtin| exception.names(builtin.id))
        };
        rules.exceptions().iter().filter(move |exception| !known(exception))
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> DetectStats {
        DetectStats {
            matching: self.matcher.stats(),
            coded_steps: self.stats.coded_steps + self.scanner.steps(),
            model_values: self.opinion.asked,
            model_skipped: self.opinion.skipped,
            tokens_checked: self.scanner.tokens.checked,
            tokens_unchecked: self.scanner.tokens.unchecked,
            ..self.stats
        }
    }

    /// Appends the findings of one part of a request.
    pub fn inspect(&mut self, part: Part<'_>, findings: &mut Vec<Finding>) {
        self.earlier = findings.len();
        let mut violation = None;
        self.opinion.begin();
        let begun = self.work();
        for (index, field) in part.fields.iter().enumerate() {
            if self.work() - begun > self.max_work {
                let left = part.fields.iter().skip(index).count();
                self.over_budget(part.request, &field, left, findings);
                break;
            }
            self.stats.fields += 1;
            // What was found clean before was so with all that is within it.
            if matches!(field.place, Place::Header | Place::Path) && self.is_known(&field) {
                continue;
            }
            if part.phase == Phase::Head && field.place == Place::Header {
                let found = protocol::in_header(&field, part.request);
                violation = protocol::surest(violation.into_iter().chain(found));
            }
            if binary::is_file(&field) {
                for value in binary::pieces(field.value) {
                    self.value(part, index, &Field { value, ..field }, findings);
                }
                continue;
            }
            let mut look = self.field(part, index, &field, findings);
            look = look.and(self.claims(part, index, &field, findings));
            if let Some(value) = basic::header(&field) {
                for credential in basic::credentials(value, &mut [0; _]).into_iter().flatten() {
                    look = look.and(self.value(part, index, &credential, findings));
                }
            }
            for inner in within::values(&field, self.rules.named_segments()) {
                look = look.and(self.value(part, index, &inner, findings));
            }
            if look == Look::Clean && (field.place != Place::Header || protocol::is_sound(&field)) {
                self.clean.learn(&field);
            }
            if let Some(name) = name::as_value(&field) {
                self.value(part, index, &name, findings);
            }
            if let Some(pair) = name::as_pair(&field) {
                self.value(part, index, &pair, findings);
            }
        }
        if part.phase == Phase::Response {
            if self.exposures {
                self.exposed(part, findings);
            }
            return self.limit(findings);
        }
        self.whole(part, violation, findings);
        self.limit(findings);
    }

    /// Work done so far.
    fn work(&self) -> u64 {
        let matching = self.matcher.stats();
        self.stats.coded_steps
            + self.scanner.steps()
            + matching.scanned_bytes
            + matching.candidates * PATTERN_WORK
    }

    /// Whether bodies of responses are searched for what they should not hold.
    #[must_use]
    pub fn looks_for_exposures(&self) -> bool {
        self.exposures
    }

    /// Whether rules look at the heads of responses, and whether rules look at their bodies.
    #[must_use]
    pub fn wants_responses(&self) -> (bool, bool) {
        let wants = |place| self.rules.looks_into(place);
        (wants(Place::ResponseStatus) || wants(Place::ResponseHeader), wants(Place::ResponseBody))
    }

    /// Keeps at most [`MAX_FINDINGS`] of the part in hand.
    fn limit(&mut self, findings: &mut Vec<Finding>) {
        while let Some(at) = report::weakest(findings, self.earlier, MAX_FINDINGS + 1) {
            findings.remove(at);
            self.stats.findings_dropped += 1;
        }
    }

    /// Whether nothing was in this very field a short time ago.
    fn is_known(&mut self, field: &Field<'_>) -> bool {
        let known = self.clean.knows(field);
        self.stats.known_fields += u64::from(known);
        known
    }

    /// Looks at a value with nothing in it but itself.
    fn value(
        &mut self,
        part: Part<'_>,
        index: usize,
        field: &Field<'_>,
        findings: &mut Vec<Finding>,
    ) -> Look {
        let look = self.field(part, index, field, findings);
        if look == Look::Clean {
            self.clean.learn(field);
        }
        look
    }

    /// Looks at what the claims of the token in a field say, as at parameters.
    fn claims(
        &mut self,
        part: Part<'_>,
        index: usize,
        field: &Field<'_>,
        findings: &mut Vec<Finding>,
    ) -> Look {
        let mut look = Look::Clean;
        if !self.scanner.tokens.has_claimed() {
            return look;
        }
        let place = if field.place == Place::Header { Place::Query } else { field.place };
        for claim in self.scanner.tokens.take_claimed() {
            let (name, value) = (claim.name.as_bytes(), claim.text.as_bytes());
            let claimed = Field { place, name, value, offset: 0 };
            look = look.and(self.value(part, index, &claimed, findings));
        }
        look
    }

    fn field(
        &mut self,
        part: Part<'_>,
        index: usize,
        field: &Field<'_>,
        findings: &mut Vec<Finding>,
    ) -> Look {
        self.scanner.clear();
        let response = field.place.is_response();
        if response && !self.rules.looks_into(field.place) {
            return Look::Plain;
        }
        // Tokens have dots between letters, and only headers authenticate.
        let plain = self.rules.needs_no_look(field);
        if plain && field.place != Place::Header && !field.value.starts_with(b"ey") {
            self.stats.plain_fields += 1;
            return Look::Plain;
        }
        if !plain && self.is_known(field) {
            return Look::Plain;
        }
        if !response {
            self.scanner.raw(field, part.request.method());
        }
        if plain && self.scanner.hits().is_empty() {
            self.stats.plain_fields += 1;
            return Look::Plain;
        }
        self.views.fill(field);
        self.hits.clear();
        let scope = Scope {
            request: part.request,
            fields: part.fields,
            client: self.client,
            process: self.process.as_deref(),
            delay: self.delay,
        };
        self.matcher.search(&self.rules, scope, index, field, &self.views, &mut self.hits);
        if !response {
            self.stats.uninspected_bytes += self.scanner.views(field, &self.views);
            if !self.scanner.hits().is_empty() {
                let found = self.scanner.hits().iter().map(CodedMatch::from);
                let place = (index, field, &self.views);
                self.matcher.search_coded(&self.rules, scope, place, &found, &mut self.hits);
            }
        }
        let undecided = self.matcher.take_undecided();
        if self.hits.is_empty() && self.scanner.hits().is_empty() {
            if self.resembles_attacks(part, field, findings) {
                return Look::Open;
            }
            // What a header that replaces the method means depends on the method.
            let settled = !undecided && !auth::depends_on_method(field) && !self.scanner.tokens.is_fleeting();
            return if settled { Look::Clean } else { Look::Open };
        }
        self.report(part, field, findings);
        Look::Open
    }
}

/// What the search for a pattern counts as, in bytes looked at.
pub const PATTERN_WORK: u64 = 64;
/// Whether a finding is the model's, which is a second opinion on a value and says nothing of what kind an attack is.
#[must_use]
pub fn is_of_model(finding: &Finding) -> bool {
    finding.rule.id == MODEL_ID
}

/// Id of the model's findings.
const MODEL_ID: &str = "model-suspicious";

/// Most characters of [`Finding::field`].
pub const MAX_FIELD_NAME: usize = 128;
