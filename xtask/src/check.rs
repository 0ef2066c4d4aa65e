//! Formatting, lints and the project's own rules, for host and kernel crates.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{paths, step, tidy};

pub(crate) fn command() -> Result<()> {
    step::run("Formatting", 1, cargo(".").args(["fmt", "--all", "--check"]))?;
    step::run("Formatting of the kernel programs", 1, cargo("sensor-ebpf").args(["fmt", "--check"]))?;
    let lint = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    step::run("Lints", 120, cargo(".").args(lint))?;
    step::run("Lints of the kernel programs", 20, &mut kernel_lints())?;
    let broken = tidy::violations()?;
    for violation in &broken {
        step::say(&violation.to_string());
    }
    if !broken.is_empty() {
        bail!("{} rules of the project are broken", broken.len());
    }
    println!("  ok  Rules of the project");
    Ok(())
}

/// The kernel programs as the host's compiler sees them: enough for lints, and it needs no kernel toolchain.
fn kernel_lints() -> Command {
    let mut command = cargo("sensor-ebpf");
    command
        .args(["clippy", "--locked", "--bins", "--", "-D", "warnings"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", paths::target().join("kernel-check"));
    command
}

fn cargo(folder: &str) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(paths::root().join(folder));
    command
}
