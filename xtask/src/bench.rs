//! Measurements of whole paths: real packets, real nginx, the release build.

mod beside;
mod block_latency;
mod detection;
mod engine;
mod flood;
#[path = "../../sensor-agent/engine/examples/engine/mixed.rs"]
mod mixed;
mod tap;
mod xdp;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use crate::build::{self, Profile};
use crate::packages::{self, Needed};
use crate::{paths, test};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Time from an attack's last segment at the tap to the block in force.
    BlockLatency(block_latency::Options),
    /// Transactions a second of one core, whether time is linear, and what connections cost (no root needed).
    Engine(engine::Options),
    /// What is detected of a corpus of labelled requests, and what is flagged by mistake. Needs neither root nor kernel.
    Detection(detection::Options),
    /// Packets of a flood dropped for a second of processor time, beside nftables.
    Flood,
    /// What a packet costs in the XDP program, with up to a million addresses listed.
    Xdp(xdp::Options),
    /// What the sensor costs nginx: requests per second, latency, processor time.
    Tap(tap::Options),
}

const CLIENTS: [Needed; 2] = [
    Needed { file: "/usr/bin/wrk", package: "wrk", why: "the load on nginx" },
    Needed { file: "/usr/bin/h2load", package: "nghttp2-client", why: "a load that keeps its pace" },
];

pub(crate) fn command(options: &Options) -> Result<()> {
    if let What::Engine(options) = &options.what {
        machine();
        return engine::run(options);
    }
    if let What::Detection(options) = &options.what {
        return detection::run(options);
    }
    if !geteuid().is_root() {
        bail!("the benchmarks load kernel programs, which needs root");
    }
    packages::ensure(&test::PROGRAMS, 20)?;
    packages::ensure(&CLIENTS, 10)?;
    let runs_the_agent = matches!(options.what, What::BlockLatency(_) | What::Tap(_));
    let binary = build::all(if runs_the_agent { Profile::Profiled } else { Profile::Release })?;
    test::mount_bpffs()?;
    machine();
    match &options.what {
        What::BlockLatency(options) => block_latency::run(&binary, options),
        What::Engine(options) => engine::run(options),
        What::Detection(options) => detection::run(options),
        What::Flood => flood::run(),
        What::Tap(options) => tap::run(&binary, options),
        What::Xdp(options) => xdp::run(options),
    }
}

/// Runs a measurement that is an ignored test of the agent, in the release profile.
fn measurement(name: &str, variables: &[(&str, &str)]) -> Result<()> {
    let mut command = Command::new("cargo");
    command
        .args(["test", "--release", "--locked", "--package", "sensor-agent", "--"])
        .args(["--ignored", "--nocapture", "--exact", name])
        .current_dir(paths::root())
        .envs(variables.iter().copied())
        .env("SENSOR_BENCH_OBJECT", paths::kernel_objects().join("bench.o"));
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the measurement failed ({status})");
    }
    Ok(())
}

/// A folder of this run, empty.
fn folder(name: &str) -> Result<PathBuf> {
    let folder = paths::target().join("bench").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn machine() {
    let kernel = Command::new("uname")
        .arg("-r")
        .output()
        .map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.to_owned()));
    println!("\nkernel {}, {cpus} CPUs, {}", kernel.unwrap_or_default(), model.unwrap_or_default());
}

/// The value below which `share` of the sorted values lie.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(((last as f64) * share).round() as usize).copied().unwrap_or(f64::NAN)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            (quantile(&values, 0.0), quantile(&values, 0.5), quantile(&values, 0.99)),
            (1.0, 51.0, 99.0)
        );
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
