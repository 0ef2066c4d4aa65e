//! Source addresses of benchmarks: the kernel program that writes them into packets and the program that fills the lists count
//! through the same sequence.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A part of the sequence, walked round and round.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SourceSet {
    /// Place of the first address.
    pub first: u64,
    /// Addresses, less one; their number is a power of two.
    pub mask: u64,
    /// Not 0 for IPv6.
    pub is_v6: u64,
    /// Bits that every IPv4 address has set.
    pub v4_bits: u64,
    /// Index of the interface that a flood is sent out of.
    pub interface: u64,
}

/// An IPv4 address below 224.0.0.0, scattered (multiplication by an odd number and a shift are both invertible).
#[inline(always)]
#[must_use]
pub const fn source_v4(index: u64) -> u32 {
    let mut mixed = (index as u32).wrapping_mul(0x9e37_79b1);
    mixed ^= mixed >> 15;
    mixed = mixed.wrapping_mul(0x85eb_ca77);
    mixed ^= mixed >> 13;
    if mixed >> 29 == 7 { mixed & 0x7fff_ffff } else { mixed }
}

/// Halves of an IPv6 address in 2000::/3, each in a network of its own.
#[inline(always)]
#[must_use]
pub const fn source_v6(index: u64) -> (u64, u64) {
    let mut mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 32;
    mixed = mixed.wrapping_mul(0xd6e8_feb8_6659_fd93);
    (0x2000_0000_0000_0000 | mixed >> 3, mixed ^ mixed >> 29)
}
