//! Bytes of a packet by direct access, as far as its first buffer holds them: both programs read headers so.

/// What stands in front of a packet's IP header. Each program is built once for either, so that none asks which it is.
pub(crate) mod link {
    /// Bytes of an Ethernet header without VLAN tags.
    pub(crate) const ETHERNET: usize = 14;
    /// Nothing: tun, WireGuard, PPP and their like.
    pub(crate) const NONE: usize = 0;
}

/// Place of the ether type in an Ethernet header.
pub(crate) const ETHER_TYPE_AT: usize = 12;
pub(crate) const ETHER_IPV4: u16 = 0x0800;
pub(crate) const ETHER_IPV6: u16 = 0x86dd;

/// More bytes than any packet has in front of its payload, a power of two: of offsets that were read from memory the verifier wants a bound.
#[allow(dead_code, reason = "only the tap looks behind the headers")]
pub(crate) const MOST_HEADERS: u64 = 1 << 12;

/// `N` bytes of a packet from `BASE` on, counted from an address in it; they lie before its end.
pub(crate) struct Header<const N: usize, const BASE: usize = 0>(usize);

/// Loads by whole words. Written in Rust, they would be put together from bytes, because the compiler does not know that
/// every machine with BPF programs of this kind loads words at any address.
macro_rules! load {
    ($name:ident, $type:ty, $instruction:literal, $doc:literal) => {
        #[doc = $doc]
        #[inline(always)]
        pub(crate) fn $name<const AT: usize>(&self) -> $type {
            const { assert!(AT + size_of::<$type>() <= N, "within the header") };
            let mut value: u64;
            // SAFETY: `AT` and what follows lie within the `N` bytes from `BASE` on that were checked against the packet's end.
            unsafe {
                core::arch::asm!(
                    concat!("{value} = *(", $instruction, " *)({at} + {offset})"),
                    value = out(reg) value,
                    at = in(reg) self.0,
                    offset = const BASE + AT,
                    options(pure, readonly, nostack, preserves_flags)
                );
            }
            <$type>::from_be(value as $type)
        }
    };
}

impl<const N: usize> Header<N> {
    /// The bytes at an offset of the packet from `data` to `end`; `None` beyond its end.
    #[inline(always)]
    pub(crate) fn at(data: usize, end: usize, offset: usize) -> Option<Self> {
        let at = data + offset;
        (at + N <= end).then_some(Self(at))
    }
}

impl<const N: usize, const BASE: usize> Header<N, BASE> {
    /// The bytes behind the first `BASE` of the packet from `data` to `end`; `None` beyond its end.
    #[inline(always)]
    pub(crate) fn behind(data: usize, end: usize) -> Option<Self> {
        (data + (BASE + N) <= end).then_some(Self(data))
    }

    /// Whether what stands in front of the IP header says that it is one of this ether type. Nothing in front says nothing against it.
    #[inline(always)]
    pub(crate) fn may_be(&self, ether_type: u16) -> bool {
        BASE < link::ETHERNET || Header::<{ link::ETHERNET }>(self.0).half::<ETHER_TYPE_AT>() == ether_type
    }

    load!(byte, u8, "u8", "A byte.");
    load!(half, u16, "u16", "Two bytes, as a number in network order.");
    load!(word, u32, "u32", "Four bytes, as a number in network order.");
    load!(double, u64, "u64", "Eight bytes, as a number in network order.");
}
