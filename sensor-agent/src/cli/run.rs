//! `sensor-agent run`: the service. Speaks with the service manager, waits for signals, serves the API.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sd_notify::NotifyState;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tracing_subscriber::EnvFilter;

use super::{Common, output};
use crate::agent::{self, Agent};
use crate::api::token::Token;
use crate::api::{self, Api};
use crate::detection;
use crate::kernel::links::Changes;
use crate::shared::{Shared, Status};

/// Threads for the API and the signals; detection has its own.
const API_THREADS: usize = 2;
/// Longest time for unfinished answers at the end; the threads drain their rings for at most three seconds more.
const STOP_API: Duration = Duration::from_secs(1);
/// Pause between two rounds of chores: how late figures are.
const CHORES_EVERY: Duration = Duration::from_millis(250);
/// Pause between two words to the service manager, unless its watchdog wants them sooner.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Run the agent.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// Check the configuration and the rules, and end
    #[arg(long)]
    check: bool,
}

impl Run {
    /// Runs the command.
    pub(super) fn run(self, common: &Common) -> anyhow::Result<ExitCode> {
        if self.check {
            return check(common);
        }
        log(&common.log)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(API_THREADS)
            .thread_name("api")
            .enable_all()
            .build()
            .context("the API's threads cannot be started")?;
        runtime.block_on(serve(common))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn check(common: &Common) -> anyhow::Result<ExitCode> {
    let config = common.load()?;
    let loaded = detection::load_with_keys(&config.detection)?;
    if common.json {
        output::json(
            &serde_json::json!({ "ok": true, "files": loaded.files, "notes": loaded.notes, "doubts": loaded.doubts }),
        )?;
    } else {
        output::say(&format!("the configuration is sound, and the rules of {} files compile", loaded.files))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Logs to the standard error. The journal has the time already.
fn log(filter: &str) -> anyhow::Result<()> {
    let parsed = EnvFilter::try_new(filter).with_context(|| {
        format!("`--log {filter}` is no filter, expected one like `info` or `sensor=debug`")
    })?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr).with_target(false);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().with_ansi(false).init();
    } else {
        use std::io::IsTerminal;
        builder.with_ansi(std::io::stderr().is_terminal()).init();
    }
    Ok(())
}

async fn serve(common: &Common) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let mut agent = Agent::start(common.config.clone())?;
    let changes = watch_changes();
    // What the API tells is there before anybody asks.
    tokio::task::block_in_place(|| agent.tend());
    let api = start_api(&agent).await;
    notify(&[NotifyState::Ready]);
    tracing::info!(mode = ?agent.shared().mode(), "running");
    let mut chores = tokio::time::interval(CHORES_EVERY);
    chores.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = tokio::time::interval(tick());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = chores.tick() => tokio::task::block_in_place(|| agent.tend()),
            _ = ticks.tick() => tell(agent.shared()),
            () = changed(changes.as_ref()) => tokio::task::block_in_place(|| agent.follow()),
            _ = signals.reload.recv() => reload(&mut agent),
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
        }
    }
    notify(&[NotifyState::Stopping]);
    tracing::info!("stopping; what is blocked stays blocked until it expires");
    agent.shared().stop();
    if let Some(api) = api {
        // An unfinished answer does not hold up the end.
        let _ = tokio::time::timeout(STOP_API, api).await;
    }
    tokio::task::spawn_blocking(move || agent.stop()).await.context("the agent did not stop cleanly")
}

/// Without the kernel's word, interfaces are looked at from time to time only.
fn watch_changes() -> Option<AsyncFd<Changes>> {
    let listening = Changes::listen();
    listening.inspect_err(|error| tracing::warn!("changes of interfaces are noticed late: {error}")).ok()
}

/// Returns when interfaces or addresses have changed.
async fn changed(changes: Option<&AsyncFd<Changes>>) {
    let Some(changes) = changes else { return std::future::pending().await };
    loop {
        let Ok(mut ready) = changes.readable().await else { return std::future::pending().await };
        let any = changes.get_ref().drain();
        ready.clear_ready();
        if any {
            return;
        }
    }
}

struct Signals {
    reload: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be received");
        Ok(Self {
            reload: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }
}

/// Detection does not depend on the API: what is wrong with it is shown, and the agent runs on.
async fn start_api(agent: &Agent) -> Option<JoinHandle<()>> {
    let config = &agent.config().api;
    let listen = config.listen?;
    let opened = async {
        let token = Token::load_or_create(&config.token_file)?;
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("`api.listen`: {listen} cannot be listened on"))?;
        anyhow::Ok((token, listener))
    };
    let (token, listener) = match opened.await {
        Ok(opened) => opened,
        Err(error) => {
            agent::api_failed(agent.shared(), &error);
            return None;
        }
    };
    let shared = agent.shared().clone();
    shared.set_check("api", Status::Ok, format!("listens on {listen}"));
    tracing::info!("the API listens on http://{listen}, the token is in `{}`", config.token_file.display());
    let api = Arc::new(Api::new(shared.clone(), token, config));
    Some(tokio::spawn(async move {
        if let Err(error) = api::serve(api, listener).await {
            agent::api_failed(&shared, &error.into());
        }
    }))
}

fn reload(agent: &mut Agent) {
    let now = NotifyState::monotonic_usec_now();
    match now {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
    match agent.reload() {
        Ok(()) => {
            agent.shared().set_check("reload", Status::Ok, "the last reload was taken up");
            tracing::info!("reloaded");
        }
        Err(error) => {
            let detail = format!("the last reload was refused, what ran before stays in force: {error:#}");
            tracing::error!("{detail}");
            agent.shared().set_check("reload", Status::Degraded, detail);
        }
    }
    notify(&[NotifyState::Ready]);
}

/// Half of what the watchdog asks for.
fn tick() -> Duration {
    sd_notify::watchdog_enabled().map_or(STATUS_EVERY, |limit| (limit / 2).min(STATUS_EVERY))
}

/// A pipeline that stands still is not vouched for: the service manager restarts the agent.
fn tell(shared: &Shared) {
    let worst = shared.checks().into_iter().max_by_key(|(_, check)| check.status);
    let status = match worst {
        Some((name, check)) if check.status > Status::Ok => {
            format!("{:?}: {name}: {}", check.status, crate::printable::short(&check.detail, 200))
        }
        _ => format!("{:?}, well", shared.mode()),
    };
    notify(&[NotifyState::Status(&status)]);
    if !shared.stands_still() {
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager was not told: {error}");
    }
}
