//! Settings that the agent changes while the kernel programs run: one-entry arrays, written whole.

use crate::filter::Filter;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Settings of the XDP program, and its two builds of the prefilters: one is asked, the other is free to be built anew.
///
/// User space maps this and changes single words; the program reads [`FirewallState::active`] once for each packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FirewallState {
    /// Not 0 after the panic switch: entries flagged [`crate::block::AUTOMATIC`] let packets pass.
    pub automatic_suspended: u32,
    /// Build of the prefilters in use, 0 or 1.
    pub active: u32,
    /// Not 0 while user space fills the other build: whoever makes an entry marks it in both.
    pub building: u32,
    /// Connection attempts (SYN) of one source in one second from which more are dropped; 0 drops none.
    pub syn_limit: u32,
    /// Tunnels ([`tunnel`]) into which the program looks for the inner source.
    pub tunnels: u32,
    /// Not 0 once an entry for a single port was made.
    pub ports_in_use: u32,
    /// Not 0 once an entry for a single connection was made.
    pub tuples_in_use: u32,
    /// Changes with every build of the prefilters that is put to use. Only user space reads and writes it.
    pub generation: u32,
    /// Not 0 if segments with flags that no stack sends are dropped.
    pub drop_odd_flags: u32,
    /// Changes of the lists after which a packet that was dropped may pass: removed and replaced entries, exemptions, suspensions.
    pub changes: u32,
    /// What the boot clock is ahead of the kernel's ticks times their length, nanoseconds. Written by the kernel.
    pub boot_offset_ns: u64,
    /// Ticks when that was found. Written by the kernel.
    pub boot_offset_at: u64,
    /// Length of a tick, nanoseconds: the resolution of CLOCK_MONOTONIC_COARSE. Without it the boot clock is read for each packet that needs
    /// the time.
    pub tick_ns: u64,
    /// Ticks for which the offset is taken to be the same: a second. Only a suspended host changes it.
    pub offset_holds: u64,
    /// Places in which each CPU remembers what it drops, less one; their number is a power of two ([`crate::recent`]).
    pub recent_mask: u32,
    /// Zero.
    pub reserved: u32,
    /// The builds.
    pub views: [FilterView; 2],
}

/// One build of the prefilters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FilterView {
    /// In front of the block list.
    pub block: Filter,
    /// In front of the exemptions.
    pub exempt: Filter,
    /// Prefix lengths in use among IPv4 blocks, for each class in the order of [`crate::filter::class::PREFIXES`].
    pub v4_lengths: [Lengths; 3],
    /// The same for IPv6.
    pub v6_lengths: [Lengths; 3],
    /// Entries marked since it was built. Only user space reads and writes it.
    pub marked: u64,
}

/// Prefix lengths, in any order.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Lengths {
    /// Lengths that there are: `count <= MAX_LENGTHS`. Written after the length itself.
    pub count: u32,
    /// The lengths.
    pub lengths: [u8; MAX_LENGTHS],
}

impl Default for Lengths {
    fn default() -> Self {
        Self { count: 0, lengths: [0; MAX_LENGTHS] }
    }
}

/// Most lengths in one class: IPv6 /45 to /127.
pub const MAX_LENGTHS: usize = 84;

/// Tunnels, as bits.
pub mod tunnel {
    /// GRE (RFC 2784) with IP inside.
    pub const GRE: u32 = 1;
    /// VXLAN (RFC 7348), UDP port 4789.
    pub const VXLAN: u32 = 1 << 1;
    /// Geneve (RFC 8926), UDP port 6081.
    pub const GENEVE: u32 = 1 << 2;
    /// IP in IP (RFC 2003, RFC 4213).
    pub const IPIP: u32 = 1 << 3;
}

/// Settings of the tap.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TapSettings {
    /// Secret of the flow hash, new at every start of the agent.
    pub hash_key: u64,
    /// A flow is sampled if its hash is at most this: `u32::MAX` takes every flow, 0 practically none.
    pub sample_threshold: u32,
    /// Rings in use, at least 1: `rings <= limit::RINGS`. Zero (a tap without an agent yet) records nothing.
    pub rings: u32,
    /// Control group (version 2) of the agent, whose connections are left out; 0 if it has none of its own.
    pub own_cgroup: u64,
    /// Tunnels ([`tunnel`]) whose inner packets are recorded as if they stood alone.
    pub tunnels: u32,
    /// Zero.
    pub reserved: u32,
}
