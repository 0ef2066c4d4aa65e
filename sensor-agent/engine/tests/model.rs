//! Requests in, verdicts out, with the model and without: it lifts what was found and is not sure, says a word about what was not
//! found, and blocks nobody alone.

mod common;

use std::sync::Arc;

use common::{Wire, content};
use sensor_engine::detect::is_of_model;
use sensor_engine::engine::{Report, Settings};
use sensor_engine::finding::Confidence;
use sensor_engine::policy::{Action, Mode, Policy};
use sensor_engine::rule::{RuleSet, RuleSource};

/// What is reported of a request whose JSON body holds these values, by an engine that blocks and reports all.
fn reports(rules: &Arc<RuleSet>, settings: Settings, values: &[&str]) -> (Vec<Report>, Wire) {
    let policy = Policy { mode: Mode::Enforce, report_from: Confidence::ZERO, ..Policy::default() };
    let mut wire = Wire::with(settings, Arc::clone(rules), Arc::new(policy));
    let body = serde_json::json!({ "list": values }).to_string();
    let head = "POST /api/items HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\n";
    let raw = format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let records = wire.records(raw.as_bytes());
    (wire.run(&records), wire)
}

fn settings(model: bool) -> Settings {
    Settings { model, ..Settings::default() }
}

/// Whether the client is blocked, and with which confidence of the model.
fn judged(model: bool, value: &str) -> (bool, f32) {
    let (reports, _) = reports(&content(), settings(model), &[value]);
    let blocked = reports.iter().any(|report| matches!(report.verdict.action, Action::Block(_)));
    let of_model = reports.iter().flat_map(|report| &report.findings).filter(|finding| is_of_model(finding));
    (blocked, of_model.map(|finding| finding.confidence.get()).fold(0.0, f32::max))
}

/// Something is found in it that is not sure.
const WEAK: &str = "36;CREATE OR REPLACE FUNCTION system(cstring) RETURNS int AS '/lib/libc.so.6','system' LANGUAGE C STRICT--";
/// Nothing is found in it, but it looks like an attack.
const ODD: &str = "{${phpinfo()}}";

#[test]
fn a_finding_that_is_not_sure_is_lifted() {
    assert_eq!(judged(false, WEAK), (false, 0.0));
    let (blocked, confidence) = judged(true, WEAK);
    assert!(blocked && (0.1..=0.45).contains(&confidence), "{confidence}");
}

#[test]
fn its_class_is_that_of_the_finding_beside_it() {
    let (reports, _) = reports(&content(), settings(true), &[WEAK]);
    let findings = &reports[0].findings;
    let of_model = findings.iter().find(|finding| is_of_model(finding)).unwrap();
    assert_eq!(of_model.class, findings[0].class);
    assert!(of_model.evidence.starts_with("sum +"), "{}", of_model.evidence);
    assert_eq!(Policy::kind(of_model.class, findings), "sqli");
}

#[test]
fn alone_it_blocks_nobody() {
    let none = Arc::new(RuleSet::default());
    let mut alone = 0;
    for value in [ODD, "<?= `id` ?>", "${T(java.lang.Runtime).getRuntime()}"] {
        let (reports, _) = reports(&none, settings(true), &[value, value, WEAK]);
        let findings: Vec<_> = reports.iter().flat_map(|report| &report.findings).collect();
        alone += findings.iter().filter(|one| is_of_model(one) && one.field != "body.json.list.2").count();
        let (only, _) = self::reports(&none, settings(true), &[value]);
        let only_model =
            |report: &&Report| report.findings.iter().all(is_of_model) && !report.findings.is_empty();
        for report in only.iter().filter(only_model) {
            assert_eq!(report.verdict.action, Action::Report, "{value}");
            assert!(report.verdict.confidence.get() <= 0.4);
        }
    }
    assert!(alone >= 2, "{alone}");
}

#[test]
fn ordinary_values_and_sure_findings_are_none_of_its_business() {
    for value in ["a word", "O'Brien & Sons", "{\"id\": 1}", "1' union select name, password from users-- -"]
    {
        assert_eq!(judged(true, value).1, 0.0, "{value}");
    }
}

#[test]
fn a_body_is_asked_about_so_often_only() {
    let values = [ODD; 40];
    let limited = Settings { max_model_values: 7, ..Settings::default() };
    let (_, wire) = reports(&Arc::default(), limited, &values);
    let stats = wire.engine.stats();
    assert_eq!(stats.named("model_values"), 7);
    assert!(stats.named("model_skipped") >= 33);
    let (_, wire) = reports(&Arc::default(), settings(false), &values);
    assert_eq!(wire.engine.stats().named("model_values"), 0);
}

#[test]
fn an_exception_silences_it() {
    let text = "[[exception]]\nrule = 'model-suspicious'\npath = '/api/*'\nreason = 'x'";
    let rules = Arc::new(RuleSet::compile(&[RuleSource { name: "site.toml", text }]).unwrap());
    let of_model = |rules: &Arc<RuleSet>| {
        let (reports, _) = reports(rules, settings(true), &[ODD]);
        reports.iter().flat_map(|report| &report.findings).filter(|one| is_of_model(one)).count()
    };
    assert_eq!((of_model(&Arc::default()), of_model(&rules)), (1, 0));
}
