//! Findings → [`Verdict`]: what to report and what to block, and for how long. Exemptions come first.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::finding::{Class, Confidence, Finding, Severity};

/// Whether automatic blocks take effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Verdicts are reported; blocks are written in shadow mode, so that what they would have dropped is counted.
    #[default]
    Observe,
    /// Verdicts are carried out.
    Enforce,
}

/// When to report and when to block.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Observe or enforce.
    pub mode: Mode,
    /// Findings below are not reported.
    pub report_from: Confidence,
    /// A class's combined confidence from which its source is blocked.
    pub block_from: Confidence,
    /// Findings less severe than this never block.
    pub block_severity: Severity,
    /// How long a block lasts.
    pub block_for: Duration,
    /// Sources that are never blocked, beside loopback and unspecified addresses, which never are.
    pub exempt: Vec<IpNet>,
}

/// Why a source is not blocked, or that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Block the source for this long.
    Block(Duration),
    /// Would be blocked, but the mode is [`Mode::Observe`].
    Observe(Duration),
    /// Would be blocked, but the source is exempt.
    Exempt,
    /// Would be blocked, but nobody proved that the source address is the sender's own.
    Unverified,
    /// Not sure or not severe enough to block.
    Report,
}

/// What to do about the findings of one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The class with the highest combined confidence.
    pub class: Class,
    /// The worst severity among the class's findings.
    pub severity: Severity,
    /// Combined confidence of the class's findings.
    pub confidence: Confidence,
    /// What to do.
    pub action: Action,
}

impl Policy {
    /// The verdict on `source` for these findings; `None` if there is nothing to report. `verified` says that the source
    /// completed a handshake.
    #[must_use]
    pub fn judge(&self, _source: IpAddr, _verified: bool, _findings: &[Finding]) -> Option<Verdict> {
        None
    }
}
