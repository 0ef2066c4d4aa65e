//! Listening endpoints of applications, for settings that count for one of them: behind one port there may be a proxy, and behind another anybody.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// A port, of one address or of every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// `None`: any address.
    address: Option<IpAddr>,
    port: u16,
}

impl Listener {
    /// Whether a connection to `server` is one to this listener.
    #[must_use]
    pub fn is(&self, server: SocketAddr) -> bool {
        self.port == server.port()
            && self.address.is_none_or(|address| address.to_canonical() == server.ip().to_canonical())
    }
}

impl FromStr for Listener {
    type Err = String;

    /// `8080`, `192.0.2.1:8080` or `[2001:db8::1]:8080`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(port) = text.parse() {
            return Ok(Self { address: None, port });
        }
        match text.parse::<SocketAddr>() {
            Ok(endpoint) => Ok(Self { address: Some(endpoint.ip()), port: endpoint.port() }),
            Err(_) => Err(format!("`{}` is neither a port nor an address and port", text.escape_debug())),
        }
    }
}

/// What counts for one listener, or for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scoped<T> {
    /// `None`: all.
    pub listener: Option<Listener>,
    /// What counts.
    pub value: T,
}

impl<T> Scoped<T> {
    /// Reads `VALUE` or `LISTENER=VALUE`.
    ///
    /// # Errors
    /// What is wrong with the listener, or what `read` says of the value.
    pub fn parse<E: Display>(text: &str, read: impl FnOnce(&str) -> Result<T, E>) -> Result<Self, String> {
        let read = |value: &str| read(value).map_err(|error| error.to_string());
        match text.split_once('=') {
            Some((listener, value)) => {
                Ok(Self { listener: Some(listener.trim().parse()?), value: read(value.trim())? })
            }
            None => Ok(Self::from(read(text)?)),
        }
    }

    /// Whether it counts for connections to `server`.
    #[must_use]
    pub fn counts_at(&self, server: SocketAddr) -> bool {
        self.listener.is_none_or(|listener| listener.is(server))
    }
}

impl<T> From<T> for Scoped<T> {
    fn from(value: T) -> Self {
        Self { listener: None, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn counts(text: &str, servers: &[&str]) {
        let scoped = Scoped::parse(text, str::parse::<u8>).unwrap();
        let all = ["192.0.2.1:80", "192.0.2.1:8080", "192.0.2.2:8080", "[2001:db8::1]:8080"];
        let found: Vec<_> = all.into_iter().filter(|at| scoped.counts_at(at.parse().unwrap())).collect();
        assert_eq!((scoped.value, found.as_slice()), (7, servers), "{text}");
    }

    #[test]
    fn a_setting_counts_where_it_says() {
        counts("7", &["192.0.2.1:80", "192.0.2.1:8080", "192.0.2.2:8080", "[2001:db8::1]:8080"]);
        counts("8080=7", &["192.0.2.1:8080", "192.0.2.2:8080", "[2001:db8::1]:8080"]);
        counts("192.0.2.1:8080 = 7", &["192.0.2.1:8080"]);
        counts("[2001:db8::1]:8080=7", &["[2001:db8::1]:8080"]);
        counts("81=7", &[]);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("x=7", "`x` is neither a port nor an address and port"),
            ("70000=7", "`70000` is neither a port nor an address and port"),
            ("80=", "cannot parse integer from empty string"),
            ("x", "invalid digit found in string"),
        ] {
            assert_eq!(Scoped::parse(text, str::parse::<u8>).unwrap_err(), expected, "{text}");
        }
    }
}
