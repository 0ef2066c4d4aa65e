//! The block and exemption lists and what they say of a packet.
//!
//! The prefilter answers for nearly every packet. Of the rest, the address itself is looked up first, then each prefix length in use whose
//! class the filter named, until an entry drops the packet. An exemption beats every entry.

use core::ffi::c_void;
use core::intrinsics::{AtomicOrdering, atomic_xchg};

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, xdp_md},
    helpers::generated::bpf_loop,
    macros::map,
    maps::{HashMap, LpmTrie, lpm_trie::Key},
    programs::XdpContext,
};
use sensor_common::{
    block::{
        AUTOMATIC, BlockEntry, BlockKey4, BlockKey6, BlockTuple, ExemptEntry, NEVER, Reason, SHADOW, STRAYS,
    },
    counter::XdpCounter,
    drop::CONNECTION,
    filter::class,
    limit,
    recent::{self, PIECE_SHIFT},
    settings::{FilterView, FirewallState, Lengths},
};

use crate::{
    counters,
    packet::{self, Packet},
    recent as drops, samples, slot, state,
};

#[map]
static BLOCK4: HashMap<BlockKey4, BlockEntry> = HashMap::with_max_entries(limit::BLOCKED, BPF_F_NO_PREALLOC);
#[map]
static BLOCK6: HashMap<BlockKey6, BlockEntry> = HashMap::with_max_entries(limit::BLOCKED, BPF_F_NO_PREALLOC);
#[map]
static BLOCK_TUPLE: HashMap<BlockTuple, BlockEntry> =
    HashMap::with_max_entries(limit::BLOCKED_TUPLES, BPF_F_NO_PREALLOC);
#[map]
static EXEMPT4: LpmTrie<[u8; 4], ExemptEntry> = LpmTrie::with_max_entries(limit::EXEMPT_PREFIXES, 0);
#[map]
static EXEMPT6: LpmTrie<[u8; 16], ExemptEntry> = LpmTrie::with_max_entries(limit::EXEMPT_PREFIXES, 0);

/// Only user space uses this map; it stands here so that it is made and pinned with the lists it describes.
#[map]
static REASONS: HashMap<u32, Reason> = HashMap::with_max_entries(limit::REASONS, BPF_F_NO_PREALLOC);

/// The search for an entry that covers a packet.
#[repr(C)]
pub(crate) struct Search {
    pub(crate) packet: Packet,
    /// Classes of length that the filter named.
    classes: u32,
    /// What has been found so far ([`rank`]).
    found: u32,
    now: u64,
    /// Hits of the entry that decided, if it is to be sampled; else 0.
    sampled_hits: u64,
    /// Reason of that entry.
    sampled_reason: u32,
    /// Prefix length of the entry that decided.
    length: u32,
    /// Not 0 if an exemption covers the source.
    exempt: u32,
    /// Not 0 while automatic entries are suspended.
    suspended: u32,
    /// Build of the filters and place of the class that is being walked.
    view: u32,
    class: u32,
    /// Destination port to look for beside entries for the whole host; 0 for none.
    port: u16,
    source_port: u16,
    /// Not 0 if the entry that decided drops stray segments only.
    strays: u32,
    /// Not 0 if the entry that decided is for a port or a connection.
    scoped: u32,
    /// Packets of the source that its entry has not heard of.
    pending: u64,
    /// Not 0 if the entry that decided had a match in this piece of time already.
    repeated: u32,
    reserved: u32,
    /// When the entry that decided ends.
    expires: u64,
    /// When, and after how many changes, the search began.
    stamp: u64,
}

/// What a search found, in the order in which one outcome outweighs another.
mod rank {
    pub(super) const NOTHING: u32 = 0;
    pub(super) const EXPIRED: u32 = 1;
    pub(super) const SUSPENDED: u32 = 2;
    pub(super) const SHADOW: u32 = 3;
    pub(super) const EXEMPT: u32 = 4;
    pub(super) const DROP: u32 = 5;
}

/// Classes of length that may have an entry for the packet's source: mostly none.
#[inline(always)]
pub(crate) fn classes(state: &FirewallState, packet: &Packet) -> u32 {
    let filter = &state::view(state).block;
    if packet.is_v6 == 0 {
        filter.probe_v4(packet.low as u32, state::word)
    } else {
        filter.probe_v6(packet.high, packet.low, state::word)
    }
}

