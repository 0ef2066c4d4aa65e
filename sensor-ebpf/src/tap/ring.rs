//! Writes records: exact size, one copy, to the ring that the flow's hash names.
//!
//! A record's size is known only at run time. A short one is put together in this CPU's memory and handed over by one call: a second copy
//! in the nearest cache costs less than further calls. A longer one is reserved as a dynptr (kernel 5.19 and later) and filled in
//! powers of two, whose lengths the verifier sees as constants. Waking the reader costs more than the copy, so that it is woken only
//! when it says that it sleeps; while it is awake it looks by itself.

use core::{ffi::c_void, mem, ptr};

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, bpf_dynptr},
    btf_maps::{self, ArrayOfMaps},
    check_bounds_signed,
    helpers::{bpf_ktime_get_boot_ns, generated as helper},
    macros::{btf_map, map},
    maps::{Array, LruHashMap, PerCpuArray},
    programs::TcContext,
};
use sensor_common::{
    counter::{RingLoss, TapCounter},
    flow,
    limit::{self, RECORD_PAYLOAD},
    record::{HEADER_LEN, RecordHeader},
};

use crate::{
    bytes::opaque,
    counters,
    packet::{Packet, SHORT_PAYLOAD},
    settings,
};

/// Bytes of the template ring; the agent puts in rings of the configured size.
const TEMPLATE_RING: usize = 1 << 16;

#[btf_map]
static RINGS: ArrayOfMaps<btf_maps::RingBuf<[u8; 8], TEMPLATE_RING>, { limit::RINGS as usize }> =
    ArrayOfMaps::new();

/// For each ring not 0 while its reader sleeps. The reader says so, and whoever wakes it takes it back.
#[map]
static SLEEPERS: Array<u64> = Array::with_max_entries(limit::RINGS, BPF_F_MMAPABLE);

/// What each ring lost, ring by ring.
#[map]
static RING_LOSS: PerCpuArray<u64> = PerCpuArray::with_max_entries(limit::RINGS * RingLoss::COUNT, 0);

/// Sources whose connections are recorded even outside the sample.
#[map]
static WATCHED: LruHashMap<[u8; 16], u64> = LruHashMap::with_max_entries(limit::WATCHED, 0);

const HEADER: u32 = HEADER_LEN as u32;

/// Records the segment if it is in the sample.
#[inline(always)]
pub(crate) fn record(ctx: &TcContext, packet: &mut Packet) -> TapCounter {
    let Some(settings) = settings::current() else { return TapCounter::NoRing };
    let (payload_offset, payload_len) = (packet.payload_offset(), packet.payload_len());
    let header = &mut packet.header;
    header.flow_hash = flow::flow_hash(
        settings.hash_key,
        &header.source,
        header.source_port,
        &header.destination,
        header.destination_port,
    );
    let sampled = header.flow_hash <= settings.sample_threshold;
    if !sampled && !is_watched(header) {
        return TapCounter::NotSampled;
    }
    let index = flow::ring_index(header.flow_hash, settings.rings);
    let Some(ring) = RINGS.get(index) else { return TapCounter::NoRing };
    // SAFETY: the helper has no preconditions (kernel 5.8 and later).
    header.time_ns = unsafe { bpf_ktime_get_boot_ns() };
    let truncated = payload_len > RECORD_PAYLOAD;
    header.captured_len = if truncated { RECORD_PAYLOAD } else { payload_len };
    let ring = ptr::from_ref(ring).cast_mut().cast();
    let outcome = if payload_len <= SHORT_PAYLOAD as u32 {
        write_short(ctx, ring, packet, index)
    } else {
        write(ctx, ring, &packet.header, payload_offset, || wake_flag(index))
    };
    match outcome {
        TapCounter::RingFull => lost(index, RingLoss::Full),
        TapCounter::CopyFailed => lost(index, RingLoss::CopyFailed),
        _ if truncated => counters::add(TapCounter::Truncated),
        _ => {}
    }
    if !sampled && outcome == TapCounter::Recorded {
        counters::add(TapCounter::Watched);
    }
    outcome
}

