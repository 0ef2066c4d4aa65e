//! The tap's flow table: key, state, and the hash that sends both directions of a flow to the same ring.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Both endpoints of a connection, the smaller (port, address) first, so that both directions have the same key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FlowKey {
    /// Address of the smaller endpoint.
    pub low_address: [u8; 16],
    /// Address of the greater endpoint.
    pub high_address: [u8; 16],
    /// Port of the smaller endpoint.
    pub low_port: u16,
    /// Port of the greater endpoint.
    pub high_port: u16,
}

/// What the tap knows of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FlowState {
    /// First stream byte of the lower endpoint, valid with [`state::SYN_SEEN`].
    pub low_initial: u32,
    /// First stream byte of the greater endpoint, valid with [`state::SYN_SEEN`].
    pub high_initial: u32,
    /// What the flow carries ([`class`]).
    pub class: u8,
    /// Records sent while the class was undecided.
    pub undecided: u8,
    /// [`state`] bits.
    pub state: u16,
    /// Sequence number of the lower endpoint before which nothing is wanted, valid with [`state::SKIP_LOW`].
    pub low_skip: u32,
    /// The same of the greater endpoint, valid with [`state::SKIP_HIGH`].
    pub high_skip: u32,
}

impl FlowKey {
    /// The key of a segment's connection, and whether its sender is the lower endpoint. Endpoints are ordered by port, then by address
    /// as two words of the host's byte order.
    #[inline(always)]
    #[must_use]
    pub fn of(source: ([u8; 16], u16), destination: ([u8; 16], u16)) -> (Self, bool) {
        let source_is_low = Self::is_low((&source.0, source.1), (&destination.0, destination.1));
        let (low, high) = if source_is_low { (source, destination) } else { (destination, source) };
        let key = Self { low_address: low.0, high_address: high.0, low_port: low.1, high_port: high.1 };
        (key, source_is_low)
    }
}

impl FlowKey {
    /// Whether `endpoint` is the lower one.
    #[inline(always)]
    #[must_use]
    pub fn is_low(endpoint: (&[u8; 16], u16), other: (&[u8; 16], u16)) -> bool {
        if endpoint.1 == other.1 { words(endpoint.0) < words(other.0) } else { endpoint.1 < other.1 }
    }
}

#[inline(always)]
fn words(address: &[u8; 16]) -> (u64, u64) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *address;
    (u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p]))
}

/// What a flow carries.
pub mod class {
    /// Not known yet: its packets are recorded, for at most [`super::UNDECIDED_RECORDS`].
    pub const UNDECIDED: u8 = 0;
    /// HTTP/1 or a port that is HTTP by configuration.
    pub const HTTP: u8 = 1;
    /// Something else. Looked at again at each packet that starts like an HTTP message.
    pub const OTHER: u8 = 2;
    /// TLS from the first byte on: nothing in it can be read.
    pub const TLS: u8 = 3;
    /// The sensor's own connections.
    pub const OWN: u8 = 4;
    /// WebSocket after an upgrade: the agent says so.
    pub const WEBSOCKET: u8 = 5;
}

/// Bits of [`FlowState::state`].
pub mod state {
    /// The SYN-ACK was seen: both initial sequence numbers are known.
    pub const SYN_SEEN: u16 = 1;
    /// The side that opened the connection has completed the handshake.
    pub const HANDSHAKE: u16 = 1 << 1;
    /// The lower endpoint opened the connection; valid with [`OPENER_KNOWN`].
    pub const LOW_OPENED: u16 = 1 << 2;
    /// The SYN-ACK agreed on timestamps (RFC 7323 section 3.2); valid with [`SYN_SEEN`].
    pub const TIMESTAMPS: u16 = 1 << 3;
    /// The agent wants nothing of the lower endpoint before `low_skip`.
    pub const SKIP_LOW: u16 = 1 << 4;
    /// The same of the greater endpoint.
    pub const SKIP_HIGH: u16 = 1 << 5;
    /// Who opened the connection is known: by the SYN-ACK, or because the other end listens on this host.
    pub const OPENER_KNOWN: u16 = 1 << 6;
    /// Whether the connection is the agent's own has been looked at.
    pub const OWNER_KNOWN: u16 = 1 << 7;
    /// The host's socket table has been asked about the connection.
    pub const SOCKET_ASKED: u16 = 1 << 8;
}

/// Values of the map of ports.
pub mod port {
    /// Connections of this port are HTTP.
    pub const HTTP: u8 = 1;
    /// Connections of this port are the sensor's own.
    pub const OWN: u8 = 2;
}

/// Records of one flow that are sent before it must have been recognised.
pub const UNDECIDED_RECORDS: u8 = 32;

/// Hash of a flow, the same for both directions. `key` is secret and new at every start, so that a client cannot choose
/// ports that fall outside the sample. Each endpoint is mixed alone and the two are added; the mixing constants are
/// those of MurmurHash3's 64-bit finaliser.
#[inline(always)]
#[must_use]
pub fn flow_hash(key: u64, a: &[u8; 16], a_port: u16, b: &[u8; 16], b_port: u16) -> u32 {
    let sum = mix_endpoint(key, a, a_port).wrapping_add(mix_endpoint(key, b, b_port));
    let sum = (sum ^ (sum >> 32)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (sum >> 32) as u32
}

#[inline(always)]
fn mix_endpoint(key: u64, address: &[u8; 16], port: u16) -> u64 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *address;
    let high = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
    let low = u64::from_ne_bytes([i, j, k, l, m, n, o, p]);
    let port = port as u64;
    let mut mixed = key ^ high ^ low.rotate_left(23) ^ ((port << 32) | port);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 29)
}

/// Ring of a flow: the hash scaled to `0..rings` without a division.
#[inline(always)]
#[must_use]
pub const fn ring_index(hash: u32, rings: u32) -> u32 {
    ((hash as u64 * rings as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_of_a_flow_have_one_hash_and_the_key_changes_it() {
        let (a, b) = ([1; 16], [2; 16]);
        assert_eq!(flow_hash(7, &a, 40_000, &b, 80), flow_hash(7, &b, 80, &a, 40_000));
        assert_ne!(flow_hash(7, &a, 40_000, &b, 80), flow_hash(8, &a, 40_000, &b, 80));
        assert_ne!(flow_hash(7, &a, 40_000, &b, 80), flow_hash(7, &a, 80, &b, 40_000));
    }

    #[test]
    fn ring_index_spreads_hashes_evenly_and_stays_in_range() {
        let mut seen = [0u32; 5];
        for port in 1..=5000u16 {
            seen[ring_index(flow_hash(1, &[9; 16], port, &[3; 16], 80), 5) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
        assert_eq!(ring_index(u32::MAX, 5), 4);
    }
}
