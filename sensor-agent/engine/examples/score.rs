//! Reads labelled requests, one JSON object a line with `id` and `raw_b64`, from standard input and prints a verdict
//! line for each: `id`, `blocked`, `score`, `category`, `rules`. For measuring detection against a corpus.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "a program beside the engine: it measures time and prints"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::BufRead as _;

use base64::Engine as _;
use sensor_engine::detect::Detector;
use sensor_engine::policy::{Action, Mode, Policy};

fn main() {
    let policy = Policy { mode: Mode::Enforce, ..Policy::default() };
    let mut detector = Detector::new(common::content());
    let (mut bytes, mut spent) = (0, std::time::Duration::ZERO);
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
        let (Some(id), Some(raw)) = (value["id"].as_str(), value["raw_b64"].as_str()) else { continue };
        let Ok(raw) = base64::engine::general_purpose::STANDARD.decode(raw) else { continue };
        let started = std::time::Instant::now();
        let findings = common::inspect(&mut detector, &raw);
        spent += started.elapsed();
        bytes += raw.len();
        let verdict = policy.judge([203, 0, 113, 9].into(), true, &findings);
        let rules: Vec<_> =
            findings.iter().map(|f| format!("{}@{}:{:.2}", f.rule.id, f.field, f.confidence.get())).collect();
        let out = serde_json::json!({
            "id": id,
            "blocked": verdict.as_ref().is_some_and(|verdict| matches!(verdict.action, Action::Block(_))),
            "score": verdict.as_ref().map_or(0.0, |verdict| verdict.confidence.get()),
            "category": verdict.as_ref().map(|verdict| verdict.class.name()),
            "rules": rules,
        });
        println!("{out}");
    }
    eprintln!(
        "{bytes} bytes, {:.1} ns a byte, {:?}",
        spent.as_nanos() as f64 / bytes.max(1) as f64,
        detector.stats()
    );
}
