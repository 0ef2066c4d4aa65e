//! Packets inside packets: counted by kind, and looked into where the agent has asked for it. One tunnel deep: what is inside a second one
//! is counted as what it is.

use aya_ebpf::programs::TcContext;
use sensor_common::{counter::TapCounter, settings::tunnel, tunnel as common};

use crate::{counters, headers::Transport, settings};

/// Ether type and offset of the IP header inside the packet, or the counter of why nobody looks there.
#[inline(always)]
pub(crate) fn inside(ctx: &TcContext, transport: Transport) -> Result<(u16, u32), TapCounter> {
    let read = |at: u32| ctx.load::<[u8; 4]>(at as usize).ok();
    let inner = common::inside(transport.protocol, transport.start, read).ok_or(TapCounter::NotTcp)?;
    let wanted = settings::current().map_or(0, |settings| settings.tunnels);
    if wanted & inner.kind == 0 {
        return Err(match inner.kind {
            tunnel::GRE => TapCounter::TunnelGre,
            tunnel::VXLAN => TapCounter::TunnelVxlan,
            tunnel::GENEVE => TapCounter::TunnelGeneve,
            _ => TapCounter::TunnelIpip,
        });
    }
    counters::add(TapCounter::Tunnelled);
    inner.network(read).ok_or(TapCounter::Malformed)
}
