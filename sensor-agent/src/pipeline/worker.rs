//! One ring's thread.
//!
//! Waking a thread costs the application's processor more than all that the tap does for a packet. So after work the thread looks again by
//! itself, in short steps; only when nothing has come for several of them does it say that it sleeps, and then the tap wakes it
//! for the next record.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};
use sensor_engine::capture::whole;
use sensor_engine::engine::{Engine, Settings, Stats};
use sensor_engine::facts::Facts;
use sensor_engine::time::Timestamp;

use super::carrier::{Carrier, WorkerStats};
use super::whole::WholePackets;
use super::{Inputs, priority};
use crate::clock::WallClock;
use crate::kernel::clock::boot_nanos;
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

/// What a thread shares with the pipeline: inputs, figures, the words to stop and to trim bodies, and rings that take the place of its own.
pub(super) struct Shared {
    pub(super) inputs: Arc<ArcSwap<Inputs>>,
    pub(super) published: Arc<ArcSwap<WorkerStats>>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) trim: Arc<AtomicBool>,
    pub(super) rings: Receiver<Ring>,
    pub(super) whole: WholePackets,
    /// Where facts of transactions go, if somebody wants them.
    pub(super) facts: Option<SyncSender<Facts>>,
}

pub(super) struct Worker {
    ring: Ring,
    whole: WholePackets,
    carrier: Carrier,
    facts: Option<SyncSender<Facts>>,
    engine: Engine,
    /// What engines had counted before they panicked.
    earlier: Stats,
    /// Boot clock at the agent's start.
    started_ns: u64,
    settings: Settings,
    inputs: Cache<Arc<ArcSwap<Inputs>>, Arc<Inputs>>,
    in_use: Arc<Inputs>,
    published: Arc<ArcSwap<WorkerStats>>,
    stop: Arc<AtomicBool>,
    trim: Arc<AtomicBool>,
    rings: Receiver<Ring>,
    last_publish: Instant,
}

impl Worker {
    pub(super) fn new(
        ring: Ring,
        carrier: Carrier,
        settings: Settings,
        Shared { inputs, published, stop, trim, rings, whole, facts }: Shared,
        started_ns: u64,
    ) -> Self {
        let mut inputs = Cache::new(inputs);
        let in_use = Arc::clone(inputs.load());
        let engine = engine(&settings, &in_use);
        Self {
            ring,
            whole,
            carrier,
            facts,
            engine,
            earlier: Stats::default(),
            started_ns,
            settings,
            inputs,
            in_use,
            published,
            stop,
            trim,
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
        let Self { ring, whole, carrier, facts, engine, settings, in_use, earlier, started_ns, .. } = self;
        let mut guarded = |carrier: &mut Carrier, time, handle: &mut dyn FnMut(&mut Engine, &Carrier)| {
            let handled = catch_unwind(AssertUnwindSafe(|| {
                handle(engine, carrier);
                carry_out(engine, carrier, facts.as_ref(), time);
            }));
            if handled.is_err() {
                carrier.stats.panics += 1;
                tracing::error!("the engine panicked; its flows are picked up again");
                earlier.absorb(&engine.stats());
                *engine = self::engine(settings, in_use);
            }
        };
        let mut handed_over = 0;
        while let Some(segment) = whole.next() {
            handed_over += 1;
            guarded(carrier, Some(segment.as_segment().time.as_nanos()), &mut |engine, _| {
                engine.handle_segment(&segment.as_segment());
            });
        }
        handed_over
            + ring.drain(BATCH, |record| {
                let time = time_of(record);
                count(time, *started_ns, &mut carrier.stats);
                guarded(carrier, time, &mut |engine, carrier| {
                    if !whole::is_whole(record) {
                        engine.handle_record(record);
                    } else if let Some(segment) = whole.take(record, carrier.flows()) {
                        engine.handle_segment(&segment.as_segment());
                    }
                });
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
            carry_out(&mut self.engine, &mut self.carrier, self.facts.as_ref(), None);
        }
        let latest = self.inputs.load();
        if !Arc::ptr_eq(latest, &self.in_use) {
            let before = std::mem::replace(&mut self.in_use, Arc::clone(latest));
            // Rules begin to count anew when they are replaced.
            if !Arc::ptr_eq(&before.rules, &self.in_use.rules) {
                self.engine.replace_rules(Arc::clone(&self.in_use.rules));
            }
            self.engine.replace_policy(Arc::clone(&self.in_use.policy));
            self.engine.replace_served(Arc::clone(&self.in_use.served));
        }
        self.engine.trim_bodies(self.trim.load(Ordering::Relaxed));
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
        self.carrier.stats.engine.absorb(&self.earlier);
        self.carrier.stats.whole = self.whole.stats();
        self.published.store(Arc::new(self.carrier.stats.clone()));
        // A corrected clock shows with the next figures.
        self.engine.set_wall_offset(Some(WallClock::measure().offset_secs()));
        self.last_publish = Instant::now();
    }
}

/// Carries out what the engine asks for, and hands the facts of transactions on; those that find no room are counted.
fn carry_out(
    engine: &mut Engine,
    carrier: &mut Carrier,
    to: Option<&SyncSender<Facts>>,
    time_ns: Option<u64>,
) {
    while let Some(command) = engine.next_command() {
        carrier.carry_out(command, time_ns);
    }
    while let Some(facts) = engine.next_facts() {
        let sent = to.is_none_or(|to| to.try_send(facts).is_ok());
        carrier.stats.facts_lost += u64::from(!sent);
    }
}

fn count(time_ns: Option<u64>, started_ns: u64, stats: &mut WorkerStats) {
    if time_ns.is_some_and(|time| time < started_ns) {
        stats.adopted += 1;
    } else {
        stats.delivered += 1;
    }
}

/// When the record passed the tap: its header begins with that time.
fn time_of(record: &[u8]) -> Option<u64> {
    record.first_chunk().map(|time| u64::from_ne_bytes(*time))
}

fn engine(settings: &Settings, inputs: &Inputs) -> Engine {
    let mut engine = Engine::new(settings.clone(), Arc::clone(&inputs.rules), Arc::clone(&inputs.policy));
    engine.replace_served(Arc::clone(&inputs.served));
    engine.set_wall_offset(Some(WallClock::measure().offset_secs()));
    engine
}
