//! The values that the model is made of: so many of each family, attacks as they are or with ordinary words around them, ordinary
//! values alone or one beside another.

use sensor_engine::detect::model::features::Features;

use super::text::{Chance, Grammar};

/// The grammars of attacks, which the engine's tests use too.
const ATTACKS: &[&str] = &[
    include_str!("../../../sensor-agent/engine/tests/grammar/attacks/sql.txt"),
    include_str!("../../../sensor-agent/engine/tests/grammar/attacks/script.txt"),
    include_str!("../../../sensor-agent/engine/tests/grammar/attacks/shell.txt"),
    include_str!("../../../sensor-agent/engine/tests/grammar/attacks/code.txt"),
    include_str!("../../../sensor-agent/engine/tests/grammar/attacks/files.txt"),
    include_str!("../../../sensor-agent/engine/tests/grammar/attacks/tricks.txt"),
];
/// The grammars of ordinary values: the twins of attacks, and many more.
const ORDINARY: &[&str] = &[
    include_str!("../../../sensor-agent/engine/tests/grammar/benign/text.txt"),
    include_str!("../../../sensor-agent/engine/tests/grammar/benign/code.txt"),
    include_str!("../../../sensor-agent/engine/tests/grammar/benign/agent.txt"),
    include_str!("benign/prose.txt"),
    include_str!("benign/data.txt"),
    include_str!("benign/code.txt"),
];
/// Kinds of attacks that differ from ordinary values by where they point, and not by how they are written: an address is an address.
const POINTING: &[&str] = &["access", "redirect", "rfi", "ssrf"];
/// What stands before an attack.
const FRONT: &[&str] =
    &["", "12", "test", "my order ", "hello ", "https://shop.example/?q=", "it's fine ", "a=1&b="];
/// What stands behind one.
const BEHIND: &[&str] = &["", " please", "&lang=en", ".html", " thanks", "\n"];

/// Which data, and how many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Where the numbers by chance begin.
    pub(super) seed: u64,
    /// Values of each family.
    pub(super) values: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { seed: 20_240_601, values: 240 }
    }
}

/// A value, as the model sees it.
pub(super) struct Sample {
    /// Number of its family.
    pub(super) family: usize,
    pub(super) attack: bool,
    /// Buckets of its sequences; those whose weights count negated are complemented.
    pub(super) buckets: Vec<i32>,
}

/// All values, and what made them.
pub(super) struct Samples {
    /// Kind and name of each family, attacks first.
    pub(super) families: Vec<Family>,
    pub(super) all: Vec<Sample>,
}

/// What a sample is one of.
pub(super) struct Family {
    /// `sqli`, `xss`, …, `benign`.
    pub(super) kind: String,
    pub(super) attack: bool,
}

impl Samples {
    pub(super) fn generate(plan: &Plan) -> Self {
        let mut made = Self { families: Vec::new(), all: Vec::new() };
        let mut chance = Chance(plan.seed);
        for (texts, attack) in [(ATTACKS, true), (ORDINARY, false)] {
            let grammar = Grammar::parse(&texts.concat());
            for family in grammar.families.iter().filter(|family| !POINTING.contains(&family.kind.as_str())) {
                let number = made.families.len();
                made.families.push(Family { kind: family.kind.clone(), attack });
                for line in 0..plan.values {
                    let value = grammar.value(family, line, &mut chance);
                    let value = if attack {
                        surrounded(&value, &mut chance)
                    } else {
                        beside(value, &grammar, &mut chance)
                    };
                    made.all.push(Sample { family: number, attack, buckets: buckets(&value) });
                }
            }
        }
        made
    }

    /// How many attacks, or ordinary values, there are.
    pub(super) fn count(&self, attack: bool) -> usize {
        self.all.iter().filter(|sample| sample.attack == attack).count()
    }
}

/// All grammars one behind the other, for their checksum.
pub(super) fn inputs() -> String {
    [ATTACKS.concat(), ORDINARY.concat(), FRONT.concat(), BEHIND.concat()].concat()
}

fn pick<'a>(from: &[&'a str], chance: &mut Chance) -> &'a str {
    from.get(chance.below(from.len())).copied().unwrap_or_default()
}

/// An attack, in half of the cases with something around it.
fn surrounded(value: &str, chance: &mut Chance) -> String {
    match chance.below(4) {
        0 => format!("{}{value}", pick(FRONT, chance)),
        1 => format!("{}{value}{}", pick(FRONT, chance), pick(BEHIND, chance)),
        _ => value.to_owned(),
    }
}

/// An ordinary value, in some of the cases with another one beside it, or in quotes or brackets.
fn beside(value: String, grammar: &Grammar, chance: &mut Chance) -> String {
    let other = |chance: &mut Chance| {
        let family = &grammar.families[chance.below(grammar.families.len())];
        grammar.value(family, chance.below(family.len()), chance)
    };
    match chance.below(10) {
        0 => format!("{value} {}", other(chance)),
        1 => format!("{value}, {}", other(chance)),
        2 => format!("{value}\n{}", other(chance)),
        3 => ["\"\"", "()", "[]", "''"]
            .get(chance.below(4))
            .map_or_else(|| value.clone(), |pair| format!("{}{value}{}", &pair[..1], &pair[1..])),
        _ => value,
    }
}

fn buckets(value: &str) -> Vec<i32> {
    let mut found = Vec::new();
    Features::default().each(value.as_bytes(), |sequence| {
        let bucket = i32::try_from(sequence.bucket).unwrap_or_default();
        found.push(if sequence.negated { !bucket } else { bucket });
    });
    found
}
