//! Everything that names the kernel: loading, attaching, pins, maps, rings, counters.

pub(crate) mod lists;
