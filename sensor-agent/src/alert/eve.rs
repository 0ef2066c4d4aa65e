//! A report as an event in Suricata's EVE form, so that whatever reads Suricata reads the sensor. What EVE has no place
//! for stands under the one key `sensor`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sensor_engine::actor::{Account, Behind};
use sensor_engine::engine::{Report, RequestSummary};
use sensor_engine::finding::{Class, Finding, Severity};
use sensor_engine::policy::{Action, Mode};
use serde::Serialize;

use super::community;
use crate::attribution::Process;
use crate::clock::WallClock;
use crate::pipeline::{Delivered, Enforcement};
use crate::printable::line;

/// What an event says beside its report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// Number of the alert.
    pub(crate) id: u64,
    /// Boot clock to wall clock.
    pub(crate) clock: WallClock,
    /// Interface name.
    pub(crate) interface: Option<&'a str>,
    /// The process behind the connection.
    pub(crate) process: Option<&'a Process>,
    /// Like reports that this event stands for and that have none of their own.
    pub(crate) suppressed: u64,
}

#[derive(Serialize)]
struct Event<'a> {
    timestamp: String,
    flow_id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_iface: Option<&'a str>,
    event_type: &'static str,
    src_ip: String,
    src_port: u16,
    dest_ip: String,
    dest_port: u16,
    proto: &'static str,
    app_proto: &'static str,
    tx_id: u64,
    community_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    xff: Option<String>,
    alert: Alert<'a>,
    http: Http<'a>,
    sensor: Sensor<'a>,
}

#[derive(Serialize)]
struct Alert<'a> {
    action: &'static str,
    gid: u32,
    signature_id: u32,
    rev: u32,
    signature: &'a str,
    category: &'static str,
    severity: u8,
    metadata: Metadata<'a>,
}

/// EVE's metadata values are lists of text.
#[derive(Serialize)]
struct Metadata<'a> {
    attack_class: [&'static str; 1],
    confidence: [String; 1],
    rule: [&'a str; 1],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tag: &'a [String],
}

#[derive(Serialize)]
pub(super) struct Http<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    hostname: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    url: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    http_user_agent: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    http_refer: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    http_method: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    http_content_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    protocol: &'a str,
}

#[derive(Serialize)]
struct Sensor<'a> {
    id: u64,
    class: &'static str,
    severity: &'static str,
    confidence: f64,
    verdict: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<Block>,
    client: Client,
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<Others>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<&'a Process>,
    findings: Vec<FindingView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    behaviour: Option<Behaviour>,
    capture: Capture,
    #[serde(skip_serializing_if = "is_zero")]
    suppressed: u64,
}

/// What became of the block.
#[derive(Serialize)]
struct Block {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<f64>,
}

#[derive(Serialize)]
struct Client {
    address: String,
    source: &'static str,
}

/// Who else is behind the client's address: an estimate.
#[derive(Serialize)]
struct Others {
    sessions: u8,
    programs: u8,
}

#[derive(Serialize)]
struct Capture {
    bytes_missed: u64,
}

/// What a finding about several transactions rests on.
#[derive(Serialize)]
struct Behaviour {
    #[serde(skip_serializing_if = "is_zero")]
    window_secs: u64,
    counts: BTreeMap<String, u32>,
    examples: Vec<String>,
}

#[derive(Serialize)]
struct FindingView<'a> {
    rule: &'a str,
    revision: u32,
    class: &'static str,
    severity: &'static str,
    confidence: f64,
    title: &'a str,
    tags: &'a [String],
    field: String,
    offset: u32,
    length: u32,
    decoders: Vec<&'static str>,
    evidence: String,
}

/// The generator of all our signatures; 1 and 3 are Suricata's own, and Snort reserves those below 1000.
const GENERATOR: u32 = 9470;

