//! The API as clients see it: gates, problems, pages, streams.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::blocklist::Book;
use crate::config::Config;
use crate::kernel::gauges::{KernelLoad, MapFill, ProgramLoad, RingLoad};
use crate::shared::{KernelCounter, StatsSnapshot};
use crate::store::{Row, Store};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Bench {
    _dir: tempfile::TempDir,
    api: Arc<Api>,
}

fn row(id: u64) -> Row {
    Row {
        id,
        time_us: id as i64 * 1_000_000,
        class: if id.is_multiple_of(2) {
            sensor_engine::finding::Class::Jwt
        } else {
            sensor_engine::finding::Class::SqlInjection
        },
        severity: sensor_engine::finding::Severity::High,
        source: std::net::Ipv4Addr::new(192, 0, 2, id as u8).into(),
        event: json!({ "sensor": { "id": id } }).to_string(),
        owner: crate::store::Owner {
            unit: id.is_multiple_of(3).then(|| "nginx.service".to_owned()),
            ..crate::store::Owner::default()
        },
    }
}

impl Bench {
    fn new(alerts: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("sensor.db"), 10_000).unwrap().store);
        store.insert(&(1..=alerts).map(row).collect::<Vec<_>>()).unwrap();
        let (live, _) = tokio::sync::broadcast::channel(8);
        let shared = Arc::new(Shared::new(store, live, Arc::default()));
        shared.set_book(Book::in_memory());
        let config = config::Api { max_stream_clients: 2, ..Config::default().api };
        Self { _dir: dir, api: Arc::new(Api::new(shared, Token::new(TOKEN), &config)) }
    }

    fn announce(&self, id: u64) {
        self.api.shared.store.insert(&[row(id)]).unwrap();
        let _ = self.api.shared.live.send(Arc::new(row(id)));
    }

    async fn send(&self, request: Request<Body>) -> Response {
        router(self.api.clone()).oneshot(request).await.unwrap()
    }

    async fn answer(&self, method: &str, uri: &str, body: &str) -> (StatusCode, Value) {
        let response = self.send(request(method, uri, body)).await;
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn get(&self, uri: &str) -> (StatusCode, Value) {
        self.answer("GET", uri, "").await
    }
}

fn request(method: &str, uri: &str, body: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "localhost:9470")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

/// Reads a stream until `count` alerts came.
async fn alerts_of(response: Response, count: usize) -> Vec<u64> {
    use tokio_stream::StreamExt;
    let mut body = response.into_body().into_data_stream();
    let mut text = String::new();
    while text.matches("\nid:").count() + usize::from(text.starts_with("id:")) < count
        || !text.ends_with("\n\n")
    {
        let bytes = tokio::time::timeout(Duration::from_secs(5), body.next()).await;
        let Ok(Some(Ok(bytes))) = bytes else { break };
        text.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    text.lines().filter_map(|line| line.strip_prefix("id:")?.trim().parse().ok()).collect()
}

#[tokio::test]
async fn only_the_right_token_in_the_header_opens() {
    let bench = Bench::new(0);
    for (value, uri) in [
        (None, "/api/security/health"),
        (Some("Bearer wrong"), "/metrics"),
        (Some("Basic 0123456789abcdef0123456789abcdef"), "/api/security/alerts"),
        (Some("Bearer "), "/api/security/blocklist"),
        (Some("Bearer 0123456789abcdef0123456789abcdef"), "/api/security/health?token=x"),
        (None, "/api/security/health?access_token=0123456789abcdef0123456789abcdef"),
    ] {
        let mut request = Request::get(uri).header("host", "localhost");
        if let Some(value) = value {
            request = request.header("authorization", value);
        }
        let response = bench.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 401, "{value:?} {uri}");
        assert!(response.headers().contains_key("www-authenticate"));
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
    assert_eq!(bench.get("/api/security/health").await.0, 200);
}

#[tokio::test]
async fn another_host_name_is_refused_before_anything_else() {
    let bench = Bench::new(0);
    for uri in ["/", "/metrics", "/api/security/alerts", "/nothing"] {
        let request = Request::get(uri)
            .header("host", "evil.example:9470")
            .header("authorization", format!("Bearer {TOKEN}"));
        let response = bench.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 421, "{uri}");
    }
    let no_host = Request::get("/").body(Body::empty()).unwrap();
    assert_eq!(bench.send(no_host).await.status(), 421);
}

