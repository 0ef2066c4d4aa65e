//! `sensor-agent alerts`: from the running agent, or from its database while it is down.

use std::process::ExitCode;

use ipnet::IpNet;
use sensor_engine::finding::{Class, Severity};
use serde_json::Value;

use super::client::{Client, Query, is_down};
use super::{Common, output};
use crate::config::Config;
use crate::store::{Filter, Owner, Store};
use crate::target;

/// Show alerts, newest last.
#[derive(Debug, clap::Args)]
pub(super) struct Alerts {
    /// Go on with alerts as they come
    #[arg(long, short)]
    follow: bool,
    /// Only these attack classes
    #[arg(long, value_delimiter = ',')]
    class: Vec<Class>,
    /// Only these severities
    #[arg(long, value_delimiter = ',')]
    severity: Vec<Severity>,
    /// Only clients of this address or prefix
    #[arg(long, value_parser = target::parse)]
    source: Option<IpNet>,
    /// Only connections of the process of this name
    #[arg(long)]
    process: Option<String>,
    /// Only connections of this systemd unit, such as nginx.service
    #[arg(long)]
    unit: Option<String>,
    /// Only connections of this container, by its id or the beginning of it
    #[arg(long)]
    container: Option<String>,
    /// Only connections of this user's processes, by name, or by number where it has none
    #[arg(long)]
    user: Option<String>,
    /// Only from this time on, such as 2026-01-02T03:04:05Z
    #[arg(long)]
    since: Option<jiff::Timestamp>,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=500))]
    limit: u64,
}

const HEADS: [&str; 8] = ["time", "source", "class", "severity", "verdict", "process", "request", "what"];

impl Alerts {
    /// Runs the command.
    pub(super) fn run(self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let client = Client::new(&config);
        let events = match client.as_ref().map(|client| self.ask(client)) {
            Ok(Ok(events)) => events,
            Ok(Err(error)) if is_down(&error) && !self.follow => self.read(&config, &error)?,
            Err(error) if is_down(error) && !self.follow => self.read(&config, error)?,
            Ok(Err(error)) => return Err(error),
            Err(_) => return client.map(|_| ExitCode::FAILURE),
        };
        self.show(&events, common)?;
        if self.follow {
            let last = events.last().and_then(|event| event["sensor"]["id"].as_u64()).unwrap_or(0);
            self.go_on(&client?, last, common)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The page as the agent gives it, oldest first.
    fn ask(&self, client: &Client) -> anyhow::Result<Vec<Value>> {
        let mut query = self.query();
        query.push(("limit", self.limit.max(1).to_string()));
        let mut page = client.get("/api/security/alerts", &query)?;
        let mut events: Vec<Value> = serde_json::from_value(page["alerts"].take())?;
        events.reverse();
        Ok(events)
    }

    fn query(&self) -> Query {
        let mut query = Query::new();
        let mut names = |key, names: Vec<&str>| {
            if !names.is_empty() {
                query.push((key, names.join(",")));
            }
        };
        names("class", self.class.iter().map(|class| class.name()).collect());
        names("severity", self.severity.iter().map(|severity| severity.name()).collect());
        query.extend(self.source.map(|source| ("source", source.to_string())));
        let owner = self.owner();
        let owners = [
            ("process", owner.process),
            ("unit", owner.unit),
            ("container", owner.container),
            ("user", owner.user),
        ];
        query.extend(owners.into_iter().filter_map(|(key, value)| Some((key, value?))));
        query.extend(self.since.map(|since| ("since", since.to_string())));
        query
    }

    fn owner(&self) -> Owner {
        Owner {
            process: self.process.clone(),
            unit: self.unit.clone(),
            container: self.container.clone(),
            user: self.user.clone(),
        }
    }

    /// The same from the database, oldest first.
    fn read(&self, config: &Config, error: &anyhow::Error) -> anyhow::Result<Vec<Value>> {
        anstream::eprintln!("{error:#}; reading `{}`", config.store.path.display());
        let filter = Filter {
            classes: self.class.clone(),
            severities: self.severity.clone(),
            source: self.source,
            owner: self.owner(),
            since_us: self.since.map(jiff::Timestamp::as_microsecond),
            until_us: None,
        };
        let limit = usize::try_from(self.limit)?;
        let mut found = Store::open_for_reading(&config.store.path)?.newest(&filter, None, limit)?;
        found.reverse();
        found.iter().map(|stored| Ok(serde_json::from_str(&stored.event)?)).collect()
    }

    fn show(&self, events: &[Value], common: &Common) -> anyhow::Result<()> {
        if common.json {
            return events.iter().try_for_each(|event| output::say(&event.to_string()));
        }
        if events.is_empty() && !self.follow {
            return output::say("no alerts");
        }
        output::table(&HEADS, &events.iter().map(row).collect::<Vec<_>>())
    }

    /// Reconnects where the stream ended, as long as the agent answers.
    fn go_on(&self, client: &Client, mut last: u64, common: &Common) -> anyhow::Result<()> {
        loop {
            let mut query = self.query();
            query.retain(|(key, _)| *key != "since");
            query.push(("after", last.to_string()));
            client.follow("/api/security/alerts/stream", &query, |data| {
                let event: Value = serde_json::from_str(data)?;
                last = event["sensor"]["id"].as_u64().unwrap_or(last);
                output::say(&if common.json { event.to_string() } else { line(&event) })
            })?;
        }
    }
}

fn row(event: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (http, sensor) = (&event["http"], &event["sensor"]);
    let suppressed = match sensor["suppressed"].as_u64() {
        Some(count) => format!(" (and {count} like it)"),
        None => String::new(),
    };
    let crowd = match sensor["behind"]["sessions"].as_u64() {
        Some(sessions @ 2..) => format!(" ({sessions} sessions behind the address)"),
        _ => String::new(),
    };
    vec![
        text(&event["timestamp"]),
        text(&event["src_ip"]),
        text(&sensor["class"]),
        text(&sensor["severity"]),
        text(&sensor["verdict"]) + &crowd,
        crate::printable::short(&text(&sensor["process"]["name"]), 20),
        crate::printable::short(&format!("{} {}", text(&http["http_method"]), text(&http["url"])), 60),
        text(&event["alert"]["signature"]) + &suppressed,
    ]
}

fn line(event: &Value) -> String {
    let cells: Vec<_> = row(event).iter().map(|cell| crate::printable::line(cell).into_owned()).collect();
    cells.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_event_is_one_harmless_line() {
        let event = serde_json::json!({
            "timestamp": "t", "src_ip": "192.0.2.1",
            "http": { "http_method": "GET", "url": "/\u{1b}[2J\n" },
            "alert": { "signature": "s\u{202e}" }, "sensor": { "class": "JWT", "suppressed": 3 },
        });
        let line = line(&event);
        assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line}");
        assert!(line.ends_with("(and 3 like it)"));
    }
}
