//! Whether an address is this host's own: only then do its socket tables know the connection.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long the addresses count as they were read.
const READ_EVERY: Duration = Duration::from_secs(10);

/// The host's addresses.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    own: HashSet<IpAddr>,
    read: Option<Instant>,
}

impl Addresses {
    /// Whether an interface has the address.
    pub(super) fn contains(&mut self, address: IpAddr) -> bool {
        if self.read.is_none_or(|read| read.elapsed() >= READ_EVERY) {
            self.own = own();
            self.read = Some(Instant::now());
        }
        let address = address.to_canonical();
        address.is_loopback() || self.own.contains(&address)
    }
}

fn own() -> HashSet<IpAddr> {
    let addresses = nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(|entry| entry.address);
    let inet = addresses.filter_map(|address| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    inet.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_ones_own_and_documentation_addresses_are_not() {
        let mut addresses = Addresses::default();
        assert!(addresses.contains("127.0.0.1".parse().unwrap()));
        assert!(addresses.contains("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!addresses.contains("192.0.2.1".parse().unwrap()));
    }
}
