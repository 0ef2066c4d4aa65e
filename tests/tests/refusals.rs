//! What cannot work is refused with one clear message, nothing is left half done, and what ran before goes on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;
use sensor_tests::agent::{self, Setup};
use sensor_tests::process::wait_until;
use sensor_tests::scenarios;
use sensor_tests::site::{Site, address};

fn message(output: &Output) -> String {
    assert!(!output.status.success(), "it should have been refused");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs the agent with its configuration through another program, such as one that takes rights away.
fn run_through(site: &Site, program: &str, arguments: &[&str]) -> Output {
    let mut command: Command = site.lab.app.command(Path::new(program));
    command.args(arguments).arg(agent::binary()).arg("run").arg("--config").arg(site.agent.config());
    command.output().unwrap()
}

fn assert_nothing_attached(site: &Site) {
    let versions = fs::read_dir(site.agent.pins()).into_iter().flatten().flatten();
    let pinned: Vec<_> =
        versions.flat_map(|version| fs::read_dir(version.path()).unwrap().flatten()).collect();
    let links = pinned.iter().filter(|entry| entry.file_name().to_string_lossy().starts_with("link-"));
    assert_eq!(links.count(), 0, "nothing is half attached");
    // The kernel takes programs off once the process that held their links is gone.
    let is_bare = || {
        let shown = site.lab.app.command(Path::new("/usr/sbin/ip")).args(["link", "show"]).output().unwrap();
        !String::from_utf8_lossy(&shown.stdout).contains("xdp")
    };
    wait_until("no program is attached", Duration::from_secs(2), is_bare).unwrap();
}

#[test]
fn bad_configuration_is_named_by_file_line_and_key() {
    let Some(site) = Site::prepare(1, &Setup::default()) else { return };
    let cases = [
        ("[capture]\nsampel = 1.0\n", ["sensor.toml", "sampel", "sample"]),
        ("[response]\nexempt = [\"10.0.0.300\"]\n", ["sensor.toml", "exempt", "10.0.0.300"]),
        ("[api]\nlisten = \"localhost\"\n", ["sensor.toml", "listen", "localhost"]),
        ("[capture]\nring_bytes = 1000\n", ["sensor.toml", "ring_bytes", "power of two"]),
        ("[capture\n", ["sensor.toml", "1", "]"]),
    ];
    for (text, expected) in cases {
        fs::write(site.agent.config(), text).unwrap();
        let said = message(&site.agent.cli(&["run"]).unwrap());
        for part in expected {
            assert!(said.contains(part), "`{part}` in:\n{said}");
        }
        assert_nothing_attached(&site);
    }
}

#[test]
fn a_missing_capability_is_named() {
    let Some(site) = Site::prepare(1, &Setup::default()) else { return };
    let without = ["--bounding-set=-bpf,-sys_admin", "--inh-caps=-bpf,-sys_admin"];
    let said = message(&run_through(&site, "/usr/bin/setpriv", &without));
    assert!(said.contains("CAP_BPF"), "{said}");
    let without = ["--bounding-set=-net_admin", "--inh-caps=-net_admin"];
    let said = message(&run_through(&site, "/usr/bin/setpriv", &without));
    assert!(said.contains("CAP_NET_ADMIN"), "{said}");
    assert_nothing_attached(&site);
}

#[test]
fn a_kernel_without_type_information_is_named() {
    let Some(site) = Site::prepare(1, &Setup::default()) else { return };
    // A mount namespace in which the file is not there.
    let hidden = "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"";
    let said = message(&run_through(&site, "/usr/bin/unshare", &["--mount", "sh", "-c", hidden, "sh"]));
    assert!(said.contains("/sys/kernel/btf/vmlinux") && said.contains("CONFIG_DEBUG_INFO_BTF"), "{said}");
    assert_nothing_attached(&site);
}

#[test]
fn a_kernel_without_the_ring_buffers_needed_is_named() {
    let Some(site) = Site::prepare(1, &Setup::default()) else { return };
    // A personality under which the kernel calls itself 2.6.
    let said = message(&run_through(&site, "/usr/bin/setarch", &["x86_64", "--uname-2.6"]));
    assert!(said.contains("ring buffers") && said.contains("5.19"), "{said}");
    assert_nothing_attached(&site);
}

#[test]
fn a_pin_directory_off_the_bpf_file_system_is_named() {
    let Some(site) = Site::prepare(1, &Setup::default()) else { return };
    let text = fs::read_to_string(site.agent.config()).unwrap();
    let elsewhere = site.folder.path().join("pins");
    let pins = format!("{:?}", site.agent.pins());
    fs::write(site.agent.config(), text.replace(&pins, &format!("{elsewhere:?}"))).unwrap();
    let said = message(&site.agent.cli(&["run"]).unwrap());
    assert!(said.contains("BPF file system") && said.contains("mount -t bpf"), "{said}");
}

#[test]
fn an_interface_that_refuses_undoes_what_was_attached() {
    let Some(site) = Site::prepare(2, &Setup::default()) else { return };
    let config = fs::read_to_string(site.agent.config()).unwrap();
    let native = config
        .replace("[capture]\n", "[capture]\ninterfaces = [\"client1\", \"lo\"]\nxdp_mode = \"native\"\n");
    fs::write(site.agent.config(), native).unwrap();
    let said = message(&site.agent.cli(&["run"]).unwrap());
    assert!(said.contains("lo"), "loopback has no native mode: {said}");
    assert_nothing_attached(&site);
}

/// A rule file of an operator's, and the line its pattern stands on.
fn own_rule(pattern: &str) -> String {
    format!(
        "[[rule]]\nid = \"own-marker\"\nrevision = 1\ntitle = \"our own marker\"\nclass = \"ACCESS_CONTROL\"\n\
         severity = \"high\"\nconfidence = 0.9\nfields = [\"path\"]\npattern = '{pattern}'\n\
         [rule.examples]\nmatch = [\"/only-here-zqj\"]\nno_match = [\"/elsewhere\"]\n"
    )
}

const PATTERN_LINE: u32 = 9;

#[test]
fn a_broken_rule_file_is_refused_and_the_old_rules_stay_in_force() {
    let Some(mut site) = Site::start(1, &Setup::default()) else { return };
    let broken = site.agent.rules().join("broken.toml");
    fs::write(&broken, own_rule("(unclosed")).unwrap();
    let checked = site.agent.cli(&["rules", "check"]).unwrap();
    assert!(message(&checked).contains("broken.toml"), "{}", message(&checked));
    site.agent.process().unwrap().signal(Signal::SIGHUP).unwrap();
    wait_until("the refusal is logged", Duration::from_secs(5), || site.agent.log().contains("broken.toml"))
        .unwrap();
    let _ = site.request_as(1, 30, &scenarios::all()[0].attack);
    site.agent.wait_for_alert(address(1, 30)).expect("the old rules are in force");

    site.agent.stop().unwrap();
    let said = message(&site.agent.cli(&["run"]).unwrap());
    assert!(said.contains(&format!("broken.toml:{PATTERN_LINE}:")), "file and line: {said}");
}

#[test]
fn a_reload_takes_up_new_rules_and_settings() {
    let Some(mut site) = Site::start(1, &Setup { enforce: false, ..Setup::default() }) else { return };
    let request = scenarios::with_headers("GET /only-here-zqj?x=1", "", "");
    site.request(1, &request).unwrap();
    fs::write(site.agent.rules().join("own.toml"), own_rule("only-here-zqj")).unwrap();
    site.agent.configure(&Setup { enforce: true, ..Setup::default() }).unwrap();
    site.agent.process().unwrap().signal(Signal::SIGHUP).unwrap();
    let blocked = || {
        let _ = site.request(1, &request);
        site.agent.block_of(address(1, 2)).unwrap().is_some_and(|entry| entry["shadow"] == false)
    };
    wait_until("the new rule blocks", Duration::from_secs(5), blocked).unwrap();
    let alert = site.agent.wait_for_alert(address(1, 2)).unwrap();
    assert_eq!(
        (&alert["sensor"]["class"], &alert["sensor"]["findings"][0]["rule"]),
        (&"ACCESS_CONTROL".into(), &"own-marker".into())
    );
}
