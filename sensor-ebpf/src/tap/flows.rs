//! The flow table: what a connection carries, where its streams start, and whether its opener is who it says.
//!
//! An entry is made when the acceptor answers with SYN-ACK, or at the first payload of a connection that is older than
//! the tap. The table is an LRU map: a flood evicts entries, and an evicted flow is recognised again at its next message.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, keys and entries would lie on the small stack"
)]

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
    owner,
    packet::Packet,
    socket,
};

#[map]
static FLOWS: LruHashMap<FlowKey, FlowState> = LruHashMap::with_max_entries(limit::TAP_FLOWS, 0);

/// Ports whose connections are HTTP by configuration.
#[map]
static PORTS: HashMap<u16, u8> = HashMap::with_max_entries(limit::PORTS, 0);

/// Remembers where both streams of a connection start. The packet is a SYN-ACK.
#[inline(always)]
pub(crate) fn remember_handshake(ctx: &TcContext, packet: &mut Packet) {
    packet.find_key();
    let acceptor_is_low = packet.source_is_low();
    let header = &packet.header;
    let acceptor_initial = header.sequence.wrapping_add(1);
    let opener_initial = header.acknowledgement;
    let (low_initial, high_initial, opened) = if acceptor_is_low {
        (acceptor_initial, opener_initial, 0)
    } else {
        (opener_initial, acceptor_initial, state::LOW_OPENED)
    };
    let timestamps = if header.marks & mark::TIMESTAMP != 0 { state::TIMESTAMPS } else { 0 };
    packet.fresh = FlowState {
        low_initial,
        high_initial,
        class: initial_class(header),
        state: state::SYN_SEEN | state::OPENER_KNOWN | opened | timestamps,
        ..FlowState::default()
    };
    owner::note(ctx, header, &mut packet.fresh);
    // A full LRU map evicts; any other failure leaves the flow to be picked up at its first payload.
    let _ = FLOWS.insert(&packet.key, &packet.fresh, 0);
}

/// Class of a known flow; `OTHER` if it is not known.
#[inline(always)]
pub(crate) fn class_of(packet: &mut Packet) -> u8 {
    packet.find_key();
    let Some(flow) = FLOWS.get_ptr_mut(&packet.key) else { return class::OTHER };
    // SAFETY: the pointer comes from a look-up in this run. Two CPUs may write an entry at once; every field is one word
    // or byte, and any of the values written is a state that the flow was in.
    let flow = unsafe { &mut *flow };
    describe(packet, flow);
    flow.class
}

/// Decides what the flow of a payload segment is, and writes what the table knows into the record header.
#[inline(always)]
pub(crate) fn classify(ctx: &TcContext, packet: &mut Packet) -> u8 {
    packet.find_key();
    let Some(flow) = FLOWS.get_ptr_mut(&packet.key) else { return pick_up(ctx, packet) };
    // SAFETY: as in `class_of`.
    let flow = unsafe { &mut *flow };
    match flow.class {
        class::OWN => return class::OWN,
        class::OTHER | class::TLS if !message::may_start(ctx, packet.payload_offset()) => return flow.class,
        _ => {}
    }
    if is_inspected(flow.class) && is_unwanted(packet, flow) {
        return UNWANTED;
    }
    owner::note(ctx, &packet.header, flow);
    note_handshake(ctx, packet, flow);
    describe(packet, flow);
    if !is_inspected(flow.class) && flow.class != class::OWN {
        flow.class = decide(&packet.header, flow, start_of(ctx, packet));
    }
    flow.class
}

/// Whether what the flow carries is known to be of interest.
#[inline(always)]
fn is_inspected(class: u8) -> bool {
    matches!(class, class::HTTP | class::WEBSOCKET)
}

/// Beside the classes: a segment of an HTTP flow of which the agent wants no more.
pub(crate) const UNWANTED: u8 = u8::MAX;

/// A connection whose handshake the tap did not see.
#[inline(always)]
fn pick_up(ctx: &TcContext, packet: &mut Packet) -> u8 {
    packet.fresh = FlowState { class: initial_class(&packet.header), ..FlowState::default() };
    owner::note(ctx, &packet.header, &mut packet.fresh);
    if packet.fresh.class == class::UNDECIDED {
        let is_message = start_of(ctx, packet) == Start::Message;
        packet.fresh.class = if is_message { class::HTTP } else { class::OTHER };
    }
    let mut flow = packet.fresh;
    if flow.class == class::HTTP {
        note_opener(ctx, packet, &mut flow);
        note_handshake(ctx, packet, &mut flow);
    }
    describe(packet, &flow);
    packet.fresh = flow;
    let _ = FLOWS.insert(&packet.key, &packet.fresh, 0);
    flow.class
}

