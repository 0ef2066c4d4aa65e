//! Detection against a corpus of labelled requests: the agent's own `inspect` judges them, and this adds up what it found, by
//! source and by kind of attack. A line of the corpus has `id`, `source`, `label` (attack or benign), `category`, `tier` and
//! `raw_b64`; the corpus is somebody else's data and stays where it is.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::beside;
use crate::build::{self, Profile};

/// Options of `cargo xtask bench detection`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A directory of `*.jsonl` and `*.jsonl.gz` files
    #[arg(long, value_name = "DIR")]
    corpus: PathBuf,
    /// A directory of rule files [default: the rules inside the program]
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// A configuration of the agent, such as one without the model [default: the defaults]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print so many missed attacks and benign requests that were flagged, of each source
    #[arg(long, default_value_t = 0)]
    misses: usize,
    /// In place of what is detected: requests a second of one core, beside another detector on the same requests
    #[arg(long, value_name = "PEER")]
    beside: Option<beside::Peer>,
    /// Seconds of a turn beside another detector
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    secs: u64,
}

/// Tiers in the order in which they are shown.
const TIERS: [&str; 4] = ["core", "hard", "pl2", "pl3"];

pub(super) fn run(options: &Options) -> Result<()> {
    let files = files(&options.corpus)?;
    if files.is_empty() {
        bail!("`{}` holds no `*.jsonl` or `*.jsonl.gz` files", options.corpus.display());
    }
    let timed = options.beside.is_some();
    let agent = build::agent(if timed { Profile::Profiled } else { Profile::Release })?;
    if let Some(peer) = options.beside {
        return beside::run(peer, &agent, &files, options.rules.as_deref(), options.secs);
    }
    let started = Instant::now();
    let verdicts = verdicts(&agent, &files, options)?;
    let took = started.elapsed();
    let mut score = Score { misses: options.misses, ..Score::default() };
    for file in &files {
        for line in lines(file)? {
            score.add(
                &serde_json::from_str(&line?).with_context(|| format!("in `{}`", file.display()))?,
                &verdicts,
            );
        }
    }
    score.print();
    println!("{} requests judged in {:.2} s, rules compiled and all", verdicts.len(), took.as_secs_f64());
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".jsonl") || name.ends_with(".jsonl.gz") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

