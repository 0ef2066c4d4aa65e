//! Attacks of every class and their benign twins, made by grammars and put into every place of a request: what is found must
//! not depend on where a payload stands, nor on how it is spelt, and what only looks like an attack must pass.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod carrier;
mod sample;
mod text;

use sample::{Judge, Tally, attacks, benign};

/// Values of each line and carrier.
const ROUNDS: usize = 1;

fn tally(grammar: &text::Grammar, wanted: bool) -> Tally {
    sample::run(&mut Judge::new(), grammar, ROUNDS, wanted, |_, _| true)
}

#[test]
fn attacks_of_every_family_are_found_wherever_they_stand() {
    let tally = tally(&attacks(), true);
    for (what, count) in tally.families.iter().chain(&tally.carriers) {
        assert!(count.share() >= 0.90, "{what}: {count:?}\n{}", tally.odd_of(what));
    }
    assert!(tally.all.share() >= 0.95, "{:?}", tally.all);
}

#[test]
fn ordinary_values_are_not_flagged() {
    let tally = tally(&benign(), false);
    assert!(tally.all.share() <= 0.005, "{:?}\n{}", tally.all, tally.odd.join("\n"));
}

/// An attack behind ordinary words is one still.
#[test]
fn words_in_front_hide_little() {
    let (grammar, mut judge, mut count) = (attacks(), Judge::new(), sample::Count::default());
    let mut chance = text::Chance(5);
    for family in &grammar.families {
        for number in 0..family.len() {
            let fronts =
                ["hello ", "my order ", "12345 ", "see below ", "this is what you should have read "];
            let value =
                fronts[chance.below(fronts.len())].to_owned() + &grammar.value(family, number, &mut chance);
            count.add(judge.blocks(&carrier::CARRIERS[0].request(&value)).is_some());
        }
    }
    assert!(count.share() >= 0.70, "{count:?}");
}
