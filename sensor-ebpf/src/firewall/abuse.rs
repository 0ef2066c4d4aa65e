//! Packet-level abuse by source: connection attempts, flags that no stack sends. Only packets that open connections or are odd
//! get here, so that traffic on open connections pays one comparison.

use aya_ebpf::{macros::map, maps::LruHashMap};
use sensor_common::{counter::XdpCounter, drop::Abuse, limit, record::tcp, settings::FirewallState};

use crate::{counters, lists, packet::Packet, state};

#[map]
static ABUSE: LruHashMap<[u8; 16], Abuse> = LruHashMap::with_max_entries(limit::ABUSE_SOURCES, 0);

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Whether the flags are those of nearly every segment: an acknowledgement and no SYN.
#[inline(always)]
pub(crate) fn usual(flags: u8) -> bool {
    flags & (tcp::SYN | tcp::ACK) == tcp::ACK
}

/// Counts an unusual segment; returns its outcome.
#[inline(always)]
pub(crate) fn count(state: &mut FirewallState, packet: &Packet, flags: u8) -> XdpCounter {
    let attempt = flags & (tcp::SYN | tcp::ACK | tcp::FIN | tcp::RST) == tcp::SYN;
    let odd = flags & tcp::SYN != 0 && flags & (tcp::FIN | tcp::RST) != 0
        || flags & (tcp::SYN | tcp::ACK | tcp::RST) == 0;
    if !attempt && !odd {
        return XdpCounter::NotListed;
    }
    counters::add(if attempt { XdpCounter::Syn } else { XdpCounter::OddFlags });
    let second = (state::now(state) / NANOS_PER_SECOND) as u32;
    let source = packet.source_bytes();
    let Some(known) = ABUSE.get_ptr_mut(source) else {
        let first = Abuse {
            second,
            syns_now: u32::from(attempt),
            syns_peak: u32::from(attempt),
            syns: u64::from(attempt),
            odd_flags: u64::from(odd),
            ..Abuse::default()
        };
        // A full LRU map evicts; any other failure loses one count.
        let _ = ABUSE.insert(source, first, 0);
        return if odd { odd_outcome(state, packet) } else { XdpCounter::NotListed };
    };
    // SAFETY: the pointer comes from a look-up in this run. CPUs may count at once and lose a count to one another, which a
    // rate can bear.
    let known = unsafe { &mut *known };
    known.odd_flags += u64::from(odd);
    if odd {
        odd_outcome(state, packet)
    } else if too_many(state, packet, known, second) {
        XdpCounter::DroppedRate
    } else {
        XdpCounter::NotListed
    }
}

#[inline(always)]
fn odd_outcome(state: &FirewallState, packet: &Packet) -> XdpCounter {
    let dropped = state.drop_odd_flags != 0 && !lists::exempt(state, packet);
    if dropped { XdpCounter::DroppedFlags } else { XdpCounter::NotListed }
}

#[inline(always)]
fn too_many(state: &FirewallState, packet: &Packet, known: &mut Abuse, second: u32) -> bool {
    known.enter(second);
    known.syns += 1;
    known.syns_now += 1;
    if known.syns_now > known.syns_peak {
        known.syns_peak = known.syns_now;
    }
    let policed = state.syn_limit != 0 && known.syns_now > state.syn_limit && !lists::exempt(state, packet);
    known.policed += u64::from(policed);
    policed
}
