//! Real clients against real servers: what the sensor understood is what the servers logged, request by request. Two rules that match every
//! request and every response make the sensor tell all that it reads.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sensor_tests::agent::Setup;
use sensor_tests::process::{Process, wait_until};
use sensor_tests::servers::{Logged, Logging};
use sensor_tests::site::Site;
use serde_json::Value;

/// Matches everything, and blocks nobody.
const RULES: &str = r#"
[[rule]]
id = "every-request"
title = "a request"
class = "INPUT_VALIDATION"
severity = "info"
confidence = 0.6
response = "observe"
fields = ["method"]
short_field = true
pattern = '^.'
[rule.examples]
match = ['method=GET']
no_match = ['method=']

[[rule]]
id = "every-response"
title = "a response"
class = "INPUT_VALIDATION"
severity = "info"
confidence = 0.6
response = "observe"
fields = ["response.status"]
short_field = true
pattern = '^\d'
[rule.examples]
match = ['response.status=200']
no_match = ['response.status=x']
"#;

const NGINX: u16 = 8080;
const NGINX_HTTP2: u16 = 8081;
const PYTHON: u16 = 8082;
const NODE: u16 = 8083;
const UPGRADED: u16 = 8084;
/// Behind the one before, where nobody looks.
const BEHIND: u16 = 8085;
const UPGRADING: &str = "/usr/sbin/nghttpx";
const BROWSER: &str = "/usr/bin/chromium";

/// Requests over connections that are kept, as Python's own client sends them.
const PYTHON_CLIENT: &str = r#"
import http.client, sys
host = sys.argv[1]
for port in map(int, sys.argv[2:]):
    kept = http.client.HTTPConnection(host, port)
    for number in range(40):
        kept.request('GET', f'/python/{number}?q=tea%20{number}', headers={'User-Agent': 'python', 'Cookie': 'a=b; c="d e"'})
        kept.getresponse().read()
        kept.request('POST', f'/python/{number}', body='x' * number * 100, headers={'User-Agent': 'python'})
        kept.getresponse().read()
    kept.request('HEAD', '/python/head', headers={'User-Agent': 'python'})
    kept.getresponse().read()
    kept.request('PUT', '/missing/chunked', body=(b'part %d' % n for n in range(20)), encode_chunked=True,
                 headers={'User-Agent': 'python', 'Transfer-Encoding': 'chunked'})
    kept.getresponse().read()
"#;

/// Many requests at once over a few connections, as Node's own client sends them.
const NODE_CLIENT: &str = r#"
const http = require('http');
const agent = new http.Agent({keepAlive: true, maxSockets: 3});
const [host, ...ports] = process.argv.slice(2);
for (const port of ports) {
  for (let number = 0; number < 60; number++) {
    const method = ['GET', 'POST', 'DELETE'][number % 3];
    const request = http.request({host, port, agent, method, path: `/node/${number}?n=${number}`,
      headers: {'User-Agent': 'node', 'Content-Type': 'application/json'}}, response => response.resume());
    request.on('error', () => process.exit(1));
    if (method === 'POST') { request.write('{"a": '); request.write(`"${'y'.repeat(number * 50)}"}`); }
    request.end();
  }
}
"#;

/// What the sensor tells of a port's requests, and the events themselves for what it tells wrong.
fn understood(site: &Site, port: u16) -> Vec<Logged> {
    let text = fs::read_to_string(site.agent.events()).unwrap_or_default();
    let events: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    // What shows over many requests is told of no single one.
    let of_one = |event: &&Value| event["tx_id"].is_u64() && event["flow_id"].is_u64();
    let of_port = events.iter().filter(|event| event["dest_port"] == port).filter(of_one);
    let mut statuses: HashMap<(u64, u64), u16> = HashMap::new();
    let mut requests: BTreeMap<(u64, u64), Logged> = BTreeMap::new();
    for event in of_port {
        let key = (event["flow_id"].as_u64().unwrap(), event["tx_id"].as_u64().unwrap());
        let finding = |rule: &str| {
            let findings = event["sensor"]["findings"].as_array().unwrap();
            findings.iter().find(|finding| finding["rule"] == rule)
        };
        if let Some(found) = finding("every-response") {
            statuses.insert(key, found["evidence"].as_str().unwrap().parse().unwrap_or(0));
        }
        if finding("every-request").is_some() {
            let text = |name: &str| event["http"][name].as_str().unwrap_or_default().to_owned();
            let (method, target, agent) = (text("http_method"), text("url"), text("http_user_agent"));
            let port = u16::try_from(event["src_port"].as_u64().unwrap()).unwrap();
            requests.insert(key, Logged { port, method, target, agent, status: 0 });
        }
    }
    let answered =
        |(key, request): (_, Logged)| Logged { status: statuses.get(&key).copied().unwrap_or(0), ..request };
    sorted(requests.into_iter().map(answered).collect())
}

