//! The memory of clients: transactions a second on one core, and what a client costs. Most clients are ordinary ones; some log in, and one in a
//! hundred asks for what is not there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sensor_engine::actor::{Actors, Settings};
use sensor_engine::facts::{Facts, Key, Login, Method, Why, flag};
use sensor_engine::http::client::Client;
use sensor_engine::rule::RuleSet;
use sensor_engine::time::Timestamp;

use crate::allocations;

/// Transactions of one measurement.
const TRANSACTIONS: u64 = 1_000_000;
const ROUNDS: usize = 5;

pub(crate) fn report(rules: &Arc<RuleSet>) {
    println!("\nthe memory of clients, {} bytes a transaction", size_of::<Facts>());
    for clients in [1, 1_000, 30_000, 1_000_000] {
        let mut rounds: Vec<(f64, f64, u64, usize)> = (0..ROUNDS).map(|_| round(rules, clients)).collect();
        rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (rate, allocated, held, counted) = rounds[ROUNDS / 2];
        println!(
            "  {clients:>7} clients: {rate:>9.0} transactions/s ({:.0} to {:.0}), {allocated:.3} allocations a transaction, {} KiB held ({} bytes a \
             client remembered; {} KiB by its own count)",
            rounds[0].0,
            rounds[ROUNDS - 1].0,
            held / 1024,
            held / clients.min(Settings::default().max_clients),
            counted / 1024,
        );
    }
}

/// Transactions a second, allocations a transaction, bytes held, bytes held by its own count.
fn round(rules: &Arc<RuleSet>, clients: u64) -> (f64, f64, u64, usize) {
    let before = allocations::bytes();
    let mut actors = Actors::new(Settings::default(), Arc::clone(rules), Key::default());
    let mut notices = Vec::new();
    let warm = clients.max(100_000);
    let (mut spent, mut allocated) = (Duration::ZERO, 0);
    for number in 0..warm + TRANSACTIONS {
        let facts = transaction(number, clients);
        if number < warm {
            actors.observe(&facts, &mut notices);
            continue;
        }
        let calls = allocations::calls();
        let started = Instant::now();
        actors.observe(&facts, &mut notices);
        spent += started.elapsed();
        allocated += allocations::calls() - calls;
        notices.clear();
    }
    drop(notices);
    let held = allocations::bytes() - before;
    (TRANSACTIONS as f64 / spent.as_secs_f64(), allocated as f64 / TRANSACTIONS as f64, held, actors.bytes())
}

fn transaction(number: u64, clients: u64) -> Facts {
    // Numbers are well mixed, so that clients do not come in turns.
    let client = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17) % clients;
    let mut facts = Facts { verified: true, ..Facts::default() };
    facts.time = Timestamp::from_nanos(number * 50_000);
    facts.client = Client::peer(std::net::IpAddr::from((0x0a00_0000 + client as u32).to_be_bytes()));
    facts.request.host = 1;
    facts.request.agent = client % 50;
    facts.request.route = number % 200 + 1;
    facts.request.path = number % 5_000 + 1;
    facts.request.method = if number.is_multiple_of(5) { Method::Post } else { Method::Get };
    facts.request.flags = flag::COOKIES | flag::CREDENTIALS | flag::SAME_SITE;
    (facts.request.session, facts.request.session_name) = (client + 1, 7);
    if number.is_multiple_of(3) {
        facts.request.object = client % 3 + 1;
    }
    facts.response.status = if client.is_multiple_of(100) && number.is_multiple_of(2) { 404 } else { 200 };
    if number.is_multiple_of(50) {
        facts.request.flags |= flag::LOGIN;
        (facts.request.user, facts.request.password) = (client, number % 2);
        facts.response.login =
            if number.is_multiple_of(100) { Login::Failed(Why::Refused) } else { Login::Succeeded };
    }
    facts
}
