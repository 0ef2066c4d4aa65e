//! Records of whole IP packets: what the tap does not take apart (parts of datagrams, long chains of extension headers) comes here and leaves as
//! segments. Where a connection stands is not in the packet; whoever asks for segments says what is known of it.

use std::net::SocketAddr;

use sensor_common::record::{RecordHeader, mark, tcp};
use zerocopy::FromBytes;

use super::fragments::{Counts, Fragments, Limits};
use super::packet::{self, Link, Packet, TcpPacket};
use super::{Segment, ingress};
use crate::time::Timestamp;

/// What is known of a packet's connection, as the sender of the packet sees it. By default nothing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Sequence numbers of the first stream byte, of this direction and of the other.
    pub initial_sequences: Option<(u32, u32)>,
    /// Whether the sender opened the connection.
    pub from_opener: Option<bool>,
    /// Whether the opener completed the handshake.
    pub handshake: bool,
    /// Whether timestamps were agreed on.
    pub timestamps: bool,
    /// Whether nobody wants the connection's segments.
    pub unwanted: bool,
}

impl Known {
    /// Only the owner of the opener's address can acknowledge exactly the acceptor's first byte.
    fn is_proven_by(&self, packet: &TcpPacket<'_>) -> bool {
        self.from_opener == Some(true)
            && packet.flags & tcp::ACK != 0
            && self.initial_sequences.is_some_and(|(_, acceptor)| packet.acknowledgement == acceptor)
    }
}

/// A segment that owns its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedSegment {
    /// The segment, without payload.
    head: Segment<'static>,
    payload: Vec<u8>,
}

impl OwnedSegment {
    /// The segment.
    #[must_use]
    pub fn as_segment(&self) -> Segment<'_> {
        Segment { payload: &self.payload, ..self.head }
    }
}

/// What became of whole packets. Every one ends in one of the outcomes: `packets = segments + waiting + empty + other + unwanted + malformed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WholeCounts {
    /// Packets taken.
    pub packets: u64,
    /// Packets that were a segment, or completed one.
    pub segments: u64,
    /// Parts of a datagram that is not complete, or never will be ([`Packets::parts`] says which).
    pub waiting: u64,
    /// Packets whose segment has no payload and ends nothing.
    pub empty: u64,
    /// Packets that carry something else than TCP.
    pub other: u64,
    /// Packets of connections that nobody wants.
    pub unwanted: u64,
    /// Records that were no valid record.
    pub malformed: u64,
}

/// Whether a record holds a whole packet.
#[must_use]
pub fn is_whole(record: &[u8]) -> bool {
    const MARKS_AT: usize = std::mem::offset_of!(RecordHeader, marks);
    record.get(MARKS_AT).is_some_and(|marks| marks & mark::WHOLE_PACKET != 0)
}

/// Packets that are taken apart, and put together, on their way to an engine.
#[derive(Debug, Default)]
pub struct Packets {
    fragments: Fragments,
    counts: WholeCounts,
}

impl Packets {
    /// Without any parts.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { fragments: Fragments::new(limits), counts: WholeCounts::default() }
    }

    /// What became of the packets.
    #[must_use]
    pub const fn counts(&self) -> WholeCounts {
        self.counts
    }

    /// What became of parts of datagrams.
    #[must_use]
    pub fn parts(&self) -> Counts {
        self.fragments.counts()
    }

    /// Takes a record of a whole packet; the segment that it is or completes, if any. `known` says from whom to whom.
    pub fn take(
        &mut self,
        record: &[u8],
        known: impl FnOnce(SocketAddr, SocketAddr) -> Known,
    ) -> Option<OwnedSegment> {
        self.counts.packets += 1;
        let Some((header, bytes)) = read(record) else {
            self.counts.malformed += 1;
            return None;
        };
        let time = Timestamp::from_nanos(header.time_ns);
        match packet::decode(Link::Raw, bytes) {
            Some(Packet::Tcp(packet)) => self.segment(&header, &packet, known),
            Some(Packet::Fragment(part)) => {
                let Some(whole) = self.fragments.push(&part, time) else {
                    self.counts.waiting += 1;
                    return None;
                };
                match packet::decode_payload(whole.source, whole.destination, whole.protocol, &whole.payload)
                {
                    Some(packet) => self.segment(&header, &packet, known),
                    None => self.no_tcp(),
                }
            }
            None => self.no_tcp(),
        }
    }

    fn no_tcp(&mut self) -> Option<OwnedSegment> {
        self.counts.other += 1;
        None
    }

    fn segment(
        &mut self,
        header: &RecordHeader,
        packet: &TcpPacket<'_>,
        known: impl FnOnce(SocketAddr, SocketAddr) -> Known,
    ) -> Option<OwnedSegment> {
        let ends = packet.flags & (tcp::FIN | tcp::RST) != 0;
        if packet.flags & tcp::SYN != 0 || packet.wire_len == 0 && !ends {
            self.counts.empty += 1;
            return None;
        }
        let known = known(packet.source, packet.destination);
        if known.unwanted {
            self.counts.unwanted += 1;
            return None;
        }
        self.counts.segments += 1;
        let head = Segment {
            time: Timestamp::from_nanos(header.time_ns),
            source: packet.source,
            destination: packet.destination,
            sequence: packet.sequence,
            acknowledgement: packet.acknowledgement,
            initial_sequence: known.initial_sequences.map(|(own, _)| own),
            peer_initial_sequence: known.initial_sequences.map(|(_, peer)| peer),
            flags: packet.flags,
            ingress: ingress(header.direction).unwrap_or(true),
            from_opener: known.from_opener,
            handshake: known.handshake || known.is_proven_by(packet),
            timestamp: packet.timestamp.filter(|_| known.timestamps),
            signed: packet.signed,
            urgent: (packet.flags & tcp::URG != 0).then_some(packet.urgent_pointer),
            wire_len: packet.wire_len,
            interface: header.interface,
            payload: &[],
        };
        Some(OwnedSegment { head, payload: packet.payload.to_vec() })
    }
}

