//! The XDP firewall: a packet of a blocked, not exempt source is dropped, every other passes.
//!
//! Most packets come from sources in no list, so a prefilter answers for them from one word of memory. Exemptions are asked only about
//! packets that the filter does not let through: the outcome is the same as with the exemptions first.
#![no_std]
#![no_main]
// The target has atomic additions, but `core` offers its atomic types only where there is compare-and-swap.
#![feature(core_intrinsics, asm_experimental_arch)]
#![allow(internal_features)]

mod abuse;
mod counters;
mod firewall;
#[path = "../header.rs"]
mod header;
mod lists;
mod packet;
mod recent;
mod samples;
mod slot;
mod socket;
mod state;
mod tunnel;

use aya_ebpf::{macros::xdp, programs::XdpContext};
use header::link;

/// Entry point.
#[xdp]
pub fn sensor_firewall(ctx: XdpContext) -> u32 {
    run::<{ link::ETHERNET }>(&ctx)
}

/// Entry point for devices without Ethernet headers.
#[xdp]
pub fn sensor_firewall_ip(ctx: XdpContext) -> u32 {
    run::<{ link::NONE }>(&ctx)
}

/// Entry point for devices whose packets come in several buffers: all headers are in the first. Such a program in generic mode makes
/// some kernels (6.12) lose the place of the Ethernet header for the programs behind it, so it is for drivers only.
#[xdp(frags)]
pub fn sensor_firewall_frags(ctx: XdpContext) -> u32 {
    run::<{ link::ETHERNET }>(&ctx)
}

#[inline(always)]
fn run<const LINK: usize>(ctx: &XdpContext) -> u32 {
    let outcome = firewall::decide::<LINK>(ctx);
    counters::add_index(outcome);
    firewall::action(outcome)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