#[tokio::test]
async fn the_page_needs_no_token_and_runs_only_its_own_script() {
    let bench = Bench::new(0);
    for file in ["/", "/page.css", "/page.js"] {
        let request = Request::get(file).header("host", "localhost").body(Body::empty()).unwrap();
        assert_eq!(bench.send(request).await.status(), 200, "{file}");
    }
    let response =
        bench.send(Request::get("/").header("host", "localhost").body(Body::empty()).unwrap()).await;
    let policy = response.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    for name in ["content-security-policy", "x-content-type-options", "referrer-policy", "cache-control"] {
        assert!(response.headers().contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn every_refusal_is_problem_details() {
    let bench = Bench::new(0);
    let large = format!("{{\"target\":\"{}\"}}", "x".repeat(2 << 20));
    for (method, uri, body, status) in [
        ("GET", "/api/security/nothing", "", 404),
        ("PUT", "/api/security/alerts", "", 405),
        ("GET", "/api/security/alerts?limit=501", "", 422),
        ("GET", "/api/security/alerts?limit=x", "", 422),
        ("GET", "/api/security/alerts?class=WORSE", "", 422),
        ("GET", "/api/security/alerts?since=yesterday", "", 422),
        ("GET", "/api/security/alerts?source=host", "", 422),
        ("GET", "/api/security/alerts?colour=red", "", 422),
        ("GET", "/api/security/alerts?cursor=x", "", 422),
        ("GET", "/api/security/alerts/stream?after=x", "", 422),
        ("POST", "/api/security/blocklist", "{", 400),
        ("POST", "/api/security/blocklist", "{\"target\":1}", 422),
        ("POST", "/api/security/blocklist", "{\"target\":\"192.0.2.1\",\"tll\":1}", 422),
        ("POST", "/api/security/blocklist", "{\"target\":\"0.0.0.0/0\"}", 422),
        ("POST", "/api/security/blocklist", "{\"target\":\"192.0.2.1/24\"}", 422),
        ("POST", "/api/security/blocklist", "{\"target\":\"192.0.2.1\",\"ttl_secs\":0}", 422),
        ("POST", "/api/security/blocklist", &large, 413),
        ("DELETE", "/api/security/blocklist", "", 422),
        ("DELETE", "/api/security/blocklist?target=192.0.2.1", "", 404),
    ] {
        let response = bench.send(request(method, uri, body)).await;
        assert_eq!(response.status(), status, "{method} {uri}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{method} {uri}");
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(body["status"], status);
        assert!(!body["detail"].as_str().unwrap().is_empty());
    }
    let plain = Request::post("/api/security/blocklist")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "text/plain")
        .body(Body::from("{\"target\":\"192.0.2.1\"}"))
        .unwrap();
    assert_eq!(bench.send(plain).await.status(), 415);
}

#[tokio::test]
async fn alerts_are_paged_newest_first_and_filtered() {
    let bench = Bench::new(12);
    let ids = |page: &Value| -> Vec<u64> {
        page["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|alert| alert["sensor"]["id"].as_u64().unwrap())
            .collect()
    };
    let (_, first) = bench.get("/api/security/alerts?limit=5").await;
    assert_eq!(ids(&first), [12, 11, 10, 9, 8]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let (_, second) = bench.get(&format!("/api/security/alerts?limit=100&cursor={cursor}")).await;
    assert_eq!(ids(&second), [7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(second["next_cursor"], Value::Null);
    let (_, jwt) =
        bench.get("/api/security/alerts?class=JWT&severity=high,critical&source=192.0.2.0/29").await;
    assert_eq!(ids(&jwt), [6, 4, 2]);
    let (_, timed) =
        bench.get("/api/security/alerts?since=1970-01-01T00:00:03Z&until=1970-01-01T00:00:05Z").await;
    assert_eq!(ids(&timed), [4, 3]);
    let (_, of_unit) = bench.get("/api/security/alerts?unit=nginx.service&limit=2").await;
    assert_eq!(ids(&of_unit), [12, 9]);
    let (_, of_nobody) = bench.get("/api/security/alerts?unit=nginx.service&user=nobody").await;
    assert_eq!(ids(&of_nobody), [0; 0]);
}

#[tokio::test]
async fn the_stream_resumes_from_the_store_and_goes_on_live() {
    let bench = Bench::new(5);
    let response = bench.send(request("GET", "/api/security/alerts/stream?after=2", "")).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    bench.announce(6);
    bench.announce(7);
    assert_eq!(alerts_of(response, 5).await, [3, 4, 5, 6, 7]);

    let mut resumed = request("GET", "/api/security/alerts/stream?after=0&class=JWT", "");
    resumed.headers_mut().insert("last-event-id", HeaderValue::from_static("3"));
    assert_eq!(alerts_of(bench.send(resumed).await, 2).await, [4, 6]);

    let live_only = bench.send(request("GET", "/api/security/alerts/stream", "")).await;
    bench.announce(8);
    assert_eq!(alerts_of(live_only, 1).await, [8]);
}

#[tokio::test]
async fn a_client_that_lags_is_cut_off_and_can_resume() {
    let bench = Bench::new(0);
    let response = bench.send(request("GET", "/api/security/alerts/stream", "")).await;
    (1..=200).for_each(|id| bench.announce(id));
    let seen = alerts_of(response, usize::MAX).await;
    let last = seen.last().copied().unwrap_or(0);
    let resumed = bench.send(request("GET", &format!("/api/security/alerts/stream?after={last}"), "")).await;
    let rest = alerts_of(resumed, 200 - last as usize).await;
    assert_eq!([seen, rest].concat(), (1..=200).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_number_of_listeners_is_bounded_and_stopping_ends_them() {
    let bench = Bench::new(0);
    let first = bench.send(request("GET", "/api/security/alerts/stream", "")).await;
    let _second = bench.send(request("GET", "/api/security/alerts/stream", "")).await;
    let (status, problem) = bench.get("/api/security/alerts/stream").await;
    assert_eq!((status.as_u16(), &problem["code"]), (503, &json!("unavailable")));
    bench.api.shared.stop();
    assert_eq!(alerts_of(first, usize::MAX).await, [] as [u64; 0]);
    assert_eq!(bench.send(request("GET", "/api/security/health", "")).await.status(), 200);
}

#[tokio::test]
async fn entries_are_added_listed_and_removed() {
    let bench = Bench::new(0);
    let body = "{\"target\":\"192.0.2.1\",\"ttl_secs\":60,\"reason\":\"a\\nb\"}";
    let (status, made) = bench.answer("POST", "/api/security/blocklist", body).await;
    assert_eq!(status, 201);
    assert_eq!((&made["target"], &made["reason"]), (&json!("192.0.2.1"), &json!("a\\u{a}b")));
    bench.answer("POST", "/api/security/blocklist", "{\"target\":\"2001:db8::/64\",\"shadow\":true}").await;
    let (_, first) = bench.get("/api/security/blocklist?limit=1").await;
    assert_eq!((&first["total"], first["entries"].as_array().unwrap().len()), (&json!(2), 1));
    let cursor = first["next_cursor"].as_str().unwrap();
    let (_, second) = bench.get(&format!("/api/security/blocklist?cursor={cursor}")).await;
    assert_eq!(second["entries"][0]["target"], "2001:db8::/64");
    assert_eq!(second["next_cursor"], Value::Null);
    assert_eq!(bench.answer("DELETE", "/api/security/blocklist?target=192.0.2.1", "").await.0, 204);
    bench.api.shared.with_book(|book| book.exempt("10.0.0.0/8".parse().unwrap())).unwrap().unwrap();
    let (status, refused) =
        bench.answer("POST", "/api/security/blocklist", "{\"target\":\"10.1.1.1\"}").await;
    assert_eq!(status, 409);
    assert!(refused["detail"].as_str().unwrap().contains("`10.0.0.0/8`"));
}

fn figures() -> StatsSnapshot {
    let counter = |name, value, outcome, loss| KernelCounter {
        program: "tap",
        name,
        help: "Help.",
        value,
        outcome,
        loss,
    };
    StatsSnapshot {
        kernel: vec![
            counter("recorded", 90, true, false),
            counter("ring_full", 10, true, true),
            counter("wakeups", 7, false, false),
        ],
        engines: vec![
            sensor_engine::engine::Stats { records: 40, accepted: 40, ..Default::default() },
            sensor_engine::engine::Stats {
                records: 50,
                accepted: 49,
                record_malformed: 1,
                named: vec![("flows", "Flows.", 3)],
            },
        ],
        rules: [(
            "probe".to_owned(),
            sensor_engine::rule::RuleFigures {
                candidates: 9,
                hits: 4,
                excepted: 1,
                errors: 2,
                timed: 2,
                time_ns: 300,
            },
        )]
        .into(),
        delivered: 88,
        rings: vec![(0, "ring_full", 10)],
        sample: 0.5,
        pipeline: vec![("blocks_in_force", "Block entries written.", 5)],
        latency: Default::default(),
        actors: vec![("logins", "Logins.", 3), ("clients_now", "Clients.", 2)],
        facts_lost: 0,
    }
}

#[tokio::test]
async fn rules_show_what_they_cost_and_found() {
    let bench = Bench::new(0);
    bench.api.shared.publish_stats(figures());
    let (_, rules) = bench.get("/api/security/rules").await;
    let row = json!({ "id": "probe", "candidates": 9, "hits": 4, "excepted": 1, "errors": 2, "false_positives": 0, "mean_ns": 150.0 });
    assert_eq!(rules["rules"], json!([row]));
}

/// An alert with findings of two rules.
fn found(bench: &Bench, id: u64) {
    let event = json!({ "http": { "url": "/report?q=1" }, "sensor": { "id": id, "findings": [
        { "rule": "sql-union", "field": "query.q" }, { "rule": "probe", "field": "query.q" }] } });
    bench.api.shared.store.insert(&[Row { event: event.to_string(), ..row(id) }]).unwrap();
}

#[tokio::test]
async fn an_alert_is_marked_once_and_counted_for_its_rules() {
    let bench = Bench::new(0);
    bench.api.shared.publish_stats(figures());
    for id in [1, 2] {
        found(&bench, id);
    }
    let marks = async |method: &str, id: u64| {
        let (status, answer) =
            bench.answer(method, &format!("/api/security/alerts/{id}/false-positive"), "").await;
        assert_eq!(status, 200, "{answer}");
        let changed = answer["changed"].as_bool().unwrap();
        (changed, answer["rules"][1]["false_positives"].as_u64().unwrap())
    };
    assert_eq!(marks("DELETE", 1).await, (false, 0));
    assert_eq!(marks("POST", 1).await, (true, 1));
    assert_eq!(marks("POST", 1).await, (false, 1));
    assert_eq!(marks("POST", 2).await, (true, 2));
    assert_eq!(marks("DELETE", 1).await, (true, 1));
    let (_, rules) = bench.get("/api/security/rules").await;
    let counts: Vec<_> =
        rules["rules"].as_array().unwrap().iter().map(|row| (&row["id"], &row["false_positives"])).collect();
    assert_eq!(counts, [(&json!("probe"), &json!(1)), (&json!("sql-union"), &json!(1))]);
    let response = bench.send(request("GET", "/metrics", "")).await;
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("sensor_rule_false_positives{rule=\"sql-union\"} 1"), "{text}");
}

#[tokio::test]
async fn marking_proposes_what_would_have_silenced_the_alert() {
    let bench = Bench::new(0);
    found(&bench, 1);
    let (_, answer) = bench.answer("POST", "/api/security/alerts/1/false-positive", "").await;
    let text = "[[exception]]\nrule = \"sql-union\"\npath = \"/report\"\nfield = \"query.q\"\nreason = \"marked as a false positive\"\n";
    assert_eq!(answer["proposals"][0], json!({ "rule": "sql-union", "exception": text, "exact": true }));
}

#[tokio::test]
async fn what_is_no_alert_is_not_marked_and_nobody_marks_without_the_token() {
    let bench = Bench::new(1);
    for (id, status, code) in [
        ("9", 404, "no_alert"),
        ("x", 422, "value"),
        ("-1", 422, "value"),
        ("18446744073709551615", 404, "no_alert"),
    ] {
        let (got, answer) =
            bench.answer("POST", &format!("/api/security/alerts/{id}/false-positive"), "").await;
        assert_eq!(got.as_u16(), status, "{id} {answer}");
        assert!(answer.to_string().contains(code), "{id} {answer}");
    }
    let mut without = request("POST", "/api/security/alerts/1/false-positive", "");
    without.headers_mut().remove("authorization");
    assert_eq!(bench.send(without).await.status(), 401);
    assert_eq!(bench.api.shared.store.false_positives().unwrap(), []);
    assert_eq!(bench.get("/api/security/alerts/1/false-positive").await.0, 405);
}

#[tokio::test]
async fn health_shows_what_was_seen_and_lost() {
    let bench = Bench::new(0);
    let (_, before) = bench.get("/api/security/health").await;
    assert_eq!(before["status"], "failing");
    bench.api.shared.publish_stats(figures());
    let (_, health) = bench.get("/api/security/health").await;
    assert_eq!((&health["status"], &health["mode"]), (&json!("degraded"), &json!("observe")));
    assert_eq!(
        (&health["capture"]["tap"]["seen"], &health["capture"]["tap"]["lost"]),
        (&json!(100), &json!(10))
    );
    let capture = &health["capture"];
    assert_eq!(
        (&capture["seen"], &capture["delivered"], &capture["in_rings"]),
        (&json!(100), &json!(88), &json!(2))
    );
    assert_eq!(capture["dropped"], json!({ "ring_full": 10 }));
    assert_eq!(health["capture"]["engine"]["records"], 90);
    assert_eq!(health["capture"]["engine"]["others"]["flows"], 3);
    assert!(health["checks"]["capture"]["detail"].as_str().unwrap().contains("10 segments were lost"));
}

/// Gauges with something in each.
fn load() -> KernelLoad {
    KernelLoad {
        at_ns: 1,
        programs: vec![ProgramLoad { name: "sensor_tap_in".to_owned(), runs: 4, run_ns: 2_500_000_000 }],
        maps: vec![MapFill { name: "FLOWS".to_owned(), entries: 3, max_entries: 65_536, at_least: false }],
        rings: vec![RingLoad { name: "ring-0".to_owned(), waiting_bytes: 8, size_bytes: 1024 }],
    }
}

#[tokio::test]
async fn metrics_are_openmetrics_text() {
    let bench = Bench::new(0);
    bench.api.shared.publish_stats(figures());
    bench.api.shared.set_load(load());
    let response = bench.send(request("GET", "/metrics", "")).await;
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let text = std::str::from_utf8(&bytes).unwrap();
    for line in [
        "sensor_tap_packets_total{outcome=\"ring_full\"} 10",
        "sensor_tap_wakeups_total 7",
        "sensor_program_runs_total{program=\"sensor_tap_in\"} 4.0",
        "sensor_program_run_seconds_total{program=\"sensor_tap_in\"} 2.5",
        "sensor_map_entries{map=\"FLOWS\"} 3.0",
        "sensor_map_max_entries{map=\"FLOWS\"} 65536.0",
        "sensor_ring_waiting_bytes{ring=\"ring-0\"} 8.0",
        "sensor_ring_size_bytes{ring=\"ring-0\"} 1024.0",
        "sensor_engine_records_total 90",
        "sensor_engine_flows_total 3",
        "sensor_alerts_queue_lost_total 0",
        "sensor_blocks_in_force_total 5",
        "sensor_records_delivered_total 88",
        "sensor_block_latency_seconds_count 0",
        "sensor_health{check=\"capture\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}
