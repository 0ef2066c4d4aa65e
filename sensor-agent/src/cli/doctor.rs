//! `sensor-agent doctor`: what this host lacks, and how to get it.

use std::process::ExitCode;

use super::output::{GREEN, PLAIN, RED, YELLOW};
use super::{Common, output};
use crate::doctor::{advice, probe};
use crate::shared::Status;

/// Runs the command. It fails if something keeps the sensor from working.
pub(super) fn run(common: &Common) -> anyhow::Result<ExitCode> {
    let all = advice::advice(&probe::facts(&common.load()?));
    if common.json {
        output::json(&all)?;
    } else {
        for advice in &all {
            let mark = match advice.status {
                Status::Ok => format!("{GREEN}ok  {PLAIN}"),
                Status::Degraded => format!("{YELLOW}warn{PLAIN}"),
                Status::Failing => format!("{RED}fail{PLAIN}"),
            };
            output::say(&format!("{mark}  {}: {}", advice.name, crate::printable::line(&advice.found)))?;
            if let Some(remedy) = &advice.remedy {
                output::say(&format!("      → {remedy}"))?;
            }
        }
    }
    let failing = all.iter().any(|advice| advice.status == Status::Failing);
    Ok(if failing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
