//! Traffic as sites have it, as records in memory: what is measured is the engine and nothing else.

use std::sync::Arc;
use std::time::Duration;

use sensor_common::record::{EGRESS, INGRESS, RecordHeader, mapped, mark, tcp};
use sensor_engine::engine::{Command, Engine, Settings};
use sensor_engine::policy::Policy;
use sensor_engine::rule::RuleSet;
use zerocopy::IntoBytes;

use crate::allocations;
use crate::mixed::REQUESTS;
use crate::processor;

/// Transactions of one measurement.
const TRANSACTIONS: u64 = 300_000;
/// Most payload of a record: what segmentation offload makes of an answer.
const SEGMENT: usize = 16 * 1024;

/// A request, its answer, and how many in a hundred are like it.
pub(crate) struct Exchange {
    pub(crate) share: u32,
    pub(crate) request: &'static str,
    pub(crate) answer_head: &'static str,
    pub(crate) answer_bytes: usize,
}

const BROWSER: &str = "Host: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://shop.example/list?page=2\r\nConnection: keep-alive\r\n\
    Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; consent=all\r\n";

pub(crate) const JSON_ANSWER: &str =
    "HTTP/1.1 200 OK\r\nServer: app\r\nContent-Type: application/json\r\nContent-Length: ";
pub(crate) const HTML_ANSWER: &str = "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html; charset=utf-8\r\nCache-Control: no-cache\r\nContent-Length: ";

/// Short requests with short answers.
pub(crate) const SMALL: &[Exchange] = &[Exchange {
    share: 100,
    request: "GET /api/items?id=42&sort=price HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: client/1.0\r\nAccept: */*\r\n\r\n",
    answer_head: JSON_ANSWER,
    answer_bytes: 64,
}];

/// What a shop sees.
pub(crate) const MIXED: &[Exchange] = &[
    Exchange { share: REQUESTS[0].0, request: REQUESTS[0].1, answer_head: HTML_ANSWER, answer_bytes: 1800 },
    Exchange {
        share: REQUESTS[1].0,
        request: REQUESTS[1].1,
        answer_head: HTML_ANSWER,
        answer_bytes: 10 * 1024,
    },
    Exchange { share: REQUESTS[2].0, request: REQUESTS[2].1, answer_head: JSON_ANSWER, answer_bytes: 240 },
    Exchange {
        share: REQUESTS[3].0,
        request: REQUESTS[3].1,
        answer_head: "HTTP/1.1 302 Found\r\nLocation: /account\r\nSet-Cookie: session=8f14e45fceea167a5a36dedd4bea2543; HttpOnly\r\nContent-Length: ",
        answer_bytes: 0,
    },
    Exchange { share: REQUESTS[4].0, request: REQUESTS[4].1, answer_head: HTML_ANSWER, answer_bytes: 1800 },
];

const PAGE: Exchange =
    Exchange { share: 100, request: REQUESTS[1].1, answer_head: HTML_ANSWER, answer_bytes: 10 * 1024 };

/// Pages.
pub(crate) const PAGES: &[Exchange] = &[PAGE];

/// Lists with numbers and dates.
pub(crate) const LISTS: &[Exchange] = &[Exchange { answer_head: JSON_ANSWER, ..PAGE }];

/// A line of a page, and an item of a list.
const LINES: [&str; 2] = [
    "<li class=\"item\"><a href=\"/shop/items/4711?ref=list\">A kettle for the table, in copper</a> <span>$ 29.90</span></li>\n",
    "{\"id\": 1048576, \"name\": \"kettle\", \"made\": \"2026-03-14T09:26:53Z\", \"price\": 29.9, \"stock\": [3, 0, 12]},\n",
];

/// What a round took.
pub(crate) struct Measured {
    pub(crate) transactions: u64,
    pub(crate) bytes: u64,
    pub(crate) allocations: u64,
    spent: Duration,
}

impl Measured {
    pub(crate) fn transactions_per_sec(&self) -> f64 {
        self.transactions as f64 / self.spent.as_secs_f64()
    }
}

/// An engine that observes, as it is after installation.
pub(crate) fn engine(rules: &Arc<RuleSet>, settings: Settings) -> Engine {
    Engine::new(settings, Arc::clone(rules), Arc::new(Policy::default()))
}

/// Both ends' next sequence numbers of one connection.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) number: u32,
    pub(crate) next: [u32; 2],
}

impl Ends {
    pub(crate) fn new(number: u32) -> Self {
        Self { number, next: [1000, 5000] }
    }

