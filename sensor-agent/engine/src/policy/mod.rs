//! Findings → [`Verdict`]: what to report and what to block, and for how long. Exemptions come first.

mod escalation;
mod standing;

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::detect::is_of_model;
use crate::finding::{Class, Confidence, Finding, Response, Severity};

pub(crate) use escalation::Case;
pub use standing::{Offence, Standing};

/// Whether automatic blocks take effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Verdicts are reported; blocks are written in shadow mode, so that what they would have dropped is counted.
    #[default]
    Observe,
    /// Verdicts are carried out.
    Enforce,
}

/// When to report and when to block.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Observe or enforce.
    pub mode: Mode,
    /// Findings below are not reported.
    pub report_from: Confidence,
    /// A class's combined confidence from which its source is blocked.
    pub block_from: Confidence,
    /// Classes with another threshold than `block_from`.
    pub block_from_class: Vec<(Class, Confidence)>,
    /// Findings less severe than this never block.
    pub block_severity: Severity,
    /// How long a source's first block lasts.
    pub block_for: Duration,
    /// How many times as long as the one before lasts the block of a source that attacks again when it may; 1: as long.
    pub block_factor: u32,
    /// How long a block lasts at most that has grown.
    pub block_longest: Duration,
    /// How long after its end a block counts as one before.
    pub block_memory: Duration,
    /// Sessions of others behind an address from which an attack ends its connection first, and blocks do not grow; 0: never.
    pub crowd_from: u8,
    /// Longest block for a request that another site's page caused: a browser that was led there is no attacker's.
    pub block_foreign_for: Duration,
    /// Bits of an IPv6 address that a block covers; 128: the address alone.
    pub block_ipv6_prefix: u8,
    /// Sources that are never blocked, beside loopback and unspecified addresses, which never are.
    pub exempt: Vec<IpNet>,
}

/// Why a source is not blocked, or that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Block the source for this long.
    Block(Duration),
    /// Would be blocked, but the mode is [`Mode::Observe`], or only rules speak for it that never block.
    Observe(Duration),
    /// End the connection, and block nobody: only rules that ask for this speak for a block. In [`Mode::Observe`] it would be ended.
    Kill(Mode),
    /// Would be blocked, but the source is exempt.
    Exempt,
    /// Would be blocked, but nobody proved that the source address is the sender's own.
    Unverified,
    /// Not sure or not severe enough to block.
    Report,
}

/// Who sent what is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its address.
    pub address: IpAddr,
    /// It completed a handshake, so that the address is its own.
    pub verified: bool,
    /// It says that another site's page caused the request. Whoever attacks by hand can write that too.
    pub led: bool,
}

/// What to do about the findings of one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The class with the highest combined confidence.
    pub class: Class,
    /// The worst severity among the class's findings.
    pub severity: Severity,
    /// Combined confidence of the class's findings.
    pub confidence: Confidence,
    /// What to do.
    pub action: Action,
}

impl Default for Policy {
    /// Observe; report from 0.5, block from 0.7 and medium severity for a minute, then five times as long each time up to four hours, and
    /// for a minute where another site's page caused it; single addresses; nobody is exempt beside those who always are.
    fn default() -> Self {
        Self {
            mode: Mode::Observe,
            report_from: Confidence::new(0.5).unwrap_or(Confidence::ZERO),
            block_from: Confidence::new(0.7).unwrap_or(Confidence::ZERO),
            block_from_class: Vec::new(),
            block_severity: Severity::Medium,
            block_for: Duration::from_secs(60),
            block_factor: 5,
            block_longest: Duration::from_secs(4 * 3600),
            block_memory: Duration::from_secs(24 * 3600),
            crowd_from: 8,
            block_foreign_for: Duration::from_secs(60),
            block_ipv6_prefix: IPV6_BITS,
            exempt: Vec::new(),
        }
    }
}

impl Policy {
    /// The verdict on a sender for these findings; `None` if there is nothing to report.
    #[must_use]
    pub fn judge(&self, sender: Sender, findings: &[Finding]) -> Option<Verdict> {
        let weigh = |&class: &Class| self.weigh(class, findings, |_| true);
        let weigh = |class: &Class| weigh(class).map(|weight| doubted(weight, sender, findings));
        let (class, severity, confidence) = Class::ALL.iter().filter_map(weigh).reduce(surer)?;
        if confidence < self.report_from {
            return None;
        }
        Some(Verdict {
            class,
            severity,
            confidence,
            action: self.act(sender, (class, severity, confidence), findings),
        })
    }

