//! Things that an attacker can make long, in streams and in packets: twice as long must not take more than a little over twice the time.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sensor_engine::capture::fragments::{Fragments, Limits};
use sensor_engine::capture::packet::{Fragment, Link, decode};
use sensor_engine::engine::Settings;
use sensor_engine::rule::RuleSet;
use sensor_engine::time::Timestamp;

use crate::traffic::{self, Ends};

/// Largest time(2n)/time(n) that counts as linear: what is beside the loop, caches and neighbours, makes some of it.
const MOST: f64 = 2.2;
/// Repetitions of each; the fastest counts.
const BEST_OF: usize = 15;

/// The segments of one client at size `n`: offset from the first byte, and bytes.
type Segments = Vec<(usize, Vec<u8>)>;

struct Generator {
    name: &'static str,
    size: usize,
    make: fn(usize) -> Segments,
}

const GENERATORS: [Generator; 12] = [
    Generator { name: "headers", size: 10_000, make: headers },
    Generator { name: "folded lines", size: 50_000, make: folds },
    Generator { name: "chunks of a byte", size: 40_000, make: chunks },
    Generator { name: "parameters", size: 10_000, make: parameters },
    Generator { name: "parts", size: 4000, make: parts },
    Generator { name: "JSON members and depth", size: 5000, make: json },
    Generator { name: "islands of a byte", size: 20_000, make: islands },
    Generator { name: "segments of a byte", size: 20_000, make: fragments },
    Generator { name: "cookies", size: 3000, make: cookies },
    Generator { name: "chunk extensions", size: 20_000, make: extensions },
    Generator { name: "pipelined requests", size: 3000, make: pipelined },
    Generator { name: "findings", size: 500, make: findings },
];

/// How long something takes at a size.
type Timed = fn(usize) -> Duration;

/// What stands below streams.
const PACKETS: [(&str, usize, Timed); 2] =
    [("IP fragments", 4000, ip_fragments), ("IPv6 extension headers", 4000, extension_headers)];

pub(crate) fn report(rules: &Arc<RuleSet>) {
    println!("\ntime(2n) / time(n), at most {MOST}");
    let mut worst = 0.0f64;
    for Generator { name, size, make } in &GENERATORS {
        let (once, twice) = (make(*size), make(2 * size));
        worst = worst.max(row(name, *size, times(|| run(&once, rules), || run(&twice, rules))));
    }
    for (name, size, run) in PACKETS {
        worst = worst.max(row(name, size, times(|| run(size), || run(2 * size))));
    }
    if worst > MOST {
        println!("not linear");
        std::process::exit(1);
    }
}

/// Each of them once, at its size.
pub(crate) fn each(rules: &Arc<RuleSet>) {
    for Generator { size, make, .. } in &GENERATORS {
        run(&make(*size), rules);
    }
    for (_, size, run) in PACKETS {
        run(size);
    }
}

/// Prints one row; the result is its ratio.
fn row(name: &str, size: usize, (once, twice): (Duration, Duration)) -> f64 {
    let ratio = twice.as_secs_f64() / once.as_secs_f64();
    let mark = if ratio <= MOST { "" } else { "  TOO MUCH" };
    println!("  {name:<24} n = {size:>6}: {once:>10.1?} {twice:>10.1?}  {ratio:.2}{mark}");
    ratio
}

/// The fastest of several runs of each, in turn, so that both see the same neighbours.
fn times(once: impl Fn() -> Duration, twice: impl Fn() -> Duration) -> (Duration, Duration) {
    let runs = (0..BEST_OF).map(|_| (once(), twice()));
    runs.fold((Duration::MAX, Duration::MAX), |best, run| (best.0.min(run.0), best.1.min(run.1)))
}

fn run(segments: &Segments, rules: &Arc<RuleSet>) -> Duration {
    let settings = Settings { max_head_bytes: 16 << 20, max_body_bytes: 16 << 20, ..Settings::default() };
    let mut engine = traffic::engine(rules, settings);
    let (mut spent, mut record) = (Duration::ZERO, Vec::new());
    for (offset, bytes) in segments {
        let mut ends = Ends::new(1);
        ends.next[0] = ends.next[0].wrapping_add(*offset as u32);
        ends.record(0, bytes, 1_000_000, &mut record);
        let started = Instant::now();
        engine.handle_record(&record);
        spent += started.elapsed();
        while engine.next_command().is_some() {}
    }
    spent
}

