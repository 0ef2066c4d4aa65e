//! Debian packages that a job needs: looked for by the program they bring, installed where apt and root are at hand.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use nix::unistd::geteuid;

use crate::step;

/// A program and the Debian package that has it.
#[derive(Clone, Copy)]
pub(crate) struct Needed {
    /// File whose presence says that it is there.
    pub(crate) file: &'static str,
    /// Debian's name.
    pub(crate) package: &'static str,
    /// What it is needed for.
    pub(crate) why: &'static str,
}

/// Makes sure of programs; `usually` is how many seconds the installation takes.
pub(crate) fn ensure(needed: &[Needed], usually: u64) -> Result<()> {
    let missing: Vec<_> = needed.iter().filter(|program| !Path::new(program.file).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|program| program.package).collect();
    for program in &missing {
        step::say(&format!("`{}` is missing: {}", program.package, program.why));
    }
    if !Path::new("/usr/bin/apt-get").exists() || !geteuid().is_root() {
        bail!("install {} and run this again (as root on Debian, this command does it)", names.join(", "));
    }
    apt(&["update"], "Refresh Debian's package lists", 10)?;
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(names.iter().copied());
    apt(&arguments, &format!("Install {}", names.join(", ")), usually)
}

fn apt(arguments: &[&str], title: &str, usually: u64) -> Result<()> {
    // A package may start its server on installation, which nobody asked for here.
    let mut command = Command::new("/usr/bin/apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    step::run(title, usually, &mut command)
}