    /// The kind of attack that a verdict is about, in the finest words there are: the topic of the surest finding of the
    /// verdict's class.
    #[must_use]
    pub fn kind<'f>(class: Class, findings: impl IntoIterator<Item = &'f Finding>) -> &'f str {
        let of_class = findings.into_iter().filter(|finding| finding.class == class && !is_of_model(finding));
        // A file's name says what an attack is after; a command around it says what it is.
        let weight = |finding: &Finding| match finding.rule.topic() {
            Some("lfi") => finding.confidence.get() - NAME_OF_FILE,
            _ => finding.confidence.get(),
        };
        let surest = of_class.reduce(|a, b| if weight(b) > weight(a) { b } else { a });
        surest.and_then(|finding| finding.rule.topic()).unwrap_or(match class {
            Class::SqlInjection => "sqli",
            Class::AuthBypass => "auth",
            Class::Jwt => "jwt",
            Class::Csrf => "csrf",
            Class::Session => "session",
            Class::AccessControl => "access",
            Class::InputValidation | Class::DataExposure => "generic",
        })
    }

    /// What a block of `source` covers.
    #[must_use]
    pub fn target(&self, source: IpAddr) -> IpNet {
        let net = |bits| IpNet::new(source, bits).ok().filter(|_| source.is_ipv6());
        net(self.block_ipv6_prefix).map_or(IpNet::from(source), |net| net.trunc())
    }

    /// Whether `source` is never blocked.
    #[must_use]
    pub fn is_exempt(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        let always = source.is_loopback() || source.is_unspecified() || source.is_multicast();
        always || self.exempt.iter().any(|net| net.contains(&source) || contains_mapped(net, source))
    }

    /// Severity and combined confidence of a class's findings. Findings of one field are views of one thing, and so
    /// are those of one rule, or of one kind of attack, in several fields: of each only the surest counts.
    fn weigh(&self, class: Class, findings: &[Finding], counts: fn(&Finding) -> bool) -> Option<Weight> {
        let wanted = |finding: &&Finding| finding.class == class && counts(finding);
        let of_class: Vec<&Finding> = findings.iter().filter(wanted).collect();
        let confidence =
            counted(&of_class).iter().fold(Confidence::ZERO, |sum, finding| sum.or(finding.confidence));
        // The worst severity of those that are sure enough to speak for the class.
        let speaks = |finding: &&&Finding| finding.confidence >= self.report_from;
        let worst = of_class.iter().filter(speaks).map(|finding| finding.severity).min();
        let severity = worst.or_else(|| of_class.iter().map(|finding| finding.severity).min())?;
        Some((class, severity, confidence))
    }

    /// What each finding adds to its class's confidence, in the order in which they add up: the class, the finding's
    /// number, and the confidence with it. Findings that say nothing new are left out.
    #[must_use]
    pub fn steps(&self, findings: &[Finding]) -> Vec<(Class, usize, Confidence)> {
        let mut steps = Vec::new();
        for &class in Class::ALL {
            let of_class: Vec<&Finding> = findings.iter().filter(|finding| finding.class == class).collect();
            let mut sum = Confidence::ZERO;
            for one in counted(&of_class) {
                sum = sum.or(one.confidence);
                let number =
                    findings.iter().position(|finding| std::ptr::eq(finding, one)).unwrap_or_default();
                steps.push((class, number, sum));
            }
        }
        steps
    }

    /// The confidence from which findings of a class block.
    #[must_use]
    pub fn threshold(&self, class: Class) -> Confidence {
        let own = self.block_from_class.iter().find(|(known, _)| *known == class);
        own.map_or(self.block_from, |(_, confidence)| *confidence)
    }

    fn act(&self, sender: Sender, weight: Weight, findings: &[Finding]) -> Action {
        if !self.blocks(weight) {
            return Action::Report;
        }
        let suffice = |counts: fn(&Finding) -> bool| {
            let weight = self.weigh(weight.0, findings, counts);
            weight.is_some_and(|weight| self.blocks(doubted(weight, sender, findings)))
        };
        let enforced = suffice(may_block);
        let duration = own_duration(weight.0, findings).unwrap_or(self.block_for);
        let led = is_led(sender, weight.0, findings);
        let duration = if led { duration.min(self.block_foreign_for) } else { duration };
        match (self.is_exempt(sender.address), sender.verified, self.mode) {
            (true, ..) => Action::Exempt,
            (_, false, _) => Action::Unverified,
            _ if !enforced && suffice(may_act) => Action::Kill(self.mode),
            (.., Mode::Enforce) if enforced => Action::Block(duration),
            _ => Action::Observe(duration),
        }
    }

    fn blocks(&self, (class, severity, confidence): Weight) -> bool {
        confidence >= self.threshold(class) && severity <= self.block_severity
    }
}

