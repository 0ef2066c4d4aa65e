//! Everything at once, where nothing can break: an application host and three clients as network namespaces, a real nginx, the real
//! agent with enforcement on, ordinary traffic and attacks, told as a timeline.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;
use sensor_tests::agent::{API_PORT, Agent, Setup};
use sensor_tests::http::{self, Client};
use sensor_tests::lab::{Host, Lab};
use sensor_tests::nginx::Nginx;
use sensor_tests::process::wait_until;
use sensor_tests::scenarios::{self, Scenario};
use serde_json::Value;

use crate::build::{self, Profile};
use crate::{interrupt, packages, paths, step, test};

/// Options of `cargo xtask demo`.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Options {
    /// End after the timeline instead of leaving the sensor running.
    #[arg(long)]
    once: bool,
}

/// Seconds that a block lasts in the demo, so that its end can be watched.
const BLOCK_SECS: u64 = 10;
/// Client that only ever means well, and client that attacks, each time from another address.
const NEIGHBOUR: u8 = 1;
const ATTACKER: u8 = 2;
/// First last byte of the attacker's addresses.
const FIRST_ADDRESS: u8 = 10;

pub(crate) fn command(options: Options) -> Result<()> {
    if !geteuid().is_root() {
        bail!(
            "the demo makes network namespaces and loads kernel programs, which needs root: `sudo -E cargo xtask demo`"
        );
    }
    packages::ensure(&test::PROGRAMS, 20)?;
    let binary = build::all(Profile::Release)?;
    test::mount_bpffs()?;
    test::mount_tracefs();
    interrupt::catch()?;
    let mut demo = Demo::start(&binary)?;
    demo.play()?;
    if !options.once {
        demo.stay()?;
    }
    println!("\nEverything is being taken down: agent, nginx, network namespaces, kernel programs.");
    Ok(())
}

/// The agent is declared first: what is attached goes before the interfaces do.
struct Demo {
    agent: Agent,
    _nginx: Nginx,
    lab: Lab,
    started: Instant,
    missed: Vec<String>,
}

impl Demo {
    fn start(binary: &Path) -> Result<Self> {
        let folder = fresh_folder()?;
        step::headline("Three clients and an application host, each a network namespace; nginx on the host.");
        let lab = Lab::new("sensor-demo", 3)?;
        let nginx = Nginx::start(&lab.app, &folder.join("nginx"))?;
        let setup = Setup { binary: binary.to_owned(), block_secs: BLOCK_SECS, ..Setup::default() };
        let mut agent = Agent::new(&lab.app, &folder.join("agent"), &setup)?;
        agent.start()?;
        Ok(Self { agent, _nginx: nginx, lab, started: Instant::now(), missed: Vec::new() })
    }

    fn play(&mut self) -> Result<()> {
        step::headline("Ordinary requests pass, and nothing is said of them:");
        for scenario in scenarios::all() {
            self.ordinary(&scenario)?;
        }
        step::headline(&format!(
            "Attacks, each from an address of its own; a block lasts {BLOCK_SECS} s here:"
        ));
        let mut last_blocked = None;
        for (number, scenario) in scenarios::all().iter().enumerate() {
            let source = attacker_address(number)?;
            last_blocked = Some((source, self.attack(scenario, source)?));
        }
        if let Some((source, since)) = last_blocked {
            self.expiry(source, since)?;
        }
        self.conclude()
    }

    fn ordinary(&mut self, scenario: &Scenario) -> Result<()> {
        let server = SocketAddr::new(self.lab.server(NEIGHBOUR), 80);
        let response = self.client(NEIGHBOUR).enter(|| http::once(server, &scenario.benign))?;
        self.say(NEIGHBOUR, &format!("{:<70} {}", first_line(&scenario.benign), response.status));
        if !self.agent.alerts_of(client_address(NEIGHBOUR))?.is_empty() {
            self.missed.push(format!("the benign twin of `{}` raised an alert", scenario.name));
        }
        Ok(())
    }

