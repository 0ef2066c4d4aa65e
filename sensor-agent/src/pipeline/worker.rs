//! One ring's thread.
//!
//! Waking a thread costs the application's processor more than all that the tap does for a packet. So after work the thread looks again by
//! itself, in short steps; only when nothing has come for several of them does it say that it sleeps, and then the tap wakes it
//! for the next record.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};
use sensor_engine::engine::{Block, Command, Endpoints, Engine, Report, Settings, Skip, Stats};
use sensor_engine::finding::RuleInfo;
use sensor_engine::rule::RuleFigures;
use sensor_engine::time::Timestamp;

use super::{Delivered, Enforcement, Inputs, Latency, priority};
use crate::kernel::clock::boot_nanos;
use crate::kernel::flows::FlowTable;
use crate::kernel::lists::{Applied, Lists};
use crate::kernel::rings::Ring;

/// Records taken between two looks at anything else.
const BATCH: usize = 1024;
/// Wait after work, and how often in a row before the thread sleeps.
const SHORT_WAIT: Duration = Duration::from_millis(1);
const SHORT_WAITS: u32 = 4;
/// Wait when nothing comes: how late a stop or an idle timeout may be noticed.
const LONG_WAIT: Duration = Duration::from_millis(50);
/// How often counters are published.
const PUBLISH_EVERY: Duration = Duration::from_millis(200);
/// Longest that a stopping thread goes on emptying its ring.
pub(super) const DRAIN_AT_STOP: Duration = Duration::from_secs(3);

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
    /// Rests of bodies that the tap was told to leave out.
    pub(crate) skips: u64,
    /// Sources that the tap could not be told to watch.
    pub(crate) watch_failed: u64,
    /// Times that the engine panicked and was replaced; the flows it knew are picked up again.
    pub(crate) panics: u64,
    /// Tap to entry in force.
    pub(crate) latency: Latency,
}

/// What a thread shares with the pipeline: inputs, figures, the word to stop, and rings that take the place of its own.
pub(super) struct Shared {
    pub(super) inputs: Arc<ArcSwap<Inputs>>,
    pub(super) published: Arc<ArcSwap<WorkerStats>>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) rings: Receiver<Ring>,
}

pub(super) struct Worker {
    ring: Ring,
    carrier: Carrier,
    engine: Engine,
    settings: Settings,
    inputs: Cache<Arc<ArcSwap<Inputs>>, Arc<Inputs>>,
    in_use: Arc<Inputs>,
    published: Arc<ArcSwap<WorkerStats>>,
    stop: Arc<AtomicBool>,
    rings: Receiver<Ring>,
    last_publish: Instant,
}

impl Worker {
    pub(super) fn new(
        ring: Ring,
        (lists, flows): (Lists, FlowTable),
        settings: Settings,
        Shared { inputs, published, stop, rings }: Shared,
        reports: SyncSender<Delivered>,
        started_ns: u64,
    ) -> Self {
        let mut inputs = Cache::new(inputs);
        let in_use = Arc::clone(inputs.load());
        let engine = engine(&settings, &in_use);
        let stats = WorkerStats::default();
        let carrier = Carrier {
            lists,
            flows,
            reports,
            stats,
            enforcement: None,
            earlier: Stats::default(),
            started_ns,
        };
        Self {
            ring,
            carrier,
            engine,
            settings,
            inputs,
            in_use,
            published,
            stop,
            rings,
            last_publish: Instant::now(),
        }
    }

    pub(super) fn run(mut self) {
        if let Err(error) = priority::be_patient() {
            tracing::warn!("an engine competes with the application for the processor: {error}");
        }
        let mut quiet = 0;
        self.publish();
        while !self.stop.load(Ordering::Relaxed) {
            if self.take_batch() > 0 {
                quiet = 0;
            } else {
                self.idle(quiet);
                quiet = quiet.saturating_add(1);
            }
            self.keep_up();
        }
        let end = Instant::now() + DRAIN_AT_STOP;
        while self.take_batch() > 0 && Instant::now() < end {}
        self.publish();
    }

