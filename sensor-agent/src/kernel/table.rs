//! A pinned hash map with keys and values of a shared layout: single entries and whole contents.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, ensure};
use aya::maps::{HashMap, Map, MapData, MapError};

use super::batch::{self, Plain, Stopped};
use super::pins::Pins;
use super::wire::Wire;

/// A hash map, opened from its pin.
pub(super) struct Table<K: Plain, V: Plain> {
    map: HashMap<MapData, Wire<K>, Wire<V>>,
    /// The same map once more: the library lends no descriptor of the typed one.
    data: MapData,
    capacity: u32,
}

impl<K: Plain, V: Plain> Table<K, V> {
    /// Opens the map pinned under `name`.
    ///
    /// # Errors
    /// If there is none, or it is not of these types.
    pub(super) fn open(pins: &Pins, name: &str) -> Result<Self> {
        let data = open_data(pins, name)?;
        let info = data.info().with_context(|| format!("cannot ask for the sizes of the map `{name}`"))?;
        let (key, value) = (info.key_size() as usize, info.value_size() as usize);
        ensure!(
            (key, value) == (size_of::<K>(), size_of::<V>()),
            "the map `{name}` is of another version: stop the agent, remove `{}`, start it again",
            pins.folder().display()
        );
        let capacity = info.max_entries();
        let map = HashMap::try_from(Map::from_map_data(open_data(pins, name)?)?)?;
        Ok(Self { map, data, capacity })
    }

    /// Most entries that fit.
    pub(super) const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The value of a key.
    pub(super) fn get(&self, key: K) -> Result<Option<V>> {
        match self.map.get(&Wire(key), 0) {
            Ok(value) => Ok(Some(value.0)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Inserts or replaces an entry.
    pub(super) fn insert(&mut self, key: K, value: V) -> Result<(), MapError> {
        self.map.insert(Wire(key), Wire(value), 0)
    }

    /// Replaces an entry; false if there is none any more.
    pub(super) fn replace(&mut self, key: K, value: V) -> Result<bool> {
        /// BPF_EXIST of bpf(2).
        const EXISTING: u64 = 2;
        match self.map.insert(Wire(key), Wire(value), EXISTING) {
            Ok(()) => Ok(true),
            Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an entry; false if there was none.
    pub(super) fn remove(&mut self, key: K) -> Result<bool> {
        match self.map.remove(&Wire(key)) {
            Ok(()) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// All entries, in no order.
    pub(super) fn entries(&self) -> io::Result<Vec<(K, V)>> {
        // SAFETY: `open` has compared the sizes.
        unsafe { batch::entries(self.descriptor()) }
    }

    /// Inserts or replaces many entries.
    pub(super) fn insert_all(&mut self, keys: &[K], values: &[V]) -> Result<(), Stopped> {
        // SAFETY: `open` has compared the sizes.
        unsafe { batch::update(self.descriptor(), keys, values) }
    }

    /// Removes many entries; those that are gone already are as good.
    pub(super) fn remove_all(&mut self, mut keys: &[K]) -> Result<()> {
        loop {
            // SAFETY: `open` has compared the sizes.
            let Err(stopped) = (unsafe { batch::delete(self.descriptor(), keys) }) else { return Ok(()) };
            ensure!(stopped.error.raw_os_error() == Some(libc::ENOENT), stopped.error);
            // The key that is not there stands behind those that were removed.
            keys = keys.get(stopped.done + 1..).unwrap_or_default();
        }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.data.fd().as_fd()
    }
}

fn open_data(pins: &Pins, name: &str) -> Result<MapData> {
    let path = pins.map(name);
    MapData::from_pin(&path).with_context(|| {
        format!("cannot open the map `{}`: is the agent's user the same, with CAP_BPF?", path.display())
    })
}

/// The kernel's error number behind the library's error.
pub(super) fn errno(error: &MapError) -> Option<i32> {
    let source = std::error::Error::source(error)?.downcast_ref::<io::Error>()?;
    source.raw_os_error()
}