    /// Returns when the attack was sent.
    fn attack(&mut self, scenario: &Scenario, source: IpAddr) -> Result<Instant> {
        let host = self.client(ATTACKER).clone();
        host.address("eth0", &[format!("{source}/24")])?;
        let server = SocketAddr::new(self.lab.server(ATTACKER), 80);
        println!();
        self.say(ATTACKER, &format!("{source}  {}", first_line(&scenario.attack)));
        let begun = Instant::now();
        let sent = host.enter(|| {
            let mut client = Client::connect_from(source, server)?;
            client.send(&scenario.attack)?;
            // The answer may be lost to the block: that is the point.
            let _ = client.receive();
            Ok(())
        });
        sent.with_context(|| format!("the attack `{}` could not be sent", scenario.name))?;
        match self.agent.wait_for_alert(source) {
            Ok(alert) => self.tell(scenario, &alert),
            Err(_) => self.not_found(scenario),
        }
        self.prove_block(scenario, source, server)?;
        Ok(begun)
    }

    fn tell(&mut self, scenario: &Scenario, alert: &Value) {
        let finding = &alert["sensor"];
        let class = finding["class"].as_str().unwrap_or("?");
        let confidence = finding["confidence"].as_f64().unwrap_or(0.0);
        let best = &finding["findings"][0];
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        println!(
            "            finding   {class}, confidence {confidence:.2}: {} in {}",
            text(&best["title"]),
            text(&best["field"])
        );
        println!("            evidence  {}", text(&best["evidence"]));
        if class != scenario.class || confidence + 1e-6 < scenario.confidence {
            self.missed.push(format!(
                "`{}` was called {class} {confidence:.2}, expected {} from {:.2}",
                scenario.name, scenario.class, scenario.confidence
            ));
        }
        if let Some(latency) = finding["block"]["latency_us"].as_f64() {
            println!("            blocked   {latency:.0} µs after the request's last byte passed the tap");
        }
    }

    fn not_found(&mut self, scenario: &Scenario) {
        println!("            NOT FOUND");
        self.missed.push(format!("`{}` raised no alert", scenario.name));
    }

    fn prove_block(&mut self, scenario: &Scenario, source: IpAddr, server: SocketAddr) -> Result<()> {
        let again = self.client(ATTACKER).enter(|| {
            let mut stream = Client::connect_from(source, server)?;
            stream.exchange(&http::get("/index.html"))
        });
        let entry = self.agent.block_of(source)?;
        let dropped = entry.as_ref().and_then(|entry| entry["hits"].as_u64()).unwrap_or(0);
        let neighbour_server = SocketAddr::new(self.lab.server(NEIGHBOUR), 80);
        let neighbour =
            self.client(NEIGHBOUR).enter(|| http::once(neighbour_server, &http::get("/index.html")))?;
        println!(
            "            again     no answer: {dropped} packets dropped in XDP; other clients: {}",
            neighbour.status
        );
        if again.is_ok() || entry.is_none() || dropped == 0 || neighbour.status != 200 {
            self.missed.push(format!("`{}` did not lead to a block", scenario.name));
        }
        Ok(())
    }

    fn expiry(&mut self, source: IpAddr, since: Instant) -> Result<()> {
        step::headline(&format!("The block of {source} ends by itself, in the kernel:"));
        let server = SocketAddr::new(self.lab.server(ATTACKER), 80);
        let host = self.client(ATTACKER).clone();
        let served = || {
            interrupt::seen()
                || host
                    .enter(|| Client::connect_from(source, server)?.exchange(&http::get("/index.html")))
                    .is_ok()
        };
        wait_until("the block's end", Duration::from_secs(BLOCK_SECS + 10), served)?;
        self.say(
            ATTACKER,
            &format!("{source} is served again, {:.0} s after its block", since.elapsed().as_secs_f64()),
        );
        Ok(())
    }

