//! The bounded table of connections. Both directions of a connection meet in one entry; the entry that was idle for
//! longest makes room for a new one, so that a flood of connections costs old state and never memory.

pub mod lru;
pub mod table;

use std::net::{IpAddr, SocketAddr};

use crate::capture::Segment;

/// One of the two ends of a connection, by the order of their addresses; it says nothing about client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The end with the lower address.
    Low,
    /// The end with the higher address.
    High,
}

impl Side {
    /// 0 or 1, to index what is kept per side.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Low => 0,
            Self::High => 1,
        }
    }

    /// The other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

type Endpoint = (IpAddr, u16);

/// Both endpoints of a connection. IPv4 and IPv6 never compare equal, whatever the bytes of their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    low: Endpoint,
    high: Endpoint,
}

impl Key {
    /// The connection that a segment belongs to, and the end that sent it.
    #[must_use]
    pub fn of(segment: &Segment<'_>) -> (Self, Side) {
        let source = (segment.source.ip(), segment.source.port());
        let destination = (segment.destination.ip(), segment.destination.port());
        if source <= destination {
            (Self { low: source, high: destination }, Side::Low)
        } else {
            (Self { low: destination, high: source }, Side::High)
        }
    }

    /// Address of one end.
    #[must_use]
    pub fn address(&self, side: Side) -> SocketAddr {
        match side {
            Side::Low => self.low.into(),
            Side::High => self.high.into(),
        }
    }
}
