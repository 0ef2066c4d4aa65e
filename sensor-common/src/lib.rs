//! What the kernel programs and the agent share, byte for byte: ring records, map keys and values,
//! counters, limits and the names of maps.
//!
//! Everything here has a fixed layout without padding ([`zerocopy`] checks that at compile time), so that
//! both sides read the same bytes and a new layout is a new [`LAYOUT_VERSION`], never a silent reinterpretation.
#![no_std]
#![forbid(unsafe_code)]

pub mod bench;
pub mod block;
pub mod counter;
pub mod drop;
pub mod filter;
pub mod flow;
pub mod owner;
pub mod recent;
pub mod record;
pub mod settings;
pub mod tunnel;

/// Version of every layout in this crate. It names the pin directory, so that an agent never opens maps of another layout.
pub const LAYOUT_VERSION: u32 = 4;

/// Names of the pinned maps, as the kernel objects define them.
pub mod map {
    /// Blocked IPv4 addresses and prefixes, by length (hash).
    pub const BLOCK4: &str = "BLOCK4";
    /// Blocked IPv6 addresses and prefixes, by length (hash).
    pub const BLOCK6: &str = "BLOCK6";
    /// Blocked connections (hash).
    pub const BLOCK_TUPLE: &str = "BLOCK_TUPLE";
    /// IPv4 exemptions (LPM trie).
    pub const EXEMPT4: &str = "EXEMPT4";
    /// IPv6 exemptions (LPM trie).
    pub const EXEMPT6: &str = "EXEMPT6";
    /// Words of the prefilters, two builds of them (array, mapped by the agent).
    pub const FILTER: &str = "FILTER";
    /// Settings of the XDP program and the prefilters' descriptions (array of one, mapped by the agent).
    pub const FIREWALL_STATE: &str = "FIREWALL_STATE";
    /// Sources that each CPU has dropped a moment ago (array, mapped by the agent).
    pub const RECENT: &str = "RECENT";
    /// Reasons of entries; only user space reads and writes it.
    pub const REASONS: &str = "REASONS";
    /// Counters of the XDP program.
    pub const XDP_COUNTERS: &str = "XDP_COUNTERS";
    /// Samples of what the XDP program drops (ring buffer).
    pub const DROPS: &str = "DROPS";
    /// What sources do below the transport's level that clients do not (LRU hash).
    pub const ABUSE: &str = "ABUSE";
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
    /// Which rings' readers sleep (array, mapped by the agent).
    pub const SLEEPERS: &str = "SLEEPERS";
    /// Records that each ring lost, by reason ([`counter::RingLoss`]).
    pub const RING_LOSS: &str = "RING_LOSS";
    /// Sources whose connections are recorded even outside the sample (LRU hash).
    pub const WATCHED: &str = "WATCHED";
    /// Who accepted which connection (LRU hash, not pinned).
    pub const OWNERS: &str = "OWNERS";
}

/// Names of the kernel programs.
pub mod program {
    /// The XDP firewall.
    pub const FIREWALL: &str = "sensor_firewall";
    /// The same for drivers whose packets come in several buffers (a large MTU).
    pub const FIREWALL_FRAGS: &str = "sensor_firewall_frags";
    /// The same for devices without Ethernet headers.
    pub const FIREWALL_IP: &str = "sensor_firewall_ip";
    /// The tap for packets that arrive.
    pub const TAP_INGRESS: &str = "sensor_tap_in";
    /// The tap for packets that leave.
    pub const TAP_EGRESS: &str = "sensor_tap_out";
    /// The tap for packets that arrive by a device without Ethernet headers.
    pub const TAP_INGRESS_IP: &str = "sensor_tap_in_ip";
    /// The tap for packets that leave by such a device.
    pub const TAP_EGRESS_IP: &str = "sensor_tap_out_ip";
    /// Notes who accepted a connection.
    pub const ACCEPT: &str = "sensor_accept";
}

/// Capacities of the maps. Those that an attacker can fill are LRU maps or report that they are full.
pub mod limit {
    /// Entries per family in the block list, addresses and prefixes together, unless configured.
    pub const BLOCKED: u32 = 1 << 18;
    /// Most entries per family that can be configured.
    pub const MOST_BLOCKED: u32 = 1 << 24;
    /// Blocked connections.
    pub const BLOCKED_TUPLES: u32 = 1 << 14;
    /// Prefixes per family in the exemption list.
    pub const EXEMPT_PREFIXES: u32 = 4096;
    /// Different reasons of entries.
    pub const REASONS: u32 = 1 << 16;
    /// Sources whose packet-level abuse is counted (LRU).
    pub const ABUSE_SOURCES: u32 = 1 << 14;
    /// Bytes of the ring of drop samples.
    pub const DROP_RING: u32 = 1 << 18;
    /// Connections that the tap remembers (LRU).
    pub const TAP_FLOWS: u32 = 1 << 16;
    /// Connections whose accepting process is remembered (LRU), unless configured.
    pub const OWNERS: u32 = 1 << 16;
    /// Ports with a configured role.
    pub const PORTS: u32 = 1024;
    /// Watched sources (LRU).
    pub const WATCHED: u32 = 1 << 14;
    /// Most rings, and so most engine threads.
    pub const RINGS: u32 = 64;
    /// Most payload bytes in one record: two merged 64 KiB segments on a loopback device.
    pub const RECORD_PAYLOAD: u32 = 131_071;
}
