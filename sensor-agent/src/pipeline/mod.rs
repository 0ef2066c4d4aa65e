//! The threads between kernel and shell: ring → engine → commands, one thread and one engine for each ring, and one thread that
//! remembers clients.
//!
//! A block decision writes the kernel's map from the thread that made it. Everything else leaves through a bounded queue that
//! the thread never waits for: what does not fit is counted.

mod carrier;
mod latency;
mod observing;
mod priority;
mod whole;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use arc_swap::ArcSwap;
use sensor_engine::actor;
use sensor_engine::engine::{Report, Settings};
use sensor_engine::facts::{Facts, Key};
use sensor_engine::policy::Policy;
use sensor_engine::rule::RuleSet;
use sensor_engine::served::Served;

use crate::config::Actors;
use crate::kernel::clock::boot_nanos;
use crate::kernel::counters::{Counters, KernelCounts};
use crate::kernel::flows::FlowTable;
use crate::kernel::lists::Lists;
use crate::kernel::rings::Ring;
use crate::kernel::sensor::{Plan, Sensor};

use carrier::Carrier;
pub(crate) use carrier::WorkerStats;
pub(crate) use latency::{BOUNDS_US, Latency};
pub(crate) use observing::ObserverStats;
use observing::{Known, Observing};
use whole::Exchange;
pub(crate) use whole::WholeStats;
use worker::{Shared, Worker};

/// What the engines work by; replaced whole on reload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    /// The rules.
    pub(crate) rules: Arc<RuleSet>,
    /// The policy.
    pub(crate) policy: Arc<Policy>,
    /// Limits and thresholds of the memory of clients.
    pub(crate) actors: Arc<actor::Settings>,
    /// Who serves where, if some rule asks.
    pub(crate) served: Arc<Served>,
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
    observer: Option<RunningObserver>,
    stop: Arc<AtomicBool>,
    trim: Arc<AtomicBool>,
}

struct Running {
    thread: JoinHandle<()>,
    stats: Arc<ArcSwap<WorkerStats>>,
    new_rings: SyncSender<Ring>,
}

struct RunningObserver {
    thread: JoinHandle<()>,
    stats: Arc<ArcSwap<ObserverStats>>,
}

/// Counters at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Kernel counters.
    pub(crate) kernel: KernelCounts,
    /// One entry a ring.
    pub(crate) workers: Vec<WorkerStats>,
    /// Of the thread that remembers clients, if there is one.
    pub(crate) observer: Option<ObserverStats>,
}

impl Pipeline {
    /// Starts the kernel side and one thread for each ring.
    ///
    /// # Errors
    /// As [`Sensor::start`]; nothing runs then.
    pub(crate) fn start(
        plan: &Plan,
        settings: &Settings,
        actors: &Actors,
        inputs: &Arc<ArcSwap<Inputs>>,
        reports: &SyncSender<Delivered>,
    ) -> Result<Self> {
        let (sensor, rings) = Sensor::start(plan)?;
        let counters = Counters::open(sensor.pins(), plan.rings)?;
        let started_ns = boot_nanos();
        let (stop, trim) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let key = actors.enabled.then(|| Key::new(rand::random()));
        let settings = Settings { facts: key.clone(), ..settings.clone() };
        let carrier = || -> Result<Carrier> {
            let maps = (Lists::open(&plan.pin_dir)?, FlowTable::open(sensor.pins())?);
            Ok(Carrier::new(maps, reports.clone()))
        };
        let (facts, observer) = match key {
            Some(key) => {
                let (sender, receiver) = sync_channel(usize::try_from(actors.queue)?);
                let known = Known { key, standing: Arc::clone(&settings.standing) };
                (Some(sender), Some(RunningObserver::start(receiver, carrier()?, known, inputs)?))
            }
            None => (None, None),
        };
        let mut workers = Vec::with_capacity(rings.len());
        let (exchange, inboxes) = Exchange::new(rings.len(), sensor.hash_key());
        for (index, (ring, inbox)) in rings.into_iter().zip(inboxes).enumerate() {
            let stats = Arc::new(ArcSwap::from_pointee(WorkerStats::default()));
            let (new_rings, rings) = sync_channel(1);
            let (inputs, published) = (Arc::clone(inputs), Arc::clone(&stats));
            let (stop, trim) = (Arc::clone(&stop), Arc::clone(&trim));
            let whole = exchange.part(index, inbox, settings.fragments);
            let shared = Shared { inputs, published, stop, trim, rings, whole, facts: facts.clone() };
            let worker = Worker::new(ring, carrier()?, settings.clone(), shared, started_ns);
            let named = thread::Builder::new().name(format!("engine-{index}"));
            let thread = named.spawn(move || worker.run()).context("cannot start an engine thread")?;
            workers.push(Running { thread, stats, new_rings });
        }
        Ok(Self { sensor, counters, workers, observer, stop, trim })
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
        let observer = self.observer.as_ref().map(|observer| ObserverStats::clone(&observer.stats.load()));
        Ok(Snapshot { kernel: self.counters.read()?, workers, observer })
    }

    /// Engine threads that have ended though nobody asked them to.
    pub(crate) fn dead_workers(&self) -> usize {
        let observer = self.observer.iter().filter(|observer| observer.thread.is_finished()).count();
        self.workers.iter().filter(|worker| worker.thread.is_finished()).count() + observer
    }

    /// Lets the threads empty their rings, at most for [`worker::DRAIN_AT_STOP`], and ends them. What is attached stays.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            if worker.thread.join().is_err() {
                tracing::error!("an engine thread had panicked");
            }
        }
        // It ends by itself once nobody can send facts any more.
        if self.observer.is_some_and(|observer| observer.thread.join().is_err()) {
            tracing::error!("the observer's thread had panicked");
        }
    }
}

impl RunningObserver {
    fn start(
        facts: Receiver<Facts>,
        carrier: Carrier,
        known: Known,
        inputs: &Arc<ArcSwap<Inputs>>,
    ) -> Result<Self> {
        let stats = Arc::new(ArcSwap::from_pointee(ObserverStats::default()));
        let observing = Observing::new(facts, carrier, known, Arc::clone(inputs), Arc::clone(&stats));
        let named = thread::Builder::new().name("observer".to_owned());
        let thread = named.spawn(move || observing.run()).context("cannot start the observer's thread")?;
        Ok(Self { thread, stats })
    }
}
