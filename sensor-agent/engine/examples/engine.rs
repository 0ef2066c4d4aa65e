//! What the engine does in a second on one core: transactions, bytes and allocations of realistic traffic, with rules and without; whether
//! twice the input takes twice the time, for everything that an attacker can make long; what the worst inputs of fuzzing and open connections cost.
//!
//! `cargo xtask bench engine` runs it. Absolute figures belong to the machine, so that each is told with the median of several rounds
//! and their spread.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "a program beside the engine: it measures time and prints"
)]

#[path = "../tests/common/mod.rs"]
mod common;

#[path = "engine/actors.rs"]
mod actors;
#[path = "engine/allocations.rs"]
mod allocations;
#[path = "engine/bodies.rs"]
mod bodies;
#[path = "engine/complexity.rs"]
mod complexity;
#[path = "engine/flows.rs"]
mod flows;
#[path = "engine/inputs.rs"]
mod inputs;
#[path = "engine/mixed.rs"]
mod mixed;
#[path = "engine/processor.rs"]
mod processor;
#[path = "engine/rules.rs"]
mod rules;
#[path = "engine/traffic.rs"]
mod traffic;
#[path = "engine/training.rs"]
mod training;

use std::sync::Arc;

use sensor_engine::engine::Settings;
use sensor_engine::facts::Key;
use sensor_engine::rule::RuleSet;
use traffic::{LISTS, MIXED, Measured, PAGES, SMALL};

/// Rounds of each measurement.
const ROUNDS: usize = 7;

fn main() {
    let all = std::env::args().nth(1).is_none_or(|what| what == "all");
    let wanted = |what: &str| all || std::env::args().nth(1).is_some_and(|one| one == what);
    if wanted("throughput") {
        let content = common::content();
        let plain = || Settings { response_exposure: false, ..Settings::default() };
        let reading = || Settings { reads_only: true, ..plain() };
        throughput("mixed traffic, read and not searched", MIXED, &Arc::default(), &reading);
        throughput("small requests and answers, no rules", SMALL, &Arc::default(), &plain);
        throughput("mixed traffic, no rules", MIXED, &Arc::default(), &plain);
        throughput("small requests and answers, all rules", SMALL, &content, &plain);
        throughput("mixed traffic, all rules", MIXED, &content, &plain);
        let search = || Settings { response_exposure: true, ..Settings::default() };
        throughput("mixed traffic, all rules, responses searched", MIXED, &content, &search);
    }
    if !all && wanted("training") {
        training::run();
    }
    if !all && wanted("mixed") {
        let settings = || Settings { response_exposure: false, ..Settings::default() };
        throughput("mixed traffic, all rules", MIXED, &common::content(), &settings);
    }
    if wanted("throughput") || wanted("facts") {
        let (content, facts) = (common::content(), || Settings {
            facts: Some(Key::default()),
            response_exposure: false,
            ..Settings::default()
        });
        throughput("small requests and answers, no rules, facts given out", SMALL, &Arc::default(), &facts);
        throughput("mixed traffic, all rules, facts given out", MIXED, &content, &facts);
    }
    if wanted("actors") {
        actors::report(&common::content());
    }
    if wanted("exposure") {
        exposure(&common::content());
    }
    if wanted("rules") {
        rules::report();
    }
    if wanted("model") {
        model(&common::content());
    }
    if wanted("bodies") {
        bodies::report(&common::content());
    }
    if wanted("complexity") {
        complexity::report(&common::content());
    }
    if wanted("inputs") {
        inputs::report();
    }
    if wanted("flows") {
        flows::report();
    }
}

/// What the search for exposures in responses costs.
fn exposure(rules: &Arc<RuleSet>) {
    let rows = [
        ("mixed traffic", MIXED, false),
        ("mixed traffic, facts given out as in the service", MIXED, true),
        ("pages of 10 KB", PAGES, false),
        ("lists in JSON of 10 KB", LISTS, false),
    ];
    for (title, mix, facts) in rows {
        let facts = facts.then(Key::default);
        let settings =
            |wanted| Settings { response_exposure: wanted, facts: facts.clone(), ..Settings::default() };
        in_turn(&format!("responses searched, {title}"), mix, rules, &settings);
    }
}

/// What asking the model costs.
fn model(rules: &Arc<RuleSet>) {
    let settings = |wanted| Settings { model: wanted, ..Settings::default() };
    for (title, mix) in [("small requests and answers", SMALL), ("mixed traffic", MIXED)] {
        in_turn(&format!("the model asked, {title}"), mix, rules, &settings);
    }
}

/// Rounds with and without something, in turn.
fn in_turn(
    title: &str,
    mix: &[traffic::Exchange],
    rules: &Arc<RuleSet>,
    settings: &dyn Fn(bool) -> Settings,
) {
    let mut costs = [Vec::new(), Vec::new()];
    for round in 0..2 * ROUNDS {
        let wanted = round % 2 == 1;
        let measured = traffic::run(mix, rules, 1000, settings(wanted));
        costs[usize::from(wanted)].push(1e6 / measured.transactions_per_sec());
    }
    let [without, with] = costs.map(|mut costs| {
        costs.sort_by(f64::total_cmp);
        costs[ROUNDS / 2]
    });
    println!(
        "\n{title}: {without:.2} us a transaction without, {with:.2} us with, {:.1} % less throughput",
        100.0 * (1.0 - without / with)
    );
}

fn throughput(title: &str, mix: &[traffic::Exchange], rules: &Arc<RuleSet>, settings: &dyn Fn() -> Settings) {
    println!("\n{title}");
    for connections in [1, 1000, 50_000] {
        let rounds: Vec<Measured> =
            (0..ROUNDS).map(|_| traffic::run(mix, rules, connections, settings())).collect();
        let mut rates: Vec<f64> = rounds.iter().map(Measured::transactions_per_sec).collect();
        rates.sort_by(f64::total_cmp);
        let median = rates[rates.len() / 2];
        let one = &rounds[0];
        println!(
            "  {connections:>6} connections: {:>8.0} transactions/s ({:.0} to {:.0}), {:>5.0} MB/s, {:.2} allocations a transaction",
            median,
            rates[0],
            rates[rates.len() - 1],
            median * one.bytes as f64 / one.transactions as f64 / 1e6,
            one.allocations as f64 / one.transactions as f64,
        );
    }
}
