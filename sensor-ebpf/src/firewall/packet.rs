//! Finds the addresses of a packet, and its ports where an entry asks for them, by direct access: every read is checked against
//! the end of the packet's first buffer, which holds the headers.

use aya_ebpf::programs::XdpContext;
use sensor_common::{counter::XdpCounter, record::mapped};

use crate::{
    abuse,
    header::{ETHER_IPV4, ETHER_IPV6, ETHER_TYPE_AT, Header, link},
    tunnel,
};

/// An IP packet, outermost or inside a tunnel. Plain numbers, so that it can be kept in memory and read back.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    /// High half of the source address; 0 for IPv4.
    pub(crate) high: u64,
    /// Low half of the source address, or the IPv4 address.
    pub(crate) low: u64,
    /// Offset of the IP header.
    network: u32,
    /// Offset of what follows the IP header: extension headers of IPv6 included.
    next: u32,
    /// Protocol or, for IPv6, kind of the first extension header.
    pub(crate) protocol: u32,
    /// Not 0 for IPv6.
    pub(crate) is_v6: u16,
    /// Not 0 unless it is the first fragment of its datagram: there is no transport header.
    fragment: u16,
}

/// Where a packet's transport header stands.
#[derive(Clone, Copy)]
pub(crate) struct Transport {
    pub(crate) protocol: u8,
    pub(crate) offset: usize,
}

const VLAN_TAG_LEN: usize = 4;
/// Tags that are followed: IEEE 802.1Q, or 802.1ad around it.
const MAX_VLAN_TAGS: usize = 2;

const ETHER_VLAN: u16 = 0x8100;
const ETHER_QINQ: u16 = 0x88a8;

/// RFC 791 section 3.1: the offset of a fragment.
const IPV4_FRAGMENT_OFFSET: u16 = 0x1fff;

const HOP_BY_HOP: u8 = 0;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
/// Extension headers that are followed.
const MAX_EXTENSIONS: u32 = 6;

/// Place of the flags in a TCP header (RFC 9293 section 3.1).
pub(crate) const TCP_FLAGS_AT: usize = 13;

/// An IPv4 packet without VLAN tag, options or fragmentation that carries an ordinary TCP segment or UDP datagram behind `LINK` bytes: all of
/// that is known from one look at fixed places.
#[inline(always)]
pub(crate) fn plain_v4<const LINK: usize>(ctx: &XdpContext) -> Option<Packet> {
    const FLAGS_AT: usize = 20 + TCP_FLAGS_AT;
    let header = Header::<{ FLAGS_AT + 1 }, LINK>::behind(ctx.data(), ctx.data_end())?;
    let plain = header.may_be(ETHER_IPV4)
        && header.byte::<0>() == 0x45
        && header.half::<6>() & IPV4_FRAGMENT_OFFSET == 0
        && match header.byte::<9>() {
            TCP => abuse::usual(header.byte::<FLAGS_AT>()),
            UDP => !tunnel::is_port(header.half::<{ 20 + 2 }>()),
            _ => false,
        };
    plain.then(|| Packet {
        high: 0,
        low: u64::from(header.word::<12>()),
        network: LINK as u32,
        next: LINK as u32 + 20,
        protocol: u32::from(header.byte::<9>()),
        is_v6: 0,
        fragment: 0,
    })
}

/// The same for IPv6.
#[inline(always)]
pub(crate) fn plain_v6<const LINK: usize>(ctx: &XdpContext) -> Option<Packet> {
    const FLAGS_AT: usize = 40 + TCP_FLAGS_AT;
    let header = Header::<{ FLAGS_AT + 1 }, LINK>::behind(ctx.data(), ctx.data_end())?;
    let plain = header.may_be(ETHER_IPV6)
        && header.byte::<0>() >> 4 == 6
        && match header.byte::<6>() {
            TCP => abuse::usual(header.byte::<FLAGS_AT>()),
            UDP => !tunnel::is_port(header.half::<{ 40 + 2 }>()),
            _ => false,
        };
    plain.then(|| Packet {
        high: header.double::<8>(),
        low: header.double::<16>(),
        network: LINK as u32,
        next: LINK as u32 + 40,
        protocol: u32::from(header.byte::<6>()),
        is_v6: 1,
        fragment: 0,
    })
}

