//! Asks the kernel's socket table about a connection.

use core::mem;

use aya_ebpf::{
    bindings::{
        bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::generated::{bpf_sk_release, bpf_skc_lookup_tcp},
    programs::TcContext,
};
use sensor_common::record::RecordHeader;

/// BPF_F_CURRENT_NETNS: the namespace of the device.
const CURRENT_NAMESPACE: u64 = u64::MAX;
/// `TCP_LISTEN` (kernel's net/tcp_states.h).
const LISTENS: u32 = 10;
/// Bits of `TCP_ESTABLISHED`, `FIN_WAIT1`, `FIN_WAIT2`, `CLOSE_WAIT`, `LAST_ACK`, `CLOSING` (kernel's net/tcp_states.h): states
/// that only a completed handshake leads to.
const CONNECTED_STATES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;

/// Whether the host has a connected socket for the flow of this arriving segment (kernel 4.20 and later).
#[inline(always)]
pub(crate) fn established(ctx: &TcContext, header: &RecordHeader) -> bool {
    // The two families are looked up apart: a union that holds either, of which one is not written whole, is refused.
    if header.ip_version == 4 { established_v4(ctx, header) } else { established_v6(ctx, header) }
}

#[inline(always)]
fn established_v4(ctx: &TcContext, header: &RecordHeader) -> bool {
    let mut tuple = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
        saddr: last_word(&header.source),
        daddr: last_word(&header.destination),
        sport: header.source_port.to_be(),
        dport: header.destination_port.to_be(),
    };
    connected(ctx, (&raw mut tuple).cast(), mem::size_of_val(&tuple) as u32)
}

#[inline(always)]
fn established_v6(ctx: &TcContext, header: &RecordHeader) -> bool {
    let mut tuple = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
        saddr: all_words(&header.source),
        daddr: all_words(&header.destination),
        sport: header.source_port.to_be(),
        dport: header.destination_port.to_be(),
    };
    connected(ctx, (&raw mut tuple).cast(), mem::size_of_val(&tuple) as u32)
}

#[inline(always)]
fn connected(ctx: &TcContext, tuple: *mut bpf_sock_tuple, len: u32) -> bool {
    let state = state_of(ctx, tuple, len);
    state < 32 && CONNECTED_STATES & (1 << state) != 0
}

/// Whether the host listens where the segment goes (`destination`) or comes from.
#[inline(always)]
pub(crate) fn listens(ctx: &TcContext, header: &RecordHeader, destination: bool) -> bool {
    let (address, port) = if destination {
        (&header.destination, header.destination_port)
    } else {
        (&header.source, header.source_port)
    };
    // No connection has a port 0, so that only a listener is found.
    if header.ip_version == 4 {
        let mut tuple = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
            saddr: 0,
            daddr: last_word(address),
            sport: 0,
            dport: port.to_be(),
        };
        state_of(ctx, (&raw mut tuple).cast(), mem::size_of_val(&tuple) as u32) == LISTENS
    } else {
        let mut tuple = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
            saddr: [0; 4],
            daddr: all_words(address),
            sport: 0,
            dport: port.to_be(),
        };
        state_of(ctx, (&raw mut tuple).cast(), mem::size_of_val(&tuple) as u32) == LISTENS
    }
}

/// State of the socket that the tuple leads to; 0 if there is none.
#[inline(always)]
fn state_of(ctx: &TcContext, tuple: *mut bpf_sock_tuple, len: u32) -> u32 {
    // SAFETY: the tuple lives on the caller's stack and is `len` bytes long, which is how the helper tells the family.
    let socket = unsafe { bpf_skc_lookup_tcp(ctx.skb.skb.cast(), tuple, len, CURRENT_NAMESPACE, 0) };
    if socket.is_null() {
        return 0;
    }
    // SAFETY: the socket is not null and referenced until the release that follows.
    let state = unsafe { (*socket).state };
    // SAFETY: releases the one reference that the look-up took.
    unsafe { bpf_sk_release(socket.cast()) };
    state
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
