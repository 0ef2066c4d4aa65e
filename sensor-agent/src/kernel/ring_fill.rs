//! How many bytes of a ring buffer wait for their reader, without a system call: the kernel shows both positions in memory that anybody who
//! has the ring may map (kernel's Documentation/bpf/ringbuf.rst).

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// The two pages of a ring that hold its positions: the reader's, then the writers'.
#[derive(Debug)]
pub(super) struct RingFill {
    pages: NonNull<u8>,
    page: NonZeroUsize,
    size: u64,
}

// SAFETY: the memory belongs to no thread; it is only read, through atomics.
unsafe impl Send for RingFill {}

impl RingFill {
    /// Maps the positions of a ring of `size` bytes, for reading.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn map(ring: BorrowedFd<'_>, size: u32) -> Result<Self> {
        let page = page().context("the size of a page is not known")?;
        let length = page.checked_mul(PAGES).context("a page of half the memory")?;
        // SAFETY: a new shared mapping at an address of the kernel's choice; the kernel checks length and rights.
        let pages = unsafe { mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, ring, 0) };
        let pages = pages.map_err(io::Error::from).context("the ring's positions cannot be mapped")?;
        Ok(Self { pages: pages.cast(), page, size: size.into() })
    }

    /// Bytes between the reader's position and the writers'.
    pub(super) fn waiting(&self) -> u64 {
        // The reader's first: read later, it could be ahead of the writers' of before.
        let read = self.position(0);
        self.position(self.page.get()).saturating_sub(read).min(self.size)
    }

    /// Bytes that fit.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    fn position(&self, offset: usize) -> u64 {
        // SAFETY: the first word of one of the two mapped pages, aligned like a page; the kernel changes it as a whole.
        unsafe { AtomicU64::from_ptr(self.pages.add(offset).cast().as_ptr()) }.load(Ordering::Acquire)
    }
}

const PAGES: NonZeroUsize = NonZeroUsize::new(2).unwrap();

fn page() -> Option<NonZeroUsize> {
    // SAFETY: sysconf has no requirements.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    NonZeroUsize::new(usize::try_from(bytes).ok()?)
}

impl Drop for RingFill {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made, which nothing refers to any more.
        let _ = unsafe { munmap(self.pages.cast(), self.page.get() * PAGES.get()) };
    }
}
