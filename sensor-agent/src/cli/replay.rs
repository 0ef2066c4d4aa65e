//! `sensor-agent replay`: captures, HTTP archives and requests through the engine, without a kernel and without rights.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use sensor_engine::engine::{Engine, Settings};
use sensor_engine::facts::Key;
use sensor_engine::policy::Mode;

use super::{Common, output, rules};
use crate::alert::listing;
use crate::clock::WallClock;
use crate::detection;
use crate::replay::{self, Account, Seen};

/// Run a capture, an HTTP archive or a request through the engine, and show what it says
#[derive(Debug, clap::Args)]
pub(super) struct Replay {
    /// pcap, pcapng (Ethernet, Linux cooked, loopback, raw IP), HAR, or an HTTP/1 request as it goes over the wire
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// List every request with its response, as it was understood
    #[arg(long)]
    transactions: bool,
}

impl Replay {
    /// Runs the command. What is found is no failure: a capture is there to be looked at.
    pub(super) fn run(self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let rules = Arc::new(detection::load_with_keys(&config.detection)?.rules);
        let mut policy = config.policy();
        policy.mode = Mode::Observe;
        let policy = Arc::new(policy);
        for file in &self.files {
            let key = Key::new(rand::random());
            let settings = Settings { list_transactions: self.transactions, ..config.engine_settings() };
            let standing = Arc::clone(&settings.standing);
            let observer = config.observer(Arc::clone(&rules), Arc::clone(&policy), key.clone(), standing);
            let settings = Settings { facts: observer.is_some().then_some(key), ..settings };
            let mut engine = Engine::new(settings, Arc::clone(&rules), Arc::clone(&policy));
            let started = Instant::now();
            // A capture has the wall clock's times.
            let clock = WallClock::of_wall_times();
            engine.set_wall_offset(Some(clock.offset_secs()));
            let mut reports = 0;
            let mut out = output::Lines::new();
            let replay = replay::Replay::new(engine, observer, |seen| match seen {
                Seen::Report(delivered) => {
                    reports += 1;
                    out.flush()?;
                    rules::show(&delivered, reports, clock, common)
                }
                Seen::Transaction(one) if common.json => out.say(&listing::event(&one, clock)),
                Seen::Transaction(one) => out.say(&listing::text(&one)),
            });
            let (account, engine) = replay.run(file)?;
            out.flush()?;
            if !common.json {
                conclude(account, &engine, reports, started)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn conclude(account: Account, engine: &Engine, reports: u64, started: Instant) -> anyhow::Result<()> {
    let stats = engine.stats();
    let secs = started.elapsed().as_secs_f64();
    output::say(&format!(
        "{} packets or requests read in {secs:.2} s, {} passed over, {} requests and {} responses understood, {reports} reports",
        account.read,
        account.passed_over,
        stats.named("requests"),
        stats.named("responses"),
    ))?;
    if account.fragments > 0 {
        output::say(&format!("{} packets were parts of IP datagrams", account.fragments))?;
    }
    if account.cut_off {
        output::say("the file ends in the middle of a packet, or has a block that cannot be read")?;
    }
    Ok(())
}
