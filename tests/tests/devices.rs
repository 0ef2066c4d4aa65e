//! What is attached stays attached: devices that are renamed, programs of others, hooks that somebody empties; packets in VLANs and tunnels.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use nix::sys::signal::Signal;
use sensor_tests::agent::Setup;
use sensor_tests::http::get;
use sensor_tests::process::{Process, wait_until};
use sensor_tests::rawtcp::{Made, RawTcp};
use sensor_tests::scenarios;
use sensor_tests::site::{Site, address};
use sensor_tests::tun::Cable;

/// Longest that a change of devices may go unnoticed.
const NOTICED: Duration = Duration::from_secs(2);
/// Longest until a hook that somebody emptied is filled again.
const RESTORED: Duration = Duration::from_secs(6);

fn attack() -> Vec<u8> {
    scenarios::all()[1].attack.clone()
}

fn on_app(site: &Site, program: &str, arguments: &[&str]) -> Output {
    let mut command = site.lab.app.command(Path::new(program));
    command.args(arguments).output().unwrap()
}

fn interfaces(site: &Site) -> String {
    site.agent.interfaces().unwrap()
}

#[test]
fn a_renamed_interface_keeps_what_is_attached_and_its_blocks() {
    let Some(site) = Site::start(1, &Setup::default()) else { return };
    let _ = site.request(1, &attack());
    wait_until("the block", NOTICED, || site.agent.block_of(address(1, 2)).unwrap().is_some()).unwrap();
    for arguments in [["client1", "down"].as_slice(), &["client1", "name", "uplink"], &["uplink", "up"]] {
        site.lab.app.ip(&[["link", "set"].as_slice(), arguments].concat()).unwrap();
    }
    wait_until("the new name", NOTICED, || interfaces(&site).contains("uplink: XDP generic")).unwrap();
    assert!(site.request(1, &get("/index.html")).is_err(), "still blocked");
    let pins = fs::read_dir(site.agent.pins()).unwrap().flatten().map(|layout| layout.path());
    let names: Vec<_> =
        pins.flat_map(|layout| fs::read_dir(layout).unwrap().flatten()).map(|pin| pin.file_name()).collect();
    assert!(names.iter().any(|name| name.to_string_lossy() == "link-xdp-uplink"), "{names:?}");
}

/// Case F15.
#[test]
fn what_somebody_takes_off_is_put_back() {
    let setup = Setup { capture: "tap_mode = \"clsact\"".into(), ..Setup::default() };
    let Some(site) = Site::start(1, &setup) else { return };
    assert!(on_app(&site, "/usr/sbin/tc", &["qdisc", "del", "dev", "client1", "clsact"]).status.success());
    let filters = || {
        let shown = on_app(&site, "/usr/sbin/tc", &["filter", "show", "dev", "client1", "ingress"]);
        String::from_utf8_lossy(&shown.stdout).contains("sensor_tap_in")
    };
    wait_until("the filters", RESTORED, filters).unwrap();
    wait_until("the count", NOTICED, || site.agent.metric("sensor_hooks_restored_total").unwrap() >= 2.0)
        .unwrap();
    let _ = site.request(1, &attack());
    site.agent.wait_for_alert(address(1, 2)).unwrap();
}

#[test]
fn bridges_and_cables_to_containers_are_left_alone() {
    let Some(site) = Site::start(1, &Setup::default()) else { return };
    for arguments in [
        ["link", "add", "docker0", "type", "bridge"].as_slice(),
        &["address", "add", "172.30.0.1/24", "dev", "docker0"],
        &["link", "add", "veth1234", "type", "veth", "peer", "name", "inside"],
        &["link", "set", "veth1234", "master", "docker0"],
        &["link", "set", "docker0", "up"],
        &["link", "set", "veth1234", "up"],
        &["link", "add", "port9", "type", "veth", "peer", "name", "far9"],
        &["address", "add", "172.31.0.1/24", "dev", "port9"],
        &["link", "set", "port9", "up"],
    ] {
        site.lab.app.ip(arguments).unwrap();
    }
    wait_until("the addressed device", NOTICED, || interfaces(&site).contains("port9")).unwrap();
    let said = interfaces(&site);
    assert!(!said.contains("docker0") && !said.contains("veth1234") && said.contains("client1"), "{said}");
    site.lab.app.ip(&["link", "delete", "port9"]).unwrap();
    wait_until("its end", NOTICED, || !interfaces(&site).contains("port9")).unwrap();
}

