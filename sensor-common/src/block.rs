//! Entries of the block and exemption lists.
//!
//! The kernel needs little of an entry, and there may be a million of them: what only people need (origin, reason)
//! stands in a map of its own, pinned beside, so that both survive the agent.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A blocked address or prefix, as the XDP program reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BlockEntry {
    /// Boot clock in nanoseconds from which the entry no longer counts; [`NEVER`] if it does not expire.
    pub expires_ns: u64,
    /// Packets that matched (dropped, or passed in shadow mode). Added to by the kernel.
    pub hits: u64,
    /// Boot clock in nanoseconds of the last match; 0 before the first. Written by the kernel.
    pub last_hit_ns: u64,
    /// [`SHADOW`], [`AUTOMATIC`].
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}

/// [`BlockEntry::expires_ns`] of an entry without an end.
pub const NEVER: u64 = 0;
/// Flag: count a match, but let the packet pass.
pub const SHADOW: u32 = 1;
/// Flag: the sensor made this entry; the panic switch suspends it.
pub const AUTOMATIC: u32 = 2;

/// Key of [`BlockNote`]: one address or prefix of either family.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NoteKey {
    /// Network address, IPv4 as IPv4-mapped IPv6.
    pub address: [u8; 16],
    /// Prefix length within the family: at most 32 for IPv4, 128 for IPv6.
    pub prefix_len: u32,
}

/// Bytes kept of a reason.
pub const REASON_LEN: usize = 112;

/// What people want to know of an entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BlockNote {
    /// Wall clock when the entry was made, milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Who made it ([`origin`]).
    pub origin: u32,
    /// Bytes of `reason` in use: `reason_len <= REASON_LEN`.
    pub reason_len: u32,
    /// UTF-8 text, one line.
    pub reason: [u8; REASON_LEN],
}

/// Values of [`BlockNote::origin`] and [`ExemptEntry::origin`].
pub mod origin {
    /// An operator, by command line or API.
    pub const OPERATOR: u32 = 1;
    /// The sensor's own verdict.
    pub const VERDICT: u32 = 2;
    /// An imported list.
    pub const IMPORT: u32 = 3;
    /// The configuration file.
    pub const CONFIGURATION: u32 = 4;
    /// Read from the host: own addresses, gateways, resolvers.
    pub const HOST: u32 = 5;
}

/// An exempt prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ExemptEntry {
    /// Who made it ([`origin`]).
    pub origin: u32,
}
