//! A pair of tries, one a family, behind prefixes.

use std::net::IpAddr;

use anyhow::Result;
use aya::Pod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{MapData, MapError};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::lists::{full, open_map, shown};
use super::pins::Pins;
use super::wire::Wire;

/// Values by longest matching prefix.
pub(super) struct PrefixMap<V: Value> {
    v4: LpmTrie<MapData, [u8; 4], Wire<V>>,
    v6: LpmTrie<MapData, [u8; 16], Wire<V>>,
}

/// What maps hold.
pub(super) trait Value: IntoBytes + FromBytes + Immutable + Copy + 'static {}

impl<V: IntoBytes + FromBytes + Immutable + Copy + 'static> Value for V {}

impl<V: Value> PrefixMap<V> {
    pub(super) fn open(pins: &Pins, v4: &str, v6: &str) -> Result<Self> {
        Ok(Self { v4: open_map(pins, v4)?.try_into()?, v6: open_map(pins, v6)?.try_into()? })
    }

    /// The value of the longest prefix that covers the address.
    pub(super) fn covering(&self, address: IpAddr) -> Result<Option<V>> {
        match address {
            IpAddr::V4(v4) => present(self.v4.get(&Key::new(32, v4.octets()), 0)),
            IpAddr::V6(v6) => present(self.v6.get(&Key::new(128, v6.octets()), 0)),
        }
    }

    pub(super) fn insert(&mut self, prefix: IpNet, value: V) -> Result<()> {
        let written = match prefix {
            IpNet::V4(v4) => self.v4.insert(&key4(v4), Wire(value), 0),
            IpNet::V6(v6) => self.v6.insert(&key6(v6), Wire(value), 0),
        };
        written.map_err(|error| full(error, &shown(prefix)))
    }

    pub(super) fn remove(&mut self, prefix: IpNet) -> Result<bool> {
        removed(match prefix {
            IpNet::V4(v4) => self.v4.remove(&key4(v4)),
            IpNet::V6(v6) => self.v6.remove(&key6(v6)),
        })
    }

    pub(super) fn entries(&self) -> Result<Vec<(IpNet, V)>> {
        let mut entries = Vec::new();
        for (key, value) in stable(self.v4.iter())? {
            entries.push((IpNet::from(Ipv4Net::new(key.data().into(), key.prefix_len() as u8)?), value.0));
        }
        for (key, value) in stable(self.v6.iter())? {
            entries.push((IpNet::from(Ipv6Net::new(key.data().into(), key.prefix_len() as u8)?), value.0));
        }
        Ok(entries)
    }
}

fn key4(prefix: Ipv4Net) -> Key<[u8; 4]> {
    Key::new(u32::from(prefix.prefix_len()), prefix.network().octets())
}

fn key6(prefix: Ipv6Net) -> Key<[u8; 16]> {
    Key::new(u32::from(prefix.prefix_len()), prefix.network().octets())
}

fn present<V: Value>(found: Result<Wire<V>, MapError>) -> Result<Option<V>> {
    match found {
        Ok(value) => Ok(Some(value.0)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn removed(result: Result<(), MapError>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(MapError::KeyNotFound) => Ok(false),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn is_not_found(error: &MapError) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.is_some_and(|source| source.raw_os_error() == Some(libc::ENOENT))
}

/// Entries read while others write: one that vanished between its key and its value is not an error.
fn stable<K: Pod, V: Value>(
    entries: impl Iterator<Item = Result<(K, Wire<V>), MapError>>,
) -> Result<Vec<(K, Wire<V>)>> {
    entries.filter(|entry| !matches!(entry, Err(MapError::KeyNotFound))).map(|entry| Ok(entry?)).collect()
}
