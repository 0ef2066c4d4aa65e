//! Whole connections through the engine: segments of both ends in any order, lost, cut and contradicting.

use std::sync::Arc;

use sensor_common::record::{EGRESS, INGRESS, RecordHeader, mapped, mark, tcp};
use zerocopy::IntoBytes;

use crate::engine::{Engine, Settings};
use crate::policy::Policy;
use crate::rule::RuleSet;
use crate::time::Timestamp;

/// Bytes kept for all connections.
const MAX_TOTAL: usize = 256 * 1024;

/// The same segments give the same commands, every record has one outcome, memory keeps to its limit, and at the end none is held.
pub(super) fn connection(data: &[u8]) {
    assert_eq!(run(data), run(data));
}

fn run(data: &[u8]) -> Vec<String> {
    let settings = Settings {
        max_flows: 3,
        max_stream_bytes: 16 * 1024,
        max_head_bytes: 1024,
        max_total_bytes: MAX_TOTAL,
        max_body_bytes: 4096,
        max_response_body_bytes: 1024,
        list_transactions: true,
        ..Settings::default()
    };
    let mut engine = Engine::new(settings, Arc::<RuleSet>::default(), Arc::new(Policy::default()));
    let mut log = Vec::new();
    let mut next = [1000u32, 9000];
    let mut rest = data;
    let mut now = 1_000_000u64;
    while let Some((step, behind)) = rest.split_first_chunk::<4>() {
        let length = usize::from(step[1]).min(behind.len());
        let (payload, behind) = behind.split_at(length);
        rest = behind;
        let side = usize::from(step[0] & 1);
        let header = header(*step, side, next, length, now);
        if step[0] & 0x0c == 0 {
            next[side] = next[side].wrapping_add(length as u32);
        }
        engine.handle_record(&[header.as_bytes(), payload].concat());
        now += u64::from(step[3]) << 20;
        if step[0] & 0x80 != 0 {
            engine.handle_timeout(Timestamp::from_nanos(now));
        }
        while let Some(command) = engine.next_command() {
            log.push(format!("{command:?}"));
        }
        assert!(engine.stats().named("flow_bytes") <= MAX_TOTAL as u64);
    }
    engine.handle_timeout(Timestamp::from_nanos(u64::MAX));
    let stats = engine.stats();
    let ignored = |name: &str| name.starts_with("ignored_");
    let ignored: u64 = stats.named.iter().filter(|(name, ..)| ignored(name)).map(|&(.., value)| value).sum();
    assert_eq!(stats.records, stats.accepted + stats.record_malformed + ignored);
    assert_eq!((stats.named("flow_bytes"), stats.named("flows_now")), (0, 0));
    log
}

/// The first byte of a step says who sends what kind of segment, the third where it stands.
fn header(step: [u8; 4], side: usize, next: [u32; 2], length: usize, now: u64) -> RecordHeader {
    let ends = [(mapped([10, 0, 0, 9]), 4000 + u16::from(step[0] >> 5 & 1)), (mapped([10, 0, 0, 1]), 80)];
    let shift = match step[0] & 0x0c {
        4 => i32::from(step[2]),
        8 => -i32::from(step[2]),
        _ => 0,
    };
    let missing = if step[0] & 0x10 != 0 { u32::from(step[2]) } else { 0 };
    let mut flags = tcp::ACK;
    match step[3] {
        250 => flags |= tcp::FIN,
        251 => flags |= tcp::RST,
        252 => flags |= tcp::URG,
        253 => flags = 0,
        _ => {}
    }
    RecordHeader {
        time_ns: now,
        source: ends[side].0,
        source_port: ends[side].1,
        destination: ends[1 - side].0,
        destination_port: ends[1 - side].1,
        sequence: next[side].wrapping_add_signed(shift),
        acknowledgement: next[1 - side],
        initial_sequence: [1000, 9000][side],
        peer_initial_sequence: [9000, 1000][side],
        payload_len: length as u32 + missing,
        captured_len: length as u32,
        tcp_flags: flags,
        urgent_pointer: u16::from(step[2]),
        direction: if side == 0 { INGRESS } else { EGRESS },
        ip_version: 4,
        marks: if step[0] & 2 == 0 { mark::INITIAL_SEQUENCE | mark::HANDSHAKE } else { mark::HANDSHAKE },
        ..RecordHeader::default()
    }
}
