//! From an skb to the header of a record: Ethernet, VLAN tags, IPv4 with options, IPv6 with extension headers, TCP.
//!
//! Headers are read by `bpf_skb_load_bytes`, never by direct pointers: large skbs are not linear. The record header is
//! filled in per-CPU memory, since the stack has 512 bytes.

use core::ptr;

use aya_ebpf::{
    bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes, macros::map, maps::PerCpuArray,
    programs::TcContext,
};
use sensor_common::{
    counter::TapCounter,
    flow::{FlowKey, FlowState},
    record::{RecordHeader, mapped, mark},
};

use crate::{header::Header, tunnel};

/// A TCP segment whose record header is filled but for what the flow table knows.
#[repr(C)]
pub(crate) struct Packet {
    pub(crate) header: RecordHeader,
    /// Offset of the TCP options in the skb; they end where the payload begins.
    options_offset: u32,
    payload_offset: u32,
    /// Where the transport layer of a packet inside a tunnel stands ([`sensor_inside`]).
    inner: Transport,
    /// Not 0 if the packet was refused, but the agent may take it apart ([`whole`]).
    is_whole: u32,
    /// Key of the flow, once it was asked for ([`Packet::find_key`]).
    pub(crate) key: FlowKey,
    /// Not 0 if the sender is the lower endpoint of the key.
    source_is_low: u32,
    /// Room to make a new entry of the flow table in: the stack has none.
    pub(crate) fresh: FlowState,
}

impl Packet {
    /// Notes that the agent may take the IP packet between these offsets apart.
    #[inline(always)]
    fn hand_over(&mut self, network: u32, end: u32) {
        self.is_whole = 1;
        self.payload_offset = network;
        self.header.payload_len = end - network;
    }

    /// Works out the key of the flow: only packets that need it pay for it.
    #[inline(always)]
    pub(crate) fn find_key(&mut self) {
        let header = &self.header;
        let low = FlowKey::is_low(
            (&header.source, header.source_port),
            (&header.destination, header.destination_port),
        );
        self.source_is_low = u32::from(low);
        if low {
            self.key.low_address = header.source;
            self.key.high_address = header.destination;
            (self.key.low_port, self.key.high_port) = (header.source_port, header.destination_port);
        } else {
            self.key.low_address = header.destination;
            self.key.high_address = header.source;
            (self.key.low_port, self.key.high_port) = (header.destination_port, header.source_port);
        }
    }

    /// Whether the sender is the lower endpoint of the key.
    #[inline(always)]
    pub(crate) fn source_is_low(&self) -> bool {
        // SAFETY: the reference is valid; volatile as below.
        unsafe { ptr::read_volatile(&raw const self.source_is_low) != 0 }
    }

    /// Offset of the payload in the skb, read back from memory. The parser's paths (tags, options, extension headers) know different
    /// things of it; read back, it is the same unknown number on all of them, and the verifier walks what follows once.
    #[inline(always)]
    pub(crate) fn payload_offset(&self) -> u32 {
        // SAFETY: the reference is valid; the read is volatile only so that the compiler does not carry the value along.
        unsafe { ptr::read_volatile(&raw const self.payload_offset) }
    }

    /// Offset of the TCP options in the skb, read back likewise; they end where the payload begins.
    #[inline(always)]
    pub(crate) fn options_offset(&self) -> u32 {
        // SAFETY: as above.
        unsafe { ptr::read_volatile(&raw const self.options_offset) }
    }

    /// Payload bytes, read back likewise.
    #[inline(always)]
    pub(crate) fn payload_len(&self) -> u32 {
        // SAFETY: as above.
        unsafe { ptr::read_volatile(&raw const self.header.payload_len) }
    }

    /// TCP flags, read back likewise.
    #[inline(always)]
    pub(crate) fn flags(&self) -> u8 {
        // SAFETY: as above.
        unsafe { ptr::read_volatile(&raw const self.header.tcp_flags) }
    }
}

#[map]
static PACKET: PerCpuArray<Packet> = PerCpuArray::with_max_entries(1, 0);

const ETHERNET_LEN: u32 = 14;
const ETHER_TYPE_AT: u32 = 12;
const VLAN_TAG_LEN: u32 = 4;
const MAX_VLAN_TAGS: u32 = 2;
pub(crate) const ETHER_IPV4: u16 = 0x0800;
pub(crate) const ETHER_IPV6: u16 = 0x86dd;
const ETHER_VLAN: u16 = 0x8100;
const ETHER_QINQ: u16 = 0x88a8;

