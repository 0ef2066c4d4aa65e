//! The ring buffers: made in the configured number and size, pinned, and read by one thread each.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::{ArrayOfMaps, Map, MapData, RingBuf};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use sensor_common::map;

use super::pins::Pins;
use super::shared_memory::{SharedMemory, word64};

/// The reading end of one ring.
pub(crate) struct Ring {
    records: RingBuf<MapData>,
    index: u32,
    /// One word a ring: whether its reader sleeps.
    sleepers: SharedMemory<u64>,
}

/// Adopts or makes `count` rings of `bytes` each and puts them where the tap looks for them.
pub(crate) fn install(pins: &Pins, count: u32, bytes: u32) -> Result<Vec<Ring>> {
    let mut outer = outer(pins)?;
    (0..count)
        .map(|index| {
            let records = adopt(pins, index, bytes).map_or_else(|| make(pins, index, bytes), Ok)?;
            put(&mut outer, pins, index, records)
        })
        .collect()
}

/// Makes rings of another size and puts them in the place of the present ones. Once this returns, no program writes to an old ring any more
/// (the kernel waits for those that run before it lets go of an inner map): a reader that empties its old ring first loses nothing.
pub(crate) fn replace(pins: &Pins, count: u32, bytes: u32) -> Result<Vec<Ring>> {
    let mut outer = outer(pins)?;
    (0..count).map(|index| put(&mut outer, pins, index, make(pins, index, bytes)?)).collect()
}

type Outer = ArrayOfMaps<MapData, RingBuf<MapData>>;

/// The array by its pin. The object keeps its own descriptor: programs of it may be loaded later.
fn outer(pins: &Pins) -> Result<Outer> {
    let path = pins.map(map::RINGS);
    let data =
        MapData::from_pin(&path).with_context(|| format!("cannot open the map `{}`", path.display()))?;
    ArrayOfMaps::try_from(Map::from_map_data(data)?)
        .with_context(|| format!("`{}` is no array of rings", map::RINGS))
}

fn put(outer: &mut Outer, pins: &Pins, index: u32, records: RingBuf<MapData>) -> Result<Ring> {
    outer.set(index, &records, 0).with_context(|| format!("cannot install ring {index}"))?;
    let sleepers = SharedMemory::open(pins, map::SLEEPERS)?;
    Ok(Ring { records, index, sleepers })
}

/// Bytes of each of `rings` rings where none are configured: a 128th of the memory for all of them, from 1 MiB to 8 MiB each.
pub(crate) fn bytes_for(memory: u64, rings: u32) -> u32 {
    let share = memory / 128 / u64::from(rings.max(1));
    let power = share.checked_ilog2().map_or(0, |power| 1u64 << power);
    u32::try_from(power.clamp(1 << 20, 8 << 20)).unwrap_or(1 << 20)
}

/// The ring that an earlier agent left, if it has the wanted size: what it still holds is read, not lost.
fn adopt(pins: &Pins, index: u32, bytes: u32) -> Option<RingBuf<MapData>> {
    let data = MapData::from_pin(pins.ring(index)).ok()?;
    let fits = data.info().is_ok_and(|info| info.max_entries() == bytes);
    fits.then(|| RingBuf::try_from(Map::from_map_data(data).ok()?).ok())?
}

fn make(pins: &Pins, index: u32, bytes: u32) -> Result<RingBuf<MapData>> {
    let path = pins.ring(index);
    if path.exists() {
        std::fs::remove_file(&path).with_context(|| format!("cannot replace `{}`", path.display()))?;
    }
    let definition = aya_obj::Map::new_from_params(BPF_MAP_TYPE_RINGBUF as u32, 0, 0, bytes, 0);
    let data = MapData::create(definition, &format!("ring{index}"), None).with_context(|| {
        format!("cannot make a ring buffer of {bytes} bytes (kernel 5.8 and later, a power of two)")
    })?;
    data.pin(&path).with_context(|| format!("cannot pin `{}`", path.display()))?;
    Ok(RingBuf::try_from(Map::from_map_data(data)?)?)
}

impl Ring {
    /// Hands every record that is there to `take`, at most `limit`; returns how many there were.
    pub(crate) fn drain(&mut self, limit: usize, mut take: impl FnMut(&[u8])) -> usize {
        let mut taken = 0;
        while taken < limit
            && let Some(record) = self.records.next()
        {
            take(&record);
            taken += 1;
        }
        taken
    }

    /// Looks again after a while, or as soon as somebody else wakes the reader; the tap does not.
    pub(crate) fn pause(&self, at_most: Duration) -> io::Result<()> {
        self.wait(at_most)
    }

    /// Waits until the tap wakes the reader for a record, or the time is over.
    pub(crate) fn sleep(&self, at_most: Duration) -> io::Result<()> {
        // SAFETY: a word of the map, which lives as long as `self`.
        let asleep = unsafe { word64(self.sleepers.at(self.index as usize)) };
        // Whoever reserves a record from here on sees the word; a record that was reserved before is seen by the wait, which
        // begins by looking at the ring.
        asleep.store(1, Ordering::SeqCst);
        let waited = self.wait(at_most);
        asleep.store(0, Ordering::SeqCst);
        waited
    }

    /// Waits until the ring has a record or the time is over. Signals end the wait early.
    fn wait(&self, at_most: Duration) -> io::Result<()> {
        let mut polled = [PollFd::new(self.records.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut polled, Some(TimeSpec::from_duration(at_most)), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_as_large_as_the_memory_allows() {
        let gigabytes = |count: u64| count << 30;
        assert_eq!(bytes_for(gigabytes(24), 2), 8 << 20);
        assert_eq!(bytes_for(gigabytes(1), 2), 4 << 20);
        assert_eq!(bytes_for(gigabytes(1) / 2, 8), 1 << 20);
        assert_eq!(bytes_for(0, 0), 1 << 20);
    }
}
