//! Packets as bytes.

use std::net::IpAddr;
use std::time::Duration;

use etherparse::{PacketBuilder, TcpHeader};
use ipnet::IpNet;

use crate::kernel::lists::{NewBlock, Origin, Scope};

/// A block entry of an operator's.
pub(super) fn block(target: &str, lasts: Option<Duration>) -> NewBlock {
    NewBlock {
        target: target.parse().unwrap(),
        scope: Scope::Host,
        lasts,
        shadow: false,
        origin: Origin::Operator,
        reason: "test".into(),
    }
}

/// An address, and what a block of it alone covers.
pub(super) fn whom(source: &str) -> (IpAddr, IpNet) {
    let source: IpAddr = source.parse().unwrap();
    (source, source.into())
}

/// What a TCP segment carries beside its addresses.
#[derive(Clone, Copy)]
pub(super) struct Tcp<'a> {
    pub(super) ports: (u16, u16),
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    /// Letters of the flags that are set: S, A, F, R, P, U.
    pub(super) flags: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) urgent: u16,
    /// TCP options; filled up to whole words with zeros.
    pub(super) options: &'a [u8],
}

impl Default for Tcp<'_> {
    fn default() -> Self {
        let (ports, flags) = ((40_000, 8080), "A");
        Self { ports, sequence: 1, acknowledgement: 1, flags, payload: b"", urgent: 0, options: b"" }
    }
}

/// An Ethernet frame with the segment; `from` and `to` are of one family.
pub(super) fn tcp(from: &str, to: &str, segment: Tcp<'_>) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = match (from.parse().unwrap(), to.parse().unwrap()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
        _ => panic!("two families"),
    };
    let mut header = TcpHeader::new(segment.ports.0, segment.ports.1, segment.sequence, 65_000);
    header.acknowledgment_number = segment.acknowledgement;
    let set = |flag| segment.flags.contains(flag);
    (header.syn, header.ack, header.fin, header.rst, header.psh, header.urg) =
        (set('S'), set('A'), set('F'), set('R'), set('P'), set('U'));
    header.urgent_pointer = segment.urgent;
    header.set_options_raw(segment.options).unwrap();
    let mut frame = Vec::new();
    ip.tcp_header(header).write(&mut frame, segment.payload).unwrap();
    frame
}

/// The frame with VLAN tags put behind the addresses: 802.1ad outside, 802.1Q inside.
pub(super) fn tagged(frame: &[u8], tags: usize) -> Vec<u8> {
    let mut out = frame[..12].to_vec();
    for tag in (0..tags).rev() {
        out.extend_from_slice(if tag == 0 { &[0x81, 0x00, 0, 5] } else { &[0x88, 0xa8, 0, 6] });
    }
    out.extend_from_slice(&frame[12..]);
    out
}

/// The IPv4 frame with `words` words of options (no-operation), lengths kept right.
pub(super) fn with_ipv4_options(frame: &[u8], words: u8) -> Vec<u8> {
    let mut out = frame[..34].to_vec();
    out[14] = 0x40 | (5 + words);
    let total = u16::from_be_bytes([frame[16], frame[17]]) + u16::from(words) * 4;
    out[16..18].copy_from_slice(&total.to_be_bytes());
    out.extend(std::iter::repeat_n(1, usize::from(words) * 4));
    out.extend_from_slice(&frame[34..]);
    out
}

/// The IPv6 frame with extension headers put in: each its protocol number and bytes, whose first is overwritten.
pub(super) fn with_ipv6_extensions(frame: &[u8], extensions: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut out = frame[..54].to_vec();
    let last = frame[20];
    let mut chain = Vec::new();
    for (at, (_, bytes)) in extensions.iter().enumerate() {
        let mut bytes = bytes.clone();
        bytes[0] = extensions.get(at + 1).map_or(last, |(protocol, _)| *protocol);
        chain.extend(bytes);
    }
    out[20] = extensions.first().map_or(last, |(protocol, _)| *protocol);
    let payload = u16::from_be_bytes([frame[18], frame[19]]) + u16::try_from(chain.len()).unwrap();
    out[18..20].copy_from_slice(&payload.to_be_bytes());
    out.extend(chain);
    out.extend_from_slice(&frame[54..]);
    out
}
