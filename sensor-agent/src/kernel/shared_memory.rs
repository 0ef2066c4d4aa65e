//! An array map of the kernel, mapped into this process: single words are read and changed without a system call, while the
//! kernel programs read them.

use std::io;
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

use anyhow::{Context, Result, ensure};
use aya::maps::MapData;

use super::pins::Pins;

/// The values of an array map with BPF_F_MMAPABLE (kernel 5.5 and later), `T` by `T`.
pub(super) struct SharedMemory<T: Words> {
    start: NonNull<T>,
    count: usize,
    bytes: usize,
    _values: PhantomData<T>,
}

/// What may be shared with the kernel: plain words, which both sides change only as a whole.
///
/// # Safety
/// Every bit pattern must be valid, and the size must be a multiple of eight.
pub(super) unsafe trait Words {}

// SAFETY: a number.
unsafe impl Words for u64 {}
// SAFETY: made of numbers and arrays of them; zerocopy has checked that there is no padding, and the first field is aligned to eight.
unsafe impl Words for sensor_common::settings::FirewallState {}
// SAFETY: made of numbers; zerocopy has checked that there is no padding, and each is aligned to eight.
unsafe impl Words for sensor_common::recent::RecentDrops {}

// SAFETY: the memory belongs to no thread; it is only reached through atomics.
unsafe impl<T: Words> Send for SharedMemory<T> {}

impl<T: Words> SharedMemory<T> {
    /// Maps the array pinned under `name`.
    ///
    /// # Errors
    /// If there is none, or its values are of another size.
    pub(super) fn open(pins: &Pins, name: &str) -> Result<Self> {
        let path = pins.map(name);
        let data =
            MapData::from_pin(&path).with_context(|| format!("cannot open the map `{}`", path.display()))?;
        let info = data.info()?;
        ensure!(
            info.value_size() as usize == size_of::<T>(),
            "the map `{name}` is of another version: stop the agent, remove `{}`, start it again",
            pins.folder().display()
        );
        let count = info.max_entries() as usize;
        let bytes = count * size_of::<T>();
        // SAFETY: a new shared mapping at an address of the kernel's choice; the kernel checks length and rights.
        let start = unsafe {
            nix::sys::mman::mmap(
                None,
                bytes.try_into().context("an empty map")?,
                nix::sys::mman::ProtFlags::PROT_READ | nix::sys::mman::ProtFlags::PROT_WRITE,
                nix::sys::mman::MapFlags::MAP_SHARED,
                data.fd().as_fd(),
                0,
            )
        }
        .map_err(io::Error::from)
        .with_context(|| format!("cannot map `{}` into memory", path.display()))?;
        Ok(Self { start: start.cast(), count, bytes, _values: PhantomData })
    }

    /// Values that there are.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// A value, for the address of its fields.
    pub(super) fn at(&self, index: usize) -> *mut T {
        assert!(index < self.count, "the index is within the map");
        // SAFETY: within the mapping, checked above.
        unsafe { self.start.add(index).as_ptr() }
    }
}

impl<T: Words> Drop for SharedMemory<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping that `open` made, which nothing refers to any more: its references borrow `self`.
        let _ = unsafe { nix::sys::mman::munmap(self.start.cast(), self.bytes) };
    }
}

/// A word of shared memory.
///
/// # Safety
/// `word` must lie in a [`SharedMemory`] that lives as long as the reference, and be aligned.
pub(super) unsafe fn word32<'a>(word: *mut u32) -> &'a AtomicU32 {
    // SAFETY: as the caller promises; all accesses of this process are atomic.
    unsafe { AtomicU32::from_ptr(word) }
}

/// As [`word32`].
///
/// # Safety
/// As there.
pub(super) unsafe fn word64<'a>(word: *mut u64) -> &'a AtomicU64 {
    // SAFETY: as the caller promises.
    unsafe { AtomicU64::from_ptr(word) }
}

/// As [`word32`].
///
/// # Safety
/// As there.
pub(super) unsafe fn byte<'a>(byte: *mut u8) -> &'a AtomicU8 {
    // SAFETY: as the caller promises.
    unsafe { AtomicU8::from_ptr(byte) }
}
