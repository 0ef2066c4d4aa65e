//! From a captured frame to a TCP packet or a fragment of one: Ethernet with VLAN tags, Linux cooked, loopback, raw IP. It reads
//! what a capture tool wrote, so that a packet may be cut off anywhere; lengths on the wire are told beside what is there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::bytes::{be16, be32};

/// Most VLAN tags on top of each other.
const MAX_TAGS: usize = 4;
/// Most extension headers of an IPv6 packet: Linux takes any number, a packet has room for few.
const MAX_EXTENSIONS: usize = 16;
/// TCP's number among IP protocols.
const TCP: u8 = 6;
/// TCP options: end, padding, timestamps (RFC 7323), MD5 signature (RFC 2385).
const OPTION_END: u8 = 0;
const OPTION_PAD: u8 = 1;
const OPTION_TIMESTAMP: u8 = 8;
const OPTION_SIGNATURE: u8 = 19;

/// What a frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// A Linux "cooked" header (LINKTYPE_LINUX_SLL).
    Cooked,
    /// A Linux "cooked" header, version 2 (LINKTYPE_LINUX_SLL2).
    Cooked2,
    /// Four bytes of an address family (LINKTYPE_NULL, LINKTYPE_LOOP).
    Family,
    /// The IP packet.
    Raw,
}

impl Link {
    /// The link of a LINKTYPE number, as capture files have it; `None` for one that is not read.
    #[must_use]
    pub const fn of(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Ethernet),
            113 => Some(Self::Cooked),
            276 => Some(Self::Cooked2),
            0 | 108 => Some(Self::Family),
            12 | 14 | 101 | 228 | 229 => Some(Self::Raw),
            _ => None,
        }
    }
}

/// A TCP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpPacket<'a> {
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Flags, [`sensor_common::record::tcp`].
    pub flags: u8,
    /// Urgent pointer.
    pub urgent_pointer: u16,
    /// Value of the timestamp option.
    pub timestamp: Option<u32>,
    /// Whether it is signed (RFC 2385).
    pub signed: bool,
    /// Payload bytes on the wire: `payload.len() <= wire_len`.
    pub wire_len: u32,
    /// The captured payload.
    pub payload: &'a [u8],
}

/// A part of an IP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// Number that the parts of a datagram have in common.
    pub id: u32,
    /// What the datagram carries: an IP protocol or, in IPv6, an extension header.
    pub protocol: u8,
    /// Where in the datagram's payload the part begins, in bytes.
    pub offset: u32,
    /// Whether others follow behind it.
    pub more: bool,
    /// Bytes of the part on the wire: `payload.len() <= wire_len`.
    pub wire_len: u32,
    /// The captured bytes.
    pub payload: &'a [u8],
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A TCP packet.
    Tcp(TcpPacket<'a>),
    /// A part of an IP datagram.
    Fragment(Fragment<'a>),
}

/// Decodes a frame; `None` if it carries no TCP, or its headers are not all there or contradict themselves.
#[must_use]
pub fn decode(link: Link, frame: &[u8]) -> Option<Packet<'_>> {
    match link {
        Link::Ethernet => ether(be16(frame, 12)?, frame.get(14..)?),
        Link::Cooked => ether(be16(frame, 14)?, frame.get(16..)?),
        Link::Cooked2 => ether(be16(frame, 0)?, frame.get(20..)?),
        Link::Family => ip(frame.get(4..)?),
        Link::Raw => ip(frame),
    }
}

/// Decodes what an EtherType announces.
fn ether(mut kind: u16, mut rest: &[u8]) -> Option<Packet<'_>> {
    for _ in 0..=MAX_TAGS {
        match kind {
            0x8100 | 0x88a8 | 0x9100 => (kind, rest) = (be16(rest, 2)?, rest.get(4..)?),
            0x0800 | 0x86dd => return ip(rest),
            _ => return None,
        }
    }
    None
}

fn ip(packet: &[u8]) -> Option<Packet<'_>> {
    match packet.first()? >> 4 {
        4 => ipv4(packet),
        6 => ipv6(packet),
        _ => None,
    }
}

/// RFC 791 section 3.1.
fn ipv4(packet: &[u8]) -> Option<Packet<'_>> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let total = usize::from(be16(packet, 2)?);
    // A length of 0 is a packet that segmentation offload had not cut yet: what was captured is all there is to know.
    let total = if total == 0 { packet.len() } else { total };
    if header < 20 || total < header {
        return None;
    }
    let address = |at: usize| packet.get(at..)?.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes).into());
    let (source, destination) = (address(12)?, address(16)?);
    let payload = packet.get(header..)?;
    let payload = payload.get(..total - header).unwrap_or(payload);
    let (place, protocol, wire_len) = (be16(packet, 6)?, *packet.get(9)?, (total - header) as u32);
    let (offset, more) = (u32::from(place & 0x1fff) * 8, place & 0x2000 != 0);
    if offset > 0 || more {
        let id = u32::from(be16(packet, 4)?);
        return Some(Packet::Fragment(Fragment {
            source,
            destination,
            id,
            protocol,
            offset,
            more,
            wire_len,
            payload,
        }));
    }
    (protocol == TCP).then(|| tcp(source, destination, payload, wire_len)).flatten().map(Packet::Tcp)
}

