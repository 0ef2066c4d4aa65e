//! `sensor-agent panic`: every automatic block off at once, in the kernel, whether the agent runs, hangs or is gone.

use std::process::ExitCode;

use super::{Common, output};
use crate::blocklist::Book;

/// Suspend and lift every automatic block at once.
#[derive(Debug, clap::Args)]
pub(super) struct Panic {
    /// Let automatic blocks count again
    #[arg(long)]
    resume: bool,
}

impl Panic {
    /// Runs the command.
    pub(super) fn run(self, common: &Common) -> anyhow::Result<ExitCode> {
        let mut book = Book::open(&common.load()?.capture.pin_dir)?;
        let lifted = if self.resume { book.resume().map(|()| 0)? } else { book.panic()? };
        if common.json {
            output::json(&serde_json::json!({ "suspended": !self.resume, "lifted": lifted }))?;
        } else if self.resume {
            output::say("automatic blocks count again")?;
        } else {
            output::say(&format!(
                "automatic blocks are suspended, {lifted} were lifted; `sensor-agent panic --resume` ends it"
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
