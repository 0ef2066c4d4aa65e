//! The record that the tap writes into a ring buffer: this header, then the captured payload bytes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Header of a ring record. Numbers are in host byte order; addresses in network order,
/// IPv4 as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RecordHeader {
    /// Boot clock (CLOCK_BOOTTIME) in nanoseconds when the packet passed the tap.
    pub time_ns: u64,
    /// Source address.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
    /// Sequence number of the first payload byte (of the SYN, if it carries one).
    pub sequence: u32,
    /// Acknowledgement number; meaningless without the ACK flag.
    pub acknowledgement: u32,
    /// Sequence number of the first stream byte of this direction, when [`mark::INITIAL_SEQUENCE`] is set.
    pub initial_sequence: u32,
    /// Payload bytes of the packet on the wire.
    pub payload_len: u32,
    /// Payload bytes that follow this header: `captured_len <= payload_len`.
    pub captured_len: u32,
    /// Interface index that the packet passed.
    pub interface: u32,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// TCP flags byte ([`tcp`]).
    pub tcp_flags: u8,
    /// [`INGRESS`] or [`EGRESS`], as the host sees it.
    pub direction: u8,
    /// 4 or 6.
    pub ip_version: u8,
    /// What the tap knows of the flow ([`mark`]).
    pub marks: u8,
    /// Hash of the flow, the same for both directions.
    pub flow_hash: u32,
    /// Value of the segment's timestamp option, when [`mark::TIMESTAMP`] is set (RFC 7323 section 3).
    pub timestamp: u32,
    /// Sequence number of the first stream byte of the other direction, when [`mark::INITIAL_SEQUENCE`] is set.
    pub peer_initial_sequence: u32,
    /// Urgent pointer; meaningless without the URG flag.
    pub urgent_pointer: u16,
    /// Zero.
    pub reserved: u16,
}

/// Bytes of a [`RecordHeader`].
pub const HEADER_LEN: usize = size_of::<RecordHeader>();

/// The packet arrives at the host.
pub const INGRESS: u8 = 0;
/// The packet leaves the host.
pub const EGRESS: u8 = 1;

/// Bits of [`RecordHeader::marks`].
pub mod mark {
    /// `initial_sequence` and `peer_initial_sequence` are known: the tap saw the handshake.
    pub const INITIAL_SEQUENCE: u8 = 1;
    /// The peer completed the handshake: it answered a sequence number that only the real owner of its address can
    /// know, or the host's own socket is established.
    pub const HANDSHAKE: u8 = 2;
    /// The segment has a timestamp option.
    pub const TIMESTAMP: u8 = 4;
    /// The handshake agreed on timestamps, so that the receiver ignores segments with old ones.
    pub const TIMESTAMPS_AGREED: u8 = 8;
    /// The segment has an MD5 signature option (RFC 2385), which no receiver takes that did not ask for it.
    pub const MD5_SIGNATURE: u8 = 16;
    /// The sender opened the connection: it is the client.
    pub const FROM_OPENER: u8 = 32;
    /// The receiver opened the connection.
    pub const TO_OPENER: u8 = 64;
    /// The record holds a whole IP packet that the tap did not take apart: an IP fragment, or too many extension headers. Of the header only time,
    /// addresses, interface, direction, version and lengths count.
    pub const WHOLE_PACKET: u8 = 128;
}

/// TCP flag bits (RFC 9293 section 3.1).
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
}

/// An IPv4 address as it stands in records and keys.
#[inline(always)]
#[must_use]
pub const fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}