/// RFC 8200 sections 3 and 4.
fn ipv6(packet: &[u8]) -> Option<Packet<'_>> {
    const HEADER: usize = 40;
    let address = |at: usize| packet.get(at..)?.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes));
    let (source, destination) = (IpAddr::V6(address(8)?), IpAddr::V6(address(24)?));
    let rest = packet.get(HEADER..)?;
    let length = usize::from(be16(packet, 4)?);
    let length = if length == 0 { rest.len() } else { length };
    let rest = rest.get(..length).unwrap_or(rest);
    ipv6_payload(source, destination, *packet.get(6)?, rest, length as u32)
}

/// What follows an IPv6 header or a reassembled fragment: extension headers, then TCP.
fn ipv6_payload(
    source: IpAddr,
    destination: IpAddr,
    mut next: u8,
    mut rest: &[u8],
    mut wire_len: u32,
) -> Option<Packet<'_>> {
    for _ in 0..MAX_EXTENSIONS {
        let length = match next {
            TCP => return tcp(source, destination, rest, wire_len).map(Packet::Tcp),
            44 => {
                let (place, id) = (be16(rest, 2)?, be32(rest, 4)?);
                let (offset, more) = (u32::from(place & 0xfff8), place & 1 != 0);
                let (protocol, payload, wire_len) =
                    (*rest.first()?, rest.get(8..)?, wire_len.checked_sub(8)?);
                if offset > 0 || more {
                    return Some(Packet::Fragment(Fragment {
                        source,
                        destination,
                        id,
                        protocol,
                        offset,
                        more,
                        wire_len,
                        payload,
                    }));
                }
                8
            }
            51 => (usize::from(*rest.get(1)?) + 2) * 4,
            0 | 43 | 60 | 135 | 139 | 140 => (usize::from(*rest.get(1)?) + 1) * 8,
            _ => return None,
        };
        (next, rest, wire_len) = (*rest.first()?, rest.get(length..)?, wire_len.checked_sub(length as u32)?);
    }
    None
}

/// Decodes the payload of a datagram that was put together of its parts.
#[must_use]
pub fn decode_payload(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    payload: &[u8],
) -> Option<TcpPacket<'_>> {
    let wire_len = u32::try_from(payload.len()).ok()?;
    if source.is_ipv4() {
        return (protocol == TCP).then(|| tcp(source, destination, payload, wire_len)).flatten();
    }
    match ipv6_payload(source, destination, protocol, payload, wire_len)? {
        Packet::Tcp(packet) => Some(packet),
        Packet::Fragment(_) => None,
    }
}

/// RFC 9293 section 3.1.
fn tcp(source: IpAddr, destination: IpAddr, segment: &[u8], wire_len: u32) -> Option<TcpPacket<'_>> {
    let header = usize::from(segment.get(12)? >> 4) * 4;
    if header < 20 {
        return None;
    }
    let payload = segment.get(header..).unwrap_or_default();
    let options = Options::read(segment.get(20..header.min(segment.len())).unwrap_or_default());
    Some(TcpPacket {
        source: SocketAddr::new(source, be16(segment, 0)?),
        destination: SocketAddr::new(destination, be16(segment, 2)?),
        sequence: be32(segment, 4)?,
        acknowledgement: be32(segment, 8)?,
        flags: *segment.get(13)?,
        urgent_pointer: be16(segment, 18)?,
        timestamp: options.timestamp,
        signed: options.signed,
        wire_len: wire_len.checked_sub(header as u32)?.max(payload.len() as u32),
        payload,
    })
}

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    timestamp: Option<u32>,
    signed: bool,
}

impl Options {
    /// Linux stops at an option that is malformed, and takes the segment.
    fn read(mut rest: &[u8]) -> Self {
        let mut options = Self::default();
        while let Some((&kind, behind)) = rest.split_first() {
            if kind == OPTION_END {
                break;
            }
            if kind == OPTION_PAD {
                rest = behind;
                continue;
            }
            let length = behind.first().map_or(0, |&length| usize::from(length));
            let Some((option, behind)) = rest.split_at_checked(length).filter(|_| length >= 2) else { break };
            match (kind, length) {
                (OPTION_TIMESTAMP, 10) => options.timestamp = be32(option, 2),
                (OPTION_SIGNATURE, 18) => options.signed = true,
                _ => {}
            }
            rest = behind;
        }
        options
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A TCP segment from port 4000 to 80 with a timestamp of 7.
    pub(in super::super) fn segment(payload: &[u8]) -> Vec<u8> {
        let options = [1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0];
        let head = [0x0f, 0xa0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0x18, 1, 0, 0, 0, 0, 5];
        [&head[..], &options, payload].concat()
    }

    pub(in super::super) fn v4(id: u16, place: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, TCP, 0, 0, 192, 0, 2, 7, 198, 51, 100, 1];
        packet[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        packet[6..8].copy_from_slice(&place.to_be_bytes());
        [packet, payload.to_vec()].concat()
    }

    pub(in super::super) fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = [0x60, 0, 0, 0, 0, 0, next, 64];
        packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
        let addresses = [[0x20, 1, 0xd, 0xb8], [0; 4], [0; 4], [0, 0, 0, 7]].concat();
        [&packet[..], &addresses, &[[0x20, 1, 0xd, 0xb8], [0; 4], [0; 4], [0, 0, 0, 1]].concat(), payload]
            .concat()
    }

