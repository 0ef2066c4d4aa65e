//! The prefilter in front of the block and exemption lists: "certainly not listed" for nearly every packet, from one word of memory.
//!
//! It is a Bloom filter whose bits for one key all stand in one 64-bit word, and the word is chosen by a short prefix of the address
//! (/24, /48), so that the address and the prefixes that could cover it are asked in the same word: one cache miss, whatever the list. Prefixes are
//! kept by classes of length; within a class a longer prefix is rounded down (it answers for its neighbours too, falsely) and a shorter one is
//! written out as its parts. What is shorter than every class has one exact bit for each /16. A filter may say "perhaps" of what is
//! not listed, never "no" of what is: bits are set before an entry is made, and cleared only by building a new filter.
//!
//! Both sides run this code: the kernel asks, the agent marks.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where the words of one filter stand in the filter map, and what it is asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Filter {
    /// Secret of the hashes, new for each build: a sender cannot look for addresses of which the filter says "perhaps".
    pub seed: u64,
    /// First word for IPv4.
    pub v4_at: u32,
    /// Words for IPv4, less one; their number is a power of two.
    pub v4_mask: u32,
    /// First of [`SHORT_WORDS`] words with a bit for each IPv4 /16.
    pub v4_short_at: u32,
    /// First word for IPv6.
    pub v6_at: u32,
    /// Words for IPv6, less one.
    pub v6_mask: u32,
    /// First word for IPv6 prefixes of the class [`class::MIDDLE`].
    pub v6_nets_at: u32,
    /// Words for these, less one.
    pub v6_nets_mask: u32,
    /// First of [`SHORT_WORDS`] words with a bit for each IPv6 /16.
    pub v6_short_at: u32,
    /// Classes ([`class`]) that have an IPv4 entry.
    pub v4_classes: u32,
    /// Classes that have an IPv6 entry.
    pub v6_classes: u32,
}

/// Words with a bit for each /16.
pub const SHORT_WORDS: u32 = 65_536 / 64;

/// Bits of what a filter says: which classes of length may have an entry that covers the address.
pub mod class {
    /// The address itself.
    pub const EXACT: u32 = 1;
    /// IPv4 /17 to /31; IPv6 /45 to /127.
    pub const LONG: u32 = 1 << 1;
    /// IPv6 /29 to /44.
    pub const MIDDLE: u32 = 1 << 2;
    /// IPv4 up to /16; IPv6 up to /28.
    pub const SHORT: u32 = 1 << 3;
    /// Classes of prefixes, from long to short, in the order of [`super::index`].
    pub const PREFIXES: [u32; 3] = [LONG, MIDDLE, SHORT];
}

/// Class of an IPv4 prefix length.
#[inline(always)]
#[must_use]
pub const fn class_v4(length: u8) -> u32 {
    match length {
        32.. => class::EXACT,
        17..=31 => class::LONG,
        0..=16 => class::SHORT,
    }
}

/// Class of an IPv6 prefix length.
#[inline(always)]
#[must_use]
pub const fn class_v6(length: u8) -> u32 {
    match length {
        128.. => class::EXACT,
        45..=127 => class::LONG,
        29..=44 => class::MIDDLE,
        0..=28 => class::SHORT,
    }
}

/// Place of a class of prefixes in [`class::PREFIXES`]; `None` for [`class::EXACT`].
#[must_use]
pub fn index(class: u32) -> Option<usize> {
    class::PREFIXES.iter().position(|&known| known == class)
}

// Odd constants for multiplicative hashing (Knuth, TAOCP vol. 3, section 6.4): fractions of irrational numbers.
const WORD: u64 = 0x9e37_79b9_7f4a_7c15;
const EXACT: u64 = 0xd1b5_4a32_d192_ed03;
const MIX: u64 = 0xa24b_aed4_963e_e407;
const FOLD: u64 = 0xc2b2_ae3d_27d4_eb4f;

/// The four bits of an exact address.
#[inline(always)]
const fn four_bits(hash: u64) -> u64 {
    1 << (hash >> 58) | 1 << (hash >> 52 & 63) | 1 << (hash >> 46 & 63) | 1 << (hash >> 40 & 63)
}

/// The six bits of a prefix: fewer prefixes than addresses are listed, and a false "perhaps" costs a look-up for each length.
#[inline(always)]
const fn six_bits(hash: u64) -> u64 {
    four_bits(hash) | 1 << (hash >> 34 & 63) | 1 << (hash >> 28 & 63)
}

/// What a word says of an address and of the prefix that chose the word. Two bits of each rule nearly everything out.
#[inline(always)]
const fn says_both(bits: u64, exact: u64, prefix: u64) -> u32 {
    if (two(bits, exact) | two(bits, prefix)) & 1 == 0 {
        return 0;
    }
    says_exact(bits, exact) | says(bits, prefix, class::LONG)
}

