//! From ring record to [`Segment`]: one decoded, bounds-checked TCP segment that borrows its payload.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::time::Timestamp;

/// One TCP segment as the tap saw it (after offloads: it may be far larger than the MTU).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// When it passed the tap.
    pub time: Timestamp,
    /// Sender. IPv4-mapped addresses are IPv4 here.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// Sequence number of the first payload byte (of the SYN, if there is one).
    pub sequence: u32,
    /// Acknowledgement number, without meaning unless the ACK flag is set.
    pub acknowledgement: u32,
    /// Sequence number of the first stream byte of this direction, if the tap saw the handshake.
    pub initial_sequence: Option<u32>,
    /// TCP flags, [`sensor_common::record::tcp`].
    pub flags: u8,
    /// Whether the packet arrived at the host (or left it).
    pub ingress: bool,
    /// Whether the kernel knows that the opener of the connection completed the handshake.
    pub handshake: bool,
    /// Bytes on the wire: `payload.len() <= wire_len`; the difference was not captured.
    pub wire_len: u32,
    /// Interface index.
    pub interface: u32,
    /// The captured payload.
    pub payload: &'a [u8],
}

/// The address in a record or key, with IPv4-mapped IPv6 turned into IPv4.
#[must_use]
pub fn ip_address(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}
