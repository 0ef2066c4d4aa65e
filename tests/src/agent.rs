//! The agent under test: its own configuration, pins, state and port, on the application host.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::http::{self, Client, Response};
use crate::lab::Host;
use crate::process::{Process, wait_until};

/// Port of the API, on the application host's loopback address.
pub const API_PORT: u16 = 9470;

/// What of the configuration differs from one test to the next.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The binary.
    pub binary: PathBuf,
    /// Block, or only observe.
    pub enforce: bool,
    /// Seconds that a block lasts.
    pub block_secs: u64,
    /// Bytes of each ring.
    pub ring_bytes: u32,
    /// Number of rings; 0 for the default.
    pub rings: u32,
    /// Never blocked.
    pub exempt: Vec<String>,
    /// Further lines, in sections of their own.
    pub extra: String,
    /// Further lines of the section `[capture]`.
    pub capture: String,
    /// Further lines of the section `[alerts]`.
    pub alerts: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            binary: binary(),
            enforce: true,
            block_secs: 60,
            ring_bytes: 1 << 20,
            rings: 0,
            exempt: Vec::new(),
            extra: String::new(),
            capture: String::new(),
            alerts: String::new(),
        }
    }
}

/// An agent's files and, while it runs, its process.
#[derive(Debug)]
pub struct Agent {
    host: Host,
    binary: PathBuf,
    folder: PathBuf,
    pins: PathBuf,
    process: Option<Process>,
}

/// The binary under test: `SENSOR_AGENT`, or the workspace's debug build.
#[must_use]
pub fn binary() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/sensor-agent");
    std::env::var_os("SENSOR_AGENT").map_or_else(built, PathBuf::from)
}

/// The rules of the workspace.
#[must_use]
pub fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules")
}

static AGENTS: AtomicU32 = AtomicU32::new(0);

impl Agent {
    /// An agent on `host` with its files in `folder`; not started.
    ///
    /// # Errors
    /// If the files cannot be written or there is no BPF file system.
    pub fn new(host: &Host, folder: &Path, setup: &Setup) -> Result<Self> {
        ensure_bpffs()?;
        ensure_tracefs()?;
        remove_stale_pins();
        let number = AGENTS.fetch_add(1, Ordering::Relaxed);
        let pins = PathBuf::from(format!("{BPFFS}/{PINS}{}-{number}", std::process::id()));
        fs::create_dir_all(folder.join("rules"))?;
        let (host, binary, folder) = (host.clone(), setup.binary.clone(), folder.to_owned());
        let agent = Self { host, binary, folder, pins, process: None };
        copy_rules(&agent.rules())?;
        agent.configure(setup)?;
        Ok(agent)
    }

