//! The HTTP endpoint of the real agent: who may ask, what it answers, and that its block list is the kernel's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use sensor_tests::agent::{API_PORT, Setup};
use sensor_tests::http::{Response, get, json};
use sensor_tests::process::wait_until;
use sensor_tests::scenarios;
use sensor_tests::site::{Site, address};
use serde_json::{Value, json};

fn problem(response: &Response, status: u16) -> Value {
    assert_eq!(response.header("content-type"), Some("application/problem+json"), "{response:?}");
    json(response, status).unwrap()
}

fn with_header(site: &Site, target: &str, header: &str) -> Response {
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{API_PORT}\r\n{header}Connection: close\r\n\r\n");
    site.agent.api_raw(request.as_bytes()).unwrap()
}

#[test]
fn only_the_token_opens_it_and_only_its_owner_can_read_the_token() {
    let Some(site) = Site::start(1, &Setup::default()) else { return };
    let token = site.agent.token().unwrap();
    let file = site.folder.path().join("agent/api.token");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(token.len(), 64);
    for header in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic eDp5\r\n"] {
        for target in ["/api/security/health", "/api/security/alerts", "/api/security/blocklist", "/metrics"]
        {
            let refused = with_header(&site, target, header);
            problem(&refused, 401);
            assert!(refused.header("www-authenticate").is_some());
        }
    }
    let in_query = with_header(&site, &format!("/api/security/health?token={token}"), "");
    problem(&in_query, 401);
    let rebound = format!(
        "GET /api/security/health HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    problem(&site.agent.api_raw(rebound.as_bytes()).unwrap(), 421);
    assert_eq!(with_header(&site, "/", "").status, 200, "the page that says what this is");
    problem(&site.agent.api("GET", "/api/security/nothing", None).unwrap(), 404);
    problem(&site.agent.api("PUT", "/api/security/alerts", None).unwrap(), 405);
}

