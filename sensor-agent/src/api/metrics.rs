//! The figures for Prometheus, in OpenMetrics text. Labels have values from fixed lists only: nothing that a client
//! sends can make a new time series.

use std::collections::BTreeMap;
use std::fmt;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use sensor_engine::policy::Mode;
use sensor_engine::rule::RuleFigures;

use super::State;
use super::problem::Problem;
use crate::kernel::gauges::KernelLoad;
use crate::pipeline::BOUNDS_US;
use crate::shared::{Check, StatsSnapshot};

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A figure of a rule.
type Figure = fn(&RuleFigures) -> f64;
type Named = Vec<(&'static str, &'static str, u64)>;

/// `GET /metrics`.
pub(super) async fn metrics(api: State) -> Response {
    let shared = &api.shared;
    let store = std::sync::Arc::clone(&shared.store);
    let marks = super::alerts::blocking(move || store.false_positives()).await;
    let snapshot = Snapshot {
        stats: shared.stats(),
        load: shared.load(),
        alerts: shared.figures.named(),
        // Figures that cannot be read are missing, which is told from 0.
        false_positives: marks.unwrap_or_default(),
        checks: shared.checks(),
        enforcing: shared.mode() == Mode::Enforce,
        uptime_secs: shared.started.elapsed().as_secs(),
    };
    let mut registry = Registry::with_prefix("sensor");
    registry.register_collector(Box::new(snapshot));
    let mut body = String::new();
    match text::encode(&mut body, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response(),
        Err(_) => Problem::new(500, "internal", "the metrics could not be written").into_response(),
    }
}

#[derive(Debug)]
struct Snapshot {
    stats: StatsSnapshot,
    load: KernelLoad,
    alerts: Named,
    false_positives: Vec<(String, u64)>,
    checks: BTreeMap<String, Check>,
    enforcing: bool,
    uptime_secs: u64,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        gauge(&mut encoder, "uptime_seconds", "Seconds since the agent started", self.uptime_secs)?;
        gauge(
            &mut encoder,
            "enforcing",
            "1 if blocks take effect, 0 if they are only counted",
            u64::from(self.enforcing),
        )?;
        self.health(&mut encoder)?;
        self.kernel(&mut encoder, "xdp")?;
        self.kernel(&mut encoder, "tap")?;
        self.rings(&mut encoder)?;
        self.engines(&mut encoder)?;
        self.rules(&mut encoder)?;
        for (name, help, value) in &self.stats.pipeline {
            counter(&mut encoder, name, help, *value)?;
        }
        for (name, help, value) in &self.stats.actors {
            let full = format!("actors_{name}");
            match name.strip_suffix("_now") {
                Some(_) => gauge(&mut encoder, &full, help, *value)?,
                None => counter(&mut encoder, &full, help, *value)?,
            }
        }
        counter(&mut encoder, "records_delivered", "Records that reached an engine", self.stats.delivered)?;
        self.latency(&mut encoder)?;
        self.load(&mut encoder)?;
        for (name, help, value) in &self.alerts {
            let name = format!("alerts_{name}");
            // What waits goes down again, the rest only up.
            if ["unstored", "unfiled", "cached"].iter().any(|end| name.ends_with(end)) {
                gauge(&mut encoder, &name, help, *value)?;
            } else {
                counter(&mut encoder, &name, help, *value)?;
            }
        }
        Ok(())
    }
}

impl Snapshot {
    fn health(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "0 if the check is well, 1 if degraded, 2 if failing";
        let mut family = encoder.encode_descriptor("health", help, None, MetricType::Gauge)?;
        for (name, check) in &self.checks {
            let value = ConstGauge::new(i64::from(check.status as u8));
            value.encode(family.encode_family(&[("check", name.as_str())])?)?;
        }
        Ok(())
    }

    fn kernel(&self, encoder: &mut DescriptorEncoder<'_>, program: &str) -> fmt::Result {
        let name = format!("{program}_packets");
        let help = "Packets by what became of them; their sum is the packets seen";
        let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
        for counter in self.stats.kernel.iter().filter(|c| c.program == program && c.outcome) {
            let value = ConstCounter::new(counter.value);
            value.encode(family.encode_family(&[("outcome", counter.name)])?)?;
        }
        for extra in self.stats.kernel.iter().filter(|c| c.program == program && !c.outcome) {
            counter(encoder, &format!("{program}_{}", extra.name), extra.help, extra.value)?;
        }
        Ok(())
    }

