//! `sensor-agent rules import`: rules of others → rule files of ours, and a table of what became of each.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};

use crate::cli::Common;
use crate::cli::output::{self, GREEN, PLAIN, YELLOW};
use crate::config::read_bounded;
use crate::import::{Entry, Fate, Foreign, Format, Imported, MAX_FILE_BYTES, import};

/// Most files of one run.
const MAX_FILES: usize = 10_000;

/// Convert rules of others into our own rule files, and say of each what became of it
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Import {
    /// Whose rules they are
    #[arg(long, value_name = "FORMAT")]
    from: Format,
    /// Files, or folders whose files are taken
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where the rule files are put, one for each file; without it nothing is written
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Fail if a rule was left out
    #[arg(long)]
    strict: bool,
}

impl Import {
    /// Runs the command.
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let files = read(self.from, &self.files)?;
        let done = import(self.from, &files, &beside);
        if let Some(out) = &self.out {
            write(out, &done.files)?;
        }
        let summary = Summary::of(&done.entries);
        if common.json {
            output::json(&json(&done, &summary))?;
        } else {
            show(&done, &summary, self.out.as_deref())?;
        }
        let failed = self.strict && summary.left > 0;
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// The files, and of folders all that end as files of the format do.
fn read(format: Format, paths: &[PathBuf]) -> anyhow::Result<Vec<Foreign>> {
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() {
            gather(path, endings(format), &mut all)?;
        } else {
            all.push(path.clone());
        }
    }
    ensure!(all.len() <= MAX_FILES, "{} files, expected at most {MAX_FILES}", all.len());
    let file = |path: &PathBuf| {
        let text = read_bounded(path, MAX_FILE_BYTES)
            .with_context(|| format!("`{}` cannot be read", path.display()))?;
        Ok(Foreign { name: path.display().to_string(), text })
    };
    all.iter().map(file).collect()
}

fn endings(format: Format) -> &'static [&'static str] {
    match format {
        Format::Seclang => &["conf"],
        Format::Suricata => &["rules"],
        Format::Sigma => &["yml", "yaml"],
    }
}

fn gather(folder: &Path, endings: &[&str], all: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| format!("`{}` cannot be listed", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    for path in paths {
        ensure!(all.len() <= MAX_FILES, "more than {MAX_FILES} files");
        if path.is_dir() && !path.is_symlink() {
            gather(&path, endings, all)?;
        } else if path.extension().is_some_and(|end| endings.iter().any(|one| end == *one)) {
            all.push(path);
        }
    }
    Ok(())
}

/// A file of words that a rule file names. It stands beside that file, so that rules lead nowhere else.
fn beside(file: &str, name: &str) -> Result<String, String> {
    let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    let folder = Path::new(file).parent().filter(|_| plain && !name.is_empty());
    let folder = folder.ok_or_else(|| format!("`{name}` does not stand beside the rules"))?;
    read_bounded(&folder.join(name), MAX_FILE_BYTES)
        .map_err(|error| format!("`{name}` cannot be read: {error:#}"))
}

fn write(out: &Path, files: &BTreeMap<String, String>) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("`{}` cannot be made", out.display()))?;
    for (name, text) in files {
        let path = out.join(name);
        std::fs::write(&path, text).with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    Ok(())
}

/// How many rules had which fate.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    taken: usize,
    with_loss: usize,
    control: usize,
    left: usize,
    /// Directives behind those taken, and behind all that are detections.
    directives_taken: usize,
    directives_of_detections: usize,
    directives: usize,
}

impl Summary {
    fn of(entries: &[Entry]) -> Self {
        let mut summary = Self::default();
        for entry in entries {
            let (count, taken, detection) = match entry.fate {
                Fate::Taken => (&mut summary.taken, true, true),
                Fate::TakenWithLoss(_) => (&mut summary.with_loss, true, true),
                Fate::Control(_) => (&mut summary.control, false, false),
                Fate::Left(_) => (&mut summary.left, false, true),
            };
            *count += 1;
            summary.directives += entry.directives;
            summary.directives_taken += if taken { entry.directives } else { 0 };
            summary.directives_of_detections += if detection { entry.directives } else { 0 };
        }
        summary
    }

