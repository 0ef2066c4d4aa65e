//! The service under a real systemd: installed, started, reloaded, upgraded while it blocks, stopped, removed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

use sensor_tests::agent::{self, Setup};
use sensor_tests::http::{Client, get};
use sensor_tests::process::wait_until;
use sensor_tests::scenarios;
use sensor_tests::site::{Site, address};
use sensor_tests::systemd::{LOG, Systemd};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

struct Service<'a> {
    systemd: &'a Systemd,
}

impl Service<'_> {
    /// Runs a command that must succeed; returns what it printed.
    fn must(&self, command: &[&str]) -> String {
        let output = self.systemd.run(command).unwrap();
        let log = || text(&self.systemd.run(&["tail", "-n", "30", LOG]).unwrap());
        assert!(output.status.success(), "`{}`: {}\n{}", command.join(" "), text(&output), log());
        text(&output)
    }

    fn property(&self, name: &str) -> String {
        self.must(&["systemctl", "show", "--value", "--property", name, "sensor"]).trim().to_owned()
    }

    fn blocked(&self) -> String {
        self.must(&["/usr/local/bin/sensor-agent", "block", "list"])
    }
}

/// What the service says of the process behind an attack on another service of this systemd.
fn process_behind_an_attack(site: &Site, service: &Service<'_>) -> serde_json::Value {
    let serve = ["/usr/bin/python3", "-m", "http.server", "8080"];
    service.must(&[&["systemd-run", "--unit=web"][..], &serve].concat());
    let source = address(1, 40);
    site.client(1).address("eth0", &[format!("{source}/24")]).unwrap();
    let to = SocketAddr::new(site.lab.server(1), 8080);
    let mut alert = String::new();
    wait_until("the attack is reported", Duration::from_secs(10), || {
        let attack =
            || Client::connect_from(source, to).and_then(|mut to| to.send(&scenarios::all()[1].attack));
        let _ = site.client(1).enter(attack);
        alert = service.must(&["/usr/local/bin/sensor-agent", "alerts", "--source", "10.66.1.40", "--json"]);
        !alert.is_empty()
    })
    .unwrap();
    let first: serde_json::Value = serde_json::from_str(alert.lines().next().unwrap()).unwrap();
    first["sensor"]["process"].clone()
}

#[test]
fn the_service_is_installed_started_reloaded_upgraded_stopped_and_removed() {
    if !Systemd::present() {
        eprintln!("skipped: there is no systemd on this machine");
        return;
    }
    let Some(site) = Site::prepare(2, &Setup::default()) else { return };
    let systemd = Systemd::start(&site.lab.app, &site.folder.path().join("systemd")).unwrap();
    let service = Service { systemd: &systemd };
    let built = agent::binary();
    let built = built.to_str().unwrap();

    service.must(&[built, "install"]);
    for file in
        ["/usr/local/bin/sensor-agent", "/etc/systemd/system/sensor.service", "/etc/sensor/sensor.toml"]
    {
        service.must(&["test", "-f", file]);
    }
    service.must(&["systemctl", "start", "sensor"]);
    assert_eq!(service.property("ActiveState"), "active");
    let first = service.property("MainPID");

    let enforce = "printf '[response]\\nenforce = true\\nblock_secs = 300\\n' > /etc/sensor/sensor.toml";
    service.must(&["sh", "-c", enforce]);
    service.must(&["systemctl", "reload", "sensor"]);
    assert_eq!(service.property("MainPID"), first, "a reload keeps the process");
    let attacked = || {
        let _ = site.request(2, &scenarios::all()[1].attack);
        // Until the reload has taken effect, the entry only counts.
        service.blocked().lines().any(|line| line.contains("10.66.2.2") && line.contains("drop"))
    };
    wait_until("the reloaded service blocks", Duration::from_secs(5), attacked).unwrap();
    assert!(site.request(2, &get("/index.html")).is_err());

    let process = process_behind_an_attack(&site, &service);
    assert_eq!((&process["unit"], &process["user"]), (&"web.service".into(), &"root".into()), "{process}");
    assert_eq!(process["source"], "accept", "with the rights of the unit: {process}");
    let main = service.must(&["systemctl", "show", "--value", "--property", "MainPID", "web"]);
    assert_eq!(process["pid"].to_string(), main.trim());

    // An upgrade: the new binary in place, the service restarted, the block never gone.
    service.must(&[built, "install"]);
    service.must(&["systemctl", "restart", "sensor"]);
    assert_ne!(service.property("MainPID"), first);
    assert!(service.blocked().contains("10.66.2.2"));
    assert!(site.request(2, &get("/index.html")).is_err(), "still blocked by the upgraded service");

    service.must(&["systemctl", "stop", "sensor"]);
    assert_eq!(service.property("Result"), "success");
    assert!(
        site.request(2, &get("/index.html")).is_err(),
        "a stopped service leaves its blocks until they end"
    );
    assert_eq!(site.request(1, &get("/index.html")).unwrap().status, 200);

    service.must(&["/usr/local/bin/sensor-agent", "uninstall"]);
    assert!(
        !systemd.run(&["sh", "-c", "ls /sys/fs/bpf/sensor/v*"]).unwrap().status.success(),
        "pins are gone"
    );
    assert_eq!(site.request(2, &get("/index.html")).unwrap().status, 200, "and with them the block");
    assert!(!systemd.run(&["test", "-f", "/usr/local/bin/sensor-agent"]).unwrap().status.success());
    service.must(&["test", "-f", "/etc/sensor/sensor.toml"]);
}

#[test]
fn the_unit_is_sound_and_confined() {
    if !Systemd::present() {
        eprintln!("skipped: there is no systemd on this machine");
        return;
    }
    let Some(site) = Site::prepare(1, &Setup::default()) else { return };
    let systemd = Systemd::start(&site.lab.app, &site.folder.path().join("systemd")).unwrap();
    let service = Service { systemd: &systemd };
    service.must(&[agent::binary().to_str().unwrap(), "install"]);
    let said = service.must(&["systemd-analyze", "verify", "/etc/systemd/system/sensor.service"]);
    assert_eq!(said, "", "systemd-analyze verify");
}
