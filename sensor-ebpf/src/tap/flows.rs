//! The flow table: what a connection carries, where its streams start, and whether its opener is who it says.
//!
//! An entry is made when the acceptor answers with SYN-ACK, or at the first payload of a connection that is older than
//! the tap. The table is an LRU map: a flood evicts entries, and an evicted flow is recognised again at its next message.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, LruHashMap},
    programs::TcContext,
};
use sensor_common::{
    flow::{FlowKey, FlowState, UNDECIDED_RECORDS, class, port, state},
    limit,
    record::{INGRESS, RecordHeader, mark, tcp},
};

use crate::{
    message::{self, Start},
    packet::Packet,
    socket,
};

#[map]
static FLOWS: LruHashMap<FlowKey, FlowState> = LruHashMap::with_max_entries(limit::TAP_FLOWS, 0);

/// Ports whose connections are HTTP by configuration.
#[map]
static PORTS: HashMap<u16, u8> = HashMap::with_max_entries(limit::PORTS, 0);

/// Remembers where both streams of a connection start. `header` is that of a SYN-ACK.
#[inline(always)]
pub(crate) fn remember_handshake(header: &RecordHeader) {
    let acceptor_initial = header.sequence.wrapping_add(1);
    let opener_initial = header.acknowledgement;
    let acceptor_is_low = source_is_low(header);
    let (low_initial, high_initial, opened) = if acceptor_is_low {
        (acceptor_initial, opener_initial, 0)
    } else {
        (opener_initial, acceptor_initial, state::LOW_OPENED)
    };
    let timestamps = if header.marks & mark::TIMESTAMP != 0 { state::TIMESTAMPS } else { 0 };
    let new = FlowState {
        low_initial,
        high_initial,
        class: initial_class(header),
        state: state::SYN_SEEN | opened | timestamps,
        ..FlowState::default()
    };
    // A full LRU map evicts; any other failure leaves the flow to be picked up at its first payload.
    let _ = FLOWS.insert(key_of(header), new, 0);
}

/// Class of a known flow; `OTHER` if it is not known.
#[inline(always)]
pub(crate) fn class_of(header: &mut RecordHeader) -> u8 {
    let Some(flow) = FLOWS.get_ptr_mut(key_of(header)) else { return class::OTHER };
    // SAFETY: the pointer comes from a look-up in this run. Two CPUs may write an entry at once; every field is one word
    // or byte, and any of the values written is a state that the flow was in.
    let flow = unsafe { &mut *flow };
    describe(header, flow);
    flow.class
}

/// Decides what the flow of a payload segment is, and writes what the table knows into the record header.
#[inline(always)]
pub(crate) fn classify(ctx: &TcContext, packet: &mut Packet) -> u8 {
    let (payload_offset, payload_len) = (packet.payload_offset(), packet.payload_len());
    let header = &mut packet.header;
    let key = key_of(header);
    let Some(flow) = FLOWS.get_ptr_mut(key) else {
        return pick_up(ctx, header, &key, payload_offset, payload_len);
    };
    // SAFETY: as in `class_of`.
    let flow = unsafe { &mut *flow };
    note_handshake(ctx, header, flow);
    describe(header, flow);
    if flow.class == class::HTTP {
        return if is_unwanted(header, flow) { UNWANTED } else { class::HTTP };
    }
    if flow.class != class::OWN {
        flow.class = decide(header, flow, message::start(ctx, payload_offset, payload_len));
    }
    flow.class
}

/// Beside the classes: a segment of an HTTP flow of which the agent wants no more.
pub(crate) const UNWANTED: u8 = u8::MAX;

/// A connection whose handshake the tap did not see.
#[inline(always)]
fn pick_up(
    ctx: &TcContext,
    header: &mut RecordHeader,
    key: &FlowKey,
    payload_offset: u32,
    payload_len: u32,
) -> u8 {
    let mut flow = FlowState { class: initial_class(header), ..FlowState::default() };
    if flow.class != class::HTTP {
        let start = message::start(ctx, payload_offset, payload_len);
        flow.class = match start {
            _ if flow.class == class::OWN => class::OWN,
            Start::Message => class::HTTP,
            Start::Tls | Start::Prefix | Start::No => class::OTHER,
        };
    }
    if flow.class == class::HTTP {
        note_handshake(ctx, header, &mut flow);
    }
    describe(header, &flow);
    let _ = FLOWS.insert(key, flow, 0);
    flow.class
}

