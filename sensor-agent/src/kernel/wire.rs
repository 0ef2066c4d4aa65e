//! Shared layouts as map keys and values.

use aya::Pod;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A shared layout where the eBPF library asks for plain old data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub(super) struct Wire<T>(pub(super) T);

// SAFETY: `IntoBytes` holds only for types without padding and `FromBytes` only for those valid for every bit pattern; `Wire`
// is transparent, so both hold for it too.
unsafe impl<T: IntoBytes + FromBytes + Immutable + Copy + 'static> Pod for Wire<T> {}