/// The kernel takes the outer tag off before the tap sees the packet; the inner one is still there. XDP sees both.
#[test]
fn requests_in_vlans_are_seen_and_their_senders_blocked() {
    for tags in [1, 2] {
        let Some(site) = Site::start(1, &Setup::default()) else { return };
        let mut attacker = RawTcp::new(&site.lab, 1, 77, 33_000).unwrap();
        attacker.connect(1000).unwrap();
        let (first, acknowledged) = (attacker.first, attacker.acknowledged);
        let payload = attack();
        let tagged = Made {
            port: 33_000,
            flags: "AP",
            sequence: first,
            acknowledgement: acknowledged,
            payload: &payload,
            tags,
            ..Made::default()
        };
        attacker.send_made(tagged).unwrap();
        let alert = site.agent.wait_for_alert(address(1, 77)).unwrap();
        assert_eq!(alert["sensor"]["findings"][0]["class"], "SQL_INJECTION", "{tags} tags: {alert}");
        assert!(site.agent.block_of(address(1, 77)).unwrap().is_some(), "{tags} tags");
        let dropped = || site.agent.metric("sensor_xdp_packets_total{outcome=\"dropped_address\"}").unwrap();
        let before = dropped();
        attacker.send_made(tagged).unwrap();
        wait_until("the drop", NOTICED, || dropped() > before).unwrap();
    }
}

#[test]
fn requests_in_a_tunnel_are_counted_or_inspected_as_configured() {
    for (capture, inspected) in
        [("interfaces = [\"client1\"]", false), ("interfaces = [\"client1\"]\ntunnels = [\"vxlan\"]", true)]
    {
        let Some(site) = Site::start(1, &Setup { capture: capture.into(), ..Setup::default() }) else {
            return;
        };
        for (host, device, near, remote) in [
            (&site.lab.app, "client1", "172.30.9.1/24", "10.66.1.2"),
            (site.client(1), "eth0", "172.30.9.2/24", "10.66.1.1"),
        ] {
            host.ip(&[
                "link", "add", "vx", "type", "vxlan", "id", "7", "dev", device, "remote", remote, "dstport",
                "4789",
            ])
            .unwrap();
            host.address("vx", &[near.to_owned()]).unwrap();
        }
        let server = "172.30.9.1:80".parse().unwrap();
        let answer = site.client(1).enter(|| sensor_tests::http::once(server, &attack())).unwrap();
        assert!(answer.status > 0);
        if inspected {
            site.agent.wait_for_alert("172.30.9.2".parse().unwrap()).unwrap();
        } else {
            let counted =
                || site.agent.metric("sensor_tap_packets_total{outcome=\"tunnel_vxlan\"}").unwrap() > 0.0;
            wait_until("the count", NOTICED, counted).unwrap();
            assert!(site.agent.alerts().unwrap().is_empty());
        }
    }
}

/// Requests over a device without Ethernet headers, of either family and by either way of attaching the tap; watched without being named.
#[test]
fn requests_over_a_tun_device_are_seen_and_their_senders_blocked() {
    for tap in ["tcx", "clsact"] {
        let setup = Setup { capture: format!("tap_mode = \"{tap}\""), ..Setup::default() };
        let Some(mut site) = Site::prepare(1, &setup) else { return };
        let _cable = Cable::lay(&site.lab.app, site.client(1), "wire").unwrap();
        for (host, last) in [(&site.lab.app, 1), (site.client(1), 2)] {
            host.address("wire", &[format!("172.30.8.{last}/24"), format!("fd66:8::{last}/64")]).unwrap();
        }
        site.agent.start().unwrap();
        let said = interfaces(&site);
        assert!(said.contains("wire: XDP generic") && said.contains(&format!("tap {tap}")), "{said}");
        for (server, client) in [("172.30.8.1", "172.30.8.2"), ("fd66:8::1", "fd66:8::2")] {
            let server = SocketAddr::new(server.parse().unwrap(), 80);
            let ask = |request: &[u8]| site.client(1).enter(|| sensor_tests::http::once(server, request));
            assert_eq!(ask(&get("/index.html")).unwrap().status, 200, "{tap}: {server}");
            let _ = ask(&attack());
            let alert = site.agent.wait_for_alert(client.parse().unwrap()).unwrap();
            assert_eq!(alert["sensor"]["findings"][0]["class"], "SQL_INJECTION", "{tap}: {alert}");
            let blocked = || site.agent.block_of(client.parse().unwrap()).unwrap().is_some();
            wait_until("the block", NOTICED, blocked).unwrap();
            assert!(ask(&get("/index.html")).is_err(), "{tap}: {client} is dropped");
        }
        let dropped = site.agent.metric("sensor_xdp_packets_total{outcome=\"dropped_address\"}").unwrap();
        assert!(dropped > 0.0, "{tap}: {dropped}");
        site.agent.kill().unwrap();
        site.agent.start().unwrap();
        assert!(interfaces(&site).contains("wire: XDP generic"), "{tap}: adopted");
        let server = SocketAddr::new("172.30.8.1".parse().unwrap(), 80);
        let again = site.client(1).enter(|| sensor_tests::http::once(server, &get("/index.html")));
        assert!(again.is_err(), "{tap}: still blocked");
        assert!(site.request(1, &get("/index.html")).is_ok(), "{tap}: the other device is not concerned");
    }
}

