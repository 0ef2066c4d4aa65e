//! Counters by name, per CPU.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use sensor_common::counter::TapCounter;

#[map]
static TAP_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(TapCounter::COUNT, 0);

/// Counts one packet.
#[inline(always)]
pub(crate) fn add(counter: TapCounter) {
    if let Some(value) = TAP_COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the slot belongs to this CPU, and TC programs are not preempted by one another.
        unsafe { *value += 1 };
    }
}
