//! What the kernel programs cost: the kernel counts their runs for a while, and no longer.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::kernel::gauges::count_run_time;

/// Longest time after which the agent has read figures that begin with the count.
const SETTLED: Duration = Duration::from_millis(600);

/// What one program did in the time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Cost {
    program: String,
    runs: u64,
    runs_per_sec: f64,
    ns_per_run: f64,
    /// Share of one CPU's time.
    cpu_percent: f64,
}

/// Measures for `time` with the help of a running agent, whose health `ask` gets; returns its last answer too.
///
/// # Errors
/// If the agent does not answer, or the kernel does not count for this user.
pub(super) fn measure(
    time: Duration,
    ask: impl Fn() -> anyhow::Result<Value>,
) -> anyhow::Result<(Value, Vec<Cost>)> {
    ask()?;
    // The kernel stops counting when this is dropped, or this process ends in whatever way.
    let _counting = count_run_time()?;
    std::thread::sleep(SETTLED);
    let before = ask()?;
    std::thread::sleep(time);
    let after = ask()?;
    let costs = costs(&before["kernel"], &after["kernel"]);
    Ok((after, costs))
}

fn costs(before: &Value, after: &Value) -> Vec<Cost> {
    let secs = grown(before, after, "at_ns") as f64 / 1e9;
    let earlier = |name: &Value| programs(before).find(|program| program["name"] == *name);
    let cost = |program: &Value| {
        let earlier = earlier(&program["name"])?;
        let (runs, ns) = (grown(earlier, program, "runs"), grown(earlier, program, "run_ns"));
        Some(Cost {
            program: program["name"].as_str()?.to_owned(),
            runs,
            runs_per_sec: ratio(runs as f64, secs),
            ns_per_run: ratio(ns as f64, runs as f64),
            cpu_percent: ratio(ns as f64 / 1e7, secs),
        })
    };
    programs(after).filter_map(cost).collect()
}

fn programs(load: &Value) -> impl Iterator<Item = &Value> {
    load["programs"].as_array().into_iter().flatten()
}

fn grown(before: &Value, after: &Value, key: &str) -> u64 {
    after[key].as_u64().unwrap_or(0).saturating_sub(before[key].as_u64().unwrap_or(0))
}

/// To a hundredth; 0 of nothing.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole * 100.0).round() / 100.0 } else { 0.0 }
}

/// Column heads of [`row`].
pub(super) const HEADS: [&str; 4] = ["program", "runs/s", "ns/run", "% of a CPU"];

/// A line of the table.
pub(super) fn row(cost: &Cost) -> Vec<String> {
    vec![
        cost.program.clone(),
        format!("{:.0}", cost.runs_per_sec),
        format!("{:.0}", cost.ns_per_run),
        format!("{:.2}", cost.cpu_percent),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(at_ns: u64, runs: u64, run_ns: u64) -> Value {
        serde_json::json!({ "at_ns": at_ns, "programs": [{ "name": "tap", "runs": runs, "run_ns": run_ns }] })
    }

    #[test]
    fn costs_are_what_grew_between_two_looks() {
        let found = costs(&load(0, 1_000, 500_000), &load(2_000_000_000, 3_000, 20_500_000));
        let (program, runs) = ("tap".to_owned(), 2_000);
        let expected = Cost { program, runs, runs_per_sec: 1000.0, ns_per_run: 10_000.0, cpu_percent: 1.0 };
        assert_eq!(found, [expected]);
        assert_eq!(row(&found[0]), ["tap", "1000", "10000", "1.00"]);
    }

    #[test]
    fn a_program_that_did_not_run_costs_nothing() {
        let found = costs(&load(5, 0, 0), &load(5, 0, 0));
        assert_eq!((found[0].ns_per_run, found[0].cpu_percent), (0.0, 0.0));
        assert_eq!(costs(&Value::Null, &load(1, 1, 1)), [], "not there before");
    }
}
