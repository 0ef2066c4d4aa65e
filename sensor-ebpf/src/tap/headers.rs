//! From an skb to its TCP header, whatever stands in between: VLAN tags, IPv4 with options, IPv6 with extension headers, one tunnel.
//!
//! Headers are read by `bpf_skb_load_bytes`, never by direct pointers: large skbs are not linear.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes, programs::TcContext};
use sensor_common::{
    counter::TapCounter,
    record::{RecordHeader, mapped},
};

use crate::{
    header::{ETHER_IPV4, ETHER_IPV6, ETHER_TYPE_AT, link},
    packet::{self, Packet},
    tunnel,
};

const VLAN_TAG_LEN: u32 = 4;
const MAX_VLAN_TAGS: u32 = 2;
const ETHER_VLAN: u16 = 0x8100;
const ETHER_QINQ: u16 = 0x88a8;

pub(crate) const IPV4_LEN: u32 = 20;
pub(crate) const IPV6_LEN: u32 = 40;
const IPV6_ADDRESSES_AT: u32 = 8;
/// More fragments follow, or the offset is not 0 (RFC 791 section 3.1).
pub(crate) const IPV4_FRAGMENT: u16 = 0x3fff;
/// The same in an IPv6 fragment header, whose offset stands three bits higher (RFC 8200 section 4.5).
const IPV6_FRAGMENT: u16 = 0xfff9;
/// Extension headers that are followed.
const MAX_EXTENSIONS: u32 = 6;

pub(crate) const PROTOCOL_TCP: u8 = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const NO_NEXT_HEADER: u8 = 59;

pub(crate) const TCP_LEN: u32 = 20;

/// A network-layer header's verdict on where the transport layer stands.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Transport {
    /// Offset of the transport header.
    pub(crate) start: u32,
    /// End of the IP packet; what follows is padding.
    end: u32,
    pub(crate) protocol: u8,
    reserved: [u8; 3],
}

impl Transport {
    #[inline(always)]
    fn new(protocol: u8, start: u32, end: u32) -> Self {
        Self { start, end, protocol, reserved: [0; 3] }
    }
}

/// Reads the headers of any packet behind `LINK` bytes into this CPU's memory, of which the caller uses nothing meanwhile.
#[inline(always)]
pub(crate) fn parse<const LINK: usize>(ctx: &TcContext) -> Result<(), TapCounter> {
    let skb = ctx.skb.skb;
    let refused = if LINK == link::NONE { sensor_parse_ip(skb) } else { sensor_parse(skb) };
    TapCounter::ALL.get(refused as usize).map_or(Ok(()), |&reason| Err(reason))
}

/// Reads the headers of any Ethernet frame; returns the counter of why there is no segment in it, or [`NOT_REFUSED`].
///
/// A global function: the verifier walks it by itself, once, knowing nothing of its caller.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_parse(skb: *mut __sk_buff) -> u32 {
    parse_any(skb, network_header)
}

/// The same for a packet that begins with its IP header.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_parse_ip(skb: *mut __sk_buff) -> u32 {
    parse_any(skb, bare_header)
}

/// Ether type and offset of the network header.
type Network = Result<(u16, u32), TapCounter>;

#[inline(always)]
fn parse_any(skb: *mut __sk_buff, find_network: impl Fn(&TcContext) -> Network) -> u32 {
    let ctx = TcContext::new(skb);
    let Some(packet) = packet::kept() else { return TapCounter::Malformed as u32 };
    packet.is_whole = 0;
    match segment(&ctx, packet, find_network) {
        Ok(()) => NOT_REFUSED,
        Err(reason) => reason as u32,
    }
}

#[inline(always)]
fn segment(
    ctx: &TcContext,
    packet: &mut Packet,
    find_network: impl Fn(&TcContext) -> Network,
) -> Result<(), TapCounter> {
    let (ether_type, network) = find_network(ctx)?;
    let mut transport = transport(ctx, ether_type, network, packet)?;
    if transport.protocol != PROTOCOL_TCP {
        transport = inside(ctx, transport, packet)?;
    }
    let payload_offset = tcp(ctx, transport, &mut packet.header)?;
    packet.lies_at(transport.start + TCP_LEN, payload_offset);
    Ok(())
}

