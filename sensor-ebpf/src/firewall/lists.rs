//! The block and exemption lists and what they say of an address.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    helpers::bpf_ktime_get_boot_ns,
    macros::map,
    maps::{Array, HashMap, LpmTrie, lpm_trie::Key},
};
use sensor_common::{
    block::{AUTOMATIC, BlockEntry, BlockNote, ExemptEntry, NEVER, NoteKey, SHADOW},
    counter::XdpCounter,
    limit,
    settings::XdpSettings,
};

type V4 = [u8; 4];
type V6 = [u8; 16];

#[map]
static BLOCK4: HashMap<V4, BlockEntry> =
    HashMap::with_max_entries(limit::BLOCKED_ADDRESSES, BPF_F_NO_PREALLOC);
#[map]
static BLOCK6: HashMap<V6, BlockEntry> =
    HashMap::with_max_entries(limit::BLOCKED_ADDRESSES, BPF_F_NO_PREALLOC);
#[map]
static BLOCK_NET4: LpmTrie<V4, BlockEntry> = LpmTrie::with_max_entries(limit::BLOCKED_PREFIXES, 0);
#[map]
static BLOCK_NET6: LpmTrie<V6, BlockEntry> = LpmTrie::with_max_entries(limit::BLOCKED_PREFIXES, 0);
#[map]
static EXEMPT4: LpmTrie<V4, ExemptEntry> = LpmTrie::with_max_entries(limit::EXEMPT_PREFIXES, 0);
#[map]
static EXEMPT6: LpmTrie<V6, ExemptEntry> = LpmTrie::with_max_entries(limit::EXEMPT_PREFIXES, 0);
#[map]
static XDP_SETTINGS: Array<XdpSettings> = Array::with_max_entries(1, 0);

/// Only user space uses this map; it stands here so that it is made and pinned with the lists it describes.
#[map]
static NOTES: HashMap<NoteKey, BlockNote> =
    HashMap::with_max_entries(2 * (limit::BLOCKED_ADDRESSES + limit::BLOCKED_PREFIXES), BPF_F_NO_PREALLOC);

/// Outcome for an IPv4 source.
#[inline(always)]
pub(crate) fn judge_v4(address: V4) -> XdpCounter {
    let exact = BLOCK4.get_ptr_mut(address);
    let prefix = BLOCK_NET4.get(Key::new(32, address)).map(|entry| core::ptr::from_ref(entry).cast_mut());
    let outcome = judge(exact, prefix);
    if outcome == XdpCounter::NotListed || EXEMPT4.get(Key::new(32, address)).is_none() {
        return outcome;
    }
    XdpCounter::Exempt
}

/// Outcome for an IPv6 source.
#[inline(always)]
pub(crate) fn judge_v6(address: V6) -> XdpCounter {
    let exact = BLOCK6.get_ptr_mut(address);
    let prefix = BLOCK_NET6.get(Key::new(128, address)).map(|entry| core::ptr::from_ref(entry).cast_mut());
    let outcome = judge(exact, prefix);
    if outcome == XdpCounter::NotListed || EXEMPT6.get(Key::new(128, address)).is_none() {
        return outcome;
    }
    XdpCounter::Exempt
}

/// The entry that drops decides; if neither does, the exact one speaks first.
#[inline(always)]
fn judge(exact: Option<*mut BlockEntry>, prefix: Option<*mut BlockEntry>) -> XdpCounter {
    if exact.is_none() && prefix.is_none() {
        return XdpCounter::NotListed;
    }
    // SAFETY: the helper has no preconditions (kernel 5.8 and later).
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let exact = consult(exact, now, XdpCounter::DroppedAddress);
    if exact == XdpCounter::DroppedAddress {
        return exact;
    }
    let prefix = consult(prefix, now, XdpCounter::DroppedPrefix);
    if prefix == XdpCounter::DroppedPrefix || exact == XdpCounter::NotListed { prefix } else { exact }
}

#[inline(always)]
fn consult(entry: Option<*mut BlockEntry>, now: u64, dropped: XdpCounter) -> XdpCounter {
    let Some(entry) = entry else { return XdpCounter::NotListed };
    // SAFETY: the pointer comes from a look-up in this program run; map memory stays valid until the program returns
    // (RCU), and the fields read here are written by whole words.
    let (expires, flags) = unsafe { ((*entry).expires_ns, (*entry).flags) };
    if expires != NEVER && now >= expires {
        return XdpCounter::Expired;
    }
    count_hit(entry, now);
    if flags & SHADOW != 0 {
        XdpCounter::Shadow
    } else if flags & AUTOMATIC != 0 && automatic_suspended() {
        XdpCounter::Suspended
    } else {
        dropped
    }
}

#[inline(always)]
fn count_hit(entry: *mut BlockEntry, now: u64) {
    // SAFETY: as in `consult`; `hits` is aligned, and all CPUs add to it atomically. `last_hit_ns` is one word: the last
    // writer wins, and any of them is right.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(&raw mut (*entry).hits, 1);
        (*entry).last_hit_ns = now;
    }
}

#[inline(always)]
fn automatic_suspended() -> bool {
    XDP_SETTINGS.get(0).is_some_and(|settings| settings.automatic_suspended != 0)
}
