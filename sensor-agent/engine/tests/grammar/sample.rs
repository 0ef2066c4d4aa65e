//! Values of a grammar through the engine, and what it made of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use sensor_engine::policy::{Action, Mode, Policy};

use crate::carrier::{CARRIERS, Carrier, DISGUISES};
use crate::common::{Wire, content};
use crate::text::{Chance, Family, Grammar};

/// All attacks.
pub(crate) fn attacks() -> Grammar {
    Grammar::parse(concat!(
        include_str!("attacks/sql.txt"),
        include_str!("attacks/script.txt"),
        include_str!("attacks/shell.txt"),
        include_str!("attacks/code.txt"),
        include_str!("attacks/files.txt"),
        include_str!("attacks/tricks.txt"),
    ))
}

/// What is no attack.
pub(crate) fn benign() -> Grammar {
    Grammar::parse(concat!(
        include_str!("benign/text.txt"),
        include_str!("benign/code.txt"),
        include_str!("benign/agent.txt"),
    ))
}

/// An engine that blocks, with the content as it is shipped.
pub(crate) struct Judge(Wire);

impl Judge {
    pub(crate) fn new() -> Self {
        Self(Wire::new(content(), Arc::new(Policy { mode: Mode::Enforce, ..Policy::default() })))
    }

    /// What blocks the client that sends this request, if anything does.
    pub(crate) fn blocks(&mut self, raw: &[u8]) -> Option<String> {
        let records = self.0.records(raw);
        let reports = self.0.run(&records);
        let blocking = reports.iter().find(|report| matches!(report.verdict.action, Action::Block(_)))?;
        let shown = |one: &sensor_engine::finding::Finding| {
            format!("{}@{}:{:.2}", one.rule.id, one.field, one.confidence.get())
        };
        Some(blocking.findings.iter().map(shown).collect::<Vec<_>>().join(" "))
    }
}

/// Values, and those that were flagged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) flagged: u32,
    pub(crate) values: u32,
}

impl Count {
    pub(crate) fn add(&mut self, flagged: bool) {
        self.values += 1;
        self.flagged += u32::from(flagged);
    }

    pub(crate) fn share(self) -> f64 {
        f64::from(self.flagged) / f64::from(self.values.max(1))
    }
}

/// What was flagged, by family and by carrier, and the values that went against the grain.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) families: BTreeMap<String, Count>,
    pub(crate) carriers: BTreeMap<String, Count>,
    pub(crate) all: Count,
    pub(crate) odd: Vec<String>,
}

impl Tally {
    /// The odd values of a family or carrier.
    #[allow(dead_code, reason = "for the tests")]
    pub(crate) fn odd_of(&self, what: &str) -> String {
        self.odd
            .iter()
            .filter(|line| line.contains(&format!("[{what}]")))
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Every line of every family in every carrier, so many times.
pub(crate) fn run(
    judge: &mut Judge,
    grammar: &Grammar,
    rounds: usize,
    attack: bool,
    wanted: impl Fn(&Family, &Carrier) -> bool,
) -> Tally {
    let (mut tally, mut chance) = (Tally::default(), Chance(1));
    for family in &grammar.families {
        let title = format!("{} {}", family.kind, family.name);
        for number in 0..family.len() * rounds {
            let disguises = if attack { DISGUISES } else { &[] };
            let fitting = |carrier: &&Carrier| wanted(family, carrier) && fits(family, carrier);
            for carrier in CARRIERS.iter().chain(disguises).filter(fitting) {
                let value = grammar.value(family, number, &mut chance);
                if value.len() < carrier.least {
                    continue;
                }
                let found = judge.blocks(&carrier.request(&value));
                let flagged = found.is_some();
                tally.families.entry(title.clone()).or_default().add(flagged);
                tally.carriers.entry(carrier.name.to_owned()).or_default().add(flagged);
                tally.all.add(flagged);
                if flagged != attack {
                    let (line, why) = (number % family.len(), found.unwrap_or_default());
                    tally.odd.push(format!("[{title}] [{}] #{line} {value:?} {why}", carrier.name));
                }
            }
        }
    }
    tally
}

/// Headers hold agents, addresses and tokens, and no prose; other places hold anything.
fn fits(family: &Family, carrier: &Carrier) -> bool {
    let of_headers = carrier.name.starts_with("user-agent") || carrier.name.starts_with("x-");
    match family.kind.as_str() {
        "access" => carrier.name == "target",
        _ if carrier.name == "target" => false,
        // An address of a server is no name, and no credentials.
        "redirect" | "rfi" | "ssrf" if carrier.name.contains(" name") || carrier.name.contains("user") => {
            false
        }
        "redirect" | "rfi" | "ssrf" if carrier.name == "x-authorization" => false,
        // A header holds no line end.
        "crlf" => !of_headers,
        "agent" => carrier.name == "user-agent",
        "forwarded" => carrier.name == "x-forwarded-for",
        "other" => carrier.name == "x-header",
        "benign" if family.body => carrier.body,
        "benign" => !of_headers && carrier.name != "path",
        _ => true,
    }
}
