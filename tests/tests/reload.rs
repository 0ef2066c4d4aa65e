//! Rules, lists and settings are taken up while traffic runs: every record and every transaction is accounted for, and no attack is missed
//! between the old and the new.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use sensor_tests::agent::Setup;
use sensor_tests::http::{self, Client, get};
use sensor_tests::process::wait_until;
use sensor_tests::site::Site;
use serde_json::Value;

const RELOADS: usize = 8;
const CONNECTIONS: usize = 6;
/// One request in so many is a marked attack.
const MARKED: usize = 8;
/// Between two requests of a connection: the rings shall hold what comes while the machine stands still.
const PAUSE: Duration = Duration::from_millis(2);

/// Enough room everywhere for what comes while nobody looks, and every alert by itself.
fn setup(exempt: &str, max_syn: u32) -> Setup {
    Setup {
        enforce: false,
        ring_bytes: 1 << 25,
        exempt: vec![exempt.to_owned()],
        alerts: "burst = 100000".to_owned(),
        extra: format!("[limits]\nreport_queue = 65536\n[actors]\nbrute_force_passwords = {}", 10 + max_syn),
        ..Setup::default()
    }
}

/// A rule that finds the marks, a little different each time, and another one that comes and goes.
fn rules(round: usize) -> String {
    let rule = |id: &str, pattern: &str, example: &str| {
        format!(
            "[[rule]]\nid = \"{id}\"\nrevision = {}\ntitle = \"a mark\"\nclass = \"ACCESS_CONTROL\"\nseverity = \"high\"\n\
             confidence = 0.9\nfields = [\"query.mark\"]\npattern = '{pattern}'\n\
             [rule.examples]\nmatch = [\"{example}\"]\nno_match = [\"quiet\"]\n",
            round + 1
        )
    };
    let mark = rule("mark", r"^marked-attack-\d+-\d+$", "marked-attack-1-2");
    let other =
        rule(&format!("other-{round}"), &format!("never-sent-{round}"), &format!("never-sent-{round}"));
    if round.is_multiple_of(2) { mark + &other } else { mark }
}

/// What one connection has sent, all of it answered.
#[derive(Debug, Default)]
struct Sent {
    requests: u64,
    marks: BTreeSet<String>,
}

/// Requests over one connection until it is told to stop.
fn talk(site: &Site, number: usize, stop: &AtomicBool) -> Sent {
    let server = site.server(1);
    let talk = || {
        let mut sent = Sent::default();
        let mut client = Client::connect(server)?;
        for request in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let mark = format!("marked-attack-{number}-{request}");
            let is_marked = request % MARKED == 0;
            let shown = if is_marked { mark.as_str() } else { "quiet" };
            let response = client.exchange(&get(&format!("/index.html?n={request}&mark={shown}")))?;
            assert_eq!(response.status, 200);
            sent.requests += 1;
            if is_marked {
                sent.marks.insert(mark);
            }
            thread::sleep(PAUSE);
        }
        Ok(sent)
    };
    site.client(1).enter(talk).unwrap()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn capture(site: &Site) -> Value {
    let health = site.agent.api("GET", "/api/security/health", None).unwrap();
    http::json(&health, 200).unwrap()["capture"].clone()
}

/// Each round takes up other rules, another exemption, other thresholds and another block list.
fn reload(site: &Site, pid: u32, round: usize) {
    fs::write(site.agent.rules().join("marks.toml"), rules(round)).unwrap();
    site.agent.configure(&setup(&format!("192.0.2.{round}"), round as u32)).unwrap();
    let list = site.folder.path().join("list.txt");
    let lines: String = (0..500).map(|entry| format!("198.51.{round}.{}\n", entry % 250)).collect();
    fs::write(&list, lines).unwrap();
    let imported = site.agent.cli(&["block", "import", list.to_str().unwrap(), "--ttl", "1h"]).unwrap();
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), Signal::SIGHUP).unwrap();
    let taken_up = || site.agent.log().matches("reloaded").count() >= round;
    wait_until("the reload is taken up", Duration::from_secs(60), taken_up).unwrap();
}

#[test]
fn reloads_under_load_lose_no_record_no_transaction_and_no_attack() {
    let Some(mut site) = Site::prepare(1, &setup("192.0.2.250", 0)) else { return };
    fs::write(site.agent.rules().join("marks.toml"), rules(0)).unwrap();
    site.agent.start().unwrap();
    let pid = site.agent.process().unwrap().id();
    let stop = AtomicBool::new(false);
    let sent: Vec<Sent> = thread::scope(|scope| {
        let talks: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                scope.spawn({
                    let (site, stop) = (&site, &stop);
                    move || talk(site, number, stop)
                })
            })
            .collect();
        (1..=RELOADS).for_each(|round| reload(&site, pid, round));
        stop.store(true, Ordering::Relaxed);
        talks.into_iter().map(|talk| talk.join().unwrap()).collect()
    });
    let requests: u64 = sent.iter().map(|sent| sent.requests).sum();
    let marks: BTreeSet<String> = sent.into_iter().flat_map(|sent| sent.marks).collect();
    assert!(
        requests as usize > CONNECTIONS * RELOADS && marks.len() > CONNECTIONS,
        "{requests} {}",
        marks.len()
    );

    let settled =
        || site.agent.metric("sensor_engine_transactions_total").is_ok_and(|seen| seen >= requests as f64);
    wait_until("every transaction is seen", Duration::from_secs(30), settled).unwrap();
    let in_rings = || count(&capture(&site)["in_rings"]) == 0;
    wait_until("every record is delivered", Duration::from_secs(10), in_rings).unwrap();
    assert_eq!(site.agent.metric("sensor_engine_transactions_total").unwrap(), requests as f64);
    let capture = capture(&site);
    let dropped: u64 = capture["dropped"].as_object().unwrap().values().map(count).sum();
    assert_eq!(count(&capture["seen"]), count(&capture["delivered"]) + dropped, "{capture}");
    let lost = count(&capture["tap"]["lost"]);
    assert_eq!((lost, site.agent.metric("sensor_alerts_queue_lost_total").unwrap()), (0, 0.0), "{capture}");

    let mut reported = BTreeSet::new();
    let all = || {
        reported = reported_marks(&site);
        reported.len() >= marks.len()
    };
    let seen = wait_until("every marked attack is reported", Duration::from_secs(30), all);
    let missing: Vec<_> = marks.difference(&reported).collect();
    assert!(
        seen.is_ok() && missing.is_empty(),
        "{} of {} are missing: {missing:?}",
        missing.len(),
        marks.len()
    );
    assert_eq!(reported, marks, "and nothing else");
    // The client's own entry only counts.
    let imported = site.agent.blocked().unwrap().iter().filter(|entry| entry["shadow"] == false).count();
    assert_eq!(imported, RELOADS * 250, "every list is in force");
}

/// The marks in the file of alerts.
fn reported_marks(site: &Site) -> BTreeSet<String> {
    let events = fs::read_to_string(site.agent.events()).unwrap_or_default();
    let mark = |line: &str| {
        let event: Value = serde_json::from_str(line).ok()?;
        let rule = event["alert"]["metadata"]["rule"][0].as_str()?;
        let (_, mark) = event["http"]["url"].as_str()?.split_once("mark=")?;
        (rule == "mark").then(|| mark.to_owned())
    };
    events.lines().filter_map(mark).collect()
}