    fn detections(&self) -> usize {
        self.taken + self.with_loss + self.left
    }

    fn share(&self) -> f64 {
        100.0 * (self.taken + self.with_loss) as f64 / self.detections().max(1) as f64
    }
}

fn show(done: &Imported, summary: &Summary, out: Option<&Path>) -> anyhow::Result<()> {
    let row = |entry: &Entry| {
        let (fate, why) = match &entry.fate {
            Fate::Taken => ("taken", String::new()),
            Fate::TakenWithLoss(losses) => ("taken, with a loss", losses.join("; ")),
            Fate::Control(why) => ("no detection", why.clone()),
            Fate::Left(why) => ("not understood", why.clone()),
        };
        vec![
            crate::printable::line(&entry.at.to_string()).into_owned(),
            entry.name.clone(),
            fate.to_owned(),
            why,
        ]
    };
    let rows: Vec<Vec<String>> = done.entries.iter().map(row).collect();
    output::table(&["place", "rule", "what became of it", "why"], &rows)?;
    output::say(&format!(
        "{GREEN}{}{PLAIN} of {} detections taken over ({:.1} %), {} of them with a loss; {YELLOW}{}{PLAIN} not understood; {} directives are no detections",
        summary.taken + summary.with_loss,
        summary.detections(),
        summary.share(),
        summary.with_loss,
        summary.left,
        summary.control,
    ))?;
    if let Some(out) = out {
        output::say(&format!("{} rule files are in `{}`", done.files.len(), out.display()))?;
    }
    Ok(())
}

fn json(done: &Imported, summary: &Summary) -> serde_json::Value {
    let entry = |entry: &Entry| {
        let (fate, why) = match &entry.fate {
            Fate::Taken => ("taken", Vec::new()),
            Fate::TakenWithLoss(losses) => ("taken_with_loss", losses.clone()),
            Fate::Control(why) => ("control", vec![why.clone()]),
            Fate::Left(why) => ("not_understood", vec![why.clone()]),
        };
        serde_json::json!({
            "file": entry.at.file, "line": entry.at.line, "rule": entry.name,
            "directives": entry.directives, "fate": fate, "why": why,
        })
    };
    serde_json::json!({
        "taken": summary.taken,
        "taken_with_loss": summary.with_loss,
        "not_understood": summary.left,
        "control": summary.control,
        "share_of_detections": summary.share(),
        "directives": summary.directives,
        "directives_taken": summary.directives_taken,
        "directives_of_detections": summary.directives_of_detections,
        "files": done.files.keys().collect::<Vec<_>>(),
        "rules": done.entries.iter().map(entry).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_beside_the_rules_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("words.data"), "a\n").unwrap();
        let rules = dir.path().join("x.conf").display().to_string();
        assert_eq!(beside(&rules, "words.data").unwrap(), "a\n");
        for outside in ["../words.data", "/etc/passwd", "", "other.data"] {
            assert!(beside(&rules, outside).is_err(), "{outside}");
        }
    }

    #[test]
    fn a_run_writes_rule_files_and_fails_only_if_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let rules = dir.path().join("my-rules.conf");
        let text = "SecRule ARGS \"@rx evil-thing\" \"id:1,block,msg:'m'\"\nSecRule ARGS \"@rx \\w\" \"id:2,block\"\n";
        std::fs::write(&rules, text).unwrap();
        let out = dir.path().join("out");
        let run = |strict| {
            let (from, files) = (Format::Seclang, vec![dir.path().to_owned()]);
            let common = Common { config: None, json: true, log: "off".into() };
            Import { from, files, out: Some(out.clone()), strict }.run(&common).unwrap()
        };
        assert_eq!(format!("{:?}", run(false)), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(format!("{:?}", run(true)), format!("{:?}", ExitCode::FAILURE));
        assert_eq!(crate::detection::load(&[out]).unwrap().rules.rules().len(), 1);
    }
}