const IPV4_LEN: u32 = 20;
const IPV6_LEN: u32 = 40;
const IPV6_ADDRESSES_AT: u32 = 8;
/// More fragments follow, or the offset is not 0 (RFC 791 section 3.1).
const IPV4_FRAGMENT: u16 = 0x3fff;
/// The same in an IPv6 fragment header, whose offset stands three bits higher (RFC 8200 section 4.5).
const IPV6_FRAGMENT: u16 = 0xfff9;
/// Extension headers that are followed.
const MAX_EXTENSIONS: u32 = 6;

const PROTOCOL_TCP: u8 = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const NO_NEXT_HEADER: u8 = 59;

const TCP_LEN: u32 = 20;

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

/// The TCP segment in the skb, or why there is none.
#[inline(always)]
pub(crate) fn parse<'a>(ctx: &TcContext, direction: u8) -> Result<&'a mut Packet, TapCounter> {
    let packet = PACKET.get_ptr_mut(0).ok_or(TapCounter::Malformed)?;
    // SAFETY: the slot belongs to this CPU, and nothing else holds a reference to it while this program runs.
    let packet = unsafe { &mut *packet };
    if !plain_v4(ctx, packet) && !plain_v6(ctx, packet) {
        let refused = sensor_parse(ctx.skb.skb);
        if let Some(&reason) = TapCounter::ALL.get(refused as usize) {
            return Err(reason);
        }
    }
    complete(ctx, &mut packet.header, direction, 0);
    Ok(packet)
}

/// Fills what does not come from the packet's headers, and clears what only some segments have.
#[inline(always)]
fn complete(ctx: &TcContext, header: &mut RecordHeader, direction: u8, marks: u8) {
    // SAFETY: the context is the live `__sk_buff` of this run.
    header.interface = unsafe { (*ctx.skb.skb).ifindex };
    header.direction = direction;
    header.marks = marks;
    header.initial_sequence = 0;
    header.captured_len = 0;
    header.flow_hash = 0;
    header.timestamp = 0;
    header.peer_initial_sequence = 0;
    header.reserved = 0;
}

/// This CPU's memory, from a function that its holder has called.
#[inline(always)]
pub(crate) fn kept<'a>() -> Option<&'a mut Packet> {
    let packet = PACKET.get_ptr_mut(0)?;
    // SAFETY: as in `parse`; whoever has the reference does not use it during the call.
    Some(unsafe { &mut *packet })
}

/// The packet that [`parse`] has just refused, if the agent may take it apart.
#[inline(always)]
pub(crate) fn whole<'a>(ctx: &TcContext, direction: u8) -> Option<&'a mut Packet> {
    let packet = kept()?;
    if packet.is_whole == 0 {
        return None;
    }
    let header = &mut packet.header;
    (header.source_port, header.destination_port) = (0, 0);
    (header.sequence, header.acknowledgement) = (0, 0);
    (header.tcp_flags, header.urgent_pointer) = (0, 0);
    complete(ctx, header, direction, mark::WHOLE_PACKET);
    Some(packet)
}

const V4_TCP: usize = ETHERNET_LEN as usize + IPV4_LEN as usize;
const V6_TCP: usize = ETHERNET_LEN as usize + IPV6_LEN as usize;

/// A segment in an IPv4 packet without VLAN tag, options or fragmentation, whose headers lie in the first buffer: nearly every one does, and
/// its fields stand at fixed places. False for any other packet.
#[inline(always)]
fn plain_v4(ctx: &TcContext, packet: &mut Packet) -> bool {
    const IP: usize = ETHERNET_LEN as usize;
    let Some(bytes) = Header::<V4_TCP>::at(ctx.data(), ctx.data_end(), 0) else { return false };
    let plain = bytes.half::<{ ETHER_TYPE_AT as usize }>() == ETHER_IPV4
        && bytes.byte::<IP>() == 0x45
        && bytes.half::<{ IP + 6 }>() & IPV4_FRAGMENT == 0
        && bytes.byte::<{ IP + 9 }>() == PROTOCOL_TCP;
    if !plain {
        return false;
    }
    let header = &mut packet.header;
    header.ip_version = 4;
    header.source = mapped(bytes.word::<{ IP + 12 }>().to_be_bytes());
    header.destination = mapped(bytes.word::<{ IP + 16 }>().to_be_bytes());
    let end = packet_end(ctx, IP as u32, u32::from(bytes.half::<{ IP + 2 }>()));
    plain_tcp(ctx, V4_TCP, end, packet)
}