/// Header and packet of a record.
fn read(record: &[u8]) -> Option<(RecordHeader, &[u8])> {
    let (header, rest) = RecordHeader::read_from_prefix(record).ok()?;
    Some((header, rest.get(..header.captured_len as usize)?))
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    const REQUEST: &[u8] = b"GET /fragmented HTTP/1.1\r\nHost: h\r\n\r\n";

    fn tcp_bytes(payload: &[u8]) -> Vec<u8> {
        let mut segment = vec![0; 20];
        segment[..4].copy_from_slice(&[0x9c, 0x40, 0, 80]);
        segment[4..8].copy_from_slice(&100_u32.to_be_bytes());
        segment[8..12].copy_from_slice(&900_u32.to_be_bytes());
        (segment[12], segment[13]) = (0x50, tcp::ACK);
        segment.extend(payload);
        segment
    }

    /// An IPv4 packet from 192.0.2.10 to 192.0.2.1.
    fn ipv4(place: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
        packet[4..6].copy_from_slice(&[0, 7]);
        packet[6..8].copy_from_slice(&place.to_be_bytes());
        packet[9] = protocol;
        packet[12..20].copy_from_slice(&[192, 0, 2, 10, 192, 0, 2, 1]);
        packet.extend(payload);
        packet
    }

    /// An IPv6 packet with `count` headers of destination options before TCP.
    fn ipv6(count: usize, segment: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, 60, 64];
        packet.extend([0x20; 32]);
        for at in 0..count {
            packet.extend([if at + 1 == count { 6 } else { 60 }, 0, 1, 4, 0, 0, 0, 0]);
        }
        packet.extend(segment);
        let length = u16::try_from(packet.len() - 40).unwrap();
        packet[4..6].copy_from_slice(&length.to_be_bytes());
        packet
    }

    fn record(time_ns: u64, packet: &[u8]) -> Vec<u8> {
        let len = u32::try_from(packet.len()).unwrap();
        let header = RecordHeader {
            time_ns,
            payload_len: len,
            captured_len: len,
            ip_version: packet[0] >> 4,
            marks: mark::WHOLE_PACKET,
            ..RecordHeader::default()
        };
        [header.as_bytes(), packet].concat()
    }

    #[test]
    fn parts_become_a_segment_with_what_is_known_of_the_connection() {
        let segment = tcp_bytes(REQUEST);
        let parts: Vec<_> = segment
            .chunks(8)
            .enumerate()
            .map(|(at, bytes)| {
                let more = if (at + 1) * 8 < segment.len() { 0x2000 } else { 0 };
                ipv4(more | u16::try_from(at).unwrap(), 6, bytes)
            })
            .collect();
        let mut packets = Packets::default();
        let known =
            |_, _| Known { initial_sequences: Some((100, 900)), from_opener: Some(true), ..Known::default() };
        let found: Vec<_> = parts
            .iter()
            .rev()
            .enumerate()
            .filter_map(|(at, part)| packets.take(&record(at as u64, part), known))
            .collect();
        assert_eq!(found.len(), 1);
        let segment = found[0].as_segment();
        assert_eq!((segment.payload, segment.wire_len as usize), (REQUEST, REQUEST.len()));
        assert_eq!(segment.source, "192.0.2.10:40000".parse().unwrap());
        assert_eq!((segment.initial_sequence, segment.handshake), (Some(100), true));
        assert_eq!(segment.time, Timestamp::from_nanos(parts.len() as u64 - 1));
        let counts = packets.counts();
        assert_eq!((counts.packets, counts.segments), (parts.len() as u64, 1));
        assert_eq!(counts.waiting, parts.len() as u64 - 1);
    }

    #[test]
    fn long_chains_of_extension_headers_are_followed() {
        let mut packets = Packets::default();
        let found = packets.take(&record(1, &ipv6(8, &tcp_bytes(REQUEST))), |_, _| Known::default()).unwrap();
        assert_eq!(found.as_segment().payload, REQUEST);
    }

    #[test]
    fn every_packet_has_one_outcome() {
        let mut packets = Packets::default();
        let rows = [
            (record(1, &ipv4(0, 6, &tcp_bytes(b"x"))), false),
            (record(1, &ipv4(0, 6, &tcp_bytes(b"x"))), true),
            (record(1, &ipv4(0, 6, &tcp_bytes(b""))), false),
            (record(1, &ipv4(0, 17, &[0; 8])), false),
            (record(1, &ipv4(0, 6, b""))[..40].to_vec(), false),
        ];
        for (record, unwanted) in rows {
            let _ = packets.take(&record, |_, _| Known { unwanted, ..Known::default() });
        }
        let expected = WholeCounts {
            packets: 5,
            segments: 1,
            unwanted: 1,
            empty: 1,
            other: 1,
            malformed: 1,
            ..WholeCounts::default()
        };
        assert_eq!(packets.counts(), expected);
    }

    #[test]
    fn the_mark_tells_whole_packets() {
        assert!(is_whole(&record(1, &ipv4(0, 6, &[]))));
        assert!(!is_whole(RecordHeader::default().as_bytes()));
        assert!(!is_whole(&[0xff; 20]));
    }
}
