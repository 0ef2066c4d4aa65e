//! What the shipped rules take: time to compile, examples included, and memory, counted by the allocator: of the compiled set, which all
//! threads share, and of what each thread adds to it once it has seen traffic.

use std::sync::Arc;
use std::time::Instant;

use sensor_engine::engine::Settings;
use sensor_engine::rule::RuleSet;

use crate::traffic::{self, MIXED};
use crate::{ROUNDS, allocations, common};

/// Compiles the rules some times, and runs traffic through them.
pub(crate) fn report() {
    // What is made once for all sets, such as tables of the coded detectors, is there from now on.
    drop(common::content());
    let mut millis = Vec::with_capacity(ROUNDS);
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        let (before, begun) = (allocations::bytes(), Instant::now());
        let set = common::content();
        millis.push(begun.elapsed().as_secs_f64() * 1e3);
        bytes = allocations::bytes().saturating_sub(before);
        drop(set);
    }
    millis.sort_by(f64::total_cmp);
    let set = common::content();
    println!(
        "\nrules: {} compiled and tried on their examples in {:.0} ms ({:.0} to {:.0}); the set takes {:.2} MiB",
        set.rules().len() + set.behaviours().len(),
        millis[ROUNDS / 2],
        millis[0],
        millis[ROUNDS - 1],
        mib(bytes),
    );
    println!("  a thread that has seen mixed traffic adds {:.2} MiB", mib(of_thread(&set)));
}

/// What an engine with these rules holds beyond one without, behind the same traffic.
fn of_thread(rules: &Arc<RuleSet>) -> u64 {
    let held = |rules: &Arc<RuleSet>| {
        let before = allocations::bytes();
        let engine = traffic::warmed(MIXED, rules, Settings::default());
        let held = allocations::bytes().saturating_sub(before);
        drop(engine);
        held
    };
    held(rules).saturating_sub(held(&Arc::default()))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
