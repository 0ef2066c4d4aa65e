//! Under load that the agent cannot keep up with, records are lost and packets are not, and every one of them is accounted for.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sensor_tests::agent::Setup;
use sensor_tests::http::{Client, get};
use sensor_tests::process::wait_until;
use sensor_tests::scenarios;
use sensor_tests::site::{Site, address};
use serde_json::Value;

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

/// The health's account of packets and records.
fn capture(site: &Site) -> Value {
    let health = site.agent.api("GET", "/api/security/health", None).unwrap();
    let health: Value = serde_json::from_slice(&health.body).unwrap();
    health["capture"].clone()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn a_full_ring_loses_records_but_no_packets_and_the_counters_add_up() {
    let setup = Setup { ring_bytes: 1 << 16, rings: 1, ..Setup::default() };
    let Some(mut site) = Site::start(1, &setup) else { return };
    site.agent.process().unwrap().signal(Signal::SIGSTOP).unwrap();
    let answered = load(&site, Instant::now() + STOPPED_FOR);
    site.agent.process().unwrap().signal(Signal::SIGCONT).unwrap();
    assert!(answered > 500, "{answered} requests while the agent was stopped");

    // Quiet first, so that nothing is on its way while the account is read.
    let settled = || {
        let capture = capture(&site);
        count(&capture["delivered"]) > 0 && count(&capture["in_rings"]) == 0
    };
    wait_until("every record is delivered", Duration::from_secs(10), settled).unwrap();
    let capture = capture(&site);
    let dropped: u64 = capture["dropped"].as_object().unwrap().values().map(count).sum();
    assert_eq!(count(&capture["seen"]), count(&capture["delivered"]) + dropped, "{capture}");
    let engine = &capture["engine"];
    let ignored =
        ["ignored_syn", "ignored_no_ack", "ignored_no_flow"].map(|name| count(&engine["others"][name]));
    let outcomes = count(&engine["accepted"]) + count(&engine["malformed"]) + ignored.iter().sum::<u64>();
    assert_eq!(
        (count(&engine["records"]), outcomes),
        (count(&capture["delivered"]), count(&capture["delivered"])),
        "{engine}"
    );
    let full = count(&capture["dropped"]["ring_full"]);
    assert!(full > 0 && count(&capture["delivered"]) + full >= 2 * answered, "{capture}");

    let _ = site.request_as(1, 50, &scenarios::all()[0].attack);
    site.agent.wait_for_alert(address(1, 50)).expect("it sees again at once");
}
