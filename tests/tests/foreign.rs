//! XDP programs of others on the interfaces that are watched: they stay, which is said, unless the configuration asks for their place.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use sensor_tests::agent::Setup;
use sensor_tests::foreign::{By, Foreign, NAME};
use sensor_tests::http::get;
use sensor_tests::process::wait_until;
use sensor_tests::scenarios;
use sensor_tests::site::{Site, address};

/// Longest until a block is in force, and until a place that has become free is taken.
const NOTICED: Duration = Duration::from_secs(6);

fn attack() -> Vec<u8> {
    scenarios::all()[1].attack.clone()
}

fn blocks(site: &Site, client: u8) {
    let _ = site.request(client, &attack());
    let blocked = || site.agent.block_of(address(client, 2)).unwrap().is_some();
    wait_until("the block", NOTICED, blocked).unwrap();
    assert!(site.request(client, &get("/index.html")).is_err(), "client {client} is dropped");
}

/// The interface's XDP hook holds a program of somebody else's: it stays, the tap works, and that nothing is dropped is said until it is gone.
#[test]
fn another_xdp_program_is_left_alone_and_said() {
    for by in [By::Netlink, By::Link] {
        let Some(mut site) = Site::prepare(2, &Setup::default()) else { return };
        let other = Foreign::attach(&site.lab.app, "client1", by).unwrap();
        site.agent.start().unwrap();
        let said = site.agent.interfaces().unwrap();
        assert!(
            said.contains("degraded") && said.contains("client1: nothing is dropped: another XDP program"),
            "{said}"
        );
        assert!(said.contains("client2: XDP generic"), "{said}");
        let _ = site.request(1, &attack());
        site.agent.wait_for_alert(address(1, 2)).unwrap();
        drop(other);
        if by == By::Netlink {
            site.lab.app.ip(&["link", "set", "client1", "xdpgeneric", "off"]).unwrap();
        }
        let taken = || site.agent.interfaces().unwrap().contains("client1: XDP generic");
        wait_until("XDP", NOTICED, taken).unwrap();
        assert!(site.request(1, &get("/index.html")).is_err(), "the block counts from now on");
    }
}

/// Only on the interface that is named, and only the program that was there.
#[test]
fn another_xdp_program_makes_room_where_that_is_asked_for() {
    for by in [By::Netlink, By::Link] {
        let setup = Setup { capture: "xdp_replace = [\"client1\"]".into(), ..Setup::default() };
        let Some(mut site) = Site::prepare(2, &setup) else { return };
        let others =
            ["client1", "client2"].map(|interface| Foreign::attach(&site.lab.app, interface, by).unwrap());
        site.agent.start().unwrap();
        let said = site.agent.interfaces().unwrap();
        let log = site.agent.log();
        assert!(said.contains(&format!("in the place of `{NAME}` (id ")), "{by:?}: {said}\n{log}");
        assert!(said.contains("client2: nothing is dropped: another XDP program"), "{by:?}: {said}");
        let replaced = log.lines().filter(|line| line.contains("another XDP program is replaced"));
        let replaced: Vec<_> = replaced.collect();
        assert!(
            replaced.len() == 1
                && ["client1", NAME, "id ", "tag "].iter().all(|part| replaced[0].contains(part)),
            "{replaced:?}"
        );
        blocks(&site, 1);
        drop(others);
        assert!(site.request(1, &get("/index.html")).is_err(), "{by:?}: the other's end changes nothing");
        site.agent.kill().unwrap();
        assert!(site.request(1, &get("/index.html")).is_err(), "{by:?}: the block outlives the agent");
        site.agent.start().unwrap();
        let said = site.agent.interfaces().unwrap();
        assert!(said.contains("client1: XDP generic"), "{by:?}: adopted: {said}");
    }
}

/// Naming a program takes a right that the service does not have by itself: without it the other program stays, and why is said.
#[test]
fn without_the_right_to_name_it_another_xdp_program_stays() {
    let setup = Setup { capture: "xdp_replace = [\"client1\"]".into(), ..Setup::default() };
    let Some(mut site) = Site::prepare(1, &setup) else { return };
    let _other = Foreign::attach(&site.lab.app, "client1", By::Netlink).unwrap();
    let script = site.folder.path().join("without");
    let rights = "/usr/bin/setpriv --bounding-set=-all,+bpf,+net_admin,+perfmon";
    let agent = sensor_tests::agent::binary().canonicalize().unwrap();
    fs::write(&script, format!("#!/bin/sh\nexec {rights} {} \"$@\"\n", agent.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    site.agent.run_as(script);
    site.agent.start().unwrap();
    let said = site.agent.interfaces().unwrap();
    assert!(
        said.contains(
            "client1: nothing is dropped: another XDP program is attached there, which is not replaced"
        ) && said.contains("CAP_SYS_ADMIN"),
        "{said}"
    );
    let _ = site.request(1, &attack());
    site.agent.wait_for_alert(address(1, 2)).unwrap();
    assert!(site.request(1, &get("/index.html")).is_ok(), "nothing is dropped");
}

/// The mode that is asked for is one that the device does not have: the other program is put back, once and for good.
#[test]
fn another_xdp_program_is_put_back_where_the_sensors_is_refused() {
    let capture = "interfaces = [\"client1\", \"lo\"]\nxdp_mode = \"native\"\nxdp_replace = [\"lo\"]";
    let Some(mut site) = Site::prepare(1, &Setup { capture: capture.into(), ..Setup::default() }) else {
        return;
    };
    let _other = Foreign::attach(&site.lab.app, "lo", By::Netlink).unwrap();
    site.agent.start().unwrap();
    let said = || site.agent.interfaces().unwrap();
    assert!(said().contains("lo: nothing is dropped: another XDP program is attached there"), "{}", said());
    std::thread::sleep(NOTICED);
    assert!(said().contains("which is not replaced"), "{}", said());
    let replaced = site.agent.log().matches("another XDP program is replaced").count();
    assert_eq!(replaced, 1, "{}", site.agent.log());
    let mut shown = site.lab.app.command(std::path::Path::new("/usr/sbin/ip"));
    let shown = shown.args(["-details", "link", "show", "lo"]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("xdpgeneric") && shown.contains(NAME), "{shown}");
}
