//! Blocks outlive the agent and end without it; exemptions beat them; nobody is blocked for another's packets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sensor_tests::agent::Setup;
use sensor_tests::http::{Client, get};
use sensor_tests::lab::Lab;
use sensor_tests::process::wait_until;
use sensor_tests::rawtcp::RawTcp;
use sensor_tests::scenarios;
use sensor_tests::site::{Site, address};

fn attack() -> Vec<u8> {
    scenarios::all()[1].attack.clone()
}

/// Attacks as client 2 and waits for the block.
fn get_blocked(site: &Site) -> IpAddr {
    let _ = site.request(2, &attack());
    let source = address(2, 2);
    wait_until("the block", Duration::from_secs(3), || site.agent.block_of(source).unwrap().is_some())
        .unwrap();
    source
}

/// Last byte of the address of the client that knocks.
const KNOCKER: u8 = 77;

/// Sends SYNs of the blocked client, each from another port, until told to stop; returns how many.
fn knock(lab: &Lab, stop: &AtomicBool) -> u32 {
    let mut tcp = RawTcp::new(lab, 2, KNOCKER, 20_000).unwrap();
    let mut knocked = 0;
    while !stop.load(Ordering::Relaxed) {
        knocked += 1;
        tcp.set_port(20_000 + (knocked % 40_000) as u16);
        tcp.send_segment("S", 1, 0, &[]).unwrap();
        thread::sleep(Duration::from_micros(500));
    }
    knocked
}

/// Asks as client 1 until told to stop; every answer must be good. Returns how many there were.
fn browse(lab: &Lab, stop: &AtomicBool) -> u32 {
    let server = SocketAddr::new(lab.server(1), 80);
    let mut served = 0;
    while !stop.load(Ordering::Relaxed) {
        let answer = lab.clients[0].enter(|| Client::connect(server)?.exchange(&get("/index.html")));
        assert_eq!(answer.unwrap().status, 200, "nginx never notices");
        served += 1;
    }
    served
}

#[test]
fn blocks_hold_through_kill_and_restart_without_one_packet_passing() {
    let Some(mut site) = Site::start(2, &Setup { block_secs: 60, ..Setup::default() }) else { return };
    // An attacker in user space: a kernel's own retransmissions would be dropped packets that nobody counts as sent.
    let mut attacker = RawTcp::new(&site.lab, 2, KNOCKER, 19_999).unwrap();
    attacker.connect(1000).unwrap();
    attacker.send_at(0, &attack()).unwrap();
    let source = attacker.address();
    wait_until("the block", Duration::from_secs(3), || site.agent.block_of(source).unwrap().is_some())
        .unwrap();
    let hits =
        |site: &Site| site.agent.block_of(source).unwrap().map_or(0, |entry| entry["hits"].as_u64().unwrap());
    let nginx = site.nginx.id();
    let before = hits(&site);
    site.agent.kill().unwrap();
    let (stop, lab, agent) = (AtomicBool::new(false), &site.lab, &mut site.agent);
    let (knocked, served) = thread::scope(|scope| {
        let (knocking, browsing) = (scope.spawn(|| knock(lab, &stop)), scope.spawn(|| browse(lab, &stop)));
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(300));
            agent.start().unwrap();
            agent.kill().unwrap();
        }
        agent.start().unwrap();
        stop.store(true, Ordering::Relaxed);
        (knocking.join().unwrap(), browsing.join().unwrap())
    });
    thread::sleep(Duration::from_millis(50));
    let dropped = hits(&site) - before;
    assert!(knocked > 500 && served > 50, "{knocked} knocks, {served} answers");
    assert_eq!(dropped, u64::from(knocked), "packets of the attacker that were dropped, of those it sent");
    assert_eq!(site.nginx.id(), nginx);
}

#[test]
fn a_block_ends_at_its_time_while_no_agent_runs() {
    let Some(mut site) = Site::start(2, &Setup { block_secs: 3, ..Setup::default() }) else { return };
    let started = Instant::now();
    get_blocked(&site);
    site.agent.kill().unwrap();
    assert!(site.request(2, &get("/index.html")).is_err(), "blocked without the agent");
    wait_until("served again", Duration::from_secs(8), || site.request(2, &get("/index.html")).is_ok())
        .unwrap();
    let lasted = started.elapsed();
    assert!(lasted >= Duration::from_millis(2900), "{lasted:?}");
}

#[test]
fn who_attacks_again_is_blocked_for_longer() {
    let Some(site) = Site::start(2, &Setup { block_secs: 2, ..Setup::default() }) else { return };
    let remaining = || {
        let entry = site.agent.block_of(address(2, 2)).unwrap();
        entry.map_or(0, |entry| entry["remaining_secs"].as_u64().unwrap())
    };
    get_blocked(&site);
    assert!(remaining() <= 2);
    wait_until("served again", Duration::from_secs(6), || site.request(2, &get("/index.html")).is_ok())
        .unwrap();
    get_blocked(&site);
    assert!((8..=10).contains(&remaining()), "five times as long: {}", remaining());
}

#[test]
fn a_graceful_stop_leaves_enforcement_in_place() {
    let Some(mut site) = Site::start(2, &Setup::default()) else { return };
    get_blocked(&site);
    site.agent.stop().unwrap();
    assert!(site.request(2, &get("/index.html")).is_err());
    assert_eq!(site.request(1, &get("/index.html")).unwrap().status, 200);
}

