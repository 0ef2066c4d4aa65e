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
mod headers;
mod message;
mod options;
mod owner;
mod packet;
mod plain;
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

use header::link;
use packet::Packet;

/// TC_ACT_UNSPEC and TCX_NEXT: this program has no opinion.
const NEXT: i32 = -1;

/// Entry point for packets that arrive.
#[classifier]
pub fn sensor_tap_in(ctx: TcContext) -> i32 {
    counters::add(observe::<{ link::ETHERNET }>(&ctx, INGRESS));
    NEXT
}

/// Entry point for packets that leave.
#[classifier]
pub fn sensor_tap_out(ctx: TcContext) -> i32 {
    counters::add(observe::<{ link::ETHERNET }>(&ctx, EGRESS));
    NEXT
}

/// Entry point for packets that arrive by a device without Ethernet headers.
#[classifier]
pub fn sensor_tap_in_ip(ctx: TcContext) -> i32 {
    counters::add(observe::<{ link::NONE }>(&ctx, INGRESS));
    NEXT
}

/// Entry point for packets that leave by such a device.
#[classifier]
pub fn sensor_tap_out_ip(ctx: TcContext) -> i32 {
    counters::add(observe::<{ link::NONE }>(&ctx, EGRESS));
    NEXT
}

#[inline(always)]
fn observe<const LINK: usize>(ctx: &TcContext, direction: u8) -> TapCounter {
    let packet = match packet::parse::<LINK>(ctx, direction) {
        Ok(packet) => packet,
        Err(reason @ (TapCounter::Fragment | TapCounter::Unparsed)) => {
            return refused(ctx, direction, reason);
        }
        Err(reason) => return reason,
    };
    let flags = packet.flags();
    if flags & (tcp::SYN | tcp::RST) == tcp::SYN {
        if flags & tcp::ACK != 0 {
            options::read(ctx, packet);
            flows::remember_handshake(ctx, packet);
            return TapCounter::NoPayload;
        }
        return if packet.payload_len() == 0 { TapCounter::NoPayload } else { early(ctx) };
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
    if packet::whole(ctx, direction).is_none() {
        return reason;
    }
    match record_kept(ctx) {
        TapCounter::NoRing => reason,
        TapCounter::Recorded => {
            counters::add(TapCounter::Whole);
            TapCounter::Recorded
        }
        outcome => outcome,
    }
}

/// Data on a SYN: the agent finds out whether the application gets it.
#[inline(always)]
fn early(ctx: &TcContext) -> TapCounter {
    match record_kept(ctx) {
        TapCounter::NoRing => TapCounter::NoPayload,
        outcome => outcome,
    }
}

#[inline(always)]
fn record_kept(ctx: &TcContext) -> TapCounter {
    // The compiler knows that the function returns indexes only; the verifier does not.
    let outcome = bytes::opaque(u64::from(sensor_record(ctx.skb.skb)));
    TapCounter::ALL.get(outcome as usize).copied().unwrap_or(TapCounter::NoRing)
}

/// Records what this CPU's memory holds the header of, whatever flow it is of; returns the counter of what became of it.
///
/// A global function: the verifier walks it by itself, once, knowing nothing of its caller.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_record(skb: *mut __sk_buff) -> u32 {
    let Some(packet) = packet::kept() else { return TapCounter::NoRing as u32 };
    ring::record(&TcContext::new(skb), packet) as u32
}

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
