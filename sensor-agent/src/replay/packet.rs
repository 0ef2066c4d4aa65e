//! From a captured frame to a TCP segment: Ethernet with VLAN tags, Linux cooked, loopback, raw IP.

use std::net::IpAddr;

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TcpOptionElement, TcpSlice, TransportSlice};
use pcap_parser::Linktype;

use super::capture::Frame;

/// A TCP segment of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) time_ns: u64,
    pub(super) interface: u32,
    pub(super) source: (IpAddr, u16),
    pub(super) destination: (IpAddr, u16),
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) flags: u8,
    pub(super) urgent_pointer: u16,
    pub(super) timestamp: Option<u32>,
    /// Payload bytes on the wire: a capture may have cut them.
    pub(super) wire_len: u32,
    pub(super) payload: &'a [u8],
}

/// Linux cooked capture, version 1 (LINKTYPE_LINUX_SLL) and 2: lengths of their headers and where the protocol stands.
const COOKED: (usize, usize) = (16, 14);
const COOKED_2: (usize, usize) = (20, 0);
/// Header of LINKTYPE_NULL and LINKTYPE_LOOP: the address family, which the IP header tells too.
const FAMILY_LEN: usize = 4;

/// The segment in a frame; `None` if there is none, or it is a fragment.
pub(super) fn segment(frame: Frame<'_>) -> Option<Segment<'_>> {
    let packet = decode(frame)?;
    let TransportSlice::Tcp(tcp) = packet.transport? else { return None };
    let (source, destination, ip_payload) = match packet.net? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            let rest = usize::from(header.total_len()).saturating_sub(header.slice().len());
            let rest = rest.saturating_sub(ip.extensions().auth.map_or(0, |auth| auth.slice().len()));
            (IpAddr::from(header.source_addr()), IpAddr::from(header.destination_addr()), rest)
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            let rest = usize::from(header.payload_length()).saturating_sub(ip.extensions().slice().len());
            (IpAddr::from(header.source_addr()), IpAddr::from(header.destination_addr()), rest)
        }
        LaxNetSlice::Arp(_) => return None,
    };
    // A length of 0 is a packet that segmentation offload had not cut yet: what was captured is all there is to know.
    let wire_len = ip_payload.saturating_sub(tcp.header_slice().len()).max(tcp.payload().len());
    Some(Segment {
        time_ns: frame.time_ns,
        interface: frame.interface,
        source: (source, tcp.source_port()),
        destination: (destination, tcp.destination_port()),
        sequence: tcp.sequence_number(),
        acknowledgement: tcp.acknowledgment_number(),
        flags: tcp.header_slice().get(13).copied()?,
        urgent_pointer: tcp.urgent_pointer(),
        timestamp: timestamp(&tcp),
        wire_len: u32::try_from(wire_len).ok()?,
        payload: tcp.payload(),
    })
}

fn decode(frame: Frame<'_>) -> Option<LaxSlicedPacket<'_>> {
    let bytes = frame.bytes;
    match frame.link {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(bytes).ok(),
        Linktype::LINUX_SLL => cooked(bytes, COOKED),
        Linktype(276) => cooked(bytes, COOKED_2),
        Linktype::NULL | Linktype::LOOP => LaxSlicedPacket::from_ip(bytes.get(FAMILY_LEN..)?).ok(),
        // LINKTYPE_RAW under its several numbers, LINKTYPE_IPV4 and LINKTYPE_IPV6.
        Linktype(12 | 14 | 101 | 228 | 229) => LaxSlicedPacket::from_ip(bytes).ok(),
        _ => None,
    }
}

fn cooked(bytes: &[u8], (header, protocol_at): (usize, usize)) -> Option<LaxSlicedPacket<'_>> {
    let protocol = u16::from_be_bytes(*bytes.get(protocol_at..)?.first_chunk()?);
    Some(LaxSlicedPacket::from_ether_type(EtherType(protocol), bytes.get(header..)?))
}

fn timestamp(tcp: &TcpSlice<'_>) -> Option<u32> {
    tcp.options_iterator().map_while(Result::ok).find_map(|option| match option {
        TcpOptionElement::Timestamp(value, _) => Some(value),
        _ => None,
    })
}
