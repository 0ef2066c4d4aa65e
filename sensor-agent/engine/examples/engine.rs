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
        throughput();
    } else if wanted("mixed") {
        in_turns("mixed traffic", MIXED, &[plain(false), plain(true)]);
    } else if wanted("facts") {
        in_turns("small requests and answers", SMALL, &[plain(false), facts(false)]);
        in_turns("mixed traffic", MIXED, &[plain(true), facts(true)]);
    }
    if !all && wanted("training") {
        training::run();
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
        cost(&format!("responses searched, {title}"), mix, rules, &settings);
    }
}

/// What asking the model costs.
fn model(rules: &Arc<RuleSet>) {
    let settings = |wanted| Settings { model: wanted, ..Settings::default() };
    for (title, mix) in [("small requests and answers", SMALL), ("mixed traffic", MIXED)] {
        cost(&format!("the model asked, {title}"), mix, rules, &settings);
    }
}

/// What something costs that can be left out, over a thousand connections.
fn cost(title: &str, mix: &[traffic::Exchange], rules: &Arc<RuleSet>, settings: &dyn Fn(bool) -> Settings) {
    let variants = [false, true].map(|wanted| Variant {
        title: if wanted { "with" } else { "without" },
        rules: Arc::clone(rules),
        settings: settings(wanted),
    });
    let costs: Vec<f64> = rounds(mix, &variants, 1000).iter().map(|rounds| 1e6 / median(rounds)).collect();
    if let [without, with] = costs[..] {
        println!(
            "\n{title}: {without:.2} us a transaction without, {with:.2} us with, {:.1} % less throughput",
            100.0 * (1.0 - without / with)
        );
    }
}

/// One of several ways to run the engine that are measured in turns.
struct Variant {
    title: &'static str,
    rules: Arc<RuleSet>,
    settings: Settings,
}

/// Requests searched with all rules or none, responses not.
fn plain(searched: bool) -> Variant {
    let (title, rules) =
        if searched { ("all rules", common::content()) } else { ("no rules", Arc::default()) };
    Variant { title, rules, settings: Settings { response_exposure: false, ..Settings::default() } }
}

/// The same with facts given out, as in the service.
fn facts(searched: bool) -> Variant {
    let plain = plain(searched);
    let title = if searched { "all rules, facts given out" } else { "no rules, facts given out" };
    Variant { title, settings: Settings { facts: Some(Key::default()), ..plain.settings }, ..plain }
}

fn throughput() {
    let reading = Settings { reads_only: true, ..plain(false).settings };
    let searching = Settings { response_exposure: true, ..plain(true).settings };
    let variants = [
        Variant { title: "read and not searched", settings: reading, ..plain(false) },
        plain(false),
        plain(true),
        Variant { title: "all rules, responses searched", settings: searching, ..plain(true) },
        facts(true),
    ];
    in_turns("mixed traffic", MIXED, &variants);
    in_turns("small requests and answers", SMALL, &[plain(false), plain(true), facts(false)]);
}

/// Tells what each variant does with one, a thousand and fifty thousand connections.
fn in_turns(title: &str, mix: &[traffic::Exchange], variants: &[Variant]) {
    for connections in [1, 1000, 50_000] {
        println!("\n{title}, {connections} connections");
        for (variant, rounds) in variants.iter().zip(rounds(mix, variants, connections)) {
            tell(variant.title, &rounds);
        }
    }
}

/// Rounds of each variant, in turns, so that a slow minute of the machine is all variants' alike.
fn rounds(mix: &[traffic::Exchange], variants: &[Variant], connections: u32) -> Vec<Vec<Measured>> {
    let mut rounds: Vec<Vec<Measured>> = variants.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (variant, rounds) in variants.iter().zip(&mut rounds) {
            rounds.push(traffic::run(mix, &variant.rules, connections, variant.settings.clone()));
        }
    }
    rounds
}

/// Transactions a second of each round, from the slowest to the fastest.
fn rates(rounds: &[Measured]) -> Vec<f64> {
    let mut rates: Vec<f64> = rounds.iter().map(Measured::transactions_per_sec).collect();
    rates.sort_by(f64::total_cmp);
    rates
}

fn median(rounds: &[Measured]) -> f64 {
    rates(rounds)[rounds.len() / 2]
}

fn tell(title: &str, rounds: &[Measured]) {
    let (rates, median, one) = (rates(rounds), median(rounds), &rounds[0]);
    println!(
        "  {title:<30} {median:>8.0} transactions/s ({:.0} to {:.0}), {:>5.0} MB/s, {:.2} allocations a transaction",
        rates[0],
        rates[rates.len() - 1],
        median * one.bytes as f64 / one.transactions as f64 / 1e6,
        one.allocations as f64 / one.transactions as f64,
    );
}
