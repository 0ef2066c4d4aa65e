//! The threads between kernel and shell: ring → engine → commands, one thread and one engine for each ring.
//!
//! A block decision writes the kernel's map from the thread that made it. Everything else leaves through a bounded queue that
//! the thread never waits for: what does not fit is counted.

mod latency;
mod priority;
mod whole;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use arc_swap::ArcSwap;
use sensor_engine::engine::{Report, Settings};
use sensor_engine::policy::Policy;
use sensor_engine::rule::RuleSet;

use crate::kernel::clock::boot_nanos;
use crate::kernel::counters::{Counters, KernelCounts};
use crate::kernel::flows::FlowTable;
use crate::kernel::lists::Lists;
use crate::kernel::rings::Ring;
use crate::kernel::sensor::{Plan, Sensor};

pub(crate) use latency::{BOUNDS_US, Latency};
use whole::Exchange;
pub(crate) use whole::WholeStats;
pub(crate) use worker::WorkerStats;
use worker::{Shared, Worker};

/// What the engines work by; replaced whole on reload.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    /// The rules.
    pub(crate) rules: Arc<RuleSet>,
    /// The policy.
    pub(crate) policy: Arc<Policy>,
}

/// What became of the block that a report speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enforcement {
    /// The entry is in force (or counts, in shadow mode), this many nanoseconds after the deciding segment passed the tap.
    InForce {
        /// Tap to entry.
        latency_ns: u64,
    },
    /// An exemption in the kernel covers the source.
    Exempt,
    /// An operator's entry for the source stays as it is.
    Kept,
    /// The block had ended before it could be written: the data was old.
    Over,
    /// The kernel refused the entry, which is counted and logged.
    Failed,
}

/// A report on its way to storage and channels.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// What the engine says.
    pub(crate) report: Box<Report>,
    /// What became of its block, if it has one.
    pub(crate) enforcement: Option<Enforcement>,
}

/// The running pipeline.
pub(crate) struct Pipeline {
    sensor: Sensor,
    counters: Counters,
    workers: Vec<Running>,
    stop: Arc<AtomicBool>,
    trim: Arc<AtomicBool>,
}

struct Running {
    thread: JoinHandle<()>,
    stats: Arc<ArcSwap<WorkerStats>>,
    new_rings: SyncSender<Ring>,
}

/// Counters at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Kernel counters.
    pub(crate) kernel: KernelCounts,
    /// One entry a ring.
    pub(crate) workers: Vec<WorkerStats>,
}

impl Pipeline {
    /// Starts the kernel side and one thread for each ring.
    ///
    /// # Errors
    /// As [`Sensor::start`]; nothing runs then.
    pub(crate) fn start(
        plan: &Plan,
        settings: &Settings,
        inputs: &Arc<ArcSwap<Inputs>>,
        reports: &SyncSender<Delivered>,
    ) -> Result<Self> {
        let (sensor, rings) = Sensor::start(plan)?;
        let counters = Counters::open(sensor.pins(), plan.rings)?;
        let started_ns = boot_nanos();
        let (stop, trim) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let mut workers = Vec::with_capacity(rings.len());
        let (exchange, inboxes) = Exchange::new(rings.len(), sensor.hash_key());
        for (index, (ring, inbox)) in rings.into_iter().zip(inboxes).enumerate() {
            let maps = (Lists::open(&plan.pin_dir)?, FlowTable::open(sensor.pins())?);
            let stats = Arc::new(ArcSwap::from_pointee(WorkerStats::default()));
            let (new_rings, rings) = sync_channel(1);
            let (inputs, published) = (Arc::clone(inputs), Arc::clone(&stats));
            let (stop, trim) = (Arc::clone(&stop), Arc::clone(&trim));
            let whole = exchange.part(index, inbox, settings.fragments);
            let shared = Shared { inputs, published, stop, trim, rings, whole };
            let worker = Worker::new(ring, maps, settings.clone(), shared, reports.clone(), started_ns);
            let named = thread::Builder::new().name(format!("engine-{index}"));
            let thread = named.spawn(move || worker.run()).context("cannot start an engine thread")?;
            workers.push(Running { thread, stats, new_rings });
        }
        Ok(Self { sensor, counters, workers, stop, trim })
    }

    /// The kernel side.
    pub(crate) fn sensor(&mut self) -> &mut Sensor {
        &mut self.sensor
    }

    /// Uses another plan from now on, as far as that needs no restart; rings of another size take the place of the present ones without a gap.
    ///
    /// # Errors
    /// If the kernel refuses something. A thread that still has not taken up the rings of an earlier change keeps them.
    pub(crate) fn reconfigure(&mut self, plan: &Plan) -> Result<()> {
        let rings = self.sensor.reconfigure(plan)?;
        for (worker, ring) in self.workers.iter().zip(rings) {
            worker
                .new_rings
                .send(ring)
                .map_err(|_| anyhow!("an engine thread has ended: restart the agent"))?;
        }
        Ok(())
    }

    /// Whether the engines inspect little of bodies, for the sake of everything else.
    pub(crate) fn trim_bodies(&self, trimmed: bool) {
        self.trim.store(trimmed, Ordering::Relaxed);
    }

    /// All counters.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let workers = self.workers.iter().map(|worker| WorkerStats::clone(&worker.stats.load())).collect();
        Ok(Snapshot { kernel: self.counters.read()?, workers })
    }

    /// Engine threads that have ended though nobody asked them to.
    pub(crate) fn dead_workers(&self) -> usize {
        self.workers.iter().filter(|worker| worker.thread.is_finished()).count()
    }

    /// Lets the threads empty their rings, at most for [`worker::DRAIN_AT_STOP`], and ends them. What is attached stays.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            if worker.thread.join().is_err() {
                tracing::error!("an engine thread had panicked");
            }
        }
    }
}
