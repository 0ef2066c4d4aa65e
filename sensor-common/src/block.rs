//! Entries of the block and exemption lists.
//!
//! Addresses and prefixes of a family stand in one hash, keyed by length: a packet that the prefilter does not let through costs one look-up
//! for each length in question, which a trie of the same size cannot do. There may be a million entries, often with the same
//! reason, so an entry has the number of its reason.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of a blocked IPv4 address or prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BlockKey4 {
    /// Network address: bits behind `length` are zero.
    pub address: [u8; 4],
    /// Destination port that is closed to it; 0 for the whole host.
    pub port: u16,
    /// Prefix length, 1 to 32.
    pub length: u8,
    /// Zero.
    pub reserved: u8,
}

/// Key of a blocked IPv6 address or prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BlockKey6 {
    /// Network address: bits behind `length` are zero.
    pub address: [u8; 16],
    /// Destination port that is closed to it; 0 for the whole host.
    pub port: u16,
    /// Prefix length, 1 to 128.
    pub length: u8,
    /// Zero.
    pub reserved: u8,
}

/// Key of a blocked connection, as its packets arrive.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BlockTuple {
    /// Source address, IPv4 as IPv4-mapped IPv6.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

/// A blocked address, prefix or connection, as the XDP program reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BlockEntry {
    /// Boot clock in nanoseconds from which the entry no longer counts; [`NEVER`] if it does not expire.
    pub expires_ns: u64,
    /// Packets that matched (dropped, or passed in shadow mode). Added to by the kernel.
    pub hits: u64,
    /// Boot clock in nanoseconds of the last match, a few milliseconds coarse; 0 before the first. Written by the kernel.
    pub last_hit_ns: u64,
    /// [`SHADOW`], [`AUTOMATIC`], [`STRAYS`].
    pub flags: u32,
    /// Who made it ([`origin`]).
    pub origin: u32,
    /// Number of its [`Reason`]; 0 without one.
    pub reason: u32,
    /// Wall clock when it was made, seconds since 1970.
    pub created_unix_s: u32,
}

/// [`BlockEntry::expires_ns`] of an entry without an end.
pub const NEVER: u64 = 0;
/// Flag: count a match, but let the packet pass.
pub const SHADOW: u32 = 1;
/// Flag: the sensor made this entry; the panic switch suspends it.
pub const AUTOMATIC: u32 = 2;
/// Flag: only segments without a connection are dropped; what opens one, belongs to one or is not TCP passes.
pub const STRAYS: u32 = 4;

/// Bytes kept of a reason.
pub const REASON_LEN: usize = 112;

/// Why entries were made: many share one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Reason {
    /// Bytes of `text` in use: `len <= REASON_LEN`.
    pub len: u32,
    /// UTF-8 text, one line.
    pub text: [u8; REASON_LEN],
}

/// Values of [`BlockEntry::origin`] and [`ExemptEntry::origin`].
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
