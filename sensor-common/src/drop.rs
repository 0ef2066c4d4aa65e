//! What the XDP program tells of packets that it drops, and of sources that misbehave below the level of connections.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A sample of the packets that an entry matched: at most one a second for each entry, so that blocked traffic stays visible
/// and a flood stays cheap.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DropSample {
    /// Boot clock in nanoseconds, a few milliseconds coarse.
    pub time_ns: u64,
    /// Hits of the entry, this packet included.
    pub hits: u64,
    /// Source address, IPv4 as IPv4-mapped IPv6.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
    /// Interface index.
    pub interface: u32,
    /// Number of the entry's reason.
    pub reason: u32,
    /// Source port; 0 if the packet has none.
    pub source_port: u16,
    /// Destination port; 0 if the packet has none.
    pub destination_port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// Prefix length of the entry; 255 for a connection.
    pub length: u8,
    /// Not 0 if the entry only counts: the packet passed.
    pub shadow: u8,
    /// Zero.
    pub reserved: u8,
}

/// [`DropSample::length`] of an entry for one connection.
pub const CONNECTION: u8 = u8::MAX;

/// What one source did that clients do not, or not so often.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Abuse {
    /// Second of the boot clock that `syns_now` and `strays_now` count.
    pub second: u32,
    /// Connection attempts in that second.
    pub syns_now: u32,
    /// Most connection attempts in any second.
    pub syns_peak: u32,
    /// Segments without a connection in that second.
    pub strays_now: u32,
    /// Most segments without a connection in any second.
    pub strays_peak: u32,
    /// Zero.
    pub reserved: u32,
    /// Connection attempts.
    pub syns: u64,
    /// Segments with flags that no stack sends (none at all, SYN with FIN or RST, FIN without ACK).
    pub odd_flags: u64,
    /// Segments that belong to no connection of the host: it answered them with a reset.
    pub strays: u64,
    /// Connection attempts to ports where nobody listens: the host answered them with a reset.
    pub refused: u64,
    /// Connection attempts that were dropped for their number.
    pub policed: u64,
}

impl Abuse {
    /// Begins to count anew if another second has begun.
    #[inline(always)]
    pub fn enter(&mut self, second: u32) {
        if self.second != second {
            self.second = second;
            self.syns_now = 0;
            self.strays_now = 0;
        }
    }
}
