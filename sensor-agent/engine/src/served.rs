//! Who serves where: the processes behind the addresses at which this host listens, as conditions of rules see them. The shell
//! finds that out aside from the traffic and lends the engine a table of it, so that no packet waits for a look at a process.
//! A replay has no such table: then no process is known.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Most addresses in a table; a host that listens at more knows no processes at the rest.
pub const MAX_SERVED: usize = 4096;

/// A process that serves; what is not known of it is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServingProcess {
    /// Its name, which it can choose itself.
    pub name: Option<String>,
    /// Its systemd unit.
    pub unit: Option<String>,
    /// Its container's id.
    pub container: Option<String>,
    /// Its user's name, or number where there is no name.
    pub user: Option<String>,
}

/// The processes behind listening addresses, by address and port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    by_address: HashMap<SocketAddr, Arc<ServingProcess>>,
}

impl Served {
    /// A table of these; of what is beyond [`MAX_SERVED`] nothing is known. Where several listen at one address, only what they
    /// have in common is.
    #[must_use]
    pub fn new(all: impl IntoIterator<Item = (SocketAddr, ServingProcess)>) -> Self {
        let mut by_address: HashMap<SocketAddr, Arc<ServingProcess>> = HashMap::new();
        for (address, process) in all {
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            if let Some(known) = by_address.get_mut(&address) {
                *known = Arc::new(known.in_common_with(process));
            } else if by_address.len() < MAX_SERVED {
                by_address.insert(address, Arc::new(process));
            }
        }
        Self { by_address }
    }

    /// Who serves at `address`: who listens at it, or at every address of its family, or of both.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Option<&Arc<ServingProcess>> {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        let any_v6 = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        let any = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { any_v6 };
        [ip, any, any_v6].into_iter().find_map(|ip| self.by_address.get(&SocketAddr::new(ip, port)))
    }

    /// Addresses in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Whether it knows nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }
}

impl ServingProcess {
    fn in_common_with(&self, other: Self) -> Self {
        let same =
            |own: &Option<String>, other: Option<String>| other.filter(|other| own.as_ref() == Some(other));
        Self {
            name: same(&self.name, other.name),
            unit: same(&self.unit, other.unit),
            container: same(&self.container, other.container),
            user: same(&self.user, other.user),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, user: &str) -> ServingProcess {
        let text = |text: &str| Some(text.to_owned());
        ServingProcess { name: text(name), user: text(user), ..ServingProcess::default() }
    }

    #[test]
    fn the_closest_address_says_who_serves() {
        let table = [
            ("10.0.0.1:80", named("inner", "web")),
            ("0.0.0.0:80", named("outer", "web")),
            ("[::]:443", named("both", "web")),
            ("[::ffff:10.0.0.9]:81", named("mapped", "web")),
            ("10.0.0.1:82", named("one", "web")),
            ("10.0.0.1:82", named("two", "web")),
        ];
        let table = Served::new(table.map(|(address, process)| (address.parse().unwrap(), process)));
        let rows = [
            ("10.0.0.1:80", Some("inner web")),
            ("10.0.0.2:80", Some("outer web")),
            ("[2001:db8::1]:80", None),
            ("[2001:db8::1]:443", Some("both web")),
            ("10.0.0.1:443", Some("both web")),
            ("10.0.0.9:81", Some("mapped web")),
            ("[::ffff:10.0.0.1]:80", Some("inner web")),
            ("10.0.0.1:82", Some("- web")),
            ("10.0.0.1:83", None),
        ];
        for (address, expected) in rows {
            let got = table.at(address.parse().unwrap());
            let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let got = got.map(|process| format!("{} {}", shown(&process.name), shown(&process.user)));
            assert_eq!(got.as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn a_table_has_an_end() {
        let all = (0..=u16::MAX).map(|port| (SocketAddr::from(([10, 0, 0, 1], port)), named("x", "y")));
        let table = Served::new(all);
        assert_eq!(table.len(), MAX_SERVED);
        assert!(table.at("10.0.0.1:4095".parse().unwrap()).is_some());
        assert!(table.at("10.0.0.1:4096".parse().unwrap()).is_none());
    }
}
