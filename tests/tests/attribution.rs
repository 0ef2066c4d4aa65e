//! The process behind each alert: two applications on one host, told apart by whichever way the kernel offers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sensor_tests::agent::{self, Setup};
use sensor_tests::http::{self, Client};
use sensor_tests::process::{Process, wait_until};
use sensor_tests::scenarios;
use sensor_tests::site::{Site, address};
use serde_json::Value;

const PYTHON: &str = "/usr/bin/python3";
/// Port of the second application.
const PORT: u16 = 8080;
/// The user of the second application, and its number on every Debian; nginx's worker has another.
const USER: (&str, u64) = ("daemon", 1);

/// Python's web server on port 8080, as a user of its own, started by a shell that has run `first`. It keeps connections open.
fn python(site: &Site, first: &str) -> Process {
    let serve = format!(
        "import os, http.server as h; os.setuid({}); \
         h.test(h.SimpleHTTPRequestHandler, h.ThreadingHTTPServer, 'HTTP/1.1', {PORT})",
        USER.1
    );
    // A page, because a listing of the folder would be a finding; the server's user must reach it.
    let pages = site.folder.path().join("pages");
    fs::create_dir_all(&pages).unwrap();
    fs::write(pages.join("index.html"), "<p>welcome").unwrap();
    fs::set_permissions(site.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = site.lab.app.command(Path::new("/bin/sh"));
    command.args(["-c", &format!("{first} exec \"$0\" \"$@\""), PYTHON, "-c", &serve]).current_dir(&pages);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process::start(&mut command).unwrap();
    let here = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), PORT);
    let listens =
        || site.lab.app.enter(|| Ok(TcpStream::connect_timeout(&here, Duration::from_secs(1))?)).is_ok();
    wait_until("python listens", Duration::from_secs(20), listens).unwrap();
    process
}

fn observing(capture: &str) -> Setup {
    // Whatever the first attack scores, the second request is answered too.
    Setup { enforce: false, capture: capture.to_owned(), ..Setup::default() }
}

/// What the alert about an attack of client 1 on a port says of the process; the connection stays open until then.
fn attacked(site: &Site, port: u16, from: u8) -> Value {
    let source = address(1, from);
    site.client(1).address("eth0", &[format!("{source}/24")]).ok();
    let to = SocketAddr::new(site.lab.server(1), port);
    let mut client = site.client(1).enter(|| Client::connect_from(source, to)).unwrap();
    // Once the first request is answered, the connection has been accepted.
    client.exchange(&http::get("/")).unwrap();
    client.exchange(&scenarios::all()[1].attack).unwrap();
    let alert = site.agent.wait_for_alert(source).unwrap();
    alert["sensor"]["process"].clone()
}

fn check(site: &Site) -> Value {
    let health = http::json(&site.agent.api("GET", "/api/security/health", None).unwrap(), 200).unwrap();
    health["checks"]["attribution"].clone()
}

/// The number of nginx's only worker.
fn worker(site: &Site) -> u64 {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", site.nginx.id())).unwrap();
    children.split_whitespace().next().unwrap().parse().unwrap()
}

/// Both applications are told apart, by the way that is expected.
fn assert_told_apart(site: &Site, source: &str) {
    let python = python(site, "");
    let first = attacked(site, 80, 30);
    assert_eq!((&first["name"], &first["source"]), (&"nginx".into(), &source.into()), "{first}");
    assert_eq!(first["pid"], worker(site), "{first}");
    assert_eq!(first["exe"], "/usr/sbin/nginx", "{first}");
    let second = attacked(site, PORT, 31);
    assert_eq!(second["pid"], u64::from(python.id()), "{second}");
    assert_eq!((&second["user"], &second["uid"]), (&USER.0.into(), &USER.1.into()), "{second}");
    assert!(second["name"].as_str().unwrap().starts_with("python3"), "{second}");
    assert!(second["exe"].as_str().unwrap().contains("python3"), "{second}");
    assert_eq!(second["source"], source, "{second}");
}

fn sources(alerts: &Value) -> Vec<&str> {
    alerts["alerts"].as_array().unwrap().iter().map(|alert| alert["src_ip"].as_str().unwrap()).collect()
}

