//! How long the kernel programs run, and how full their maps and rings are.
//!
//! Run times are read from the programs' own descriptors, which needs no right beyond those of loading them; the kernel counts them only
//! while somebody holds [`count_run_time`]. Entries of hash maps can only be counted by reading them all, so that is done once
//! a minute, and not beyond a limit.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, Result};
use aya::maps::{MapData, MapInfo, MapType};
use aya::sys::{Stats, enable_stats};
use aya::{Ebpf, programs::Program};
use aya_obj::generated::bpf_prog_info;
use serde::Serialize;

use super::batch;
use super::clock::boot_nanos;
use super::pins::Pins;
use super::ring_fill::RingFill;

/// Pause between two counts of the maps' entries.
const COUNT_EVERY: Duration = Duration::from_secs(60);
/// Entries of one map at which its count ends.
const MOST_COUNTED: u64 = 1 << 20;
/// Command of bpf(2).
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;

/// A program or map by name, with a descriptor of its own.
#[derive(Debug)]
pub(crate) struct Named {
    name: String,
    descriptor: OwnedFd,
}

/// The figures at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct KernelLoad {
    /// When, by the boot clock in nanoseconds.
    pub(crate) at_ns: u64,
    /// Each program; one that was loaded and never attached has no runs.
    pub(crate) programs: Vec<ProgramLoad>,
    /// Each map that can fill up, as of the last count.
    pub(crate) maps: Vec<MapFill>,
    /// Each ring buffer.
    pub(crate) rings: Vec<RingLoad>,
}

/// What the kernel has counted of one program, while anybody had it count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ProgramLoad {
    /// Its name.
    pub(crate) name: String,
    /// Runs.
    pub(crate) runs: u64,
    /// Nanoseconds of all of them together.
    pub(crate) run_ns: u64,
}

/// How full a map is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MapFill {
    /// Its name.
    pub(crate) name: String,
    /// Entries.
    pub(crate) entries: u64,
    /// Most that fit.
    pub(crate) max_entries: u64,
    /// There are more: the count ended at a limit.
    pub(crate) at_least: bool,
}

/// How full a ring buffer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RingLoad {
    /// Its name.
    pub(crate) name: String,
    /// Bytes that wait for their reader.
    pub(crate) waiting_bytes: u64,
    /// Bytes that fit.
    pub(crate) size_bytes: u64,
}

/// What is looked at.
#[derive(Debug)]
pub(crate) struct Gauges {
    pins: Pins,
    programs: Vec<Named>,
    unpinned: Vec<Named>,
    rings: Vec<(String, RingFill)>,
    maps: Vec<MapFill>,
    counted: Option<Instant>,
}

impl Gauges {
    /// Looks at these programs, at everything that is pinned, and at these maps that are not.
    pub(crate) fn new(pins: &Pins, programs: Vec<Named>, unpinned: Vec<Named>) -> Self {
        Self { pins: pins.clone(), programs, unpinned, rings: Vec::new(), maps: Vec::new(), counted: None }
    }

    /// Looks at those of these programs too that it does not know: some are loaded once a device asks for them.
    pub(crate) fn look_also_at(&mut self, programs: Vec<Named>) {
        for program in programs {
            if self.programs.iter().all(|known| known.name != program.name) {
                self.programs.push(program);
            }
        }
    }

    /// The figures now; the maps' of the last minute.
    pub(crate) fn read(&mut self) -> KernelLoad {
        if self.counted.is_none_or(|counted| counted.elapsed() >= COUNT_EVERY) {
            self.count();
            self.counted = Some(Instant::now());
        }
        let ring = |(name, fill): &(String, RingFill)| RingLoad {
            name: name.clone(),
            waiting_bytes: fill.waiting(),
            size_bytes: fill.size(),
        };
        KernelLoad {
            at_ns: boot_nanos(),
            programs: self.programs.iter().filter_map(|program| load(program).ok()).collect(),
            maps: self.maps.clone(),
            rings: self.rings.iter().map(ring).collect(),
        }
    }

