//! A real systemd, as process 1 of namespaces of its own: its file system is the host's under a throw-away layer, its network that of
//! the application host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::lab::Host;
use crate::process::{Process, wait_until};

const SYSTEMD: &str = "/lib/systemd/systemd";

/// Where, for this systemd, the sensor's service logs: there is no journal.
pub const LOG: &str = "/run/sensor.log";

/// A running systemd.
#[derive(Debug)]
pub struct Systemd {
    process: Process,
    main: u32,
}

impl Systemd {
    /// Whether this machine has one.
    #[must_use]
    pub fn present() -> bool {
        Path::new(SYSTEMD).exists()
    }

    /// Starts it on `host`, with its layers and log in `folder`.
    ///
    /// # Errors
    /// If the namespaces cannot be made or it does not come up within 20 s.
    pub fn start(host: &Host, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let script = folder.join("boot.sh");
        fs::write(&script, boot_script(folder))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        let log = fs::File::create(folder.join("systemd.log"))?;
        let mut command = host.command(Path::new("/usr/bin/unshare"));
        command
            .args([
                "--fork",
                "--pid",
                "--mount",
                "--uts",
                "--ipc",
                "--cgroup",
                "--mount-proc",
                "--kill-child",
            ])
            .arg(&script)
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = Process::start(&mut command)?;
        let mut main = None;
        wait_until("systemd is up", Duration::from_secs(20), || {
            main = main.or_else(|| child_of(process.id()));
            main.is_some_and(|main| {
                let state = enter(main, &["systemctl", "is-system-running"]).output();
                state.is_ok_and(|output| {
                    ["running\n", "degraded\n"].contains(&&*String::from_utf8_lossy(&output.stdout))
                })
            })
        })
        .with_context(|| fs::read_to_string(folder.join("systemd.log")).unwrap_or_default())?;
        Ok(Self { process, main: main.context("no process 1")? })
    }

    /// Runs a command where this systemd is process 1.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn run(&self, command: &[&str]) -> Result<Output> {
        enter(self.main, command).output().with_context(|| format!("cannot run `{}`", command.join(" ")))
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // `unshare --kill-child` takes process 1 along, and with it all of its namespace.
        let _ = self.process.signal(Signal::SIGKILL);
    }
}

fn enter(main: u32, command: &[&str]) -> Command {
    let mut entered = Command::new("nsenter");
    entered.args(["--target", &main.to_string(), "--all"]).args(command);
    entered
}

fn child_of(parent: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Everything that this systemd writes goes to a layer in memory, and nothing of the host's own boot is started: a test must not
/// clean the host's `/tmp`, apply its sysctls or talk to its devices.
fn boot_script(folder: &Path) -> String {
    let layers = folder.join("layers");
    let layers = layers.display();
    format!(
        "#!/bin/sh\nset -e\n\
         mount --make-rprivate /\nmkdir -p {layers}\nmount -t tmpfs tmpfs {layers}\ncd {layers}\nmkdir upper work root\n\
         mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root\ncd root\n\
         mount -t proc proc proc\nmount -o bind,ro proc/sys proc/sys\n\
         mount -t sysfs sysfs sys\nmount -t bpf bpf sys/fs/bpf\nmount -t tracefs tracefs sys/kernel/tracing\nmount -t cgroup2 none sys/fs/cgroup\n\
         mount --rbind /dev dev\nmount -t tmpfs tmpfs run\nmount -t tmpfs tmpfs tmp\n\
         rm -rf lib/systemd/system/*.wants etc/systemd/system/*.wants lib/systemd/system-generators/*\n\
         mkdir -p run/systemd/system mnt\n\
         printf '[Unit]\\nDescription=test\\nDefaultDependencies=no\\n' > run/systemd/system/test.target\n\
         mkdir -p run/systemd/system/sensor.service.d\n\
         printf '[Service]\\nStandardError=append:{LOG}\\n' > run/systemd/system/sensor.service.d/log.conf\n\
         pivot_root . mnt\n\
         mkdir -p {agent}\nmount --bind mnt{agent} {agent}\numount -l mnt\n\
         export container=other\n\
         exec {SYSTEMD} --system --unit=test.target --log-target=console --show-status=no\n",
        agent = agent_folder().display(),
    )
}

/// Folder of the binary under test: it may lie on a file system of its own, which the layer does not show.
fn agent_folder() -> PathBuf {
    let binary = crate::agent::binary();
    let binary = binary.canonicalize().unwrap_or(binary);
    binary.parent().unwrap_or(Path::new("/")).to_owned()
}
