//! What must be done from time to time while the agent runs: figures published, interfaces followed, exemptions kept in
//! line with the host, expired entries swept. Each has its own pace.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sensor_common::counter::{TapCounter, XdpCounter};

use sensor_engine::rule::RuleFigures;

use crate::kernel::counters::KernelCounts;
use crate::kernel::gauges::Gauges;
use crate::pipeline::{Latency, Pipeline, Snapshot, WholeStats, WorkerStats};
use crate::sampling::{Level, Sampling};
use crate::shared::{KernelCounter, Shared, StatsSnapshot, Status};
use crate::watch::Watch;

/// Changes of interfaces are told at once; this is for what was attached and is no longer in place.
const FOLLOW_EVERY: Duration = Duration::from_secs(4);
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
const PROTECT_EVERY: Duration = Duration::from_secs(10);
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// When each chore was done last.
#[derive(Default)]
pub(crate) struct Tend {
    followed: Option<Instant>,
    protected: Option<Instant>,
    swept: Option<Instant>,
    watch: Option<Watch>,
    sampling: Option<Sampling>,
    sampled: Option<Instant>,
    gauges: Option<Gauges>,
}

impl Tend {
    /// Chores that include watching what the kernel tells of packets.
    pub(crate) fn with_watch(watch: Option<Watch>) -> Self {
        Self { watch, ..Self::default() }
    }

    /// Reads these gauges from now on.
    pub(crate) fn set_gauges(&mut self, gauges: Gauges) {
        self.gauges = Some(gauges);
    }

    /// The watcher, if its maps could be opened.
    pub(crate) fn watch(&mut self) -> Option<&mut Watch> {
        self.watch.as_mut()
    }

    /// Between which shares of the connections are inspected.
    pub(crate) fn set_sampling(&mut self, most: f64, least: f64) {
        match &mut self.sampling {
            Some(sampling) => sampling.configure(most, least),
            None => self.sampling = Some(Sampling::new(most, least)),
        }
    }

    /// Does what is due.
    pub(crate) fn tend(&mut self, pipeline: &mut Pipeline, shared: &Shared) {
        publish(pipeline, shared);
        if due(&mut self.sampled, SAMPLE_EVERY)
            && let Some(sampling) = &mut self.sampling
        {
            sample(sampling, pipeline, shared);
        }
        if let Some(gauges) = &mut self.gauges {
            shared.set_load(gauges.read());
        }
        if let Some(watch) = &mut self.watch {
            watch.look(shared);
        }
        if due(&mut self.followed, FOLLOW_EVERY) {
            self.follow(pipeline, shared);
        }
        if due(&mut self.protected, PROTECT_EVERY) {
            protect(pipeline, shared);
        }
        if due(&mut self.swept, SWEEP_EVERY)
            && let Err(error) = pipeline.sensor().sweep()
        {
            tracing::warn!("expired entries cannot be removed: {error:#}");
        }
    }
}

impl Tend {
    /// Follows the interfaces now.
    pub(crate) fn follow(&mut self, pipeline: &mut Pipeline, shared: &Shared) {
        self.followed = Some(Instant::now());
        follow(pipeline, shared);
        if let Some(gauges) = &mut self.gauges {
            gauges.look_also_at(pipeline.sensor().programs());
        }
    }
}

fn due(last: &mut Option<Instant>, every: Duration) -> bool {
    let due = last.is_none_or(|last| last.elapsed() >= every);
    if due {
        *last = Some(Instant::now());
    }
    due
}

