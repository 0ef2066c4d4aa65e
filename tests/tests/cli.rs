//! The command line: readable by people, understood by machines, harmless to terminals.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sensor_tests::agent::{self, Setup};
use sensor_tests::http::get;
use sensor_tests::process::{Process, wait_until};
use sensor_tests::scenarios::{self, with_headers};
use sensor_tests::site::{Site, address};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn status_tells_how_it_is_and_that_no_agent_runs() {
    let Some(mut site) = Site::start(1, &Setup::default()) else { return };
    let running = site.agent.cli(&["status"]).unwrap();
    assert!(running.status.success() && text(&running).contains("enforce"), "{}", text(&running));
    assert_eq!(site.agent.cli_json(&["status"]).unwrap()["status"], "ok");
    site.agent.kill().unwrap();
    let down = site.agent.cli(&["status"]).unwrap();
    assert!(!down.status.success());
}

#[test]
fn status_tells_what_the_kernel_programs_cost_and_how_full_their_maps_are() {
    let Some(site) = Site::start(1, &Setup { enforce: false, ..Setup::default() }) else { return };
    site.agent.cli(&["block", "add", "203.0.113.7"]).unwrap();
    let done = AtomicBool::new(false);
    let told = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                site.request(1, &get("/index.html")).unwrap();
            }
        });
        let told = site.agent.cli_json(&["status", "--kernel-time", "1"]);
        done.store(true, Ordering::Relaxed);
        told.unwrap()
    });
    for program in ["sensor_firewall", "sensor_tap_in", "sensor_tap_out", "sensor_accept"] {
        let costs = told["kernel_time"].as_array().unwrap();
        let cost = costs.iter().find(|cost| cost["program"] == program).unwrap();
        let (runs, ns) = (cost["runs"].as_u64().unwrap(), cost["ns_per_run"].as_f64().unwrap());
        assert!(runs > 0 && (10.0..1e6).contains(&ns), "{cost}");
        println!("{program}: {runs} runs, {ns} ns each");
    }
    let maps = told["kernel"]["maps"].as_array().unwrap();
    let fill = |name: &str| maps.iter().find(|map| map["name"] == name).unwrap_or_else(|| panic!("{maps:?}"));
    for map in
        ["BLOCK4", "BLOCK6", "EXEMPT4", "EXEMPT6", "BLOCK_TUPLE", "REASONS", "FLOWS", "ABUSE", "OWNERS"]
    {
        assert!(fill(map)["max_entries"].as_u64().unwrap() >= fill(map)["entries"].as_u64().unwrap());
    }
    assert_eq!(fill("OWNERS")["max_entries"], 65_536);
    let shown = text(&site.agent.cli(&["status"]).unwrap());
    assert!(
        shown.contains("kernel memory") && shown.contains("OWNERS") && shown.contains("ring-0"),
        "{shown}"
    );
    assert!(site.agent.metric("sensor_program_runs_total{program=\"sensor_tap_in\"}").unwrap() > 0.0);
    assert_eq!(site.agent.metric("sensor_ring_size_bytes{ring=\"ring-0\"}").unwrap(), f64::from(1 << 20));
}

#[test]
fn alerts_are_shown_filtered_followed_and_cannot_write_to_the_terminal() {
    let Some(mut site) = Site::start(1, &Setup { enforce: false, ..Setup::default() }) else { return };
    let hostile = with_headers(
        "GET /x?q=<script>alert(1)</script>\u{1b}]0;owned\u{7}",
        "Referer: https://\u{1b}[2Jevil.example/\r\n",
        "",
    );
    let followed = site.folder.path().join("followed.txt");
    let mut command = site.lab.app.command(&agent::binary());
    command.args(["alerts", "--follow", "--json", "--config"]).arg(site.agent.config());
    command.stdout(fs::File::create(&followed).unwrap()).stderr(Stdio::null());
    let _follower = Process::start(&mut command).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let _ = site.request(1, &hostile);
    site.agent.wait_for_alert(address(1, 2)).unwrap();
    let written = || fs::read_to_string(&followed).unwrap_or_default();
    wait_until("the follower's line", Duration::from_secs(5), || written().contains("INPUT_VALIDATION"))
        .unwrap();
    let shown = text(&site.agent.cli(&["alerts"]).unwrap());
    assert!(shown.contains("INPUT_VALIDATION") && shown.contains("10.66.1.2"), "{shown}");
    let file = fs::read_to_string(site.folder.path().join("agent/eve.json")).unwrap();
    for (what, text) in [("shown", shown), ("followed", written()), ("file", file)] {
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{what}: {}", text.escape_debug());
    }
    let others = site.agent.cli(&["alerts", "--class", "JWT", "--json"]).unwrap();
    assert!(others.status.success() && text(&others).is_empty(), "one object a line, and there is none");
    site.agent.kill().unwrap();
    let offline = text(&site.agent.cli(&["alerts"]).unwrap());
    assert!(offline.contains("INPUT_VALIDATION"), "read from the store while the agent is down: {offline}");
}

