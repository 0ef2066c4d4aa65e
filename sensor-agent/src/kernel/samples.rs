//! Reads the samples of packets that block entries matched.

use std::net::IpAddr;

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, RingBuf};
use sensor_common::drop::{CONNECTION, DropSample};
use sensor_common::map;
use zerocopy::FromBytes;

use super::lists::open_map;
use super::pins::Pins;

/// The reading end of the samples' ring.
pub(crate) struct Samples {
    ring: RingBuf<MapData>,
}

/// A packet that an entry matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Boot clock in nanoseconds, a few milliseconds coarse.
    pub(crate) time_ns: u64,
    /// Where it came from.
    pub(crate) source: IpAddr,
    /// Where it was to go.
    pub(crate) destination: IpAddr,
    /// Source port; 0 without one.
    pub(crate) source_port: u16,
    /// Destination port; 0 without one.
    pub(crate) destination_port: u16,
    /// IP protocol number.
    pub(crate) protocol: u8,
    /// Interface index.
    pub(crate) interface: u32,
    /// Prefix length of the entry; `None` for an entry of one connection.
    pub(crate) prefix_len: Option<u8>,
    /// It passed: the entry only counts.
    pub(crate) shadow: bool,
    /// Packets that the entry has matched so far.
    pub(crate) hits: u64,
    /// Number of the entry's reason.
    pub(crate) reason: u32,
}

impl Samples {
    /// Opens the pinned ring.
    pub(crate) fn open(pins: &Pins) -> Result<Self> {
        let map: Map = open_map(pins, map::DROPS)?;
        Ok(Self { ring: RingBuf::try_from(map).context("the ring of samples is no ring")? })
    }

    /// Takes what is there, at most `limit`; what is left is taken the next time.
    pub(crate) fn take(&mut self, limit: usize) -> Vec<Dropped> {
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some(record) = self.ring.next()
        {
            if let Ok(sample) = DropSample::read_from_bytes(&record) {
                taken.push(dropped(&sample));
            }
        }
        taken
    }
}

fn dropped(sample: &DropSample) -> Dropped {
    Dropped {
        time_ns: sample.time_ns,
        source: IpAddr::from(sample.source).to_canonical(),
        destination: IpAddr::from(sample.destination).to_canonical(),
        source_port: sample.source_port,
        destination_port: sample.destination_port,
        protocol: sample.protocol,
        interface: sample.interface,
        prefix_len: (sample.length != CONNECTION).then_some(sample.length),
        shadow: sample.shadow != 0,
        hits: sample.hits,
        reason: sample.reason,
    }
}
