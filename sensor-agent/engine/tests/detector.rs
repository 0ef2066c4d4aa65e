//! Requests in, findings out: with the coded detectors alone. The content has its own tests.

mod common;

use std::sync::Arc;

use common::{Wire, content, inspect, parse};
use proptest::prelude::*;
use sensor_engine::detect::{Detector, MAX_FINDINGS, Part, Phase};
use sensor_engine::field::{Fields, Place};
use sensor_engine::finding::{Class, EVIDENCE_LEN, Finding};
use sensor_engine::http::message::Request;
use sensor_engine::policy::{Mode, Policy};
use sensor_engine::rule::{RuleSet, RuleSource};

fn findings(raw: &str) -> Vec<Finding> {
    inspect(&mut Detector::new(Arc::new(RuleSet::default())), raw.as_bytes())
}

#[test]
fn a_finding_says_where_and_how() {
    let found = findings("GET /a?id=1%2527%2520or%2520%25271%2527%253D%25271 HTTP/1.1\r\n\r\n");
    let finding = found.iter().find(|finding| finding.field == "query.id").unwrap();
    assert_eq!((finding.rule.id.as_str(), finding.class), ("sql-boolean", Class::SqlInjection));
    assert_eq!(finding.decoders.iter().map(|step| step.name()).collect::<Vec<_>>(), ["percent", "percent"]);
    assert_eq!(finding.evidence, "1' or '1'='1");
    assert_eq!((finding.offset, finding.length), (3, 9));
}