/// Records go on while the rings are replaced: every request is accounted for.
#[test]
fn rings_change_their_size_without_a_gap() {
    let setup = Setup { enforce: false, ..Setup::default() };
    let Some(mut site) = Site::start(1, &setup) else { return };
    let metric = |site: &Site, name: &str| site.agent.metric(name).unwrap();
    for (round, bytes) in [2 << 20, 1 << 17, 1 << 20].into_iter().enumerate() {
        site.agent.configure(&Setup { ring_bytes: bytes, ..setup.clone() }).unwrap();
        site.agent.process().unwrap().signal(Signal::SIGHUP).unwrap();
        for _ in 0..100 {
            assert_eq!(site.request(1, &get("/index.html")).unwrap().status, 200);
        }
        let requests = || metric(&site, "sensor_engine_requests_total");
        wait_until("every request", Duration::from_secs(5), || requests() >= 100.0 * (round + 1) as f64)
            .unwrap();
    }
    assert!(site.agent.log().contains("reloaded"), "{}", site.agent.log());
    let recorded = metric(&site, "sensor_tap_packets_total{outcome=\"recorded\"}");
    let delivered = || metric(&site, "sensor_records_delivered_total");
    wait_until("every record", Duration::from_secs(3), || delivered() >= recorded).unwrap();
    assert_eq!(metric(&site, "sensor_engine_requests_total"), 300.0);
}

/// Connections of the agent's own control group are none of its business, whatever their ports.
#[test]
fn the_sensors_own_connections_are_left_out() {
    let Some(mut site) = Site::prepare(1, &Setup::default()) else { return };
    let Some(group) = OwnGroup::make() else { return };
    site.agent.start().unwrap();
    let agent = site.agent.process().unwrap().id();
    group.take(agent);
    site.agent.process().unwrap().signal(Signal::SIGHUP).unwrap();
    wait_until("the reload", Duration::from_secs(10), || site.agent.log().contains("reloaded")).unwrap();
    let _server = group.serve(&site, 8080);
    let server = SocketAddr::new(site.lab.server(1), 8080);
    let ask = || site.client(1).enter(|| sensor_tests::http::once(server, &attack()));
    wait_until("the server", Duration::from_secs(5), || ask().is_ok()).unwrap();
    let own = || site.agent.metric("sensor_tap_packets_total{outcome=\"own\"}").unwrap() > 0.0;
    wait_until("the count", NOTICED, own).unwrap();
    assert!(site.agent.alerts().unwrap().is_empty(), "an attack on the agent's own group is left out");
    let _ = site.request(1, &attack());
    site.agent.wait_for_alert(address(1, 2)).unwrap();
}

/// A control group for one process, removed at the end.
struct OwnGroup(std::path::PathBuf);

impl OwnGroup {
    fn make() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let mount = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields[2] == "cgroup2");
        let Some(mount) = mount else {
            eprintln!("skipped: no control groups of version 2");
            return None;
        };
        let group = Path::new(mount[1]).join(format!("sensor-test-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        Some(Self(group))
    }

    fn take(&self, process: u32) {
        fs::write(self.0.join("cgroup.procs"), process.to_string()).unwrap();
    }

    /// A server whose sockets belong to the group.
    fn serve(&self, site: &Site, port: u16) -> Process {
        let folder = site.folder.path().join("own");
        fs::create_dir_all(&folder).unwrap();
        let shown = folder.display();
        let config = format!(
            "daemon off; master_process off; pid {shown}/pid; error_log {shown}/error.log; events {{}}\n\
             http {{ access_log off; server {{ listen {port}; return 200; }} }}\n"
        );
        fs::write(folder.join("nginx.conf"), config).unwrap();
        let mut command = site.lab.app.command(Path::new("/bin/sh"));
        command.arg("-c").arg(format!(
            "echo $$ > {}/cgroup.procs && exec /usr/sbin/nginx -p {shown} -c {shown}/nginx.conf",
            self.0.display()
        ));
        Process::start(&mut command).unwrap()
    }
}

impl Drop for OwnGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
