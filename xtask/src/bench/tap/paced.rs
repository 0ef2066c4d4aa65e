//! nginx at half of what it can do, by a client that keeps its pace: latency where nothing is saturated.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use sensor_tests::lab::Lab;

use super::{Options, account, median, observer};
use crate::bench::quantile;

/// Connections of the client.
const CONNECTIONS: u32 = 16;

/// What one half of a round gave.
struct Half {
    per_sec: f64,
    p50_us: f64,
    p99_us: f64,
}

pub(super) fn run(lab: &Lab, binary: &Path, folder: &Path, rate: f64, options: &Options) -> Result<()> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let (mut recorded, mut lost) = (0.0, 0.0);
    for round in 0..options.rounds {
        let log = folder.join(format!("paced-{round}"));
        without.push(half(lab, &log, rate, options.secs)?);
        let mut agent = observer(lab, binary, &folder.join(format!("agent-paced-{round}")))?;
        with.push(half(lab, &log, rate, options.secs)?);
        let (more, gone) = account(&agent)?;
        (recorded, lost) = (recorded + more, lost + gone);
        agent.stop()?;
    }
    println!("\nsmall answer, half load ({rate:.0} requests/s over {CONNECTIONS} connections)");
    let row = |name: &str, pick: fn(&Half) -> f64| {
        let of = |halves: &[Half]| median(halves.iter().map(pick).collect());
        let (base, loaded) = (of(&without), of(&with));
        println!("  {name:<22} {base:>12.1} {loaded:>12.1} {:>8.3}", loaded / base);
    };
    row("requests/s", |half| half.per_sec);
    row("latency p50, µs", |half| half.p50_us);
    row("latency p99, µs", |half| half.p99_us);
    println!("  {:<22} {:>12} {lost:>12.0} of {:.0}", "records lost", "", recorded + lost);
    Ok(())
}

/// So many requests per second over all connections.
pub(super) fn command(lab: &Lab, rate: f64, secs: u32) -> Command {
    let each = (rate / f64::from(CONNECTIONS)).max(1.0) as u32;
    let mut command = lab.clients[0].command(Path::new("/usr/bin/h2load"));
    command
        .args(["--h1", "-t1", &format!("-c{CONNECTIONS}"), &format!("-D{secs}"), &format!("--rps={each}")])
        .arg(format!("http://{}/index.html", lab.server(1)));
    command
}

fn half(lab: &Lab, log: &Path, rate: f64, secs: u32) -> Result<Half> {
    // The log is appended to.
    let _ = fs::remove_file(log);
    let mut command = command(lab, rate, secs);
    command.arg(format!("--log-file={}", log.display()));
    let output = command.output().context("cannot run h2load")?;
    if !output.status.success() {
        bail!("h2load failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut latencies = latencies(&fs::read_to_string(log)?);
    latencies.sort_by(f64::total_cmp);
    let per_sec = latencies.len() as f64 / f64::from(secs);
    Ok(Half { per_sec, p50_us: quantile(&latencies, 0.5), p99_us: quantile(&latencies, 0.99) })
}

/// Microseconds of each answered request: `start status microseconds`, by h2load(1).
fn latencies(log: &str) -> Vec<f64> {
    let lines = log.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|fields| fields.get(1) == Some(&"200"))
        .filter_map(|fields| fields.get(2)?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answered_requests_count() {
        assert_eq!(latencies("1764200000000000 200 150\n1764200000000100 -1 9\nrubbish\n"), [150.0]);
    }
}