#[inline(always)]
fn transport(
    ctx: &TcContext,
    ether_type: u16,
    network: u32,
    packet: &mut Packet,
) -> Result<Transport, TapCounter> {
    match ether_type {
        ETHER_IPV4 => ipv4(ctx, network, packet),
        ETHER_IPV6 => ipv6(ctx, network, packet),
        _ => Err(TapCounter::NotIp),
    }
}

/// The TCP segment inside a tunnel, where the agent has asked for it.
#[inline(always)]
fn inside(ctx: &TcContext, outer: Transport, packet: &mut Packet) -> Result<Transport, TapCounter> {
    let (ether_type, network) = tunnel::inside(ctx, outer)?;
    let refused = sensor_inside(ctx.skb.skb, u32::from(ether_type), network);
    if let Some(&reason) = TapCounter::ALL.get(refused as usize) {
        return Err(reason);
    }
    if packet.inner.protocol == PROTOCOL_TCP { Ok(packet.inner) } else { Err(TapCounter::NotTcp) }
}

/// Index of no counter.
const NOT_REFUSED: u32 = u32::MAX;

/// Reads the IP header of a packet inside another; returns the counter of why it cannot, or [`NOT_REFUSED`].
///
/// A global function: the verifier walks it by itself, once, knowing nothing of its caller.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_inside(skb: *mut __sk_buff, ether_type: u32, network: u32) -> u32 {
    let ctx = TcContext::new(skb);
    let Some(packet) = packet::kept() else { return TapCounter::Malformed as u32 };
    match transport(&ctx, ether_type as u16, network, packet) {
        Ok(inner) => {
            packet.inner = inner;
            NOT_REFUSED
        }
        Err(reason) => reason as u32,
    }
}

#[inline(always)]
fn load<T>(ctx: &TcContext, offset: u32) -> Result<T, TapCounter> {
    ctx.load(offset as usize).map_err(|_| TapCounter::Malformed)
}

#[inline(always)]
fn network_header(ctx: &TcContext) -> Network {
    let mut ether_type = u16::from_be_bytes(load(ctx, ETHER_TYPE_AT as u32)?);
    let mut network = link::ETHERNET as u32;
    let mut tags = 0;
    while tags < MAX_VLAN_TAGS && (ether_type == ETHER_VLAN || ether_type == ETHER_QINQ) {
        ether_type = u16::from_be_bytes(load(ctx, network + 2)?);
        network += VLAN_TAG_LEN;
        tags += 1;
    }
    Ok((ether_type, network))
}

/// The same where nothing stands in front of the IP header, whose version then says what it is.
#[inline(always)]
fn bare_header(ctx: &TcContext) -> Network {
    let [first]: [u8; 1] = load(ctx, 0)?;
    match first >> 4 {
        4 => Ok((ETHER_IPV4, link::NONE as u32)),
        6 => Ok((ETHER_IPV6, link::NONE as u32)),
        _ => Err(TapCounter::NotIp),
    }
}

#[inline(always)]
fn ipv4(ctx: &TcContext, network: u32, packet: &mut Packet) -> Result<Transport, TapCounter> {
    let ip: [u8; IPV4_LEN as usize] = load(ctx, network)?;
    let header_len = u32::from(ip[0] & 0x0f) * 4;
    if ip[0] >> 4 != 4 || header_len < IPV4_LEN {
        return Err(TapCounter::Malformed);
    }
    let header = &mut packet.header;
    header.ip_version = 4;
    header.source = mapped([ip[12], ip[13], ip[14], ip[15]]);
    header.destination = mapped([ip[16], ip[17], ip[18], ip[19]]);
    let end = packet_end(ctx, network, u32::from(u16::from_be_bytes([ip[2], ip[3]])));
    if u16::from_be_bytes([ip[6], ip[7]]) & IPV4_FRAGMENT != 0 {
        if ip[9] == PROTOCOL_TCP {
            packet.hand_over(network, end);
        }
        return Err(TapCounter::Fragment);
    }
    Ok(Transport::new(ip[9], network + header_len, end))
}