    /// Writes the record of the next bytes of one end into `record`.
    pub(crate) fn record(&mut self, side: usize, payload: &[u8], time_ns: u64, record: &mut Vec<u8>) {
        let client = mapped((0x0a00_0000 + self.number / 50_000).to_be_bytes());
        let ends = [(client, (self.number % 50_000) as u16 + 1024), (mapped([10, 99, 9, 9]), 80)];
        let header = RecordHeader {
            time_ns,
            source: ends[side].0,
            source_port: ends[side].1,
            destination: ends[1 - side].0,
            destination_port: ends[1 - side].1,
            sequence: self.next[side],
            acknowledgement: self.next[1 - side],
            initial_sequence: [1000, 5000][side],
            peer_initial_sequence: [5000, 1000][side],
            payload_len: payload.len() as u32,
            captured_len: payload.len() as u32,
            tcp_flags: tcp::ACK,
            direction: [INGRESS, EGRESS][side],
            ip_version: 4,
            marks: mark::INITIAL_SEQUENCE | mark::HANDSHAKE,
            ..RecordHeader::default()
        };
        self.next[side] = self.next[side].wrapping_add(payload.len() as u32);
        record.clear();
        record.extend_from_slice(header.as_bytes());
        record.extend_from_slice(payload);
    }
}

/// Sends the mix over so many connections in turn. Records are made in batches beside the clock.
pub(crate) fn run(mix: &[Exchange], rules: &Arc<RuleSet>, connections: u32, settings: Settings) -> Measured {
    const BATCH: usize = 256;
    let mut engine = engine(rules, settings);
    let wires: Vec<[Vec<u8>; 2]> = mix.iter().map(Exchange::wires).collect();
    let order = order(mix);
    let mut ends: Vec<Ends> = (0..connections).map(Ends::new).collect();
    let mut measured = Measured { transactions: 0, bytes: 0, allocations: 0, spent: Duration::ZERO };
    let mut batch: Vec<Vec<u8>> = Vec::new();
    let warm = u64::from(connections).max(10_000);
    let mut number = 0u64;
    while number < warm + TRANSACTIONS {
        let (mut used, mut bytes, first) = (0, 0, number);
        while used + 2 * (1 + 10 * 1024 / SEGMENT) < BATCH {
            let of = &mut ends[(number % u64::from(connections)) as usize];
            let wire = &wires[order[(number % order.len() as u64) as usize]];
            for (side, text) in wire.iter().enumerate() {
                for part in text.chunks(SEGMENT) {
                    if batch.len() <= used {
                        batch.push(Vec::new());
                    }
                    of.record(side, part, number * 10_000, &mut batch[used]);
                    (used, bytes) = (used + 1, bytes + part.len() as u64);
                }
            }
            number += 1;
        }
        let before = allocations::calls();
        let started = processor::time();
        for record in &batch[..used] {
            engine.handle_record(record);
        }
        let spent = processor::time() - started;
        let allocated = allocations::calls() - before;
        while let Some(command) = engine.next_command() {
            drop::<Command>(command);
        }
        while engine.next_facts().is_some() {}
        if first >= warm {
            measured.spent += spent;
            measured.transactions += number - first;
            measured.bytes += bytes;
            measured.allocations += allocated;
        }
    }
    let stats = engine.stats();
    assert_eq!((stats.named("transactions"), stats.named("resyncs")), (number, 0));
    measured
}

/// An engine that has seen some thousand transactions over few connections.
pub(crate) fn warmed(mix: &[Exchange], rules: &Arc<RuleSet>, settings: Settings) -> Engine {
    const CONNECTIONS: usize = 16;
    let mut engine = engine(rules, settings);
    let wires: Vec<[Vec<u8>; 2]> = mix.iter().map(Exchange::wires).collect();
    let mut ends: Vec<Ends> = (0..CONNECTIONS as u32).map(Ends::new).collect();
    let mut record = Vec::new();
    for (number, exchange) in order(mix).into_iter().cycle().take(5_000).enumerate() {
        for (side, text) in wires[exchange].iter().enumerate() {
            for part in text.chunks(SEGMENT) {
                ends[number % CONNECTIONS].record(side, part, number as u64 * 10_000, &mut record);
                engine.handle_record(&record);
            }
        }
        while engine.next_command().is_some() {}
    }
    engine
}

impl Exchange {
    fn wires(&self) -> [Vec<u8>; 2] {
        let line = LINES[usize::from(self.answer_head == JSON_ANSWER)];
        let body = line.bytes().cycle().take(self.answer_bytes);
        let head = format!("{}{}\r\n\r\n", self.answer_head, self.answer_bytes);
        [self.request.as_bytes().to_vec(), head.into_bytes().into_iter().chain(body).collect()]
    }
}

/// The numbers of the exchanges, a hundred in all, well mixed.
fn order(mix: &[Exchange]) -> Vec<usize> {
    let shares = mix.iter().enumerate();
    let sorted: Vec<usize> =
        shares.flat_map(|(at, exchange)| std::iter::repeat_n(at, exchange.share as usize)).collect();
    (0..sorted.len()).map(|at| sorted[at * 37 % sorted.len()]).collect()
}

/// A browser's head, for generators that put something behind it.
pub(crate) fn head(first_line: &str) -> String {
    format!("{first_line}\r\n{BROWSER}")
}