#[inline(always)]
fn lost(ring: u32, reason: RingLoss) {
    if let Some(value) = RING_LOSS.get_ptr_mut(ring * RingLoss::COUNT + reason as u32) {
        // SAFETY: the slot belongs to this CPU, and TC programs are not preempted by one another.
        unsafe { *value += 1 };
    }
}

/// Whether either end is watched: both directions of a watched client's connections are wanted.
#[inline(always)]
fn is_watched(header: &RecordHeader) -> bool {
    // SAFETY: the values are never written through this map's references.
    unsafe { WATCHED.get(header.source).is_some() || WATCHED.get(header.destination).is_some() }
}

/// Writes a record whose payload has room behind its header.
#[inline(always)]
fn write_short(ctx: &TcContext, ring: *mut c_void, packet: &mut Packet, index: u32) -> TapCounter {
    // Read back from memory, so that the verifier sees an unknown number here, whatever path led to it.
    let (offset, len) = (packet.payload_offset(), opaque(u64::from(packet.payload_len())));
    if check_bounds_signed(len.cast_signed(), 1, SHORT_PAYLOAD as i64) {
        let to = (&raw mut packet.payload).cast();
        // SAFETY: at most `SHORT_PAYLOAD` bytes are written, checked above in a form that the verifier believes.
        if unsafe { helper::bpf_skb_load_bytes(ctx.skb.skb.cast(), offset, to, len as u32) } != 0 {
            return TapCounter::CopyFailed;
        }
    } else if len != 0 {
        return TapCounter::CopyFailed;
    }
    let woken = wake_flag(index);
    let record = ptr::from_mut(packet).cast::<u8>().wrapping_add(mem::offset_of!(Packet, header));
    let length = u64::from(HEADER) + (len & (2 * SHORT_PAYLOAD as u64 - 1));
    // SAFETY: header and payload stand side by side in the packet, `length` bytes of them at most.
    if unsafe { helper::bpf_ringbuf_output(ring, record.cast(), length, woken) } != 0 {
        // Nobody was woken: the next record has to.
        if woken == u64::from(BPF_RB_FORCE_WAKEUP) {
            set_asleep(index);
        }
        return TapCounter::RingFull;
    }
    if woken == u64::from(BPF_RB_NO_WAKEUP) && is_asleep(index) {
        nudge(ring, index);
    }
    TapCounter::Recorded
}

/// Wakes a reader that fell asleep after it was asked whether it sleeps and before the record was there. Whoever falls asleep later sees
/// the record.
#[inline(always)]
fn nudge(ring: *mut c_void, index: u32) {
    let flag = wake_flag(index);
    // SAFETY: `ring` is a ring buffer from the array of maps; what is reserved is given back at once, which wakes like a record.
    unsafe {
        let empty = helper::bpf_ringbuf_reserve(ring, 8, 0);
        if !empty.is_null() {
            helper::bpf_ringbuf_discard(empty, flag);
        }
    }
}

#[inline(always)]
fn is_asleep(ring: u32) -> bool {
    // SAFETY: a word of the map, which the reader writes as a whole.
    SLEEPERS.get_ptr(ring).is_some_and(|sleeps| unsafe { ptr::read_volatile(sleeps) } != 0)
}

#[inline(always)]
fn set_asleep(ring: u32) {
    if let Some(sleeps) = SLEEPERS.get_ptr_mut(ring) {
        // SAFETY: as above.
        unsafe { ptr::write_volatile(sleeps, 1) };
    }
}