/// Keeps a packet for [`sensor_search`].
#[inline(always)]
pub(crate) fn keep(packet: &Packet, classes: u32) {
    if let Some(slot) = slot::get() {
        // SAFETY: the slot belongs to this CPU, and nothing else refers to it now.
        let search = unsafe { &mut (*slot).search };
        search.packet = *packet;
        search.classes = classes;
    }
}

/// What the lists say of the packet that is kept: the index of its outcome, with [`SAMPLE_WANTED`] if people should hear of it. Those that get
/// here are listed, or one of a hundred of the others.
///
/// A global function: the verifier walks it by itself, once, knowing nothing of its callers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_search(ctx: *mut xdp_md) -> u32 {
    search(&XdpContext::new(ctx))
}

/// Bit beside an outcome's index.
pub(crate) const SAMPLE_WANTED: u32 = 1 << 31;

/// Tells of the packet that the last search was about.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sensor_sample(ctx: *mut xdp_md) -> u32 {
    let Some(slot) = slot::get() else { return 0 };
    // SAFETY: as in `keep`.
    let search = unsafe { &(*slot).search };
    samples::send(&XdpContext::new(ctx), &search.packet, search.now, &sample_of(search));
    0
}

#[inline(always)]
fn search(ctx: &XdpContext) -> u32 {
    let (Some(state), Some(slot)) = (state::current(), slot::get()) else {
        return XdpCounter::NotListed as u32;
    };
    // SAFETY: only the address of a field is taken.
    let at = unsafe { &raw mut (*slot).search };
    begin(ctx, state, at);
    // SAFETY: the slot belongs to this CPU. `walk` lets the step functions use it, and takes references of its own before and after.
    let search = unsafe { &mut *at };
    if search.found < rank::EXEMPT && search.classes & class::EXACT != 0 {
        if search.packet.is_v6 == 0 { look_up_v4(search, 32) } else { look_up_v6(search, 128) }
    }
    if search.found < rank::EXEMPT && search.classes & !class::EXACT != 0 {
        let view = state::view(state);
        if search.packet.is_v6 == 0 { walk_v4(at, view) } else { walk_v6(at, view) }
    }
    // SAFETY: as above.
    let search = unsafe { &*at };
    // A source that sends once a second would only push out one that sends more.
    let holds = search.strays | search.scoped == 0 && recent::outlasts(search.expires, search.now);
    if search.found == rank::DROP && search.repeated != 0 && holds {
        drops::remember(state, &search.packet, search.stamp, search.length);
    }
    let sample = if search.sampled_hits != 0 { SAMPLE_WANTED } else { 0 };
    outcome(search) as u32 | sample
}

#[inline(always)]
fn begin(ctx: &XdpContext, state: &mut FirewallState, search: *mut Search) {
    // SAFETY: the slot belongs to this CPU, and nothing else refers to it now.
    let search = unsafe { &mut *search };
    search.now = state::now(state);
    // Before anything is looked up: what changes from here on is not part of the answer.
    search.stamp = recent::stamp(search.now, state::changes(state));
    search.pending = drops::take_hits(state, &search.packet);
    search.sampled_hits = 0;
    search.found = rank::NOTHING;
    (search.strays, search.scoped, search.repeated) = (0, 0, 0);
    search.exempt = u32::from(exempt(state, &search.packet));
    search.suspended = state.automatic_suspended;
    search.view = state.active & 1;
    (search.port, search.source_port) = (0, 0);
    if state.ports_in_use | state.tuples_in_use != 0 {
        find_ports(ctx, search);
        if state.tuples_in_use != 0 && search.source_port != 0 && search.classes & class::EXACT != 0 {
            connection(ctx, search);
        }
        if state.ports_in_use == 0 {
            search.port = 0;
        }
    }
}

fn sample_of(search: &Search) -> samples::Entry {
    samples::Entry {
        hits: search.sampled_hits,
        reason: search.sampled_reason,
        length: search.length as u8,
        shadow: u8::from(search.found == rank::SHADOW),
    }
}

#[inline(always)]
fn outcome(search: &Search) -> XdpCounter {
    match search.found {
        rank::DROP if search.strays != 0 => XdpCounter::DroppedStray,
        rank::DROP if search.length == u32::from(CONNECTION) => XdpCounter::DroppedConnection,
        rank::DROP if search.length == FULL_LENGTH => XdpCounter::DroppedAddress,
        rank::DROP => XdpCounter::DroppedPrefix,
        rank::EXEMPT => XdpCounter::Exempt,
        rank::SHADOW => XdpCounter::Shadow,
        rank::SUSPENDED => XdpCounter::Suspended,
        rank::EXPIRED => XdpCounter::Expired,
        _ => {
            counters::add(XdpCounter::FilterFalse);
            XdpCounter::NotListed
        }
    }
}