    /// Writes the configuration file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn configure(&self, setup: &Setup) -> Result<()> {
        let folder = self.folder.display();
        let exempt: Vec<_> = setup.exempt.iter().map(|net| format!("{net:?}")).collect();
        let text = format!(
            "[capture]\nring_bytes = {}\nrings = {}\npin_dir = {:?}\n{}\n\
             [detection]\nrules_dir = [\"{folder}/rules\"]\n\
             [response]\nenforce = {}\nblock_secs = {}\nexempt = [{}]\n\
             [alerts]\nfile = \"{folder}/eve.json\"\n{}\n\
             [store]\npath = \"{folder}/sensor.db\"\n\
             [api]\nlisten = \"127.0.0.1:{API_PORT}\"\ntoken_file = \"{folder}/api.token\"\n\
             [service]\nruntime_dir = \"{folder}/run\"\n{}\n",
            setup.ring_bytes,
            setup.rings,
            self.pins,
            setup.capture,
            setup.enforce,
            setup.block_secs,
            exempt.join(", "),
            setup.alerts,
            setup.extra,
        );
        fs::write(self.config(), text).context("cannot write the agent's configuration")
    }

    /// Runs another program as the agent from now on, such as a script that runs it in changed surroundings.
    pub fn run_as(&mut self, binary: PathBuf) {
        self.binary = binary;
    }

    /// What the health says of the interfaces, as JSON.
    ///
    /// # Errors
    /// If the API does not answer.
    pub fn interfaces(&self) -> Result<String> {
        let health: Value = serde_json::from_str(&self.api("GET", "/api/security/health", None)?.text())?;
        Ok(health["checks"]["interfaces"].to_string())
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("sensor.toml")
    }

    /// The file of alerts.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.folder.join("eve.json")
    }

    /// The rules' folder.
    #[must_use]
    pub fn rules(&self) -> PathBuf {
        self.folder.join("rules")
    }

    /// The pin directory.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// What the agent has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("agent.log")).unwrap_or_default()
    }

    /// Starts the agent and waits until its API answers.
    ///
    /// # Errors
    /// If it does not within 20 s; the message has what it logged.
    pub fn start(&mut self) -> Result<()> {
        let log = fs::File::options().create(true).append(true).open(self.folder.join("agent.log"))?;
        let mut command = self.host.command(&self.binary);
        command
            .arg("run")
            .arg("--config")
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.process = Some(Process::start(&mut command)?);
        let started = Instant::now();
        while self.api("GET", "/api/security/health", None).is_err() {
            let running = self.process.as_mut().is_some_and(Process::running);
            if !running || started.elapsed() > Duration::from_secs(20) {
                bail!("the agent does not answer; it logged:\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The running process.
    ///
    /// # Errors
    /// If it does not run.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the agent does not run")
    }

    /// Ends the agent as systemd would.
    ///
    /// # Errors
    /// If it does not end well within 10 s.
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the agent does not run")?;
        process.signal(Signal::SIGTERM)?;
        let status = process.wait(Duration::from_secs(10))?;
        if !status.success() {
            bail!("the agent ended with {status}; it logged:\n{}", self.log());
        }
        Ok(())
    }

    /// Kills the agent without notice.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the agent does not run")?;
        process.signal(Signal::SIGKILL)?;
        process.wait(Duration::from_secs(5)).map(drop)
    }

    /// Runs the agent's binary as a command on its host, with its configuration.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn cli(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.host.command(&self.binary);
        command.args(arguments).arg("--config").arg(self.config()).stdin(Stdio::null());
        command.output().context("cannot run the agent's command line")
    }

    /// As [`Agent::cli`] with `--json`, understood.
    ///
    /// # Errors
    /// If the command fails or prints no JSON.
    pub fn cli_json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.cli(&[arguments, &["--json"]].concat())?;
        if !output.status.success() {
            bail!("`{}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
    }

    /// The bearer token.
    ///
    /// # Errors
    /// If the agent has not made one yet.
    pub fn token(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.join("api.token"))?.trim().to_owned())
    }

    /// One request to the API, with the token.
    ///
    /// # Errors
    /// If nobody answers.
    pub fn api(&self, method: &str, target: &str, body: Option<&Value>) -> Result<Response> {
        let token = self.token()?;
        let body = body.map(ToString::to_string).unwrap_or_default();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{API_PORT}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        self.api_raw(request.as_bytes())
    }

    /// One request to the API, byte for byte.
    ///
    /// # Errors
    /// If nobody answers.
    pub fn api_raw(&self, request: &[u8]) -> Result<Response> {
        self.host.enter(|| http::once(api_address(), request))
    }

    /// Opens the live stream of alerts behind alert `after`; lines come from [`Client::read_line`].
    ///
    /// # Errors
    /// If the agent refuses it.
    pub fn stream(&self, after: u64) -> Result<Client> {
        let token = self.token()?;
        let request = format!(
            "GET /api/security/alerts/stream HTTP/1.1\r\nHost: 127.0.0.1:{API_PORT}\r\nAuthorization: Bearer {token}\r\n\
             Last-Event-ID: {after}\r\n\r\n"
        );
        let mut client = self.host.enter(|| Client::connect(api_address()))?;
        client.send(request.as_bytes())?;
        Ok(client)
    }

    /// All alerts, newest first.
    ///
    /// # Errors
    /// If the API does not answer with JSON.
    pub fn alerts(&self) -> Result<Vec<Value>> {
        let page = http::json(&self.api("GET", "/api/security/alerts?limit=500", None)?, 200)?;
        page["alerts"].as_array().cloned().context("no `alerts` in the answer")
    }

    /// Alerts of one client.
    ///
    /// # Errors
    /// As [`Agent::alerts`].
    pub fn alerts_of(&self, source: IpAddr) -> Result<Vec<Value>> {
        let mut alerts = self.alerts()?;
        alerts.retain(|alert| alert["sensor"]["client"]["address"] == source.to_string());
        Ok(alerts)
    }

    /// Waits for an alert of a source.
    ///
    /// # Errors
    /// If there is none within 3 s.
    pub fn wait_for_alert(&self, source: IpAddr) -> Result<Value> {
        let mut found = None;
        let seen = wait_until(&format!("an alert of {source}"), Duration::from_secs(3), || {
            found = self.alerts_of(source).ok().and_then(|alerts| alerts.into_iter().next());
            found.is_some()
        });
        seen.with_context(|| format!("log: {}", self.log()))?;
        found.context("no alert")
    }

    /// Entries of the block list, by the command line.
    ///
    /// # Errors
    /// If the command fails.
    pub fn blocked(&self) -> Result<Vec<Value>> {
        let listed = self.cli_json(&["block", "list"])?;
        listed
            .as_array()
            .cloned()
            .or_else(|| listed["entries"].as_array().cloned())
            .context("no list of entries")
    }

    /// The block entry of one address.
    ///
    /// # Errors
    /// If the command fails.
    pub fn block_of(&self, address: IpAddr) -> Result<Option<Value>> {
        Ok(self.blocked()?.into_iter().find(|entry| entry["target"] == address.to_string()))
    }

    /// Value of a metric whose line begins with `prefix` (name with labels).
    ///
    /// # Errors
    /// If there is no such line.
    pub fn metric(&self, prefix: &str) -> Result<f64> {
        let text = self.api("GET", "/metrics", None)?.text();
        let line = text
            .lines()
            .find(|line| line.strip_prefix(prefix).is_some_and(|rest| rest.starts_with([' ', '{'])));
        let value = line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok());
        value.with_context(|| format!("no metric `{prefix}` in:\n{text}"))
    }
}

