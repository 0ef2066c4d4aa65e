//! Segments in packets without VLAN tag, IP options, fragmentation or extension headers, whose headers lie in the first buffer: nearly every one
//! does, and its fields stand at fixed places. Any other packet takes the longer way ([`crate::headers`]).

use aya_ebpf::programs::TcContext;
use sensor_common::record::mapped;

use crate::{
    header::{ETHER_IPV4, ETHER_IPV6, Header},
    headers::{IPV4_FRAGMENT, IPV4_LEN, IPV6_LEN, PROTOCOL_TCP, TCP_LEN, packet_end},
    packet::Packet,
};

/// Fills in the segment, if it is a plain one behind `LINK` bytes.
#[inline(always)]
pub(crate) fn parse<const LINK: usize>(ctx: &TcContext, packet: &mut Packet) -> bool {
    plain_v4::<LINK>(ctx, packet) || plain_v6::<LINK>(ctx, packet)
}

#[inline(always)]
fn plain_v4<const LINK: usize>(ctx: &TcContext, packet: &mut Packet) -> bool {
    let ip = Header::<{ IPV4_LEN as usize }, LINK>::behind(ctx.data(), ctx.data_end());
    let Some(ip) = ip else { return false };
    let plain = ip.may_be(ETHER_IPV4)
        && ip.byte::<0>() == 0x45
        && ip.half::<6>() & IPV4_FRAGMENT == 0
        && ip.byte::<9>() == PROTOCOL_TCP;
    if !plain {
        return false;
    }
    let header = &mut packet.header;
    header.ip_version = 4;
    header.source = mapped(ip.word::<12>().to_be_bytes());
    header.destination = mapped(ip.word::<16>().to_be_bytes());
    let end = packet_end(ctx, LINK as u32, u32::from(ip.half::<2>()));
    plain_tcp(ctx, LINK as u32 + IPV4_LEN, end, packet)
}

#[inline(always)]
fn plain_v6<const LINK: usize>(ctx: &TcContext, packet: &mut Packet) -> bool {
    let ip = Header::<{ IPV6_LEN as usize }, LINK>::behind(ctx.data(), ctx.data_end());
    let Some(ip) = ip else { return false };
    let plain = ip.may_be(ETHER_IPV6) && ip.byte::<0>() >> 4 == 6 && ip.byte::<6>() == PROTOCOL_TCP;
    if !plain {
        return false;
    }
    let header = &mut packet.header;
    header.ip_version = 6;
    header.source = joined(ip.double::<8>(), ip.double::<16>());
    header.destination = joined(ip.double::<24>(), ip.double::<32>());
    let payload = u32::from(ip.half::<4>());
    let total = if payload == 0 { 0 } else { payload + IPV6_LEN };
    let end = packet_end(ctx, LINK as u32, total);
    plain_tcp(ctx, LINK as u32 + IPV6_LEN, end, packet)
}

/// The TCP header at an offset; false if it is not sound, which the longer way tells again.
#[inline(always)]
fn plain_tcp(ctx: &TcContext, at: u32, end: u32, packet: &mut Packet) -> bool {
    let tcp = Header::<{ TCP_LEN as usize }>::at(ctx.data(), ctx.data_end(), at as usize);
    let Some(tcp) = tcp else { return false };
    let header_len = u32::from(tcp.byte::<12>() >> 4) * 4;
    let payload_offset = at + header_len;
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
    packet.lies_at(at + TCP_LEN, payload_offset);
    true
}

#[inline(always)]
fn joined(high: u64, low: u64) -> [u8; 16] {
    let ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) = (high.to_be_bytes(), low.to_be_bytes());
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}
