//! Asks the kernel's socket table whether a segment has a connection. Only for sources of which stray segments are dropped: the look-up takes longer
//! than all the rest of the program.

use core::mem;

use aya_ebpf::{
    bindings::{
        bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2, xdp_md,
    },
    helpers::generated::{bpf_sk_release, bpf_skc_lookup_tcp},
    programs::XdpContext,
};
use sensor_common::record::tcp;

use crate::{
    packet::{self, Packet, TCP, TCP_FLAGS_AT},
    slot,
};

/// BPF_F_CURRENT_NETNS: the namespace of the device.
const CURRENT_NAMESPACE: u64 = u64::MAX;
/// `TCP_LISTEN` (kernel's net/tcp_states.h).
const LISTENS: u32 = 10;

/// 1 if the packet that the last search was about is a TCP segment that neither belongs to a connection of the host nor opens one; else 0.
///
/// A global function: the verifier walks it by itself, once, knowing nothing of its caller.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_stray(ctx: *mut xdp_md) -> u32 {
    let ctx = &XdpContext::new(ctx);
    let Some(slot) = slot::get() else { return 0 };
    // SAFETY: the slot belongs to this CPU; the search is over, so that nobody writes to it.
    let packet = unsafe { &(*slot).search.packet };
    let Ok(transport) = packet.transport(ctx) else { return 0 };
    if transport.protocol != TCP {
        return 0;
    }
    // One read for all, so that one check stands for all of it.
    let Some(header) = packet::read::<{ TCP_FLAGS_AT + 1 }>(ctx, transport.offset) else { return 0 };
    let flags = header[TCP_FLAGS_AT];
    if flags & (tcp::SYN | tcp::ACK | tcp::FIN | tcp::RST) == tcp::SYN {
        return 0;
    }
    let (sport, dport) =
        (u16::from_ne_bytes([header[0], header[1]]), u16::from_ne_bytes([header[2], header[3]]));
    u32::from(!has_socket(ctx, packet, sport, dport))
}

/// Whether the host has a socket, or an unfinished handshake, of exactly this connection.
#[inline(always)]
fn has_socket(ctx: &XdpContext, packet: &Packet, sport: u16, dport: u16) -> bool {
    let (source, destination) = (packet.source_bytes(), packet.destination_bytes(ctx));
    // The two families are looked up apart: a union that holds either, of which one is not written whole, is refused.
    if packet.is_v6 == 0 {
        let (saddr, daddr) = (last_word(&source), last_word(&destination));
        let mut tuple = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 { saddr, daddr, sport, dport };
        connected(ctx, (&raw mut tuple).cast(), mem::size_of_val(&tuple) as u32)
    } else {
        let (saddr, daddr) = (all_words(&source), all_words(&destination));
        let mut tuple = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 { saddr, daddr, sport, dport };
        connected(ctx, (&raw mut tuple).cast(), mem::size_of_val(&tuple) as u32)
    }
}

#[inline(always)]
fn connected(ctx: &XdpContext, tuple: *mut bpf_sock_tuple, len: u32) -> bool {
    // SAFETY: the tuple lives on the caller's stack and is `len` bytes long, which is how the helper tells the family.
    let socket = unsafe { bpf_skc_lookup_tcp(ctx.ctx.cast(), tuple, len, CURRENT_NAMESPACE, 0) };
    if socket.is_null() {
        return false;
    }
    // SAFETY: the socket is not null and referenced until the release that follows.
    let state = unsafe { (*socket).state };
    // SAFETY: releases the one reference that the look-up took.
    unsafe { bpf_sk_release(socket.cast()) };
    state != LISTENS
}

#[inline(always)]
fn last_word(address: &[u8; 16]) -> u32 {
    u32::from_ne_bytes([address[12], address[13], address[14], address[15]])
}

#[inline(always)]
fn all_words(address: &[u8; 16]) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *address;
    [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(u32::from_ne_bytes)
}
