//! What the engine does in a second on one core, without a kernel: traffic from memory, complexity, memory of connections and
//! of clients.

use std::process::Command;

use anyhow::{Result, bail};

use crate::paths;

#[derive(clap::Args)]
pub(super) struct Options {
    /// A part: `throughput`, `exposure`, `rules`, `model`, `bodies`, `facts`, `actors`, `complexity`, `inputs` or `flows`
    #[arg(default_value = "all")]
    part: String,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["run", "--release", "--locked", "--package", "sensor-engine", "--example", "engine", "--"])
        .arg(&options.part)
        .current_dir(paths::root());
    if !cargo.status()?.success() {
        bail!("the engine is not what it should be, or does not run");
    }
    Ok(())
}
