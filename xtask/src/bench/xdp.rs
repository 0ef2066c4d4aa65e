//! What a packet costs in the XDP program, run by the kernel itself on lists of four sizes. The measuring code is an ignored test of the
//! agent, which alone can fill the lists; this builds it for speed and shows what it prints.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;

/// Options of the measurement.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Only the list with this many addresses: 0, 1000, 100000 or 1000000.
    #[arg(long)]
    addresses: Option<u64>,
}

const MEASUREMENT: &str = "kernel::program_tests::speed::speed";

pub(super) fn run(options: &Options) -> Result<()> {
    let mut command = Command::new("cargo");
    command
        .args([
            "test",
            "--release",
            "--locked",
            "--package",
            "sensor-agent",
            "--",
            "--ignored",
            "--nocapture",
        ])
        .args(["--exact", MEASUREMENT])
        .current_dir(paths::root())
        .env("SENSOR_BENCH_OBJECT", paths::kernel_objects().join("bench.o"));
    if let Some(addresses) = options.addresses {
        command.env("SENSOR_BENCH_LIST", addresses.to_string());
    }
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the measurement failed ({status})");
    }
    Ok(())
}
