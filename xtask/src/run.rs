//! Builds the agent and runs it on this host: observing only, with its state below the build folder.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use crate::build::{self, Profile};
use crate::{paths, step, test};

/// Options of `cargo xtask run`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A configuration of your own, instead of one that observes and keeps its state in the build folder.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Further arguments for `sensor-agent run`.
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    if !geteuid().is_root() {
        bail!("the sensor loads kernel programs, which needs root: run `sudo -E cargo xtask run`");
    }
    let agent = build::all(Profile::Release)?;
    test::mount_bpffs()?;
    let state = paths::target().join("run");
    let config = match &options.config {
        Some(path) => path.clone(),
        None => write_config(&state)?,
    };
    step::headline("The sensor runs on this host and only observes: nothing is blocked.");
    step::say("page      http://127.0.0.1:9470/");
    step::say(&format!("token     {}", state.join("api.token").display()));
    step::say(&format!("alerts    {}", state.join("eve.json").display()));
    step::say(&format!("config    {}", config.display()));
    step::say(&format!("ask it    {} status --config {}", agent.display(), config.display()));
    step::say("Ctrl-C ends it.");
    let error = Command::new(agent).arg("run").arg("--config").arg(config).args(&options.arguments).exec();
    Err(error).context("cannot start the agent")
}

fn write_config(state: &Path) -> Result<PathBuf> {
    fs::create_dir_all(state)?;
    let path = state.join("sensor.toml");
    let (state, rules) = (state.display(), paths::root().join("rules"));
    let text = format!(
        "# Written by `cargo xtask run`.\n\
         [capture]\npin_dir = \"/sys/fs/bpf/sensor-run\"\n\
         [detection]\nrules_dir = [{rules:?}]\n\
         [alerts]\nfile = \"{state}/eve.json\"\n\
         [store]\npath = \"{state}/sensor.db\"\n\
         [api]\ntoken_file = \"{state}/api.token\"\n\
         [service]\nruntime_dir = \"{state}/run\"\n"
    );
    fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(path)
}
