//! The façade: records in, commands out.

mod acceptance;
mod answers;
mod blocks;
mod bodies;
mod command;
mod connection;
#[cfg(test)]
mod content_tests;
mod counters;
mod early;
#[cfg(test)]
mod evasion_tests;
mod exchange;
#[cfg(test)]
mod facts_tests;
mod flood;
mod half;
mod inspect;
mod observer;
mod pace;
#[cfg(test)]
mod pace_tests;
mod readings;
mod reflection;
#[cfg(test)]
mod response_tests;
mod sampling;
mod settings;
#[cfg(test)]
mod smuggling_tests;
#[cfg(test)]
mod split_tests;
#[cfg(test)]
mod stream_tests;
mod summary;
mod tail;
#[cfg(test)]
mod tests;
mod upgraded;
#[cfg(test)]
mod upgraded_tests;
mod worker;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sensor_common::record::tcp;

use crate::capture::{self, Segment};
use crate::detect::Detector;
use crate::facts::Facts;
use crate::finding::RuleInfo;
use crate::flow::lru::Lru;
use crate::flow::table::{Slot, Table};
use crate::flow::{Key, Side};
use crate::http::reader::Scratch;
use crate::policy::Policy;
use crate::rule::{RuleFigures, RuleSet};
use crate::served::Served;
use crate::time::Timestamp;
pub use command::{
    Block, Command, Endpoints, Outcome, Report, RequestSummary, SUMMARY_LEN, Skip, Transaction,
};
use connection::{Connection, Progress, Shared};
use counters::Counters;
pub use counters::Stats;
use early::{EarlyData, Taken};
pub use observer::Observer;
use settings::BodyLimits;
pub use settings::Settings;
use worker::Worker;

/// One engine: the flows of one ring.
#[derive(Debug)]
pub struct Engine {
    table: Table<Connection>,
    shared: Shared,
    /// Connections that hold memory, the one that used it least recently first.
    holders: Lru,
    memory: usize,
    /// Holes in streams that are given up at a time, in the order of these times.
    holes: VecDeque<Hole>,
    /// Closed connections that are forgotten at a time, in the order of these times.
    closed: VecDeque<Closed>,
    early: EarlyData,
    /// The limits of bodies while they are trimmed.
    trimmed: Option<BodyLimits>,
    flows: u64,
    now: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Hole {
    due: Timestamp,
    slot: Slot,
    flow_id: u64,
    side: Side,
    position: i64,
}

#[derive(Clone, Copy, Debug)]
struct Closed {
    due: Timestamp,
    slot: Slot,
    flow_id: u64,
}

/// How long a closed connection is kept, so that late copies of its segments do not begin a new one.
const CLOSED_FOR: Duration = Duration::from_secs(2);
/// Most closed connections kept.
const MAX_CLOSED: usize = 4096;
/// Most connections that one call of [`Engine::handle_timeout`] forgets.
const MAX_EXPIRED_AT_ONCE: usize = 1024;

impl Engine {
    /// An engine without flows.
    #[must_use]
    pub fn new(settings: Settings, rules: Arc<RuleSet>, policy: Arc<Policy>) -> Self {
        let worker = Worker::new(Detector::new(rules), policy, &settings);
        Self {
            table: Table::new(settings.max_flows),
            shared: Shared { settings, worker, scratch: Scratch::default() },
            holders: Lru::default(),
            memory: 0,
            holes: VecDeque::new(),
            closed: VecDeque::new(),
            early: EarlyData::default(),
            trimmed: None,
            flows: 0,
            now: Timestamp::default(),
        }
    }

    /// Takes one record of a ring.
    pub fn handle_record(&mut self, record: &[u8]) {
        self.counters().records += 1;
        match capture::decode(record) {
            Ok(segment) => {
                self.counters().captured_bytes += segment.payload.len() as u64;
                self.take(&segment);
            }
            Err(_) => self.counters().record_malformed += 1,
        }
    }

    /// Takes a segment that did not come as a record: one of a capture.
    pub fn handle_segment(&mut self, segment: &Segment<'_>) {
        self.counters().records += 1;
        self.take(segment);
    }

    /// The next thing to do, if any; call until `None`.
    pub fn next_command(&mut self) -> Option<Command> {
        self.shared.worker.commands.pop_front()
    }

    /// The facts of the next transaction that is over, where [`Settings::facts`] asks for them; call until `None`.
    pub fn next_facts(&mut self) -> Option<Facts> {
        self.shared.worker.facts.pop_front()
    }