pub(super) fn lines(file: &Path) -> Result<Box<dyn Iterator<Item = std::io::Result<String>>>> {
    let opened = File::open(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    Ok(if file.extension().is_some_and(|extension| extension == "gz") {
        Box::new(BufReader::new(MultiGzDecoder::new(opened)).lines())
    } else {
        Box::new(BufReader::new(opened).lines())
    })
}

/// What the agent says, by id.
struct Verdict {
    blocked: bool,
    category: Option<String>,
}

fn verdicts(agent: &Path, files: &[PathBuf], options: &Options) -> Result<HashMap<String, Verdict>> {
    let mut command = Command::new(agent);
    command.args(["inspect", "--brief"]).args(files).stdout(Stdio::piped());
    for (name, value) in [("--rules", &options.rules), ("--config", &options.config)] {
        if let Some(value) = value {
            command.arg(name).arg(value);
        }
    }
    let mut child = command.spawn().with_context(|| format!("cannot start `{}`", agent.display()))?;
    let output = child.stdout.take().context("the agent has no output")?;
    let mut verdicts = HashMap::new();
    for line in BufReader::new(output).lines() {
        let value: Value = serde_json::from_str(&line?).context("a verdict is no JSON")?;
        let verdict = Verdict {
            blocked: value["blocked"] == true,
            category: value["category"].as_str().map(str::to_owned),
        };
        verdicts.insert(text(&value, "id"), verdict);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`inspect` failed ({status})");
    }
    Ok(verdicts)
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// Lines seen and lines that were flagged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    flagged: u64,
    lines: u64,
}

impl Count {
    fn add(&mut self, flagged: bool) {
        self.lines += 1;
        self.flagged += u64::from(flagged);
    }

    fn share(self) -> f64 {
        self.flagged as f64 / self.lines.max(1) as f64
    }
}

#[derive(Default)]
struct Score {
    /// By what (source, category, all), label, tier and name.
    counts: BTreeMap<(&'static str, String, String, String), Count>,
    named: Count,
    missing: u64,
    misses: usize,
    shown: BTreeMap<(String, String), Vec<String>>,
}

impl Score {
    fn add(&mut self, line: &Value, verdicts: &HashMap<String, Verdict>) {
        let (label, source, category) = (text(line, "label"), text(line, "source"), text(line, "category"));
        if !matches!(label.as_str(), "attack" | "benign") || line["kind"] == "response" {
            return;
        }
        let tier = line["tier"].as_str().unwrap_or("core").to_owned();
        let verdict = verdicts.get(&text(line, "id"));
        self.missing += u64::from(verdict.is_none());
        let blocked = verdict.is_some_and(|verdict| verdict.blocked);
        for (what, name) in
            [("source", source.clone()), ("category", category.clone()), ("all", String::new())]
        {
            self.counts.entry((what, label.clone(), tier.clone(), name)).or_default().add(blocked);
        }
        if label == "attack" && blocked {
            let named = verdict.and_then(|verdict| verdict.category.as_deref());
            self.named.add(named == Some(category.as_str()));
        }
        if blocked != (label == "attack") {
            let shown = self.shown.entry((label, source)).or_default();
            if shown.len() < self.misses {
                shown.push(format!("{} {category}", text(line, "id")));
            }
        }
    }

    fn of(&self, what: &'static str, label: &str, tier: &str) -> impl Iterator<Item = (&str, Count)> {
        let wanted = (what, label.to_owned(), tier.to_owned());
        let fits = move |key: &&(&'static str, String, String, String)| {
            (key.0, &key.1, &key.2) == (wanted.0, &wanted.1, &wanted.2)
        };
        let rows = self.counts.iter().filter(move |(key, _)| fits(key));
        rows.map(|((.., name), count)| (name.as_str(), *count))
    }

    fn all(&self, label: &str, tier: &str) -> Count {
        self.of("all", label, tier).next().map_or(Count::default(), |(_, count)| count)
    }

    /// The mean over sources of at least twenty lines.
    fn macro_share(&self, label: &str, tier: &str) -> f64 {
        let shares: Vec<f64> = self
            .of("source", label, tier)
            .filter(|(_, count)| count.lines >= 20)
            .map(|(_, count)| count.share())
            .collect();
        shares.iter().fold(0.0, |sum, share| sum + share) / shares.len().max(1) as f64
    }

    fn print(&self) {
        for what in ["source", "category"] {
            for (label, head) in [("attack", "detected"), ("benign", "flagged")] {
                println!("\n{label} by {what:<10} tier    lines  {head}");
                for tier in TIERS {
                    for (name, count) in self.of(what, label, tier) {
                        println!(
                            "  {name:<22} {tier:<5} {:>7}  {:6.2} %",
                            count.lines,
                            100.0 * count.share()
                        );
                    }
                }
            }
        }
        for ((label, source), ids) in &self.shown {
            for id in ids {
                println!("{} {source}: {id}", if label == "attack" { "missed" } else { "flagged" });
            }
        }
        println!();
        for tier in TIERS {
            let (attack, benign) = (self.all("attack", tier), self.all("benign", tier));
            if attack.lines + benign.lines > 0 {
                println!(
                    "overall {tier:<5} attacks {:>6} detected {:6.2} % (by source {:6.2} %)   benign {:>6} flagged {:5.2} % (by source {:5.2} %)",
                    attack.lines,
                    100.0 * attack.share(),
                    100.0 * self.macro_share("attack", tier),
                    benign.lines,
                    100.0 * benign.share(),
                    100.0 * self.macro_share("benign", tier),
                );
            }
        }
        println!(
            "kind named right in {:.1} % of {} detected attacks",
            100.0 * self.named.share(),
            self.named.lines
        );
        if self.missing > 0 {
            println!("{} lines have no verdict", self.missing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_up_by_label_and_tier() {
        let verdict = |blocked, category: &str| Verdict { blocked, category: Some(category.to_owned()) };
        let verdicts = HashMap::from([
            ("a".to_owned(), verdict(true, "sqli")),
            ("b".to_owned(), verdict(true, "xss")),
            ("c".to_owned(), verdict(false, "")),
        ]);
        let mut score = Score { misses: 1, ..Score::default() };
        for line in [
            r#"{"id":"a","label":"attack","source":"s","category":"sqli","tier":"core"}"#,
            r#"{"id":"b","label":"attack","source":"s","category":"sqli"}"#,
            r#"{"id":"c","label":"benign","source":"t","category":"x","tier":"hard"}"#,
            r#"{"id":"d","label":"attack","source":"s","category":"sqli","tier":"pl2"}"#,
            r#"{"id":"e","label":"attack","kind":"response"}"#,
        ] {
            score.add(&serde_json::from_str(line).unwrap(), &verdicts);
        }
        assert_eq!(score.all("attack", "core"), Count { flagged: 2, lines: 2 });
        assert_eq!(score.all("benign", "hard"), Count { flagged: 0, lines: 1 });
        assert_eq!((score.named, score.missing), (Count { flagged: 1, lines: 2 }, 1));
        assert_eq!(score.shown.len(), 1);
    }
}
