//! Builds the agent and runs it on this host: observing only, with its state below the build folder.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::build::{self, Profile};
use crate::{interrupt, paths, step, test};

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
    test::mount_tracefs();
    let state = paths::target().join("run");
    let config = match &options.config {
        Some(path) => path.clone(),
        None => write_config(&state)?,
    };
    step::headline("The sensor runs on this host and only observes: nothing is blocked.");
    step::say(&format!("alerts    {}", state.join("eve.json").display()));
    step::say(&format!("config    {}", config.display()));
    step::say(&format!("ask it    {} status --config {}", agent.display(), config.display()));
    step::say("Ctrl-C ends it.");
    interrupt::catch()?;
    let mut command = Command::new(agent);
    command.arg("run").arg("--config").arg(&config).args(&options.arguments);
    let mut child = command.spawn().context("cannot start the agent")?;
    if options.config.is_none() {
        show_page(&state.join("api.token"));
    }
    let status = wait(&mut child)?;
    if !status.success() {
        bail!("the agent ended with {status}");
    }
    Ok(())
}

/// Waits for the agent's end. A signal that reached only this process is passed on.
fn wait(child: &mut Child) -> Result<ExitStatus> {
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the agent")? {
            return Ok(status);
        }
        if interrupt::seen() && !told {
            // If it has just ended, the next look says so.
            let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
            told = true;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// The page's address with the token behind `#`, which no browser sends anywhere. The agent makes the token at its first start.
fn show_page(token_file: &Path) {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until && !interrupt::seen() {
        if let Ok(token) = fs::read_to_string(token_file)
            && TcpStream::connect(("127.0.0.1", 9470)).is_ok()
        {
            step::say(&format!("page      http://127.0.0.1:9470/#token={}", token.trim()));
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
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
