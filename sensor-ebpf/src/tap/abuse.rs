//! What the host itself says of packet-level abuse: a reset that answers a segment without a connection, or an attempt to reach a port where
//! nobody listens. It costs the traffic of open connections nothing, since only resets are looked at.

use aya_ebpf::{helpers::bpf_ktime_get_boot_ns, macros::map, maps::LruHashMap};
use sensor_common::{
    counter::TapCounter,
    drop::Abuse,
    limit,
    record::{EGRESS, RecordHeader, tcp},
};

use crate::counters;

/// Shared with the firewall, which counts connection attempts and odd flags there.
#[map]
static ABUSE: LruHashMap<[u8; 16], Abuse> = LruHashMap::with_max_entries(limit::ABUSE_SOURCES, 0);

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Counts a reset that the stack itself sends (RFC 9293 section 3.10.7.1): one without acknowledgement answers a segment that had one and
/// belongs to no connection; one with sequence number 0 answers a connection attempt. An application's reset has an acknowledgement and
/// a sequence number.
#[inline(always)]
pub(crate) fn note_reset(header: &RecordHeader, flags: u8) {
    if header.direction != EGRESS {
        return;
    }
    let stray = flags & tcp::ACK == 0;
    if !stray && header.sequence != 0 {
        return;
    }
    counters::add(if stray { TapCounter::Stray } else { TapCounter::Refused });
    // SAFETY: the helper has no preconditions (kernel 5.8 and later).
    let second = (unsafe { bpf_ktime_get_boot_ns() } / NANOS_PER_SECOND) as u32;
    let Some(known) = ABUSE.get_ptr_mut(header.destination) else {
        let now = u32::from(stray);
        let first = Abuse {
            second,
            strays_now: now,
            strays_peak: now,
            strays: u64::from(stray),
            refused: u64::from(!stray),
            ..Abuse::default()
        };
        // A full LRU map evicts; any other failure loses one count.
        let _ = ABUSE.insert(header.destination, first, 0);
        return;
    };
    // SAFETY: the pointer comes from a look-up in this run. CPUs may count at once and lose a count to one another, which a
    // rate can bear.
    let known = unsafe { &mut *known };
    known.enter(second);
    known.strays_now += u32::from(stray);
    known.strays += u64::from(stray);
    known.refused += u64::from(!stray);
    if known.strays_now > known.strays_peak {
        known.strays_peak = known.strays_now;
    }
}
