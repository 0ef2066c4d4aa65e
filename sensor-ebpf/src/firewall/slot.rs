//! What one CPU keeps of the packet at hand while it is looked at more closely.
//!
//! It stands in memory whose contents the verifier does not follow: read back, a number is the same unknown number on every path, so
//! that what follows is walked once and not once for each outcome of what came before.

use aya_ebpf::{macros::map, maps::PerCpuArray};

use crate::{lists::Search, packet::Packet};

#[map]
static SLOT: PerCpuArray<Slot> = PerCpuArray::with_max_entries(1, 0);

/// The memory of one CPU.
#[repr(C)]
pub(crate) struct Slot {
    /// The search in the lists.
    pub(crate) search: Search,
    /// A packet of a source in no list that is no plain part of a TCP connection.
    pub(crate) unusual: Packet,
}

/// This CPU's memory.
#[inline(always)]
pub(crate) fn get() -> Option<*mut Slot> {
    SLOT.get_ptr_mut(0)
}