impl Agent {
    /// Removes every pin: what is attached comes off, and the lists go.
    pub fn detach(&self) {
        remove_pins(&self.pins);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process = None;
        self.detach();
    }
}

const BPFFS: &str = "/sys/fs/bpf";
/// What begins the names of pin directories; the maker's process id follows.
const PINS: &str = "sensor-e2e-";

fn remove_pins(pins: &Path) {
    for version in fs::read_dir(pins).into_iter().flatten().flatten() {
        // Nobody is left to be told of a pin that stays.
        let _ = fs::remove_dir_all(version.path());
    }
    let _ = fs::remove_dir(pins);
}

/// Removes what runs that were killed have left.
fn remove_stale_pins() {
    for entry in fs::read_dir(BPFFS).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix(PINS).and_then(|rest| rest.split('-').next());
        if maker.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            remove_pins(&entry.path());
        }
    }
}

fn api_address() -> SocketAddr {
    SocketAddr::new(IpAddr::from([127, 0, 0, 1]), API_PORT)
}

fn copy_rules(to: &Path) -> Result<()> {
    copy_rules_of(&rules(), to)
}

fn copy_rules_of(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("no rules in `{}`", from.display()))?.flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            fs::create_dir_all(&to)?;
            copy_rules_of(&path, &to)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            fs::copy(path, to)?;
        }
    }
    Ok(())
}

/// Mounts the file system of tracepoints if nobody has.
fn ensure_tracefs() -> Result<()> {
    if Path::new("/sys/kernel/tracing/events").exists() {
        return Ok(());
    }
    let status = Command::new("mount").args(["-t", "tracefs", "tracefs", "/sys/kernel/tracing"]).status()?;
    // Of two tests that mount it at once, one comes too late.
    if !status.success() && !Path::new("/sys/kernel/tracing/events").exists() {
        bail!("cannot mount tracefs at /sys/kernel/tracing");
    }
    Ok(())
}

/// Mounts the BPF file system if nobody has.
fn ensure_bpffs() -> Result<()> {
    let magic = nix::sys::statfs::BPF_FS_MAGIC;
    let mounted = nix::sys::statfs::statfs("/sys/fs/bpf").is_ok_and(|found| found.filesystem_type() == magic);
    if mounted {
        return Ok(());
    }
    let status = Command::new("mount").args(["-t", "bpf", "bpf", "/sys/fs/bpf"]).status()?;
    if !status.success() {
        bail!("cannot mount the BPF file system at /sys/fs/bpf");
    }
    Ok(())
}
