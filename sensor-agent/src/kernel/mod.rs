//! Everything that names the kernel: loading, attaching, pins, maps, rings, counters. No other module names a type of
//! the eBPF library.

pub(crate) mod abuse;
pub(crate) mod attach;
mod batch;
mod btf;
pub(crate) mod cgroup;
pub(crate) mod choice;
pub(crate) mod clock;
pub(crate) mod counters;
pub(crate) mod device;
pub(crate) mod flows;
pub(crate) mod gauges;
mod hook;
pub(crate) mod host;
pub(crate) mod links;
pub(crate) mod lists;
pub(crate) mod object;
pub(crate) mod owners;
pub(crate) mod pins;
mod prefilter;
mod prefix_map;
pub(crate) mod preflight;
mod recent;
mod resize;
mod ring_fill;
pub(crate) mod rings;
pub(crate) mod samples;
pub(crate) mod sensor;
mod shared_memory;
mod table;
mod wire;

#[cfg(test)]
mod program_tests;
