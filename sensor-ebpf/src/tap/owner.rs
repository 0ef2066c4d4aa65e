//! Whether a connection is the agent's own: its sockets belong to its control group. Only packets that leave the host tell, since those that
//! arrive may still carry the mark of their sender (veth).

use aya_ebpf::{helpers::generated::bpf_skb_cgroup_id, programs::TcContext};
use sensor_common::{
    flow::{FlowState, class, state},
    record::{EGRESS, RecordHeader},
};

use crate::settings;

/// Looks once in the life of a connection.
#[inline(always)]
pub(crate) fn note(ctx: &TcContext, header: &RecordHeader, flow: &mut FlowState) {
    if flow.state & state::OWNER_KNOWN != 0 || header.direction != EGRESS {
        return;
    }
    flow.state |= state::OWNER_KNOWN;
    let Some(settings) = settings::current() else { return };
    // SAFETY: the context is the live one of this run (kernel 4.18 and later; 0 without a socket).
    if settings.own_cgroup != 0 && unsafe { bpf_skb_cgroup_id(ctx.skb.skb) } == settings.own_cgroup {
        flow.class = class::OWN;
    }
}
