//! The thread that writes alerts: the store first, so that an alert is on disk before anybody hears of it, then the
//! file, then the live listeners. A disk that fails stops neither the thread nor the other outputs.

use std::collections::VecDeque;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use sensor_engine::policy::{Action, Mode};
use tokio::sync::broadcast;

use super::backlog::Backlog;
use super::eve::{self, Frame};
use super::file::LineFile;
use super::interfaces::Interfaces;
use super::rollup::Rollup;
use crate::attribution::{Attribution, Ender, Tally};
use crate::clock::WallClock;
use crate::config::Alerts;
use crate::pipeline::Delivered;
use crate::store::{Row, Store};

/// Reports written in one batch, and so in one commit.
const BATCH: usize = 256;
/// Longest wait for a report before windows, retries and signals are looked after.
const TICK: Duration = Duration::from_millis(200);
/// Events about packets that may wait for the file.
const EVENT_QUEUE: usize = 4096;
/// Alerts kept in memory while a disk does not take them.
const MAX_UNWRITTEN: usize = 10_000;
/// Alerts that a live listener may lag behind before it is cut off and must resume from the store.
pub(crate) const LIVE_LAG: usize = 1024;

/// Where live listeners subscribe.
pub(crate) type Live = broadcast::Sender<Arc<Row>>;

/// What the output works with.
pub(crate) struct Setup {
    /// The database.
    pub(crate) store: Arc<Store>,
    /// The alert file and the roll-up.
    pub(crate) alerts: Alerts,
    /// Reports that may wait.
    pub(crate) queue: usize,
    /// Finds the processes behind connections.
    pub(crate) attribution: Attribution,
}

macro_rules! figures {
    ($($(#[doc = $help:literal])* $name:ident,)*) => {
        /// What was counted. `made = stored + unstored + store_lost`.
        #[derive(Debug, Default)]
        pub(crate) struct Figures {
            $($(#[doc = $help])* pub(crate) $name: AtomicU64,)*
            last_loss: Mutex<Option<Instant>>,
            store_error: Mutex<Option<String>>,
            file_error: Mutex<Option<String>>,
        }

        impl Figures {
            /// Name, help and value of each figure.
            pub(crate) fn named(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($help),*).trim_ascii(), self.$name.load(Relaxed))),*]
            }
        }
    };
}

figures! {
    /// Reports taken from the engines.
    accepted,
    /// Reports lost because the queue was full.
    queue_lost,
    /// Reports rolled up into another alert.
    suppressed,
    /// Alerts made, one for each report that was not rolled up and one for each roll-up.
    made,
    /// Alerts on disk in the store.
    stored,
    /// Alerts waiting for the store.
    unstored,
    /// Alerts that the store never took.
    store_lost,
    /// Alerts in the alert file.
    filed,
    /// Alerts waiting for the alert file.
    unfiled,
    /// Alerts that the alert file never took.
    file_lost,
    /// Events about packets in the alert file.
    events_filed,
    /// Connections that were ended because a rule asks for that.
    connections_ended,
    /// Connections that a rule wanted ended, and that were over or are not of this host.
    connections_over,
    /// Connections that the kernel did not end.
    connections_not_ended,
    /// Events about packets that the alert file did not take.
    events_lost,
    /// Alerts whose process was seen accepting the connection.
    attributed_by_accept,
    /// Alerts whose process the kernel's socket tables named.
    attributed_by_sock_diag,
    /// Alerts whose process was looked for and not found.
    unattributed,
    /// Questions that the kernel's socket tables answered with an error.
    attribution_failed,
    /// Processes behind alerts that were in the cache.
    process_cache_hits,
    /// Processes behind alerts that had to be read.
    process_cache_misses,
    /// Processes that made room for others in the cache.
    process_cache_evictions,
    /// Processes in the cache.
    processes_cached,
}

impl Figures {
    /// How long ago an alert was lost, if one was.
    pub(crate) fn lost_ago(&self) -> Option<Duration> {
        get(&self.last_loss).map(|at| at.elapsed())
    }

