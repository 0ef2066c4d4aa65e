//! Entries as the API and `--json` show them. One form for both, so that a script can change from one to the other.

use serde::Serialize;

use crate::kernel::lists::{Blocked, Exemption, Origin, Scope};
use crate::target::show;

/// A block entry.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BlockView {
    /// Address or prefix.
    pub(crate) target: String,
    /// The only port that is closed to it; null if all are.
    pub(crate) port: Option<u16>,
    /// The only connection that is meant; null if all are.
    pub(crate) connection: Option<ConnectionView>,
    /// Why.
    pub(crate) reason: String,
    /// Who made it.
    pub(crate) origin: &'static str,
    /// Matches are counted and pass.
    pub(crate) shadow: bool,
    /// Seconds that it still counts; null for good.
    pub(crate) remaining_secs: Option<u64>,
    /// When it was made.
    pub(crate) created: Option<String>,
    /// Packets that matched.
    pub(crate) hits: u64,
    /// Seconds since the last match.
    pub(crate) last_hit_secs: Option<u64>,
}

impl From<&Blocked> for BlockView {
    fn from(entry: &Blocked) -> Self {
        let (port, connection) = match entry.scope {
            Scope::Host => (None, None),
            Scope::Port(port) => (Some(port), None),
            Scope::Connection { source_port, destination } => {
                (None, Some(ConnectionView { source_port, destination: destination.to_string() }))
            }
        };
        Self {
            target: show(entry.target),
            port,
            connection,
            reason: entry.reason.clone(),
            origin: origin(entry.origin),
            shadow: entry.shadow,
            remaining_secs: entry.remaining.map(|left| left.as_secs()),
            created: entry.created_unix_ms.and_then(time),
            hits: entry.hits,
            last_hit_secs: entry.last_hit_ago.map(|ago| ago.as_secs()),
        }
    }
}

/// One connection of a target.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ConnectionView {
    /// The target's port.
    pub(crate) source_port: u16,
    /// The host's address and port.
    pub(crate) destination: String,
}

/// An exemption.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ExemptionView {
    /// Address or prefix.
    pub(crate) target: String,
    /// Who made it.
    pub(crate) origin: &'static str,
}

impl From<&Exemption> for ExemptionView {
    fn from(exemption: &Exemption) -> Self {
        Self { target: show(exemption.target), origin: origin(exemption.origin) }
    }
}

/// Name of an origin.
pub(crate) const fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Operator => "operator",
        Origin::Verdict => "verdict",
        Origin::Import => "import",
        Origin::Configuration => "configuration",
        Origin::Host => "host",
    }
}

fn time(unix_ms: u64) -> Option<String> {
    let time = jiff::Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()?;
    Some(time.to_string())
}
