//! Every scenario on a real kernel: the attack is reported and its source blocked, the benign twin is neither. Then the same
//! attacks in segments that no ordinary client sends.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::IpAddr;
use std::time::Duration;

use sensor_tests::agent::Setup;
use sensor_tests::http::{Client, get};
use sensor_tests::process::wait_until;
use sensor_tests::rawtcp::RawTcp;
use sensor_tests::scenarios::{self, Scenario};
use sensor_tests::site::{Site, address};
use serde_json::Value;

/// First last byte of the attackers' addresses.
const FIRST: u8 = 20;

fn assert_found(alert: &Value, scenario: &Scenario, how: &str) {
    let sensor = &alert["sensor"];
    assert_eq!(sensor["class"], scenario.class, "{} {how}: {alert}", scenario.name);
    let confidence = sensor["confidence"].as_f64().unwrap();
    assert!(confidence + 1e-6 >= scenario.confidence, "{} {how}: confidence {confidence}", scenario.name);
    let finding = &sensor["findings"][0];
    for key in ["rule", "field", "offset", "decoders", "evidence"] {
        assert!(!finding[key].is_null(), "{} {how}: no `{key}` in {finding}", scenario.name);
    }
}

fn assert_blocked(site: &Site, source: IpAddr, scenario: &str) {
    let entry = site.agent.block_of(source).unwrap();
    let entry = entry.unwrap_or_else(|| panic!("{scenario}: {source} is not blocked"));
    assert_eq!((&entry["origin"], &entry["shadow"]), (&"verdict".into(), &false.into()), "{scenario}");
}

#[test]
fn each_attack_is_reported_and_blocked_and_no_benign_twin_is() {
    let Some(site) = Site::start(2, &Setup::default()) else { return };
    for scenario in scenarios::all() {
        let response = site.request(1, &scenario.benign).unwrap();
        assert!(response.status < 500, "{}: {}", scenario.name, response.status);
    }
    for (number, scenario) in (FIRST..).zip(scenarios::all()) {
        let source = address(2, number);
        // The block may cut the answer off.
        let _ = site.request_as(2, number, &scenario.attack);
        let alert = site.agent.wait_for_alert(source).unwrap();
        assert_found(&alert, &scenario, "");
        assert_eq!(alert["alert"]["action"], "blocked", "{}", scenario.name);
        assert_blocked(&site, source, scenario.name);
        assert!(site.request_as(2, number, &get("/index.html")).is_err(), "{}: still served", scenario.name);
        assert_eq!(site.request(1, &get("/index.html")).unwrap().status, 200, "the neighbour is unaffected");
    }
    assert_eq!(site.agent.alerts_of(address(1, 2)).unwrap(), Vec::<Value>::new(), "benign twins");
    assert!(site.agent.block_of(address(1, 2)).unwrap().is_none());
}

#[test]
fn observing_reports_and_counts_but_drops_nothing() {
    let Some(site) = Site::start(1, &Setup { enforce: false, ..Setup::default() }) else { return };
    let scenario = &scenarios::all()[1];
    site.request(1, &scenario.attack).unwrap();
    let alert = site.agent.wait_for_alert(address(1, 2)).unwrap();
    assert_found(&alert, scenario, "observed");
    assert_eq!(alert["alert"]["action"], "allowed");
    assert_eq!(alert["sensor"]["verdict"], "observe");
    assert_eq!(site.request(1, &get("/index.html")).unwrap().status, 200);
    let entry = site.agent.block_of(address(1, 2)).unwrap().expect("a shadow entry");
    assert_eq!(entry["shadow"], true);
    assert!(entry["hits"].as_u64().unwrap() > 0, "what would have been dropped is counted: {entry}");
}

/// How the bytes of a request are sent.
#[derive(Clone, Copy, Debug)]
enum Order {
    Forward,
    Reversed,
    Shuffled,
    Twice,
}

fn offsets(order: Order, len: usize) -> Vec<usize> {
    let forward: Vec<usize> = (0..len).collect();
    match order {
        Order::Forward => forward,
        Order::Reversed => forward.into_iter().rev().collect(),
        Order::Twice => forward.iter().flat_map(|&at| [at, at]).collect(),
        Order::Shuffled => {
            let mut shuffled = forward;
            let mut state = 0x9e37_79b9_7f4a_7c15_u64;
            for last in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                shuffled.swap(last, (state >> 33) as usize % (last + 1));
            }
            shuffled
        }
    }
}