/// Inspects less while records are lost, and more again after.
fn sample(sampling: &mut Sampling, pipeline: &mut Pipeline, shared: &Shared) {
    if let Some(Level { share, trimmed }) = sampling.second(shared.stats().lost()) {
        tracing::warn!(share, trimmed, "how much is inspected has changed: see `capture.least_sample`");
        pipeline.trim_bodies(trimmed);
        if let Err(error) = pipeline.sensor().set_sample(share) {
            tracing::error!("the share of the connections cannot be changed: {error:#}");
        }
    }
    let level = sampling.level();
    let percent = level.share * 100.0;
    let (status, detail) = if level.share == 0.0 && sampling.is_lowered() {
        (Status::Failing, "the rings overflow: nothing new is inspected, only blocks are enforced".to_owned())
    } else if sampling.is_lowered() {
        let detail = "of the connections are inspected, with trimmed bodies: the rings overflowed";
        (Status::Degraded, format!("{percent:.1} % {detail}"))
    } else {
        (Status::Ok, format!("{percent:.1} % of the connections are inspected, as configured"))
    };
    shared.set_check("sampling", status, detail);
}

fn publish(pipeline: &mut Pipeline, shared: &Shared) {
    let dead = pipeline.dead_workers();
    let (status, detail) = match dead {
        0 => (Status::Ok, "every engine thread runs".to_owned()),
        _ => (
            Status::Failing,
            format!("{dead} engine threads have ended: restart the agent, and report its log"),
        ),
    };
    shared.set_check("engines", status, detail);
    match pipeline.snapshot() {
        Ok(snapshot) => {
            let mut stats = stats(&snapshot);
            stats.sample = pipeline.sensor().sample();
            let restored = pipeline.sensor().restored();
            stats.pipeline.push(("hooks_restored", "Hooks found empty and attached again", restored));
            stats.pipeline.extend(shared.with_recent(|recent| {
                [
                    ("drop_samples", "Samples of blocked packets taken", recent.drops_seen),
                    (
                        "abuse_reports",
                        "Sources reported for floods of connection attempts",
                        recent.abuse_seen,
                    ),
                    ("packet_events_lost", "Events about packets that found no room", recent.events_lost),
                ]
            }));
            let lost = threads(&snapshot).map(|thread| thread.reports_lost).sum();
            shared.figures.set_queue_lost(lost);
            shared.set_check("inspection", Status::Ok, encrypted(&stats));
            shared.publish_stats(stats);
        }
        Err(error) => tracing::warn!("the kernel's counters cannot be read: {error:#}"),
    }
}

/// What goes by unread. It is nobody's mistake, so that it is no failure; and nobody shall take it for clean.
fn encrypted(stats: &StatsSnapshot) -> String {
    let tap = stats
        .kernel
        .iter()
        .filter(|counter| (counter.program, counter.name) == ("tap", TapCounter::Tls.name()));
    let segments: u64 = tap.map(|counter| counter.value).sum();
    let connections: u64 = stats.engines.iter().map(|engine| engine.named("encrypted_connections")).sum();
    if segments + connections == 0 {
        return "no encrypted traffic was seen".to_owned();
    }
    format!(
        "not inspected because encrypted: {segments} segments, {connections} connections on HTTP ports; the sensor belongs where TLS ends"
    )
}

fn follow(pipeline: &mut Pipeline, shared: &Shared) {
    let problems = pipeline.sensor().follow_interfaces();
    let attached: Vec<_> = pipeline
        .sensor()
        .attachments()
        .iter()
        .map(|attachment| {
            let notes: Vec<_> =
                [&attachment.why, &attachment.replaced].into_iter().flatten().cloned().collect();
            let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
            format!("{}: XDP {}{notes}, tap {}", attachment.interface, attachment.xdp, attachment.tap)
        })
        .collect();
    let (status, detail) = match (problems.is_empty(), attached.is_empty()) {
        (true, false) => (Status::Ok, attached.join("; ")),
        (true, true) => (Status::Failing, "attached to no interface".to_owned()),
        (false, _) => (Status::Degraded, [problems, attached].concat().join("; ")),
    };
    shared.set_check("interfaces", status, detail);
}

