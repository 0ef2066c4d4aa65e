//! Reads the per-CPU counters of the kernel programs.

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, PerCpuArray};
use sensor_common::counter::{TapCounter, XdpCounter};
use sensor_common::map;

use super::pins::Pins;

/// The counter maps, opened from their pins.
pub(crate) struct Counters {
    xdp: PerCpuArray<MapData, u64>,
    tap: PerCpuArray<MapData, u64>,
}

/// Sums over all CPUs, in the order of `XdpCounter::ALL` and `TapCounter::ALL`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelCounts {
    /// What the XDP program counted.
    pub(crate) xdp: Vec<(XdpCounter, u64)>,
    /// What the tap counted.
    pub(crate) tap: Vec<(TapCounter, u64)>,
}

impl Counters {
    /// Opens the pinned counters.
    pub(crate) fn open(pins: &Pins) -> Result<Self> {
        Ok(Self { xdp: open(pins, map::XDP_COUNTERS)?, tap: open(pins, map::TAP_COUNTERS)? })
    }

    /// Reads all counters. They are read one by one while the programs run: a sum may be a packet apart.
    pub(crate) fn read(&self) -> Result<KernelCounts> {
        let xdp = XdpCounter::ALL.iter().map(|&counter| Ok((counter, sum(&self.xdp, counter as u32)?)));
        let tap = TapCounter::ALL.iter().map(|&counter| Ok((counter, sum(&self.tap, counter as u32)?)));
        Ok(KernelCounts { xdp: xdp.collect::<Result<_>>()?, tap: tap.collect::<Result<_>>()? })
    }
}

impl KernelCounts {
    /// Packets that the tap has seen: the sum of its outcomes.
    pub(crate) fn tap_seen(&self) -> u64 {
        self.tap.iter().filter(|(counter, _)| counter.is_outcome()).map(|(_, count)| count).sum()
    }

    /// One counter of the tap.
    pub(crate) fn tap(&self, wanted: TapCounter) -> u64 {
        self.tap.iter().find(|(counter, _)| *counter == wanted).map_or(0, |(_, count)| *count)
    }

    /// One counter of the XDP program.
    pub(crate) fn xdp(&self, wanted: XdpCounter) -> u64 {
        self.xdp.iter().find(|(counter, _)| *counter == wanted).map_or(0, |(_, count)| *count)
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