#[test]
fn one_byte_segments_in_any_order_give_the_same_findings() {
    let Some(site) = Site::start(1, &Setup::default()) else { return };
    let scenarios = scenarios::all();
    let orders = [Order::Forward, Order::Reversed, Order::Shuffled, Order::Twice];
    let mut last_byte = FIRST;
    for order in orders {
        for scenario in &scenarios {
            let mut tcp = RawTcp::new(&site.lab, 1, last_byte, 40_000).unwrap();
            tcp.connect(0xffff_ffc0).unwrap();
            for at in offsets(order, scenario.attack.len()) {
                tcp.send_at(at, &scenario.attack[at..=at]).unwrap();
            }
            let alert = site.agent.wait_for_alert(tcp.address()).unwrap();
            assert_found(&alert, scenario, &format!("{order:?}"));
            assert_blocked(&site, tcp.address(), scenario.name);
            last_byte += 1;
        }
    }
}

#[test]
fn an_attack_in_the_second_request_of_a_connection_is_found() {
    let Some(site) = Site::start(1, &Setup::default()) else { return };
    for (number, scenario) in (FIRST..).zip(scenarios::all()) {
        let (source, server) = (address(1, number), site.server(1));
        site.client(1).address("eth0", &[format!("{source}/24")]).unwrap();
        let sent = site.client(1).enter(|| {
            let mut client = Client::connect_from(source, server)?;
            client.exchange(&get("/index.html"))?;
            let (head, tail) = scenario.attack.split_at(scenario.attack.len() / 2);
            client.send(head)?;
            std::thread::sleep(Duration::from_millis(20));
            client.send(tail)
        });
        sent.unwrap();
        let alert = site.agent.wait_for_alert(source).unwrap();
        assert_found(&alert, &scenario, "second request");
        assert_eq!(alert["tx_id"], 1, "{}", scenario.name);
    }
}

#[test]
fn an_attack_spread_over_pipelined_requests_is_found_in_its_own() {
    let Some(site) = Site::start(1, &Setup::default()) else { return };
    let scenario = &scenarios::all()[0];
    let pipelined = [get("/a"), get("/b"), scenario.attack.clone(), get("/c")].concat();
    let server = site.server(1);
    site.client(1).enter(|| Client::connect(server)?.send(&pipelined)).unwrap();
    let alert = site.agent.wait_for_alert(address(1, 2)).unwrap();
    assert_eq!(alert["tx_id"], 2);
}

#[test]
fn a_connection_older_than_the_agent_is_inspected_from_its_next_request() {
    let Some(mut site) = Site::prepare(1, &Setup::default()) else { return };
    let server = site.server(1);
    let mut client = site.client(1).enter(|| Client::connect(server)).unwrap();
    client.exchange(&get("/index.html")).unwrap();
    site.agent.start().unwrap();
    client.exchange(&get("/index.html")).unwrap();
    client.send(&scenarios::all()[0].attack).unwrap();
    site.agent.wait_for_alert(address(1, 2)).unwrap();
    wait_until("the block", Duration::from_secs(2), || site.agent.block_of(address(1, 2)).unwrap().is_some())
        .unwrap();
}

#[test]
fn ipv6_clients_are_seen_and_blocked_like_others() {
    let Some(site) = Site::start(1, &Setup::default()) else { return };
    let server = std::net::SocketAddr::new(site.lab.server6(1), 80);
    let source: IpAddr = "fd66:1::2".parse().unwrap();
    let mut client = site.client(1).enter(|| Client::connect(server)).unwrap();
    client.send(&scenarios::all()[1].attack).unwrap();
    site.agent.wait_for_alert(source).unwrap();
    assert_blocked(&site, source, "ipv6");
    assert!(site.client(1).enter(|| Client::connect(server)).is_err());
    assert_eq!(
        site.request(1, &get("/index.html")).unwrap().status,
        200,
        "its IPv4 address is another source"
    );
}
