//! The TCP segment in an skb, as the header of a record: filled in per-CPU memory, since the stack has 512 bytes.

use core::{mem, ptr};

use aya_ebpf::{macros::map, maps::PerCpuArray, programs::TcContext};
use sensor_common::{
    counter::TapCounter,
    flow::{FlowKey, FlowState},
    record::{RecordHeader, mark},
};

use crate::headers::{self, Transport};
use crate::plain;

/// A TCP segment whose record header is filled but for what the flow table knows.
#[repr(C)]
pub(crate) struct Packet {
    /// Offset of the TCP options in the skb; they end where the payload begins.
    options_offset: u32,
    payload_offset: u32,
    /// Where the transport layer of a packet inside a tunnel stands ([`headers::sensor_inside`]).
    pub(crate) inner: Transport,
    /// Not 0 if the packet was refused, but the agent may take it apart ([`whole`]).
    pub(crate) is_whole: u32,
    /// Key of the flow, once it was asked for ([`Packet::find_key`]).
    pub(crate) key: FlowKey,
    /// Not 0 if the sender is the lower endpoint of the key.
    source_is_low: u32,
    /// Room to make a new entry of the flow table in: the stack has none.
    pub(crate) fresh: FlowState,
    pub(crate) header: RecordHeader,
    /// Room for a short payload right behind the header: the record is handed over as a whole.
    pub(crate) payload: [u8; SHORT_PAYLOAD],
}

/// Longest payload that is copied behind its header first: longer ones are copied once, into the ring.
pub(crate) const SHORT_PAYLOAD: usize = 4096;

const _: () = assert!(
    mem::offset_of!(Packet, payload) == mem::offset_of!(Packet, header) + size_of::<RecordHeader>(),
    "the payload stands right behind the header"
);

impl Packet {
    /// Notes the offsets of the TCP options and of the payload in the skb.
    #[inline(always)]
    pub(crate) fn lies_at(&mut self, options_offset: u32, payload_offset: u32) {
        self.payload_offset = payload_offset;
        self.options_offset = options_offset;
    }

    /// Notes that the agent may take the IP packet between these offsets apart.
    #[inline(always)]
    pub(crate) fn hand_over(&mut self, network: u32, end: u32) {
        self.is_whole = 1;
        self.payload_offset = network;
        self.header.payload_len = end - network;
    }

    /// Works out the key of the flow: only packets that need it pay for it.
    #[inline(always)]
    pub(crate) fn find_key(&mut self) {
        let header = &self.header;
        let low = FlowKey::is_low(
            (&header.source, header.source_port),
            (&header.destination, header.destination_port),
        );
        self.source_is_low = u32::from(low);
        if low {
            self.key.low_address = header.source;
            self.key.high_address = header.destination;
            (self.key.low_port, self.key.high_port) = (header.source_port, header.destination_port);
        } else {
            self.key.low_address = header.destination;
            self.key.high_address = header.source;
            (self.key.low_port, self.key.high_port) = (header.destination_port, header.source_port);
        }
    }

    /// Whether the sender is the lower endpoint of the key.
    #[inline(always)]
    pub(crate) fn source_is_low(&self) -> bool {
        // SAFETY: the reference is valid; volatile as below.
        unsafe { ptr::read_volatile(&raw const self.source_is_low) != 0 }
    }

    /// Offset of the payload in the skb, read back from memory. The parser's paths (tags, options, extension headers) know different
    /// things of it; read back, it is the same unknown number on all of them, and the verifier walks what follows once.
    #[inline(always)]
    pub(crate) fn payload_offset(&self) -> u32 {
        // SAFETY: the reference is valid; the read is volatile only so that the compiler does not carry the value along.
        unsafe { ptr::read_volatile(&raw const self.payload_offset) }
    }

    /// Offset of the TCP options in the skb, read back likewise; they end where the payload begins.
    #[inline(always)]
    pub(crate) fn options_offset(&self) -> u32 {
        // SAFETY: as above.
        unsafe { ptr::read_volatile(&raw const self.options_offset) }
    }

    /// Payload bytes, read back likewise.
    #[inline(always)]
    pub(crate) fn payload_len(&self) -> u32 {
        // SAFETY: as above.
        unsafe { ptr::read_volatile(&raw const self.header.payload_len) }
    }

    /// TCP flags, read back likewise.
    #[inline(always)]
    pub(crate) fn flags(&self) -> u8 {
        // SAFETY: as above.
        unsafe { ptr::read_volatile(&raw const self.header.tcp_flags) }
    }
}

#[map]
static PACKET: PerCpuArray<Packet> = PerCpuArray::with_max_entries(1, 0);

/// The TCP segment in the skb, whose IP header stands behind `LINK` bytes and VLAN tags, or why there is none.
#[inline(always)]
pub(crate) fn parse<'a, const LINK: usize>(
    ctx: &TcContext,
    direction: u8,
) -> Result<&'a mut Packet, TapCounter> {
    let packet = PACKET.get_ptr_mut(0).ok_or(TapCounter::Malformed)?;
    // SAFETY: the slot belongs to this CPU, and nothing else holds a reference to it while this program runs.
    let packet = unsafe { &mut *packet };
    if !plain::parse::<LINK>(ctx, packet) {
        headers::parse::<LINK>(ctx)?;
    }
    complete(ctx, &mut packet.header, direction, 0);
    Ok(packet)
}

/// Fills what does not come from the packet's headers, and clears what only some segments have.
#[inline(always)]
fn complete(ctx: &TcContext, header: &mut RecordHeader, direction: u8, marks: u8) {
    // SAFETY: the context is the live `__sk_buff` of this run.
    header.interface = unsafe { (*ctx.skb.skb).ifindex };
    header.direction = direction;
    header.marks = marks;
    header.initial_sequence = 0;
    header.captured_len = 0;
    header.flow_hash = 0;
    header.timestamp = 0;
    header.peer_initial_sequence = 0;
    header.reserved = 0;
}

/// This CPU's memory, from a function that its holder has called.
#[inline(always)]
pub(crate) fn kept<'a>() -> Option<&'a mut Packet> {
    let packet = PACKET.get_ptr_mut(0)?;
    // SAFETY: as in `parse`; whoever has the reference does not use it during the call.
    Some(unsafe { &mut *packet })
}

/// The packet that [`parse`] has just refused, if the agent may take it apart.
#[inline(always)]
pub(crate) fn whole<'a>(ctx: &TcContext, direction: u8) -> Option<&'a mut Packet> {
    let packet = kept()?;
    if packet.is_whole == 0 {
        return None;
    }
    let header = &mut packet.header;
    (header.source_port, header.destination_port) = (0, 0);
    (header.sequence, header.acknowledgement) = (0, 0);
    (header.tcp_flags, header.urgent_pointer) = (0, 0);
    complete(ctx, header, direction, mark::WHOLE_PACKET);
    Some(packet)
}
