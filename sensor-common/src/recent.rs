//! What each CPU remembers of the packets that it drops: a flood's packets cost one look into its own memory, and the entry itself, which
//! all CPUs share, hears of them once a second.
//!
//! Such a memory is right as long as nothing can have changed the answer: within a piece of time in which the entry does not expire, and while
//! nobody has removed or replaced an entry, made an exemption or suspended entries. Both stand in the stamp.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::NEVER;

/// A source that is dropped.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RecentDrop {
    /// High half of the source address; 0 for IPv4.
    pub high: u64,
    /// Low half of the source address, or the IPv4 address.
    pub low: u64,
    /// [`stamp`] of its time and of the lists, with its family ([`V6`]) and the prefix length of the entry ([`LENGTH`]); 0 if nothing is
    /// remembered.
    pub stamp: u64,
    /// Packets dropped of which the entry has not heard.
    pub hits: u64,
}

/// Places for sources of the same hash: two cache lines.
pub const WAYS: usize = 4;

/// Sources of the same hash.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RecentDrops {
    /// The sources, in any order.
    pub ways: [RecentDrop; WAYS],
}

/// Time is cut into pieces of 2^30 ns, a little over a second. A shift, since the machine's division takes longer than all the rest.
pub const PIECE_SHIFT: u32 = 30;

/// Bits of a stamp that are the prefix length.
pub const LENGTH: u64 = 0xff;

/// Bit of a stamp that is set for IPv6.
pub const V6: u64 = 1 << 8;

/// Bits of a stamp that are the number of changes, and where they begin.
const CHANGES_BITS: u32 = 27;
const CHANGES_AT: u32 = 9;

/// When, and after how many changes of the lists, an answer holds. Without family and length.
#[inline(always)]
#[must_use]
pub const fn stamp(now_ns: u64, changes: u32) -> u64 {
    let changes = (changes & ((1 << CHANGES_BITS) - 1)) as u64;
    ((now_ns >> PIECE_SHIFT) << (CHANGES_AT + CHANGES_BITS)) | (changes << CHANGES_AT)
}

/// Boot clock in nanoseconds from which a stamp holds.
#[must_use]
pub const fn piece_start(stamp: u64) -> u64 {
    (stamp >> (CHANGES_AT + CHANGES_BITS)) << PIECE_SHIFT
}

/// Whether an entry counts to the end of the piece of time that `now_ns` is in.
#[inline(always)]
#[must_use]
pub const fn outlasts(expires_ns: u64, now_ns: u64) -> bool {
    expires_ns == NEVER || expires_ns >> PIECE_SHIFT > now_ns >> PIECE_SHIFT
}

/// Where a source is remembered among `mask + 1` places. The constants are odd and have no pattern; a sender who looks for sources that share a
/// place is dropped as fast as without any memory.
#[inline(always)]
#[must_use]
pub const fn place(high: u64, low: u64, mask: u32) -> u32 {
    let mixed = (low ^ high.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 32) as u32) & mask
}

/// Places of each of so many CPUs: 8 MiB in all on small hosts, and at least 64 KiB a CPU.
#[must_use]
pub const fn places(cpus: u32) -> u32 {
    const IN_ALL: u32 = 1 << 16;
    let each = IN_ALL / if cpus == 0 { 1 } else { cpus };
    let power = if each.is_power_of_two() { each } else { each.next_power_of_two() / 2 };
    if power < 512 {
        512
    } else if power > 1 << 15 {
        1 << 15
    } else {
        power
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_changes_with_the_second_and_with_every_change() {
        let second = 1 << PIECE_SHIFT;
        assert_eq!(stamp(7 * second, 1), stamp(8 * second - 1, 1));
        assert_ne!(stamp(7 * second, 1), stamp(8 * second, 1));
        assert_eq!(piece_start(stamp(7 * second + 5, 3) | V6 | LENGTH), 7 * second);
        assert_ne!(stamp(7 * second, 1), stamp(7 * second, 2));
        assert_ne!(stamp(7 * second, u32::MAX >> 5), stamp(8 * second, 0));
        assert_eq!(stamp(u64::MAX, u32::MAX) & (V6 | LENGTH), 0);
    }

    #[test]
    fn an_entry_that_ends_within_the_second_is_not_remembered() {
        let second = 1 << PIECE_SHIFT;
        assert!(outlasts(NEVER, 5) && outlasts(second, 5) && !outlasts(second - 1, 5));
    }

    #[test]
    fn places_are_powers_of_two_and_small_in_all() {
        for (cpus, expected) in [(1, 32_768), (2, 32_768), (3, 16_384), (64, 1024), (1000, 512)] {
            assert_eq!(places(cpus), expected, "{cpus} CPUs");
        }
    }
}
