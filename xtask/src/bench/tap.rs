//! nginx under load, with and without the sensor, in alternating rounds of one run: only ratios of neighbours mean anything on a
//! shared machine. Then what a packet costs in the tap, by the kernel's own count of its run time.

mod download;
mod kernel;
mod paced;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};
use sensor_tests::agent::{Agent, Setup};
use sensor_tests::lab::Lab;
use sensor_tests::nginx::Nginx;

use super::{folder, median};

/// Options of the measurement.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Rounds, each once without and once with the sensor.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of load in each half of a round.
    #[arg(long, default_value_t = 5)]
    secs: u32,
    /// Only one part of it
    #[arg(long)]
    only: Option<Part>,
}

/// Parts of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// nginx at what it can do.
    Saturated,
    /// nginx at half of that.
    Half,
    /// A large download.
    Download,
    /// Time in the kernel.
    Kernel,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

/// A load: what is asked for, and over how many connections.
struct Load {
    name: &'static str,
    target: &'static str,
    connections: u32,
}

const LOADS: [Load; 3] = [
    Load { name: "small answer, 32 connections (saturated)", target: "/index.html", connections: 32 },
    Load { name: "10 KB answer, 32 connections (saturated)", target: "/large.bin", connections: 32 },
    Load { name: "small answer, 1 connection", target: "/index.html", connections: 1 },
];

/// What one half of a round gave.
#[derive(Clone, Debug, Default)]
struct Sample {
    requests: f64,
    requests_per_sec: f64,
    p50_us: f64,
    p99_us: f64,
    app_cpu_us: f64,
    agent_cpu_us: f64,
    recorded: f64,
    lost: f64,
}

pub(super) fn run(binary: &Path, options: &Options) -> Result<()> {
    let folder = folder("tap")?;
    let lab = Lab::new("sensor-bench", 1)?;
    let nginx = Nginx::start(&lab.app, &folder.join("nginx"))?;
    println!(
        "{} rounds of {} s, medians; wrk, nginx and the agent share the CPUs",
        options.rounds, options.secs
    );
    let mut most = 0.0;
    for load in LOADS.iter().filter(|_| options.wants(Part::Saturated)) {
        let rate = measure(&lab, &nginx, binary, &folder, load, options)?;
        most = f64::max(most, rate);
    }
    if options.wants(Part::Half) {
        if most == 0.0 {
            most = load_nginx(&lab, &LOADS[0], options.secs)?.requests_per_sec;
        }
        paced::run(&lab, binary, &folder, most / 2.0, options)?;
    }
    if options.wants(Part::Download) {
        download::run(&lab, binary, &folder)?;
    }
    if options.wants(Part::Kernel) {
        kernel::run(&lab, binary, &folder, options)?;
        println!();
        super::measurement("kernel::program_tests::tap_speed::speed", &[])?;
    }
    Ok(())
}

/// Requests per second that nginx answers here, without the sensor in the way of the client.
pub(super) fn saturated(lab: &Lab) -> Result<f64> {
    Ok(load_nginx(lab, &LOADS[0], 3)?.requests_per_sec)
}

/// A client that keeps a pace, in the background.
pub(super) fn paced_load(lab: &Lab, rate: f64, secs: u32) -> Result<Child> {
    paced::command(lab, rate, secs).stdout(Stdio::null()).spawn().context("cannot run h2load")
}

/// A running agent that only observes, for one half of a round.
fn observer(lab: &Lab, binary: &Path, state: &Path) -> Result<Agent> {
    let setup = Setup { binary: binary.to_owned(), enforce: false, ring_bytes: 8 << 20, ..Setup::default() };
    let mut agent = Agent::new(&lab.app, state, &setup)?;
    agent.start()?;
    Ok(agent)
}

/// What the agent says was recorded and lost.
fn account(agent: &Agent) -> Result<(f64, f64)> {
    let outcome = |name: &str| agent.metric(&format!("sensor_tap_packets_total{{outcome=\"{name}\"}}"));
    Ok((outcome("recorded")?, outcome("ring_full")?))
}