/// Ether type and offset of the network header that stands behind `LINK` bytes and VLAN tags.
#[inline(always)]
pub(crate) fn network_header<const LINK: usize>(ctx: &XdpContext) -> Result<(u16, usize), XdpCounter> {
    if LINK == link::NONE { bare_header(ctx) } else { tagged_header(ctx).ok_or(XdpCounter::Malformed) }
}

/// Where nothing stands in front of the IP header, its version says what it is.
#[inline(always)]
fn bare_header(ctx: &XdpContext) -> Result<(u16, usize), XdpCounter> {
    let shortest = header::<20>(ctx, 0).ok_or(XdpCounter::Malformed)?;
    match shortest.byte::<0>() >> 4 {
        4 => Ok((ETHER_IPV4, link::NONE)),
        6 => Ok((ETHER_IPV6, link::NONE)),
        _ => Err(XdpCounter::NotIp),
    }
}

#[inline(always)]
fn tagged_header(ctx: &XdpContext) -> Option<(u16, usize)> {
    let mut ether_type = header::<{ link::ETHERNET }>(ctx, 0)?.half::<ETHER_TYPE_AT>();
    let mut network = link::ETHERNET;
    for _ in 0..MAX_VLAN_TAGS {
        if ether_type != ETHER_VLAN && ether_type != ETHER_QINQ {
            break;
        }
        ether_type = header::<VLAN_TAG_LEN>(ctx, network)?.half::<2>();
        network += VLAN_TAG_LEN;
    }
    Some((ether_type, network))
}

/// The IP packet at `network`, or the outcome for what is none.
#[inline(always)]
pub(crate) fn parse(ctx: &XdpContext, ether_type: u16, network: usize) -> Result<Packet, XdpCounter> {
    match ether_type {
        ETHER_IPV4 => ipv4(ctx, network).ok_or(XdpCounter::Malformed),
        ETHER_IPV6 => ipv6(ctx, network).ok_or(XdpCounter::Malformed),
        _ => Err(XdpCounter::NotIp),
    }
}

/// RFC 791 section 3.1: the addresses stand at a fixed place, before any options; the header must be whole all the same.
#[inline(always)]
fn ipv4(ctx: &XdpContext, network: usize) -> Option<Packet> {
    let header = header::<20>(ctx, network)?;
    let version_len = header.byte::<0>();
    let header_len = usize::from(version_len & 0x0f) * 4;
    if version_len >> 4 != 4 || header_len < 20 {
        return None;
    }
    Some(Packet {
        high: 0,
        low: u64::from(header.word::<12>()),
        network: network as u32,
        next: (network + header_len) as u32,
        protocol: u32::from(header.byte::<9>()),
        is_v6: 0,
        fragment: header.half::<6>() & IPV4_FRAGMENT_OFFSET,
    })
}

/// RFC 8200 section 3.
#[inline(always)]
fn ipv6(ctx: &XdpContext, network: usize) -> Option<Packet> {
    let header = header::<40>(ctx, network)?;
    if header.byte::<0>() >> 4 != 6 {
        return None;
    }
    Some(Packet {
        high: header.double::<8>(),
        low: header.double::<16>(),
        network: network as u32,
        next: network as u32 + 40,
        protocol: u32::from(header.byte::<6>()),
        is_v6: 1,
        fragment: 0,
    })
}

/// The `N` bytes at an offset; `None` beyond the packet's end.
#[inline(always)]
fn header<const N: usize>(ctx: &XdpContext, offset: usize) -> Option<Header<N>> {
    Header::at(ctx.data(), ctx.data_end(), offset)
}

