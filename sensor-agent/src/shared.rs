//! What the parts of the running agent share: the API and the service manager look at the sensor through it, the
//! pipeline publishes its figures into it. None of it is on the hot path.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sensor_engine::engine::Stats;
use sensor_engine::policy::Mode;
use sensor_engine::rule::RuleFigures;
use serde::Serialize;
use tokio::sync::watch;

use crate::alert::{Figures, Live};
use crate::blocklist::Book;
use crate::kernel::gauges::KernelLoad;
use crate::pipeline::Latency;
use crate::store::Store;
use crate::watch::Recent;

/// One counter of a kernel program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KernelCounter {
    /// `xdp` or `tap`.
    pub(crate) program: &'static str,
    /// Name of the counter.
    pub(crate) name: &'static str,
    /// What is counted.
    pub(crate) help: &'static str,
    /// Its value.
    pub(crate) value: u64,
    /// The outcomes of a program add up to the packets it saw.
    pub(crate) outcome: bool,
    /// The packet was meant for the engine and did not get there.
    pub(crate) loss: bool,
}

/// Figures of the pipeline at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct StatsSnapshot {
    /// Counters of the kernel programs.
    pub(crate) kernel: Vec<KernelCounter>,
    /// Counters of each engine.
    pub(crate) engines: Vec<Stats>,
    /// What each rule has cost and found since the rules were loaded, by id.
    pub(crate) rules: BTreeMap<String, RuleFigures>,
    /// What each ring lost: its number, why, how many records.
    pub(crate) rings: Vec<(u32, &'static str, u64)>,
    /// Share of the connections that is inspected, 0 to 1.
    pub(crate) sample: f64,
    /// Records that reached an engine.
    pub(crate) delivered: u64,
    /// Further figures of the threads: name, help, value.
    pub(crate) pipeline: Vec<(&'static str, &'static str, u64)>,
    /// From the tap to a block in force.
    pub(crate) latency: Latency,
    /// What is remembered of clients: name, help, value; empty if nothing is.
    pub(crate) actors: Vec<(&'static str, &'static str, u64)>,
    /// Facts of transactions that found no room.
    pub(crate) facts_lost: u64,
}

impl StatsSnapshot {
    /// Packets or records that were meant for the engine and did not get there.
    pub(crate) fn lost(&self) -> u64 {
        self.kernel.iter().filter(|counter| counter.loss).map(|counter| counter.value).sum()
    }
}

/// How well something is. The greater is the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// As it should be.
    Ok,
    /// Works, but something is missing or was lost.
    Degraded,
    /// Does not work.
    Failing,
}

/// One line of the health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// How well.
    pub(crate) status: Status,
    /// What is the matter, and what to do.
    pub(crate) detail: String,
}

/// What the parts of the agent share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// When the agent started.
    pub(crate) started: Instant,
    /// The alerts.
    pub(crate) store: Arc<Store>,
    /// Live alerts.
    pub(crate) live: Live,
    /// Figures of the output.
    pub(crate) figures: Arc<Figures>,
    /// The lists, if they could be opened.
    book: Mutex<Option<Book>>,
    mode: Mutex<Mode>,
    stats: Mutex<Published>,
    checks: Mutex<BTreeMap<String, Check>>,
    recent: Mutex<Recent>,
    load: Mutex<KernelLoad>,
    stopping: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Published {
    snapshot: StatsSnapshot,
    at: Option<Instant>,
    lost_at: Option<Instant>,
    facts_lost_at: Option<Instant>,
}

/// Figures older than this mean that the pipeline stands still.
const STALE_AFTER: Duration = Duration::from_secs(15);
/// How long a loss of packets or records keeps the health degraded.
const LOSS_SHOWN_FOR: Duration = Duration::from_secs(60);
/// How long a loss of alerts keeps the health failing.
const ALERT_LOSS_SHOWN_FOR: Duration = Duration::from_secs(600);

impl Shared {
    /// A view on these parts, in observe mode and without lists.
    pub(crate) fn new(store: Arc<Store>, live: Live, figures: Arc<Figures>) -> Self {
        Self {
            started: Instant::now(),
            store,
            live,
            figures,
            book: Mutex::new(None),
            mode: Mutex::new(Mode::Observe),
            stats: Mutex::default(),
            checks: Mutex::default(),
            recent: Mutex::default(),
            load: Mutex::default(),
            stopping: watch::Sender::new(false),
        }
    }

    /// Whether blocks take effect.
    pub(crate) fn mode(&self) -> Mode {
        *lock(&self.mode)
    }

    /// Says whether blocks take effect.
    pub(crate) fn set_mode(&self, mode: Mode) {
        *lock(&self.mode) = mode;
    }

    /// Gives the API the lists.
    pub(crate) fn set_book(&self, book: Book) {
        *lock(&self.book) = Some(book);
    }

    /// Runs `work` on the latest events about packets.
    pub(crate) fn with_recent<T>(&self, work: impl FnOnce(&mut Recent) -> T) -> T {
        work(&mut lock(&self.recent))
    }

