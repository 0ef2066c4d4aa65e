//! Targets as people mean them, and keys as the kernel has them.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sensor_common::block::{BlockKey4, BlockKey6, BlockTuple};
use sensor_common::record::mapped;

/// What of the host is closed to a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// All of it.
    #[default]
    Host,
    /// One destination port of any protocol.
    Port(u16),
    /// One connection of the target, which is a single address.
    Connection {
        /// The target's port.
        source_port: u16,
        /// The host's side.
        destination: SocketAddr,
    },
}

/// Key of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    V4(BlockKey4),
    V6(BlockKey6),
    Tuple(BlockTuple),
}

/// The key of a target and scope.
pub(super) fn key(target: IpNet, scope: Scope) -> Key {
    let port = match scope {
        Scope::Host => 0,
        Scope::Port(port) => port,
        Scope::Connection { source_port, destination } => {
            return Key::Tuple(BlockTuple {
                source: bytes(target.addr()),
                destination: bytes(destination.ip()),
                source_port,
                destination_port: destination.port(),
            });
        }
    };
    match target.trunc() {
        IpNet::V4(net) => {
            Key::V4(BlockKey4 { address: net.addr().octets(), port, length: net.prefix_len(), reserved: 0 })
        }
        IpNet::V6(net) => {
            Key::V6(BlockKey6 { address: net.addr().octets(), port, length: net.prefix_len(), reserved: 0 })
        }
    }
}

/// The target and scope of a key; `None` for one that this program never makes.
pub(super) fn target_v4(key: &BlockKey4) -> Option<(IpNet, Scope)> {
    Some((Ipv4Net::new(key.address.into(), key.length).ok()?.into(), scope(key.port)))
}

/// As [`target_v4`].
pub(super) fn target_v6(key: &BlockKey6) -> Option<(IpNet, Scope)> {
    Some((Ipv6Net::new(key.address.into(), key.length).ok()?.into(), scope(key.port)))
}

/// The target and scope of a connection's key.
pub(super) fn target_tuple(key: &BlockTuple) -> (IpNet, Scope) {
    let destination = SocketAddr::new(canonical(key.destination), key.destination_port);
    let scope = Scope::Connection { source_port: key.source_port, destination };
    (IpNet::from(canonical(key.source)), scope)
}

const fn scope(port: u16) -> Scope {
    if port == 0 { Scope::Host } else { Scope::Port(port) }
}

/// An address as records have it.
pub(super) fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// An address of a record as people know it.
pub(super) fn canonical(address: [u8; 16]) -> IpAddr {
    IpAddr::from(address).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_back_to_what_they_were_made_of() {
        let connection =
            Scope::Connection { source_port: 4000, destination: "192.0.2.1:80".parse().unwrap() };
        for (target, scope) in [
            ("203.0.113.7/32", Scope::Host),
            ("198.51.100.0/23", Scope::Port(22)),
            ("2001:db8::/48", Scope::Host),
            ("2001:db8::7/128", Scope::Port(443)),
            ("203.0.113.7/32", connection),
        ] {
            let target: IpNet = target.parse().unwrap();
            let back = match key(target, scope) {
                Key::V4(key) => target_v4(&key).unwrap(),
                Key::V6(key) => target_v6(&key).unwrap(),
                Key::Tuple(key) => target_tuple(&key),
            };
            assert_eq!(back, (target, scope));
        }
    }
}