#[test]
fn block_and_allow_commands_work_while_the_agent_is_down() {
    let Some(mut site) = Site::start(2, &Setup::default()) else { return };
    site.agent.kill().unwrap();
    let run = |arguments: &[&str]| {
        let output = site.agent.cli(arguments).unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    run(&["block", "add", "10.66.2.0/24", "--reason", "testing", "--ttl", "10m"]);
    assert!(site.request(2, &get("/index.html")).is_err());
    run(&["allow", "add", "10.66.2.2"]);
    assert_eq!(site.request(2, &get("/index.html")).unwrap().status, 200, "the exemption beats the block");
    run(&["allow", "remove", "10.66.2.2"]);
    assert!(site.request(2, &get("/index.html")).is_err());
    assert!(run(&["block", "list"]).contains("testing"));
    run(&["block", "remove", "10.66.2.0/24"]);
    assert_eq!(site.request(2, &get("/index.html")).unwrap().status, 200);
}

#[test]
fn lists_are_imported_whole_or_not_at_all_and_exported_again() {
    let Some(site) = Site::start(1, &Setup::default()) else { return };
    let file = site.folder.path().join("list.txt");
    let path = file.to_str().unwrap();
    fs::write(&file, "203.0.113.1 # one\n198.51.100.0/24\n2001:db8::/32\n").unwrap();
    assert!(site.agent.cli(&["block", "import", path]).unwrap().status.success());
    assert_eq!(site.agent.blocked().unwrap().len(), 3);
    let exported = site.agent.cli(&["block", "export"]).unwrap();
    let text = String::from_utf8_lossy(&exported.stdout).into_owned();
    for line in ["203.0.113.1 # one", "198.51.100.0/24", "2001:db8::/32"] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line} in:\n{text}");
    }
    fs::write(&file, "203.0.113.2\n0.0.0.0/0\nnonsense\n").unwrap();
    let refused = site.agent.cli(&["block", "import", path]).unwrap();
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(
        message.contains('2') && message.contains("0.0.0.0/0") && message.contains("nonsense"),
        "{message}"
    );
    assert_eq!(site.agent.blocked().unwrap().len(), 3, "nothing of the bad list was taken");
}

#[test]
fn the_panic_switch_lifts_every_automatic_block_at_once() {
    let Some(site) = Site::start(2, &Setup::default()) else { return };
    get_blocked(&site);
    assert!(site.agent.cli(&["block", "add", "203.0.113.9"]).unwrap().status.success());
    assert!(site.agent.cli(&["panic"]).unwrap().status.success());
    assert_eq!(site.request(2, &get("/index.html")).unwrap().status, 200);
    let left: Vec<_> = site.agent.blocked().unwrap().iter().map(|entry| entry["target"].clone()).collect();
    assert_eq!(left, ["203.0.113.9"], "operators' entries stay");
    let _ = site.request(2, &attack());
    site.agent.wait_for_alert(address(2, 2)).unwrap();
    assert_eq!(
        site.request(2, &get("/index.html")).unwrap().status,
        200,
        "no new automatic block takes effect"
    );
    assert!(site.agent.cli(&["panic", "--resume"]).unwrap().status.success());
}

#[test]
fn exempt_sources_are_reported_and_never_blocked() {
    let setup = Setup { exempt: vec!["10.66.2.0/28".into()], ..Setup::default() };
    let Some(site) = Site::start(2, &setup) else { return };
    site.request(2, &attack()).expect("an answer");
    let alert = site.agent.wait_for_alert(address(2, 2)).unwrap();
    assert_eq!(
        (&alert["sensor"]["verdict"], &alert["alert"]["action"]),
        (&"exempt".into(), &"allowed".into())
    );
    assert_eq!(site.request(2, &get("/index.html")).unwrap().status, 200);
    let refused = site.agent.cli(&["block", "add", "10.66.2.2"]).unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("10.66.2.0/28"));
}

#[test]
fn a_spoofed_source_is_never_blocked() {
    let Some(site) = Site::start(2, &Setup::default()) else { return };
    let tcp = RawTcp::new(&site.lab, 2, 99, 33_000).unwrap();
    // No handshake: a segment out of nowhere, and one with a guessed acknowledgement behind a real SYN.
    tcp.send_segment("AP", 1000, 5000, &attack()).unwrap();
    let guess = RawTcp::new(&site.lab, 2, 98, 33_001).unwrap();
    guess.send_segment("S", 999, 0, &[]).unwrap();
    thread::sleep(Duration::from_millis(50));
    guess.send_segment("AP", 1000, 123_456, &attack()).unwrap();
    let alert = site.agent.wait_for_alert(tcp.address()).unwrap();
    assert_eq!(alert["sensor"]["verdict"], "unverified", "{alert}");
    let guessed = site.agent.alerts_of(guess.address()).unwrap();
    assert!(guessed.iter().all(|alert| alert["sensor"]["verdict"] == "unverified"), "{guessed:?}");
    assert!(site.agent.blocked().unwrap().is_empty(), "{:?}", site.agent.blocked());
}

#[test]
fn a_second_agent_refuses_to_start() {
    let Some(site) = Site::start(1, &Setup::default()) else { return };
    let second = site.agent.cli(&["run"]).unwrap();
    assert!(!second.status.success());
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(message.contains("already runs") || message.contains("another agent"), "{message}");
}