    /// Why the store takes nothing at the moment, if so.
    pub(crate) fn store_error(&self) -> Option<String> {
        get(&self.store_error)
    }

    /// Why the alert file takes nothing at the moment, if so.
    pub(crate) fn file_error(&self) -> Option<String> {
        get(&self.file_error)
    }

    /// Alerts lost for whatever reason.
    pub(crate) fn lost(&self) -> u64 {
        [&self.queue_lost, &self.store_lost, &self.file_lost].iter().map(|lost| lost.load(Relaxed)).sum()
    }

    /// Says how many reports the engine threads could not leave in the queue so far.
    pub(crate) fn set_queue_lost(&self, total: u64) {
        if self.queue_lost.swap(total, Relaxed) < total {
            set(&self.last_loss, Some(Instant::now()));
        }
    }

    fn set_attribution(&self, tally: Tally) {
        for (figure, value) in [
            (&self.attributed_by_accept, tally.by_accept),
            (&self.attributed_by_sock_diag, tally.by_sock_diag),
            (&self.unattributed, tally.unknown),
            (&self.attribution_failed, tally.failed),
            (&self.process_cache_hits, tally.cache_hits),
            (&self.process_cache_misses, tally.cache_misses),
            (&self.process_cache_evictions, tally.cache_evictions),
            (&self.processes_cached, tally.cached),
        ] {
            figure.store(value, Relaxed);
        }
    }

    fn count_loss(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
        set(&self.last_loss, Some(Instant::now()));
    }
}

