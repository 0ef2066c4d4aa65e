//! What detection costs with the content as it is shipped: small requests of many clients, and prose, as fields that are
//! ready. It prints the best of several rounds, because other work on the machine only makes rounds slower.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "a program beside the engine: it measures time and prints"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use sensor_engine::detect::{Detector, Part, Phase};
use sensor_engine::field::Fields;
use sensor_engine::http::message::Request;

/// Rounds of which the best counts.
const ROUNDS: usize = 9;
/// Different requests of a round.
const REQUESTS: usize = 4000;

const WORDS: &[&str] = &[
    "the", "river", "was", "quiet", "and", "people", "walked", "along", "its", "banks", "in", "evening",
    "light,", "while", "boats", "drifted", "slowly", "towards", "harbour.", "Nobody", "spoke;", "it", "had",
    "been", "a", "long", "day", "for", "everyone", "who", "worked", "there", "(or", "nearby)",
];

fn main() {
    let rules = common::content();
    println!("{} rules", rules.rules().len());
    let small: Vec<_> = (0..REQUESTS).map(|number| common::parse(&get(number))).collect();
    let json: Vec<_> = (0..REQUESTS).map(|number| common::parse(&post(&order(number)))).collect();
    let prose: Vec<_> = (0..200).map(|number| common::parse(&post(&article(number)))).collect();
    for (name, requests) in [("small GET", &small), ("small JSON", &json), ("prose in JSON", &prose)] {
        let mut detector = Detector::new(rules.clone());
        let bytes: usize = requests.iter().map(|(_, fields)| size(fields)).sum();
        let best = (0..ROUNDS).map(|_| round(&mut detector, requests)).min().unwrap_or_default();
        let each = best.as_nanos() as f64 / requests.len() as f64;
        let stats = detector.stats();
        println!(
            "{name:<14} {each:>8.0} ns a request, {:>8.0} requests/s, {:.1} ns a byte, {:.0} MB/s; of {} fields {} plain, {} known, {} candidates",
            1e9 / each,
            best.as_nanos() as f64 / bytes as f64,
            bytes as f64 * 1e3 / best.as_nanos() as f64,
            stats.fields,
            stats.plain_fields,
            stats.known_fields,
            stats.matching.candidates,
        );
    }
}

fn round(detector: &mut Detector, requests: &[(Request, Fields)]) -> Duration {
    let mut findings = Vec::new();
    let started = Instant::now();
    for (request, fields) in requests {
        detector.inspect(Part { phase: Phase::Head, request, fields }, &mut findings);
    }
    let spent = started.elapsed();
    assert!(findings.iter().all(|finding| finding.confidence.get() < 0.7), "{findings:#?}");
    spent
}

fn size(fields: &Fields) -> usize {
    fields.iter().map(|field| field.name.len() + field.value.len()).sum()
}

fn get(number: usize) -> Vec<u8> {
    format!(
        "GET /shop/items/{number}?id={}&sort=price&page={}&q=blue+{} HTTP/1.1\r\nHost: shop.example\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:1{}.0) Gecko/20100101 Firefox/1{}.0\r\nAccept: text/html,application/xhtml+xml\r\n\
         Accept-Language: en\r\nCookie: session={:032x}; theme=dark\r\nReferer: https://shop.example/list?page={}\r\n\r\n",
        number * 7919,
        number % 50,
        WORDS[number % WORDS.len()].trim_matches(|c: char| !c.is_alphabetic()),
        number % 30,
        number % 30,
        number as u128 * 0x9e37_79b9_7f4a_7c15_f39c_c060,
        number % 50,
    )
    .into_bytes()
}

fn post(body: &str) -> Vec<u8> {
    format!(
        "POST /api/items HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: client/1.0\r\nAccept: */*\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn order(number: usize) -> String {
    format!(
        "{{\"user\": \"alice{number}\", \"email\": \"alice{number}@example.org\", \"items\": [{{\"sku\": \"A-{number}\", \"count\": 2}}], \
         \"note\": \"please ring at door {}, thank you\", \"total\": {}.50}}",
        number % 90,
        number % 1000
    )
}

fn article(number: usize) -> String {
    let words: Vec<_> = (0..700).map(|at| WORDS[(at * 31 + number * 7 + at / 9) % WORDS.len()]).collect();
    format!("{{\"title\": \"Evening {number}\", \"text\": \"{}\"}}", words.join(" "))
}
