//! Block targets as people write them. An address or a prefix of either family; what is ambiguous is refused with the
//! spelling that was probably meant, because a wrong block hits somebody.

use std::net::IpAddr;

use ipnet::IpNet;

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
    fn everybody_is_never_a_block_target() {
        for text in ["0.0.0.0/0", "::/0"] {
            assert!(parse_blockable(text).unwrap_err().contains("nothing blocks everybody"), "{text}");
        }
        assert!(parse_blockable("10.0.0.0/8").is_ok());
    }
}