/// [`Search::length`] of an entry for a whole address of either family.
pub(crate) const FULL_LENGTH: u32 = 128;

#[inline(always)]
fn find_ports(ctx: &XdpContext, search: &mut Search) {
    match search.packet.transport(ctx) {
        Ok(transport) => (search.source_port, search.port) = packet::ports(ctx, transport),
        Err(Some(mark)) => counters::add(mark),
        Err(None) => {}
    }
}

#[inline(always)]
fn connection(ctx: &XdpContext, search: &mut Search) {
    let key = BlockTuple {
        source: search.packet.source_bytes(),
        destination: search.packet.destination_bytes(ctx),
        source_port: search.source_port,
        destination_port: search.port,
    };
    consult(BLOCK_TUPLE.get_ptr_mut(key), search, u32::from(CONNECTION), 1);
}

#[inline(always)]
fn walk_v4(search: *mut Search, view: &FilterView) {
    walk(search, class::LONG, 0, &view.v4_lengths[0], step_v4);
    walk(search, class::SHORT, 2, &view.v4_lengths[2], step_v4);
}

#[inline(always)]
fn walk_v6(search: *mut Search, view: &FilterView) {
    walk(search, class::LONG, 0, &view.v6_lengths[0], step_v6);
    walk(search, class::MIDDLE, 1, &view.v6_lengths[1], step_v6);
    walk(search, class::SHORT, 2, &view.v6_lengths[2], step_v6);
}

type Step = unsafe extern "C" fn(u64, *mut c_void) -> i64;

/// Looks up every length in use of one class, if the filter named it (`bpf_loop`, kernel 5.17 and later: the verifier walks the step once).
#[inline(always)]
fn walk(search: *mut Search, class: u32, place: u32, lengths: &Lengths, step: Step) {
    // SAFETY: the slot belongs to this CPU, and nothing else refers to it until the loop begins.
    let before = unsafe { &mut *search };
    if before.classes & class == 0 || before.found >= rank::EXEMPT {
        return;
    }
    before.class = place;
    // SAFETY: the step is a function of this program with the signature that the helper calls; it is given no context.
    unsafe {
        bpf_loop(lengths.count, step as *const () as *mut c_void, core::ptr::null_mut(), 0);
    }
}

/// The length at a place of the class that is being walked.
#[inline(always)]
fn length_at(search: &Search, at: u64, of: impl Fn(&FilterView) -> &[Lengths; 3]) -> Option<u32> {
    let state = state::current()?;
    let view = if search.view == 0 { &state.views[0] } else { &state.views[1] };
    let lengths = of(view).get(search.class as usize)?;
    lengths.lengths.get(at as usize).map(|length| u32::from(*length))
}

unsafe extern "C" fn step_v4(at: u64, _context: *mut c_void) -> i64 {
    let Some(slot) = slot::get() else { return 1 };
    // SAFETY: the slot belongs to this CPU, and whoever started the loop holds no reference meanwhile.
    let search = unsafe { &mut (*slot).search };
    let Some(length) = length_at(search, at, |view| &view.v4_lengths) else { return 1 };
    look_up_v4(search, length);
    i64::from(search.found >= rank::EXEMPT)
}

unsafe extern "C" fn step_v6(at: u64, _context: *mut c_void) -> i64 {
    let Some(slot) = slot::get() else { return 1 };
    // SAFETY: the slot belongs to this CPU, and whoever started the loop holds no reference meanwhile.
    let search = unsafe { &mut (*slot).search };
    let Some(length) = length_at(search, at, |view| &view.v6_lengths) else { return 1 };
    look_up_v6(search, length);
    i64::from(search.found >= rank::EXEMPT)
}

#[inline(always)]
fn look_up_v4(search: &mut Search, length: u32) {
    let address = (search.packet.low as u32 & mask_v4(length)).to_be_bytes();
    let mut key = BlockKey4 { address, port: 0, length: length as u8, reserved: 0 };
    let shown = if length == 32 { FULL_LENGTH } else { length };
    consult(BLOCK4.get_ptr_mut(key), search, shown, 0);
    if search.port != 0 && search.found < rank::EXEMPT {
        key.port = search.port;
        consult(BLOCK4.get_ptr_mut(key), search, shown, 1);
    }
}

