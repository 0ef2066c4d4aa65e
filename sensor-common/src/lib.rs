//! What the kernel programs and the agent share, byte for byte: ring records, map keys and values,
//! counters, limits and the names of maps.
//!
//! Everything here has a fixed layout without padding ([`zerocopy`] checks that at compile time), so that
//! both sides read the same bytes and a new layout is a new [`LAYOUT_VERSION`], never a silent reinterpretation.
#![no_std]
#![forbid(unsafe_code)]

pub mod block;
pub mod counter;
pub mod flow;
pub mod record;
pub mod settings;

/// Version of every layout in this crate. It names the pin directory, so that an agent never opens maps of another layout.
pub const LAYOUT_VERSION: u32 = 3;

/// Names of the pinned maps, as the kernel objects define them.
pub mod map {
    /// Exact IPv4 block list (hash).
    pub const BLOCK4: &str = "BLOCK4";
    /// Exact IPv6 block list (hash).
    pub const BLOCK6: &str = "BLOCK6";
    /// IPv4 prefix block list (LPM trie).
    pub const BLOCK_NET4: &str = "BLOCK_NET4";
    /// IPv6 prefix block list (LPM trie).
    pub const BLOCK_NET6: &str = "BLOCK_NET6";
    /// IPv4 exemptions (LPM trie).
    pub const EXEMPT4: &str = "EXEMPT4";
    /// IPv6 exemptions (LPM trie).
    pub const EXEMPT6: &str = "EXEMPT6";
    /// Origin and reason of entries; only user space reads and writes it.
    pub const NOTES: &str = "NOTES";
    /// Settings of the XDP program.
    pub const XDP_SETTINGS: &str = "XDP_SETTINGS";
    /// Counters of the XDP program.
    pub const XDP_COUNTERS: &str = "XDP_COUNTERS";
    /// Settings of the tap.
    pub const TAP_SETTINGS: &str = "TAP_SETTINGS";
    /// Counters of the tap.
    pub const TAP_COUNTERS: &str = "TAP_COUNTERS";
    /// Connections known to the tap.
    pub const FLOWS: &str = "FLOWS";
    /// Ports whose connections are HTTP by configuration.
    pub const PORTS: &str = "PORTS";
    /// Ring buffers, chosen by flow hash.
    pub const RINGS: &str = "RINGS";
}

/// Names of the kernel programs.
pub mod program {
    /// The XDP firewall.
    pub const FIREWALL: &str = "sensor_firewall";
    /// The tap for packets that arrive.
    pub const TAP_INGRESS: &str = "sensor_tap_in";
    /// The tap for packets that leave.
    pub const TAP_EGRESS: &str = "sensor_tap_out";
}

/// Capacities of the maps. Those that an attacker can fill are LRU maps or report that they are full.
pub mod limit {
    /// Addresses per family in the exact block list.
    pub const BLOCKED_ADDRESSES: u32 = 1 << 17;
    /// Prefixes per family in the block list.
    pub const BLOCKED_PREFIXES: u32 = 1 << 16;
    /// Prefixes per family in the exemption list.
    pub const EXEMPT_PREFIXES: u32 = 4096;
    /// Connections that the tap remembers (LRU).
    pub const TAP_FLOWS: u32 = 1 << 16;
    /// Ports with a configured role.
    pub const PORTS: u32 = 1024;
    /// Most rings, and so most engine threads.
    pub const RINGS: u32 = 64;
    /// Most payload bytes in one record: two merged 64 KiB segments on a loopback device.
    pub const RECORD_PAYLOAD: u32 = 131_071;
}
