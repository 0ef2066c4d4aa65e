//! Carries out what engines and the observer ask for: blocks into the kernel's map, at once; reports into the queue, without waiting.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use sensor_engine::engine::{Block, Command, Endpoints, Report, Skip, Stats};

use sensor_engine::finding::RuleInfo;
use sensor_engine::rule::RuleFigures;

use super::whole::WholeStats;
use super::{Delivered, Enforcement, Latency};
use crate::kernel::clock::boot_nanos;
use crate::kernel::flows::FlowTable;
use crate::kernel::lists::{Applied, Lists};

/// What one thread has counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerStats {
    /// The engine's counters, added up over the engines that this thread has had.
    pub(crate) engine: Stats,
    /// What each rule has cost and found since the rules were loaded.
    pub(crate) rules: Vec<(Arc<RuleInfo>, RuleFigures)>,
    /// Records taken from the ring that were written since the agent started.
    pub(crate) delivered: u64,
    /// Records taken from the ring that an earlier agent had left in it.
    pub(crate) adopted: u64,
    /// Block entries written.
    pub(crate) blocks_in_force: u64,
    /// Blocks not written: exempt, kept or over.
    pub(crate) blocks_not_needed: u64,
    /// Blocks that the kernel refused.
    pub(crate) blocks_failed: u64,
    /// Reports that did not fit into the queue.
    pub(crate) reports_lost: u64,
    /// Facts of transactions that did not fit into the queue.
    pub(crate) facts_lost: u64,
    /// Rests of bodies that the tap was told to leave out.
    pub(crate) skips: u64,
    /// Sources that the tap could not be told to watch.
    pub(crate) watch_failed: u64,
    /// Times that the engine panicked and was replaced; the flows it knew are picked up again.
    pub(crate) panics: u64,
    /// Packets that the tap handed over whole.
    pub(crate) whole: WholeStats,
    /// Tap to entry in force.
    pub(crate) latency: Latency,
}

/// Carries out commands and remembers what became of the block that the next report speaks of.
pub(super) struct Carrier {
    lists: Lists,
    flows: FlowTable,
    reports: SyncSender<Delivered>,
    pub(super) stats: WorkerStats,
    enforcement: Option<Enforcement>,
}

impl Carrier {
    pub(super) fn new((lists, flows): (Lists, FlowTable), reports: SyncSender<Delivered>) -> Self {
        Self { lists, flows, reports, stats: WorkerStats::default(), enforcement: None }
    }

    /// The tap's flow table.
    pub(super) const fn flows(&self) -> &FlowTable {
        &self.flows
    }

    /// Carries out one command; `time_ns` is when the deciding segment passed the tap.
    pub(super) fn carry_out(&mut self, command: Command, time_ns: Option<u64>) {
        match command {
            Command::Block(block) => self.block(&block, time_ns),
            Command::Report(report) => self.report(report),
            Command::Skip(skip) => self.skip(&skip),
            Command::WebSocket(ends) => self.websocket(&ends),
            // Only a replay asks for them.
            Command::Transaction(_) => {}
        }
    }

    fn block(&mut self, block: &Block, time_ns: Option<u64>) {
        let until = block.until.as_nanos();
        let whom = (block.source, block.target);
        let applied = self.lists.block_automatically(whom, until, block.shadow, &block.reason);
        let enforcement = match applied {
            Ok(Applied::InForce) => Enforcement::InForce { latency_ns: self.latency(time_ns) },
            Ok(Applied::Exempt) => Enforcement::Exempt,
            Ok(Applied::Kept) => Enforcement::Kept,
            Ok(Applied::Over) => Enforcement::Over,
            Err(error) => {
                tracing::error!(target = %block.target, "block not in force: {error:#}");
                Enforcement::Failed
            }
        };
        match enforcement {
            Enforcement::InForce { .. } => self.stats.blocks_in_force += 1,
            Enforcement::Exempt | Enforcement::Kept | Enforcement::Over => self.stats.blocks_not_needed += 1,
            Enforcement::Failed => self.stats.blocks_failed += 1,
        }
        self.enforcement = Some(enforcement);
    }

    /// A skip that the kernel does not take costs copies, and nothing else.
    fn skip(&mut self, skip: &Skip) {
        match self.flows.skip(skip.source, skip.destination, skip.until) {
            Ok(true) => self.stats.skips += 1,
            Ok(false) => {}
            Err(error) => tracing::debug!("the rest of a body is copied: {error:#}"),
        }
    }

    /// What the tap does not take costs a figure, and nothing else.
    fn websocket(&mut self, ends: &Endpoints) {
        if let Err(error) = self.flows.websocket(ends.client, ends.server) {
            tracing::debug!("the tap was not told of a WebSocket: {error:#}");
        }
    }

    /// Nanoseconds since the segment passed the tap.
    fn latency(&mut self, time_ns: Option<u64>) -> u64 {
        let Some(time) = time_ns else { return 0 };
        let latency = boot_nanos().saturating_sub(time);
        self.stats.latency.record(latency);
        latency
    }

    fn report(&mut self, report: Box<Report>) {
        if let Err(error) = self.flows.watch(report.client.ip(), boot_nanos()) {
            self.stats.watch_failed += 1;
            tracing::debug!("a source is not watched: {error:#}");
        }
        let enforcement = self.enforcement.take().filter(|_| report.blocked_until.is_some());
        match self.reports.try_send(Delivered { report, enforcement }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.stats.reports_lost += 1,
        }
    }
}