#[inline(always)]
fn write(
    ctx: &TcContext,
    ring: *mut c_void,
    header: &RecordHeader,
    payload_offset: u32,
    wake_flag: impl FnOnce() -> u64,
) -> TapCounter {
    // SAFETY: the reference is valid; volatile so that the verifier sees an unknown number here, whatever path led to it.
    let captured = unsafe { ptr::read_volatile(&raw const header.captured_len) } & (2 * 65_536 - 1);
    let mut record = bpf_dynptr { __opaque: [0; 2] };
    // SAFETY: `ring` is a ring buffer from the array of maps; `record` lives until it is submitted or discarded, which the
    // verifier demands on every path, the failed reservation included.
    unsafe {
        if helper::bpf_ringbuf_reserve_dynptr(ring, HEADER + captured, 0, &mut record) != 0 {
            helper::bpf_ringbuf_discard_dynptr(&mut record, 0);
            return TapCounter::RingFull;
        }
        helper::bpf_dynptr_write(&record, 0, ptr::from_ref(header).cast_mut().cast(), HEADER, 0);
        if !copy_payload(ctx, &mut record, captured, payload_offset) {
            helper::bpf_ringbuf_discard_dynptr(&mut record, 0);
            return TapCounter::CopyFailed;
        }
        helper::bpf_ringbuf_submit_dynptr(&mut record, wake_flag());
    }
    TapCounter::Recorded
}

/// Copies `SHORT_PAYLOAD < len < 128 KiB` bytes as a sum of powers of two, and what is left with some bytes in front of it, which are copied
/// twice: that costs less than smaller powers. False if something could not be read.
#[inline(always)]
fn copy_payload(ctx: &TcContext, record: &mut bpf_dynptr, len: u32, payload_offset: u32) -> bool {
    let mut copy = Copy { record, len, done: 0, payload_offset, failed: 0 };
    copy.power::<65_536>(ctx);
    copy.power::<32_768>(ctx);
    copy.power::<16_384>(ctx);
    copy.power::<8_192>(ctx);
    copy.power::<4_096>(ctx);
    copy.power::<LEAST>(ctx);
    copy.rest(ctx);
    copy.failed == 0
}

/// The smallest power that is copied by itself.
const LEAST: u32 = 2_048;

/// A copy in progress: `0 <= done <= len`, `LEAST <= len`.
struct Copy<'a> {
    record: &'a mut bpf_dynptr,
    len: u32,
    done: u32,
    payload_offset: u32,
    failed: i64,
}

impl Copy<'_> {
    #[inline(always)]
    fn power<const N: u32>(&mut self, ctx: &TcContext) {
        if self.len & N != 0 {
            self.bytes::<N>(ctx, self.done);
            self.done += N;
        }
    }

    #[inline(always)]
    fn rest(&mut self, ctx: &TcContext) {
        if self.done < self.len {
            self.bytes::<LEAST>(ctx, self.len - LEAST);
        }
    }

    /// Copies `N` bytes from this place in the payload on.
    #[inline(always)]
    fn bytes<const N: u32>(&mut self, ctx: &TcContext, at: u32) {
        // SAFETY: the helper gives a slice of exactly N bytes or null, and the copy writes at most N bytes.
        unsafe {
            let to = helper::bpf_dynptr_data(self.record, HEADER + at, N);
            if to.is_null() {
                self.failed = 1;
            } else {
                self.failed |=
                    helper::bpf_skb_load_bytes(ctx.skb.skb.cast(), self.payload_offset + at, to, N);
            }
        }
    }
}

/// How the reader is woken. Read once a record is reserved: a reader that falls asleep meanwhile sees the reservation.
#[inline(always)]
fn wake_flag(ring: u32) -> u64 {
    let Some(sleeps) = SLEEPERS.get_ptr_mut(ring) else { return u64::from(BPF_RB_FORCE_WAKEUP) };
    // SAFETY: a word of the map, which other CPUs and the reader write as a whole; two CPUs may both wake the reader.
    unsafe {
        if ptr::read_volatile(sleeps) == 0 {
            return u64::from(BPF_RB_NO_WAKEUP);
        }
        ptr::write_volatile(sleeps, 0);
    }
    counters::add(TapCounter::Wakeups);
    u64::from(BPF_RB_FORCE_WAKEUP)
}
