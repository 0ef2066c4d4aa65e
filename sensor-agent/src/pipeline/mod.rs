//! The threads between kernel and outputs: ring → engine → commands.

use std::sync::Arc;
use std::time::Duration;

use sensor_engine::policy::Policy;
use sensor_engine::rule::RuleSet;

use crate::alert::Sink;
use crate::config::Config;
use crate::shared::Shared;

/// What the pipeline starts with.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// The configuration.
    pub(crate) config: &'a Config,
    /// Compiled rules.
    pub(crate) rules: Arc<RuleSet>,
    /// When to report and to block.
    pub(crate) policy: Arc<Policy>,
    /// Where reports go.
    pub(crate) reports: Sink,
    /// Where figures and checks go.
    pub(crate) shared: Arc<Shared>,
}

/// What can change while the pipeline runs.
#[derive(Debug)]
pub(crate) struct Change {
    /// Compiled rules.
    pub(crate) rules: Arc<RuleSet>,
    /// When to report and to block; its exemptions belong into the kernel's list too.
    pub(crate) policy: Arc<Policy>,
    /// Share of the flows that are seen.
    pub(crate) sample: f64,
}

/// The running pipeline.
#[derive(Debug)]
pub(crate) struct Pipeline {}

/// Loads and attaches the kernel programs, then starts the threads.
pub(crate) fn start(start: Start<'_>) -> anyhow::Result<Pipeline> {
    let Start { config: _, rules: _, policy: _, reports: _, shared: _ } = start;
    anyhow::bail!("not linked yet")
}

impl Pipeline {
    /// Takes up other rules, another policy and another sample; all or nothing.
    pub(crate) fn change(&self, change: Change) -> anyhow::Result<()> {
        let Change { rules: _, policy: _, sample: _ } = change;
        anyhow::bail!("not linked yet")
    }

    /// Ends the threads within this time. What is pinned stays and goes on blocking.
    pub(crate) fn stop(self, _within: Duration) {}
}
