//! Who is behind a connection: when a process has accepted one, its number, user and control group are noted under the connection's key.
//! The program only reads the kernel's structures, and only copies of them; what cannot be read is left out.
#![no_std]
#![no_main]

mod kernel;
mod process;
mod socket;

use aya_ebpf::{
    macros::{map, tracepoint},
    maps::LruHashMap,
    programs::TracePointContext,
};
use sensor_common::{flow::FlowKey, limit, owner::Owner};

#[map]
static OWNERS: LruHashMap<FlowKey, Owner> = LruHashMap::with_max_entries(limit::OWNERS, 0);

/// Where the system call's return value stands, by the tracepoint's `format` file.
const RETURN_VALUE: usize = 16;

/// Entry point behind accept(2) and accept4(2): the return value is the new connection's descriptor.
#[tracepoint]
pub fn sensor_accept(ctx: TracePointContext) -> u32 {
    // SAFETY: the tracepoint's record has the return value there, and the helper copies it.
    if let Ok(descriptor) = unsafe { ctx.read_at::<i64>(RETURN_VALUE) }
        && descriptor >= 0
    {
        note(descriptor as u64);
    }
    0
}

#[inline(always)]
fn note(descriptor: u64) -> Option<()> {
    let task = kernel::current();
    let key = socket::key(task, descriptor)?;
    let owner = process::owner(task)?;
    // A full LRU map evicts; any other failure leaves the connection to the agent's fall-back.
    let _ = OWNERS.insert(key, owner, 0);
    Some(())
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
