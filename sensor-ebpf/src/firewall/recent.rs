//! The sources that this CPU has dropped a moment ago, in front of the lists: a flood comes from sources that were just seen.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE, helpers::generated::bpf_get_smp_processor_id, macros::map, maps::Array,
};
use sensor_common::{
    block::BlockEntry,
    counter::XdpCounter,
    recent::{self, LENGTH, RecentDrop, RecentDrops, V6, WAYS},
    settings::FirewallState,
};

use crate::{
    lists::{self, FULL_LENGTH},
    packet::Packet,
    state,
};

/// One piece for each CPU, in the agent's size.
#[map]
static RECENT: Array<RecentDrops> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The outcome for a packet whose source was dropped in this second, if nothing has changed since. The packet is counted.
#[inline(always)]
pub(crate) fn dropped(state: &mut FirewallState, packet: &Packet) -> Option<u32> {
    let ways = ways(state, packet)?;
    let stamp = recent::stamp(state::now(state), state.changes) | family(packet);
    for way in ways {
        if way.low == packet.low && way.high == packet.high && way.stamp & !LENGTH == stamp {
            way.hits += 1;
            return Some(if way.stamp & LENGTH == u64::from(FULL_LENGTH) {
                XdpCounter::DroppedAddress as u32
            } else {
                XdpCounter::DroppedPrefix as u32
            });
        }
    }
    None
}

/// Packets of this source that its entry has not heard of; from now on it has.
#[inline(always)]
pub(crate) fn take_hits(state: &FirewallState, packet: &Packet) -> u64 {
    let Some(ways) = ways(state, packet) else { return 0 };
    let mut hits = 0;
    for way in ways {
        if way.low == packet.low && way.high == packet.high && way.stamp & V6 == family(packet) {
            hits += way.hits;
            *way = RecentDrop::default();
        }
    }
    hits
}

/// Remembers that the packet's source is dropped by an entry of this length for as long as the stamp holds. Where all ways are taken in this
/// second, it is not.
#[inline(always)]
pub(crate) fn remember(state: &FirewallState, packet: &Packet, stamp: u64, length: u32) {
    let Some(ways) = ways(state, packet) else { return };
    for way in ways {
        if way.stamp & !(V6 | LENGTH) != stamp {
            settle(way);
            let stamp = stamp | family(packet) | u64::from(length);
            *way = RecentDrop { high: packet.high, low: packet.low, stamp, hits: 0 };
            return;
        }
    }
}

/// Tells the entry of a source that makes room of the packets that it has not heard of.
#[inline(always)]
fn settle(way: &RecentDrop) {
    if way.hits == 0 {
        return;
    }
    let length = (way.stamp & LENGTH) as u32;
    let entry = if way.stamp & V6 == 0 {
        lists::entry_v4(way.low as u32, length)
    } else {
        lists::entry_v6(way.high, way.low, length)
    };
    if let Some(entry) = entry {
        add_hits(entry, way.hits);
    }
}

/// Adds to what an entry has counted.
#[inline(always)]
pub(crate) fn add_hits(entry: *mut BlockEntry, hits: u64) {
    // SAFETY: the pointer comes from a look-up in this program run, whose memory stays valid until the program returns (RCU); the field is an
    // aligned word, and all CPUs add to it atomically.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(&raw mut (*entry).hits, hits);
    }
}

#[inline(always)]
fn ways(state: &FirewallState, packet: &Packet) -> Option<&'static mut [RecentDrop; WAYS]> {
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let place = recent::place(packet.high, packet.low, state.recent_mask);
    let drops = RECENT.get_ptr_mut(cpu * (state.recent_mask + 1) + place)?;
    // SAFETY: the memory belongs to this CPU, whose programs do not interrupt one another; user space reads single words of it.
    Some(unsafe { &mut (*drops).ways })
}

#[inline(always)]
fn family(packet: &Packet) -> u64 {
    if packet.is_v6 == 0 { 0 } else { V6 }
}
