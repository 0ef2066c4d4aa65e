//! What happens to a packet, from its first byte to its outcome.

use core::ops::Range;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    programs::XdpContext,
};
use sensor_common::{counter::XdpCounter, settings::FirewallState};

use crate::{
    abuse, counters,
    lists::{self, SAMPLE_WANTED},
    packet::{self, Packet, TCP, TCP_FLAGS_AT, Transport},
    recent, slot, socket, state, tunnel,
};

/// The index of a packet's outcome; its IP header stands behind `LINK` bytes and VLAN tags.
#[inline(always)]
pub(crate) fn decide<const LINK: usize>(ctx: &XdpContext) -> u32 {
    let Some(state) = state::current() else { return NOT_LISTED };
    if let Some(packet) = packet::plain_v4::<LINK>(ctx).or_else(|| packet::plain_v6::<LINK>(ctx)) {
        return established(ctx, state, &packet);
    }
    decide_any::<LINK>(ctx, state)
}

/// A packet of an open TCP connection, by its looks: nearly every one is. There is nothing to see but its source.
#[inline(always)]
fn established(ctx: &XdpContext, state: &mut FirewallState, packet: &Packet) -> u32 {
    let classes = lists::classes(state, packet);
    if classes == 0 { NOT_LISTED } else { listed(ctx, state, packet, classes) }
}

#[inline(always)]
fn decide_any<const LINK: usize>(ctx: &XdpContext, state: &mut FirewallState) -> u32 {
    let network = packet::network_header::<LINK>(ctx);
    let packet = match network.and_then(|(ether_type, at)| packet::parse(ctx, ether_type, at)) {
        Ok(packet) => packet,
        Err(reason) => return reason as u32,
    };
    let outcome = established(ctx, state, &packet);
    if outcome != NOT_LISTED {
        return outcome;
    }
    let Some(slot) = slot::get() else { return NOT_LISTED };
    // SAFETY: the slot belongs to this CPU, and nothing else refers to it now.
    unsafe { (*slot).unusual = packet };
    let outcome = sensor_unusual(ctx.ctx);
    if outcome == MAY_BE_LISTED_INSIDE { search(ctx) } else { outcome }
}

/// What is done with a packet of that outcome.
#[inline(always)]
pub(crate) fn action(outcome: u32) -> u32 {
    const DROPS: Range<u32> = XdpCounter::DroppedAddress as u32..XdpCounter::DroppedStray as u32 + 1;
    if DROPS.contains(&outcome) { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

#[inline(always)]
fn listed(ctx: &XdpContext, state: &mut FirewallState, packet: &Packet, classes: u32) -> u32 {
    if let Some(outcome) = recent::dropped(state, packet) {
        return outcome;
    }
    lists::keep(packet, classes);
    search(ctx)
}

/// Searches the lists for the packet that was kept.
#[inline(always)]
fn search(ctx: &XdpContext) -> u32 {
    let mut outcome = lists::sensor_search(ctx.ctx);
    if outcome & !SAMPLE_WANTED == XdpCounter::DroppedStray as u32 && socket::sensor_stray(ctx.ctx) == 0 {
        outcome = XdpCounter::Connected as u32;
    }
    if outcome & SAMPLE_WANTED != 0 {
        lists::sensor_sample(ctx.ctx);
    }
    outcome & !SAMPLE_WANTED
}

/// No outcome: a packet inside a tunnel was kept, and the lists are to be searched for it.
const MAY_BE_LISTED_INSIDE: u32 = u32::MAX;
const NOT_LISTED: u32 = XdpCounter::NotListed as u32;

/// A packet of a source in no list that opens a connection, is of another protocol, in a tunnel or behind extension headers. Returns
/// the index of its outcome.
///
/// A global function: the verifier walks it by itself, once, knowing nothing of its callers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_unusual(ctx: *mut xdp_md) -> u32 {
    let ctx = &XdpContext::new(ctx);
    let (Some(state), Some(slot)) = (state::current(), slot::get()) else { return NOT_LISTED };
    // SAFETY: the slot belongs to this CPU; `unusual` is written only before this function is called.
    let packet = unsafe { &(*slot).unusual };
    let transport = match packet.transport(ctx) {
        Ok(transport) => transport,
        Err(Some(mark)) => {
            counters::add(mark);
            return NOT_LISTED;
        }
        Err(None) => return NOT_LISTED,
    };
    if transport.protocol != TCP {
        return tunnelled(ctx, state, transport);
    }
    let Some([_, flags]) = packet::read(ctx, transport.offset + TCP_FLAGS_AT - 1) else { return NOT_LISTED };
    if abuse::usual(flags) { NOT_LISTED } else { abuse::count(state, packet, flags) as u32 }
}

/// The lists count for the source inside a tunnel too, where the agent has asked for it.
#[inline(always)]
fn tunnelled(ctx: &XdpContext, state: &FirewallState, transport: Transport) -> u32 {
    let Some(inner) = tunnel::inside(ctx, transport) else { return NOT_LISTED };
    counters::add(inner.counter);
    if state.tunnels & inner.kind == 0 {
        return NOT_LISTED;
    }
    let Some((ether_type, network)) = inner.network(ctx) else { return NOT_LISTED };
    if network > packet::FURTHEST {
        return NOT_LISTED;
    }
    match packet::parse(ctx, ether_type, network) {
        Ok(packet) => {
            let classes = lists::classes(state, &packet);
            if classes == 0 {
                return NOT_LISTED;
            }
            lists::keep(&packet, classes);
            MAY_BE_LISTED_INSIDE
        }
        Err(_) => NOT_LISTED,
    }
}