    fn rings(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Share of the connections that is inspected";
        let sample = encoder.encode_descriptor("sample_share", help, None, MetricType::Gauge)?;
        ConstGauge::new(self.stats.sample).encode(sample)?;
        let help = "Records that each ring lost, by reason";
        let mut family = encoder.encode_descriptor("ring_lost", help, None, MetricType::Counter)?;
        for (ring, reason, records) in &self.stats.rings {
            let labels = [("ring", ring.to_string()), ("reason", (*reason).to_owned())];
            ConstCounter::new(*records).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn latency(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let latency = &self.stats.latency;
        let bounds = BOUNDS_US.iter().map(|bound| *bound as f64 / 1e6).chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(latency.buckets).collect();
        let count = latency.buckets.iter().sum();
        let help = "From the tap to a block in force";
        let unit = Unit::Seconds;
        let mut metric =
            encoder.encode_descriptor("block_latency", help, Some(&unit), MetricType::Histogram)?;
        metric.encode_histogram::<[(&str, &str); 0]>(latency.sum_ns as f64 / 1e9, count, &buckets, None)
    }

    /// Names are those of our own programs, maps and rings: they carry no address.
    fn load(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let load = &self.load;
        let runs = load.programs.iter().map(|program| (program.name.as_str(), program.runs as f64));
        let help =
            "Runs of a kernel program while the kernel counted them (sensor-agent status --kernel-time)";
        labelled(encoder, ("program_runs", help, MetricType::Counter), "program", runs)?;
        let times = load.programs.iter().map(|program| (program.name.as_str(), program.run_ns as f64 / 1e9));
        let help = "Seconds that those runs took";
        labelled(encoder, ("program_run_seconds", help, MetricType::Counter), "program", times)?;
        let entries = load.maps.iter().map(|map| (map.name.as_str(), map.entries as f64));
        let help = "Entries of a kernel map, counted once a minute";
        labelled(encoder, ("map_entries", help, MetricType::Gauge), "map", entries)?;
        let most = load.maps.iter().map(|map| (map.name.as_str(), map.max_entries as f64));
        labelled(encoder, ("map_max_entries", "Most entries that fit", MetricType::Gauge), "map", most)?;
        let waiting = load.rings.iter().map(|ring| (ring.name.as_str(), ring.waiting_bytes as f64));
        let help = "Bytes of a ring buffer that wait for their reader";
        labelled(encoder, ("ring_waiting_bytes", help, MetricType::Gauge), "ring", waiting)?;
        let sizes = load.rings.iter().map(|ring| (ring.name.as_str(), ring.size_bytes as f64));
        labelled(encoder, ("ring_size_bytes", "Bytes of a ring buffer", MetricType::Gauge), "ring", sizes)
    }

    /// Ids are those of rules that an operator installed: no client makes a new one.
    fn rules(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let figures: [(&str, &str, Figure); 6] = [
            ("rule_errors", "Times that the `when` of a rule went wrong", |rule| rule.errors as f64),
            (
                "rule_candidates",
                "Looks of a rule at a value, because a literal of the rule stood in it",
                |rule| rule.candidates as f64,
            ),
            ("rule_hits", "Looks of a rule that found what it asks for", |rule| rule.hits as f64),
            ("rule_excepted", "Hits of a rule that an exception calls harmless", |rule| rule.excepted as f64),
            ("rule_timed", "Looks of a rule that were timed (detection.rule_timing)", |rule| {
                rule.timed as f64
            }),
            ("rule_timed_seconds", "Seconds that those looks took", |rule| rule.time_ns as f64 / 1e9),
        ];
        for (name, help, figure) in figures {
            let values = self.stats.rules.iter().map(|(id, rule)| (id.as_str(), figure(rule)));
            labelled(encoder, (name, help, MetricType::Counter), "rule", values)?;
        }
        let marks = self.false_positives.iter().map(|(id, count)| (id.as_str(), *count as f64));
        let help = "Alerts of a rule that operators marked as false";
        labelled(encoder, ("rule_false_positives", help, MetricType::Gauge), "rule", marks)
    }

    fn engines(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut sums: Vec<(String, &str, u64)> = Vec::new();
        for engine in &self.stats.engines {
            let fixed = [
                ("records", "Records handed to the engines", engine.records),
                ("accepted", "Records whose segment reached its flow", engine.accepted),
                ("record_malformed", "Records that were no valid record", engine.record_malformed),
            ];
            for (name, help, value) in fixed.iter().chain(&engine.named) {
                match sums.iter_mut().find(|sum| sum.0 == *name) {
                    Some(sum) => sum.2 += value,
                    None => sums.push(((*name).to_owned(), help, *value)),
                }
            }
        }
        sums.iter()
            .try_for_each(|(name, help, value)| counter(encoder, &format!("engine_{name}"), help, *value))
    }
}

/// One metric with a value for each label.
fn labelled<'l>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, kind): (&str, &str, MetricType),
    label: &str,
    values: impl Iterator<Item = (&'l str, f64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (of, value) in values {
        let labels = [(label, of)];
        let encoder = family.encode_family(&labels)?;
        match kind {
            MetricType::Counter => ConstCounter::new(value).encode(encoder)?,
            _ => ConstGauge::new(value).encode(encoder)?,
        }
    }
    Ok(())
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help.trim_end_matches('.'), None, MetricType::Counter)?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    metric.encode(encoder.encode_descriptor(name, help.trim_end_matches('.'), None, MetricType::Gauge)?)
}