/// The lowest bit is set if the first two bits of a key are.
#[inline(always)]
const fn two(bits: u64, hash: u64) -> u64 {
    bits >> (hash >> 58) & bits >> (hash >> 52 & 63)
}

#[inline(always)]
const fn four(bits: u64, hash: u64) -> u64 {
    two(bits, hash) & bits >> (hash >> 46 & 63) & bits >> (hash >> 40 & 63)
}

/// Whether the four bits of an address are set.
#[inline(always)]
const fn says_exact(bits: u64, hash: u64) -> u32 {
    (four(bits, hash) & 1) as u32 * class::EXACT
}

/// `class` if the six bits of a prefix are set.
#[inline(always)]
const fn says(bits: u64, hash: u64, class: u32) -> u32 {
    (four(bits, hash) & bits >> (hash >> 34 & 63) & bits >> (hash >> 28 & 63) & 1) as u32 * class
}

#[inline(always)]
const fn hash(value: u64, seed: u64, constant: u64) -> u64 {
    (value ^ seed).wrapping_mul(constant)
}

/// Word of a prefix, and a hash for the shortest class in that word.
#[inline(always)]
const fn place(value: u64, seed: u64, at: u32, mask: u32) -> (u32, u64) {
    let hash = hash(value, seed, WORD);
    (at + ((hash >> 44) as u32 & mask), (hash ^ hash >> 29).wrapping_mul(MIX))
}

/// Most words of one family that [`place`] can tell apart.
pub const MAX_WORDS: u32 = 1 << 20;

impl Filter {
    /// Classes that may have an entry for an IPv4 address. `word` reads a word of the filter map.
    #[inline(always)]
    pub fn probe_v4(&self, address: u32, word: impl Fn(u32) -> u64) -> u32 {
        let address = address as u64;
        let (at, shortest) = place(address >> 8, self.seed, self.v4_at, self.v4_mask);
        let bits = word(at);
        let mut found = says_both(bits, hash(address, self.seed, EXACT), shortest);
        if self.v4_classes & class::SHORT != 0 {
            found |= self.short(self.v4_short_at, (address >> 16) as u32, word);
        }
        found & self.v4_classes
    }

    /// Classes that may have an entry for an IPv6 address, given as its halves.
    #[inline(always)]
    pub fn probe_v6(&self, high: u64, low: u64, word: impl Fn(u32) -> u64) -> u32 {
        let (at, shortest) = place(high >> 16, self.seed, self.v6_at, self.v6_mask);
        let bits = word(at);
        let mut found = says_both(bits, exact_v6(high, low, self.seed), shortest);
        if self.v6_classes & class::MIDDLE != 0 {
            let (at, shortest) = place(high >> 28, self.seed, self.v6_nets_at, self.v6_nets_mask);
            found |= says(word(at), shortest, class::MIDDLE);
        }
        if self.v6_classes & class::SHORT != 0 {
            found |= self.short(self.v6_short_at, (high >> 48) as u32, word);
        }
        found & self.v6_classes
    }

    #[inline(always)]
    fn short(&self, at: u32, top: u32, word: impl Fn(u32) -> u64) -> u32 {
        (word(at + top / 64) >> (top % 64) & 1) as u32 * class::SHORT
    }

    /// Marks an IPv4 prefix: `set` is given every word and the bits to set in it. Bits of `network` behind `length` are ignored.
    pub fn mark_v4(&self, network: u32, length: u8, mut set: impl FnMut(u32, u64)) {
        let network = network as u64;
        let word = |part: u64| place(part, self.seed, self.v4_at, self.v4_mask);
        match class_v4(length) {
            class::EXACT => set(word(network >> 8).0, four_bits(hash(network, self.seed, EXACT))),
            class::LONG => each_part(network, 32, length, 24, |part| {
                let (at, shortest) = word(part);
                set(at, six_bits(shortest));
            }),
            _ => each_part(network, 32, length, 16, |top| {
                set(self.v4_short_at + top as u32 / 64, 1 << (top % 64));
            }),
        }
    }

