//! `sensor-agent rules bench`: what each rule costs on ordinary traffic. A rule costs something where one of its literals stands;
//! how often that is, how long a look takes then, and how often it was for nothing, is measured rule by rule.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sensor_engine::finding::RuleInfo;
use sensor_engine::rule::{RuleFigures, RuleSet, RuleTimer};

use crate::benign;
use crate::cli::Common;
use crate::cli::output;
use crate::config::Config;
use crate::detection;
use crate::judge::Judge;
use crate::kernel::clock::boot_nanos;

/// Measure what each rule costs on ordinary requests
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Bench {
    /// A directory [default: those of the configuration]
    dir: Option<PathBuf>,
    /// How long to measure
    #[arg(long, value_name = "SECS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    secs: u64,
}

/// What was measured.
#[derive(Debug)]
struct Measured {
    requests: u64,
    /// Time to read and compile all rules, and to run their examples.
    compile_ns: u64,
    /// Mean time of a request with all rules, and with none.
    with_ns: f64,
    without_ns: f64,
    /// What asking the clock costs in each timed look.
    clock_ns: f64,
    rules: Vec<(Arc<RuleInfo>, RuleFigures)>,
}

impl Bench {
    /// Runs the command.
    pub(super) fn run(self, common: &Common) -> anyhow::Result<ExitCode> {
        let dirs = super::dirs(self.dir, common)?;
        let config = common.load()?;
        let begun = boot_nanos();
        let loaded = detection::load(&dirs)?;
        let compile_ns = boot_nanos().saturating_sub(begun);
        let rules = loaded.rules.rules().len();
        let mut measured = measure(&config, Arc::new(loaded.rules), Duration::from_secs(self.secs))?;
        measured.compile_ns = compile_ns;
        if common.json {
            output::json(&measured.json())?;
        } else {
            measured.show(rules)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Rounds that are made whatever time they take.
const LEAST_ROUNDS: u32 = 12;

fn measure(config: &Config, rules: Arc<RuleSet>, time: Duration) -> anyhow::Result<Measured> {
    let policy = config.policy();
    let mut settings = config.engine_settings();
    settings.rule_timer = None;
    let mut plain = Judge::new(settings.clone(), Arc::clone(&rules), &policy);
    let mut none = Judge::new(settings.clone(), Arc::new(RuleSet::default()), &policy);
    settings.rule_timer = Some(RuleTimer { clock: boot_nanos, every: 1 });
    let mut timed = Judge::new(settings, rules, &policy);
    // The first rounds make the automata.
    let mut round = 0;
    for _ in 0..3 {
        round += 1;
        for judge in [&mut plain, &mut none, &mut timed] {
            run(judge, round)?;
        }
    }
    let before = timed.rule_figures();
    let (mut with, mut without, mut requests) = (0, 0, 0);
    let end = boot_nanos() + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2);
    // Some rounds at least: a machine may stand still for longer than was asked for, and values that are known need no look.
    for number in 1.. {
        round += 1;
        let (took, count) = run(&mut plain, round)?;
        (with, requests) = (with + took, requests + count);
        without += run(&mut none, round)?.0;
        run(&mut timed, round)?;
        if number >= LEAST_ROUNDS && boot_nanos() >= end {
            break;
        }
    }
    let per_request = |time: u64| time as f64 / requests.max(1) as f64;
    Ok(Measured {
        requests,
        compile_ns: 0,
        with_ns: per_request(with),
        without_ns: per_request(without),
        clock_ns: clock_ns(),
        rules: since(&before, timed.rule_figures()),
    })
}

/// One round; its nanoseconds and its requests.
fn run(judge: &mut Judge, round: u32) -> anyhow::Result<(u64, u64)> {
    let requests = benign::requests(round);
    let begun = boot_nanos();
    for request in &requests {
        judge.judge(request, b"")?;
    }
    Ok((boot_nanos().saturating_sub(begun), requests.len() as u64))
}

/// The least that two looks at the clock take.
fn clock_ns() -> f64 {
    let pair = |_| {
        let first = boot_nanos();
        boot_nanos().saturating_sub(first)
    };
    let mut pairs: Vec<u64> = (0..1001).map(pair).collect();
    pairs.sort_unstable();
    pairs.get(500).copied().unwrap_or(0) as f64
}

/// The figures less those that were there before.
fn since(
    before: &[(Arc<RuleInfo>, RuleFigures)],
    mut now: Vec<(Arc<RuleInfo>, RuleFigures)>,
) -> Vec<(Arc<RuleInfo>, RuleFigures)> {
    for (info, figures) in &mut now {
        let Some((_, old)) = before.iter().find(|(known, _)| known.id == info.id) else { continue };
        figures.candidates -= old.candidates.min(figures.candidates);
        figures.hits -= old.hits.min(figures.hits);
        figures.timed -= old.timed.min(figures.timed);
        figures.time_ns -= old.time_ns.min(figures.time_ns);
    }
    now.retain(|(_, figures)| figures.candidates > 0);
    now
}

impl Measured {
    /// Nanoseconds a request that looks of this rule take, without the clock's own.
    fn cost(&self, figures: &RuleFigures) -> f64 {
        let looks = figures.candidates as f64 / self.requests.max(1) as f64;
        looks * (figures.mean_ns().unwrap_or(0.0) - self.clock_ns).max(0.0)
    }

    /// The dearest first.
    fn sorted(&self) -> Vec<&(Arc<RuleInfo>, RuleFigures)> {
        let mut sorted: Vec<_> = self.rules.iter().collect();
        sorted.sort_by(|a, b| self.cost(&b.1).total_cmp(&self.cost(&a.1)).then_with(|| a.0.id.cmp(&b.0.id)));
        sorted
    }

    fn show(&self, rules: usize) -> anyhow::Result<()> {
        let row = |(info, figures): &&(Arc<RuleInfo>, RuleFigures)| {
            vec![
                info.id.clone(),
                format!("{:.1}", self.cost(figures)),
                format!("{:.4}", figures.candidates as f64 / self.requests.max(1) as f64),
                format!("{:.0}", (figures.mean_ns().unwrap_or(0.0) - self.clock_ns).max(0.0)),
                figures.hits.to_string(),
                (figures.candidates - figures.hits).to_string(),
            ]
        };
        let rows: Vec<Vec<String>> = self.sorted().iter().map(row).collect();
        output::table(
            &["rule", "ns a request", "looks a request", "ns a look", "hits", "looks for nothing"],
            &rows,
        )?;
        output::say(&format!(
            "{} requests: {:.2} µs each with {rules} rules, {:.2} µs with none; {} rules were never asked; read, compiled and tried on \
             their examples in {:.0} ms",
            self.requests,
            self.with_ns / 1e3,
            self.without_ns / 1e3,
            rules - self.rules.len(),
            self.compile_ns as f64 / 1e6,
        ))
    }

    fn json(&self) -> serde_json::Value {
        let row = |(info, figures): &&(Arc<RuleInfo>, RuleFigures)| {
            serde_json::json!({
                "rule": info.id, "ns_per_request": self.cost(figures), "candidates": figures.candidates,
                "hits": figures.hits, "for_nothing": figures.candidates - figures.hits,
            })
        };
        serde_json::json!({
            "requests": self.requests, "compile_ms": self.compile_ns as f64 / 1e6, "ns_per_request": self.with_ns, "ns_per_request_without_rules": self.without_ns,
            "rules": self.sorted().iter().map(row).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_engine::rule::RuleSource;

    #[test]
    fn a_rule_that_looks_often_costs_more_than_one_that_never_does() {
        let rule = |id: &str, pattern: &str| {
            format!(
                "[[rule]]\nid = '{id}'\ntitle = 't'\nclass = 'INPUT_VALIDATION'\nseverity = 'low'\nconfidence = 0.1\n\
                 fields = ['header.*']\npattern = '{pattern}'\n[rule.examples]\nmatch = ['Mozilla/5.0 zzz']\nno_match = ['x']\n"
            )
        };
        let text = rule("often", r"Mozilla/\d.*zzz") + &rule("never", r"\bzzz\b");
        let set = RuleSet::compile(&[RuleSource { name: "t", text: &text }]).unwrap();
        let measured = measure(&Config::default(), Arc::new(set), Duration::ZERO).unwrap();
        assert!(measured.requests > 0);
        let [(info, figures)] = &measured.rules[..] else { panic!("{measured:?}") };
        assert_eq!((info.id.as_str(), figures.hits), ("often", 0));
        assert!(figures.candidates > 0 && figures.timed == figures.candidates && figures.time_ns > 0);
    }
}
