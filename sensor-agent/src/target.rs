//! Block targets as people write them. An address or a prefix of either family; what is ambiguous is refused with the
//! spelling that was probably meant, because a wrong block hits somebody.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::kernel::lists::Scope;

/// Reads an address (`192.0.2.7`, `2001:db8::7`) or prefix (`192.0.2.0/24`, `2001:db8::/64`). IPv4-mapped IPv6
/// addresses are the IPv4 address: the kernel knows them as that.
pub(crate) fn parse(text: &str) -> Result<IpNet, String> {
    let shown = crate::printable::short(text, 60);
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let net: IpNet = text.parse().map_err(|_| {
        format!(
            "`{shown}` is neither an address nor a prefix, expected one like `192.0.2.7` or `2001:db8::/64`"
        )
    })?;
    if net.addr() != net.network() {
        return Err(format!(
            "`{shown}` has bits set behind its prefix length, expected `{}` for the network or `{}` for the address",
            net.trunc(),
            net.addr()
        ));
    }
    canonical(net).ok_or_else(|| {
        format!("`{shown}` covers more than the IPv4-mapped addresses, expected an IPv4 prefix like `192.0.2.0/24`")
    })
}

/// Reads a target that may be blocked: no prefix of length 0, which would be everybody.
pub(crate) fn parse_blockable(text: &str) -> Result<IpNet, String> {
    let net = parse(text)?;
    if net.prefix_len() == 0 {
        return Err(format!(
            "`{net}` is every address of its family, expected a longer prefix (nothing blocks everybody)"
        ));
    }
    Ok(net)
}

/// Reads what a line of a list or a cursor names: a target that may be blocked, alone or with what is closed to it: `T`, `T port 22`,
/// `T connection 40000 192.0.2.1:80`.
pub(crate) fn parse_entry(text: &str) -> Result<(IpNet, Scope), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (target, scope) = match words[..] {
        [target] => (target, Scope::Host),
        [target, "port", number] => (target, Scope::Port(port(number)?)),
        [target, "connection", source_port, destination] => (target, connection(source_port, destination)?),
        _ => {
            let shown = crate::printable::short(text, 60);
            return Err(format!("`{shown}` is no entry, expected `192.0.2.7` or `192.0.2.7 port 22`"));
        }
    };
    let target = parse_blockable(target)?;
    check_scope(target, scope)?;
    Ok((target, scope))
}

/// A connection is one of a single address, and both ends are of one family.
pub(crate) fn check_scope(target: IpNet, scope: Scope) -> Result<(), String> {
    let Scope::Connection { destination, .. } = scope else { return Ok(()) };
    let single = target.prefix_len() == target.max_prefix_len();
    if !single || target.addr().is_ipv4() != destination.is_ipv4() {
        let shown = show(target);
        return Err(format!(
            "a connection joins two addresses of one family, got `{shown}` and `{destination}`"
        ));
    }
    Ok(())
}

/// A port that can be closed.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|port| *port != 0);
    number.ok_or_else(|| {
        format!("`{}` is no port, expected a number from 1 to 65535", crate::printable::short(text, 20))
    })
}

/// The scope of one connection, from the target's port and the host's address and port.
pub(crate) fn connection(source_port: &str, destination: &str) -> Result<Scope, String> {
    let host: SocketAddr = destination.parse().map_err(|_| {
        let shown = crate::printable::short(destination, 60);
        format!("`{shown}` is no address and port, expected one like `192.0.2.1:80` or `[2001:db8::1]:80`")
    })?;
    let destination = SocketAddr::new(host.ip().to_canonical(), port(&host.port().to_string())?);
    Ok(Scope::Connection { source_port: port(source_port)?, destination })
}

/// An entry as [`parse_entry`] reads it.
pub(crate) fn show_entry(net: IpNet, scope: Scope) -> String {
    match scope {
        Scope::Host => show(net),
        Scope::Port(port) => format!("{} port {port}", show(net)),
        Scope::Connection { source_port, destination } => {
            format!("{} connection {source_port} {destination}", show(net))
        }
    }
}

fn canonical(net: IpNet) -> Option<IpNet> {
    let IpNet::V6(v6) = net else { return Some(net) };
    let Some(v4) = v6.addr().to_ipv4_mapped() else { return Some(net) };
    let length = v6.prefix_len().checked_sub(96)?;
    ipnet::Ipv4Net::new(v4, length).ok().map(IpNet::V4)
}

/// A target as people read it: a full-length prefix without its length.
pub(crate) fn show(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_prefixes_of_both_families_are_read() {
        for (text, shown) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("2001:DB8::7", "2001:db8::7"),
            ("2001:db8::/64", "2001:db8::/64"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(parse(text).map(show), Ok(shown.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_target_is_refused_with_what_was_meant() {
        assert_eq!(
            parse("192.0.2.7/24").unwrap_err(),
            "`192.0.2.7/24` has bits set behind its prefix length, expected `192.0.2.0/24` for the network or \
             `192.0.2.7` for the address"
        );
        for text in
            ["", "host", "192.0.2", "192.0.2.7/33", "192.0.2.7/", "::1/129", "1.2.3.4 ", "0x7f.1", "01.2.3.4"]
        {
            assert!(parse(text).unwrap_err().contains("expected one like"), "{text}");
        }
        assert_eq!(parse("\u{1b}[2J").unwrap_err().matches('\u{1b}').count(), 0);
    }

    #[test]
    fn entries_name_ports_and_connections() {
        for text in [
            "192.0.2.7",
            "192.0.2.0/24 port 22",
            "2001:db8::/64 port 443",
            "192.0.2.7 connection 40000 198.51.100.1:80",
            "2001:db8::7 connection 40000 [2001:db8::1]:80",
        ] {
            let (target, scope) = parse_entry(text).unwrap();
            assert_eq!(show_entry(target, scope), text);
        }
        for text in [
            "",
            "192.0.2.7 port 0",
            "192.0.2.7 port x",
            "192.0.2.7 22",
            "0.0.0.0/0 port 22",
            "192.0.2.0/24 connection 1 198.51.100.1:80",
            "192.0.2.7 connection 1 [::1]:80",
            "192.0.2.7 connection 0 198.51.100.1:80",
        ] {
            assert!(parse_entry(text).is_err(), "{text}");
        }
    }

    #[test]
    fn everybody_is_never_a_block_target() {
        for text in ["0.0.0.0/0", "::/0"] {
            assert!(parse_blockable(text).unwrap_err().contains("nothing blocks everybody"), "{text}");
        }
        assert!(parse_blockable("10.0.0.0/8").is_ok());
    }
}