    fn conclude(&self) -> Result<()> {
        let scenarios = scenarios::all().len();
        if !self.missed.is_empty() {
            bail!(
                "{} of {scenarios} scenarios did not go as they must:\n  {}",
                self.missed.len(),
                self.missed.join("\n  ")
            );
        }
        step::headline(&format!(
            "All {scenarios} attacks were found and blocked; none of their {scenarios} benign twins was."
        ));
        Ok(())
    }

    /// Leaves everything running and the endpoint reachable from this host until Ctrl-C.
    fn stay(&self) -> Result<()> {
        let listener = listen()?;
        let port = listener.local_addr()?.port();
        forward(listener, self.lab.app.clone());
        let token = self.agent.token()?;
        step::headline("The sensor goes on running. Try it:");
        step::say(&format!("page  http://127.0.0.1:{port}/#token={token}"));
        step::say(&format!(
            "curl -s -H 'Authorization: Bearer {token}' http://127.0.0.1:{port}/api/security/alerts?limit=3"
        ));
        step::say(&format!(
            "curl -N -H 'Authorization: Bearer {token}' http://127.0.0.1:{port}/api/security/alerts/stream"
        ));
        step::say(&format!("curl -s -H 'Authorization: Bearer {token}' http://127.0.0.1:{port}/metrics"));
        step::say("ip netns exec sensor-demo-c3 curl \"http://10.66.3.1/?q=<script>alert(1)</script>\"");
        step::say("Ctrl-C ends it and takes everything down.");
        while !interrupt::seen() {
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn client(&self, number: u8) -> &Host {
        &self.lab.clients[usize::from(number) - 1]
    }

    fn say(&self, client: u8, text: &str) {
        println!("  {:>6.2} s  client {client}  {text}", self.started.elapsed().as_secs_f64());
        // A line that cannot be shown is no reason to stop.
        let _ = io::stdout().flush();
    }
}

fn fresh_folder() -> Result<PathBuf> {
    let folder = paths::target().join("demo");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot clear `{}`", folder.display()))?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn client_address(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 66, number, 2).into()
}

fn attacker_address(number: usize) -> Result<IpAddr> {
    let last = u8::try_from(number)?.checked_add(FIRST_ADDRESS).context("too many scenarios")?;
    Ok(Ipv4Addr::new(10, 66, ATTACKER, last).into())
}

/// The request line and, if there is one, the body, cut to a terminal's width.
fn first_line(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    let line = text.lines().next().unwrap_or("").trim_end_matches(" HTTP/1.1");
    let telling =
        ["Authorization", "Referer"].iter().find_map(|name| text.lines().find(|line| line.starts_with(name)));
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let all = [line, telling.unwrap_or(body)].join("  ");
    let shown: String = all.trim_end().chars().take(110).collect();
    if shown.len() < all.trim_end().len() { format!("{shown}…") } else { shown }
}

fn listen() -> Result<TcpListener> {
    let ports = API_PORT..API_PORT + 20;
    let found = ports.into_iter().find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    found.context("no free port for the endpoint near 9470")
}

/// Carries connections from this host to the agent's loopback address on the application host.
fn forward(listener: TcpListener, app: Host) {
    thread::spawn(move || {
        for inbound in listener.incoming().flatten() {
            let target = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), API_PORT);
            if let Ok(outbound) = app.enter(|| Ok(TcpStream::connect(target)?)) {
                join(inbound, outbound);
            }
        }
    });
}

fn join(a: TcpStream, b: TcpStream) {
    let (Ok(a_again), Ok(b_again)) = (a.try_clone(), b.try_clone()) else { return };
    for (mut from, mut to) in [(a, b), (b_again, a_again)] {
        thread::spawn(move || {
            // Either end may go at any time; the other is told.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
    }
}
