//! Records per second through the engine without rules: capture, flows, reassembly, HTTP, fields.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "it measures"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use sensor_common::record::{RecordHeader, mapped, mark, tcp};
use sensor_engine::engine::{Engine, Settings};
use sensor_engine::finding::{Confidence, Severity};
use sensor_engine::policy::{Mode, Policy};
use sensor_engine::rule::RuleSet;
use zerocopy::IntoBytes;

const GET: &str = "GET /shop/items?id=42&sort=price&page=3 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; \
    Linux x86_64)\r\nAccept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\nCookie: session=0123456789abcdef; \
    theme=dark\r\nReferer: https://shop.example/\r\n\r\n";
const POST: &str = "POST /api/login HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/json\r\n\
    Content-Length: 53\r\n\r\n{\"user\": \"alice\", \"password\": \"secret\", \"keep\": true}";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2000\r\n\r\n";

fn main() {
    let policy = Policy {
        mode: Mode::Observe,
        report_from: Confidence::ZERO,
        block_from: Confidence::ZERO,
        block_from_class: Vec::new(),
        block_severity: Severity::High,
        block_for: Duration::from_secs(60),
        exempt: Vec::new(),
    };
    let answer = [ANSWER.as_bytes(), &[b'x'; 2000]].concat();
    let exchanges = [GET.as_bytes(), POST.as_bytes()];
    for flows in [1u32, 1000, 60_000] {
        let mut engine =
            Engine::new(Settings::default(), Arc::<RuleSet>::default(), Arc::new(policy.clone()));
        let mut next = vec![[1000u32, 5000]; flows as usize];
        let (mut record, mut bytes, rounds) = (Vec::new(), 0u64, 600_000u32);
        let mut spent = Duration::ZERO;
        for round in 0..rounds {
            let flow = round % flows;
            let request = exchanges[(round / flows % 2) as usize];
            for (side, payload) in [request, &answer].into_iter().enumerate() {
                let ends = [
                    (mapped((0x0a00_0000 + flow / 1000).to_be_bytes()), (flow % 1000) as u16 + 1024),
                    (mapped([10, 9, 9, 9]), 80),
                ];
                let next = &mut next[flow as usize];
                let header = RecordHeader {
                    time_ns: u64::from(round) * 1000,
                    source: ends[side].0,
                    source_port: ends[side].1,
                    destination: ends[1 - side].0,
                    destination_port: ends[1 - side].1,
                    sequence: next[side],
                    acknowledgement: next[1 - side],
                    initial_sequence: [1000, 5000][side],
                    peer_initial_sequence: [5000, 1000][side],
                    payload_len: payload.len() as u32,
                    captured_len: payload.len() as u32,
                    tcp_flags: tcp::ACK,
                    direction: side as u8,
                    ip_version: 4,
                    marks: mark::INITIAL_SEQUENCE | mark::HANDSHAKE,
                    ..RecordHeader::default()
                };
                next[side] = next[side].wrapping_add(payload.len() as u32);
                record.clear();
                record.extend_from_slice(header.as_bytes());
                record.extend_from_slice(payload);
                bytes += payload.len() as u64;
                let start = Instant::now();
                engine.handle_record(&record);
                spent += start.elapsed();
            }
        }
        let stats = engine.stats();
        assert_eq!((stats.named("transactions"), stats.named("resyncs")), (u64::from(rounds), 0));
        let records = f64::from(rounds) * 2.0;
        println!(
            "{flows:>6} flows: {:.2} M records/s, {:.0} ns a record, {:.0} MB/s, {} bytes held",
            records / spent.as_secs_f64() / 1e6,
            spent.as_nanos() as f64 / records,
            bytes as f64 / spent.as_secs_f64() / 1e6,
            stats.named("flow_bytes"),
        );
    }
}
