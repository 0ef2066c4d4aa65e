//! One counter an outcome, per CPU.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use sensor_common::counter::XdpCounter;

#[map]
static XDP_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(XdpCounter::COUNT, 0);

/// Counts one packet.
#[inline(always)]
pub(crate) fn add(counter: XdpCounter) {
    add_index(counter as u32);
}

/// Counts one packet by the index of its counter.
#[inline(always)]
pub(crate) fn add_index(index: u32) {
    if let Some(value) = XDP_COUNTERS.get_ptr_mut(index) {
        // SAFETY: the slot belongs to this CPU, and XDP programs are not preempted by one another.
        unsafe { *value += 1 };
    }
}
