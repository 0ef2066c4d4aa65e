//! Bytes of request bodies that one core inspects in a second: prose, an image, and what was thought up to take long. Every body
//! is another one, on a connection of its own, so that nothing is known from before; the engine has seen a few of the kind, because
//! what it allocates and builds for the first of them is not what a second of work costs.

use std::sync::Arc;
use std::time::Duration;

use sensor_engine::engine::{Engine, Settings};
use sensor_engine::rule::RuleSet;

use crate::processor;
use crate::traffic::{self, Ends};

/// Bodies of a measurement, of which the median counts.
const BODIES: usize = 15;
/// Bodies that come before them.
const WARM: usize = 3;
/// Bytes of a body.
const BYTES: usize = 256 * 1024;

/// Slowest that anything may be, in its fastest run: what neighbours take from a machine is not the engine's.
const LEAST_MB_PER_SEC: f64 = 10.0;

struct Kind {
    name: &'static str,
    content_type: &'static str,
    make: fn(usize) -> Vec<u8>,
}

const KINDS: &[Kind] = &[
    Kind { name: "prose in JSON", content_type: "application/json", make: prose },
    Kind { name: "an image", content_type: "image/png", make: image },
    Kind { name: "an image in a form", content_type: "multipart/form-data; boundary=b", make: upload },
    Kind {
        name: "values of literals",
        content_type: FORM,
        make: |seed| fields(seed, "union select sleep( script onerror= /etc/ ${ {{ "),
    },
    Kind {
        name: "values of quotes",
        content_type: FORM,
        make: |seed| fields(seed, "' \" ' or ` \" ' ) ( ; ' = \" ' "),
    },
    Kind {
        name: "values of percent signs",
        content_type: FORM,
        make: |seed| fields(seed, "%25%32%35%2525%u0027%c0%ae%zz%%"),
    },
    Kind {
        name: "values of entities",
        content_type: FORM,
        make: |seed| fields(seed, "&#x26;#x3c;&amp;lt;\\u003c\\x27\\074/**/ "),
    },
    Kind { name: "values like base64", content_type: FORM, make: base64 },
    Kind { name: "one long value of separators", content_type: FORM, make: |seed| long(seed, ";|&`$( \n") },
    Kind { name: "one long value of signs", content_type: FORM, make: |seed| long(seed, "<a=b:on") },
    Kind {
        name: "one long text",
        content_type: "text/plain",
        make: |seed| long(seed, "1 or x( 'a' = select "),
    },
];

const FORM: &str = "application/x-www-form-urlencoded";

pub(crate) fn report(rules: &Arc<RuleSet>) {
    println!("\nrequest bodies of {} KB, all rules", BYTES / 1024);
    let mut worst = f64::MAX;
    for kind in KINDS {
        let mut engine = engine(rules);
        let mut times: Vec<Duration> = (0..WARM + BODIES).map(|seed| run(kind, seed, &mut engine)).collect();
        let times = &mut times[WARM..];
        times.sort_unstable();
        let rate = |at: usize| BYTES as f64 / times[at].as_secs_f64() / 1e6;
        let (slowest, median, fastest) = (rate(BODIES - 1), rate(BODIES / 2), rate(0));
        worst = worst.min(fastest);
        println!("  {:<28} {median:>8.1} MB/s ({slowest:.1} to {fastest:.1})", kind.name);
    }
    if worst < LEAST_MB_PER_SEC {
        println!("slower than {LEAST_MB_PER_SEC} MB/s");
        std::process::exit(1);
    }
}

/// So many bodies of each kind, none of which is measured.
pub(crate) fn each(times: usize, rules: &Arc<RuleSet>) {
    const MEASURED: usize = WARM + BODIES;
    for kind in KINDS {
        let mut engine = engine(rules);
        for seed in MEASURED..MEASURED + times {
            run(kind, seed, &mut engine);
        }
    }
}

fn engine(rules: &Arc<RuleSet>) -> Engine {
    traffic::engine(rules, Settings { max_body_bytes: 16 << 20, ..Settings::default() })
}

fn run(kind: &Kind, seed: usize, engine: &mut Engine) -> Duration {
    let body = (kind.make)(seed);
    let head = format!(
        "{}Content-Type: {}\r\nContent-Length: {}\r\n\r\n",
        traffic::head("POST /upload HTTP/1.1"),
        kind.content_type,
        body.len()
    );
    let (mut ends, mut record, mut spent) = (Ends::new(seed as u32), Vec::new(), Duration::ZERO);
    for part in [head.as_bytes(), &body].concat().chunks(16 * 1024) {
        ends.record(0, part, 1_000_000, &mut record);
        let started = processor::time();
        engine.handle_record(&record);
        spent += processor::time() - started;
        while engine.next_command().is_some() {}
        while engine.next_facts().is_some() {}
    }
    spent
}

/// Numbers that differ from body to body.
fn noise(seed: usize) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(seed as u64 + 1), |last| {
        Some(last.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1))
    })
    .map(|value| value >> 33)
}

const WORDS: &[&str] = &[
    "the", "river", "was", "quiet", "and", "people", "walked", "along", "its", "banks", "in", "evening",
    "light,", "while", "boats", "drifted", "slowly", "towards", "harbour.", "Nobody", "spoke;", "it", "had",
    "been", "a", "long", "day", "(or", "nearby)",
];

fn prose(seed: usize) -> Vec<u8> {
    let mut text = String::from("{\"text\": \"");
    for number in noise(seed) {
        text.push_str(WORDS[number as usize % WORDS.len()]);
        text.push(' ');
        if text.len() >= BYTES {
            break;
        }
    }
    text.push_str("\"}");
    text.into_bytes()
}

fn image(seed: usize) -> Vec<u8> {
    let start = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".iter().copied();
    start.chain(noise(seed).map(|number| number as u8)).take(BYTES).collect()
}

fn upload(seed: usize) -> Vec<u8> {
    let head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n";
    [head.as_bytes(), &image(seed), b"\r\n--b--\r\n"].concat()
}

/// Fields of about two hundred bytes of this text, each a little different.
fn fields(seed: usize, text: &str) -> Vec<u8> {
    let mut body = String::new();
    for number in noise(seed) {
        body.push_str(&format!("a{number}={number}{}&", text.repeat(200 / text.len()).replace('&', "%26")));
        if body.len() >= BYTES {
            break;
        }
    }
    body.into_bytes()
}

fn base64(seed: usize) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    let letters = noise(seed).map(|number| LETTERS[number as usize % 64]);
    let lines = letters.enumerate().map(|(at, letter)| match at % 200 {
        0 => b'&',
        1 => b'a',
        2 => b'=',
        _ => letter,
    });
    lines.take(BYTES).collect()
}

fn long(seed: usize, text: &str) -> Vec<u8> {
    let start = format!("a={seed}");
    start.bytes().chain(text.replace('&', "%26").bytes().cycle()).take(BYTES).collect()
}
