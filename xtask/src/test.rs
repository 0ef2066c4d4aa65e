//! All tests, with everything they need.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use nix::unistd::geteuid;

use crate::build::{self, Profile};
use crate::packages::{self, Needed};
use crate::{paths, step, vm};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only tests whose name contains this.
    filter: Option<String>,
    /// Only boot other kernels (Debian's 6.1 and 6.12) in virtual machines and run the agent there; without a filter that is
    /// done after all other tests.
    #[arg(long)]
    vm: bool,
    /// Record how much those kernels' verifiers walk through, instead of comparing it with what is recorded
    #[arg(long, requires = "vm")]
    record: bool,
}

/// The browser in which the page is tested.
const BROWSER: [Needed; 1] =
    [Needed { file: "/usr/bin/chromium", package: "chromium", why: "the page is tested in a real browser" }];

/// What the tests of devices put in the sensor's way.
const TOOLS: [Needed; 1] = [Needed {
    file: "/usr/sbin/bpftool",
    package: "bpftool",
    why: "attaches a program as somebody else would",
}];
/// Clients and servers whose traffic the sensor must understand as they do.
const CLIENTS: [Needed; 6] = [
    Needed { file: "/usr/bin/curl", package: "curl", why: "a client whose requests are read" },
    Needed { file: "/usr/bin/wrk", package: "wrk", why: "a client with many connections" },
    Needed { file: "/usr/bin/h2load", package: "nghttp2-client", why: "clients of HTTP/2" },
    Needed { file: "/usr/sbin/nghttpx", package: "nghttp2-proxy", why: "a server of HTTP/2 by Upgrade" },
    Needed { file: "/usr/bin/python3", package: "python3", why: "a client and a server" },
    Needed { file: "/usr/bin/node", package: "nodejs", why: "a client and a server" },
];

/// Programs that the end-to-end tests and the demo drive.
pub(crate) const PROGRAMS: [Needed; 4] = [
    Needed { file: "/usr/sbin/nginx", package: "nginx-light", why: "the application that is protected" },
    Needed { file: "/usr/sbin/ip", package: "iproute2", why: "test hosts are network namespaces" },
    Needed { file: "/usr/bin/nsenter", package: "util-linux", why: "programs are started inside them" },
    Needed { file: "/usr/bin/setpriv", package: "util-linux", why: "tests take rights away" },
];

pub(crate) fn command(options: &Options) -> Result<()> {
    if !geteuid().is_root() {
        step::say(
            "without root the kernel programs and network namespaces are not tested; those tests say so",
        );
    } else {
        packages::ensure(&PROGRAMS, 20)?;
        packages::ensure(&BROWSER, 40)?;
        packages::ensure(&TOOLS, 10)?;
        packages::ensure(&CLIENTS, 30)?;
        mount_bpffs()?;
        mount_tracefs();
    }
    let agent = build::all(Profile::Debug)?;
    if options.vm {
        return vm::test(&agent, options.record);
    }
    step::headline("Tests (usually 4 minutes to compile, 2 to run)");
    let mut command = Command::new("cargo");
    command
        .args(["test", "--locked", "--workspace", "--no-fail-fast"])
        .current_dir(paths::root())
        .env("SENSOR_AGENT", &agent);
    command.env("CARGO_TARGET_DIR", paths::target());
    if let Some(filter) = &options.filter {
        command.arg(filter);
    }
    let status = command.status()?;
    if !status.success() {
        bail!("tests failed ({status})");
    }
    if options.filter.is_none() && geteuid().is_root() {
        step::headline("Other kernels (usually 2 minutes)");
        vm::test(&agent, false)?;
    }
    Ok(())
}

/// The BPF file system, where pins live; systemd mounts it, a container or a rescue shell may not.
pub(crate) fn mount_bpffs() -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    if mounts.lines().any(|line| line.split(' ').nth(2) == Some("bpf")) {
        return Ok(());
    }
    if !Path::new("/sys/fs/bpf").exists() {
        bail!("this kernel has no BPF file system (CONFIG_BPF_SYSCALL)");
    }
    step::run("Mount the BPF file system", 0, Command::new("mount").args(["-t", "bpf", "bpf", "/sys/fs/bpf"]))
}

/// The file system of tracepoints, by which the agent sees who accepts connections; it does without where there is none.
pub(crate) fn mount_tracefs() {
    let folder = Path::new("/sys/kernel/tracing");
    if folder.join("events").exists() || !folder.exists() {
        return;
    }
    let mut mount = Command::new("mount");
    if let Err(error) =
        step::run("Mount tracefs", 0, mount.args(["-t", "tracefs", "tracefs", "/sys/kernel/tracing"]))
    {
        step::say(&format!("{error:#}; processes are looked up in the socket tables instead"));
    }
}
