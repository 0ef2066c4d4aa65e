//! Finds the source address of a packet by direct access, every read checked against the packet's end.

use aya_ebpf::programs::XdpContext;
use sensor_common::counter::XdpCounter;

/// Source address of an IP packet.
pub(crate) enum Source {
    V4([u8; 4]),
    V6([u8; 16]),
}

const ETHERNET_LEN: usize = 14;
const ETHER_TYPE_AT: usize = 12;
const VLAN_TAG_LEN: usize = 4;
/// Tags that are followed: IEEE 802.1Q, or 802.1ad around it.
const MAX_VLAN_TAGS: usize = 2;

const ETHER_IPV4: u16 = 0x0800;
const ETHER_IPV6: u16 = 0x86dd;
const ETHER_VLAN: u16 = 0x8100;
const ETHER_QINQ: u16 = 0x88a8;

/// The source address, or the outcome for a packet without one.
#[inline(always)]
pub(crate) fn source(ctx: &XdpContext) -> Result<Source, XdpCounter> {
    let (ether_type, network) = network_header(ctx).ok_or(XdpCounter::Malformed)?;
    match ether_type {
        ETHER_IPV4 => ipv4_source(ctx, network).ok_or(XdpCounter::Malformed),
        ETHER_IPV6 => ipv6_source(ctx, network).ok_or(XdpCounter::Malformed),
        _ => Err(XdpCounter::NotIp),
    }
}

#[inline(always)]
fn network_header(ctx: &XdpContext) -> Option<(u16, usize)> {
    let mut ether_type = u16::from_be_bytes(read(ctx, ETHER_TYPE_AT)?);
    let mut network = ETHERNET_LEN;
    for _ in 0..MAX_VLAN_TAGS {
        if ether_type != ETHER_VLAN && ether_type != ETHER_QINQ {
            break;
        }
        ether_type = u16::from_be_bytes(read(ctx, network + 2)?);
        network += VLAN_TAG_LEN;
    }
    Some((ether_type, network))
}

/// RFC 791 section 3.1: the address stands at a fixed place, before any options; the header must be whole all the same.
#[inline(always)]
fn ipv4_source(ctx: &XdpContext, network: usize) -> Option<Source> {
    let header: [u8; 20] = read(ctx, network)?;
    let [version_ihl, .., a, b, c, d, _, _, _, _] = header;
    (version_ihl >> 4 == 4 && version_ihl & 0x0f >= 5).then_some(Source::V4([a, b, c, d]))
}

/// RFC 8200 section 3.
#[inline(always)]
fn ipv6_source(ctx: &XdpContext, network: usize) -> Option<Source> {
    let [version]: [u8; 1] = read(ctx, network)?;
    let _destination: [u8; 16] = read(ctx, network + 24)?;
    (version >> 4 == 6).then_some(Source::V6(read(ctx, network + 8)?))
}

#[inline(always)]
fn read<const N: usize>(ctx: &XdpContext, offset: usize) -> Option<[u8; N]> {
    let at = ctx.data() + offset;
    if at + N > ctx.data_end() {
        return None;
    }
    // SAFETY: `at .. at + N` lies between the packet's start and end, checked above; bytes have no alignment.
    Some(unsafe { *(at as *const [u8; N]) })
}
