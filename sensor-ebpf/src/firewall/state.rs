//! What the agent has set, which build of the prefilters is in use, and what time it is.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::{bpf_ktime_get_boot_ns, generated::bpf_jiffies64},
    macros::map,
    maps::Array,
};
use sensor_common::settings::{FilterView, FirewallState};

#[map]
static FIREWALL_STATE: Array<FirewallState> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Words of both builds of the prefilters. The agent makes this map in the size that the lists need.
#[map]
static FILTER: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The state; `None` never happens, but the verifier wants to be shown.
#[inline(always)]
pub(crate) fn current() -> Option<&'static mut FirewallState> {
    let state = FIREWALL_STATE.get_ptr_mut(0)?;
    // SAFETY: the map has one entry, which lives as long as the program. Other CPUs and user space write single words of it; every
    // field read here is one word, and any of the values written is one that was meant.
    Some(unsafe { &mut *state })
}

/// The build of the prefilters in use.
#[inline(always)]
pub(crate) fn view(state: &FirewallState) -> &FilterView {
    if state.active & 1 == 0 { &state.views[0] } else { &state.views[1] }
}

/// How often the lists have changed, read where it is asked for.
#[inline(always)]
pub(crate) fn changes(state: &FirewallState) -> u32 {
    // SAFETY: the reference is valid; user space writes the word as a whole.
    unsafe { (&raw const state.changes).read_volatile() }
}

/// A word of the prefilters; one outside the map says "perhaps" to everything.
#[inline(always)]
pub(crate) fn word(at: u32) -> u64 {
    FILTER.get(at).copied().unwrap_or(u64::MAX)
}

/// Boot clock in nanoseconds, as coarse as the kernel's tick. Reading the boot clock costs more than the look-up that it is for; the
/// tick counter is one load (the verifier replaces the helper, kernel 5.6 and later), and what the two differ by is found once a second.
#[inline(always)]
pub(crate) fn now(state: &mut FirewallState) -> u64 {
    // SAFETY: the helper has no preconditions.
    let ticks = unsafe { bpf_jiffies64() };
    if ticks.wrapping_sub(state.boot_offset_at) >= state.offset_holds {
        // SAFETY: the helper has no preconditions (kernel 5.8 and later).
        let boot = unsafe { bpf_ktime_get_boot_ns() };
        state.boot_offset_ns = boot.wrapping_sub(ticks.wrapping_mul(state.tick_ns));
        state.boot_offset_at = ticks;
    }
    ticks.wrapping_mul(state.tick_ns).wrapping_add(state.boot_offset_ns)
}
