//! What the host says of itself: interfaces, and the addresses that must never be blocked.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use super::lists::{Exemption, Origin};

/// Names of the interfaces that have an address of more than their own link.
///
/// # Errors
/// If the kernel does not list them.
pub(crate) fn addressed() -> Result<BTreeSet<String>> {
    let listed = getifaddrs().context("cannot list the addresses of the network interfaces")?;
    Ok(listed
        .filter(|entry| entry.address.as_ref().is_some_and(reaches_further))
        .map(|e| e.interface_name)
        .collect())
}

fn reaches_further(address: &SockaddrStorage) -> bool {
    let v4 = address.as_sockaddr_in().map(|v4| !v4.ip().is_link_local());
    let v6 = address.as_sockaddr_in6().map(|v6| !v6.ip().is_unicast_link_local());
    v4.or(v6).unwrap_or(false)
}

/// Index of an interface; `None` if there is no such interface.
pub(crate) fn interface_index(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

/// Addresses that no block may cover: loopback, the host's own, its default gateways and resolvers. What cannot be read is
/// left out and named in the second list.
pub(crate) fn protected() -> (Vec<Exemption>, Vec<String>) {
    let mut problems = Vec::new();
    let mut nets: Vec<IpNet> = vec![
        IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
        IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128),
    ];
    match own_addresses() {
        Ok(own) => nets.extend(own.into_iter().map(IpNet::from)),
        Err(error) => problems.push(format!("own addresses: {error:#}")),
    }
    for (path, parse) in SOURCES {
        match fs::read_to_string(path) {
            Ok(text) => nets.extend(parse(&text).into_iter().map(IpNet::from)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => problems.push(format!("{path}: {error}")),
        }
    }
    nets.sort();
    nets.dedup();
    (nets.into_iter().map(|target| Exemption { target, origin: Origin::Host }).collect(), problems)
}

type Parse = fn(&str) -> Vec<IpAddr>;

/// Kernel route tables (proc_net_route(5)) and the resolver's configuration (resolv.conf(5)).
const SOURCES: [(&str, Parse); 3] = [
    ("/proc/net/route", gateways_v4),
    ("/proc/net/ipv6_route", gateways_v6),
    ("/etc/resolv.conf", resolvers),
];

fn own_addresses() -> Result<Vec<IpAddr>> {
    let addresses = getifaddrs()?.filter_map(|entry| entry.address);
    Ok(addresses
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
        })
        .collect())
}

/// `Iface Destination Gateway Flags …`, numbers in hexadecimal and little endian.
fn gateways_v4(table: &str) -> Vec<IpAddr> {
    let routes = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let gateways = routes.filter_map(|fields| match fields[..] {
        [_, "00000000", gateway, ..] => u32::from_str_radix(gateway, 16).ok(),
        _ => None,
    });
    gateways
        .filter(|gateway| *gateway != 0)
        .map(|gateway| Ipv4Addr::from(gateway.to_le_bytes()).into())
        .collect()
}

/// `destination length source length next-hop …`, all hexadecimal in network order.
fn gateways_v6(table: &str) -> Vec<IpAddr> {
    let routes = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let hops = routes.filter_map(|fields| match fields[..] {
        [_, "00", _, _, next_hop, ..] => u128::from_str_radix(next_hop, 16).ok(),
        _ => None,
    });
    hops.filter(|hop| *hop != 0).map(|hop| Ipv6Addr::from(hop).into()).collect()
}

fn resolvers(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers.filter_map(|server| server.trim().split('%').next()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(addresses: &[IpAddr]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn default_routes_give_their_gateways_and_others_do_not() {
        let table = "Iface\tDestination\tGateway\tFlags\neth0\t00000000\t0102000A\t0003\neth0\t0002000A\t00000000\t0001\n";
        assert_eq!(shown(&gateways_v4(table)), ["10.0.2.1"]);
        let table = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 0 0 3 eth0\n\
                     fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 0 0 1 eth0\n";
        assert_eq!(shown(&gateways_v6(table)), ["fe80::1"]);
    }

    #[test]
    fn resolvers_are_read_with_zones_and_without_comments() {
        let text = "# nameserver 9.9.9.9\nnameserver 10.0.2.3\nnameserver fe80::5%eth0\nsearch example.org\n";
        assert_eq!(shown(&resolvers(text)), ["10.0.2.3", "fe80::5"]);
    }
}