#[test]
fn each_application_is_known_by_its_accepts_and_alerts_are_found_by_it() {
    let Some(site) = Site::start(1, &observing("")) else { return };
    assert_eq!(check(&site)["status"], "ok", "{}", check(&site));
    assert_told_apart(&site, "accept");
    let ask = |query: &str| {
        let target = format!("/api/security/alerts?{query}");
        http::json(&site.agent.api("GET", &target, None).unwrap(), 200).unwrap()
    };
    assert_eq!(sources(&ask("process=nginx")), ["10.66.1.30"]);
    assert_eq!(sources(&ask("user=daemon")), ["10.66.1.31"]);
    assert_eq!(sources(&ask("process=nginx&user=daemon")), [""; 0]);
    assert_eq!(sources(&ask("unit=other.service")), [""; 0]);
    let told = site.agent.cli(&["alerts", "--process", "nginx", "--json"]).unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("10.66.1.30") && !told.contains("10.66.1.31"), "{told}");
    assert_eq!(site.agent.metric("sensor_alerts_attributed_by_accept_total").unwrap(), 2.0);
    assert_eq!(site.agent.metric("sensor_alerts_unattributed_total").unwrap(), 0.0);
}

#[test]
fn each_application_is_known_by_the_socket_tables_alone() {
    let Some(site) = Site::start(1, &observing("attribution = \"sock_diag\"")) else { return };
    assert_eq!(check(&site)["status"], "ok", "{}", check(&site));
    assert_told_apart(&site, "sock_diag");
    assert_eq!(site.agent.metric("sensor_alerts_attributed_by_sock_diag_total").unwrap(), 2.0);
}

#[test]
fn a_connection_older_than_the_agent_is_known_by_the_socket_tables() {
    let Some(mut site) = Site::prepare(1, &observing("")) else { return };
    let to = site.server(1);
    let mut client = site.client(1).enter(|| Client::connect(to)).unwrap();
    client.exchange(&http::get("/index.html")).unwrap();
    site.agent.start().unwrap();
    client.exchange(&scenarios::all()[1].attack).unwrap();
    let alert = site.agent.wait_for_alert(address(1, 2)).unwrap();
    let process = &alert["sensor"]["process"];
    assert_eq!((&process["name"], &process["source"]), (&"nginx".into(), &"sock_diag".into()), "{process}");
    assert_eq!(process["pid"], worker(&site), "{process}");
}

/// A control group named like a container's, below the unified hierarchy; removed when dropped.
struct Container {
    folder: PathBuf,
    id: String,
}

impl Container {
    /// `None`, said on standard error, where control groups cannot be made.
    fn new() -> Option<Self> {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists())?;
        let id = format!("{:064x}", std::process::id());
        let folder = root.join(format!("docker-{id}.scope"));
        if let Err(error) = fs::create_dir(&folder) {
            eprintln!("skipped: no control group can be made: {error}");
            return None;
        }
        Some(Self { folder, id })
    }

    fn take_in(&self, process: u32) {
        fs::write(self.folder.join("cgroup.procs"), process.to_string()).unwrap();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It can be removed once its last process is gone.
        let removed = || fs::remove_dir(&self.folder).is_ok();
        let _ = wait_until("the group is empty", Duration::from_secs(5), removed);
    }
}

