//! `sensor-agent rules false-positive`: says of an alert that it was none, and shows the exception that would have silenced it.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::client::{Change, Client};
use crate::cli::{Common, output};
use crate::printable::line;

/// Mark an alert as a false positive, and show what would have silenced it
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct FalsePositive {
    /// Number of the alert (`sensor.id`)
    alert: u64,
    /// Take the mark off again
    #[arg(long)]
    undo: bool,
}

impl FalsePositive {
    /// Runs the command.
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let change = if self.undo { Change::TakeBack } else { Change::Make };
        let path = format!("/api/security/alerts/{}/false-positive", self.alert);
        let answer = Client::new(&common.load()?)?.change(&path, change)?;
        if common.json {
            output::json(&answer)?;
        } else {
            self.show(&answer)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn show(&self, answer: &Value) -> anyhow::Result<()> {
        let state = match (answer["changed"] == true, self.undo) {
            (true, false) => "is marked as a false positive",
            (false, false) => "was marked already",
            (true, true) => "is no longer marked",
            (false, true) => "was not marked",
        };
        output::say(&format!("alert {} {state}", self.alert))?;
        let rules = answer["rules"].as_array().into_iter().flatten();
        let row = |rule: &Value| {
            let id = rule["id"].as_str().unwrap_or_default();
            vec![id.to_owned(), rule["false_positives"].to_string()]
        };
        output::table(&["rule", "false positives"], &rules.map(row).collect::<Vec<_>>())?;
        if self.undo {
            return Ok(());
        }
        answer["proposals"].as_array().into_iter().flatten().try_for_each(propose)
    }
}

/// An exception as it can be written into a rule file; what is in it came from a client, so that each line is escaped.
fn propose(proposal: &Value) -> anyhow::Result<()> {
    let text = |key: &str| proposal[key].as_str().unwrap_or_default();
    let exact = if proposal["exact"] == true {
        ""
    } else {
        ", and more than it: the event does not tell its exact place"
    };
    output::say(&format!("\n# silences rule {} there{exact}", line(text("rule"))))?;
    text("exception").lines().try_for_each(|part| output::say(&line(part)))?;
    let route = text("exception_for_route");
    if !route.is_empty() {
        output::say("# or, for all paths of that form:")?;
        route.lines().try_for_each(|part| output::say(&format!("# {}", line(part))))?;
    }
    Ok(())
}
