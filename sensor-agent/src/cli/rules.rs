//! `sensor-agent rules`: check rule files as the agent would load them, and try them on a request, without a running agent.

mod bench;
mod false_positive;
mod import;
mod new;
mod schema;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use sensor_engine::engine::{Command, Engine, Outcome};
use sensor_engine::finding::{Confidence, Finding};
use sensor_engine::http::client::ClientSource;
use sensor_engine::policy::{Mode, Policy};

use super::output::{GREEN, PLAIN, YELLOW};
use super::{Common, output};
use crate::alert::eve;
use crate::benign;
use crate::clock::WallClock;
use crate::config::Config;
use crate::detection::{self, Loaded};
use crate::judge::Judge;
use crate::pipeline::Delivered;
use crate::request;
use crate::store::Store;

/// Largest request tried.
const MAX_REQUEST_BYTES: u64 = 8 << 20;

/// Detection rules.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Rules {
    /// Load and compile rules, and name every mistake
    Check {
        /// A directory [default: those of the configuration]
        dir: Option<PathBuf>,
    },
    /// Show of a request which bytes were found, behind which decoders, by which rule, and what each finding adds
    Explain {
        /// An HTTP/1 request as it goes over the wire; - is the standard input
        request: PathBuf,
    },
    Bench(bench::Bench),
    FalsePositive(false_positive::FalsePositive),
    Import(import::Import),
    New(new::New),
    /// Print the JSON schema of rule files, for editors
    Schema,
    /// Run a request through the engine and show what is found
    Test {
        /// An HTTP/1 request as it goes over the wire; - is the standard input
        request: PathBuf,
    },
}

impl Rules {
    /// Runs the command.
    pub(super) fn run(self, common: &Common) -> anyhow::Result<ExitCode> {
        match self {
            Self::Bench(bench) => bench.run(common),
            Self::FalsePositive(mark) => mark.run(common),
            Self::Import(import) => import.run(common),
            Self::New(new) => new.run(),
            Self::Schema => output::say(schema::text().trim_end()).map(|()| ExitCode::SUCCESS),
            Self::Check { dir } => check(&dirs(dir, common)?, common),
            Self::Explain { request } => explain(&common.load()?, &request, common),
            Self::Test { request } => test(&common.load()?, &request, common),
        }
    }
}

/// The directory that was given, or those of the configuration.
fn dirs(dir: Option<PathBuf>, common: &Common) -> anyhow::Result<Vec<PathBuf>> {
    match dir {
        Some(dir) => Ok(vec![dir]),
        None => Ok(common.load()?.detection.rules_dirs),
    }
}

