//! What stands in the lists: entries as they are asked for, and as the kernel has them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use sensor_common::block::{BlockEntry, NEVER, SHADOW, origin};

use super::keys::Scope;
use crate::kernel::recent::Unheard;

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

impl Origin {
    /// Name in output.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Verdict => "verdict",
            Self::Import => "import",
            Self::Configuration => "configuration",
            Self::Host => "host",
        }
    }

    pub(super) const fn code(self) -> u32 {
        match self {
            Self::Operator => origin::OPERATOR,
            Self::Verdict => origin::VERDICT,
            Self::Import => origin::IMPORT,
            Self::Configuration => origin::CONFIGURATION,
            Self::Host => origin::HOST,
        }
    }

    pub(super) const fn from_code(code: u32) -> Self {
        match code {
            origin::VERDICT => Self::Verdict,
            origin::IMPORT => Self::Import,
            origin::CONFIGURATION => Self::Configuration,
            origin::HOST => Self::Host,
            _ => Self::Operator,
        }
    }
}

/// An entry to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewBlock {
    /// The address (a full-length prefix) or prefix.
    pub(crate) target: IpNet,
    /// What of the host is closed to it.
    pub(crate) scope: Scope,
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
    /// What of the host is closed to it.
    pub(crate) scope: Scope,
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

/// What became of an automatic block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The entry is in force.
    InForce,
    /// An exemption covers the address: nothing was written.
    Exempt,
    /// An operator's or imported entry already covers exactly this address: it stays as it is.
    Kept,
    /// The block has ended before it was written.
    Over,
}

/// The entry with the drops of the last second.
pub(super) fn heard(unheard: &Unheard, target: IpNet, scope: Scope, entry: BlockEntry) -> BlockEntry {
    if scope == Scope::Host { unheard.complete(target, entry) } else { entry }
}

/// An entry as people see it.
pub(super) fn describe(target: IpNet, scope: Scope, entry: &BlockEntry, now: u64, reason: String) -> Blocked {
    Blocked {
        target,
        scope,
        remaining: (entry.expires_ns != NEVER)
            .then(|| Duration::from_nanos(entry.expires_ns.saturating_sub(now))),
        shadow: entry.flags & SHADOW != 0,
        origin: Origin::from_code(entry.origin),
        reason,
        created_unix_ms: (entry.created_unix_s != 0).then(|| u64::from(entry.created_unix_s) * 1000),
        hits: entry.hits,
        last_hit_ago: (entry.last_hit_ns != 0)
            .then(|| Duration::from_nanos(now.saturating_sub(entry.last_hit_ns))),
    }
}

/// The wall clock, as entries have it.
pub(super) fn unix_seconds() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

/// A target as people write it: an address without its full prefix length.
pub(crate) fn shown(target: IpNet) -> String {
    if target.prefix_len() == target.max_prefix_len() {
        target.addr().to_string()
    } else {
        target.to_string()
    }
}

/// Whether the entry counts at that time.
pub(super) fn live(entry: &BlockEntry, now: u64) -> bool {
    entry.expires_ns == NEVER || entry.expires_ns > now
}
