//! Packets inside packets: counted by kind, and looked into where the agent has asked for it.

use aya_ebpf::programs::XdpContext;
pub(crate) use sensor_common::tunnel::is_port;
use sensor_common::{counter::XdpCounter, settings::tunnel, tunnel as common};

use crate::packet::{Transport, read};

/// A packet inside a packet.
pub(crate) struct Inner {
    /// Bit of its kind ([`tunnel`]).
    pub(crate) kind: u32,
    pub(crate) counter: XdpCounter,
    found: common::Inner,
}

/// What is inside a packet, if it is a tunnel's.
#[inline(always)]
pub(crate) fn inside(ctx: &XdpContext, transport: Transport) -> Option<Inner> {
    let found = common::inside(transport.protocol, transport.offset as u32, |at| read(ctx, at as usize))?;
    let counter = match found.kind {
        tunnel::GRE => XdpCounter::TunnelGre,
        tunnel::VXLAN => XdpCounter::TunnelVxlan,
        tunnel::GENEVE => XdpCounter::TunnelGeneve,
        _ => XdpCounter::TunnelIpip,
    };
    Some(Inner { kind: found.kind, counter, found })
}

impl Inner {
    /// Ether type and offset of the IP header inside.
    #[inline(always)]
    pub(crate) fn network(&self, ctx: &XdpContext) -> Option<(u16, usize)> {
        let (ether_type, offset) = self.found.network(|at| read(ctx, at as usize))?;
        Some((ether_type, offset as usize))
    }
}