/// In segments as offloads make them.
fn whole(text: &str) -> Segments {
    let parts = text.as_bytes().chunks(60_000).enumerate();
    parts.map(|(number, part)| (number * 60_000, part.to_vec())).collect()
}

fn post(kind: &str, body: &str) -> Segments {
    let head = traffic::head("POST / HTTP/1.1");
    whole(&format!("{head}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

fn chunked(body: &str) -> Segments {
    whole(&format!("{}Transfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n", traffic::head("POST / HTTP/1.1")))
}

fn headers(n: usize) -> Segments {
    let lines: String = (0..n).map(|at| format!("X-{at}: a value of no meaning\r\n")).collect();
    whole(&format!("{}{lines}\r\n", traffic::head("GET / HTTP/1.1")))
}

fn folds(n: usize) -> Segments {
    whole(&format!("{}X: y{}\r\n\r\n", traffic::head("GET / HTTP/1.1"), "\r\n z".repeat(n)))
}

fn chunks(n: usize) -> Segments {
    chunked(&"1\r\na\r\n".repeat(n))
}

fn parameters(n: usize) -> Segments {
    let body: Vec<_> = (0..n).map(|at| format!("name{at}=it's {at}")).collect();
    post("application/x-www-form-urlencoded", &body.join("&"))
}

fn parts(n: usize) -> Segments {
    let part = |at| format!("--b\r\nContent-Disposition: form-data; name=n{at}\r\n\r\nit's {at}\r\n");
    post("multipart/form-data; boundary=b", &((0..n).map(part).collect::<String>() + "--b--\r\n"))
}

fn json(n: usize) -> Segments {
    let members: Vec<_> = (0..n).map(|at| format!("\"m{at}\": \"it's {at}\"")).collect();
    post("application/json", &format!("{{{}, \"deep\": {}", members.join(", "), "[".repeat(n)))
}

fn islands(n: usize) -> Segments {
    (0..n).map(|at| (100 + 2 * at, b"x".to_vec())).collect()
}

fn fragments(n: usize) -> Segments {
    let text = format!("{}X: {}\r\n\r\n", traffic::head("GET / HTTP/1.1"), "y".repeat(n));
    text.bytes().enumerate().map(|(at, byte)| (at, vec![byte])).collect()
}

fn cookies(n: usize) -> Segments {
    let all: Vec<_> = (0..n).map(|at| format!("c{at}=it's {at}")).collect();
    whole(&format!("{}Cookie: {}\r\n\r\n", traffic::head("GET / HTTP/1.1"), all.join("; ")))
}

fn extensions(n: usize) -> Segments {
    chunked(&format!("1{}\r\na\r\n", ";name=value".repeat(n)))
}

fn pipelined(n: usize) -> Segments {
    whole(&format!("{}\r\n", traffic::head("GET / HTTP/1.1")).repeat(n))
}

fn findings(n: usize) -> Segments {
    whole(&format!("{}\r\n", traffic::head("GET /?q=1'+union+select+1,2+from+users-- HTTP/1.1")).repeat(n))
}

/// One datagram in parts of eight bytes, the last one first.
fn ip_fragments(n: usize) -> Duration {
    let mut fragments = Fragments::new(Limits::default());
    let started = Instant::now();
    for at in (0..n).rev() {
        let part = Fragment {
            source: Ipv4Addr::new(192, 0, 2, 7).into(),
            destination: Ipv4Addr::new(10, 0, 0, 1).into(),
            id: 1,
            protocol: 6,
            offset: at as u32 * 8,
            more: at + 1 < n,
            wire_len: 8,
            payload: b"fragment",
        };
        std::hint::black_box(fragments.push(&part, Timestamp::from_nanos(1)));
    }
    started.elapsed()
}

/// A thousand packets, each with a chain of destination options of eight bytes.
fn extension_headers(n: usize) -> Duration {
    const OPTIONS: u8 = 60;
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, OPTIONS, 64];
    packet[4..6].copy_from_slice(&(n as u16 * 8).to_be_bytes());
    packet.extend([1; 32]);
    packet.extend([OPTIONS, 0, 1, 4, 0, 0, 0, 0].repeat(n));
    let started = Instant::now();
    for _ in 0..1000 {
        std::hint::black_box(decode(Link::Raw, std::hint::black_box(&packet)));
    }
    started.elapsed()
}
