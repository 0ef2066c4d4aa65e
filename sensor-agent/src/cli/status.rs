//! `sensor-agent status`: the health as the running agent sees it, or what still stands in the kernel without one.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::client::{Client, is_down};
use super::kernel_time::{self, Cost};
use super::output::{GREEN, PLAIN, RED, YELLOW};
use super::{Common, output};
use crate::blocklist::Book;
use crate::config::Config;
use crate::duration;

/// Show how the agent is, and how full the kernel's maps are.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// Have the kernel measure the programs for so many seconds first; needs root, and slows all BPF programs a little
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..=600))]
    kernel_time: Option<u64>,
}

impl Status {
    /// Runs the command. It fails unless the agent is well, so that scripts can ask.
    pub(super) fn run(self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let ask = || Client::new(&config)?.get("/api/security/health", &Vec::new());
        let answer = match self.kernel_time {
            None => ask().map(|health| (health, None)),
            Some(secs) => kernel_time::measure(Duration::from_secs(secs), ask)
                .map(|(health, costs)| (health, Some(costs))),
        };
        match answer {
            Ok((health, costs)) => show(health, costs.as_deref(), common),
            Err(error) if is_down(&error) => down(&config, &error, common),
            Err(error) => Err(error),
        }
    }
}

fn show(mut health: Value, costs: Option<&[Cost]>, common: &Common) -> anyhow::Result<ExitCode> {
    let status = text(&health["status"]);
    if common.json {
        if let Some(costs) = costs {
            health["kernel_time"] = serde_json::to_value(costs)?;
        }
        output::json(&health)?;
    } else {
        let colour = match status.as_str() {
            "ok" => GREEN,
            "degraded" => YELLOW,
            _ => RED,
        };
        let uptime = Duration::from_secs(health["uptime_secs"].as_u64().unwrap_or(0));
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
        output::table(&["kernel memory", "used", "of", "%"], &fills(&health["kernel"]))?;
        if let Some(costs) = costs {
            output::table(&kernel_time::HEADS, &costs.iter().map(kernel_time::row).collect::<Vec<_>>())?;
        }
    }
    Ok(if status == "failing" { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn rows(checks: &Value) -> Vec<Vec<String>> {
    let checks = checks.as_object().into_iter().flatten();
    checks.map(|(name, check)| vec![name.clone(), text(&check["status"]), text(&check["detail"])]).collect()
}

/// How full maps and rings are: entries, and bytes that wait.
fn fills(kernel: &Value) -> Vec<Vec<String>> {
    let each = |key: &str| kernel[key].as_array().cloned().unwrap_or_default();
    let fill = |of: &Value, used: &str, most: &str, unit: &str| {
        let (used, most) = (of[used].as_u64().unwrap_or(0), of[most].as_u64().unwrap_or(0));
        let more = if of["at_least"] == true { "+" } else { "" };
        let percent = (used as f64 / most.max(1) as f64 * 100.0).floor();
        vec![text(&of["name"]), format!("{used}{more}{unit}"), format!("{most}{unit}"), format!("{percent}")]
    };
    let maps = each("maps").into_iter().map(|map| fill(&map, "entries", "max_entries", ""));
    let rings = each("rings").into_iter().map(|ring| fill(&ring, "waiting_bytes", "size_bytes", " B"));
    maps.chain(rings).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_are_shown_with_their_share() {
        let kernel = serde_json::json!({
            "maps": [{ "name": "FLOWS", "entries": 32768, "max_entries": 65536, "at_least": false },
                     { "name": "BLOCK4", "entries": 1048576, "max_entries": 16777216, "at_least": true }],
            "rings": [{ "name": "ring-0", "waiting_bytes": 0, "size_bytes": 1024 }],
        });
        let expected = [
            ["FLOWS", "32768", "65536", "50"],
            ["BLOCK4", "1048576+", "16777216", "6"],
            ["ring-0", "0 B", "1024 B", "0"],
        ];
        assert_eq!(fills(&kernel), expected);
        assert_eq!(fills(&Value::Null), [[""; 4]; 0]);
    }
}
