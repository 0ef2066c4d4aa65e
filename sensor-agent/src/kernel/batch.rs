//! Whole map contents in few system calls (BPF_MAP_*_BATCH, kernel 5.6 and later): lists have up to millions of entries, and one
//! call an entry would take seconds. The eBPF library has no batches, so the calls are made here.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Commands of bpf(2).
const LOOKUP: libc::c_int = 24;
const UPDATE: libc::c_int = 26;
const DELETE: libc::c_int = 27;

/// Entries of one call. A bucket of a hash map must fit.
const CHUNK: usize = 16_384;

/// `union bpf_attr` of the batch commands (kernel's include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Entries of one call when they are only counted.
const COUNT_CHUNK: usize = 4096;

/// What a map holds, as plain bytes.
pub(super) trait Plain: FromBytes + IntoBytes + Immutable + Copy + 'static {}

impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> Plain for T {}

/// A batch that ended early.
#[derive(Debug)]
pub(super) struct Stopped {
    /// Entries that were written before.
    pub(super) done: usize,
    /// Why.
    pub(super) error: io::Error,
}

/// All entries of a hash map. Entries that come or go meanwhile may be missed or not; the others are all there.
///
/// # Safety
/// `K` and `V` must have exactly the size of the map's keys and values.
pub(super) unsafe fn entries<K: Plain, V: Plain>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    let mut all = Vec::new();
    let (mut keys, mut values) = (vec![K::new_zeroed(); CHUNK], vec![V::new_zeroed(); CHUNK]);
    // Where to go on: the kernel writes four bytes, and reads them back.
    let mut position = [0u64; 2];
    let mut first = true;
    loop {
        let (from, to) = position.split_at_mut(1);
        let mut attributes = Attributes {
            in_batch: if first { 0 } else { from.as_ptr() as u64 },
            out_batch: to.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(keys.len()).unwrap_or(u32::MAX),
            map_fd: map.as_raw_fd().cast_unsigned(),
            ..Attributes::default()
        };
        // SAFETY: the arrays have `count` elements of the map's sizes, as the caller promises; they and the positions outlive the call.
        let outcome = unsafe { call(LOOKUP, &mut attributes) };
        let taken = (attributes.count as usize).min(keys.len());
        let errno = outcome.as_ref().err().and_then(io::Error::raw_os_error);
        if errno == Some(libc::ENOSPC) && taken == 0 {
            // A bucket has more entries than there is room.
            keys.resize(keys.len() * 2, K::new_zeroed());
            values.resize(values.len() * 2, V::new_zeroed());
            continue;
        }
        all.extend(keys.iter().copied().zip(values.iter().copied()).take(taken));
        match errno {
            None | Some(libc::ENOSPC) => {}
            Some(libc::ENOENT) => return Ok(all),
            Some(_) => return Err(outcome.err().unwrap_or_else(io::Error::last_os_error)),
        }
        position[0] = position[1];
        first = false;
    }
}

/// Entries of a hash map or a trie, counted up to about `most`; none are kept.
///
/// # Safety
/// `key` and `value` must be exactly the sizes of the map's keys and values.
pub(super) unsafe fn count(map: BorrowedFd<'_>, key: usize, value: usize, most: u64) -> io::Result<u64> {
    let (mut chunk, mut counted, mut first) = (COUNT_CHUNK, 0, true);
    // Where to go on: the kernel writes four bytes of a hash map, and a whole key of a trie.
    let (mut from, mut to) = (vec![0; key.max(8)], vec![0; key.max(8)]);
    while counted < most {
        let (mut keys, mut values): (Vec<u8>, Vec<u8>) = (vec![0; chunk * key], vec![0; chunk * value]);
        let mut attributes = Attributes {
            in_batch: if first { 0 } else { from.as_ptr() as u64 },
            out_batch: to.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(chunk).unwrap_or(u32::MAX),
            map_fd: map.as_raw_fd().cast_unsigned(),
            ..Attributes::default()
        };
        // SAFETY: the arrays have `count` elements of the map's sizes, as the caller promises; they and the positions outlive the call.
        let outcome = unsafe { call(LOOKUP, &mut attributes) };
        let taken = u64::from(attributes.count).min(chunk as u64);
        let errno = outcome.as_ref().err().and_then(io::Error::raw_os_error);
        if errno == Some(libc::ENOSPC) && taken == 0 {
            // A bucket has more entries than there is room.
            chunk *= 2;
            continue;
        }
        counted += taken;
        match errno {
            None | Some(libc::ENOSPC) => {}
            Some(libc::ENOENT) => break,
            Some(_) => return Err(outcome.err().unwrap_or_else(io::Error::last_os_error)),
        }
        std::mem::swap(&mut from, &mut to);
        first = false;
    }
    Ok(counted)
}

/// Inserts or replaces entries, in order.
///
/// # Safety
/// As for [`entries`].
pub(super) unsafe fn update<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> Result<(), Stopped> {
    let mut done = 0;
    for (keys, values) in keys.chunks(CHUNK).zip(values.chunks(CHUNK)) {
        let count = keys.len().min(values.len());
        // SAFETY: both arrays have `count` elements of the map's sizes, as the caller promises; the kernel only reads them.
        unsafe { write(UPDATE, map, keys, values.as_ptr() as u64, count) }
            .map_err(|stopped| Stopped { done: done + stopped.done, ..stopped })?;
        done += count;
    }
    Ok(())
}

/// Removes entries. One that is not there ends the batch it is in, and the rest of that batch is removed one by one by the caller.
///
/// # Safety
/// As for [`entries`].
pub(super) unsafe fn delete<K: Plain>(map: BorrowedFd<'_>, keys: &[K]) -> Result<(), Stopped> {
    let mut done = 0;
    for keys in keys.chunks(CHUNK) {
        // SAFETY: the array has that many keys of the map's size, as the caller promises; the kernel only reads them.
        unsafe { write(DELETE, map, keys, 0, keys.len()) }
            .map_err(|stopped| Stopped { done: done + stopped.done, ..stopped })?;
        done += keys.len();
    }
    Ok(())
}

/// # Safety
/// `keys` and what `values` points to (if not null) must have `count` elements of the map's sizes.
unsafe fn write<K>(
    command: libc::c_int,
    map: BorrowedFd<'_>,
    keys: &[K],
    values: u64,
    count: usize,
) -> Result<(), Stopped> {
    let mut attributes = Attributes {
        keys: keys.as_ptr() as u64,
        values,
        count: u32::try_from(count).unwrap_or(u32::MAX),
        map_fd: map.as_raw_fd().cast_unsigned(),
        ..Attributes::default()
    };
    // SAFETY: as the caller promises.
    let outcome = unsafe { call(command, &mut attributes) };
    outcome.map_err(|error| Stopped { done: attributes.count as usize, error })
}

/// # Safety
/// What the attributes point to must be as large as the command takes it to be, writable where it writes, and outlive the call.
unsafe fn call(command: libc::c_int, attributes: &mut Attributes) -> io::Result<()> {
    // SAFETY: as the caller promises; the attributes themselves are borrowed for the call.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<Attributes>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
