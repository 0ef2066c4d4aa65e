//! Settings that the agent changes while the kernel programs run: one-entry arrays, written whole.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Settings of the XDP program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct XdpSettings {
    /// Not 0 after the panic switch: entries flagged [`crate::block::AUTOMATIC`] let packets pass.
    pub automatic_suspended: u32,
    /// Zero.
    pub reserved: u32,
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
    /// Nanoseconds between two wake-ups of one ring's reader on one CPU.
    pub wake_interval_ns: u64,
}
