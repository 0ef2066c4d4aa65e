//! Reads the per-CPU counters of the kernel programs.

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, PerCpuArray};
use sensor_common::counter::{RingLoss, TapCounter, XdpCounter};
use sensor_common::map;

use super::pins::Pins;

/// The counter maps, opened from their pins.
pub(crate) struct Counters {
    xdp: PerCpuArray<MapData, u64>,
    tap: PerCpuArray<MapData, u64>,
    rings: PerCpuArray<MapData, u64>,
    /// Rings in use.
    ring_count: u32,
    /// What the tap had counted when these were opened.
    tap_before: Vec<u64>,
    /// What the rings had lost then.
    lost_before: Vec<u64>,
}

/// What one ring lost since this agent started, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingLost {
    /// The ring.
    pub(crate) ring: u32,
    /// Why.
    pub(crate) reason: RingLoss,
    /// Records.
    pub(crate) records: u64,
}

/// Sums over all CPUs, in the order of `XdpCounter::ALL` and `TapCounter::ALL`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelCounts {
    /// What the XDP program counted since it was first loaded, without an agent too.
    pub(crate) xdp: Vec<(XdpCounter, u64)>,
    /// What the tap counted since this agent started: these are compared with what the agent got.
    pub(crate) tap: Vec<(TapCounter, u64)>,
    /// What each ring lost since this agent started.
    pub(crate) rings: Vec<RingLost>,
}

impl Counters {
    /// Opens the pinned counters, for so many rings.
    pub(crate) fn open(pins: &Pins, ring_count: u32) -> Result<Self> {
        let (xdp, tap) = (open(pins, map::XDP_COUNTERS)?, open(pins, map::TAP_COUNTERS)?);
        let before = TapCounter::ALL.iter().map(|&counter| sum(&tap, counter as u32));
        let tap_before = before.collect::<Result<_>>()?;
        let rings = open(pins, map::RING_LOSS)?;
        let lost_before =
            (0..ring_count * RingLoss::COUNT).map(|index| sum(&rings, index)).collect::<Result<_>>()?;
        Ok(Self { xdp, tap, rings, ring_count, tap_before, lost_before })
    }

    /// Reads all counters. They are read one by one while the programs run: a sum may be a packet apart.
    pub(crate) fn read(&self) -> Result<KernelCounts> {
        let xdp = XdpCounter::ALL.iter().map(|&counter| Ok((counter, sum(&self.xdp, counter as u32)?)));
        let tap = TapCounter::ALL.iter().zip(&self.tap_before).map(|(&counter, before)| {
            let now = sum(&self.tap, counter as u32)?;
            Ok((counter, now.saturating_sub(*before)))
        });
        let (xdp, tap) = (xdp.collect::<Result<_>>()?, tap.collect::<Result<_>>()?);
        Ok(KernelCounts { xdp, tap, rings: self.lost_by_ring()? })
    }

    fn lost_by_ring(&self) -> Result<Vec<RingLost>> {
        let places =
            (0..self.ring_count).flat_map(|ring| RingLoss::ALL.iter().map(move |reason| (ring, *reason)));
        let lost = places.zip(&self.lost_before).map(|((ring, reason), before)| {
            let now = sum(&self.rings, ring * RingLoss::COUNT + reason as u32)?;
            Ok(RingLost { ring, reason, records: now.saturating_sub(*before) })
        });
        lost.collect()
    }
}

fn open(pins: &Pins, name: &str) -> Result<PerCpuArray<MapData, u64>> {
    let path = pins.map(name);
    let data =
        MapData::from_pin(&path).with_context(|| format!("cannot open the map `{}`", path.display()))?;
    Ok(PerCpuArray::try_from(Map::from_map_data(data)?)?)
}

fn sum(counters: &PerCpuArray<MapData, u64>, index: u32) -> Result<u64> {
    Ok(counters.get(&index, 0)?.iter().sum())
}