/// Returns requests per second without the sensor.
fn measure(
    lab: &Lab,
    nginx: &Nginx,
    binary: &Path,
    folder: &Path,
    load: &Load,
    options: &Options,
) -> Result<f64> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        without.push(timed(lab, nginx, load, options.secs)?);
        let state = folder.join(format!("agent-{}-{round}", load.connections));
        let mut agent = observer(lab, binary, &state)?;
        let cpu_before = cpu_us(agent.process()?.id())?;
        let sample = timed(lab, nginx, load, options.secs)?;
        let agent_cpu_us = cpu_us(agent.process()?.id())? - cpu_before;
        let (recorded, lost) = account(&agent)?;
        with.push(Sample { agent_cpu_us, recorded, lost, ..sample });
        agent.stop()?;
    }
    print(load, &without, &with);
    Ok(median(without.iter().map(|sample| sample.requests_per_sec).collect()))
}

/// One load, with nginx's own processor time.
fn timed(lab: &Lab, nginx: &Nginx, load: &Load, secs: u32) -> Result<Sample> {
    let before = children_cpu_us(nginx.id())?;
    let sample = load_nginx(lab, load, secs)?;
    Ok(Sample { app_cpu_us: children_cpu_us(nginx.id())? - before, ..sample })
}

fn print(load: &Load, without: &[Sample], with: &[Sample]) {
    let of = |samples: &[Sample], pick: fn(&Sample) -> f64| median(samples.iter().map(pick).collect());
    let row = |name: &str, pick: fn(&Sample) -> f64| {
        let (base, loaded) = (of(without, pick), of(with, pick));
        println!("  {name:<22} {base:>12.1} {loaded:>12.1} {:>8.3}", loaded / base);
    };
    println!("\n{}\n  {:<22} {:>12} {:>12} {:>8}", load.name, "", "without", "with", "ratio");
    row("requests/s", |sample| sample.requests_per_sec);
    row("latency p50, µs", |sample| sample.p50_us);
    row("latency p99, µs", |sample| sample.p99_us);
    row("nginx CPU µs/request", |sample| sample.app_cpu_us / sample.requests);
    let cpu = median(with.iter().map(|sample| sample.agent_cpu_us / sample.requests).collect());
    println!("  {:<22} {:>12} {cpu:>12.2}", "agent CPU µs/request", "");
    let (recorded, lost): (f64, f64) =
        with.iter().fold((0.0, 0.0), |sum, s| (sum.0 + s.recorded, sum.1 + s.lost));
    println!("  {:<22} {:>12} {lost:>12.0} of {:.0}", "records lost", "", recorded + lost);
}

fn load_nginx(lab: &Lab, load: &Load, secs: u32) -> Result<Sample> {
    let mut command = lab.clients[0].command(Path::new("/usr/bin/wrk"));
    let threads = 1;
    command
        .args([
            "--latency",
            &format!("-t{threads}"),
            &format!("-c{}", load.connections),
            &format!("-d{secs}s"),
        ])
        .arg(format!("http://{}{}", lab.server(1), load.target));
    let output = command.output().context("cannot run wrk")?;
    if !output.status.success() {
        bail!("wrk failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    understand(&String::from_utf8_lossy(&output.stdout)).context("wrk's output was not understood")
}

fn understand(output: &str) -> Option<Sample> {
    let after = |label: &str| output.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
    let requests = output.lines().find(|line| line.contains(" requests in "))?.split_whitespace().next()?;
    Some(Sample {
        requests: requests.parse().ok()?,
        requests_per_sec: after("Requests/sec:")?.parse().ok()?,
        p50_us: micros(after("50%")?)?,
        p99_us: micros(after("99%")?)?,
        ..Sample::default()
    })
}

fn micros(text: &str) -> Option<f64> {
    let (number, factor) = [("us", 1.0), ("ms", 1e3), ("s", 1e6)]
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

/// Processor time of the workers of a process.
fn children_cpu_us(process: u32) -> Result<f64> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    children.split_whitespace().map(|child| cpu_us(child.parse()?)).sum()
}

/// Processor time of a process and its threads so far (proc_pid_stat(5)).
fn cpu_us(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100) as f64;
    Ok((ticks(11) + ticks(12)) / per_second * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrks_output_is_understood() {
        let output = "Running 5s test @ http://10.66.1.1/\n  Latency Distribution\n     50%    1.23ms\n     75%    2.00ms\n     \
                      99%  815.00us\n  12345 requests in 5.00s, 2.9MB read\nRequests/sec:   2469.01\n";
        let sample = understand(output).unwrap();
        assert_eq!((sample.requests, sample.requests_per_sec), (12345.0, 2469.01));
        assert_eq!((sample.p50_us, sample.p99_us), (1230.0, 815.0));
    }
}