#[inline(always)]
fn start_of(ctx: &TcContext, packet: &Packet) -> Start {
    message::start(ctx, packet.payload_offset(), packet.payload_len())
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
        Start::Text if begins_stream && flow.undecided == 0 => {
            flow.undecided = UNDECIDED_RECORDS - TEXT_RECORDS;
            class::UNDECIDED
        }
        Start::Proxy if begins_stream => class::UNDECIDED,
        Start::No | Start::Tls if begins_stream => class::OTHER,
        _ if flow.undecided >= UNDECIDED_RECORDS => class::OTHER,
        _ => {
            flow.undecided += 1;
            class::UNDECIDED
        }
    }
}

/// Records of a flow that starts like text, before its peer must have answered like a server.
const TEXT_RECORDS: u8 = 4;

/// Who listens on the host is the one who was connected to, also where the tap did not see how.
#[inline(always)]
fn note_opener(ctx: &TcContext, packet: &Packet, flow: &mut FlowState) {
    let arrives = packet.header.direction == INGRESS;
    if socket::listens(ctx, &packet.header, arrives) {
        let low_opened = if packet.source_is_low() == arrives { state::LOW_OPENED } else { 0 };
        flow.state |= state::OPENER_KNOWN | low_opened;
    }
}

/// Writes what the table knows of the flow into the record header.
#[inline(always)]
fn describe(packet: &mut Packet, flow: &FlowState) {
    let is_low = packet.source_is_low();
    let header = &mut packet.header;
    if flow.state & state::SYN_SEEN != 0 {
        header.marks |= mark::INITIAL_SEQUENCE;
        (header.initial_sequence, header.peer_initial_sequence) = if is_low {
            (flow.low_initial, flow.high_initial)
        } else {
            (flow.high_initial, flow.low_initial)
        };
    }
    if flow.state & state::TIMESTAMPS != 0 {
        header.marks |= mark::TIMESTAMPS_AGREED;
    }
    if flow.state & state::OPENER_KNOWN != 0 {
        let low_opened = flow.state & state::LOW_OPENED != 0;
        header.marks |= if is_low == low_opened { mark::FROM_OPENER } else { mark::TO_OPENER };
    }
    if flow.state & state::HANDSHAKE != 0 {
        header.marks |= mark::HANDSHAKE;
    }
}

/// Only the owner of the opener's address got the SYN-ACK, so only it can acknowledge exactly its sequence number. Of
/// connections older than the tap, the host's own socket table knows.
#[inline(always)]
fn note_handshake(ctx: &TcContext, packet: &Packet, flow: &mut FlowState) {
    if flow.state & state::HANDSHAKE != 0 {
        return;
    }
    let proven = if flow.state & state::SYN_SEEN != 0 {
        acknowledges_acceptor(packet, flow)
    } else {
        asks_sockets(packet, flow) && socket::established(ctx, &packet.header)
    };
    if proven {
        flow.state |= state::HANDSHAKE;
    }
}

/// Once in the life of a connection: it was open before the tap saw it, or never will be on this host.
#[inline(always)]
fn asks_sockets(packet: &Packet, flow: &mut FlowState) -> bool {
    let asks = packet.header.direction == INGRESS && flow.state & state::SOCKET_ASKED == 0;
    if asks {
        flow.state |= state::SOCKET_ASKED;
    }
    asks
}

#[inline(always)]
fn acknowledges_acceptor(packet: &Packet, flow: &FlowState) -> bool {
    let low_opened = flow.state & state::LOW_OPENED != 0;
    let acceptor_initial = if low_opened { flow.high_initial } else { flow.low_initial };
    packet.header.tcp_flags & tcp::ACK != 0
        && packet.source_is_low() == low_opened
        && packet.header.acknowledgement == acceptor_initial
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

/// Whether the agent wants nothing of the segment. The border is behind it once a segment has passed it: sequence numbers go round, and
/// it must not come up again.
#[inline(always)]
fn is_unwanted(packet: &Packet, flow: &mut FlowState) -> bool {
    let (bit, until) = if packet.source_is_low() {
        (state::SKIP_LOW, flow.low_skip)
    } else {
        (state::SKIP_HIGH, flow.high_skip)
    };
    if flow.state & bit == 0 {
        return false;
    }
    let header = &packet.header;
    let left = until.wrapping_sub(header.sequence);
    if left == 0 || left > FURTHEST_SKIP {
        flow.state &= !bit;
        return false;
    }
    header.payload_len <= left && header.tcp_flags & (tcp::FIN | tcp::RST | tcp::URG) == 0
}

/// Further ahead than the agent ever wants to skip: such a border is behind.
const FURTHEST_SKIP: u32 = 1 << 30;