    /// When [`Engine::handle_timeout`] wants to be called, if at all.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let idle = self.table.oldest().and_then(|slot| self.table.get(slot));
        let idle = idle.map(|connection| connection.last_seen + self.shared.settings.flow_idle);
        let hole = self.holes.front().map(|hole| hole.due);
        let closed = self.closed.front().map(|closed| closed.due);
        [idle, hole, closed].into_iter().flatten().min()
    }

    /// Lets time pass: holes are given up, closed and idle flows are forgotten. Calling it early is harmless; when much is
    /// due, [`Engine::poll_timeout`] stays in the past, and it wants to be called again.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.give_up_holes();
        while let Some(closed) = self.closed.pop_front_if(|closed| closed.due <= now) {
            self.forget_closed(closed);
        }
        let idle = self.shared.settings.flow_idle;
        for _ in 0..MAX_EXPIRED_AT_ONCE {
            let Some(slot) = self.table.oldest() else { return };
            if self.table.get(slot).is_none_or(|connection| connection.last_seen + idle > now) {
                return;
            }
            self.counters().flows_expired += 1;
            self.remove(slot);
        }
    }

    /// Uses other rules from the next message on.
    pub fn replace_rules(&mut self, rules: Arc<RuleSet>) {
        self.shared.worker.replace_rules(rules);
    }

    /// Uses another policy from the next verdict on.
    pub fn replace_policy(&mut self, policy: Arc<Policy>) {
        self.shared.worker.policy = policy;
    }

    /// Uses another table of who serves where, from the next message on; an engine begins with one that knows nobody.
    pub fn replace_served(&mut self, served: Arc<Served>) {
        self.shared.worker.served = served;
    }

    /// Says what the wall clock shows when the time of the records is 0, in seconds since 1970; it decides about the times of tokens
    /// and nothing else. An engine begins with `None`: then it is not known.
    pub fn set_wall_offset(&mut self, seconds: Option<i64>) {
        self.shared.worker.wall_offset = seconds;
    }

    /// Inspects bodies up to [`Settings::trimmed_body_bytes`] only, and those of responses not at all, until it is called with `false`.
    pub fn trim_bodies(&mut self, trimmed: bool) {
        if trimmed == self.trimmed.is_some() {
            return;
        }
        let settings = &mut self.shared.settings;
        match self.trimmed.take() {
            Some(whole) => whole.put_back(settings),
            None => self.trimmed = Some(settings.trim()),
        }
    }

    /// What each rule has cost and found since the rules were loaded; those that nothing asked are left out.
    #[must_use]
    pub fn rule_figures(&self) -> Vec<(Arc<RuleInfo>, RuleFigures)> {
        let figures = self.shared.worker.detector.rule_figures();
        figures.map(|(info, figures)| (Arc::clone(info), figures)).collect()
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut counters = self.shared.worker.counters.clone();
        counters.flows_now = self.table.len() as u64;
        counters.flow_bytes = self.memory as u64;
        let detected = self.shared.worker.detector.stats();
        counters.fields_over_budget = detected.fields_over_budget;
        counters.uninspected_value_bytes = detected.uninspected_bytes;
        counters.findings_dropped = detected.findings_dropped;
        counters.findings_excepted = detected.findings_excepted;
        counters.model_values = detected.model_values;
        counters.model_skipped = detected.model_skipped;
        counters.model_findings = detected.model_findings;
        counters.tokens_checked = detected.tokens_checked;
        counters.tokens_unchecked = detected.tokens_unchecked;
        counters.stats()
    }

    fn counters(&mut self) -> &mut Counters {
        &mut self.shared.worker.counters
    }

    fn take(&mut self, segment: &Segment<'_>) {
        if segment.flags & tcp::SYN != 0 {
            self.keep_early(segment);
            return self.counters().ignored_syn += 1;
        }
        if segment.flags & (tcp::ACK | tcp::RST) == 0 {
            return self.counters().ignored_no_ack += 1;
        }
        let (key, from) = Key::of(segment);
        if !self.early.is_empty()
            && self.begins_connection(&key, from, segment)
            && let Some(taken) = self.early.take(&key, from, segment)
        {
            self.take_early(key, &taken);
        }
        let Some(slot) = self.connection(key, from, segment) else {
            return self.counters().ignored_no_flow += 1;
        };
        self.counters().accepted += 1;
        self.now = self.now.max(segment.time);
        self.shared.worker.now = self.now;
        self.table.touch(slot);
        let Some(connection) = self.table.get_mut(slot) else { return };
        let progress = connection.take(from, segment, &mut self.shared);
        if progress == Progress::Closed && !std::mem::replace(&mut connection.closed, true) {
            connection.end(segment.time, &mut self.shared);
            self.keep_closed(slot);
        }
        self.watch_holes(slot);
        self.account(slot);
        self.enforce_memory();
    }

    /// Data on a SYN counts once it is known that the application got it.
    fn keep_early(&mut self, segment: &Segment<'_>) {
        let most = self.shared.settings.max_early_bytes;
        if segment.flags & tcp::ACK == 0 && !segment.payload.is_empty() && most > 0 {
            self.counters().early_kept += 1;
            let evicted = self.early.keep(segment, most);
            self.counters().early_evicted += evicted;
        }
    }

    /// Whether a segment is the first that is seen of its connection.
    fn begins_connection(&self, key: &Key, from: Side, segment: &Segment<'_>) -> bool {
        let known = self.table.find(key).and_then(|slot| self.table.get(slot));
        known.is_none_or(|connection| connection.is_replaced_by(from, segment))
    }

    /// Begins a connection with what its application got before the handshake was over.
    fn take_early(&mut self, key: Key, taken: &Taken) {
        let segment = taken.segment();
        let Some(slot) = self.connection(key, taken.from(), &segment) else { return };
        self.counters().early_taken += 1;
        if let Some(connection) = self.table.get_mut(slot) {
            connection.take_early(taken.from(), &segment, &mut self.shared);
        }
    }

    /// The connection of a segment; a new one if there is none, unless the segment has nothing to begin one with.
    fn connection(&mut self, key: Key, from: Side, segment: &Segment<'_>) -> Option<Slot> {
        if let Some(slot) = self.table.find(&key) {
            if !self.table.get(slot)?.is_replaced_by(from, segment) {
                return Some(slot);
            }
            self.counters().flows_reused += 1;
            self.remove(slot);
        }
        if segment.wire_len == 0 {
            return None;
        }
        if self.table.is_full()
            && let Some(oldest) = self.table.oldest()
        {
            self.counters().flows_evicted += 1;
            self.remove(oldest);
        }
        self.flows += 1;
        self.counters().flows_opened += 1;
        Some(self.table.insert(Connection::new(self.flows, key, segment)))
    }

    /// Forgets a connection; what is incomplete in it is inspected as far as it came.
    fn remove(&mut self, slot: Slot) {
        let Some(mut connection) = self.table.remove(slot) else { return };
        self.holders.remove(slot);
        self.memory -= connection.memory as usize;
        connection.end(self.now, &mut self.shared);
    }

    fn keep_closed(&mut self, slot: Slot) {
        let Some(flow_id) = self.table.get(slot).map(Connection::id) else { return };
        self.counters().flows_closed += 1;
        self.closed.push_back(Closed { due: self.now + CLOSED_FOR, slot, flow_id });
        if self.closed.len() > MAX_CLOSED
            && let Some(oldest) = self.closed.pop_front()
        {
            self.forget_closed(oldest);
        }
    }

    fn forget_closed(&mut self, closed: Closed) {
        if self.table.get(closed.slot).is_some_and(|connection| connection.id() == closed.flow_id) {
            self.remove(closed.slot);
        }
    }

    fn watch_holes(&mut self, slot: Slot) {
        let due = self.now + self.shared.settings.hole_patience;
        let Some(connection) = self.table.get_mut(slot) else { return };
        let flow_id = connection.id();
        for side in [Side::Low, Side::High] {
            if let Some(position) = connection.watch_hole(side) {
                self.holes.push_back(Hole { due, slot, flow_id, side, position });
            }
        }
    }

    fn give_up_holes(&mut self) {
        while let Some(hole) = self.holes.pop_front_if(|hole| hole.due <= self.now) {
            let Some(connection) = self.table.get_mut(hole.slot) else { continue };
            if connection.id() == hole.flow_id {
                connection.lose_patience(hole.side, hole.position, self.now, &mut self.shared);
                self.watch_holes(hole.slot);
                self.account(hole.slot);
            }
        }
        self.enforce_memory();
    }

    /// Brings the sum of all memory up to date with one connection.
    fn account(&mut self, slot: Slot) {
        let Some(connection) = self.table.get_mut(slot) else { return };
        let memory = connection.measure();
        self.memory = self.memory - connection.memory as usize + memory as usize;
        connection.memory = memory;
        if memory as usize > HOLDER_FROM {
            self.holders.touch(slot);
        } else {
            self.holders.remove(slot);
        }
    }

    /// The holder that used its memory least recently makes room, until all together keep to the limit.
    fn enforce_memory(&mut self) {
        while self.memory > self.shared.settings.max_total_bytes {
            let Some(slot) = self.holders.oldest().or_else(|| self.table.oldest()) else { return };
            self.counters().flows_evicted_memory += 1;
            self.remove(slot);
        }
    }
}

/// A connection with more memory than this is asked first to make room.
const HOLDER_FROM: usize = 4096;