fn sorted(mut all: Vec<Logged>) -> Vec<Logged> {
    all.sort();
    all
}

/// Runs a client on the client's host to its end.
fn run(site: &Site, program: &str, arguments: &[&str]) {
    let mut command: Command = site.client(1).command(Path::new(program));
    let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn script(site: &Site, name: &str, text: &str) -> String {
    let file = site.folder.path().join(name);
    fs::write(&file, text).unwrap();
    file.to_string_lossy().into_owned()
}

/// Everything that curl does with a server of HTTP/1.
fn curl(site: &Site, host: &str, port: u16) {
    let base = format!("http://{host}:{port}");
    let upload = script(site, "upload", &"some text\n".repeat(20_000));
    let quiet = ["--silent", "--show-error", "--output", "/dev/null", "--user-agent", "curl \"quoted\""];
    let many = format!("{base}/curl/[1-30]?page=[1-2]");
    let (form, missing, root) = (format!("{base}/form"), format!("{base}/missing"), format!("{base}/"));
    let file = format!("file=@{upload}");
    for arguments in [
        vec![many.as_str()],
        vec!["--http1.0", &root],
        vec!["--head", &root],
        vec!["--compressed", "--cookie", "a=b; c=d", &missing],
        vec!["--data", "name=tea&note=hot%20water", &form],
        vec!["--json", "{\"name\": \"tea\", \"tags\": [\"green\", \"hot\"]}", &form],
        vec!["--form", "name=tea", "--form", &file, &form],
        vec![
            "--request",
            "PATCH",
            "--header",
            "Transfer-Encoding: chunked",
            "--data-binary",
            "chunked text",
            &form,
        ],
        vec!["--upload-file", &upload, &form],
        vec!["--request", "OPTIONS", "--request-target", "*", &root],
    ] {
        let skipped = port == NGINX && arguments.contains(&"*");
        if !skipped {
            run(site, "curl", &[&quiet[..], &arguments].concat());
        }
    }
}

/// A browser that opens a page, which sends requests of every kind. The document says when all of them are over.
fn browse(site: &Site, host: &str, port: u16) {
    let mut command: Command = site.client(1).command(Path::new(BROWSER));
    let flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--virtual-time-budget=20000",
        "--dump-dom",
    ];
    let profile = site.folder.path().join(format!("browser-{port}"));
    command.args(flags).arg(format!("--user-data-dir={}", profile.display()));
    command.arg(format!("http://{host}:{port}/browser")).env("HOME", site.folder.path());
    let shown = site.folder.path().join(format!("document-{port}.html"));
    command.stdin(Stdio::null()).stdout(fs::File::create(&shown).unwrap()).stderr(Stdio::null());
    let mut browser = Process::start(&mut command).unwrap();
    let text = || fs::read_to_string(&shown).unwrap_or_default();
    let done = || !browser.running() || text().contains("</html>");
    wait_until("the browser's document", Duration::from_secs(90), done).unwrap();
    assert!(text().contains("<title>over</title>"), "port {port}: {}", text());
}

/// HTTP/2 after an Upgrade: the first request is one of HTTP/1, which its stream answers.
fn upgrade(site: &Site, base: &str) {
    let quiet = ["--silent", "--show-error", "--output", "/dev/null", "--http2", "--user-agent", "curl"];
    for number in 0..8 {
        run(site, "curl", &[&quiet[..], &[&format!("{base}/curl/{number}?q=tea")]].concat());
        run(
            site,
            "curl",
            &[&quiet[..], &["--data", "name=tea", &format!("{base}/missing/{number}")]].concat(),
        );
        let several = [format!("{base}/nghttp/{number}"), format!("{base}/missing"), format!("{base}/a?b=c")];
        run(site, "nghttp", &["-n", "-u", &several[0], &several[1], &several[2]]);
    }
}