    /// Marks an IPv6 prefix, given as its halves.
    pub fn mark_v6(&self, high: u64, low: u64, length: u8, mut set: impl FnMut(u32, u64)) {
        let seed = self.seed;
        let word = |site: u64| place(site, seed, self.v6_at, self.v6_mask);
        let net = |part: u64| place(part, seed, self.v6_nets_at, self.v6_nets_mask);
        match class_v6(length) {
            class::EXACT => set(word(high >> 16).0, four_bits(exact_v6(high, low, seed))),
            class::LONG => each_part(high, 64, length, 48, |part| {
                let (at, shortest) = word(part);
                set(at, six_bits(shortest));
            }),
            class::MIDDLE => each_part(high, 64, length, 36, |part| {
                let (at, shortest) = net(part);
                set(at, six_bits(shortest));
            }),
            _ => each_part(high, 64, length, 16, |top| {
                set(self.v6_short_at + top as u32 / 64, 1 << (top % 64));
            }),
        }
    }
}

#[inline(always)]
const fn exact_v6(high: u64, low: u64, seed: u64) -> u64 {
    let folded = low ^ hash(high, seed, FOLD).rotate_left(29);
    folded.wrapping_mul(EXACT)
}

/// Calls `visit` with each prefix of `unit` bits (right-aligned) that the prefix covers, or the one that covers it. `value` has `width` bits.
fn each_part(value: u64, width: u8, length: u8, unit: u8, mut visit: impl FnMut(u64)) {
    let first = if unit == width { value } else { value >> (width - unit) };
    if length >= unit {
        visit(first);
        return;
    }
    let count = 1u64 << (unit - length);
    let first = first & !(count - 1);
    for part in first..=first + (count - 1) {
        visit(part);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn filter() -> (Filter, Vec<u64>) {
        let filter = Filter {
            seed: 0x0123_4567_89ab_cdef,
            v4_at: 0,
            v4_mask: 4095,
            v4_short_at: 4096,
            v6_at: 4096 + SHORT_WORDS,
            v6_mask: 4095,
            v6_nets_at: 8192 + SHORT_WORDS,
            v6_nets_mask: 1023,
            v6_short_at: 9216 + SHORT_WORDS,
            v4_classes: u32::MAX,
            v6_classes: u32::MAX,
        };
        (filter, std::vec![0; 9216 + 2 * SHORT_WORDS as usize])
    }

    fn mark_v4(filter: &Filter, words: &mut [u64], network: u32, length: u8) {
        filter.mark_v4(network, length, |at, bits| words[at as usize] |= bits);
    }

    #[test]
    fn every_address_of_a_marked_v4_prefix_is_found_at_every_length() {
        for length in 1..=32u8 {
            let (filter, mut words) = filter();
            let network = 0xcb00_7107u32 & (u32::MAX << (32 - length));
            mark_v4(&filter, &mut words, network, length);
            let span = 1u64 << (32 - length);
            for step in 0..500u64 {
                let address = network + (step * 7919 * (span / 500).max(1) % span) as u32;
                let found = filter.probe_v4(address, |at| words[at as usize]);
                assert_ne!(found & class_v4(length), 0, "{address:08x} in {network:08x}/{length}");
            }
        }
    }

    #[test]
    fn every_address_of_a_marked_v6_prefix_is_found_at_every_length() {
        for length in 1..=128u8 {
            let (filter, mut words) = filter();
            let network = 0x2001_0db8_0a0b_0c0d_1122_3344_5566_7788u128 & (u128::MAX << (128 - length));
            let halves = |value: u128| ((value >> 64) as u64, value as u64);
            let (high, low) = halves(network);
            filter.mark_v6(high, low, length, |at, bits| words[at as usize] |= bits);
            for step in 0..200u128 {
                let noise = step.wrapping_mul(0x9e37_79b9_7f4a_7c15_d1b5_4a32_d192_ed03);
                let address = network | if length == 128 { 0 } else { noise >> length };
                let (high, low) = halves(address);
                let found = filter.probe_v6(high, low, |at| words[at as usize]);
                assert_ne!(found & class_v6(length), 0, "{address:032x} in /{length}");
            }
        }
    }

    #[test]
    fn what_is_not_marked_is_rarely_found() {
        let (filter, mut words) = filter();
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        };
        // Sixteen bits a key, as the agent sizes it.
        for _ in 0..4096 * 4 {
            mark_v4(&filter, &mut words, random(), 32);
        }
        let found =
            (0..100_000).filter(|_| filter.probe_v4(random(), |at| words[at as usize]) & class::EXACT != 0);
        let found = found.count();
        assert!(found < 2_000, "{found} of 100,000");
    }

    #[test]
    fn classes_without_entries_are_never_named() {
        let (mut filter, words) = filter();
        let full: Vec<u64> = words.iter().map(|_| u64::MAX).collect();
        filter.v4_classes = class::EXACT;
        filter.v6_classes = class::LONG;
        assert_eq!(filter.probe_v4(7, |at| full[at as usize]), class::EXACT);
        assert_eq!(filter.probe_v6(7, 7, |at| full[at as usize]), class::LONG);
    }
}