#[inline(always)]
fn look_up_v6(search: &mut Search, length: u32) {
    let (high, low) = masked(search.packet.high, search.packet.low, length);
    let mut key =
        BlockKey6 { address: packet::joined(high, low), port: 0, length: length as u8, reserved: 0 };
    consult(BLOCK6.get_ptr_mut(key), search, length, 0);
    if search.port != 0 && search.found < rank::EXEMPT {
        key.port = search.port;
        consult(BLOCK6.get_ptr_mut(key), search, length, 1);
    }
}

/// `count` ones from the left, for 0 to 64.
#[inline(always)]
fn left_ones(count: u32) -> u64 {
    if count == 0 { 0 } else { u64::MAX << ((64 - count) & 63) }
}

/// The entry for the whole host of an address's prefix of this length ([`FULL_LENGTH`] is the address itself).
#[inline(always)]
pub(crate) fn entry_v4(address: u32, length: u32) -> Option<*mut BlockEntry> {
    let length = if length == FULL_LENGTH { 32 } else { length };
    let address = (address & mask_v4(length)).to_be_bytes();
    BLOCK4.get_ptr_mut(BlockKey4 { address, port: 0, length: length as u8, reserved: 0 })
}

/// The same for IPv6.
#[inline(always)]
pub(crate) fn entry_v6(high: u64, low: u64, length: u32) -> Option<*mut BlockEntry> {
    let (high, low) = masked(high, low, length);
    BLOCK6.get_ptr_mut(BlockKey6 {
        address: packet::joined(high, low),
        port: 0,
        length: length as u8,
        reserved: 0,
    })
}

#[inline(always)]
fn mask_v4(length: u32) -> u32 {
    ((u64::MAX << 32) >> (length & 63)) as u32
}

/// The network address of an IPv6 prefix.
#[inline(always)]
fn masked(high: u64, low: u64, length: u32) -> (u64, u64) {
    if length > 64 { (high, low & left_ones(length - 64)) } else { (high & left_ones(length), 0) }
}

/// What one entry says of the packet; `scoped` is not 0 if it is for a port or a connection.
#[inline(always)]
fn consult(entry: Option<*mut BlockEntry>, search: &mut Search, length: u32, scoped: u32) {
    let Some(entry) = entry else { return };
    if search.exempt != 0 {
        search.found = rank::EXEMPT;
        return;
    }
    // SAFETY: the pointer comes from a look-up in this program run; map memory stays valid until the program returns
    // (RCU), and the fields read here are written by whole words.
    let (expires, flags) = unsafe { ((*entry).expires_ns, (*entry).flags) };
    let says = if expires != NEVER && search.now >= expires {
        rank::EXPIRED
    } else if flags & AUTOMATIC != 0 && search.suspended != 0 {
        rank::SUSPENDED
    } else if flags & SHADOW != 0 {
        rank::SHADOW
    } else {
        rank::DROP
    };
    if says >= rank::SHADOW {
        count_hit(entry, search);
    }
    if says > search.found {
        search.found = says;
        search.length = length;
        search.strays = flags & STRAYS;
        search.scoped = scoped;
        search.expires = expires;
    }
}

#[inline(always)]
fn count_hit(entry: *mut BlockEntry, search: &mut Search) {
    // An entry gives one sample in each piece of time.
    // SAFETY: as in `consult`; both fields are aligned words, and all CPUs add to and exchange them atomically.
    unsafe {
        let hits = &raw mut (*entry).hits;
        let last_hit = &raw mut (*entry).last_hit_ns;
        let before = last_hit.read_volatile();
        if before >> PIECE_SHIFT != search.now >> PIECE_SHIFT {
            // Of the CPUs that see this at once, the one that changes it tells of its packet.
            let seen = atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(last_hit, search.now);
            if seen >> PIECE_SHIFT != search.now >> PIECE_SHIFT {
                search.sampled_hits = hits.read_volatile() + 1;
                search.sampled_reason = (*entry).reason;
            }
        } else {
            search.repeated = 1;
            if before != search.now {
                last_hit.write_volatile(search.now);
            }
        }
    }
    drops::add_hits(entry, 1 + search.pending);
    search.pending = 0;
}

/// Whether an exemption covers the packet's source.
#[inline(always)]
pub(crate) fn exempt(state: &FirewallState, packet: &Packet) -> bool {
    let filter = &state::view(state).exempt;
    if packet.is_v6 == 0 {
        let address = packet.low as u32;
        filter.probe_v4(address, state::word) != 0
            && EXEMPT4.get(Key::new(32, address.to_be_bytes())).is_some()
    } else {
        filter.probe_v6(packet.high, packet.low, state::word) != 0
            && EXEMPT6.get(Key::new(128, packet.source_bytes())).is_some()
    }
}
