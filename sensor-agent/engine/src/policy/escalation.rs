//! Blocks begin short and grow: a source that attacks again when it may is kept out for longer. Where many others are behind its address,
//! its connection is ended first, and blocks stay short.

use std::net::IpAddr;
use std::time::Duration;

use super::{Action, Mode, Offence, Policy, Sender, Standing, Verdict, is_led, own_duration};
use crate::finding::Finding;
use crate::time::Timestamp;

/// For how long attacks belong to the connection that was ended.
const ENDED_FOR: Duration = Duration::from_secs(2);

/// A block to be weighed up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'a> {
    /// The verdict on the findings by themselves.
    pub(crate) verdict: &'a Verdict,
    pub(crate) findings: &'a [Finding],
    pub(crate) sender: Sender,
    pub(crate) now: Timestamp,
    /// There is a connection to end instead.
    pub(crate) connected: bool,
}

impl Policy {
    /// What to do in the light of what is known of the source. What a rule says of its own, and what a browser may have been led to, is as
    /// it was; and where all others are enforced, rules that are only watched make nobody's next block longer.
    pub(crate) fn escalate(&self, case: Case<'_>, standing: &Standing) -> (Action, Offence) {
        let Case { verdict, findings, sender, now, connected } = case;
        let blocks = match verdict.action {
            Action::Block(_) => true,
            Action::Observe(_) => self.mode == Mode::Observe,
            _ => false,
        };
        let fixed =
            own_duration(verdict.class, findings).is_some() || is_led(sender, verdict.class, findings);
        if !blocks || fixed {
            return (verdict.action, Offence::default());
        }
        let crowded = self.is_crowded(sender.address, now, standing);
        let ends = |earlier| crowded && connected && earlier == 0;
        let offence = standing.offend(sender.address, now, self.block_memory, |earlier| {
            if ends(earlier) { ENDED_FOR } else { self.lasts(earlier, crowded) }
        });
        let duration = self.lasts(offence.earlier, crowded);
        let action = match verdict.action {
            _ if ends(offence.earlier) => Action::Kill(self.mode),
            Action::Observe(_) => Action::Observe(duration),
            _ => Action::Block(duration),
        };
        (action, offence)
    }

    fn is_crowded(&self, source: IpAddr, now: Timestamp, standing: &Standing) -> bool {
        self.crowd_from > 0 && standing.behind(source, now).sessions >= self.crowd_from
    }

    /// How long a block lasts that comes after so many.
    fn lasts(&self, earlier: u16, crowded: bool) -> Duration {
        let growth = if crowded { 1 } else { self.block_factor.saturating_pow(earlier.into()) };
        self.block_for.saturating_mul(growth).min(self.block_longest.max(self.block_for))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::actor::Behind;
    use crate::finding::{Class, Confidence, Response, RuleInfo, Severity};

    const SOURCE: &str = "203.0.113.9";

    /// The actions on attacks at these seconds.
    fn actions(policy: &Policy, sessions: u8, response: Option<Response>, at: &[u64]) -> Vec<Action> {
        let rule = RuleInfo {
            id: "a".to_owned(),
            number: 1,
            revision: 1,
            title: String::new(),
            tags: Vec::new(),
            response,
        };
        let confidence = Confidence::new(0.9).unwrap();
        let finding = Finding {
            rule: Arc::new(rule),
            class: Class::SqlInjection,
            severity: Severity::High,
            confidence,
            field: "query.a".to_owned(),
            offset: 0,
            length: 0,
            decoders: Vec::new(),
            evidence: String::new(),
        };
        let sender = Sender { address: SOURCE.parse().unwrap(), verified: true, led: false };
        let standing = Standing::default();
        let findings = [finding];
        let verdict = policy.judge(sender, &findings).unwrap();
        let act = |secs: &u64| {
            let now = Timestamp::from_nanos(secs * 1_000_000_000);
            standing.note_behind(sender.address, now, Behind { sessions, programs: 1 });
            let case = Case { verdict: &verdict, findings: &findings, sender, now, connected: true };
            policy.escalate(case, &standing).0
        };
        at.iter().map(act).collect()
    }

    fn enforcing() -> Policy {
        Policy { mode: Mode::Enforce, ..Policy::default() }
    }

    fn block(secs: u64) -> Action {
        Action::Block(Duration::from_secs(secs))
    }

    #[test]
    fn blocks_begin_short_and_grow_to_a_limit() {
        let at = [0, 30, 61, 400, 2_000, 10_000, 30_000];
        let expected = [60, 60, 300, 1_500, 7_500, 14_400, 14_400].map(block);
        assert_eq!(actions(&enforcing(), 0, None, &at), expected);
        let observed = expected.map(|action| match action {
            Action::Block(duration) => Action::Observe(duration),
            other => other,
        });
        assert_eq!(actions(&Policy::default(), 0, None, &at), observed, "observing shows the same");
        let long = Policy { block_for: Duration::from_secs(86_400), ..enforcing() };
        assert_eq!(actions(&long, 0, None, &[0, 90_000]), [block(86_400), block(86_400)]);
    }

    #[test]
    fn what_a_rule_says_of_its_own_stays() {
        let own = Some(Response::BlockFor(Duration::from_secs(5)));
        assert_eq!(actions(&enforcing(), 50, own, &[0, 100]), [block(5), block(5)]);
    }

    /// Case A6.
    #[test]
    fn a_crowd_loses_a_connection_first_and_minutes_then() {
        let at = [0, 1, 10, 100, 1_000];
        let expected =
            [Action::Kill(Mode::Enforce), Action::Kill(Mode::Enforce), block(60), block(60), block(60)];
        assert_eq!(actions(&enforcing(), 8, None, &at), expected);
        assert_eq!(actions(&enforcing(), 7, None, &[0]), [block(60)], "a few are no crowd");
        assert_eq!(actions(&Policy { crowd_from: 0, ..enforcing() }, 63, None, &[0]), [block(60)]);
        assert_eq!(actions(&Policy::default(), 8, None, &[0]), [Action::Kill(Mode::Observe)]);
    }

    #[test]
    fn a_rule_that_is_only_watched_makes_no_block_longer() {
        let watched = actions(&enforcing(), 8, Some(Response::Observe), &[0, 100, 1_000]);
        assert_eq!(watched, [Action::Observe(Duration::from_secs(60)); 3]);
    }
}
