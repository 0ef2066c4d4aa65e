//! Under load that the agent cannot keep up with, records are lost and packets are not, and every one of them is accounted for.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sensor_tests::agent::Setup;
use sensor_tests::http::{Client, get};
use sensor_tests::process::wait_until;
use sensor_tests::scenarios;
use sensor_tests::site::{Site, address};

const STOPPED_FOR: Duration = Duration::from_secs(10);

/// Requests over one connection until the time is over; returns how many were answered.
fn load(site: &Site, until: Instant) -> u64 {
    let server = site.server(1);
    let answered = site.client(1).enter(|| {
        let mut client = Client::connect(server)?;
        let mut answered = 0;
        while Instant::now() < until {
            let response = client.exchange(&get("/large.bin"))?;
            assert_eq!((response.status, response.body.len()), (200, 10 * 1024));
            answered += 1;
        }
        Ok(answered)
    });
    answered.expect("the application answers while the agent is stopped")
}

fn outcome(site: &Site, name: &str) -> u64 {
    site.agent.metric(&format!("sensor_tap_packets_total{{outcome=\"{name}\"}}")).unwrap() as u64
}

#[test]
fn a_full_ring_loses_records_but_no_packets_and_the_counters_add_up() {
    let setup = Setup { ring_bytes: 1 << 16, rings: 1, ..Setup::default() };
    let Some(mut site) = Site::start(1, &setup) else { return };
    site.agent.process().unwrap().signal(Signal::SIGSTOP).unwrap();
    let answered = load(&site, Instant::now() + STOPPED_FOR);
    site.agent.process().unwrap().signal(Signal::SIGCONT).unwrap();
    assert!(answered > 500, "{answered} requests while the agent was stopped");

    // Quiet first, so that nothing is on its way while the counters are read.
    let settled =
        || outcome(&site, "recorded") == site.agent.metric("sensor_records_delivered_total").unwrap() as u64;
    wait_until("every record is delivered", Duration::from_secs(5), settled).unwrap();
    let health = site.agent.api("GET", "/api/security/health", None).unwrap();
    let health: serde_json::Value = serde_json::from_slice(&health.body).unwrap();
    let capture = &health["capture"];
    let count = |value: &serde_json::Value| value.as_u64().unwrap_or_else(|| panic!("no number in {health}"));
    let drops = capture["dropped"].as_object().unwrap();
    let dropped: u64 = drops.values().map(count).sum();
    assert_eq!(count(&capture["seen"]), count(&capture["delivered"]) + dropped, "{capture}");
    assert!(count(&drops["ring_full"]) > 0, "{capture}");
    let requests = 2 * answered;
    assert!(count(&capture["delivered"]) + count(&drops["ring_full"]) >= requests, "{capture}");

    let _ = site.request_as(1, 50, &scenarios::all()[0].attack);
    site.agent.wait_for_alert(address(1, 50)).expect("it sees again at once");
}