#[test]
fn a_process_is_known_by_its_container_even_when_it_is_gone() {
    let Some(site) = Site::start(1, &observing("")) else { return };
    let Some(container) = Container::new() else { return };
    // It reads one request and ends: most of the time the alert comes later.
    let once = "import os, socket\ns = socket.create_server(('', 8080))\nprint(flush=True)\nc, _ = s.accept()\nprint(flush=True)\n\
                c.recv(65536)\nos._exit(0)";
    let mut command = site.lab.app.command(Path::new(PYTHON));
    command.args(["-c", once]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = Process::start(&mut command).unwrap();
    process.wait_for_line().unwrap();
    container.take_in(process.id());
    let to = SocketAddr::new(site.lab.server(1), PORT);
    let mut client = site.client(1).enter(|| Client::connect(to)).unwrap();
    process.wait_for_line().unwrap();
    client.send(&scenarios::all()[1].attack).unwrap();
    process.wait(Duration::from_secs(5)).unwrap();
    let alert = site.agent.wait_for_alert(address(1, 2)).unwrap();
    let told = &alert["sensor"]["process"];
    assert_eq!(
        (&told["container"], &told["runtime"]),
        (&container.id.as_str().into(), &"docker".into()),
        "{told}"
    );
    assert_eq!(told["source"], "accept", "{told}");
    assert!(told["name"].as_str().unwrap().starts_with("python3"), "{told}");
    assert_eq!(told["pid"], u64::from(process.id()), "{told}");
    let found =
        site.agent.api("GET", &format!("/api/security/alerts?container={}", &container.id[..12]), None);
    assert_eq!(sources(&http::json(&found.unwrap(), 200).unwrap()).len(), 1);
    let found = site.agent.api("GET", "/api/security/alerts?container=f", None);
    assert_eq!(sources(&http::json(&found.unwrap(), 200).unwrap()).len(), 0);
}

/// A program that runs the agent through another, such as one that takes something away from it.
fn through(site: &Site, other: &str) -> PathBuf {
    let script = site.folder.path().join("agent-through-another");
    let agent = agent::binary().canonicalize().unwrap();
    fs::write(&script, format!("#!/bin/sh\nexec {other} {} \"$@\"\n", agent.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

#[test]
fn without_tracepoints_the_fall_back_works_and_is_said() {
    let Some(mut site) = Site::prepare(1, &observing("")) else { return };
    let hidden = "/usr/bin/unshare --mount sh -c 'mount -t tmpfs none /sys/kernel/tracing && \
                  mount -t tmpfs none /sys/kernel/debug && exec \"$0\" \"$@\"'";
    site.agent.run_as(through(&site, hidden));
    site.agent.start().unwrap();
    let said = check(&site);
    let detail = said["detail"].as_str().unwrap();
    assert_eq!(said["status"], "degraded", "{said}");
    assert!(detail.contains("tracefs") && detail.contains("socket tables are asked"), "{said}");
    let times = site.agent.log().matches("processes cannot be seen accepting connections").count();
    assert!(times <= 2, "said once as a warning, and once as the state: {times}");
    assert_told_apart(&site, "sock_diag");
}

#[test]
fn with_the_rights_of_the_service_the_fall_back_knows_by_control_groups() {
    let Some(mut site) = Site::prepare(1, &observing("attribution = \"sock_diag\"")) else { return };
    let Some(container) = Container::new() else { return };
    let rights = "/usr/bin/setpriv --bounding-set=-all,+bpf,+net_admin,+perfmon";
    site.agent.run_as(through(&site, rights));
    site.agent.start().unwrap();
    // A socket belongs to the group in which its maker was then.
    let python = python(&site, &format!("echo $$ > {}/cgroup.procs;", container.folder.display()));
    let told = attacked(&site, PORT, 31);
    assert_eq!(
        (&told["container"], &told["runtime"]),
        (&container.id.as_str().into(), &"docker".into()),
        "{told}"
    );
    assert_eq!((&told["user"], &told["source"]), (&USER.0.into(), &"sock_diag".into()), "{told}");
    assert_eq!(told["pid"], u64::from(python.id()), "the only one of its group: {told}");
    assert!(told["name"].as_str().unwrap().starts_with("python3") && told.get("exe").is_none(), "{told}");
}

#[test]
fn switched_off_no_process_is_named() {
    let Some(site) = Site::start(1, &observing("attribution = \"off\"")) else { return };
    site.request(1, &scenarios::all()[1].attack).unwrap();
    let alert = site.agent.wait_for_alert(address(1, 2)).unwrap();
    assert!(alert["sensor"].get("process").is_none(), "{alert}");
    assert_eq!(site.agent.metric("sensor_alerts_unattributed_total").unwrap(), 0.0);
}

/// Reported where the application's user has this name, and nowhere else.
const FOR_USER: &str = r#"
[[rule]]
id = "word-for-daemon"
title = "a word that only the second application must not get"
class = "INPUT_VALIDATION"
severity = "medium"
confidence = 0.6
fields = ["query.word"]
pattern = 'only-for-daemon'
when = "process.user == 'daemon' && process.name.startsWith('python3')"
[rule.examples]
match = [["only-for-daemon", "process.user=daemon", "process.name=python3.11"]]
no_match = ["only-for-daemon", ["only-for-daemon", "process.user=www-data", "process.name=nginx"]]
"#;

#[test]
fn a_rule_can_ask_which_process_serves() {
    let Some(mut site) = Site::prepare(1, &observing("")) else { return };
    fs::write(site.agent.rules().join("process.toml"), FOR_USER).unwrap();
    site.agent.start().unwrap();
    let _python = python(&site, "");
    let ask = |port: u16| {
        let to = SocketAddr::new(site.lab.server(1), port);
        let mut client = site.client(1).enter(|| Client::connect(to)).unwrap();
        client.exchange(&http::get("/?word=only-for-daemon")).unwrap();
    };
    // The listener is known after some seconds; requests to the first application come in between.
    let reported = || {
        ask(80);
        ask(PORT);
        site.agent.alerts_of(address(1, 2)).is_ok_and(|alerts| !alerts.is_empty())
    };
    wait_until("the second application's request is reported", Duration::from_secs(30), reported).unwrap();
    for alert in site.agent.alerts_of(address(1, 2)).unwrap() {
        assert_eq!(alert["dest_port"], PORT, "{alert}");
        assert!(alert.to_string().contains("word-for-daemon"), "{alert}");
    }
}