/// `report` as one line of JSON.
pub(crate) fn event(delivered: &Delivered, frame: Frame<'_>) -> String {
    let report = &*delivered.report;
    let summary = safe(&report.request);
    let event = Event {
        timestamp: timestamp(frame.clock.at(report.time)),
        flow_id: community::flow_number(report.client, report.server, report.flow_id),
        in_iface: frame.interface,
        event_type: "alert",
        src_ip: report.client.ip().to_canonical().to_string(),
        src_port: report.client.port(),
        dest_ip: report.server.ip().to_canonical().to_string(),
        dest_port: report.server.port(),
        proto: "TCP",
        app_proto: "http",
        tx_id: report.transaction,
        community_id: community::id(report.client, report.server),
        xff: (report.identity.address != report.client.ip().to_canonical())
            .then(|| report.identity.address.to_string()),
        alert: alert(report, delivered.enforcement),
        http: http(&summary),
        sensor: sensor(report, delivered.enforcement, frame),
    };
    // Only maps with keys that are no text, and failing Serialize implementations, can fail; the event has neither.
    serde_json::to_string(&event).unwrap_or_default()
}

/// EVE's form of a time: microseconds, and the zone without a colon.
pub(crate) fn timestamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6f+0000").to_string()
}

fn alert(report: &Report, enforcement: Option<Enforcement>) -> Alert<'_> {
    let verdict = &report.verdict;
    let leading = leading(report);
    Alert {
        action: if is_blocked(verdict.action, enforcement) { "blocked" } else { "allowed" },
        gid: GENERATOR,
        signature_id: leading.map_or(0, |finding| finding.rule.number),
        rev: leading.map_or(0, |finding| finding.rule.revision),
        signature: leading.map_or("", |finding| &finding.rule.title),
        category: category(verdict.class),
        severity: priority(verdict.severity),
        metadata: Metadata {
            attack_class: [verdict.class.name()],
            confidence: [verdict.confidence.to_string()],
            rule: [leading.map_or("", |finding| &finding.rule.id)],
            tag: leading.map_or(&[], |finding| &finding.rule.tags),
        },
    }
}

/// The finding that gives the alert its name: the most confident one of the verdict's class.
pub(super) fn leading(report: &Report) -> Option<&Finding> {
    let of_class = report.findings.iter().find(|finding| finding.class == report.verdict.class);
    of_class.or(report.findings.first())
}

pub(super) fn http(summary: &RequestSummary) -> Http<'_> {
    Http {
        hostname: &summary.host,
        url: &summary.target,
        http_user_agent: &summary.user_agent,
        http_refer: &summary.referer,
        http_method: &summary.method,
        http_content_type: &summary.content_type,
        protocol: &summary.protocol,
    }
}

/// The summary with every control and bidirectional character escaped: the file is read in terminals.
pub(super) fn safe(summary: &RequestSummary) -> RequestSummary {
    let safe = |text: &str| line(text).into_owned();
    RequestSummary {
        method: safe(&summary.method),
        host: safe(&summary.host),
        target: safe(&summary.target),
        protocol: safe(&summary.protocol),
        user_agent: safe(&summary.user_agent),
        referer: safe(&summary.referer),
        content_type: safe(&summary.content_type),
    }
}

fn sensor<'a>(report: &'a Report, enforcement: Option<Enforcement>, frame: Frame<'a>) -> Sensor<'a> {
    let verdict = &report.verdict;
    Sensor {
        id: frame.id,
        class: verdict.class.name(),
        severity: verdict.severity.name(),
        confidence: hundredths(verdict.confidence.get()),
        verdict: verdict_name(verdict.action),
        outcome: report.outcome.name(),
        blocked_until: report.blocked_until.map(|until| timestamp(frame.clock.at(until))),
        block: enforcement.map(block),
        client: Client {
            address: report.identity.address.to_string(),
            source: report.identity.source.name(),
        },
        behind: (report.behind != Behind::default())
            .then_some(Others { sessions: report.behind.sessions, programs: report.behind.programs }),
        process: frame.process,
        findings: report.findings.iter().map(finding).collect(),
        behaviour: report.account.as_deref().map(behaviour),
        capture: Capture { bytes_missed: report.client_bytes_missed },
        suppressed: frame.suppressed,
    }
}

