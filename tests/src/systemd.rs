//! A real systemd, as process 1 of namespaces of its own: its file system is the host's with a throw-away layer over the folders that
//! an installation writes to, its network that of the application host.

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

fn boot_script(folder: &Path) -> String {
    let layers: PathBuf = folder.join("layers");
    let layers = layers.display();
    format!(
        "#!/bin/sh\nset -e\nmount --make-rprivate /\nmkdir -p {layers}\nmount -t tmpfs tmpfs {layers}\n\
         for name in etc usr/local usr/share var/lib var/log; do\n\
           mkdir -p {layers}/$name/upper {layers}/$name/work\n\
           mount -t overlay overlay -o lowerdir=/$name,upperdir={layers}/$name/upper,workdir={layers}/$name/work /$name\n\
         done\n\
         mount -t bpf bpf /sys/fs/bpf\nmount -t tmpfs tmpfs /run\nmkdir -p /run/systemd/system\n\
         umount -l /sys/fs/cgroup 2>/dev/null || true\nmount -t cgroup2 none /sys/fs/cgroup\n\
         printf '[Unit]\\nDescription=test\\nDefaultDependencies=no\\n' > /run/systemd/system/test.target\n\
         export container=other\n\
         exec {SYSTEMD} --system --unit=test.target --log-target=console --show-status=no\n"
    )
}