#[test]
fn claims_of_tokens_are_looked_at() {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let token = |claims: &str| {
        format!("{}.{}.{}", encode(r#"{"alg":"HS256"}"#), encode(claims), encode(&"k".repeat(32)))
    };
    let shown = |head: &str| -> Vec<String> {
        let found = findings(&format!("GET {head}\r\n\r\n"));
        found.iter().map(|finding| format!("{} {}", finding.field, finding.rule.id)).collect()
    };
    let (hostile, sound) =
        (token(r#"{"sub":"1' or '1'='1","exp":1}"#), token(r#"{"sub":"Bob O'Hara","exp":1}"#));
    let header = |token: &str| format!("/a HTTP/1.1\r\nAuthorization: Bearer {token}");
    assert_eq!(shown(&header(&hostile)), ["query.token.sub sql-boolean"]);
    assert_eq!(shown(&format!("/a HTTP/1.1\r\nCookie: a=1; s={hostile}")), ["cookie.token.sub sql-boolean"]);
    assert_eq!(shown(&format!("/a?t={hostile}&b=1%27 HTTP/1.1"))[0], "query.token.sub sql-boolean");
    assert_eq!(shown(&header(&sound)), [""; 0]);
}

#[test]
fn plain_values_are_not_looked_at() {
    let (request, fields) = parse(b"GET /a?id=42&name=bob HTTP/1.1\r\n\r\n");
    let mut detector = Detector::new(Arc::new(RuleSet::default()));
    detector.inspect(Part { phase: Phase::Head, request: &request, fields: &fields }, &mut Vec::new());
    assert!(detector.stats().plain_fields >= 2, "{:?}", detector.stats());
}

#[test]
fn findings_are_bounded_and_counted() {
    let query: Vec<String> = (0..MAX_FINDINGS + 10).map(|n| format!("a{n}=1'or'1'='1")).collect();
    let (request, fields) = parse(format!("GET /?{} HTTP/1.1\r\n\r\n", query.join("&")).as_bytes());
    let mut detector = Detector::new(Arc::new(RuleSet::default()));
    let mut findings = Vec::new();
    detector.inspect(Part { phase: Phase::Head, request: &request, fields: &fields }, &mut findings);
    assert_eq!(findings.len(), MAX_FINDINGS);
    assert!(detector.stats().findings_dropped >= 10);
}

#[test]
fn the_surest_finding_is_kept_however_many_weak_ones_pad_it() {
    let surest = |padding: usize| {
        let weak: Vec<String> = (0..padding).map(|n| format!("a{n}=admin%27--")).collect();
        let query =
            format!("{}&b=1%27+UNION+SELECT+password+FROM+users--&{}", weak.join("&"), weak.join("&"));
        let (request, fields) = parse(format!("GET /?{query} HTTP/1.1\r\n\r\n").as_bytes());
        let mut detector = Detector::new(Arc::new(RuleSet::default()));
        let mut findings = Vec::new();
        detector.inspect(Part { phase: Phase::Head, request: &request, fields: &fields }, &mut findings);
        let surest = findings.iter().max_by(|a, b| a.confidence.get().total_cmp(&b.confidence.get()));
        (surest.map(|finding| finding.rule.id.clone()), findings.len())
    };
    let alone = surest(1);
    assert_eq!(alone.0.as_deref(), Some("sql-union-select"));
    assert_eq!(surest(2 * MAX_FINDINGS), (alone.0, MAX_FINDINGS));
}

#[test]
fn work_on_a_part_is_bounded_counted_and_told() {
    let attack = "1'or'1'='1";
    let query: Vec<String> = (0..200).map(|n| format!("a{n}={attack}{}", "<x(".repeat(200))).collect();
    let (request, fields) = parse(format!("GET /?{} HTTP/1.1\r\n\r\n", query.join("&")).as_bytes());
    let look = |most: u64| {
        let mut detector = Detector::new(content());
        detector.limit_work(most);
        let mut findings = Vec::new();
        detector.inspect(Part { phase: Phase::Head, request: &request, fields: &fields }, &mut findings);
        let told = findings.iter().filter(|finding| finding.rule.id == "inspection-budget").count();
        (told, detector.stats().fields_over_budget)
    };
    assert_eq!(look(u64::MAX), (0, 0));
    let (told, left) = look(2_000_000);
    assert!(told == 1 && (20..190).contains(&left), "{told} {left}");
}

#[test]
fn evidence_of_a_secret_field_shows_the_attack_only() {
    let found = findings("GET /?password=hunter2'%20or%201%3D1-- HTTP/1.1\r\n\r\n");
    assert!(
        !found.is_empty() && found.iter().all(|finding| !finding.evidence.contains("hunter2")),
        "{found:?}"
    );
}

/// The rule's literal stands everywhere in the long value; what it asks for at one place, or nowhere.
#[test]
fn a_match_anywhere_in_a_long_value_is_found() {
    let text = "[[rule]]\nid = 'marker'\nrevision = 1\ntitle = 'A marker'\nclass = 'INPUT_VALIDATION'\nseverity = 'low'\n\
                confidence = 0.9\nfields = ['args']\npattern = 'zzmark\\s*=\\s*[0-9]{1,4}'\n\
                examples = { match = ['zzmark=1'], no_match = ['zzmark'] }";
    let rules = Arc::new(RuleSet::compile(&[RuleSource { name: "site.toml", text }]).unwrap());
    let offsets = |value: &str| {
        let raw = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{value}", value.len());
        let found = inspect(&mut Detector::new(Arc::clone(&rules)), raw.as_bytes());
        found.iter().filter(|finding| finding.rule.id == "marker").map(|one| one.offset).collect::<Vec<_>>()
    };
    for decoys in [0, 1, 30, 63, 64, 65, 200] {
        let filler = format!("{} {}", "word ".repeat(4000 / (decoys + 1)), "zzmark: ");
        let decoyed = filler.repeat(decoys);
        for (before, behind) in [("", &*decoyed), (&*decoyed, ""), (&*decoyed, &*filler)] {
            for blanks in [0, 16, 17, 300] {
                let found = offsets(&format!("{before}zzmark{}= 7{behind}{filler}", " ".repeat(blanks)));
                assert!(!found.is_empty(), "{decoys} decoys, {blanks} blanks, {} before", before.len());
            }
            let missing = offsets(&format!("{before}zzmark {behind}{filler}"));
            assert!(missing.is_empty(), "{decoys} decoys: {missing:?}");
        }
    }
}

const PLACES: [Place; 12] = [
    Place::Method,
    Place::Target,
    Place::Path,
    Place::Query,
    Place::Header,
    Place::Cookie,
    Place::Form,
    Place::Json,
    Place::Multipart,
    Place::Xml,
    Place::Text,
    Place::Name,
];

#[test]
fn an_exception_leaves_a_finding_out_and_counts_it() {
    let text = "[[exception]]\nrule = 'sql-*'\npath = '/console'\nfield = 'query.q'\nreason = 'a console'";
    let source = RuleSource { name: "site.toml", text };
    let mut detector = Detector::new(Arc::new(RuleSet::compile(&[source]).unwrap()));
    let mut found =
        |target: &str| inspect(&mut detector, format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).len();
    assert_eq!(found("/console?q=1'or'1'='1"), 0);
    assert!(found("/other?q=1'or'1'='1") > 0 && found("/console?r=1'or'1'='1") > 0);
    assert_eq!(detector.stats().findings_excepted, 1);
}

/// Segments of the path have names, and a rule that names one sees it whatever is in it.
#[test]
fn segments_of_the_path_are_fields() {
    let text = "[[rule]]\nid = 'internal'\ntitle = 't'\nclass = 'ACCESS_CONTROL'\nseverity = 'high'\nconfidence = 0.9\n\
                fields = ['path.segment.2']\nshort_field = true\npattern = '^internal$'\n\
                also = [{ fields = ['path.segment.1'], pattern = '^api$' }]\n\
                [rule.examples]\nmatch = [['path.segment.2=internal', 'path.segment.1=api']]\nno_match = ['path.segment.2=x']\n";
    let set = RuleSet::compile(&[RuleSource { name: "t", text }]).unwrap();
    let mut detector = Detector::new(Arc::new(set));
    let mut found = |target: &str| -> Vec<String> {
        let found = inspect(&mut detector, format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        found.into_iter().map(|finding| format!("{} {}", finding.rule.id, finding.field)).collect()
    };
    assert_eq!(found("/api/internal/x"), ["internal path.segment.2"]);
    assert_eq!(found("/api//internal"), ["internal path.segment.2"]);
    assert_eq!(found("/api/x/internal"), [""; 0]);
    assert_eq!(found("/web/internal"), [""; 0]);
    let found = findings("GET /a/1'%20UNION%20SELECT%201--/b HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(found.iter().any(|finding| finding.field == "path.segment.2"), "{found:?}");
}

#[test]
fn exceptions_without_effect_are_named() {
    let text = "[[exception]]\nrule = 'sql-bolean'\npath = '/'\nreason = 'x'\n[[exception]]\nrule = 'xss-*'\npath = '/'\nreason = 'y'";
    let set = RuleSet::compile(&[RuleSource { name: "site.toml", text }]).unwrap();
    let idle: Vec<_> =
        Detector::idle_exceptions(&set).map(|exception| exception.idle().to_string()).collect();
    let expected = "site.toml:2:8: an exception names `sql-bolean`, which is no rule and no coded detection: it has no effect";
    assert_eq!(idle, [expected]);
}

#[test]
fn a_condition_in_cel_knows_the_client() {
    let rule = |network: &str| {
        format!(
            "[[rule]]\nid = 'inside'\ntitle = 't'\nclass = 'INPUT_VALIDATION'\nseverity = 'high'\nconfidence = 0.9\n\
             fields = ['query.q']\npattern = 'evil-thing'\nwhen = \"in_network(client.address, '{network}') && request.host == 'h'\"\n\
             [rule.examples]\nmatch = [['evil-thing', 'client={}', 'header.host=h']]\nno_match = ['evil-thing']\n",
            network.replace("/24", "")
        )
    };
    for (network, expected) in [("203.0.113.0/24", 1), ("192.0.2.0/24", 0)] {
        let set = RuleSet::compile(&[RuleSource { name: "t", text: &rule(network) }]).unwrap();
        let mut wire = Wire::new(Arc::new(set), Arc::new(Policy::default()));
        let records = wire.records(b"GET /?q=evil-thing HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(wire.run(&records).len(), expected, "{network}");
    }
}

#[test]
fn rules_about_coded_detections_look_where_these_look() {
    let text = "[[rule]]\nid = 'filter-sql'\ntitle = 't'\nclass = 'SQL_INJECTION'\nseverity = 'critical'\nconfidence = 0.97\n\
                fields = ['query.filter']\ncoded = ['sql-*']\nalso = [{ fields = ['method'], pattern = '^GET$' }]\n\
                [rule.examples]\nmatch = [[\"1' or 1=1--\", 'method=GET']]\nno_match = [[\"1' or 1=1--\", 'method=PUT']]\n";
    let set = RuleSet::compile(&[RuleSource { name: "site.toml", text }]).unwrap();
    let mut detector = Detector::new(Arc::new(set));
    let mut ids = |line: &str| {
        let found = inspect(&mut detector, format!("{line} HTTP/1.1\r\n\r\n").as_bytes());
        found.iter().filter(|finding| finding.rule.id == "filter-sql").count()
    };
    assert_eq!(ids("GET /?filter=1'%20or%201=1--"), 1);
    assert_eq!((ids("PUT /?filter=1'%20or%201=1--"), ids("GET /?other=1'%20or%201=1--")), (0, 0));
}

#[test]
fn attacks_in_documents_are_reported_with_less_confidence() {
    let text = "How do I stop an injection?\nSomebody sends this to my shop:\n  id=1' union select 1,2 from users--\n        It works.\nWhat should I change in the query that I have written?\nThank you very much for any help.\n";
    let head =
        format!("POST / HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", text.len());
    let document = findings(&(head + text));
    let surest = document.iter().map(|finding| finding.confidence.get()).fold(0.0, f32::max);
    assert!((0.5..0.7).contains(&surest), "{document:?}");
    let short = findings("GET /?id=1'%20union%20select%201,2%20from%20users-- HTTP/1.1\r\n\r\n");
    assert!(short.iter().any(|finding| finding.confidence.get() >= 0.9), "{short:?}");
}

#[test]
fn a_value_in_which_nothing_was_found_is_known_the_next_time() {
    let raw = b"GET / HTTP/1.1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\r\n";
    let mut detector = Detector::new(content());
    assert!(inspect(&mut detector, raw).is_empty() && detector.stats().known_fields == 0);
    assert!(inspect(&mut detector, raw).is_empty() && detector.stats().known_fields > 0);
}

/// What a rule says of a method is the same in every request, unless it asks about something else too.
#[test]
fn a_method_is_decided_once_where_only_the_method_decides() {
    let rule = |also: &str| {
        format!(
            "[[rule]]\nid = 'method'\ntitle = 't'\nclass = 'INPUT_VALIDATION'\nseverity = 'high'\nconfidence = 0.9\n\
             fields = ['method']\nshort_field = true\npattern = '^[A-Z]+$'\nalso = [{{ {also}, not = true }}]\n\
             [rule.examples]\nmatch = ['method=FOO']\nno_match = ['method=1']\n"
        )
    };
    let looks = |also: &str| {
        let set = RuleSet::compile(&[RuleSource { name: "t", text: &rule(also) }]).unwrap();
        let mut detector = Detector::new(Arc::new(set));
        let mut look = |method: &str| {
            let found =
                inspect(&mut detector, format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).len();
            (found, detector.stats().matching.candidates)
        };
        ["GET", "GET", "FOO", "GET"].map(&mut look)
    };
    assert_eq!(looks("fields = ['method'], pattern = '^GET$'"), [(0, 1), (0, 1), (1, 2), (0, 2)]);
    assert_eq!(looks("fields = ['header.host'], pattern = '^h$'"), [(0, 1), (0, 2), (0, 3), (0, 4)]);
}

#[test]
fn framing_on_which_servers_differ_is_a_finding() {
    let mut wire = Wire::new(content(), Arc::new(Policy { mode: Mode::Enforce, ..Policy::default() }));
    let raw =
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let records = wire.records(raw);
    let reports = wire.run(&records);
    let finding = &reports[0].findings[0];
    assert_eq!((finding.rule.id.as_str(), finding.rule.topic()), ("protocol-smuggling", Some("protocol")));
    assert!(finding.evidence.starts_with("content-length-and-transfer-encoding: "), "{finding:?}");
}

/// What a value that repeats `part` to about `bytes` bytes costs.
fn work(rules: &Arc<RuleSet>, part: &str, bytes: usize) -> [u64; 3] {
    let mut fields = Fields::default();
    fields.push(Place::Json, b"x", part.repeat(bytes / part.len()).as_bytes(), 0);
    let mut detector = Detector::new(Arc::clone(rules));
    let request = Request::default();
    detector.inspect(Part { phase: Phase::Body, request: &request, fields: &fields }, &mut Vec::new());
    let stats = detector.stats();
    [stats.coded_steps, stats.matching.scanned_bytes, stats.matching.candidates]
}

#[test]
fn twice_the_bytes_are_at_most_twice_the_work() {
    let parts = [
        "(",
        "'",
        "\"",
        "or 1=",
        "union (",
        "select ",
        "a=",
        ";drop ",
        "case when ",
        "/*",
        "x(",
        "<",
        "<script",
        " onload=",
        ":",
        ";",
        ";id+x",
        ";cat ",
        ";''",
        " `id` ",
        "$(",
        "$@",
        "|$()",
        "time ",
        ";time\t",
        "%25",
        "%u0027",
        "&#x3c;",
        "\\u0027",
        "../",
        "/./",
        "${",
        "{{",
        "eyJ.",
        "-",
        "#\n",
        "'\\",
        "==",
        "&&",
        "0x",
        "1/**/",
    ];
    let rules = content();
    for part in parts {
        let (once, twice) = (work(&rules, part, 10_000), work(&rules, part, 20_000));
        for (once, twice) in once.into_iter().zip(twice) {
            assert!(twice <= once * 2 + once / 8 + 4096, "{part:?}: {once} becomes {twice}");
        }
    }
}

/// Bytes and pieces of attacks, in any order.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop::sample::select(vec![
            "'",
            "\"",
            " or ",
            "1=1",
            "union select ",
            "--",
            "/*",
            "*/",
            "<script",
            " onload=",
            "%27",
            "%252e",
            "../",
            ";cat ",
            "${jndi:",
            "&#x3c;",
            "\\u0027",
            "ey.",
            "$(",
            "`id`",
            "sleep(",
            "password=",
            "4111111111111111",
            "a@b.cc",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_fields_give_bounded_printable_and_equal_findings(
        values in prop::collection::vec((0..PLACES.len(), hostile(), hostile()), 0..8),
    ) {
        let mut fields = Fields::default();
        for (place, name, value) in &values {
            fields.push(PLACES[*place], name, value, 0);
        }
        let request = Request::default();
        let part = Part { phase: Phase::Head, request: &request, fields: &fields };
        thread_local!(static DETECTOR: std::cell::RefCell<Detector> = std::cell::RefCell::new(Detector::new(content())));
        let run = || DETECTOR.with_borrow_mut(|detector| {
            let mut findings = Vec::new();
            detector.inspect(part, &mut findings);
            findings
        });
        let first = run();
        prop_assert_eq!(&first, &run());
        for finding in &first {
            prop_assert!(finding.evidence.len() <= EVIDENCE_LEN);
            let text = finding.evidence.bytes().chain(finding.field.bytes());
            prop_assert!(text.into_iter().all(|byte| (b' '..=b'~').contains(&byte)), "{:?}", finding);
            prop_assert!((0.0..=1.0).contains(&finding.confidence.get()));
        }
    }
}
