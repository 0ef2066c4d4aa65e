//! A flood from listed sources, in a network namespace of its own: the sensor's XDP program, one that drops everything, and a set of nftables.
//! The measuring code is an ignored test of the agent, which alone can fill the lists.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages::{self, Needed};
use crate::paths;

const PROGRAMS: [Needed; 2] = [
    Needed { file: "/usr/sbin/nft", package: "nftables", why: "the firewall to compare with" },
    Needed { file: "/usr/sbin/ethtool", package: "ethtool", why: "sets up the victim's device" },
];

const MEASUREMENT: &str = "kernel::program_tests::flood::flood";
/// The namespace's own devices and a BPF file system, which a new mount of `/sys` hides.
const INSIDE: &str = "mount -t sysfs sysfs /sys && mount -t bpf bpf /sys/fs/bpf && exec \"$0\" \"$@\"";

pub(super) fn run() -> Result<()> {
    packages::ensure(&PROGRAMS, 10)?;
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "sh", "-c", INSIDE])
        .args(["cargo", "test", "--release", "--locked", "--offline", "--package", "sensor-agent"])
        .args(["--", "--ignored", "--nocapture", "--exact", MEASUREMENT])
        .current_dir(paths::root())
        .env("SENSOR_BENCH_OBJECT", paths::kernel_objects().join("bench.o"));
    let status = command.status().context("cannot run unshare")?;
    if !status.success() {
        bail!("the measurement failed ({status})");
    }
    Ok(())
}