#[test]
fn a_secret_in_a_request_reaches_no_output() {
    let Some(site) = Site::start(1, &Setup { enforce: false, ..Setup::default() }) else { return };
    let secret = "hunter2-canary-0451";
    let request = with_headers(
        &format!("GET /login?password={secret}&q=<script>alert(1)</script>"),
        &format!("Cookie: session={secret}\r\nAuthorization: Bearer {secret}\r\n"),
        "",
    );
    let _ = site.request(1, &request);
    let alert = site.agent.wait_for_alert(address(1, 2)).unwrap();
    assert!(!alert.to_string().contains(secret), "{alert}");
    for entry in fs::read_dir(site.folder.path().join("agent")).unwrap().flatten() {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "the secret is in {}", entry.path().display());
    }
}

#[test]
fn rules_are_checked_and_tried_on_a_request() {
    let Some(site) = Site::prepare(1, &Setup::default()) else { return };
    let checked = site.agent.cli(&["rules", "check"]).unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let file = site.folder.path().join("request.txt");
    fs::write(&file, &scenarios::all()[1].attack).unwrap();
    let found = site.agent.cli(&["rules", "test", file.to_str().unwrap()]).unwrap();
    assert!(!found.status.success() && text(&found).contains("SQL_INJECTION"), "{}", text(&found));
    fs::write(&file, get("/index.html")).unwrap();
    let found = site.agent.cli(&["rules", "test", file.to_str().unwrap()]).unwrap();
    assert!(found.status.success() && text(&found).contains("nothing is found"), "{}", text(&found));
}

#[test]
fn the_doctor_names_what_is_there_and_what_is_missing() {
    let Some(site) = Site::prepare(1, &Setup::default()) else { return };
    let healthy = site.agent.cli(&["doctor"]).unwrap();
    let said = text(&healthy);
    assert!(healthy.status.success(), "{said}");
    for topic in ["kernel", "BTF", "CAP_BPF", "client1"] {
        assert!(said.contains(topic), "{topic} in:\n{said}");
    }
    assert!(site.agent.cli_json(&["doctor"]).is_ok());
    let mut hidden = site.lab.app.command(std::path::Path::new("/usr/bin/unshare"));
    hidden.args(["--mount", "sh", "-c", "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"", "sh"]);
    let without =
        hidden.arg(agent::binary()).args(["doctor", "--config"]).arg(site.agent.config()).output().unwrap();
    assert!(
        !without.status.success() && text(&without).contains("CONFIG_DEBUG_INFO_BTF"),
        "{}",
        text(&without)
    );
}

#[test]
fn a_false_alert_is_marked_by_the_command_line_and_answered_with_its_exception() {
    let Some(site) = Site::start(1, &Setup { enforce: false, ..Setup::default() }) else { return };
    site.request(1, &get("/report?q=1%27%20union%20select%201,2--%20")).unwrap();
    let alert = site.agent.wait_for_alert(address(1, 2)).unwrap();
    let id = alert["sensor"]["id"].to_string();
    let told = site.agent.cli(&["rules", "false-positive", &id]).unwrap();
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.status.success() && text.contains("path = \"/report\"") && text.contains("[[exception]]"),
        "{text}"
    );
    let taken_back = site.agent.cli_json(&["rules", "false-positive", &id, "--undo"]).unwrap();
    assert_eq!((&taken_back["changed"], &taken_back["false_positive"]), (&true.into(), &false.into()));
    assert!(!site.agent.cli(&["rules", "false-positive", "999999"]).unwrap().status.success());
}