impl Packet {
    /// Where the transport header is; the mark to count if there is none that can be found.
    #[inline(always)]
    pub(crate) fn transport(&self, ctx: &XdpContext) -> Result<Transport, Option<XdpCounter>> {
        if self.fragment != 0 {
            return Err(Some(XdpCounter::Fragment));
        }
        let next = self.next as usize;
        if self.is_v6 == 0 {
            Ok(Transport { protocol: self.protocol as u8, offset: next })
        } else {
            skip_extensions(ctx, self.protocol as u8, next)
        }
    }

    /// Source address as records and keys have it.
    #[inline(always)]
    pub(crate) fn source_bytes(&self) -> [u8; 16] {
        if self.is_v6 == 0 { mapped((self.low as u32).to_be_bytes()) } else { joined(self.high, self.low) }
    }

    /// Destination address; zeros if it cannot be read again, which does not happen.
    #[inline(always)]
    pub(crate) fn destination_bytes(&self, ctx: &XdpContext) -> [u8; 16] {
        let network = self.network as usize;
        if self.is_v6 == 0 {
            mapped(read(ctx, network + 16).unwrap_or_default())
        } else {
            read(ctx, network + 24).unwrap_or_default()
        }
    }
}

/// An IPv6 address from its halves.
#[inline(always)]
pub(crate) fn joined(high: u64, low: u64) -> [u8; 16] {
    let ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) = (high.to_be_bytes(), low.to_be_bytes());
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// RFC 8200 section 4: protocol and offset of what the extension headers lead to.
#[inline(always)]
fn skip_extensions(ctx: &XdpContext, first: u8, start: usize) -> Result<Transport, Option<XdpCounter>> {
    let (mut next, mut offset) = (first, start);
    for _ in 0..MAX_EXTENSIONS {
        let len = match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY | AUTHENTICATION | FRAGMENT => {
                let [kind, len, high, low]: [u8; 4] = read(ctx, offset).ok_or(None)?;
                let continued = u16::from_be_bytes([high, low]) & 0xfff8 != 0;
                if next == FRAGMENT && continued {
                    return Err(Some(XdpCounter::Fragment));
                }
                let len = match next {
                    FRAGMENT => 8,
                    AUTHENTICATION => (usize::from(len) + 2) * 4,
                    _ => (usize::from(len) + 1) * 8,
                };
                next = kind;
                len
            }
            _ => return Ok(Transport { protocol: next, offset }),
        };
        offset += len;
    }
    match next {
        HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY | AUTHENTICATION | FRAGMENT => {
            Err(Some(XdpCounter::Unparsed))
        }
        _ => Ok(Transport { protocol: next, offset }),
    }
}

/// Source and destination port of a TCP, UDP or SCTP header; zeros for anything else.
#[inline(always)]
pub(crate) fn ports(ctx: &XdpContext, transport: Transport) -> (u16, u16) {
    const SCTP: u8 = 132;
    if !matches!(transport.protocol, TCP | UDP | SCTP) {
        return (0, 0);
    }
    let [a, b, c, d] = read(ctx, transport.offset).unwrap_or_default();
    (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

/// Furthest that a header is looked for: the verifier wants a bound on offsets that packets compute.
pub(crate) const FURTHEST: usize = 0x0fff;

/// Reads bytes of the packet; `None` beyond its end.
#[inline(always)]
pub(crate) fn read<const N: usize>(ctx: &XdpContext, offset: usize) -> Option<[u8; N]> {
    if offset > FURTHEST {
        return None;
    }
    let at = ctx.data() + offset;
    if at + N > ctx.data_end() {
        return None;
    }
    // SAFETY: `at .. at + N` lies between the packet's start and end, checked above; bytes have no alignment.
    Some(unsafe { *(at as *const [u8; N]) })
}
