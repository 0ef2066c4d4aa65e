//! The running agent: its parts in the order in which they start, how they take up a changed configuration, and how they
//! stop. What is pinned in the kernel outlives it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use sensor_engine::rule::RuleSet;

use crate::alert::{Output, Setup};
use crate::attribution::{Attribution, Serving};
use crate::blocklist::Book;
use crate::config::Config;
use crate::detection;

use crate::kernel::choice::AttributionChoice;
use crate::kernel::gauges::Gauges;
use crate::kernel::sensor::Plan;
use crate::kernel::{cgroup, rings};
use crate::pipeline::{Inputs, Pipeline};
use crate::shared::{Shared, Status};
use crate::store::Store;
use crate::tend::Tend;
use crate::watch::{Rates, Watch};

/// The agent.
pub(crate) struct Agent {
    file: Option<PathBuf>,
    config: Config,
    shared: Arc<Shared>,
    output: Output,
    pipeline: Pipeline,
    inputs: Arc<ArcSwap<Inputs>>,
    tend: Tend,
    serving: Option<Serving>,
    _lock: Lock,
}

impl Agent {
    /// Starts everything but the API.
    pub(crate) fn start(file: Option<PathBuf>) -> anyhow::Result<Self> {
        let config = Config::load(file.as_deref())?;
        let lock = Lock::take(&config.runtime_dir)?;
        let rules = load_rules(&config)?;
        let store = open_store(&config)?;
        let queue = usize::try_from(config.limits.report_queue)?;
        let mut attribution = Attribution::start(config.capture.attribution, config.limits.max_owners);
        let (attributes, how) = attribution.state();
        let (accept, owners) = attribution.take_gauged();
        let setup = Setup { store: store.clone(), alerts: config.alerts.clone(), queue, attribution };
        let output = Output::start(setup)?;
        let shared = Arc::new(Shared::new(store, output.live(), output.figures()));
        shared.set_check("attribution", attributes, how);
        shared.set_mode(config.mode());
        let policy = Arc::new(config.policy());
        let inputs = Arc::new(ArcSwap::from_pointee(Inputs {
            rules,
            policy,
            actors: Arc::new(config.actors.limits.clone()),
            ..Inputs::default()
        }));
        let serving = serving(&config, &inputs)?;
        let mut pipeline = Pipeline::start(
            &plan(&config),
            &config.engine_settings(),
            &config.actors,
            &inputs,
            &output.reports(),
        )
        .context("the capture cannot be started")?;
        let watch = Watch::open(&config.capture.pin_dir, output.events(), Rates::of(&config.response));
        let watch =
            watch.inspect_err(|error| tracing::error!("dropped traffic is not shown: {error:#}")).ok();
        match Book::open(&config.capture.pin_dir) {
            Ok(book) => shared.set_book(book),
            Err(error) => tracing::error!("the API has no block list: {error:#}"),
        }
        let sensor = pipeline.sensor();
        let programs = sensor.programs().into_iter().chain(accept).collect();
        let mut tend = Tend::with_watch(watch);
        tend.set_gauges(Gauges::new(sensor.pins(), programs, owners));
        tend.set_sampling(config.capture.sample, config.capture.least_sample);
        Ok(Self { file, config, shared, output, pipeline, inputs, tend, serving, _lock: lock })
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// What the parts share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Takes up the configuration file and the rules as they are now: all of it, or nothing.
    pub(crate) fn reload(&mut self) -> anyhow::Result<()> {
        self.output.reopen();
        let config = Config::load(self.file.as_deref())?;
        let rules = load_rules(&config)?;
        let taken_up = self.config.with_reloadable(&config);
        self.pipeline.reconfigure(&plan(&taken_up))?;
        self.tend.set_sampling(taken_up.capture.sample, taken_up.capture.least_sample);
        let policy = Arc::new(taken_up.policy());
        let actors = Arc::new(taken_up.actors.limits.clone());
        self.inputs.rcu(|inputs| Inputs {
            rules: Arc::clone(&rules),
            policy: Arc::clone(&policy),
            actors: Arc::clone(&actors),
            ..Inputs::clone(inputs)
        });
        if taken_up != config {
            tracing::warn!("some changes count after a restart only: see the head of the configuration file");
        }
        self.shared.set_mode(taken_up.mode());
        if let Some(watch) = self.tend.watch() {
            watch.set_rates(Rates::of(&taken_up.response));
        }
        self.config = taken_up;
        Ok(())
    }

    /// What must be done from time to time; to be called about once a second.
    pub(crate) fn tend(&mut self) {
        self.tend.tend(&mut self.pipeline, &self.shared);
    }

    /// Brings what is attached in line with the interfaces that there are now.
    pub(crate) fn follow(&mut self) {
        self.tend.follow(&mut self.pipeline, &self.shared);
    }

    /// Ends the threads and writes what is waiting. Blocks stay in force until they expire.
    pub(crate) fn stop(self) {
        self.shared.stop();
        if let Some(serving) = self.serving {
            serving.stop();
        }
        self.pipeline.stop();
        self.output.stop();
    }
}

/// The thread that tells rules about processes; without attribution there is none.
fn serving(config: &Config, inputs: &Arc<ArcSwap<Inputs>>) -> anyhow::Result<Option<Serving>> {
    if config.capture.attribution == AttributionChoice::Off {
        return Ok(None);
    }
    let attribution = Attribution::start(AttributionChoice::SockDiag, config.limits.max_owners);
    Serving::start(attribution, Arc::clone(inputs)).map(Some)
}

fn plan(config: &Config) -> Plan {
    let capture = &config.capture;
    let cpus =
        std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
    let rings = if capture.rings == 0 { cpus.min(sensor_common::limit::RINGS) } else { capture.rings };
    Plan {
        pin_dir: capture.pin_dir.clone(),
        interfaces: capture.interfaces.clone(),
        xdp: capture.xdp_mode,
        xdp_replace: capture.xdp_replace.clone(),
        tap: capture.tap_mode,
        ports: capture.ports.clone(),
        own_port: config.api.listen.map(|listen| listen.port()).filter(|port| *port != 0),
        sample: capture.sample,
        rings,
        ring_bytes: if capture.ring_bytes == 0 {
            rings::bytes_for(memory(), rings)
        } else {
            capture.ring_bytes
        },
        exempt: config.response.exempt.clone(),
        max_blocked: config.limits.max_blocked,
        syn_limit: if config.response.enforce { config.response.max_syn_per_sec } else { 0 },
        drop_odd_flags: config.response.enforce && config.response.drop_impossible_flags,
        tunnels: capture.tunnels,
        own_cgroup: cgroup::own(),
    }
}

/// Bytes of memory of the host; 0 if it does not say.
fn memory() -> u64 {
    use nix::unistd::{SysconfVar, sysconf};
    let ask = |what| sysconf(what).ok().flatten().and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
    ask(SysconfVar::_PHYS_PAGES) * ask(SysconfVar::PAGE_SIZE)
}

fn load_rules(config: &Config) -> anyhow::Result<Arc<RuleSet>> {
    let loaded = detection::load_with_keys(&config.detection)?;
    for note in &loaded.notes {
        tracing::warn!("{}", crate::printable::line(note));
    }
    if loaded.rules.asks_for_process() && config.capture.attribution == AttributionChoice::Off {
        tracing::warn!("rules ask for the process, but `capture.attribution` is off: for them it is unknown");
    }
    let (files, rules, doubtful) = (loaded.files, loaded.rules.rules().len(), loaded.doubts.len());
    tracing::info!(files, rules, doubtful, "rules loaded; `sensor-agent rules check` names what is doubtful");
    Ok(Arc::new(loaded.rules))
}

fn open_store(config: &Config) -> anyhow::Result<Arc<Store>> {
    let opened = Store::open(&config.store.path, config.store.max_alerts)?;
    if let Some(aside) = opened.quarantined {
        tracing::error!(
            "the alert database was corrupt: it was moved to `{}` and a fresh one made",
            aside.display()
        );
    }
    Ok(Arc::new(opened.store))
}

/// Says in the health that the API does not work; detection goes on without it.
pub(crate) fn api_failed(shared: &Shared, error: &anyhow::Error) {
    tracing::error!("the API does not work, detection goes on: {error:#}");
    shared.set_check("api", Status::Failing, format!("{error:#}"));
}

/// Keeps a second agent from starting. The kernel gives it back when the process ends, however that happens.
#[derive(Debug)]
struct Lock {
    _file: File,
}

impl Lock {
    fn take(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("sensor.lock");
        let context = || format!("the lock file `{}` cannot be taken", path.display());
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir).with_context(context)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(context)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only to say who holds it.
                let _ = file.take(20).read_to_string(&mut holder);
                anyhow::bail!(
                    "another agent runs already (process {}): `systemctl stop sensor`, or give this one its own \
                     `service.runtime_dir`",
                    crate::printable::line(holder.trim())
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(context),
        }
        file.rewind()
            .and_then(|()| file.set_len(0))
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .with_context(context)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_refused_and_told_who_runs() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = dir.path().join("run/sensor");
        let first = Lock::take(&runtime).unwrap();
        let error = Lock::take(&runtime).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        Lock::take(&runtime).unwrap();
    }
}
