//! The block and exemption lists as they stand in the pinned maps. They are the truth about enforcement, and they can
//! be read and changed while no agent runs.

use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;

/// Who made an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An operator, by command line or API.
    Operator,
    /// The sensor's own verdict.
    Verdict,
    /// An imported list.
    Import,
    /// The configuration file.
    Configuration,
    /// Read from the host: own addresses, gateways, resolvers.
    Host,
}

/// An entry to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewBlock {
    /// The address (a full-length prefix) or prefix.
    pub(crate) target: IpNet,
    /// How long from now; `None` for good.
    pub(crate) lasts: Option<Duration>,
    /// Count matches, but drop nothing.
    pub(crate) shadow: bool,
    /// Who makes it. `Verdict` entries are the automatic ones.
    pub(crate) origin: Origin,
    /// One line.
    pub(crate) reason: String,
}

/// An entry as the kernel has it.
#[derive(Clone, Debug)]
pub(crate) struct Blocked {
    /// The address or prefix.
    pub(crate) target: IpNet,
    /// How long it still counts; `None` for good. Expired entries are not listed.
    pub(crate) remaining: Option<Duration>,
    /// Matches are counted and pass.
    pub(crate) shadow: bool,
    /// Who made it.
    pub(crate) origin: Origin,
    /// Why.
    pub(crate) reason: String,
    /// When it was made, milliseconds since 1970; `None` if unknown.
    pub(crate) created_unix_ms: Option<u64>,
    /// Packets that matched.
    pub(crate) hits: u64,
    /// Time since the last match, if there was one.
    pub(crate) last_hit_ago: Option<Duration>,
}

/// An exempt prefix.
#[derive(Clone, Debug)]
pub(crate) struct Exemption {
    /// The prefix.
    pub(crate) target: IpNet,
    /// Who made it.
    pub(crate) origin: Origin,
}

/// The lists, opened from their pins.
#[derive(Debug)]
pub(crate) struct Lists {}

impl Lists {
    /// Opens the pinned maps below `pins` (the configured pin directory, without the layout version).
    pub(crate) fn open(_pins: &Path) -> anyhow::Result<Self> {
        anyhow::bail!("not linked yet")
    }

    /// Makes or replaces an entry. Refuses what an exemption covers and prefixes that cover an exemption are allowed
    /// (the exemption wins in the kernel).
    pub(crate) fn block(&mut self, _new: &NewBlock) -> anyhow::Result<()> {
        anyhow::bail!("not linked yet")
    }

    /// Removes an entry; false if there was none.
    pub(crate) fn unblock(&mut self, _target: IpNet) -> anyhow::Result<bool> {
        anyhow::bail!("not linked yet")
    }

    /// All entries that have not expired, in address order.
    pub(crate) fn blocked(&self) -> anyhow::Result<Vec<Blocked>> {
        anyhow::bail!("not linked yet")
    }

    /// Makes an exemption; it counts at once and beats every block.
    pub(crate) fn exempt(&mut self, _target: IpNet, _origin: Origin) -> anyhow::Result<()> {
        anyhow::bail!("not linked yet")
    }

    /// Removes an exemption that an operator made; false if there was none.
    pub(crate) fn unexempt(&mut self, _target: IpNet) -> anyhow::Result<bool> {
        anyhow::bail!("not linked yet")
    }

    /// All exemptions, in address order.
    pub(crate) fn exemptions(&self) -> anyhow::Result<Vec<Exemption>> {
        anyhow::bail!("not linked yet")
    }

    /// Suspends (or resumes) all automatic blocks in the kernel at once.
    pub(crate) fn suspend_automatic(&mut self, _suspended: bool) -> anyhow::Result<()> {
        anyhow::bail!("not linked yet")
    }

    /// Whether automatic blocks are suspended.
    pub(crate) fn automatic_suspended(&self) -> anyhow::Result<bool> {
        anyhow::bail!("not linked yet")
    }

    /// Removes every automatic entry; returns how many there were.
    pub(crate) fn lift_automatic(&mut self) -> anyhow::Result<usize> {
        anyhow::bail!("not linked yet")
    }
}
