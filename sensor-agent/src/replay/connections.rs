//! What the tap's flow table would have known of each segment: where both streams start, and that the opener is who it says.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use sensor_common::record::{INGRESS, RecordHeader, mapped, mark, tcp};

use super::packet::Segment;

/// Handshakes kept; when there are more, all are forgotten and connections are picked up in the middle.
const MAX_HANDSHAKES: usize = 1 << 20;

/// The connections of a capture.
#[derive(Debug, Default)]
pub(super) struct Connections {
    handshakes: HashMap<(SocketAddr, SocketAddr), Handshake>,
}

/// What a SYN-ACK told, kept under (opener, acceptor).
#[derive(Clone, Copy, Debug)]
struct Handshake {
    opener_initial: u32,
    acceptor_initial: u32,
    timestamps: bool,
    proven: bool,
}

impl Connections {
    /// The header of the segment's record; `None` for one that the tap does not record.
    pub(super) fn record(&mut self, segment: &Segment<'_>) -> Option<RecordHeader> {
        let opening = segment.flags & (tcp::SYN | tcp::RST) == tcp::SYN;
        if opening && segment.flags & tcp::ACK != 0 {
            self.remember(segment);
        }
        let ends = segment.flags & (tcp::FIN | tcp::RST) != 0;
        if opening || segment.payload.is_empty() && segment.wire_len == 0 && !ends {
            return None;
        }
        let mut header = header(segment);
        self.describe(segment, &mut header);
        Some(header)
    }

    fn remember(&mut self, segment: &Segment<'_>) {
        if self.handshakes.len() >= MAX_HANDSHAKES {
            self.handshakes.clear();
        }
        let handshake = Handshake {
            opener_initial: segment.acknowledgement,
            acceptor_initial: segment.sequence.wrapping_add(1),
            timestamps: segment.timestamp.is_some(),
            proven: false,
        };
        self.handshakes.insert((segment.destination.into(), segment.source.into()), handshake);
    }

    fn describe(&mut self, segment: &Segment<'_>, header: &mut RecordHeader) {
        let (from, to) = (segment.source.into(), segment.destination.into());
        let (known, by_opener) = match self.handshakes.get_mut(&(from, to)) {
            Some(known) => (known, true),
            None => match self.handshakes.get_mut(&(to, from)) {
                Some(known) => (known, false),
                None => return,
            },
        };
        if by_opener && segment.flags & tcp::ACK != 0 && segment.acknowledgement == known.acceptor_initial {
            known.proven = true;
        }
        let initials = (known.opener_initial, known.acceptor_initial);
        (header.initial_sequence, header.peer_initial_sequence) =
            if by_opener { initials } else { (initials.1, initials.0) };
        header.marks |= mark::INITIAL_SEQUENCE;
        header.marks |= if known.proven { mark::HANDSHAKE } else { 0 };
        header.marks |= if known.timestamps { mark::TIMESTAMPS_AGREED } else { 0 };
    }
}

fn header(segment: &Segment<'_>) -> RecordHeader {
    RecordHeader {
        time_ns: segment.time_ns,
        source: bytes(segment.source.0),
        destination: bytes(segment.destination.0),
        sequence: segment.sequence,
        acknowledgement: segment.acknowledgement,
        payload_len: segment.wire_len,
        captured_len: segment.payload.len() as u32,
        interface: segment.interface,
        source_port: segment.source.1,
        destination_port: segment.destination.1,
        tcp_flags: segment.flags,
        direction: INGRESS,
        ip_version: if segment.source.0.is_ipv4() { 4 } else { 6 },
        marks: if segment.timestamp.is_some() { mark::TIMESTAMP } else { 0 },
        timestamp: segment.timestamp.unwrap_or(0),
        urgent_pointer: segment.urgent_pointer,
        ..RecordHeader::default()
    }
}

fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}