fn behaviour(account: &Account) -> Behaviour {
    Behaviour {
        window_secs: account.window_secs,
        counts: account.counts.iter().map(|(name, count)| (line(name).into_owned(), *count)).collect(),
        examples: account.examples.iter().map(|example| line(example).into_owned()).collect(),
    }
}

fn finding(finding: &Finding) -> FindingView<'_> {
    FindingView {
        rule: &finding.rule.id,
        revision: finding.rule.revision,
        class: finding.class.name(),
        severity: finding.severity.name(),
        confidence: hundredths(finding.confidence.get()),
        title: &finding.rule.title,
        tags: &finding.rule.tags,
        field: line(&finding.field).into_owned(),
        offset: finding.offset,
        length: finding.length,
        decoders: finding.decoders.iter().map(|decoder| decoder.name()).collect(),
        evidence: line(&finding.evidence).into_owned(),
    }
}

/// Name of what was decided.
pub(crate) const fn verdict_name(action: Action) -> &'static str {
    match action {
        Action::Block(_) => "block",
        Action::Kill(Mode::Enforce) => "kill",
        Action::Observe(_) | Action::Kill(Mode::Observe) => "observe",
        Action::Exempt => "exempt",
        Action::Unverified => "unverified",
        Action::Report => "report",
    }
}

/// A block that was decided counts as one unless its entry is known not to be in force.
const fn is_blocked(action: Action, enforcement: Option<Enforcement>) -> bool {
    let refused = matches!(enforcement, Some(Enforcement::Exempt | Enforcement::Over | Enforcement::Failed));
    matches!(action, Action::Block(_)) && !refused
}

fn block(enforcement: Enforcement) -> Block {
    let (state, latency_us) = match enforcement {
        Enforcement::InForce { latency_ns } => ("in_force", Some(latency_ns as f64 / 1000.0)),
        Enforcement::Exempt => ("exempt", None),
        Enforcement::Kept => ("kept", None),
        Enforcement::Over => ("over", None),
        Enforcement::Failed => ("failed", None),
    };
    Block { state, latency_us }
}

/// EVE's severity: 1 is the worst of 3.
const fn priority(severity: Severity) -> u8 {
    match severity {
        Severity::Critical | Severity::High => 1,
        Severity::Medium => 2,
        Severity::Low | Severity::Info => 3,
    }
}

/// Suricata's classification nearest to a class.
const fn category(class: Class) -> &'static str {
    match class {
        Class::SqlInjection | Class::Csrf | Class::InputValidation => "Web Application Attack",
        Class::AuthBypass | Class::Jwt | Class::Session => "Attempted User Privilege Gain",
        Class::AccessControl => "Access to a Potentially Vulnerable Web Application",
        Class::DataExposure => "Information Leak",
    }
}