    fn take_batch(&mut self) -> usize {
        let Self { ring, carrier, engine, settings, in_use, .. } = self;
        ring.drain(BATCH, |record| {
            carrier.count(record);
            let handled = catch_unwind(AssertUnwindSafe(|| {
                engine.handle_record(record);
                carrier.carry_out(engine, record);
            }));
            if handled.is_err() {
                carrier.stats.panics += 1;
                tracing::error!("the engine panicked; its flows are picked up again");
                carrier.earlier.absorb(&engine.stats());
                *engine = self::engine(settings, in_use);
            }
        })
    }

    fn idle(&mut self, quiet: u32) {
        let waited =
            if quiet < SHORT_WAITS { self.ring.pause(SHORT_WAIT) } else { self.ring.sleep(LONG_WAIT) };
        if let Err(error) = waited {
            tracing::error!(%error, "cannot wait for the ring");
            std::thread::sleep(LONG_WAIT);
        }
    }

    /// Timeouts, new rules, published counters: once a batch, never per record.
    fn keep_up(&mut self) {
        let now = Timestamp::from_nanos(boot_nanos());
        if self.engine.poll_timeout().is_some_and(|due| due <= now) {
            self.engine.handle_timeout(now);
            self.carrier.carry_out(&mut self.engine, &[]);
        }
        let latest = self.inputs.load();
        if !Arc::ptr_eq(latest, &self.in_use) {
            self.in_use = Arc::clone(latest);
            self.engine.replace_rules(Arc::clone(&self.in_use.rules));
            self.engine.replace_policy(Arc::clone(&self.in_use.policy));
        }
        if self.last_publish.elapsed() >= PUBLISH_EVERY {
            self.publish();
        }
        if let Ok(ring) = self.rings.try_recv() {
            // Nobody writes to the old ring any more: what it holds comes before all that the new one has.
            while self.take_batch() > 0 {}
            self.ring = ring;
        }
    }

    fn publish(&mut self) {
        self.carrier.stats.engine = self.engine.stats();
        self.carrier.stats.rules = self.engine.rule_figures();
        self.carrier.stats.engine.absorb(&self.carrier.earlier);
        self.published.store(Arc::new(self.carrier.stats.clone()));
        self.last_publish = Instant::now();
    }
}

/// When the record passed the tap: its header begins with that time.
fn time_of(record: &[u8]) -> Option<u64> {
    record.first_chunk().map(|time| u64::from_ne_bytes(*time))
}

fn engine(settings: &Settings, inputs: &Inputs) -> Engine {
    Engine::new(settings.clone(), Arc::clone(&inputs.rules), Arc::clone(&inputs.policy))
}

/// Carries out commands and remembers what became of the block that the next report speaks of.
struct Carrier {
    lists: Lists,
    flows: FlowTable,
    reports: SyncSender<Delivered>,
    stats: WorkerStats,
    enforcement: Option<Enforcement>,
    /// What engines had counted before they panicked.
    earlier: Stats,
    /// Boot clock at the agent's start.
    started_ns: u64,
}

impl Carrier {
    fn count(&mut self, record: &[u8]) {
        if time_of(record).is_some_and(|time| time < self.started_ns) {
            self.stats.adopted += 1;
        } else {
            self.stats.delivered += 1;
        }
    }

    fn carry_out(&mut self, engine: &mut Engine, record: &[u8]) {
        while let Some(command) = engine.next_command() {
            match command {
                Command::Block(block) => self.block(&block, record),
                Command::Report(report) => self.report(report),
                Command::Skip(skip) => self.skip(&skip),
                Command::WebSocket(ends) => self.websocket(&ends),
                // Only a replay asks for them.
                Command::Transaction(_) => {}
            }
        }
    }

    fn block(&mut self, block: &Block, record: &[u8]) {
        let until = block.until.as_nanos();
        let applied = self.lists.block_automatically(block.source, until, block.shadow, &block.reason);
        let enforcement = match applied {
            Ok(Applied::InForce) => Enforcement::InForce { latency_ns: self.latency(record) },
            Ok(Applied::Exempt) => Enforcement::Exempt,
            Ok(Applied::Kept) => Enforcement::Kept,
            Ok(Applied::Over) => Enforcement::Over,
            Err(error) => {
                tracing::error!(source = %block.source, "block not in force: {error:#}");
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

    /// Nanoseconds since the record passed the tap.
    fn latency(&mut self, record: &[u8]) -> u64 {
        let Some(time) = time_of(record) else { return 0 };
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