/// The same for IPv6 without extension headers.
#[inline(always)]
fn plain_v6(ctx: &TcContext, packet: &mut Packet) -> bool {
    const IP: usize = ETHERNET_LEN as usize;
    let Some(bytes) = Header::<V6_TCP>::at(ctx.data(), ctx.data_end(), 0) else { return false };
    let plain = bytes.half::<{ ETHER_TYPE_AT as usize }>() == ETHER_IPV6
        && bytes.byte::<IP>() >> 4 == 6
        && bytes.byte::<{ IP + 6 }>() == PROTOCOL_TCP;
    if !plain {
        return false;
    }
    let header = &mut packet.header;
    header.ip_version = 6;
    header.source = joined(bytes.double::<{ IP + 8 }>(), bytes.double::<{ IP + 16 }>());
    header.destination = joined(bytes.double::<{ IP + 24 }>(), bytes.double::<{ IP + 32 }>());
    let payload = u32::from(bytes.half::<{ IP + 4 }>());
    let total = if payload == 0 { 0 } else { payload + IPV6_LEN };
    let end = packet_end(ctx, IP as u32, total);
    plain_tcp(ctx, V6_TCP, end, packet)
}

/// The TCP header at an offset; false if it is not sound, which the longer way tells again.
#[inline(always)]
fn plain_tcp(ctx: &TcContext, at: usize, end: u32, packet: &mut Packet) -> bool {
    let Some(tcp) = Header::<{ TCP_LEN as usize }>::at(ctx.data(), ctx.data_end(), at) else { return false };
    let header_len = u32::from(tcp.byte::<12>() >> 4) * 4;
    let payload_offset = at as u32 + header_len;
    if header_len < TCP_LEN || payload_offset > end {
        return false;
    }
    let header = &mut packet.header;
    header.source_port = tcp.half::<0>();
    header.destination_port = tcp.half::<2>();
    header.sequence = tcp.word::<4>();
    header.acknowledgement = tcp.word::<8>();
    header.tcp_flags = tcp.byte::<13>();
    header.urgent_pointer = tcp.half::<18>();
    header.payload_len = end - payload_offset;
    packet.payload_offset = payload_offset;
    packet.options_offset = at as u32 + TCP_LEN;
    true
}

#[inline(always)]
fn joined(high: u64, low: u64) -> [u8; 16] {
    let ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) = (high.to_be_bytes(), low.to_be_bytes());
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// Reads the headers of any packet; returns the counter of why there is no segment in it, or [`NOT_REFUSED`].
///
/// A global function: the verifier walks it by itself, once, knowing nothing of its caller.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_parse(skb: *mut __sk_buff) -> u32 {
    let ctx = TcContext::new(skb);
    let Some(packet) = PACKET.get_ptr_mut(0) else { return TapCounter::Malformed as u32 };
    // SAFETY: the slot belongs to this CPU, and the caller does not use its reference meanwhile.
    let packet = unsafe { &mut *packet };
    packet.is_whole = 0;
    match parse_any(&ctx, packet) {
        Ok(()) => NOT_REFUSED,
        Err(reason) => reason as u32,
    }
}

#[inline(always)]
fn parse_any(ctx: &TcContext, packet: &mut Packet) -> Result<(), TapCounter> {
    let (ether_type, network) = network_header(ctx)?;
    let mut transport = transport(ctx, ether_type, network, packet)?;
    if transport.protocol != PROTOCOL_TCP {
        transport = inside(ctx, transport, packet)?;
    }
    packet.payload_offset = tcp(ctx, transport, &mut packet.header)?;
    packet.options_offset = transport.start + TCP_LEN;
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
    let Some(packet) = PACKET.get_ptr_mut(0) else { return TapCounter::Malformed as u32 };
    // SAFETY: the slot belongs to this CPU, and the caller does not use its reference meanwhile.
    let packet = unsafe { &mut *packet };
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
fn network_header(ctx: &TcContext) -> Result<(u16, u32), TapCounter> {
    let mut ether_type = u16::from_be_bytes(load(ctx, ETHER_TYPE_AT)?);
    let mut network = ETHERNET_LEN;
    let mut tags = 0;
    while tags < MAX_VLAN_TAGS && (ether_type == ETHER_VLAN || ether_type == ETHER_QINQ) {
        ether_type = u16::from_be_bytes(load(ctx, network + 2)?);
        network += VLAN_TAG_LEN;
        tags += 1;
    }
    Ok((ether_type, network))
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
fn packet_end(ctx: &TcContext, network: u32, total: u32) -> u32 {
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
