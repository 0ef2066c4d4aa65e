//! Fuzzing: one target or all, for a time. The seeds in the tree are read only; what the fuzzer adds goes to the build folder. A crash is
//! kept there too, with the command that shows it again, and belongs into `fuzz/corpus` once it is understood.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{paths, step};

/// Version of cargo-fuzz.
const VERSION: &str = "0.13.2";

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The target [default: all of them, one after another]
    target: Option<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    secs: u64,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    let all = targets()?;
    let chosen: Vec<_> = match &options.target {
        Some(name) if !all.contains(name) => bail!("no target `{name}`, expected one of {}", all.join(", ")),
        Some(name) => vec![name.clone()],
        None => all,
    };
    install()?;
    step::run("Build the fuzz targets", 100, cargo_fuzz("build")?.args(["-O", "--debug-assertions"]))?;
    let mut failed = Vec::new();
    for target in &chosen {
        if !run(target, options.secs)? {
            failed.push(target.as_str());
        }
    }
    if !failed.is_empty() {
        bail!("found something: {}; see `{}`", failed.join(", "), artifacts().display());
    }
    Ok(())
}

/// Names of the targets, in order.
fn targets() -> Result<Vec<String>> {
    let folder = paths::root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    let name = |path: PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut names: Vec<_> = entries.flatten().filter_map(|entry| name(entry.path())).collect();
    names.sort();
    Ok(names)
}

fn tools() -> PathBuf {
    paths::target().join("tools")
}

fn artifacts() -> PathBuf {
    paths::target().join("fuzz-artifacts")
}

fn install() -> Result<()> {
    if tools().join("bin/cargo-fuzz").exists() {
        return Ok(());
    }
    let mut command = Command::new("cargo");
    command.args(["install", "cargo-fuzz", "--version", VERSION, "--locked", "--root"]).arg(tools());
    step::run("Install cargo-fuzz", 60, &mut command)
}

/// A command of cargo-fuzz, under the nightly compiler that its sanitizer needs.
fn cargo_fuzz(command: &str) -> Result<Command> {
    let path = std::env::var("PATH").unwrap_or_default();
    let toolchains = Command::new("rustup").args(["toolchain", "list"]).output();
    let nightly = toolchains.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("nightly"));
    if !nightly {
        bail!("the sanitizer needs a nightly compiler: `rustup toolchain install nightly`");
    }
    let mut cargo = Command::new("cargo");
    cargo
        .args(["+nightly", "fuzz", command, "--fuzz-dir", ".", "--target-dir"])
        .arg(paths::target().join("fuzz"))
        .current_dir(paths::root().join("fuzz"))
        .env("PATH", format!("{}:{path}", tools().join("bin").display()))
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO");
    Ok(cargo)
}

/// Whether the target found nothing. What it prints is kept as a log.
fn run(target: &str, secs: u64) -> Result<bool> {
    let (found, artifacts) = (paths::target().join("fuzz-corpus").join(target), artifacts().join(target));
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&artifacts)?;
    let mut command = cargo_fuzz("run")?;
    command
        .args(["-O", "--debug-assertions", target])
        .arg(&found)
        .arg(paths::root().join("fuzz/corpus").join(target))
        .arg("--")
        .arg(format!("-max_total_time={secs}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([
            "-max_len=4096",
            "-timeout=10",
            "-malloc_limit_mb=64",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
        ]);
    let title = format!("Fuzz {target}");
    let passed = step::run(&title, secs, &mut command).is_ok();
    let log = fs::read_to_string(paths::logs().join(format!("fuzz-{}.log", target.replace('_', "-"))))?;
    let runs = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    step::say(&format!("{target}: {} runs", runs.unwrap_or(" unknown").trim()));
    Ok(passed)
}