    /// Runs `work` on the lists, or returns `None` if there are none.
    pub(crate) fn with_book<T>(&self, work: impl FnOnce(&mut Book) -> T) -> Option<T> {
        lock(&self.book).as_mut().map(work)
    }

    /// Publishes the figures of the pipeline; to be called every few seconds at least.
    pub(crate) fn publish_stats(&self, snapshot: StatsSnapshot) {
        let mut published = lock(&self.stats);
        if snapshot.lost() > published.snapshot.lost() {
            published.lost_at = Some(Instant::now());
        }
        if snapshot.facts_lost > published.snapshot.facts_lost {
            published.facts_lost_at = Some(Instant::now());
        }
        published.snapshot = snapshot;
        published.at = Some(Instant::now());
    }

    /// Whether the pipeline once reported, and no longer does.
    pub(crate) fn stands_still(&self) -> bool {
        lock(&self.stats).at.is_some_and(|at| at.elapsed() > STALE_AFTER)
    }

    /// The figures published last.
    pub(crate) fn stats(&self) -> StatsSnapshot {
        lock(&self.stats).snapshot.clone()
    }

    /// Publishes run times of the kernel programs, and how full their maps are.
    pub(crate) fn set_load(&self, load: KernelLoad) {
        *lock(&self.load) = load;
    }

    /// What was published last.
    pub(crate) fn load(&self) -> KernelLoad {
        lock(&self.load).clone()
    }

    /// Sets a line of the health, such as `xdp eth0`.
    pub(crate) fn set_check(&self, name: &str, status: Status, detail: impl Into<String>) {
        lock(&self.checks).insert(name.to_owned(), Check { status, detail: detail.into() });
    }

    /// Every line of the health.
    pub(crate) fn checks(&self) -> BTreeMap<String, Check> {
        let mut checks = lock(&self.checks).clone();
        let mut add = |name: &str, (status, detail): (Status, String)| {
            checks.insert(name.to_owned(), Check { status, detail });
        };
        add("capture", self.capture());
        add("behaviour", self.behaviour());
        add("alerts", self.alerts());
        add("store", output(self.figures.store_error()));
        add("alert_file", output(self.figures.file_error()));
        add("blocklist", self.blocklist());
        checks
    }

    fn capture(&self) -> (Status, String) {
        let published = lock(&self.stats);
        match (published.at, published.lost_at) {
            (None, _) => {
                (Status::Failing, "nothing is captured: the pipeline has not reported yet".to_owned())
            }
            (Some(at), _) if at.elapsed() > STALE_AFTER => {
                (Status::Failing, format!("the pipeline has not reported for {} s", at.elapsed().as_secs()))
            }
            (_, Some(lost)) if lost.elapsed() < LOSS_SHOWN_FOR => (
                Status::Degraded,
                format!(
                    "{} segments were lost so far, the last a moment ago: raise capture.ring_bytes or lower \
                     capture.sample",
                    published.snapshot.lost()
                ),
            ),
            _ => (Status::Ok, "segments are captured and inspected".to_owned()),
        }
    }

    fn behaviour(&self) -> (Status, String) {
        let published = lock(&self.stats);
        let snapshot = &published.snapshot;
        let of =
            |name: &str| snapshot.actors.iter().find(|(known, ..)| *known == name).map_or(0, |known| known.2);
        match published.facts_lost_at {
            _ if snapshot.actors.is_empty() => {
                (Status::Ok, "clients are not remembered: `actors.enabled`".to_owned())
            }
            Some(lost) if lost.elapsed() < LOSS_SHOWN_FOR => (
                Status::Degraded,
                format!(
                    "{} transactions were left out so far, the last a moment ago: raise actors.queue",
                    snapshot.facts_lost
                ),
            ),
            _ => (
                Status::Ok,
                format!("{} clients and {} routes are remembered", of("clients_now"), of("routes_now")),
            ),
        }
    }

    fn alerts(&self) -> (Status, String) {
        let lost = self.figures.lost();
        match self.figures.lost_ago() {
            Some(ago) if ago < ALERT_LOSS_SHOWN_FOR => (
                Status::Failing,
                format!(
                    "{lost} alerts were lost, the last {} s ago: see the sensor_alerts metrics",
                    ago.as_secs()
                ),
            ),
            _ => (Status::Ok, format!("{lost} alerts were lost since the start")),
        }
    }

    fn blocklist(&self) -> (Status, String) {
        match self.with_book(|book| book.suspended()) {
            None => (Status::Degraded, "the kernel's lists are not open: nothing is blocked".to_owned()),
            Some(Err(error)) => (Status::Failing, format!("{error:#}")),
            Some(Ok(true)) => {
                (Status::Degraded, "automatic blocks are suspended: `sensor-agent panic --resume`".to_owned())
            }
            Some(Ok(false)) => (Status::Ok, "the kernel's lists are open".to_owned()),
        }
    }

    /// Ends what would otherwise never end: live streams.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Becomes true when the agent stops.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }
}

fn output(error: Option<String>) -> (Status, String) {
    match error {
        Some(error) => (Status::Failing, format!("alerts wait in memory: {error}")),
        None => (Status::Ok, "alerts are written".to_owned()),
    }
}

/// What these locks guard is replaced whole, so a panic elsewhere leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