fn hundredths(value: f32) -> f64 {
    (f64::from(value) * 100.0).round() / 100.0
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use sensor_engine::finding::{Confidence, Decoder, RuleInfo};
    use sensor_engine::policy::Verdict;
    use sensor_engine::time::Timestamp as Boot;

    use super::*;

    /// A report on an attack by `source`, seen at `secs` after boot.
    pub(crate) fn report(source: &str, secs: u64) -> Report {
        let finding = Finding {
            rule: Arc::new(RuleInfo {
                id: "sqli-union-select".to_owned(),
                number: 942_100,
                revision: 2,
                title: "UNION SELECT in a parameter".to_owned(),
                tags: vec!["CWE-89".to_owned()],
                response: None,
            }),
            class: Class::SqlInjection,
            severity: Severity::High,
            confidence: Confidence::new(0.9).unwrap(),
            field: "query:id".to_owned(),
            offset: 2,
            length: 12,
            decoders: vec![Decoder::Percent, Decoder::Fold],
            evidence: "1 union select \u{1b}[31mred".to_owned(),
        };
        Report {
            time: Boot::from_nanos(secs * 1_000_000_000 + 123_456_789),
            flow_id: 7,
            interface: 1,
            client: format!("{source}:40000").parse().unwrap(),
            server: "198.51.100.1:80".parse().unwrap(),
            identity: sensor_engine::http::client::Client::peer(source.parse().unwrap()),
            transaction: 3,
            outcome: sensor_engine::engine::Outcome::Attempt,
            request: RequestSummary {
                method: "GET".to_owned(),
                host: "shop.example".to_owned(),
                target: "/item?id=1%20UNION%20SELECT\r\n\u{202e}".to_owned(),
                protocol: "HTTP/1.1".to_owned(),
                user_agent: "probe \"1\"".to_owned(),
                ..RequestSummary::default()
            },
            verdict: Verdict {
                class: finding.class,
                severity: finding.severity,
                confidence: finding.confidence,
                action: Action::Block(Duration::from_secs(600)),
            },
            findings: vec![finding],
            blocked_until: Some(Boot::from_nanos((secs + 600) * 1_000_000_000)),
            client_bytes_missed: 0,
            behind: Behind::default(),
            account: None,
        }
    }

    /// The same as a pipeline hands it over, without a word on its block.
    pub(crate) fn delivered(source: &str, secs: u64) -> Delivered {
        Delivered { report: Box::new(report(source, secs)), enforcement: None }
    }

    /// 2026-01-02T03:04:05 minus 100 seconds, in nanoseconds.
    const BOOT: i128 = 1_767_322_945_000_000_000;

    #[test]
    fn an_alert_is_an_eve_event() {
        let frame = Frame {
            id: 42,
            clock: WallClock::at_offset(BOOT),
            interface: Some("eth0"),
            process: None,
            suppressed: 0,
        };
        let text = event(&delivered("192.0.2.7", 100), frame);
        assert_eq!(
            text,
            concat!(
                r#"{"timestamp":"2026-01-02T03:04:05.123456+0000","flow_id":FLOW,"in_iface":"eth0","#,
                r#""event_type":"alert","src_ip":"192.0.2.7","src_port":40000,"dest_ip":"198.51.100.1","#,
                r#""dest_port":80,"proto":"TCP","app_proto":"http","tx_id":3,"community_id":"COMMUNITY","#,
                r#""alert":{"action":"blocked","gid":9470,"signature_id":942100,"rev":2,"#,
                r#""signature":"UNION SELECT in a parameter","category":"Web Application Attack","severity":1,"#,
                r#""metadata":{"attack_class":["SQL_INJECTION"],"confidence":["0.90"],"rule":["sqli-union-select"],"#,
                r#""tag":["CWE-89"]}},"http":{"hostname":"shop.example","#,
                r#""url":"/item?id=1%20UNION%20SELECT\\u{d}\\u{a}\\u{202e}","http_user_agent":"probe \"1\"","#,
                r#""http_method":"GET","protocol":"HTTP/1.1"},"sensor":{"id":42,"class":"SQL_INJECTION","#,
                r#""severity":"high","confidence":0.9,"verdict":"block","outcome":"attempt","#,
                r#""blocked_until":"2026-01-02T03:14:05.000000+0000","client":{"address":"192.0.2.7","#,
                r#""source":"peer"},"findings":[{"rule":"sqli-union-select","revision":2,"class":"SQL_INJECTION","#,
                r#""severity":"high","confidence":0.9,"title":"UNION SELECT in a parameter","tags":["CWE-89"],"#,
                r#""field":"query:id","offset":2,"length":12,"decoders":["percent","fold"],"#,
                r#""evidence":"1 union select \\u{1b}[31mred"}],"capture":{"bytes_missed":0}}}"#,
            )
            .replace("FLOW", &community::flow_number(report("192.0.2.7", 1).client, report("192.0.2.7", 1).server, 7).to_string())
            .replace("COMMUNITY", &community::id(report("192.0.2.7", 1).client, report("192.0.2.7", 1).server))
        );
    }

    #[test]
    fn an_event_is_one_line_whatever_the_client_sent() {
        let mut hostile = delivered("192.0.2.7", 100);
        hostile.report.request.user_agent = "a\nb\r\u{0}\u{1b}]0;x\u{7}\u{2028}\u{9b}".to_owned();
        hostile.report.findings[0].field = "header:\u{1b}".to_owned();
        let frame =
            Frame { id: 1, clock: WallClock::at_offset(BOOT), interface: None, process: None, suppressed: 9 };
        let text = event(&hostile, frame);
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{2028}'), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["sensor"]["suppressed"], 9);
        assert!(value.get("in_iface").is_none());
    }

    #[test]
    fn the_process_behind_the_connection_stands_under_our_own_key() {
        let process = Process {
            pid: Some(7),
            name: Some("nginx".to_owned()),
            exe: None,
            unit: Some("nginx.service".to_owned()),
            container: None,
            runtime: None,
            pod: None,
            user: Some("www-data".to_owned()),
            uid: 33,
            source: crate::attribution::Source::SockDiag,
        };
        let clock = WallClock::at_offset(BOOT);
        let frame = Frame { id: 1, clock, interface: None, process: Some(&process), suppressed: 0 };
        let value: serde_json::Value =
            serde_json::from_str(&event(&delivered("192.0.2.7", 100), frame)).unwrap();
        let expected = serde_json::json!({ "pid": 7, "name": "nginx", "unit": "nginx.service", "user": "www-data",
            "uid": 33, "source": "sock_diag" });
        assert_eq!(value["sensor"]["process"], expected);
    }

    #[test]
    fn only_a_block_that_is_carried_out_is_called_blocked() {
        for (action, eve, ours) in [
            (Action::Block(Duration::from_secs(1)), "blocked", "block"),
            (Action::Observe(Duration::from_secs(1)), "allowed", "observe"),
            (Action::Kill(Mode::Enforce), "allowed", "kill"),
            (Action::Kill(Mode::Observe), "allowed", "observe"),
            (Action::Exempt, "allowed", "exempt"),
            (Action::Unverified, "allowed", "unverified"),
            (Action::Report, "allowed", "report"),
        ] {
            let mut report = delivered("192.0.2.7", 1);
            report.report.verdict.action = action;
            let frame = Frame {
                id: 1,
                clock: WallClock::at_offset(0),
                interface: None,
                process: None,
                suppressed: 0,
            };
            let value: serde_json::Value = serde_json::from_str(&event(&report, frame)).unwrap();
            assert_eq!((&value["alert"]["action"], &value["sensor"]["verdict"]), (&eve.into(), &ours.into()));
        }
    }

    #[test]
    fn a_block_that_is_not_in_force_is_not_called_one() {
        for (enforcement, action, state) in [
            (Enforcement::InForce { latency_ns: 61_500 }, "blocked", "in_force"),
            (Enforcement::Kept, "blocked", "kept"),
            (Enforcement::Exempt, "allowed", "exempt"),
            (Enforcement::Over, "allowed", "over"),
            (Enforcement::Failed, "allowed", "failed"),
        ] {
            let frame = Frame {
                id: 1,
                clock: WallClock::at_offset(0),
                interface: None,
                process: None,
                suppressed: 0,
            };
            let delivered = Delivered { enforcement: Some(enforcement), ..delivered("192.0.2.7", 1) };
            let value: serde_json::Value = serde_json::from_str(&event(&delivered, frame)).unwrap();
            assert_eq!(value["alert"]["action"], action);
            assert_eq!(value["sensor"]["block"]["state"], state);
            let latency = value["sensor"]["block"]["latency_us"].as_f64();
            assert_eq!(latency, (state == "in_force").then_some(61.5));
        }
    }
}
