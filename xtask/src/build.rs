//! The kernel programs first, then the agent with them inside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::toolchain::{self, Toolchain};
use crate::{paths, profiled, step};

/// Options of `cargo xtask build`.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Options {
    /// Build the agent without optimisation: faster to build, slower to run.
    #[arg(long)]
    debug: bool,
    /// Compile by a profile of the engine at work: some five minutes more, and an engine that is a fifth faster or more.
    #[arg(long, conflicts_with = "debug")]
    profiled: bool,
}

/// How the agent is compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For tests.
    Debug,
    /// For people.
    Release,
    /// For installation and measurements.
    Profiled,
}

/// Names of the kernel objects.
const OBJECTS: [&str; 4] = ["firewall", "tap", "owner", "bench"];

pub(crate) fn command(options: Options) -> Result<()> {
    let profile = match (options.debug, options.profiled) {
        (true, _) => Profile::Debug,
        (_, true) => Profile::Profiled,
        _ => Profile::Release,
    };
    let agent = all(profile)?;
    println!("\nThe agent is at {}", agent.display());
    println!("Next: `cargo xtask demo` to see it work, `cargo xtask run` to run it here.");
    Ok(())
}

/// Builds everything; returns the agent's path.
pub(crate) fn all(profile: Profile) -> Result<PathBuf> {
    let toolchain = toolchain::setup()?;
    kernel(&toolchain)?;
    agent(profile)
}

/// Compiles the kernel programs and puts the objects where the agent's build looks.
pub(crate) fn kernel(toolchain: &Toolchain) -> Result<()> {
    let mut command = toolchain.cargo(&[
        "build",
        "--release",
        "--locked",
        "-Zbuild-std=core",
        "--target",
        "bpfel-unknown-none",
    ]);
    step::run("Compile the kernel programs", 45, &mut command)?;
    for name in OBJECTS {
        let built = paths::kernel_objects().join("bpfel-unknown-none/release").join(name);
        replace_if_changed(&built, &paths::kernel_objects().join(format!("{name}.o")))?;
    }
    // The agent's build compares the sources' dates with this one.
    fs::write(paths::kernel_objects().join("built"), "").context("cannot write the build's stamp")
}

/// An unchanged object keeps its date, so that the agent is not rebuilt.
fn replace_if_changed(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("no object at `{}`", from.display()))?;
    if fs::read(to).ok().as_ref() != Some(&new) {
        fs::write(to, new).with_context(|| format!("cannot write `{}`", to.display()))?;
    }
    Ok(())
}

/// Compiles the agent with what kernel programs there are; returns its path.
pub(crate) fn agent(profile: Profile) -> Result<PathBuf> {
    let mut command = Command::new("cargo");
    command.args(["build", "--locked", "--package", "sensor-agent"]).current_dir(paths::root());
    let (folder, usually) = match profile {
        Profile::Debug => ("debug", 90),
        Profile::Release => {
            command.arg("--release");
            ("release", 200)
        }
        Profile::Profiled => return profiled::agent(),
    };
    step::run(&format!("Compile the agent ({folder})"), usually, &mut command)?;
    Ok(paths::target().join(folder).join("sensor-agent"))
}
