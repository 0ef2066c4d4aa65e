//! How the sensor is, and what it has seen: every packet and record in exactly one outcome.

use std::collections::BTreeMap;

use axum::Json;
use sensor_engine::policy::Mode;
use serde::Serialize;

use super::State;
use crate::kernel::gauges::KernelLoad;
use crate::shared::{Check, Shared, StatsSnapshot, Status};

/// `GET /api/security/health`.
pub(super) async fn health(api: State) -> Json<Health> {
    Json(Health::of(&api.shared))
}

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    status: Status,
    mode: &'static str,
    version: &'static str,
    uptime_secs: u64,
    checks: BTreeMap<String, Check>,
    capture: Capture,
    kernel: KernelLoad,
    alerts: BTreeMap<&'static str, u64>,
}

/// Figures along the way of the data: `seen = delivered + dropped + in_rings`, where `dropped` names everything that the
/// tap did not record, most of it on purpose. In each stage, `seen` is the sum of the outcomes.
#[derive(Debug, Serialize)]
struct Capture {
    seen: u64,
    delivered: u64,
    dropped: BTreeMap<&'static str, u64>,
    in_rings: u64,
    xdp: Stage,
    tap: Stage,
    engine: Engines,
    pipeline: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct Stage {
    seen: u64,
    lost: u64,
    outcomes: BTreeMap<&'static str, u64>,
    others: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct Engines {
    records: u64,
    accepted: u64,
    malformed: u64,
    others: BTreeMap<&'static str, u64>,
}

impl Health {
    fn of(shared: &Shared) -> Self {
        let checks = shared.checks();
        let stats = shared.stats();
        Self {
            status: checks.values().map(|check| check.status).max().unwrap_or(Status::Ok),
            mode: match shared.mode() {
                Mode::Observe => "observe",
                Mode::Enforce => "enforce",
            },
            version: env!("CARGO_PKG_VERSION"),
            uptime_secs: shared.started.elapsed().as_secs(),
            checks,
            capture: capture(&stats),
            kernel: shared.load(),
            alerts: shared.figures.named().into_iter().map(|(name, _, value)| (name, value)).collect(),
        }
    }
}

/// The outcome of a packet that goes to an engine.
const RECORDED: &str = "recorded";

fn capture(stats: &StatsSnapshot) -> Capture {
    let tap = stage(stats, "tap");
    let mut dropped = tap.outcomes.clone();
    let recorded = dropped.remove(RECORDED).unwrap_or(0);
    // Counters are read one by one while packets pass, so that a record may be delivered before it is seen recorded.
    let delivered = stats.delivered.min(recorded);
    Capture {
        seen: tap.seen,
        delivered,
        dropped,
        in_rings: recorded - delivered,
        xdp: stage(stats, "xdp"),
        tap,
        engine: engines(stats),
        pipeline: stats.pipeline.iter().map(|(name, _, value)| (*name, *value)).collect(),
    }
}

fn stage(stats: &StatsSnapshot, program: &str) -> Stage {
    let counters = || stats.kernel.iter().filter(|counter| counter.program == program);
    let values = |outcome| counters().filter(|c| c.outcome == outcome).map(|c| (c.name, c.value)).collect();
    let outcomes: BTreeMap<_, _> = values(true);
    Stage {
        seen: outcomes.values().sum(),
        lost: counters().filter(|counter| counter.loss).map(|counter| counter.value).sum(),
        outcomes,
        others: values(false),
    }
}

fn engines(stats: &StatsSnapshot) -> Engines {
    let mut others = BTreeMap::new();
    for (name, _, value) in stats.engines.iter().flat_map(|engine| &engine.named) {
        *others.entry(*name).or_insert(0) += value;
    }
    Engines {
        records: stats.engines.iter().map(|engine| engine.records).sum(),
        accepted: stats.engines.iter().map(|engine| engine.accepted).sum(),
        malformed: stats.engines.iter().map(|engine| engine.record_malformed).sum(),
        others,
    }
}