#[test]
fn alerts_are_paged_filtered_and_streamed_without_gap_or_duplicate() {
    let Some(mut site) = Site::start(1, &Setup { enforce: false, ..Setup::default() }) else { return };
    let all = scenarios::all();
    for (number, scenario) in (20..).zip(&all) {
        let _ = site.request_as(1, number, &scenario.attack);
        site.agent.wait_for_alert(address(1, number)).unwrap();
    }
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = site.agent.api("GET", &format!("/api/security/alerts?limit=5{cursor}"), None).unwrap();
        let page = json(&page, 200).unwrap();
        ids.extend(
            page["alerts"].as_array().unwrap().iter().map(|alert| alert["sensor"]["id"].as_u64().unwrap()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(ids.len() >= all.len() && ids.is_sorted_by(|newer, older| newer > older), "{ids:?}");

    let count = |query: &str| {
        let page = site.agent.api("GET", &format!("/api/security/alerts?limit=500&{query}"), None).unwrap();
        json(&page, 200).unwrap()["alerts"].as_array().unwrap().len()
    };
    assert_eq!(count("class=JWT"), 1);
    assert_eq!(count("source=10.66.1.20"), 1);
    assert_eq!(count("source=192.0.2.0/24"), 0);
    assert_eq!(count("since=2100-01-01T00:00:00Z"), 0);
    problem(&site.agent.api("GET", "/api/security/alerts?class=NONSENSE", None).unwrap(), 422);

    // The stream resumes behind an id, first from the store, then live; a restart of the agent changes nothing.
    let resume_after = ids[2];
    site.agent.stop().unwrap();
    site.agent.start().unwrap();
    let mut stream = site.agent.stream(resume_after).unwrap();
    let mut next_id = || loop {
        let line = stream.read_line().unwrap();
        if let Some(id) = line.strip_prefix("id:") {
            return id.trim().parse::<u64>().unwrap();
        }
    };
    assert_eq!([next_id(), next_id()], [ids[1], ids[0]]);
    let _ = site.request_as(1, 90, &all[0].attack);
    assert!(next_id() > ids[0], "and then what comes");
}

#[test]
fn its_block_list_is_the_kernels() {
    let Some(site) = Site::start(2, &Setup::default()) else { return };
    let entry = json!({ "target": "10.66.2.2", "ttl_secs": 60, "reason": "by the API" });
    let made = site.agent.api("POST", "/api/security/blocklist", Some(&entry)).unwrap();
    assert!(matches!(made.status, 200 | 201), "{made:?}");
    assert!(site.request(2, &get("/index.html")).is_err());
    let listed = json(&site.agent.api("GET", "/api/security/blocklist", None).unwrap(), 200).unwrap();
    let entry = &listed["entries"][0];
    assert_eq!((&entry["target"], &entry["reason"]), (&json!("10.66.2.2"), &json!("by the API")));
    assert!(entry["hits"].as_u64().unwrap() > 0 && entry["remaining_secs"].as_u64().unwrap() <= 60);
    let gone = site.agent.api("DELETE", "/api/security/blocklist?target=10.66.2.2", None).unwrap();
    assert!(matches!(gone.status, 200 | 204), "{gone:?}");
    assert_eq!(site.request(2, &get("/index.html")).unwrap().status, 200);
    for target in ["0.0.0.0/0", "10.66.2.1", "127.0.0.1", "nonsense", "10.0.0.1/8"] {
        let refused =
            site.agent.api("POST", "/api/security/blocklist", Some(&json!({ "target": target }))).unwrap();
        assert!(matches!(refused.status, 400 | 409 | 422), "{target}: {refused:?}");
    }
}

#[test]
fn health_and_metrics_account_for_what_was_seen() {
    let Some(site) = Site::start(1, &Setup::default()) else { return };
    site.request(1, &get("/index.html")).unwrap();
    let health = json(&site.agent.api("GET", "/api/security/health", None).unwrap(), 200).unwrap();
    assert_eq!((&health["status"], &health["mode"]), (&json!("ok"), &json!("enforce")), "{health}");
    let interfaces = health["checks"]["interfaces"]["detail"].as_str().unwrap();
    assert!(interfaces.contains("client1: XDP generic") && interfaces.contains("tap tcx"), "{interfaces}");
    let metrics = || site.agent.api("GET", "/metrics", None).unwrap().text();
    wait_until("the engines' figures", Duration::from_secs(3), || {
        metrics().contains("sensor_engine_requests_total 1")
    })
    .unwrap();
    let text = metrics();
    for name in [
        "sensor_xdp_packets_total",
        "sensor_tap_packets_total",
        "sensor_engine_requests_total",
        "sensor_enforcing",
    ] {
        assert!(text.contains(name), "{name} in:\n{text}");
    }
    assert!(!text.contains("10.66."), "no address is a label");
}

/// A rule that asks for a phrase, and by its `when` for who sends it.
const RULE: &str = "[[rule]]\nid = 'site-planet'\ntitle = 'sells a planet'\nclass = 'ACCESS_CONTROL'\nseverity = 'medium'\nconfidence = 0.6\n\
                    fields = ['query']\nphrases = ['sell planet', 'buy planet']\n\
                    when = \"request.path == '/' && in_network(client.address, 'NETWORK')\"\n\
                    [rule.examples]\nmatch = [['sell planet', 'path=/', 'client=ADDRESS']]\nno_match = [['sell planet', 'path=/']]\n";

#[test]
fn rules_ask_who_sends_and_are_counted_one_by_one() {
    let Some(mut site) = Site::start(1, &Setup { enforce: false, ..Setup::default() }) else { return };
    let (inside, outside) = (address(1, 40), address(1, 41));
    let rule = RULE.replace("NETWORK", &inside.to_string()).replace("ADDRESS", &inside.to_string());
    std::fs::write(site.agent.rules().join("site.toml"), rule).unwrap();
    site.agent.stop().unwrap();
    site.agent.start().unwrap();
    let request = get("/?q=sell%20planet");
    let _ = site.request_as(1, 41, &request);
    let _ = site.request_as(1, 40, &request);
    let alert = site.agent.wait_for_alert(inside).unwrap();
    assert!(alert.to_string().contains("site-planet"), "{alert}");
    assert!(site.agent.alerts_of(outside).unwrap().is_empty());
    let row = || {
        let rules = json(&site.agent.api("GET", "/api/security/rules", None).unwrap(), 200).unwrap();
        rules["rules"].as_array().unwrap().iter().find(|rule| rule["id"] == "site-planet").cloned()
    };
    wait_until("the hit is counted", Duration::from_secs(15), || row().is_some_and(|row| row["hits"] == 1))
        .unwrap();
    let row = row().unwrap();
    assert_eq!((&row["candidates"], &row["errors"]), (&json!(2), &json!(0)), "{row}");
    assert_eq!(site.agent.metric("sensor_rule_hits_total{rule=\"site-planet\"}").unwrap(), 1.0);
}