    fn shown(link: Link, frame: &[u8]) -> Option<String> {
        Some(match decode(link, frame)? {
            Packet::Tcp(tcp) => {
                format!("{} {} {}/{}", tcp.source, tcp.destination, tcp.payload.escape_ascii(), tcp.wire_len)
            }
            Packet::Fragment(part) => {
                format!(
                    "{} {}+{} {}",
                    part.id,
                    part.offset,
                    part.payload.len(),
                    if part.more { "more" } else { "last" }
                )
            }
        })
    }

    #[test]
    fn links() {
        let packet = v4(1, 0x4000, &segment(b"GET"));
        let ends = "192.0.2.7:4000 198.51.100.1:80 GET/3";
        for (link, before) in [
            (Link::Raw, &b""[..]),
            (Link::Family, &[2, 0, 0, 0]),
            (Link::Ethernet, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]),
            (Link::Ethernet, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 8, 0]),
            (Link::Cooked, &[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]),
            (Link::Cooked2, &[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!(shown(link, &[before, &packet].concat()).as_deref(), Some(ends), "{link:?}");
        }
        assert_eq!(shown(Link::Ethernet, &[0; 60]), None);
    }

    /// Case E25: padding behind the packet is no payload. Case E11: options that are malformed end the options only.
    #[test]
    fn headers_and_lengths() {
        let packet = v4(1, 0, &segment(b"GET"));
        let padded = [&packet[..], b"EVIL"].concat();
        assert_eq!(shown(Link::Raw, &padded), shown(Link::Raw, &packet));
        assert_eq!(
            shown(Link::Raw, &packet[..packet.len() - 2]).as_deref(),
            Some("192.0.2.7:4000 198.51.100.1:80 G/3")
        );
        let Some(Packet::Tcp(tcp)) = decode(Link::Raw, &packet) else { panic!() };
        assert_eq!((tcp.timestamp, tcp.urgent_pointer, tcp.flags, tcp.signed), (Some(7), 5, 0x18, false));
        let mut odd = packet.clone();
        odd[20 + 20] = 30;
        odd[20 + 21] = 0;
        assert!(shown(Link::Raw, &odd).is_some_and(|text| text.ends_with("GET/3")));
        let mut short = packet;
        short[20 + 12] = 0x40;
        assert_eq!(shown(Link::Raw, &short), None, "data offset 4");
    }

    /// Case E24.
    #[test]
    fn extension_headers() {
        let plain = v6(6, &segment(b"x"));
        let ends = "[2001:db8::7]:4000 [2001:db8::1]:80 x/1";
        assert_eq!(shown(Link::Raw, &plain).as_deref(), Some(ends));
        let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
        let many: Vec<u8> =
            (0..10).map(|at| options(if at == 9 { 6 } else { 60 })).collect::<Vec<_>>().concat();
        assert_eq!(shown(Link::Raw, &v6(60, &[many, segment(b"x")].concat())).as_deref(), Some(ends));
        let atomic = [&[6, 0, 0, 0, 0, 0, 0, 9][..], &segment(b"x")].concat();
        assert_eq!(shown(Link::Raw, &v6(44, &atomic)).as_deref(), Some(ends));
        let part = [&[6, 0, 0, 9, 0, 0, 0, 9][..], b"12345678"].concat();
        assert_eq!(shown(Link::Raw, &v6(44, &part)).as_deref(), Some("9 8+8 more"));
        assert_eq!(shown(Link::Raw, &v6(59, &segment(b"x"))), None);
    }

    #[test]
    fn fragments_of_ipv4() {
        assert_eq!(shown(Link::Raw, &v4(7, 0x2000, b"12345678")).as_deref(), Some("7 0+8 more"));
        assert_eq!(shown(Link::Raw, &v4(7, 1, b"12")).as_deref(), Some("7 8+2 last"));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_do_not(frame in proptest::collection::vec(any::<u8>(), 0..120), kind in 0u32..300) {
            if let Some(link) = Link::of(kind) {
                let _ = decode(link, &frame);
            }
            for version in [0x45, 0x60] {
                let mut frame = frame.clone();
                frame.insert(0, version);
                if let Some(Packet::Tcp(tcp)) = decode(Link::Raw, &frame) {
                    prop_assert!(tcp.payload.len() <= tcp.wire_len as usize);
                }
            }
        }
    }
}
