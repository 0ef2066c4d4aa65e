//! The tap: reads TCP payloads of HTTP flows in both directions into ring buffers. It only reads; whatever happens here,
//! the packet goes on to the next program of its hook.
#![no_std]
#![no_main]
// Inline assembly on BPF, for the verifier's sake (`bytes::opaque`).
#![feature(asm_experimental_arch)]

mod abuse;
mod bytes;
mod counters;
mod flows;
#[path = "../header.rs"]
mod header;
mod message;
mod options;
mod owner;
mod packet;
mod ring;
mod settings;
mod socket;
mod tunnel;

use aya_ebpf::{bindings::__sk_buff, macros::classifier, programs::TcContext};
use sensor_common::{
    counter::TapCounter,
    flow::class,
    record::{EGRESS, INGRESS, tcp},
};

use packet::Packet;

/// TC_ACT_UNSPEC and TCX_NEXT: this program has no opinion.
const NEXT: i32 = -1;

/// Entry point for packets that arrive.
#[classifier]
pub fn sensor_tap_in(ctx: TcContext) -> i32 {
    counters::add(observe(&ctx, INGRESS));
    NEXT
}

/// Entry point for packets that leave.
#[classifier]
pub fn sensor_tap_out(ctx: TcContext) -> i32 {
    counters::add(observe(&ctx, EGRESS));
    NEXT
}

#[inline(always)]
fn observe(ctx: &TcContext, direction: u8) -> TapCounter {
    let packet = match packet::parse(ctx, direction) {
        Ok(packet) => packet,
        Err(reason @ (TapCounter::Fragment | TapCounter::Unparsed)) => return refused(ctx, direction, reason),
        Err(reason) => return reason,
    };
    let flags = packet.flags();
    if flags & (tcp::SYN | tcp::RST) == tcp::SYN {
        if flags & tcp::ACK != 0 {
            options::read(ctx, packet);
            flows::remember_handshake(ctx, packet);
        }
        return TapCounter::NoPayload;
    }
    if flags & tcp::RST != 0 {
        abuse::note_reset(&packet.header, flags);
    }
    if packet.payload_len() != 0 {
        payload(ctx, packet)
    } else if flags & (tcp::FIN | tcp::RST) != 0 {
        ending(ctx, packet)
    } else {
        TapCounter::NoPayload
    }
}

/// A segment with payload: recorded if its flow is HTTP, or may turn out to be.
#[inline(always)]
fn payload(ctx: &TcContext, packet: &mut Packet) -> TapCounter {
    match flows::classify(ctx, packet) {
        class::OTHER => TapCounter::OtherFlow,
        class::TLS => TapCounter::Tls,
        class::OWN => TapCounter::Own,
        flows::UNWANTED => TapCounter::Skipped,
        known => {
            options::read(ctx, packet);
            let outcome = ring::record(ctx, packet);
            if known == class::WEBSOCKET && outcome == TapCounter::Recorded {
                counters::add(TapCounter::WebSocket);
            }
            outcome
        }
    }
}

/// A packet whose segment only the agent can find, if it takes such packets; otherwise counted by its reason.
#[inline(always)]
fn refused(ctx: &TcContext, direction: u8, reason: TapCounter) -> TapCounter {
    let outcome = sensor_whole(ctx.skb.skb, u32::from(direction));
    match TapCounter::ALL.get(outcome as usize) {
        Some(TapCounter::NoRing) | None => reason,
        Some(&outcome) => outcome,
    }
}

/// Records a packet as a whole; returns the counter of what became of it, or [`NOT_WHOLE`].
///
/// A global function: the verifier walks it by itself, once, knowing nothing of its caller.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_whole(skb: *mut __sk_buff, direction: u32) -> u32 {
    let ctx = TcContext::new(skb);
    let Some(packet) = packet::whole(&ctx, direction as u8) else { return NOT_WHOLE };
    let outcome = ring::record(&ctx, packet);
    if outcome == TapCounter::Recorded {
        counters::add(TapCounter::Whole);
    }
    outcome as u32
}

/// Index of no counter.
const NOT_WHOLE: u32 = u32::MAX;

/// A bare FIN or RST: the engine wants to know how a flow ends, if it knows the flow.
#[inline(always)]
fn ending(ctx: &TcContext, packet: &mut Packet) -> TapCounter {
    if !matches!(flows::class_of(packet), class::HTTP | class::WEBSOCKET) {
        return TapCounter::NoPayload;
    }
    ring::record(ctx, packet)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
