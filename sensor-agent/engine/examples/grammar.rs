//! What is found of the attacks that the test's grammars make, and what is flagged of the ordinary values, by family and carrier.
//! `grammar [FILTER]` prints the odd ones out of families and carriers whose name holds the filter.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "a program beside the engine: it prints"
)]

#[path = "../tests/common/mod.rs"]
mod common;

#[path = "../tests/grammar/carrier.rs"]
mod carrier;
#[path = "../tests/grammar/sample.rs"]
mod sample;
#[path = "../tests/grammar/text.rs"]
mod text;

/// Values of each line and carrier.
const ROUNDS: usize = 3;

fn main() {
    let filter = std::env::args().nth(1);
    let mut judge = sample::Judge::new();
    for (title, grammar, attack) in
        [("attacks", sample::attacks(), true), ("benign", sample::benign(), false)]
    {
        let tally = sample::run(&mut judge, &grammar, ROUNDS, attack, |_, _| true);
        if let Some(filter) = &filter {
            tally
                .odd
                .iter()
                .filter(|line| line.contains(filter.as_str()))
                .for_each(|line| println!("{line}"));
            continue;
        }
        println!("{title}: {:.2} % of {} flagged", 100.0 * tally.all.share(), tally.all.values);
        for (name, count) in tally.families.iter().chain(&tally.carriers) {
            println!("  {name:<24} {:>6} {:>7.2} %", count.values, 100.0 * count.share());
        }
    }
}