fn protect(pipeline: &mut Pipeline, shared: &Shared) {
    let (status, detail) = match pipeline.sensor().protect() {
        Ok(problems) if problems.is_empty() => {
            (Status::Ok, "own addresses, gateways and resolvers are exempt".to_owned())
        }
        Ok(problems) => (Status::Degraded, format!("not known: {}", problems.join("; "))),
        Err(error) => (Status::Failing, format!("{error:#}")),
    };
    shared.set_check("exemptions", status, detail);
}

/// All threads that block and report.
fn threads(snapshot: &Snapshot) -> impl Iterator<Item = &WorkerStats> {
    snapshot.workers.iter().chain(snapshot.observer.iter().map(|observer| &observer.carried))
}

/// What the threads say of each rule, added up.
fn rules(workers: &[WorkerStats]) -> BTreeMap<String, RuleFigures> {
    let mut sums: BTreeMap<String, RuleFigures> = BTreeMap::new();
    for (info, figures) in workers.iter().flat_map(|worker| &worker.rules) {
        match sums.get_mut(&info.id) {
            Some(sum) => sum.add(figures),
            None => drop(sums.insert(info.id.clone(), *figures)),
        }
    }
    sums
}

fn stats(snapshot: &Snapshot) -> StatsSnapshot {
    let workers = &snapshot.workers;
    let mut latency = Latency::default();
    threads(snapshot).for_each(|thread| latency.merge(&thread.latency));
    let sum = |figure: fn(&WorkerStats) -> u64| threads(snapshot).map(figure).sum();
    StatsSnapshot {
        kernel: kernel(&snapshot.kernel),
        engines: workers.iter().map(|worker| worker.engine.clone()).collect(),
        rules: rules(workers),
        delivered: sum(|worker| worker.delivered),
        rings: snapshot
            .kernel
            .rings
            .iter()
            .map(|lost| (lost.ring, lost.reason.name(), lost.records))
            .collect(),
        sample: 1.0,
        pipeline: vec![
            ("records_adopted", "Records that an earlier agent had left", sum(|worker| worker.adopted)),
            ("blocks_in_force", "Block entries written", sum(|worker| worker.blocks_in_force)),
            (
                "blocks_not_needed",
                "Blocks not written: exempt, kept or over",
                sum(|worker| worker.blocks_not_needed),
            ),
            ("blocks_failed", "Blocks that the kernel refused", sum(|worker| worker.blocks_failed)),
            (
                "bodies_skipped",
                "Rests of bodies that the tap was told to leave out",
                sum(|worker| worker.skips),
            ),
            (
                "watch_failed",
                "Sources that the tap could not be told to watch",
                sum(|worker| worker.watch_failed),
            ),
            ("engine_panics", "Times that an engine panicked and was replaced", sum(|worker| worker.panics)),
            (
                "facts_lost",
                "Transactions that found no room in the observer's queue",
                sum(|worker| worker.facts_lost),
            ),
        ]
        .into_iter()
        .chain(whole(workers))
        .collect(),
        latency,
        actors: snapshot.observer.as_ref().map(|observer| observer.named.clone()).unwrap_or_default(),
        facts_lost: sum(|worker| worker.facts_lost),
    }
}

