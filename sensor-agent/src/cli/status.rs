//! `sensor-agent status`: the health as the running agent sees it, or what still stands in the kernel without one.

use std::process::ExitCode;

use serde_json::Value;

use super::client::{Client, is_down};
use super::output::{GREEN, PLAIN, RED, YELLOW};
use super::{Common, output};
use crate::blocklist::Book;
use crate::config::Config;
use crate::duration;

/// Runs the command. It fails unless the agent is well, so that scripts can ask.
pub(super) fn run(common: &Common) -> anyhow::Result<ExitCode> {
    let config = common.load()?;
    match Client::new(&config).and_then(|client| client.get("/api/security/health", &Vec::new())) {
        Ok(health) => show(&health, common),
        Err(error) if is_down(&error) => down(&config, &error, common),
        Err(error) => Err(error),
    }
}

fn show(health: &Value, common: &Common) -> anyhow::Result<ExitCode> {
    let status = text(&health["status"]);
    if common.json {
        output::json(health)?;
    } else {
        let colour = match status.as_str() {
            "ok" => GREEN,
            "degraded" => YELLOW,
            _ => RED,
        };
        let uptime = std::time::Duration::from_secs(health["uptime_secs"].as_u64().unwrap_or(0));
        output::say(&format!(
            "{colour}{status}{PLAIN}: sensor {}, mode {}, up {}",
            text(&health["version"]),
            text(&health["mode"]),
            duration::human(uptime)
        ))?;
        output::table(&["check", "status", "detail"], &rows(&health["checks"]))?;
        for stage in ["xdp", "tap"] {
            let figures = &health["capture"][stage];
            output::say(&format!("{stage}: {} packets seen, {} lost", figures["seen"], figures["lost"]))?;
        }
    }
    Ok(if status == "failing" { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn rows(checks: &Value) -> Vec<Vec<String>> {
    let checks = checks.as_object().into_iter().flatten();
    checks.map(|(name, check)| vec![name.clone(), text(&check["status"]), text(&check["detail"])]).collect()
}

fn text(value: &Value) -> String {
    crate::printable::line(value.as_str().unwrap_or("?")).into_owned()
}

fn down(config: &Config, error: &anyhow::Error, common: &Common) -> anyhow::Result<ExitCode> {
    let blocked = Book::open(&config.capture.pin_dir).and_then(|book| Ok(book.blocked()?.len()));
    if common.json {
        output::json(&serde_json::json!({
            "status": "down", "reason": format!("{error:#}"), "blocked": blocked.as_ref().ok(),
        }))?;
    } else {
        output::say(&format!("{RED}down{PLAIN}: {error:#}"))?;
        output::say(&match blocked {
            Ok(count) => format!("{count} entries of the block list are pinned, and count until they expire"),
            Err(_) => "no block list is pinned: nothing is blocked".to_owned(),
        })?;
    }
    Ok(ExitCode::FAILURE)
}
