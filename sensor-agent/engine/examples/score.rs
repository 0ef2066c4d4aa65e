//! Reads labelled requests, one JSON object a line with `id` and `raw_b64`, from standard input, sends each through an
//! engine as the records of a connection of its own, and prints a verdict line for each: `id`, `blocked`, `score`,
//! `category`, `rules`. For measuring detection against a corpus. With the argument `all`, findings below the
//! threshold of reports are printed too; `blocked` may differ a little then.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "a program beside the engine: it measures time and prints"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::BufRead as _;
use std::sync::Arc;

use base64::Engine as _;
use common::Wire;
use sensor_engine::engine::Report;
use sensor_engine::finding::{Confidence, Finding};
use sensor_engine::policy::{Action, Mode, Policy};

fn main() {
    let mut policy = Policy { mode: Mode::Enforce, ..Policy::default() };
    if std::env::args().nth(1).is_some_and(|argument| argument == "all") {
        policy.report_from = Confidence::ZERO;
    }
    let mut wire = Wire::new(common::content(), Arc::new(policy));
    let (mut bytes, mut spent) = (0, std::time::Duration::ZERO);
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
        let (Some(id), Some(raw)) = (value["id"].as_str(), value["raw_b64"].as_str()) else { continue };
        let Ok(raw) = base64::engine::general_purpose::STANDARD.decode(raw) else { continue };
        let records = wire.records(&raw);
        let started = std::time::Instant::now();
        let reports = wire.run(&records);
        spent += started.elapsed();
        bytes += raw.len();
        println!("{}", verdict(id, &reports));
    }
    eprintln!("{bytes} bytes, {:.1} ns a byte", spent.as_nanos() as f64 / bytes.max(1) as f64);
    eprintln!("{:?}", wire.engine.stats());
}

fn verdict(id: &str, reports: &[Report]) -> serde_json::Value {
    let surest =
        reports.iter().max_by(|a, b| a.verdict.confidence.get().total_cmp(&b.verdict.confidence.get()));
    let rules: Vec<String> = reports.iter().flat_map(|report| &report.findings).map(shown).collect();
    serde_json::json!({
        "id": id,
        "blocked": reports.iter().any(|report| matches!(report.verdict.action, Action::Block(_))),
        "score": surest.map_or(0.0, |report| report.verdict.confidence.get()),
        "category": surest.map(|report| Policy::kind(report.verdict.class, reports.iter().flat_map(|one| &one.findings))),
        "rules": rules,
    })
}

fn shown(finding: &Finding) -> String {
    format!("{}@{}:{:.2}", finding.rule.id, finding.field, finding.confidence.get())
}