/// The class after this segment, of a flow that is not known to be HTTP.
#[inline(always)]
fn decide(header: &RecordHeader, flow: &mut FlowState, start: Start) -> u8 {
    let begins_stream =
        header.marks & mark::INITIAL_SEQUENCE != 0 && header.sequence == header.initial_sequence;
    match start {
        Start::Message => class::HTTP,
        Start::Prefix if begins_stream => class::HTTP,
        Start::Tls if begins_stream => class::TLS,
        _ if flow.class == class::OTHER || flow.class == class::TLS => flow.class,
        _ if begins_stream || flow.undecided >= UNDECIDED_RECORDS => class::OTHER,
        _ => {
            flow.undecided += 1;
            class::UNDECIDED
        }
    }
}

/// Writes what the table knows of the flow into the record header.
#[inline(always)]
fn describe(header: &mut RecordHeader, flow: &FlowState) {
    if flow.state & state::SYN_SEEN != 0 {
        header.marks |= mark::INITIAL_SEQUENCE;
        (header.initial_sequence, header.peer_initial_sequence) = if source_is_low(header) {
            (flow.low_initial, flow.high_initial)
        } else {
            (flow.high_initial, flow.low_initial)
        };
    }
    if flow.state & state::TIMESTAMPS != 0 {
        header.marks |= mark::TIMESTAMPS_AGREED;
    }
    if flow.state & state::HANDSHAKE != 0 {
        header.marks |= mark::HANDSHAKE;
    }
}

/// Only the owner of the opener's address got the SYN-ACK, so only it can acknowledge exactly its sequence number. Of
/// connections older than the tap, the host's own socket table knows.
#[inline(always)]
fn note_handshake(ctx: &TcContext, header: &RecordHeader, flow: &mut FlowState) {
    if flow.state & state::HANDSHAKE != 0 {
        return;
    }
    let proven = if flow.state & state::SYN_SEEN != 0 {
        acknowledges_acceptor(header, flow)
    } else {
        header.direction == INGRESS && socket::established(ctx, header)
    };
    if proven {
        flow.state |= state::HANDSHAKE;
    }
}

#[inline(always)]
fn acknowledges_acceptor(header: &RecordHeader, flow: &FlowState) -> bool {
    let low_opened = flow.state & state::LOW_OPENED != 0;
    let acceptor_initial = if low_opened { flow.high_initial } else { flow.low_initial };
    header.tcp_flags & tcp::ACK != 0
        && source_is_low(header) == low_opened
        && header.acknowledgement == acceptor_initial
}

#[inline(always)]
fn initial_class(header: &RecordHeader) -> u8 {
    // SAFETY: the values are never written through this map's references.
    let role = unsafe { PORTS.get(header.source_port).or_else(|| PORTS.get(header.destination_port)) };
    match role.copied() {
        Some(port::HTTP) => class::HTTP,
        Some(port::OWN) => class::OWN,
        _ => class::UNDECIDED,
    }
}

/// Key of the segment's flow.
#[inline(always)]
fn key_of(header: &RecordHeader) -> FlowKey {
    FlowKey::of((header.source, header.source_port), (header.destination, header.destination_port)).0
}

#[inline(always)]
fn source_is_low(header: &RecordHeader) -> bool {
    FlowKey::of((header.source, header.source_port), (header.destination, header.destination_port)).1
}

/// Whether the agent wants nothing of the segment. The border is behind it once a segment has passed it: sequence numbers go round, and
/// it must not come up again.
#[inline(always)]
fn is_unwanted(header: &RecordHeader, flow: &mut FlowState) -> bool {
    let (bit, until) = if source_is_low(header) {
        (state::SKIP_LOW, flow.low_skip)
    } else {
        (state::SKIP_HIGH, flow.high_skip)
    };
    if flow.state & bit == 0 {
        return false;
    }
    let left = until.wrapping_sub(header.sequence);
    if left == 0 || left > FURTHEST_SKIP {
        flow.state &= !bit;
        return false;
    }
    header.payload_len <= left && header.tcp_flags & (tcp::FIN | tcp::RST | tcp::URG) == 0
}

/// Further ahead than the agent ever wants to skip: such a border is behind.
const FURTHEST_SKIP: u32 = 1 << 30;
