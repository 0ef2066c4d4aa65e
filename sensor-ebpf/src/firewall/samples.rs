//! Samples of the packets that entries match, for people and logs: a ring that nobody waits for.

use aya_ebpf::{macros::map, maps::RingBuf, programs::XdpContext};
use sensor_common::{counter::XdpCounter, drop::DropSample, limit};

use crate::{
    counters,
    packet::{self, Packet},
};

#[map]
static DROPS: RingBuf = RingBuf::with_byte_size(limit::DROP_RING, 0);

/// What a sample tells of the entry.
pub(crate) struct Entry {
    pub(crate) hits: u64,
    pub(crate) reason: u32,
    pub(crate) length: u8,
    pub(crate) shadow: u8,
}

/// BPF_RB_NO_WAKEUP: the agent looks once a second.
const NO_WAKEUP: u64 = 1;

/// Writes a sample; one that finds no room is counted.
#[inline(always)]
pub(crate) fn send(ctx: &XdpContext, packet: &Packet, now: u64, entry: &Entry) {
    let Some(mut slot) = DROPS.reserve::<DropSample>(0) else {
        counters::add(XdpCounter::SampleLost);
        return;
    };
    let (protocol, (source_port, destination_port)) = match packet.transport(ctx) {
        Ok(transport) => (transport.protocol, packet::ports(ctx, transport)),
        Err(_) => (packet.protocol as u8, (0, 0)),
    };
    slot.write(DropSample {
        time_ns: now,
        hits: entry.hits,
        source: packet.source_bytes(),
        destination: packet.destination_bytes(ctx),
        // SAFETY: the context is the live `xdp_md` of this run.
        interface: unsafe { (*ctx.ctx).ingress_ifindex },
        reason: entry.reason,
        source_port,
        destination_port,
        protocol,
        length: entry.length,
        shadow: entry.shadow,
        reserved: 0,
    });
    slot.submit(NO_WAKEUP);
}
