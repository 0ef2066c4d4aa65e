//! The XDP firewall: a packet of a blocked, not exempt source is dropped, every other passes.
//!
//! Most packets come from sources in no list, so the block lists are asked first and the exemptions only about a packet
//! that would be dropped: the outcome is the same as with the exemptions first, and the common path does without them.
#![no_std]
#![no_main]
// The target has atomic additions, but `core` offers its atomic types only where there is compare-and-swap.
#![feature(core_intrinsics)]
#![allow(internal_features)]

mod counters;
mod lists;
mod packet;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use sensor_common::counter::XdpCounter;

use packet::Source;

/// Entry point.
#[xdp]
pub fn sensor_firewall(ctx: XdpContext) -> u32 {
    let outcome = match packet::source(&ctx) {
        Ok(Source::V4(address)) => lists::judge_v4(address),
        Ok(Source::V6(address)) => lists::judge_v6(address),
        Err(reason) => reason,
    };
    counters::add(outcome);
    action(outcome)
}

fn action(outcome: XdpCounter) -> u32 {
    match outcome {
        XdpCounter::DroppedAddress | XdpCounter::DroppedPrefix => xdp_action::XDP_DROP,
        XdpCounter::NotIp
        | XdpCounter::Malformed
        | XdpCounter::NotListed
        | XdpCounter::Exempt
        | XdpCounter::Expired
        | XdpCounter::Shadow
        | XdpCounter::Suspended => xdp_action::XDP_PASS,
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
