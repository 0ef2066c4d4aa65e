//! The firewall's maps in the size that the configuration names. If an earlier agent's have another size, new ones are filled from them
//! and take their place: the program that is attached goes on with the old ones until it is replaced, so that no
//! blocked packet passes in between.

use std::fs;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::MapData;
use sensor_common::map;

use super::lists::Lists;
use super::pins::Pins;
use super::{prefilter, recent, sensor};

/// The maps whose sizes follow the lists' and those that describe them: they are replaced together.
const SIZED: [&str; 5] = [map::BLOCK4, map::BLOCK6, map::FILTER, map::FIREWALL_STATE, map::RECENT];

/// Loads the firewall's object with lists of `max_blocked` entries a family, adopting the maps that are pinned.
pub(super) fn load_firewall(object: &[u8], pins: &Pins, max_blocked: u32) -> Result<Ebpf> {
    let sizes = [
        (map::BLOCK4, max_blocked),
        (map::BLOCK6, max_blocked),
        (map::FILTER, prefilter::words_for(max_blocked)),
        (map::RECENT, recent::size()),
    ];
    let fits = |(name, size): &(&str, u32)| pinned_size(pins, name).is_none_or(|pinned| pinned == *size);
    if !sizes.iter().all(fits) {
        replace(object, pins, &sizes).context("the block list cannot be given its new size")?;
    }
    sensor::load_sized(object, pins, &sensor::FIREWALL_MAPS, &sizes)
}

fn pinned_size(pins: &Pins, name: &str) -> Option<u32> {
    Some(MapData::from_pin(pins.map(name)).ok()?.info().ok()?.max_entries())
}

/// Makes the maps anew beside the old ones, copies what they hold, and renames them into place.
fn replace(object: &[u8], pins: &Pins, sizes: &[(&'static str, u32)]) -> Result<()> {
    let beside = pins.beside();
    beside.remove().context("cannot clear what an interrupted change of size left")?;
    beside.create()?;
    // The object with all its maps is loaded once for the sake of the new ones; what is not pinned goes with it.
    let made = sensor::load_sized(object, &beside, &sensor::FIREWALL_MAPS, sizes)?;
    let old = Lists::open_pins(pins)?;
    let mut new = Lists::open_pins(&beside)?;
    new.copy_from(&old)?;
    for name in SIZED {
        fs::rename(beside.map(name), pins.map(name))
            .with_context(|| format!("cannot put the new map `{name}` in its place"))?;
    }
    drop(made);
    beside.remove().context("cannot remove the folder of the new maps")
}
