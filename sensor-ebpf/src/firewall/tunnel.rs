//! Packets inside packets: counted by kind, and looked into where the agent has asked for it.

use aya_ebpf::programs::XdpContext;
use sensor_common::{counter::XdpCounter, settings::tunnel};

use crate::packet::{ETHER_IPV4, ETHER_IPV6, Transport, UDP, ports, read};

const IPV4_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;
const VXLAN_PORT: u16 = 4789;
const GENEVE_PORT: u16 = 6081;
/// Transparent Ethernet bridging: an Ethernet frame inside GRE or Geneve.
const ETHERNET: u16 = 0x6558;
const ETHERNET_LEN: usize = 14;

/// Whether a UDP datagram to this port is a tunnel's.
#[inline(always)]
pub(crate) fn is_port(port: u16) -> bool {
    port == VXLAN_PORT || port == GENEVE_PORT
}

/// A packet inside a packet.
pub(crate) struct Inner {
    /// Bit of its kind ([`tunnel`]).
    pub(crate) kind: u32,
    pub(crate) counter: XdpCounter,
    ether_type: u16,
    /// Offset of what is inside.
    offset: usize,
}

/// What is inside a packet, if it is a tunnel's.
#[inline(always)]
pub(crate) fn inside(ctx: &XdpContext, transport: Transport) -> Option<Inner> {
    let at = transport.offset;
    match transport.protocol {
        IPV4_IN_IP => Some(ipip(ETHER_IPV4, at)),
        IPV6_IN_IP => Some(ipip(ETHER_IPV6, at)),
        GRE => gre(ctx, at),
        UDP => match ports(ctx, transport).1 {
            // RFC 7348 section 5: an Ethernet frame behind eight bytes.
            VXLAN_PORT => Some(Inner {
                kind: tunnel::VXLAN,
                counter: XdpCounter::TunnelVxlan,
                ether_type: ETHERNET,
                offset: at + 16,
            }),
            GENEVE_PORT => geneve(ctx, at + 8),
            _ => None,
        },
        _ => None,
    }
}

#[inline(always)]
fn ipip(ether_type: u16, offset: usize) -> Inner {
    Inner { kind: tunnel::IPIP, counter: XdpCounter::TunnelIpip, ether_type, offset }
}

/// RFC 2784 section 2, RFC 2890: four bytes, and four more for each of checksum, key and sequence number.
#[inline(always)]
fn gre(ctx: &XdpContext, at: usize) -> Option<Inner> {
    let [flags, _, high, low]: [u8; 4] = read(ctx, at)?;
    let words = 1 + usize::from(flags >> 7) + usize::from(flags >> 5 & 1) + usize::from(flags >> 4 & 1);
    let ether_type = u16::from_be_bytes([high, low]);
    Some(Inner { kind: tunnel::GRE, counter: XdpCounter::TunnelGre, ether_type, offset: at + 4 * words })
}

/// RFC 8926 section 3.4: eight bytes and the options.
#[inline(always)]
fn geneve(ctx: &XdpContext, at: usize) -> Option<Inner> {
    let [version_len, _, high, low]: [u8; 4] = read(ctx, at)?;
    let ether_type = u16::from_be_bytes([high, low]);
    let offset = at + 8 + usize::from(version_len & 0x3f) * 4;
    Some(Inner { kind: tunnel::GENEVE, counter: XdpCounter::TunnelGeneve, ether_type, offset })
}

impl Inner {
    /// Ether type and offset of the IP header inside.
    #[inline(always)]
    pub(crate) fn network(&self, ctx: &XdpContext) -> Option<(u16, usize)> {
        if self.ether_type != ETHERNET {
            return Some((self.ether_type, self.offset));
        }
        let ether_type = u16::from_be_bytes(read(ctx, self.offset + 12)?);
        Some((ether_type, self.offset + ETHERNET_LEN))
    }
}