#[inline(always)]
fn ipv6(ctx: &TcContext, network: u32, packet: &mut Packet) -> Result<Transport, TapCounter> {
    let ip: [u8; IPV6_ADDRESSES_AT as usize] = load(ctx, network)?;
    if ip[0] >> 4 != 6 {
        return Err(TapCounter::Malformed);
    }
    packet.header.ip_version = 6;
    load_addresses(ctx, network + IPV6_ADDRESSES_AT, &mut packet.header)?;
    let payload = u32::from(u16::from_be_bytes([ip[4], ip[5]]));
    let total = if payload == 0 { 0 } else { payload + IPV6_LEN };
    let end = packet_end(ctx, network, total);
    match skip_extensions(ctx, ip[6], network + IPV6_LEN) {
        Ok((protocol, start)) => Ok(Transport::new(protocol, start, end)),
        Err(Beyond { reason, next }) => {
            if next == PROTOCOL_TCP || is_extension(next) {
                packet.hand_over(network, end);
            }
            Err(reason)
        }
    }
}

/// Reads both addresses to where they belong: on the stack they would have no room.
#[inline(always)]
fn load_addresses(ctx: &TcContext, offset: u32, header: &mut RecordHeader) -> Result<(), TapCounter> {
    const BYTES: u32 = 16;
    let load = |from: u32, to: &mut [u8; BYTES as usize]| {
        // SAFETY: an address has the 16 bytes that are written.
        unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), from, to.as_mut_ptr().cast(), BYTES) }
    };
    let failed = load(offset, &mut header.source) | load(offset + BYTES, &mut header.destination);
    if failed != 0 { Err(TapCounter::Malformed) } else { Ok(()) }
}

/// Why extension headers do not lead to a transport header, and what they lead to as far as they were followed.
struct Beyond {
    reason: TapCounter,
    next: u8,
}

impl From<TapCounter> for Beyond {
    #[inline(always)]
    fn from(reason: TapCounter) -> Self {
        Self { reason, next: NO_NEXT_HEADER }
    }
}

/// RFC 8200 section 4: protocol and offset of what the extension headers lead to.
#[inline(always)]
fn skip_extensions(ctx: &TcContext, first: u8, start: u32) -> Result<(u8, u32), Beyond> {
    let (mut next, mut offset) = (first, start);
    let mut followed = 0;
    while followed < MAX_EXTENSIONS {
        let (kind, words): (u8, u32) = match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY => {
                let [kind, len]: [u8; 2] = load(ctx, offset)?;
                (kind, (u32::from(len) + 1) * 2)
            }
            AUTHENTICATION => {
                let [kind, len]: [u8; 2] = load(ctx, offset)?;
                (kind, u32::from(len) + 2)
            }
            FRAGMENT => {
                let [kind, _, high, low]: [u8; 4] = load(ctx, offset)?;
                if u16::from_be_bytes([high, low]) & IPV6_FRAGMENT != 0 {
                    return Err(Beyond { reason: TapCounter::Fragment, next: kind });
                }
                (kind, 2)
            }
            _ => return Ok((next, offset)),
        };
        next = kind;
        offset += words * 4;
        followed += 1;
    }
    if is_extension(next) { Err(Beyond { reason: TapCounter::Unparsed, next }) } else { Ok((next, offset)) }
}

#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS | MOBILITY)
}

/// End of the IP packet in the skb: without link-layer padding. A length of 0 is a packet over 64 KiB (BIG TCP).
#[inline(always)]
pub(crate) fn packet_end(ctx: &TcContext, network: u32, total: u32) -> u32 {
    let end = network + total;
    if total == 0 || end > ctx.len() { ctx.len() } else { end }
}

/// RFC 9293 section 3.1. Returns the offset of the payload.
#[inline(always)]
fn tcp(ctx: &TcContext, transport: Transport, header: &mut RecordHeader) -> Result<u32, TapCounter> {
    let tcp: [u8; TCP_LEN as usize] = load(ctx, transport.start)?;
    let header_len = u32::from(tcp[12] >> 4) * 4;
    let payload_offset = transport.start + header_len;
    if header_len < TCP_LEN || payload_offset > transport.end {
        return Err(TapCounter::Malformed);
    }
    header.source_port = u16::from_be_bytes([tcp[0], tcp[1]]);
    header.destination_port = u16::from_be_bytes([tcp[2], tcp[3]]);
    header.sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    header.acknowledgement = u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]);
    header.tcp_flags = tcp[13];
    header.urgent_pointer = u16::from_be_bytes([tcp[18], tcp[19]]);
    header.payload_len = transport.end - payload_offset;
    Ok(payload_offset)
}