fn get<T: Clone>(value: &Mutex<T>) -> T {
    value.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn set<T>(value: &Mutex<T>, new: T) {
    *value.lock().unwrap_or_else(PoisonError::into_inner) = new;
}

/// The running output.
#[derive(Debug)]
pub(crate) struct Output {
    reports: SyncSender<Delivered>,
    events: SyncSender<String>,
    figures: Arc<Figures>,
    live: Live,
    stop: Arc<AtomicBool>,
    reopen: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Output {
    /// Starts the thread.
    pub(crate) fn start(setup: Setup) -> anyhow::Result<Self> {
        let (sender, receiver) = sync_channel(setup.queue);
        let (events, lines) = sync_channel(EVENT_QUEUE);
        let figures = Arc::new(Figures::default());
        let (live, _) = broadcast::channel(LIVE_LAG);
        let (stop, reopen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let writer = Writer::new(setup, lines, figures.clone(), live.clone())?;
        let (stopped, reopened) = (stop.clone(), reopen.clone());
        let thread = std::thread::Builder::new()
            .name("alerts".to_owned())
            .spawn(move || writer.run(&receiver, &stopped, &reopened))
            .context("the alert thread cannot be started")?;
        Ok(Self { reports: sender, events, figures, live, stop, reopen, thread: Some(thread) })
    }

    /// Where engines leave their reports.
    pub(crate) fn reports(&self) -> SyncSender<Delivered> {
        self.reports.clone()
    }

    /// Where lines about packets are left for the alert file; they are no alerts, and are in no store.
    pub(crate) fn events(&self) -> SyncSender<String> {
        self.events.clone()
    }

    /// Where live listeners subscribe.
    pub(crate) fn live(&self) -> Live {
        self.live.clone()
    }

    /// What was counted.
    pub(crate) fn figures(&self) -> Arc<Figures> {
        self.figures.clone()
    }

    /// Opens the alert file again, for external rotation.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Relaxed);
    }

    /// Writes what is waiting, then ends the thread.
    pub(crate) fn stop(mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the alert thread panicked");
        }
    }
}

struct Writer {
    store: Arc<Store>,
    file: Option<LineFile>,
    rollup: Rollup,
    interfaces: Interfaces,
    attribution: Attribution,
    ender: Ender,
    clock: WallClock,
    next_id: u64,
    unstored: Backlog<Arc<Row>>,
    unfiled: Backlog<Arc<Row>>,
    unannounced: VecDeque<Arc<Row>>,
    events: Receiver<String>,
    figures: Arc<Figures>,
    live: Live,
}

impl Writer {
    fn new(
        setup: Setup,
        events: Receiver<String>,
        figures: Arc<Figures>,
        live: Live,
    ) -> anyhow::Result<Self> {
        let alerts = &setup.alerts;
        let file =
            alerts.file.as_ref().map(|path| LineFile::new(path, alerts.max_file_bytes, alerts.keep_files));
        Ok(Self {
            next_id: setup.store.next_id()?,
            store: setup.store,
            file,
            rollup: Rollup::new(alerts.burst),
            interfaces: Interfaces::default(),
            attribution: setup.attribution,
            ender: Ender::default(),
            clock: WallClock::measure(),
            unstored: Backlog::new(MAX_UNWRITTEN),
            unfiled: Backlog::new(MAX_UNWRITTEN),
            unannounced: VecDeque::new(),
            events,
            figures,
            live,
        })
    }

    fn run(mut self, queue: &Receiver<Delivered>, stop: &AtomicBool, reopen: &AtomicBool) {
        loop {
            let stopping = stop.load(Relaxed);
            let first = if stopping { queue.try_recv().ok() } else { wait(queue) };
            let drained = first.is_none();
            self.clock = WallClock::measure();
            for report in first.into_iter().chain(queue.try_iter()).take(BATCH) {
                self.take(report);
            }
            if reopen.swap(false, Relaxed) {
                self.reopen();
            }
            if stopping && drained {
                return self.finish();
            }
            self.close_windows();
            self.write();
        }
    }

    fn take(&mut self, report: Delivered) {
        self.figures.accepted.fetch_add(1, Relaxed);
        self.close_windows();
        let ends = report.report.verdict.action == Action::Kill(Mode::Enforce);
        let (client, server) = (report.report.client, report.report.server);
        match self.rollup.admit(report, Instant::now()) {
            Some(report) => self.make(&report, 0),
            None => {
                self.figures.suppressed.fetch_add(1, Relaxed);
            }
        }
        // Behind the alert, for which the process is looked up by the socket.
        if ends {
            self.end(client, server);
        }
    }

    fn end(&mut self, client: SocketAddr, server: SocketAddr) {
        let figure = match self.ender.end(client, server) {
            Ok(true) => &self.figures.connections_ended,
            Ok(false) => &self.figures.connections_over,
            Err(error) => {
                tracing::error!(%client, "a connection is not ended: {error:#}");
                &self.figures.connections_not_ended
            }
        };
        figure.fetch_add(1, Relaxed);
    }

    fn close_windows(&mut self) {
        while let Some(rolled_up) = self.rollup.closed(Instant::now()) {
            self.make(&rolled_up.report, rolled_up.suppressed);
        }
    }

    /// Makes an alert of a report and queues it for every output.
    fn make(&mut self, delivered: &Delivered, suppressed: u64) {
        let report = &delivered.report;
        let id = self.next_id;
        self.next_id += 1;
        let interface = self.interfaces.name(report.interface);
        let process = self.attribution.of(report.client, report.server);
        self.figures.set_attribution(self.attribution.tally());
        let frame = Frame { id, clock: self.clock, interface, process: process.as_ref(), suppressed };
        let row = Arc::new(Row {
            id,
            time_us: self.clock.at(report.time).as_microsecond(),
            class: report.verdict.class,
            severity: report.verdict.severity,
            source: report.identity.address,
            event: eve::event(delivered, frame),
            owner: process.map(Into::into).unwrap_or_default(),
        });
        self.figures.made.fetch_add(1, Relaxed);
        if !self.unstored.push(row.clone()) {
            self.figures.count_loss(&self.figures.store_lost);
        }
        if self.file.is_some() && !self.unfiled.push(row.clone()) {
            self.figures.count_loss(&self.figures.file_lost);
        }
        self.unannounced.push_back(row);
    }

    fn write(&mut self) {
        self.write_store();
        self.write_file();
        self.write_events();
        for row in self.unannounced.drain(..) {
            // Fails when nobody listens, which is no failure.
            let _ = self.live.send(row);
        }
    }

    fn write_store(&mut self) {
        let store = &self.store;
        match self.unstored.drain(Instant::now(), |rows| store.insert(rows)) {
            Some(Ok(written)) => {
                self.figures.stored.fetch_add(written as u64, Relaxed);
                report_health(&self.figures.store_error, "the alert store", None);
            }
            Some(Err(error)) => {
                report_health(&self.figures.store_error, "the alert store", Some(&format!("{error:#}")));
            }
            None => {}
        }
        self.figures.unstored.store(self.unstored.len() as u64, Relaxed);
    }

    /// Events about packets are samples: one that the disk does not take is counted and gone.
    fn write_events(&mut self) {
        let lines = self.events.try_iter().take(BATCH);
        let Some(file) = &mut self.file else {
            lines.for_each(drop);
            return;
        };
        for line in lines {
            let counter = if file.write(&line).is_ok() {
                &self.figures.events_filed
            } else {
                &self.figures.events_lost
            };
            counter.fetch_add(1, Relaxed);
        }
    }

    fn write_file(&mut self) {
        let Some(file) = &mut self.file else { return };
        let filed = &self.figures.filed;
        let mut done = 0;
        let result = self.unfiled.drain(Instant::now(), |rows| {
            rows.iter().try_for_each(|row| {
                file.write(&row.event)?;
                done += 1;
                Ok::<_, std::io::Error>(())
            })
        });
        filed.fetch_add(done as u64, Relaxed);
        match result {
            Some(Ok(_)) => report_health(&self.figures.file_error, "the alert file", None),
            Some(Err(error)) => {
                self.unfiled.forget(done);
                report_health(&self.figures.file_error, "the alert file", Some(&error));
            }
            None => {}
        }
        self.figures.unfiled.store(self.unfiled.len() as u64, Relaxed);
    }

    fn reopen(&mut self) {
        if let Some(file) = &mut self.file {
            file.reopen();
        }
        self.unfiled.retry_now();
        self.unstored.retry_now();
    }

    fn finish(mut self) {
        while let Some(rolled_up) = self.rollup.close_any() {
            self.make(&rolled_up.report, rolled_up.suppressed);
        }
        self.unstored.retry_now();
        self.unfiled.retry_now();
        self.write();
        let (unstored, unfiled) = (self.unstored.len(), self.unfiled.len());
        if unstored + unfiled > 0 {
            tracing::error!(unstored, unfiled, "alerts could not be written before the end");
        }
    }
}

/// The next report, or nothing after a tick. Without senders a tick still takes its time.
fn wait(queue: &Receiver<Delivered>) -> Option<Delivered> {
    match queue.recv_timeout(TICK) {
        Ok(report) => Some(report),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => {
            std::thread::sleep(TICK);
            None
        }
    }
}

/// Remembers why an output fails; logs the change, not every attempt.
fn report_health(slot: &Mutex<Option<String>>, what: &str, error: Option<&dyn Display>) {
    let before = get(slot);
    match (before.is_some(), error) {
        (false, Some(error)) => tracing::error!("{what} takes no alerts, they wait in memory: {error}"),
        (true, None) => tracing::info!("{what} takes alerts again"),
        _ => {}
    }
    let now = error.map(ToString::to_string);
    if before != now {
        set(slot, now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::eve::tests::delivered;
    use super::*;
    use crate::config::Config;
    use crate::store::Filter;

    fn setup(dir: &std::path::Path, queue: usize, burst: u32) -> Setup {
        let store = Arc::new(Store::open(&dir.join("sensor.db"), 1000).unwrap().store);
        let file = Some(dir.join("eve.json"));
        let alerts = Alerts { file, burst, ..Config::default().alerts };
        Setup { store, alerts, queue, attribution: Attribution::off() }
    }

    fn ids(store: &Store) -> Vec<u64> {
        store.after(0, &Filter::default(), 1000).unwrap().iter().map(|stored| stored.id).collect()
    }

    fn lines(path: &std::path::Path) -> usize {
        std::fs::read_to_string(path).unwrap_or_default().lines().count()
    }

    #[test]
    fn an_alert_is_on_disk_before_it_is_announced() {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path(), 16, 100);
        let store = setup.store.clone();
        let output = Output::start(setup).unwrap();
        let mut live = output.live().subscribe();
        for n in 0..5 {
            output.reports().send(delivered("192.0.2.1", n)).unwrap();
            let heard = live.blocking_recv().unwrap();
            assert!(ids(&store).contains(&heard.id));
            assert_eq!(lines(&dir.path().join("eve.json")), n as usize + 1);
        }
        output.stop();
        assert_eq!(ids(&store), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn stopping_writes_what_is_waiting_and_every_report_is_accounted_for() {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path(), 5000, 3);
        let store = setup.store.clone();
        let output = Output::start(setup).unwrap();
        for n in 0..1000 {
            output.reports().send(delivered("192.0.2.1", n)).unwrap();
        }
        let figures = output.figures();
        output.stop();
        let stored = store.after(0, &Filter::default(), 1000).unwrap();
        let suppressed: u64 = stored
            .iter()
            .map(|s| serde_json::from_str::<serde_json::Value>(&s.event).unwrap())
            .filter_map(|event| event["sensor"]["suppressed"].as_u64())
            .sum();
        assert_eq!(figures.accepted.load(Relaxed), 1000);
        assert_eq!((suppressed, figures.suppressed.load(Relaxed)), (997, 997));
        assert_eq!(stored.len(), 4);
    }

    #[test]
    fn losses_of_the_queue_are_remembered_when_they_grow() {
        let figures = Figures::default();
        figures.set_queue_lost(0);
        assert!(figures.lost_ago().is_none());
        figures.set_queue_lost(3);
        assert!(figures.lost_ago().is_some());
        assert_eq!(figures.lost(), 3);
    }

    #[test]
    fn a_failing_file_stops_neither_store_nor_listeners_and_heals() {
        let dir = tempfile::tempdir().unwrap();
        let mut setup = setup(dir.path(), 16, 100);
        let path = dir.path().join("sub/eve.json");
        std::fs::write(dir.path().join("sub"), "a file where the directory should be").unwrap();
        setup.alerts.file = Some(path.clone());
        let store = setup.store.clone();
        let output = Output::start(setup).unwrap();
        let mut live = output.live().subscribe();
        output.reports().send(delivered("192.0.2.1", 1)).unwrap();
        assert_eq!(live.blocking_recv().unwrap().id, 1);
        assert_eq!(ids(&store), [1]);
        assert!(output.figures().file_error().is_some());
        std::fs::remove_file(dir.path().join("sub")).unwrap();
        output.reopen();
        output.reports().send(delivered("192.0.2.1", 2)).unwrap();
        live.blocking_recv().unwrap();
        assert_eq!(lines(&path), 2, "nothing was lost");
        assert_eq!(output.figures().file_error(), None);
        output.stop();
    }

    #[test]
    fn a_locked_store_keeps_alerts_waiting_and_loses_none() {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path(), 16, 100);
        let store = setup.store.clone();
        let output = Output::start(setup).unwrap();
        let mut live = output.live().subscribe();
        let held = crate::store::hold(&dir.path().join("sensor.db"));
        output.reports().send(delivered("192.0.2.1", 1)).unwrap();
        assert_eq!(live.blocking_recv().unwrap().id, 1, "listeners hear of it all the same");
        assert_eq!(lines(&dir.path().join("eve.json")), 1);
        assert!(output.figures().store_error().is_some());
        drop(held);
        output.stop();
        assert_eq!(ids(&store), [1]);
    }
}