/// Packets that the tap handed over whole.
fn whole(workers: &[WorkerStats]) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
    let sum = |figure: fn(&WholeStats) -> u64| workers.iter().map(|worker| figure(&worker.whole)).sum();
    [
        ("whole_packets", "Packets that the tap handed over whole", sum(|whole| whole.packets.packets)),
        (
            "whole_segments",
            "Whole packets that were or completed a segment",
            sum(|whole| whole.packets.segments),
        ),
        (
            "whole_waiting",
            "Whole packets that were parts and completed nothing",
            sum(|whole| whole.packets.waiting),
        ),
        ("whole_empty", "Whole packets without payload", sum(|whole| whole.packets.empty)),
        ("whole_other", "Whole packets that carry something else than TCP", sum(|whole| whole.packets.other)),
        (
            "whole_unwanted",
            "Whole packets of connections that nobody wants",
            sum(|whole| whole.packets.unwanted),
        ),
        ("whole_malformed", "Whole packets that were cut", sum(|whole| whole.packets.malformed)),
        ("whole_lost", "Segments out of whole packets that found no room", sum(|whole| whole.lost)),
        ("fragments", "Parts of IP datagrams", sum(|whole| whole.parts.parts)),
        ("fragments_duplicate", "Parts that brought nothing new", sum(|whole| whole.parts.duplicates)),
        (
            "fragments_overlapping",
            "Parts that overlapped others: their datagrams were dropped",
            sum(|whole| whole.parts.overlaps),
        ),
        (
            "fragments_malformed",
            "Parts with a place or length that cannot be",
            sum(|whole| whole.parts.malformed),
        ),
        (
            "fragments_scattered",
            "Parts that made too many stretches: their datagrams were dropped",
            sum(|whole| whole.parts.scattered),
        ),
        ("fragments_cut", "Parts that were not captured whole", sum(|whole| whole.parts.cut)),
        ("datagrams", "IP datagrams put together", sum(|whole| whole.parts.datagrams)),
        ("datagrams_evicted", "Incomplete IP datagrams that made room", sum(|whole| whole.parts.evicted)),
        (
            "datagrams_expired",
            "Incomplete IP datagrams whose time was over",
            sum(|whole| whole.parts.expired),
        ),
    ]
    .into_iter()
}

fn kernel(counts: &KernelCounts) -> Vec<KernelCounter> {
    let xdp = counts.xdp.iter().map(|(counter, value)| KernelCounter {
        program: "xdp",
        name: XdpCounter::name(*counter),
        help: counter.help(),
        value: *value,
        outcome: counter.is_outcome(),
        loss: false,
    });
    let tap = counts.tap.iter().map(|(counter, value)| KernelCounter {
        program: "tap",
        name: counter.name(),
        help: counter.help(),
        value: *value,
        outcome: counter.is_outcome(),
        loss: matches!(counter, TapCounter::RingFull | TapCounter::CopyFailed),
    });
    xdp.chain(tap).collect()
}

#[cfg(test)]
mod tests {
    use sensor_common::counter::RingLoss;

    use super::*;
    use crate::kernel::counters::RingLost;

    #[test]
    fn figures_of_all_threads_are_added_up_and_losses_known() {
        let worker = WorkerStats { delivered: 3, blocks_in_force: 1, ..WorkerStats::default() };
        let kernel = KernelCounts {
            xdp: XdpCounter::ALL.iter().map(|counter| (*counter, 1)).collect(),
            tap: TapCounter::ALL.iter().map(|counter| (*counter, 2)).collect(),
            rings: vec![RingLost { ring: 1, reason: RingLoss::Full, records: 2 }],
        };
        let stats = stats(&Snapshot { kernel, workers: vec![worker.clone(), worker], observer: None });
        assert_eq!((stats.delivered, stats.pipeline[1].2), (6, 2));
        assert_eq!(stats.lost(), 4, "a full ring and a failed copy");
        assert_eq!(stats.rings, [(1, "ring_full", 2)]);
        assert!(stats.kernel.iter().any(|counter| !counter.outcome));
    }

    /// Case H35.
    #[test]
    fn h35_encrypted_traffic_is_said_not_to_be_inspected() {
        let quiet = StatsSnapshot::default();
        assert_eq!(encrypted(&quiet), "no encrypted traffic was seen");
        let kernel = KernelCounts { tap: vec![(TapCounter::Tls, 7)], ..KernelCounts::default() };
        let seen = stats(&Snapshot { kernel, workers: Vec::new(), observer: None });
        assert!(encrypted(&seen).starts_with("not inspected because encrypted: 7 segments, "));
    }

    #[test]
    fn a_chore_is_due_at_its_pace() {
        let mut last = None;
        assert!(due(&mut last, Duration::from_secs(60)));
        assert!(!due(&mut last, Duration::from_secs(60)));
        assert!(due(&mut last, Duration::ZERO));
    }
}
