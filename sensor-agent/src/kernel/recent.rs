//! What the CPUs have dropped a moment ago and entries have not heard of yet: it belongs to what entries have counted.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering;

use anyhow::Result;
use ipnet::IpNet;
use sensor_common::block::BlockEntry;
use sensor_common::map;
use sensor_common::recent::{LENGTH, RecentDrop, RecentDrops, V6, WAYS, piece_start, places};
use sensor_common::settings::FirewallState;

use super::pins::Pins;
use super::prefilter::{Prefilter, field};
use super::shared_memory::{SharedMemory, word64};

/// The CPUs' memories.
pub(super) struct Recent {
    memory: SharedMemory<RecentDrops>,
}

/// What entries have not heard of, by what they cover.
pub(super) struct Unheard(HashMap<IpNet, Drops>);

#[derive(Clone, Copy, Default)]
struct Drops {
    hits: u64,
    /// Boot clock of the last one, a second coarse.
    last_ns: u64,
}

/// Places of the map for all CPUs that there can be.
pub(super) fn size() -> u32 {
    cpus() * places(cpus())
}

fn cpus() -> u32 {
    let possible = aya::util::nr_cpus().unwrap_or(1);
    u32::try_from(possible).unwrap_or(u32::MAX).max(1)
}

impl Recent {
    /// Opens the pinned map, and tells the program how large each CPU's part is.
    pub(super) fn open(pins: &Pins, filter: &Prefilter) -> Result<Self> {
        let memory = SharedMemory::open(pins, map::RECENT)?;
        let each = (memory.len() / cpus() as usize).max(1);
        let mask = u32::try_from(each - 1).unwrap_or(0);
        filter.setting(field!(FirewallState, recent_mask)).store(mask, Ordering::SeqCst);
        Ok(Self { memory })
    }

    /// What entries have not heard of. An entry may hear of some of it meanwhile: read the entries first, and nothing is counted twice.
    pub(super) fn unheard(&self) -> Unheard {
        let mut all: HashMap<IpNet, Drops> = HashMap::new();
        let ways = (0..self.memory.len()).flat_map(|at| (0..WAYS).map(move |way| (at, way)));
        for (at, way) in ways {
            let read = |field: fn(*mut RecentDrop) -> *mut u64| {
                let way = field!(RecentDrops, ways[way])(self.memory.at(at));
                // SAFETY: an aligned field of a value of the mapping, which lives as long as `self`.
                unsafe { word64(field(way)) }.load(Ordering::Relaxed)
            };
            let hits = read(field!(RecentDrop, hits));
            if hits == 0 {
                continue;
            }
            let stamp = read(field!(RecentDrop, stamp));
            let address = address(read(field!(RecentDrop, high)), read(field!(RecentDrop, low)), stamp);
            let Some(target) = target(address, stamp) else { continue };
            let drops = all.entry(target).or_default();
            drops.hits += hits;
            drops.last_ns = drops.last_ns.max(piece_start(stamp));
        }
        Unheard(all)
    }
}

impl Unheard {
    /// The entry of a target, for the whole host, as it would be had it heard of everything.
    pub(super) fn complete(&self, target: IpNet, entry: BlockEntry) -> BlockEntry {
        let drops = self.0.get(&target).copied().unwrap_or_default();
        BlockEntry {
            hits: entry.hits + drops.hits,
            last_hit_ns: entry.last_hit_ns.max(drops.last_ns),
            ..entry
        }
    }
}

fn address(high: u64, low: u64, stamp: u64) -> IpAddr {
    if stamp & V6 == 0 {
        Ipv4Addr::from(low as u32).into()
    } else {
        Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)).into()
    }
}

/// What the entry covers that dropped an address.
fn target(address: IpAddr, stamp: u64) -> Option<IpNet> {
    let length = (stamp & LENGTH) as u8;
    let length = if address.is_ipv4() { length.min(32) } else { length };
    IpNet::new(address, length).ok().map(|net| net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_belongs_to_the_entry_that_dropped_it() {
        let rows = [
            (0, 0xc000_0207, 128, "192.0.2.7/32"),
            (0, 0xc000_0207, 24, "192.0.2.0/24"),
            (0x2001_0db8_0000_0001, 7, V6 | 128, "2001:db8:0:1::7/128"),
            (0x2001_0db8_0000_0001, 7, V6 | 48, "2001:db8::/48"),
            (0, 0xffff_c000_0207, V6 | 128, "::ffff:192.0.2.7/128"),
        ];
        for (high, low, stamp, expected) in rows {
            assert_eq!(target(address(high, low, stamp), stamp), expected.parse().ok(), "{expected}");
        }
    }
}
