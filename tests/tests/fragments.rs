//! What travels in IP fragments, or beside decoys that the kernel drops, is seen as the application sees it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use sensor_tests::agent::Setup;
use sensor_tests::http::get;
use sensor_tests::rawtcp::{Made, RawTcp};
use sensor_tests::scenarios;
use sensor_tests::site::Site;

/// Sends the request in parts of `size` bytes, the last one first; returns what the application answers.
fn exchange(tcp: &RawTcp, port: u16, request: &[u8], size: usize) -> Vec<u8> {
    let made = Made {
        port,
        flags: "AP",
        sequence: tcp.first,
        acknowledgement: tcp.acknowledged,
        payload: request,
        ..Made::default()
    };
    for part in tcp.parts(made, port, size).unwrap().iter().rev() {
        tcp.send_frame(part).unwrap();
    }
    tcp.received(Duration::from_millis(300))
}

/// Cases E22 and E23, with a ring for each of three engines: the parts' own and the connection's are rarely the same.
#[test]
fn attacks_in_fragments_are_found_and_benign_requests_are_served() {
    let Some(site) = Site::start(1, &Setup { rings: 3, ..Setup::default() }) else { return };
    for (last_byte, (size, scenario)) in (20..).zip([8, 16, 64, 8].into_iter().zip(scenarios::all())) {
        let port = 40_000 + u16::from(last_byte);
        let mut tcp = RawTcp::new(&site.lab, 1, last_byte, port).unwrap();
        tcp.connect(1000).unwrap();
        let answer = exchange(&tcp, port, &get("/index.html"), size);
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        assert!(site.agent.block_of(tcp.address()).unwrap().is_none(), "{}", scenario.name);

        tcp.set_port(port + 1000);
        tcp.connect(1000).unwrap();
        exchange(&tcp, port + 1000, &scenario.attack, size);
        let alert = site.agent.wait_for_alert(tcp.address()).unwrap();
        assert_eq!(alert["sensor"]["class"], scenario.class, "{}: {alert}", scenario.name);
        assert_eq!(alert["alert"]["action"], "blocked", "{}", scenario.name);
        assert!(site.agent.block_of(tcp.address()).unwrap().is_some(), "{}", scenario.name);
    }
}

/// An overlap drops the datagram in the kernel and here: nobody is blocked for what the application never got.
#[test]
fn overlapping_fragments_are_nobodys_request() {
    let Some(site) = Site::start(1, &Setup::default()) else { return };
    let attack = &scenarios::all()[0].attack;
    let mut tcp = RawTcp::new(&site.lab, 1, 30, 40_000).unwrap();
    tcp.connect(1000).unwrap();
    let made = Made {
        port: 40_000,
        flags: "AP",
        sequence: tcp.first,
        acknowledgement: tcp.acknowledged,
        payload: attack,
        ..Made::default()
    };
    let (mut parts, wide) = (tcp.parts(made, 7, 16).unwrap(), tcp.parts(made, 7, 24).unwrap());
    parts.insert(1, wide[0].clone());
    for part in &parts {
        tcp.send_frame(part).unwrap();
    }
    assert!(tcp.received(Duration::from_millis(300)).is_empty(), "the kernel drops the datagram");
    let counted = || {
        let metrics = site.agent.api("GET", "/metrics", None).unwrap().body;
        String::from_utf8_lossy(&metrics).lines().any(|line| line == "sensor_fragments_overlapping_total 1")
    };
    sensor_tests::process::wait_until("the overlap is counted", Duration::from_secs(5), counted).unwrap();
    assert!(site.agent.block_of(tcp.address()).unwrap().is_none());
}

/// Case E8: a decoy with a wrong checksum, which the kernel drops, hides nothing of what comes in its place.
#[test]
fn a_decoy_with_a_wrong_checksum_hides_nothing() {
    let Some(site) = Site::start(1, &Setup::default()) else { return };
    for (last_byte, scenario) in (40..).zip(scenarios::all()).take(3) {
        let port = 40_000 + u16::from(last_byte);
        let mut tcp = RawTcp::new(&site.lab, 1, last_byte, port).unwrap();
        tcp.connect(1000).unwrap();
        let decoy = vec![b'x'; scenario.attack.len()];
        for (payload, spoiled) in [(&decoy, true), (&scenario.attack, false)] {
            let (sequence, acknowledgement) = (tcp.first, tcp.acknowledged);
            let made =
                Made { port, flags: "AP", sequence, acknowledgement, payload, spoiled, ..Made::default() };
            tcp.send_made(made).unwrap();
        }
        assert!(tcp.received(Duration::from_millis(300)).starts_with(b"HTTP/1.1 "), "{}", scenario.name);
        let alert = site.agent.wait_for_alert(tcp.address()).unwrap();
        assert_eq!(alert["sensor"]["class"], scenario.class, "{}: {alert}", scenario.name);
    }
}
