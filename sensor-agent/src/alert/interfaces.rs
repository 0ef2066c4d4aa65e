//! Names of interfaces by index, read from the host when an unknown index appears, and not more often than that needs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Least time between two readings.
const READ_EVERY: Duration = Duration::from_secs(1);

/// The names known so far.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    names: BTreeMap<u32, String>,
    read: Option<Instant>,
}

impl Interfaces {
    /// The name of interface `index`, if it has one.
    pub(super) fn name(&mut self, index: u32) -> Option<&str> {
        let due = self.read.is_none_or(|read| read.elapsed() >= READ_EVERY);
        if due && !self.names.contains_key(&index) {
            self.names = read();
            self.read = Some(Instant::now());
        }
        self.names.get(&index).map(String::as_str)
    }
}

fn read() -> BTreeMap<u32, String> {
    let Ok(found) = nix::net::if_::if_nameindex() else { return BTreeMap::new() };
    found.iter().map(|entry| (entry.index(), entry.name().to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_its_name_and_unknown_indexes_have_none() {
        let mut interfaces = Interfaces::default();
        assert_eq!(interfaces.name(1), Some("lo"));
        assert_eq!(interfaces.name(4_000_000), None);
    }
}
