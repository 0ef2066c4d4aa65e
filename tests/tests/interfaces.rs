//! Interfaces come and go, and the tap attaches in either of its ways; segments are as large as offloads make them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::time::Duration;

use sensor_tests::agent::Setup;
use sensor_tests::http::{get, post};
use sensor_tests::process::wait_until;
use sensor_tests::scenarios;
use sensor_tests::site::{Site, address};

fn attack() -> Vec<u8> {
    scenarios::all()[1].attack.clone()
}

#[test]
fn an_interface_that_appears_is_watched_within_two_seconds() {
    let Some(mut site) = Site::start(1, &Setup::default()) else { return };
    site.lab.add_client(2).unwrap();
    let blocked = || {
        let _ = site.request(2, &attack());
        site.agent.block_of(address(2, 2)).unwrap().is_some()
    };
    let took = wait_until("the new client's block", Duration::from_secs(5), blocked).unwrap();
    assert!(site.request(2, &get("/index.html")).is_err(), "dropped on the new interface, after {took:?}");
}

#[test]
fn an_interface_that_was_made_anew_is_watched_again() {
    let Some(mut site) = Site::start(1, &Setup::default()) else { return };
    site.lab.app.ip(&["link", "delete", "client1"]).unwrap();
    site.lab.clients.clear();
    std::process::Command::new("ip")
        .args(["netns", "delete", &format!("{}-c1", site.lab.prefix())])
        .status()
        .unwrap();
    site.lab.add_client(1).unwrap();
    let seen = || {
        let _ = site.request(1, &attack());
        site.agent.block_of(address(1, 2)).unwrap().is_some()
    };
    wait_until("the block", Duration::from_secs(5), seen).unwrap();
    assert!(site.request(1, &get("/index.html")).is_err());
}

#[test]
fn the_tap_works_by_clsact_too_and_a_restart_adds_no_second_filter() {
    let setup = Setup { capture: "tap_mode = \"clsact\"".into(), ..Setup::default() };
    let Some(mut site) = Site::start(1, &setup) else { return };
    site.agent.kill().unwrap();
    site.agent.start().unwrap();
    let mut tc = site.lab.app.command(Path::new("/usr/sbin/tc"));
    let shown = tc.args(["filter", "show", "dev", "client1", "ingress"]).output();
    let text = String::from_utf8_lossy(&shown.unwrap().stdout).into_owned();
    assert_eq!(
        (text.matches("handle").count(), text.contains("handle 0x1 sensor_tap_in")),
        (1, true),
        "{text}"
    );
    let _ = site.request(1, &attack());
    site.agent.wait_for_alert(address(1, 2)).unwrap();
    assert_eq!(site.agent.alerts().unwrap().len(), 1, "seen once");
}

#[test]
fn segments_merged_by_offloads_are_recorded_whole() {
    let Some(site) = Site::start(1, &Setup { enforce: false, ..Setup::default() }) else { return };
    let padding = "lorem+ipsum+".repeat(9_000);
    let body = format!("padding={padding}&search=1%27%20UNION%20SELECT%20*%20FROM%20admin_users--");
    assert!(body.len() > 100_000, "longer than any single segment");
    site.request(1, &post("/upload", "application/x-www-form-urlencoded", &body)).unwrap();
    let alert = site.agent.wait_for_alert(address(1, 2)).unwrap();
    assert_eq!(alert["sensor"]["findings"][0]["field"], "body.form.search", "{alert}");
    assert_eq!(alert["sensor"]["capture"]["bytes_missed"], 0);
    assert_eq!(site.agent.metric("sensor_tap_truncated_total").unwrap(), 0.0);
}
