//! Hosts: one application host and its clients, each a network namespace, each client on a veth pair of its own.
//!
//! Client number n (from 1) has 10.66.n.2 to .199 and fd66:n::2, the application host 10.66.n.1 and fd66:n::1 on that pair.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A network namespace.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
}

/// An application host and clients; removed when dropped.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    /// The application host.
    pub app: Host,
    /// The clients, in order of their numbers.
    pub clients: Vec<Host>,
}

impl Lab {
    /// Makes the hosts. `prefix` begins every name; what an earlier run of the same prefix left is removed first.
    ///
    /// # Errors
    /// Without root, or without iproute2.
    pub fn new(prefix: &str, clients: u8) -> Result<Self> {
        remove_leftovers(prefix);
        let app = Host { name: format!("{prefix}-app") };
        let mut lab = Self { prefix: prefix.to_owned(), app, clients: Vec::new() };
        lab.app.create()?;
        for number in 1..=clients {
            lab.add_client(number)?;
        }
        Ok(lab)
    }

    /// Joins one more client to the application host.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn add_client(&mut self, number: u8) -> Result<()> {
        let client = Host { name: format!("{}-c{number}", self.prefix) };
        client.create()?;
        let (near, far) = (interface_of(number), "eth0".to_owned());
        ip(&[
            "link",
            "add",
            &near,
            "netns",
            &self.app.name,
            "type",
            "veth",
            "peer",
            "name",
            &far,
            "netns",
            &client.name,
        ])?;
        self.app.address(&near, &[format!("10.66.{number}.1/24"), format!("fd66:{number}::1/64")])?;
        client.address(&far, &[format!("10.66.{number}.2/24"), format!("fd66:{number}::2/64")])?;
        client.ip(&["route", "add", "default", "via", &format!("10.66.{number}.1")])?;
        self.clients.push(client);
        Ok(())
    }

    /// What begins the hosts' names.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The application host's address towards client `number`.
    #[must_use]
    pub fn server(&self, number: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 66, number, 1))
    }

    /// The same, IPv6.
    #[must_use]
    pub fn server6(&self, number: u8) -> IpAddr {
        IpAddr::V6(Ipv6Addr::new(0xfd66, u16::from(number), 0, 0, 0, 0, 0, 1))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        remove_leftovers(&self.prefix);
    }
}

/// Interface of the application host towards client `number`.
#[must_use]
pub fn interface_of(number: u8) -> String {
    format!("client{number}")
}

impl Host {
    /// Name of the namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread that is on this host.
    ///
    /// # Errors
    /// If the namespace cannot be entered; else what `work` returns.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                self.enter_here()?;
                work()
            });
            worker.join().unwrap_or_else(|_| bail!("the work on `{}` panicked", self.name))
        })
    }

    /// Moves the calling thread to this host, for good.
    ///
    /// # Errors
    /// If the namespace is gone or this is not root.
    pub fn enter_here(&self) -> Result<()> {
        let path = format!("/run/netns/{}", self.name);
        let namespace = File::open(&path).with_context(|| format!("no network namespace at `{path}`"))?;
        setns(namespace, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter `{path}` (root?)"))
    }

    /// A command that runs on this host. The file systems stay those of the caller: `ip netns exec` would hide bpffs.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(program);
        command
    }

    /// Runs `ip` on this host.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        let mut all = vec!["-netns", self.name.as_str()];
        all.extend(arguments);
        ip(&all)
    }

    /// Gives an interface addresses and brings it up.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn address(&self, interface: &str, addresses: &[String]) -> Result<()> {
        for address in addresses {
            self.ip(&["address", "add", address, "dev", interface, "nodad"])
                .or_else(|_| self.ip(&["address", "add", address, "dev", interface]))?;
        }
        self.ip(&["link", "set", interface, "up"])
    }

    fn create(&self) -> Result<()> {
        ip(&["netns", "add", &self.name])?;
        self.ip(&["link", "set", "lo", "up"])
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot run `ip` (package iproute2)")?;
    if !output.status.success() {
        bail!("`ip {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn remove_leftovers(prefix: &str) {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    for name in names.filter(|name| name.starts_with(&format!("{prefix}-"))) {
        end_processes(&name);
        // A namespace that another process still uses goes away with it.
        let _ = ip(&["netns", "delete", &name]);
    }
}

/// Ends what still runs on a host: nginx's workers, say, when their master was killed.
fn end_processes(name: &str) {
    let Ok(listed) = Command::new("ip").args(["netns", "pids", name]).output() else { return };
    let pids = String::from_utf8_lossy(&listed.stdout).into_owned();
    for pid in pids.lines().filter_map(|line| line.trim().parse().ok()) {
        // One that has just ended needs no more.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