    /// Opens what is pinned anew, since lists and rings may have been replaced by larger ones, and counts.
    fn count(&mut self) {
        (self.maps, self.rings) = (Vec::new(), Vec::new());
        for map in &self.unpinned {
            self.maps.extend(
                size(map.descriptor.as_fd()).and_then(|size| fill(&map.name, map.descriptor.as_fd(), size)),
            );
        }
        let mut names: Vec<_> = fs::read_dir(self.pins.folder())
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| !name.starts_with("link-"))
            .collect();
        names.sort();
        for name in names {
            if let Err(error) = self.look_at(&name) {
                tracing::debug!(map = name, "its fill is not known: {error:#}");
            }
        }
    }

    fn look_at(&mut self, name: &str) -> Result<()> {
        let data = MapData::from_pin(self.pins.map(name))?;
        let info = data.info()?;
        match info.map_type()? {
            MapType::Hash | MapType::LruHash | MapType::LpmTrie => {
                self.maps.extend(fill(name, data.fd().as_fd(), Size::of(&info)));
            }
            MapType::RingBuf => {
                self.rings.push((name.to_owned(), RingFill::map(data.fd().as_fd(), info.max_entries())?));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Sizes of a map.
#[derive(Clone, Copy)]
struct Size {
    key: usize,
    value: usize,
    max_entries: u64,
}

impl Size {
    fn of(info: &MapInfo) -> Self {
        Self {
            key: info.key_size() as usize,
            value: info.value_size() as usize,
            max_entries: info.max_entries().into(),
        }
    }
}

fn size(map: BorrowedFd<'_>) -> Option<Size> {
    // SAFETY: a copy of the descriptor, owned by the map's data from here on.
    let data = MapData::from_fd(map.try_clone_to_owned().ok()?).ok()?;
    Some(Size::of(&data.info().ok()?))
}

fn fill(name: &str, map: BorrowedFd<'_>, size: Size) -> Option<MapFill> {
    // SAFETY: the sizes are those that the kernel tells of this map.
    let entries = unsafe { batch::count(map, size.key, size.value, MOST_COUNTED) }.ok()?;
    let at_least = entries >= MOST_COUNTED && entries < size.max_entries;
    Some(MapFill { name: name.to_owned(), entries, max_entries: size.max_entries, at_least })
}

/// The loaded programs of an object.
pub(super) fn programs_of(object: &Ebpf) -> Vec<Named> {
    let descriptor = |program: &Program| program.fd().ok()?.as_fd().try_clone_to_owned().ok();
    let named = |(name, program): (&str, &Program)| {
        Some(Named { name: name.to_owned(), descriptor: descriptor(program)? })
    };
    object.programs().filter_map(named).collect()
}

/// A map of an object.
pub(super) fn map_of(object: &Ebpf, name: &str) -> Option<Named> {
    use aya::maps::Map;
    let (Map::HashMap(data) | Map::LruHashMap(data)) = object.map(name)? else { return None };
    Some(Named { name: name.to_owned(), descriptor: data.fd().as_fd().try_clone_to_owned().ok()? })
}

/// Has the kernel count runs and run times of all programs of this host until what is returned is dropped. Costs each run of
/// a program two readings of the clock.
///
/// # Errors
/// Without CAP_SYS_ADMIN, or before kernel 5.8.
pub(crate) fn count_run_time() -> Result<OwnedFd> {
    enable_stats(Stats::RunTime)
        .context("the kernel does not count run times for this user (CAP_SYS_ADMIN, kernel 5.8 and later)")
}

/// `union bpf_attr` of BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct Attributes {
    descriptor: u32,
    length: u32,
    info: u64,
}

fn load(program: &Named) -> io::Result<ProgramLoad> {
    // SAFETY: a C structure of numbers, for which zeros are valid.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut attributes = Attributes {
        descriptor: program.descriptor.as_raw_fd().cast_unsigned(),
        length: size_of::<bpf_prog_info>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: `info` is as long as `length` says, and outlives the call; all its pointers are null, so that the kernel writes nothing else.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &raw mut attributes, size_of::<Attributes>())
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ProgramLoad { name: program.name.clone(), runs: info.run_cnt, run_ns: info.run_time_ns })
}