/// How long a block for this class lasts if the surest finding's rule says so itself.
fn own_duration(class: Class, findings: &[Finding]) -> Option<Duration> {
    let of_class = findings.iter().filter(|finding| finding.class == class);
    let surest = of_class.reduce(|a, b| if b.confidence > a.confidence { b } else { a });
    match surest?.rule.response? {
        Response::BlockFor(duration) => Some(duration),
        Response::Observe | Response::Kill => None,
    }
}

/// Whether all that was found of a class stands where another site's page can put it: in the target or in a form. A page cannot write
/// headers and cookies of others.
fn is_led(sender: Sender, class: Class, findings: &[Finding]) -> bool {
    let payload = matches!(class, Class::SqlInjection | Class::InputValidation);
    let own = |finding: &Finding| ["header.", "cookie."].iter().any(|place| finding.field.starts_with(place));
    sender.led && payload && !findings.iter().any(|finding| finding.class == class && own(finding))
}

/// The weight of what a browser may have been led to send: a little less, so that what barely suffices does not.
fn doubted(weight: Weight, sender: Sender, findings: &[Finding]) -> Weight {
    let (class, severity, confidence) = weight;
    let less = if is_led(sender, class, findings) { LED } else { 1.0 };
    (class, severity, Confidence::new(confidence.get() * less).unwrap_or(confidence))
}

/// What a confidence is multiplied with where a browser may have been led: an attacker who pretends that gains no more than this.
const LED: f32 = 0.95;

/// Bits of an IPv6 address.
pub const IPV6_BITS: u8 = 128;

/// What the confidence that a file is named weighs less than that of other kinds of attack, when the kind is told.
const NAME_OF_FILE: f32 = 0.21;

/// Of the findings of one class those that say something of their own, the surest first. The model looks at other things than the
/// detection whose finding it stands beside, so that it counts beside that in the same field, and once.
fn counted<'f>(of_class: &[&'f Finding]) -> Vec<&'f Finding> {
    let mut sorted = of_class.to_vec();
    sorted.sort_by(|a, b| b.confidence.get().total_cmp(&a.confidence.get()));
    let mut counted: Vec<&Finding> = Vec::new();
    for finding in sorted {
        let topic = finding.rule.topic();
        let same = |known: &&Finding| {
            known.field == finding.field && is_of_model(known) == is_of_model(finding)
                || known.rule.id == finding.rule.id
                || topic.is_some() && known.rule.topic() == topic
        };
        if !counted.iter().any(same) {
            counted.push(finding);
        }
    }
    counted
}

/// Whether the finding's rule may block.
fn may_block(finding: &Finding) -> bool {
    !matches!(finding.rule.response, Some(Response::Observe | Response::Kill))
}

/// Whether the finding's rule may block, or end the connection.
fn may_act(finding: &Finding) -> bool {
    finding.rule.response != Some(Response::Observe)
}

/// Whether a net that was written in IPv4-mapped form contains the IPv4 address.
fn contains_mapped(net: &IpNet, source: IpAddr) -> bool {
    match source {
        IpAddr::V4(source) => net.contains(&IpAddr::V6(source.to_ipv6_mapped())) && net.prefix_len() >= 96,
        IpAddr::V6(_) => false,
    }
}

type Weight = (Class, Severity, Confidence);

