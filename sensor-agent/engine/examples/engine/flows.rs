//! What connections cost that send half a request and wait. What they send is theirs to choose; that all of it together keeps to the cap, and
//! that what made room is counted, is what must hold for every kind.

use std::sync::Arc;

use sensor_engine::engine::Settings;
use sensor_engine::facts::Key;

use crate::allocations;
use crate::traffic::{self, Ends};

/// Connections.
const FLOWS: u32 = 100_000;
/// Bytes that they may cost together while they have sent next to nothing; what they send is kept beside, up to twice.
const MOST: u64 = 64 << 20;

pub(crate) fn report() {
    println!("\n{FLOWS} connections, at most {} MiB for half a request line", MOST >> 20);
    let mut failed = false;
    for (what, text) in [
        ("half a request line", "GET /shop/it"),
        (
            "half a head",
            "GET /shop/items HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept",
        ),
        (
            "half a body",
            "POST /api HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"a\": 1,",
        ),
    ] {
        let settings =
            Settings { max_flows: FLOWS as usize, facts: Some(Key::default()), ..Settings::default() };
        let mut engine = traffic::engine(&Arc::default(), settings);
        let (before, mut record) = (allocations::bytes(), Vec::new());
        for number in 0..FLOWS {
            Ends::new(number).record(0, text.as_bytes(), 1_000_000, &mut record);
            engine.handle_record(&record);
            while engine.next_facts().is_some() {}
        }
        let used = allocations::bytes() - before;
        let stats = engine.stats();
        let (flows, evicted) = (stats.named("flows_now"), stats.named("flows_evicted_memory"));
        println!(
            "  {what:<20} {flows} open, {evicted} made room, {:.1} MiB, {} bytes each",
            used as f64 / 1048576.0,
            used / flows.max(1)
        );
        failed |= text.len() < 16 && used > MOST || flows + evicted != u64::from(FLOWS);
    }
    if failed {
        println!("too much");
        std::process::exit(1);
    }
}
