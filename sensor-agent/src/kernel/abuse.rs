//! Reads what sources do below the level of connections: floods of connection attempts, impossible flags, stray segments.

use std::net::IpAddr;

use anyhow::Result;
use sensor_common::drop::Abuse;
use sensor_common::map;

use super::clock::boot_nanos;
use super::pins::Pins;
use super::table::Table;

/// The pinned counts by source.
pub(crate) struct AbuseTable {
    table: Table<[u8; 16], Abuse>,
}

/// What one source did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Abuser {
    /// The source: it may be forged, since nothing of this needs a handshake.
    pub(crate) source: IpAddr,
    /// Counts since the source was first seen, or last forgotten.
    pub(crate) counts: Abuse,
    /// Whether its last connection attempts were within the last two seconds.
    pub(crate) recent: bool,
}

impl AbuseTable {
    /// Opens the pinned table.
    pub(crate) fn open(pins: &Pins) -> Result<Self> {
        Ok(Self { table: Table::open(pins, map::ABUSE)? })
    }

    /// Every source in the table: those that were active last, as many as it holds.
    pub(crate) fn sources(&self) -> Result<Vec<Abuser>> {
        let now = boot_nanos() / 1_000_000_000;
        let abuser = |(source, counts): ([u8; 16], Abuse)| Abuser {
            source: IpAddr::from(source).to_canonical(),
            counts,
            recent: u64::from(counts.second) + 2 >= now,
        };
        Ok(self.table.entries()?.into_iter().map(abuser).collect())
    }
}
