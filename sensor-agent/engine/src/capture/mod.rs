//! From ring record to [`Segment`]: one decoded, bounds-checked TCP segment that borrows its payload.

pub mod file;
pub mod fragments;
pub mod packet;
pub mod whole;

mod bytes;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use sensor_common::record::{EGRESS, INGRESS, RecordHeader, mark, tcp};
use zerocopy::FromBytes;

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
    /// Sequence number of the first stream byte of the other direction, if the tap saw the handshake.
    pub peer_initial_sequence: Option<u32>,
    /// TCP flags, [`sensor_common::record::tcp`].
    pub flags: u8,
    /// Whether the packet arrived at the host (or left it).
    pub ingress: bool,
    /// Whether the sender opened the connection; `None` if the tap does not know who did.
    pub from_opener: Option<bool>,
    /// Whether the kernel knows that the opener of the connection completed the handshake.
    pub handshake: bool,
    /// Value of the timestamp option, if the connection agreed on timestamps and the segment has one.
    pub timestamp: Option<u32>,
    /// Whether the segment is signed (RFC 2385); who did not ask for that ignores it.
    pub signed: bool,
    /// Urgent pointer, if the URG flag is set.
    pub urgent: Option<u16>,
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

/// Why a record is not a valid one. The kernel program writes records, but nothing here relies on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Shorter than its header.
    #[error("record is shorter than its header")]
    Short,
    /// Fewer bytes follow the header than `captured_len` says.
    #[error("record ends before its payload does")]
    Cut,
    /// `captured_len` above `payload_len`.
    #[error("record holds more payload than the packet")]
    Lengths,
    /// `payload_len` above what one packet can carry.
    #[error("payload is longer than a packet can be")]
    Oversized,
    /// Neither ingress nor egress.
    #[error("unknown direction")]
    Direction,
    /// The IP version is unknown or does not fit the addresses.
    #[error("addresses do not fit the IP version")]
    Addresses,
    /// It holds a packet that has to be taken apart first ([`whole`]).
    #[error("record holds a whole packet")]
    Whole,
}

/// Most payload bytes of one packet that are believed: a BIG TCP super-packet has up to 512 KiB (Linux 6.3).
pub const MAX_WIRE_LEN: u32 = 1 << 20;

/// Decodes a ring record. Bytes behind the payload are padding.
///
/// # Errors
/// Any lie in the record is an error; nothing of it is used then.
pub fn decode(record: &[u8]) -> Result<Segment<'_>, RecordError> {
    let (header, rest) = RecordHeader::read_from_prefix(record).map_err(|_| RecordError::Short)?;
    if header.captured_len > header.payload_len {
        return Err(RecordError::Lengths);
    }
    if header.payload_len > MAX_WIRE_LEN {
        return Err(RecordError::Oversized);
    }
    let payload = rest.get(..header.captured_len as usize).ok_or(RecordError::Cut)?;
    let marked = |mark| header.marks & mark != 0;
    if marked(mark::WHOLE_PACKET) {
        return Err(RecordError::Whole);
    }
    Ok(Segment {
        time: Timestamp::from_nanos(header.time_ns),
        source: endpoint(header.ip_version, header.source, header.source_port)?,
        destination: endpoint(header.ip_version, header.destination, header.destination_port)?,
        sequence: header.sequence,
        acknowledgement: header.acknowledgement,
        initial_sequence: marked(mark::INITIAL_SEQUENCE).then_some(header.initial_sequence),
        peer_initial_sequence: marked(mark::INITIAL_SEQUENCE).then_some(header.peer_initial_sequence),
        flags: header.tcp_flags,
        ingress: ingress(header.direction)?,
        from_opener: match (marked(mark::FROM_OPENER), marked(mark::TO_OPENER)) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            _ => None,
        },
        handshake: marked(mark::HANDSHAKE),
        timestamp: (marked(mark::TIMESTAMP) && marked(mark::TIMESTAMPS_AGREED)).then_some(header.timestamp),
        signed: marked(mark::MD5_SIGNATURE),
        urgent: (header.tcp_flags & tcp::URG != 0).then_some(header.urgent_pointer),
        wire_len: header.payload_len,
        interface: header.interface,
        payload,
    })
}

fn ingress(direction: u8) -> Result<bool, RecordError> {
    match direction {
        INGRESS => Ok(true),
        EGRESS => Ok(false),
        _ => Err(RecordError::Direction),
    }
}

/// An IPv6 packet whose address is an IPv4-mapped one is refused: it would pass for a host that never sent it.
fn endpoint(version: u8, address: [u8; 16], port: u16) -> Result<SocketAddr, RecordError> {
    let address = ip_address(address);
    match (version, address) {
        (4, IpAddr::V4(_)) | (6, IpAddr::V6(_)) => Ok(SocketAddr::new(address, port)),
        _ => Err(RecordError::Addresses),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sensor_common::record::mapped;
    use zerocopy::IntoBytes;

    use super::*;

    fn header() -> RecordHeader {
        RecordHeader {
            time_ns: 7,
            source: mapped([10, 0, 0, 1]),
            destination: mapped([10, 0, 0, 2]),
            source_port: 4000,
            destination_port: 80,
            payload_len: 5,
            captured_len: 3,
            ip_version: 4,
            marks: mark::HANDSHAKE,
            ..RecordHeader::default()
        }
    }

    fn outcome(header: RecordHeader, payload: &[u8]) -> Option<RecordError> {
        decode(&[header.as_bytes(), payload].concat()).err()
    }

    #[test]
    fn a_record_becomes_a_segment() {
        let record = [header().as_bytes(), b"GET padding"].concat();
        let segment = decode(&record).unwrap();
        assert_eq!(segment.source, "10.0.0.1:4000".parse().unwrap());
        assert_eq!((segment.payload, segment.wire_len), (&b"GET"[..], 5));
        assert_eq!((segment.ingress, segment.handshake, segment.initial_sequence), (true, true, None));
    }

    #[test]
    fn every_lie_has_its_name() {
        let h = header();
        assert_eq!(decode(&h.as_bytes()[..20]), Err(RecordError::Short));
        assert_eq!(outcome(h, b"GE"), Some(RecordError::Cut));
        assert_eq!(outcome(RecordHeader { payload_len: 2, ..h }, b"GET"), Some(RecordError::Lengths));
        assert_eq!(
            outcome(RecordHeader { payload_len: u32::MAX, ..h }, b"GET"),
            Some(RecordError::Oversized)
        );
        assert_eq!(outcome(RecordHeader { direction: 2, ..h }, b"GET"), Some(RecordError::Direction));
        assert_eq!(
            outcome(RecordHeader { marks: mark::WHOLE_PACKET, ..h }, b"GET"),
            Some(RecordError::Whole)
        );
        assert_eq!(outcome(RecordHeader { ip_version: 6, ..h }, b"GET"), Some(RecordError::Addresses));
        assert_eq!(outcome(RecordHeader { ip_version: 5, ..h }, b"GET"), Some(RecordError::Addresses));
        assert_eq!(outcome(RecordHeader { source: [1; 16], ..h }, b"GET"), Some(RecordError::Addresses));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail_without_panic(record in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(segment) = decode(&record) {
                prop_assert!(segment.payload.len() <= segment.wire_len as usize);
            }
        }
    }
}
