//! Bytes of a packet by direct access, as far as its first buffer holds them: both programs read headers so.

/// Bytes of the packet that lie before its end: `N` of them from an address in it.
pub(crate) struct Header<const N: usize>(usize);

/// Loads by whole words. Written in Rust, they would be put together from bytes, because the compiler does not know that
/// every machine with BPF programs of this kind loads words at any address.
macro_rules! load {
    ($name:ident, $type:ty, $instruction:literal, $doc:literal) => {
        #[doc = $doc]
        #[inline(always)]
        pub(crate) fn $name<const AT: usize>(&self) -> $type {
            const { assert!(AT + size_of::<$type>() <= N, "within the header") };
            let mut value: u64;
            // SAFETY: `AT` and what follows lie within the `N` bytes that were checked against the packet's end.
            unsafe {
                core::arch::asm!(
                    concat!("{value} = *(", $instruction, " *)({at} + {offset})"),
                    value = out(reg) value,
                    at = in(reg) self.0,
                    offset = const AT,
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

    load!(byte, u8, "u8", "A byte.");
    load!(half, u16, "u16", "Two bytes, as a number in network order.");
    load!(word, u32, "u32", "Four bytes, as a number in network order.");
    load!(double, u64, "u64", "Eight bytes, as a number in network order.");
}