/// The surer of two classes; of equally sure ones the more severe.
fn surer(a: Weight, b: Weight) -> Weight {
    let better = b.2 > a.2 || b.2 == a.2 && b.1 < a.1;
    if better { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::finding::RuleInfo;

    fn finding(rule: &str, class: Class, severity: Severity, confidence: f32, field: &str) -> Finding {
        let id = rule.to_owned();
        Finding {
            rule: Arc::new(RuleInfo {
                id,
                number: 1,
                revision: 1,
                title: String::new(),
                tags: Vec::new(),
                response: None,
            }),
            class,
            severity,
            confidence: Confidence::new(confidence).unwrap(),
            field: field.to_owned(),
            offset: 0,
            length: 0,
            decoders: Vec::new(),
            evidence: String::new(),
        }
    }

    /// Case A7.
    #[test]
    fn a_block_covers_as_much_of_an_ipv6_address_as_is_configured() {
        let target = |bits, source: &str| {
            Policy { block_ipv6_prefix: bits, ..Policy::default() }
                .target(source.parse().unwrap())
                .to_string()
        };
        assert_eq!(target(64, "2001:db8:1:2:3::4"), "2001:db8:1:2::/64");
        assert_eq!(target(128, "2001:db8::4"), "2001:db8::4/128");
        assert_eq!(target(64, "192.0.2.4"), "192.0.2.4/32");
    }

    fn sure() -> Vec<Finding> {
        vec![finding("a", Class::SqlInjection, Severity::High, 0.9, "query.a")]
    }

    fn sender(address: &str, verified: bool) -> Sender {
        Sender { address: address.parse().unwrap(), verified, led: false }
    }

    fn enforcing() -> Policy {
        Policy { mode: Mode::Enforce, ..Policy::default() }
    }

    fn judge(findings: &[Finding]) -> Option<Verdict> {
        enforcing().judge(sender("203.0.113.9", true), findings)
    }

    fn action(policy: &Policy, source: &str, verified: bool) -> Action {
        policy.judge(sender(source, verified), &sure()).unwrap().action
    }

    #[test]
    fn fields_add_up_and_one_field_counts_once() {
        let (class, severity) = (Class::InputValidation, Severity::High);
        let one = finding("a", class, severity, 0.5, "query.a");
        let same_field = finding("b", class, severity, 0.6, "query.a");
        let other_field = finding("c", class, severity, 0.5, "query.b");
        let same_rule = finding("a", class, severity, 0.5, "query.c");
        let confidence = |findings: &[Finding]| judge(findings).unwrap().confidence.get();
        assert_eq!(confidence(&[one.clone(), same_field.clone()]), 0.6);
        assert!((confidence(&[one.clone(), other_field]) - 0.75).abs() < 1e-6);
        assert_eq!(confidence(&[one, same_rule]), 0.5);
    }

    #[test]
    fn the_surest_class_names_the_verdict_and_ties_go_to_the_worse() {
        let jwt = finding("a", Class::Jwt, Severity::Critical, 0.8, "x");
        let sql = finding("b", Class::SqlInjection, Severity::High, 0.8, "y");
        let csrf = finding("c", Class::Csrf, Severity::Low, 0.9, "z");
        assert_eq!(judge(&[sql.clone(), jwt.clone()]).unwrap().class, Class::Jwt);
        let verdict = judge(&[sql, jwt, csrf]).unwrap();
        assert_eq!(
            (verdict.class, verdict.severity, verdict.action),
            (Class::Csrf, Severity::Low, Action::Report)
        );
    }

    #[test]
    fn thresholds() {
        let of = |severity, confidence| judge(&[finding("a", Class::Jwt, severity, confidence, "x")]);
        assert_eq!(of(Severity::Critical, 0.49), None);
        assert_eq!(of(Severity::Critical, 0.5).unwrap().action, Action::Report);
        assert_eq!(of(Severity::Medium, 0.7).unwrap().action, Action::Block(Duration::from_secs(60)));
        assert_eq!(of(Severity::Low, 0.99).unwrap().action, Action::Report);
        assert_eq!(judge(&[]), None);
    }

    #[test]
    fn a_rule_can_answer_for_itself() {
        let with = |response, confidence| {
            let one = finding("a", Class::Jwt, Severity::High, confidence, "x");
            let rule = RuleInfo { response: Some(response), ..RuleInfo::clone(&one.rule) };
            Finding { rule: Arc::new(rule), ..one }
        };
        let action = |findings: &[Finding]| judge(findings).unwrap().action;
        let policy = Duration::from_secs(60);
        let observed = with(Response::Observe, 0.9);
        assert_eq!(action(std::slice::from_ref(&observed)), Action::Observe(policy));
        let other = finding("b", Class::Jwt, Severity::High, 0.8, "y");
        assert_eq!(action(&[observed, other]), Action::Block(policy));
        let hour = Duration::from_secs(3600);
        assert_eq!(action(&[with(Response::BlockFor(hour), 0.9)]), Action::Block(hour));
        let killing = with(Response::Kill, 0.9);
        assert_eq!(action(std::slice::from_ref(&killing)), Action::Kill(Mode::Enforce));
        let other = |confidence| finding("b", Class::Jwt, Severity::High, confidence, "y");
        assert_eq!(action(&[killing.clone(), other(0.6)]), Action::Kill(Mode::Enforce));
        assert_eq!(action(&[killing.clone(), other(0.8)]), Action::Block(policy));
        assert_eq!(action(&[with(Response::Kill, 0.6)]), Action::Report);
        let observing = Policy::default().judge(sender("203.0.113.9", true), &[killing]);
        assert_eq!(observing.unwrap().action, Action::Kill(Mode::Observe));
    }

    /// Case A8: a little less sure, and for a minute at most; not where a page cannot have written it.
    #[test]
    fn who_may_have_been_led_is_judged_with_a_doubt() {
        let policy = Policy { block_for: Duration::from_secs(600), ..enforcing() };
        let judged = |class, confidence, field: &str| {
            let led = Sender { led: true, ..sender("203.0.113.9", true) };
            let verdict =
                policy.judge(led, &[finding("a", class, Severity::High, confidence, field)]).unwrap();
            ((verdict.confidence.get() * 1000.0).round(), verdict.action)
        };
        let blocked = |secs| Action::Block(Duration::from_secs(secs));
        let payload = Class::InputValidation;
        assert_eq!(judged(payload, 0.9, "query.q"), (855.0, blocked(60)));
        assert_eq!(judged(payload, 0.72, "query.q"), (684.0, Action::Report));
        assert_eq!(judged(payload, 0.72, "header.user-agent"), (720.0, blocked(600)));
        assert_eq!(judged(Class::Csrf, 0.72, "header.origin"), (720.0, blocked(600)));
        assert_eq!(judged(payload, 0.8, "body.form.a"), (760.0, blocked(60)));
    }

    #[test]
    fn findings_of_one_kind_of_attack_count_once() {
        let of = |rule: &str, topic: &str, field: &str| {
            let one = finding(rule, Class::InputValidation, Severity::High, 0.6, field);
            let rule = RuleInfo { tags: vec![topic.to_owned()], ..RuleInfo::clone(&one.rule) };
            Finding { rule: Arc::new(rule), ..one }
        };
        let confidence = |findings: &[Finding]| judge(findings).unwrap().confidence.get();
        assert_eq!(confidence(&[of("a", "attack-rce", "x"), of("b", "attack-rce", "y")]), 0.6);
        assert!(confidence(&[of("a", "attack-rce", "x"), of("b", "attack-xss", "y")]) > 0.8);
    }

    #[test]
    fn a_class_can_have_a_threshold_of_its_own() {
        let strict =
            Policy { block_from_class: vec![(Class::Jwt, Confidence::new(0.95).unwrap())], ..enforcing() };
        let action = |class| {
            let findings = [finding("a", class, Severity::High, 0.9, "x")];
            strict.judge(sender("203.0.113.9", true), &findings).unwrap().action
        };
        assert_eq!(action(Class::Jwt), Action::Report);
        assert!(matches!(action(Class::SqlInjection), Action::Block(_)));
    }

    #[test]
    fn steps_show_what_adds_up() {
        let of = |rule, confidence, field| finding(rule, Class::Jwt, Severity::High, confidence, field);
        let findings = [of("a", 0.5, "x"), of("b", 0.6, "x"), of("c", 0.5, "y")];
        let steps: Vec<_> =
            enforcing().steps(&findings).into_iter().map(|(_, number, sum)| (number, sum.get())).collect();
        assert_eq!(steps, [(1, 0.6), (2, 0.8)]);
    }

    #[test]
    fn the_kind_is_what_is_done_and_not_what_is_read() {
        let of = |topic: &str, confidence| {
            let one = finding(topic, Class::InputValidation, Severity::High, confidence, "x");
            let rule = RuleInfo { tags: vec![format!("attack-{topic}")], ..RuleInfo::clone(&one.rule) };
            Finding { rule: Arc::new(rule), ..one }
        };
        assert_eq!(Policy::kind(Class::InputValidation, &[of("lfi", 0.92), of("rce", 0.72)]), "rce");
        assert_eq!(Policy::kind(Class::InputValidation, &[of("lfi", 0.92), of("xss", 0.5)]), "lfi");
        assert_eq!(Policy::kind(Class::Jwt, &[]), "jwt");
    }

    #[test]
    fn exemptions_come_first() {
        let exempt = vec!["198.51.100.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let policy = Policy { exempt, ..enforcing() };
        for source in [
            "127.0.0.1",
            "::1",
            "0.0.0.0",
            "::",
            "198.51.100.7",
            "::ffff:198.51.100.7",
            "::ffff:127.0.0.1",
            "2001:db8::1",
        ] {
            assert_eq!(action(&policy, source, true), Action::Exempt, "{source}");
            assert_eq!(action(&policy, source, false), Action::Exempt, "{source}");
        }
        assert_eq!(action(&policy, "198.51.101.7", true), Action::Block(Duration::from_secs(60)));
    }

    #[test]
    fn unverified_sources_and_observation() {
        assert_eq!(action(&enforcing(), "203.0.113.9", false), Action::Unverified);
        assert_eq!(action(&Policy::default(), "203.0.113.9", false), Action::Unverified);
        assert_eq!(action(&Policy::default(), "203.0.113.9", true), Action::Observe(Duration::from_secs(60)));
    }
}