fn check(dirs: &[PathBuf], common: &Common) -> anyhow::Result<ExitCode> {
    let mut loaded = match detection::load(dirs) {
        Ok(loaded) => loaded,
        Err(refused) if common.json => {
            output::json(&serde_json::json!({ "ok": false, "mistakes": refused.0 }))?;
            return Ok(ExitCode::FAILURE);
        }
        Err(refused) => return Err(refused.into()),
    };
    let config = common.load()?;
    let rules = Arc::new(std::mem::take(&mut loaded.rules));
    loaded.doubts.extend(benign::doubts(&config.engine_settings(), &rules, &config.policy()));
    if common.json {
        output::json(
            &serde_json::json!({ "ok": true, "files": loaded.files, "notes": loaded.notes, "doubts": loaded.doubts }),
        )?;
    } else {
        say_notes(&loaded)?;
        output::say(&format!("{GREEN}ok{PLAIN}: the rules of {} files compile", loaded.files))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn say_notes(loaded: &Loaded) -> anyhow::Result<()> {
    loaded
        .notes
        .iter()
        .chain(&loaded.doubts)
        .try_for_each(|note| output::say(&format!("{YELLOW}note{PLAIN}: {}", crate::printable::line(note))))
}

/// Fails if something is found, so that a script can tell a request that is clean from one that is not.
fn test(config: &Config, file: &Path, common: &Common) -> anyhow::Result<ExitCode> {
    let bytes = read(file).with_context(|| format!("the request `{}` cannot be read", file.display()))?;
    let loaded = detection::load_with_keys(&config.detection)?;
    let mut policy = config.policy();
    policy.mode = Mode::Observe;
    let engine = Engine::new(config.engine_settings(), Arc::new(loaded.rules), Arc::new(policy));
    let reports = reports(engine, &bytes);
    for report in &reports {
        show(report, 0, WallClock::measure(), common)?;
    }
    if reports.is_empty() && !common.json {
        output::say("nothing is found")?;
    }
    Ok(if reports.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything that was found, weak signs too, and how it adds up to a verdict.
fn explain(config: &Config, file: &Path, common: &Common) -> anyhow::Result<ExitCode> {
    let bytes = read(file).with_context(|| format!("the request `{}` cannot be read", file.display()))?;
    let rules = Arc::new(detection::load_with_keys(&config.detection)?.rules);
    let policy = Policy { report_from: Confidence::ZERO, ..config.policy() };
    let mut judge = Judge::new(config.engine_settings(), rules, &policy);
    let judged = judge.judge(&request::with_line_ends(&bytes), b"")?;
    let steps = policy.steps(&judged.findings);
    let marks = marks(config);
    let added = |number: usize| steps.iter().find(|(_, step, _)| *step == number).map(|(.., sum)| *sum);
    if common.json {
        let shown = judged.findings.iter().enumerate().map(|(number, finding)| {
            serde_json::json!({
                "rule": finding.rule.id,
                "class": finding.class.name(),
                "confidence": finding.confidence.get(),
                "class_confidence_with_it": added(number).map(Confidence::get),
                "field": finding.field,
                "decoders": finding.decoders.iter().map(|decoder| decoder.name()).collect::<Vec<_>>(),
                "offset": finding.offset,
                "length": finding.length,
                "evidence": finding.evidence,
                "false_positives": marks.get(&finding.rule.id).copied().unwrap_or(0),
            })
        });
        let findings: Vec<_> = shown.collect();
        output::json(&serde_json::json!({
            "blocked": judged.blocked, "score": judged.score, "category": judged.category, "findings": findings,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |(number, finding): (usize, &Finding)| {
        let decoders: Vec<_> = finding.decoders.iter().map(|decoder| decoder.name()).collect();
        vec![
            finding.class.to_string(),
            added(number)
                .map_or_else(|| "(nothing new)".to_owned(), |sum| format!("{} -> {sum}", finding.confidence)),
            finding.rule.id.clone(),
            finding.field.clone(),
            decoders.join(" "),
            format!("{}..{}", finding.offset, finding.offset.saturating_add(finding.length)),
            marks.get(&finding.rule.id).map_or_else(|| "-".to_owned(), u64::to_string),
            finding.evidence.clone(),
        ]
    };
    let rows: Vec<_> = judged.findings.iter().enumerate().map(row).collect();
    if rows.is_empty() {
        return output::say("nothing is found").map(|()| ExitCode::SUCCESS);
    }
    output::table(
        &["class", "adds up to", "rule", "field", "decoders", "bytes", "marked false", "evidence"],
        &rows,
    )?;
    let kind = judged.category.as_deref().unwrap_or_default();
    output::say(&format!(
        "confidence {:.2}, {kind}: {}",
        judged.score,
        if judged.blocked { "blocks" } else { "does not block" }
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// How often alerts of each rule were marked as false on this host; nothing where there is no database.
fn marks(config: &Config) -> BTreeMap<String, u64> {
    let counts = Store::open_for_reading(&config.store.path).and_then(|store| store.false_positives());
    counts.unwrap_or_default().into_iter().collect()
}

fn reports(mut engine: Engine, request: &[u8]) -> Vec<Delivered> {
    let mut reports = Vec::new();
    for record in request::records(&request::with_line_ends(request)) {
        engine.handle_record(&record);
        while let Some(command) = engine.next_command() {
            if let Command::Report(report) = command {
                reports.push(Delivered { report, enforcement: None });
            }
        }
    }
    reports
}

/// Shows a report: its event, or for people its verdict and findings.
pub(super) fn show(delivered: &Delivered, id: u64, clock: WallClock, common: &Common) -> anyhow::Result<()> {
    if common.json {
        let frame = eve::Frame { id, clock, interface: None, process: None, suppressed: 0 };
        return output::say(&eve::event(delivered, frame));
    }
    let report = &delivered.report;
    let verdict = &report.verdict;
    output::say(&format!(
        "{YELLOW}{}{PLAIN} from {}{} to {}: severity {}, confidence {}, verdict {}{}",
        verdict.class,
        report.client,
        if report.identity.source == ClientSource::Peer {
            String::new()
        } else {
            format!(" for {}", report.identity)
        },
        report.server,
        verdict.severity,
        verdict.confidence,
        eve::verdict_name(verdict.action),
        if matches!(report.outcome, Outcome::Attempt | Outcome::Behaviour) {
            String::new()
        } else {
            format!(", {}", report.outcome.name())
        },
    ))?;
    let rows: Vec<Vec<String>> = report
        .findings
        .iter()
        .map(|finding| {
            let decoders: Vec<_> = finding.decoders.iter().map(|decoder| decoder.name()).collect();
            vec![
                finding.rule.id.clone(),
                finding.severity.to_string(),
                finding.confidence.to_string(),
                finding.field.clone(),
                decoders.join(" "),
                finding.evidence.clone(),
            ]
        })
        .collect();
    output::table(&["rule", "severity", "confidence", "field", "decoders", "evidence"], &rows)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read;
    let source = if file == Path::new("-") { Path::new("/dev/stdin") } else { file };
    let mut bytes = Vec::new();
    std::fs::File::open(source)?.take(MAX_REQUEST_BYTES + 1).read_to_end(&mut bytes)?;
    anyhow::ensure!(bytes.len() as u64 <= MAX_REQUEST_BYTES, "it is larger than {MAX_REQUEST_BYTES} bytes");
    Ok(bytes)
}
