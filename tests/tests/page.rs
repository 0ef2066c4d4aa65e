//! The live page in a real browser: it shows what the sensor found, and an attacker's text is never more than text.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use sensor_tests::agent::{API_PORT, Setup};
use sensor_tests::http::get;
use sensor_tests::process::{Process, wait_until};
use sensor_tests::scenarios::with_headers;
use sensor_tests::site::{Site, address};

const BROWSER: &str = "/usr/bin/chromium";

/// Flags for a browser in a namespace without a network and without a user of its own.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=6000",
    "--dump-dom",
];

/// The document after the page has had six seconds.
fn document(site: &Site, address: &str) -> String {
    let profile = site.folder.path().join("browser");
    let shown = site.folder.path().join("document.html");
    let mut command = site.lab.app.command(Path::new(BROWSER));
    command.args(FLAGS).arg(format!("--user-data-dir={}", profile.display())).arg(address);
    command
        .stdout(std::fs::File::create(&shown).unwrap())
        .stderr(Stdio::null())
        .env("HOME", site.folder.path());
    let mut browser = Process::start(&mut command).unwrap();
    let text = || std::fs::read_to_string(&shown).unwrap_or_default();
    wait_until("the browser's document", Duration::from_secs(60), || {
        !browser.running() || text().contains("</html>")
    })
    .unwrap();
    text()
}

#[test]
fn the_page_shows_alerts_and_runs_nothing_of_an_attackers() {
    if !Path::new(BROWSER).exists() {
        eprintln!("skipped: there is no {BROWSER} (package chromium)");
        return;
    }
    let Some(site) = Site::start(1, &Setup { enforce: false, ..Setup::default() }) else { return };
    let payload = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>";
    let request = with_headers(&format!("GET /x?q={payload}"), &format!("Referer: {payload}\r\n"), "");
    let _ = site.request(1, &request);
    let _ = site.request(1, &get("/index.html"));
    site.agent.wait_for_alert(address(1, 2)).unwrap();
    let token = site.agent.token().unwrap();
    let page = document(&site, &format!("http://127.0.0.1:{API_PORT}/#token={token}"));
    assert!(page.contains("<title>Sensor</title>"), "nothing ran that changed the title:\n{page}");
    for shown in ["INPUT_VALIDATION", "10.66.1.2", "observing only", "&lt;script&gt;", "interfaces"] {
        assert!(page.contains(shown), "`{shown}` in:\n{page}");
    }
    assert!(!page.contains("<img"), "an attacker's markup is text:\n{page}");
    assert!(!page.contains(&token), "the token is not in the document");

    let refused = document(&site, &format!("http://127.0.0.1:{API_PORT}/#token=wrong"));
    assert!(!refused.contains("INPUT_VALIDATION"), "without the token there is nothing to see");
}