/// Programs that are not there are said, and left out.
fn there(program: &str) -> bool {
    let found = Command::new("which")
        .arg(program)
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        eprintln!("skipped: `{program}` is not installed");
    }
    found
}

#[test]
fn what_the_sensor_understands_is_what_the_servers_logged() {
    if !["curl", "python3", "node"].into_iter().all(there) {
        return;
    }
    let setup = Setup {
        enforce: false,
        ring_bytes: 8 << 20,
        alerts: "burst = 100000".to_owned(),
        extra: "[limits]\nreport_queue = 500000\n".to_owned(),
        capture: format!("ports = [80, {NGINX}]"),
        ..Setup::default()
    };
    let Some(mut site) = Site::prepare(1, &setup) else { return };
    fs::write(site.agent.rules().join("everything.toml"), RULES).unwrap();
    let folder = site.folder.path().to_owned();
    let app = site.lab.app.clone();
    let mut servers = vec![
        Logging::nginx(&app, &folder, NGINX, false).unwrap(),
        Logging::nginx(&app, &folder, NGINX_HTTP2, true).unwrap(),
        Logging::python(&app, &folder, PYTHON).unwrap(),
        Logging::node(&app, &folder, NODE).unwrap(),
    ];
    let behind = Logging::nginx(&app, &folder, BEHIND, false).unwrap();
    let upgrades = there(UPGRADING) && there("nghttp");
    if upgrades {
        servers.push(Logging::nghttpx(&app, &folder, UPGRADED, behind.port).unwrap());
    }
    site.agent.start().unwrap();
    let (host, python, node) = (site.lab.server(1).to_string(), "python3", "node");
    for port in [NGINX, PYTHON, NODE] {
        curl(&site, &host, port);
    }
    let ports = [NGINX, PYTHON, NODE].map(|port| port.to_string());
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let client = script(&site, "client.py", PYTHON_CLIENT);
    run(&site, python, &[&[client.as_str(), &host][..], &ports].concat());
    let client = script(&site, "client.js", NODE_CLIENT);
    run(&site, node, &[&[client.as_str(), &host][..], &ports].concat());
    let http2 = format!("http://{host}:{NGINX_HTTP2}");
    let quiet = ["--silent", "--show-error", "--output", "/dev/null", "--http2-prior-knowledge"];
    // One request for each run: curl 7.88 fails at a second one over a connection of prior knowledge.
    for number in 0..5 {
        run(
            &site,
            "curl",
            &[&quiet[..], &["--user-agent", "curl", &format!("{http2}/curl/{number}")]].concat(),
        );
    }
    if there("h2load") {
        run(&site, "h2load", &["-n", "600", "-c", "4", "-m", "20", &format!("{http2}/h2load?a=b")]);
        let form = script(&site, "form", "a=b");
        run(&site, "h2load", &["-n", "40", "-c", "2", "-m", "4", "-d", &form, &format!("{http2}/form")]);
    }
    if there("nghttp") {
        run(&site, "nghttp", &["-n", "-m", "5", &format!("{http2}/nghttp/1"), &format!("{http2}/missing")]);
    }
    if upgrades {
        upgrade(&site, &format!("http://{host}:{UPGRADED}"));
    }
    if there("wrk") {
        run(&site, "wrk", &["-t", "1", "-c", "8", "-d", "1s", &format!("http://{host}:{PYTHON}/wrk?x=y")]);
    }
    if there(BROWSER) {
        for port in [NGINX, PYTHON, NODE] {
            browse(&site, &host, port);
        }
    }
    for server in &servers {
        let same = || understood(&site, server.port) == sorted(server.logged().unwrap());
        let waited = wait_until("the sensor tells what the server logged", Duration::from_secs(20), same);
        let (told, logged) = (understood(&site, server.port), sorted(server.logged().unwrap()));
        let missing: Vec<_> = logged.iter().filter(|one| !told.contains(one)).take(10).collect();
        let invented: Vec<_> = told.iter().filter(|one| !logged.contains(one)).take(10).collect();
        let counts = (told.len(), logged.len());
        assert!(
            waited.is_ok(),
            "port {}: {counts:?}\nmissing {missing:#?}\ninvented {invented:#?}",
            server.port
        );
        assert!(logged.len() > 20, "port {}: only {} requests", server.port, logged.len());
        eprintln!("port {}: {} requests told as they were logged", server.port, logged.len());
    }
}
