//! From the last byte of an attack at the tap to the entry in force. The agent takes both times on the boot clock: the kernel's,
//! when the segment passed the tap, and its own behind the map update.

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sensor_tests::agent::{Agent, Setup};
use sensor_tests::http::{self, Client};
use sensor_tests::lab::{Host, Lab};
use sensor_tests::nginx::Nginx;
use sensor_tests::process::wait_until;

use super::{folder, quantile, tap};

/// Options of the measurement.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Attacks of each half, each from an address of its own: the kernel keeps about a thousand neighbours.
    #[arg(long, default_value_t = 450, value_parser = clap::value_parser!(u16).range(1..=450))]
    attacks: u16,
}

pub(super) fn run(binary: &Path, options: &Options) -> Result<()> {
    let folder = folder("block-latency")?;
    let lab = Lab::new("sensor-bench", 1)?;
    let _nginx = Nginx::start(&lab.app, &folder.join("nginx"))?;
    let setup = Setup { binary: binary.to_owned(), block_secs: 3600, ..Setup::default() };
    let mut agent = Agent::new(&lab.app, &folder.join("agent"), &setup)?;
    agent.start()?;
    add_addresses(&lab.clients[0], options.attacks * 2)?;
    let attacks = usize::from(options.attacks);
    println!("{attacks} attacks, one after another, the agent otherwise idle");
    attack_all(&lab, 1..=options.attacks)?;
    report(&agent, 0..attacks, &folder, "p50 ≤ 300 µs, p99 ≤ 2000 µs")?;
    let rate = tap::saturated(&lab)? / 2.0;
    println!("\nthe same beside {rate:.0} requests/s, half of what nginx can do here");
    let mut load = tap::paced_load(&lab, rate, LOAD_SECS)?;
    let attacked = attack_all(&lab, options.attacks + 1..=options.attacks * 2);
    // It ends by itself, later.
    let _ = load.kill();
    load.wait()?;
    attacked?;
    report(&agent, attacks..2 * attacks, &folder, "p99 ≤ 5000 µs")
}

/// Longer than the attacks take.
const LOAD_SECS: u32 = 60;

fn attack_all(lab: &Lab, mut numbers: RangeInclusive<u16>) -> Result<()> {
    let server = SocketAddr::new(lab.server6(1), 80);
    lab.clients[0].enter(|| numbers.try_for_each(|number| attack(address(number), server)))
}

fn attack(source: IpAddr, server: SocketAddr) -> Result<()> {
    let mut client = Client::connect_from(source, server)?;
    client.send(&http::get("/api/users?search=1'%20UNION%20SELECT%20*%20FROM%20admin_users--"))?;
    std::thread::sleep(Duration::from_millis(3));
    Ok(())
}

/// Tells of the blocks in that range, in the order of their reports.
fn report(agent: &Agent, range: Range<usize>, folder: &Path, aims: &str) -> Result<()> {
    let events = folder.join("agent/eve.json");
    let attacks = range.len();
    let read = || latencies(&events).unwrap_or_default();
    let complete =
        wait_until("every block is reported", Duration::from_secs(10), || read().len() >= range.end);
    let mut measured = read().split_off(range.start);
    if complete.is_err() {
        bail!("{} of {attacks} attacks led to a block; the agent logged:\n{}", measured.len(), agent.log());
    }
    measured.sort_by(f64::total_cmp);
    println!("blocks in force        {} of {attacks}", measured.len());
    for (name, share) in [("p50", 0.50), ("p90", 0.90), ("p99", 0.99), ("max", 1.0)] {
        println!("tap to entry, {name}      {:>8.1} µs", quantile(&measured, share));
    }
    println!("aims                   {aims}");
    Ok(())
}

fn latencies(events: &Path) -> Result<Vec<f64>> {
    let text = std::fs::read_to_string(events)?;
    let parsed = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    Ok(parsed.filter_map(|event| event["sensor"]["block"]["latency_us"].as_f64()).collect())
}

fn address(number: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd66, 1, 0, 0, 0, 0, 1, number))
}

fn add_addresses(client: &Host, count: u16) -> Result<()> {
    let mut ip = Command::new("ip");
    let mut child = ip.args(["-netns", client.name(), "-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("no standard input")?;
    for number in 1..=count {
        writeln!(input, "address add {}/64 dev eth0 nodad", address(number))?;
    }
    drop(input);
    let status = child.wait()?;
    if !status.success() {
        bail!("`ip -batch` could not add the attackers' addresses");
    }
    Ok(())
}
