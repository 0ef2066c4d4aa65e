//! The XDP firewall as a benchmark runs it: a program in front of it writes the next of a set of source addresses into the packet, since the
//! kernel's test run gives the same packet over and over. Beside it stand the floors that its cost is compared with.
#![no_std]
#![no_main]
#![feature(core_intrinsics, asm_experimental_arch)]
#![allow(internal_features)]

#[path = "../firewall/abuse.rs"]
mod abuse;
#[path = "../firewall/counters.rs"]
mod counters;
#[path = "../firewall/firewall.rs"]
mod firewall;
#[path = "../header.rs"]
mod header;
#[path = "../firewall/lists.rs"]
mod lists;
#[path = "../firewall/packet.rs"]
mod packet;
#[path = "../firewall/recent.rs"]
mod recent;
#[path = "../firewall/samples.rs"]
mod samples;
#[path = "../firewall/slot.rs"]
mod slot;
#[path = "../firewall/socket.rs"]
mod socket;
#[path = "../firewall/state.rs"]
mod state;
#[path = "../firewall/tunnel.rs"]
mod tunnel;

use aya_ebpf::{
    bindings::xdp_action,
    helpers::bpf_redirect,
    macros::{map, xdp},
    maps::{Array, HashMap, PerCpuArray},
    programs::XdpContext,
};
use sensor_common::{
    bench::{SourceSet, source_v4, source_v6},
    counter::XdpCounter,
};

/// Which addresses to write.
#[map]
static SOURCES: Array<SourceSet> = Array::with_max_entries(1, 0);
/// The list as a plain hash of addresses.
#[map]
static PLAIN: HashMap<[u8; 4], u64> = HashMap::with_max_entries(1024, 0);
/// Packets so far.
#[map]
static NEXT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The cost of a test run itself.
#[xdp]
pub fn sensor_bench_empty(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// The cost of writing addresses.
#[xdp]
pub fn sensor_bench_sources(ctx: XdpContext) -> u32 {
    write_source(&ctx);
    xdp_action::XDP_PASS
}

/// What a firewall costs at least that asks one preallocated hash about every source and does nothing else.
#[xdp]
pub fn sensor_bench_hash(ctx: XdpContext) -> u32 {
    write_source(&ctx);
    ask_hash(&ctx)
}

/// The same on packets as they come; what it drops is counted.
#[xdp]
pub fn sensor_bench_hash_deployed(ctx: XdpContext) -> u32 {
    let action = ask_hash(&ctx);
    if action == xdp_action::XDP_DROP {
        counters::add(XdpCounter::DroppedAddress);
    }
    action
}

#[inline(always)]
fn ask_hash(ctx: &XdpContext) -> u32 {
    let at = ctx.data() + 26;
    if at + 4 > ctx.data_end() {
        return xdp_action::XDP_PASS;
    }
    // SAFETY: within the packet, checked above; bytes have no alignment.
    let key = unsafe { *(at as *const [u8; 4]) };
    if PLAIN.get_ptr(key).is_some() { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

/// Sends the packet out of an interface, each with the next source: a flood, when the kernel runs it on live frames.
#[xdp]
pub fn sensor_bench_flood(ctx: XdpContext) -> u32 {
    write_source(&ctx);
    let Some(set) = SOURCES.get(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: the helper checks the index.
    unsafe { bpf_redirect(set.interface as u32, 0) as u32 }
}

/// The floor of a defence: every packet is counted and dropped.
#[xdp]
pub fn sensor_bench_drop_all(_ctx: XdpContext) -> u32 {
    counters::add(XdpCounter::DroppedAddress);
    xdp_action::XDP_DROP
}

/// The floor of whoever looks at packets: the source is read, every packet is counted and dropped.
#[xdp]
pub fn sensor_bench_look(ctx: XdpContext) -> u32 {
    let at = ctx.data() + 26;
    if at + 4 > ctx.data_end() {
        return xdp_action::XDP_PASS;
    }
    // SAFETY: within the packet, checked above; bytes have no alignment. Volatile, since the read is all that is measured.
    let source = unsafe { core::ptr::read_volatile(at as *const [u8; 4]) };
    if source == [0; 4] {
        return xdp_action::XDP_PASS;
    }
    counters::add(XdpCounter::DroppedAddress);
    xdp_action::XDP_DROP
}

/// The firewall on packets as they come.
#[xdp]
pub fn sensor_bench_deployed(ctx: XdpContext) -> u32 {
    let outcome = firewall::decide::<{ header::link::ETHERNET }>(&ctx);
    counters::add_index(outcome);
    firewall::action(outcome)
}

/// The firewall on changing sources.
#[xdp]
pub fn sensor_bench_firewall(ctx: XdpContext) -> u32 {
    write_source(&ctx);
    let outcome = firewall::decide::<{ header::link::ETHERNET }>(&ctx);
    counters::add_index(outcome);
    firewall::action(outcome)
}

#[inline(always)]
fn write_source(ctx: &XdpContext) {
    let (Some(set), Some(next)) = (SOURCES.get(0), NEXT.get_ptr_mut(0)) else { return };
    // SAFETY: the slot belongs to this CPU.
    let next = unsafe { &mut *next };
    let index = set.first + (*next & set.mask);
    *next += 1;
    if set.is_v6 == 0 {
        write(ctx, 26, (source_v4(index) | set.v4_bits as u32).to_be_bytes());
    } else {
        let (high, low) = source_v6(index);
        write(ctx, 22, high.to_be_bytes());
        write(ctx, 30, low.to_be_bytes());
    }
}

#[inline(always)]
fn write<const N: usize>(ctx: &XdpContext, offset: usize, bytes: [u8; N]) {
    let at = ctx.data() + offset;
    if at + N <= ctx.data_end() {
        // SAFETY: within the packet, checked above; bytes have no alignment.
        unsafe { *(at as *mut [u8; N]) = bytes };
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
