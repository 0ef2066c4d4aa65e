//! Packets inside packets, as both kernel programs find them: the kind, and where the inner packet begins.

use crate::settings::tunnel;

/// IPv4.
pub const ETHER_IPV4: u16 = 0x0800;
/// IPv6.
pub const ETHER_IPV6: u16 = 0x86dd;
/// Transparent Ethernet bridging: an Ethernet frame inside GRE or Geneve.
pub const ETHERNET: u16 = 0x6558;

const IPV4_IN_IP: u8 = 4;
const UDP: u8 = 17;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;
const VXLAN_PORT: u16 = 4789;
const GENEVE_PORT: u16 = 6081;
const UDP_LEN: u32 = 8;
const ETHERNET_LEN: u32 = 14;
const ETHER_TYPE_AT: u32 = 12;

/// What a packet carries inside.
#[derive(Clone, Copy)]
pub struct Inner {
    /// Bit of its kind ([`tunnel`]).
    pub kind: u32,
    /// What is inside: [`ETHER_IPV4`], [`ETHER_IPV6`], [`ETHERNET`] or something else.
    pub ether_type: u16,
    /// Offset of what is inside.
    pub offset: u32,
}

/// Whether a UDP datagram to this port is a tunnel's.
#[inline(always)]
#[must_use]
pub const fn is_port(port: u16) -> bool {
    port == VXLAN_PORT || port == GENEVE_PORT
}

/// What is inside the packet whose transport header of `protocol` stands at `at`. `read` gives four bytes at an offset.
#[inline(always)]
pub fn inside(protocol: u8, at: u32, read: impl Fn(u32) -> Option<[u8; 4]>) -> Option<Inner> {
    match protocol {
        IPV4_IN_IP => Some(Inner { kind: tunnel::IPIP, ether_type: ETHER_IPV4, offset: at }),
        IPV6_IN_IP => Some(Inner { kind: tunnel::IPIP, ether_type: ETHER_IPV6, offset: at }),
        GRE => Some(gre(at, read(at)?)),
        UDP => {
            let [_, _, high, low] = read(at)?;
            match u16::from_be_bytes([high, low]) {
                // RFC 7348 section 5: an Ethernet frame behind eight bytes.
                VXLAN_PORT => {
                    Some(Inner { kind: tunnel::VXLAN, ether_type: ETHERNET, offset: at + UDP_LEN + 8 })
                }
                GENEVE_PORT => Some(geneve(at + UDP_LEN, read(at + UDP_LEN)?)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// RFC 2784 section 2, RFC 2890: four bytes, and four more for each of checksum, key and sequence number.
#[inline(always)]
fn gre(at: u32, [flags, _, high, low]: [u8; 4]) -> Inner {
    let words = 1 + u32::from(flags >> 7) + u32::from(flags >> 5 & 1) + u32::from(flags >> 4 & 1);
    Inner { kind: tunnel::GRE, ether_type: u16::from_be_bytes([high, low]), offset: at + 4 * words }
}

/// RFC 8926 section 3.4: eight bytes and the options.
#[inline(always)]
fn geneve(at: u32, [version_len, _, high, low]: [u8; 4]) -> Inner {
    let offset = at + 8 + u32::from(version_len & 0x3f) * 4;
    Inner { kind: tunnel::GENEVE, ether_type: u16::from_be_bytes([high, low]), offset }
}

impl Inner {
    /// Ether type and offset of the IP header inside.
    #[inline(always)]
    pub fn network(&self, read: impl Fn(u32) -> Option<[u8; 4]>) -> Option<(u16, u32)> {
        if self.ether_type != ETHERNET {
            return Some((self.ether_type, self.offset));
        }
        // The two bytes before the ether type keep the read inside the frame's own header.
        let [_, _, high, low] = read(self.offset + ETHER_TYPE_AT - 2)?;
        Some((u16::from_be_bytes([high, low]), self.offset + ETHERNET_LEN))
    }
}
