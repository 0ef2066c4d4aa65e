//! What the engine does in a second on one core, without a kernel: traffic from memory, complexity, memory of connections and
//! of clients.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{paths, profiled};

#[derive(clap::Args)]
pub(super) struct Options {
    /// A part: `throughput`, `mixed`, `exposure`, `rules`, `model`, `bodies`, `facts`, `actors`, `complexity`, `inputs` or `flows`
    #[arg(default_value = "all")]
    part: String,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let engine = profiled::engine()?;
    let status = Command::new(engine).arg(&options.part).current_dir(paths::root()).status();
    if !status.context("cannot start the engine's measurements")?.success() {
        bail!("the engine is not what it should be, or does not run");
    }
    Ok(())
}
