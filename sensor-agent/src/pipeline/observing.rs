//! The thread that remembers clients: the facts of all engines in, blocks and reports out.
//!
//! Engines never wait for it, and never wake it: it looks into its queue by itself, in steps short enough that an attacker gains little and
//! long enough that an idle host notices nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};
use sensor_engine::actor;
use sensor_engine::engine::Observer;
use sensor_engine::facts::{Facts, Key};
use sensor_engine::policy::Standing;

use super::carrier::{Carrier, WorkerStats};
use super::{Inputs, priority};

/// Facts taken between two looks at anything else.
const BATCH: usize = 1024;
/// Wait behind facts, and how often in a row before the longer one.
const SHORT_WAIT: Duration = Duration::from_millis(2);
const SHORT_WAITS: u32 = 50;
/// Wait when nothing comes.
const LONG_WAIT: Duration = Duration::from_millis(20);
/// How often counters are published.
const PUBLISH_EVERY: Duration = Duration::from_millis(200);

/// What the thread has counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObserverStats {
    /// Blocks and reports, as of an engine's thread.
    pub(crate) carried: WorkerStats,
    /// The observer's own: name, help, value.
    pub(crate) named: Vec<(&'static str, &'static str, u64)>,
}

/// What the observer shares with the engines: the key of facts, and what is known of sources.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) key: Key,
    pub(super) standing: Arc<Standing>,
}

/// The thread's state.
pub(super) struct Observing {
    facts: Receiver<Facts>,
    carrier: Carrier,
    observer: Observer,
    known: Known,
    inputs: Cache<Arc<ArcSwap<Inputs>>, Arc<Inputs>>,
    in_use: Arc<Inputs>,
    published: Arc<ArcSwap<ObserverStats>>,
    last_publish: Instant,
}

impl Observing {
    pub(super) fn new(
        facts: Receiver<Facts>,
        carrier: Carrier,
        known: Known,
        inputs: Arc<ArcSwap<Inputs>>,
        published: Arc<ArcSwap<ObserverStats>>,
    ) -> Self {
        let mut inputs = Cache::new(inputs);
        let in_use = Arc::clone(inputs.load());
        let observer = observer_of(&known, &in_use);
        let last_publish = Instant::now();
        Self { facts, carrier, observer, known, inputs, in_use, published, last_publish }
    }

    /// Runs until every engine thread has ended and all that they left is taken.
    pub(super) fn run(mut self) {
        if let Err(error) = priority::be_patient() {
            tracing::warn!("the observer competes with the application for the processor: {error}");
        }
        let mut quiet = 0_u32;
        self.publish();
        loop {
            match self.take_batch() {
                Ok(0) => {
                    std::thread::sleep(if quiet < SHORT_WAITS { SHORT_WAIT } else { LONG_WAIT });
                    quiet = quiet.saturating_add(1);
                }
                Ok(_) => quiet = 0,
                Err(Ended) => break,
            }
            self.keep_up();
        }
        self.publish();
    }

    fn take_batch(&mut self) -> Result<usize, Ended> {
        for taken in 0..BATCH {
            match self.facts.try_recv() {
                Ok(facts) => self.observe(&facts),
                Err(TryRecvError::Empty) => return Ok(taken),
                Err(TryRecvError::Disconnected) => return Err(Ended),
            }
        }
        Ok(BATCH)
    }

    fn observe(&mut self, facts: &Facts) {
        let Self { observer, carrier, .. } = self;
        let handled = catch_unwind(AssertUnwindSafe(|| {
            observer.observe(facts);
            while let Some(command) = observer.next_command() {
                carrier.carry_out(command, Some(facts.time.as_nanos()));
            }
        }));
        if handled.is_err() {
            self.carrier.stats.panics += 1;
            tracing::error!("the observer panicked; it begins again with an empty memory");
            self.observer = observer_of(&self.known, &self.in_use);
        }
    }

    /// New rules and published counters: once a batch.
    fn keep_up(&mut self) {
        let latest = self.inputs.load();
        if !Arc::ptr_eq(latest, &self.in_use) {
            let before = std::mem::replace(&mut self.in_use, Arc::clone(latest));
            if !Arc::ptr_eq(&before.rules, &self.in_use.rules) {
                self.observer.replace_rules(Arc::clone(&self.in_use.rules));
            }
            if !Arc::ptr_eq(&before.actors, &self.in_use.actors) {
                self.observer.replace_settings(actor::Settings::clone(&self.in_use.actors));
            }
            self.observer.replace_policy(Arc::clone(&self.in_use.policy));
        }
        if self.last_publish.elapsed() >= PUBLISH_EVERY {
            self.publish();
        }
    }

    fn publish(&mut self) {
        let stats = ObserverStats { carried: self.carrier.stats.clone(), named: self.observer.stats() };
        self.published.store(Arc::new(stats));
        self.last_publish = Instant::now();
    }
}

/// No engine thread is left.
#[derive(Clone, Copy, Debug)]
struct Ended;

fn observer_of(known: &Known, inputs: &Inputs) -> Observer {
    let settings = actor::Settings::clone(&inputs.actors);
    let Known { key, standing } = known.clone();
    Observer::new(settings, Arc::clone(&inputs.rules), Arc::clone(&inputs.policy), key, standing)
}
