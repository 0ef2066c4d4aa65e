//! The agent's side of the prefilters: marking entries before they are made, and building a filter anew.
//!
//! There are two builds in the map. Marks go to the one in use; a new one is filled aside and takes its place by one word. Whoever makes an
//! entry marks it, makes it, and looks whether a build was under way or has taken over meanwhile: then it marks the
//! entry there too. So no writer waits for another, and no entry that is in force is ever unknown to the filter.

use std::fs::File;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Duration;

use anyhow::{Context, Result};
use ipnet::IpNet;
use nix::fcntl::{Flock, FlockArg};
use sensor_common::filter::{Filter, SHORT_WORDS, class, class_v4, class_v6, index};
use sensor_common::map;
use sensor_common::settings::{FilterView, FirewallState, Lengths};

use super::clock;
use super::pins::Pins;
use super::shared_memory::{SharedMemory, byte, word32, word64};

/// The address of a field of the shared state, for who has a pointer to it.
macro_rules! field {
    ($type:ty, $($path:tt)+) => {
        |at: *mut $type| {
            // SAFETY: the pointer is that of a mapped value, and only an address within it is worked out.
            unsafe { &raw mut (*at).$($path)+ }
        }
    };
}
pub(super) use field;

/// Bits of a filter for each entry: with four bits set an entry, one in a hundred of the others is taken for listed.
const WORDS_PER_ENTRY_SHIFT: u32 = 2;
/// Bits that are set for each entry.
const BITS_PER_ENTRY: u64 = 4;
/// Share of set bits above which a part is built anew; one that was just built for what it holds has less than a quarter.
const CROWDED_PERCENT: u64 = 30;
/// Words that tell how full a part is.
const SAMPLE_WORDS: u32 = 1024;
/// Smallest part of a build, in words.
const FEWEST_WORDS: u32 = 1024;
/// Largest part of a build: 2 MiB, which caches still hold in part.
const MOST_WORDS: u32 = 1 << 18;
/// Words for each part of the exemptions' filter: there are at most a few thousand.
const EXEMPT_WORDS: u32 = 1024;
/// How long a program may still read a build that was replaced: programs run for microseconds.
const GRACE: Duration = Duration::from_millis(2);

/// Which filter a mark is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// In front of the block list.
    Block,
    /// In front of the exemptions.
    Exempt,
}

/// The prefilters in the kernel's maps.
pub(super) struct Prefilter {
    state: SharedMemory<FirewallState>,
    words: SharedMemory<u64>,
    pins: Pins,
}

/// Remembers under which build a mark was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an entry is in force only once its mark is settled"]
pub(super) struct Mark {
    generation: u32,
}

/// Words of the filter map for lists of up to `entries` a family.
pub(super) fn words_for(entries: u32) -> u32 {
    2 * Layout::for_entries(entries).end()
}

/// Where the parts of a build stand, from its start.
#[derive(Clone, Copy, Debug)]
struct Layout {
    family: u32,
    nets: u32,
}

impl Layout {
    fn for_entries(entries: u32) -> Self {
        let family = words_of(u64::from(entries), MOST_WORDS);
        Self { family, nets: (family / 2).max(FEWEST_WORDS) }
    }

    fn of_map(words: usize) -> Option<Self> {
        let sizes = (FEWEST_WORDS.ilog2()..=MOST_WORDS.ilog2()).map(|power| 1 << power);
        let mut layouts = sizes.map(|family: u32| Self { family, nets: (family / 2).max(FEWEST_WORDS) });
        layouts.find(|layout| layout.end() as usize * 2 == words)
    }

    const fn end(self) -> u32 {
        2 * self.family + self.nets + 2 * SHORT_WORDS + 3 * EXEMPT_WORDS + 2 * SHORT_WORDS
    }

    /// The filters of build `which`, sized to this many entries and short IPv6 prefixes.
    fn view(self, which: u32, sizes: Sizes, seed: u64) -> FilterView {
        let start = which * self.end();
        let v6 = start + self.family;
        let nets = v6 + self.family;
        let shorts = nets + self.nets;
        let exempt = shorts + 2 * SHORT_WORDS;
        let block = Filter {
            seed,
            v4_at: start,
            v4_mask: words_of(sizes.v4, self.family) - 1,
            v4_short_at: shorts,
            v6_at: v6,
            v6_mask: words_of(sizes.v6, self.family) - 1,
            v6_nets_at: nets,
            v6_nets_mask: words_of(sizes.v6_nets, self.nets) - 1,
            v6_short_at: shorts + SHORT_WORDS,
            v4_classes: 0,
            v6_classes: 0,
        };
        let exempt = Filter {
            seed: seed.rotate_left(32),
            v4_at: exempt,
            v4_mask: EXEMPT_WORDS - 1,
            v4_short_at: exempt + 3 * EXEMPT_WORDS,
            v6_at: exempt + EXEMPT_WORDS,
            v6_mask: EXEMPT_WORDS - 1,
            v6_nets_at: exempt + 2 * EXEMPT_WORDS,
            v6_nets_mask: EXEMPT_WORDS - 1,
            v6_short_at: exempt + 3 * EXEMPT_WORDS + SHORT_WORDS,
            v4_classes: 0,
            v6_classes: 0,
        };
        FilterView { block, exempt, ..FilterView::default() }
    }
}

/// Share of the bits of so many words that further entries will set, at most.
fn percent_of_marks(entries: u64, words: u32) -> u64 {
    entries.saturating_mul(BITS_PER_ENTRY * 100) / (u64::from(words) * 64)
}

fn words_of(entries: u64, most: u32) -> u32 {
    let words = (entries >> WORDS_PER_ENTRY_SHIFT).clamp(u64::from(FEWEST_WORDS), u64::from(most));
    (words as u32).next_power_of_two().min(most)
}

/// What a build is sized to: keys that are marked, parts of prefixes counted one by one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    v4: u64,
    v6: u64,
    v6_nets: u64,
}

impl Sizes {
    /// Those of these targets.
    pub(super) fn of(targets: &[IpNet]) -> Self {
        let mut sizes = Self::default();
        targets.iter().for_each(|target| sizes.add(*target));
        sizes
    }

    /// Adds a target.
    pub(super) fn add(&mut self, target: IpNet) {
        match target {
            IpNet::V4(net) => self.v4 += parts(net.prefix_len(), &[(17, 24), (0, 16)]),
            IpNet::V6(net) => match net.prefix_len() {
                45.. => self.v6 += parts(net.prefix_len(), &[(45, 48)]),
                29..=44 => self.v6_nets += parts(net.prefix_len(), &[(29, 36)]),
                _ => {}
            },
        }
    }

    /// Marks in all.
    pub(super) fn total(self) -> u64 {
        self.v4 + self.v6 + self.v6_nets
    }
}

/// Marks that a prefix takes: as many as it has parts of its class's unit.
fn parts(length: u8, units: &[(u8, u8)]) -> u64 {
    let unit = units.iter().find(|(from, _)| length >= *from);
    unit.map_or(1, |(_, unit)| 1 << unit.saturating_sub(length).min(16))
}

impl Prefilter {
    /// Opens the filters; builds empty ones if this is the first time.
    pub(super) fn open(pins: &Pins) -> Result<Self> {
        let filter = Self {
            state: SharedMemory::open(pins, map::FIREWALL_STATE)?,
            words: SharedMemory::open(pins, map::FILTER)?,
            pins: pins.clone(),
        };
        if filter.view_word(filter.active(), field!(FilterView, block.v4_at)) == 0
            && filter.block_seed(filter.active()) == 0
        {
            filter.build(Sizes::default(), || Ok((Vec::new(), Vec::new())))?;
            filter.set_tick();
        }
        Ok(filter)
    }

    /// Tells the program how long the kernel's ticks are. Without it the program reads the clock for every packet that needs the time.
    fn set_tick(&self) {
        let Some(tick_ns) = clock::tick_nanos() else { return };
        let set = |of: fn(*mut FirewallState) -> *mut u64, value: u64| {
            // SAFETY: an aligned field of the state, which lives as long as `self`.
            unsafe { word64(of(self.state())) }.store(value, Ordering::SeqCst);
        };
        set(field!(FirewallState, tick_ns), tick_ns);
        // Last, since it is what lets the offset be kept.
        set(field!(FirewallState, offset_holds), (1_000_000_000 / tick_ns).max(1));
    }

    /// The firewall's state, for single words.
    pub(super) fn state(&self) -> *mut FirewallState {
        self.state.at(0)
    }

    /// A word of the state.
    pub(super) fn setting(&self, of: impl FnOnce(*mut FirewallState) -> *mut u32) -> &AtomicU32 {
        // SAFETY: the caller takes the address of a field of the state, which is aligned and lives as long as `self`.
        unsafe { word32(of(self.state())) }
    }

    /// Says that packets which were dropped until now may pass: to be called once that is so.
    pub(super) fn changed(&self) {
        self.setting(field!(FirewallState, changes)).fetch_add(1, Ordering::SeqCst);
    }

    /// Makes the filter say "perhaps" for a target. To be called before its entry is made; [`Self::settle`] comes after.
    pub(super) fn mark(&self, kind: Kind, target: IpNet) -> Mark {
        let generation = self.generation().load(Ordering::SeqCst);
        self.mark_in(self.active(), kind, target);
        // The marks are in memory before the entry is.
        fence(Ordering::SeqCst);
        Mark { generation }
    }

    /// Marks a target whose entry has been made in a build that was under way meanwhile.
    pub(super) fn settle(&self, kind: Kind, target: IpNet, mark: Mark) {
        fence(Ordering::SeqCst);
        let building = self.setting(field!(FirewallState, building)).load(Ordering::SeqCst) != 0;
        if building || self.generation().load(Ordering::SeqCst) != mark.generation {
            self.mark_in(0, kind, target);
            self.mark_in(1, kind, target);
        }
    }

    /// Whether a part of the build in use says "perhaps" too often, or will with what is coming, and could be larger.
    pub(super) fn is_crowded(&self, coming: Sizes) -> bool {
        let Some(layout) = Layout::of_map(self.words.len()) else { return false };
        // SAFETY: only the address of a field is taken, of a view within the state.
        let block = self.view(self.active(), |view| unsafe { &raw mut (*view).block });
        // SAFETY: the description of a build in use does not change but for its classes, which are not read here.
        let block = unsafe { block.read_volatile() };
        let parts = [
            (block.v4_at, block.v4_mask, layout.family, coming.v4),
            (block.v6_at, block.v6_mask, layout.family, coming.v6),
            (block.v6_nets_at, block.v6_nets_mask, layout.nets, coming.v6_nets),
        ];
        parts.into_iter().any(|(at, mask, most, more)| {
            let words = mask + 1;
            words < most && self.fill_percent(at, words) + percent_of_marks(more, words) > CROWDED_PERCENT
        })
    }

    /// Share of the bits that are set in a part of a build, by a sample of its words.
    fn fill_percent(&self, at: u32, words: u32) -> u64 {
        let sample = words.min(SAMPLE_WORDS);
        let step = words / sample;
        let set: u64 = (0..sample)
            .map(|number| {
                // SAFETY: within the map, which `at` checks; aligned, since values are words.
                let word = unsafe { word64(self.words.at((at + number * step) as usize)) };
                u64::from(word.load(Ordering::Relaxed).count_ones())
            })
            .sum();
        set * 100 / (u64::from(sample) * 64)
    }

    /// Entries marked since the build in use was made.
    pub(super) fn marked(&self) -> u64 {
        let marked = self.view(self.active(), field!(FilterView, marked));
        // SAFETY: a field of the state, which lives as long as `self`.
        unsafe { word64(marked) }.load(Ordering::Relaxed)
    }

    /// Builds the other filter from all targets and puts it to use. `list` is asked once the build is announced, so that entries
    /// made from then on are marked by their makers.
    pub(super) fn build(
        &self,
        sizes: Sizes,
        list: impl FnOnce() -> Result<(Vec<IpNet>, Vec<IpNet>)>,
    ) -> Result<()> {
        let folder = File::open(self.pins.folder()).context("cannot open the pin directory")?;
        let _only_builder = Flock::lock(folder, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)
            .context("cannot lock the pin directory")?;
        std::thread::sleep(GRACE);
        let other = 1 - self.active();
        self.clear(other, sizes)?;
        let building = self.setting(field!(FirewallState, building));
        building.store(1, Ordering::SeqCst);
        let listed = list();
        if let Ok((blocks, exemptions)) = &listed {
            blocks.iter().for_each(|target| self.mark_in(other, Kind::Block, *target));
            exemptions.iter().for_each(|target| self.mark_in(other, Kind::Exempt, *target));
            self.generation().fetch_add(1, Ordering::SeqCst);
            self.setting(field!(FirewallState, active)).store(other, Ordering::SeqCst);
        }
        building.store(0, Ordering::SeqCst);
        listed.map(|_| ())
    }

    fn clear(&self, which: u32, sizes: Sizes) -> Result<()> {
        let layout = Layout::of_map(self.words.len()).context("the filter map has no size that is known")?;
        let view = layout.view(which, sizes, rand::random::<u64>() | 1);
        let start = (which * layout.end()) as usize;
        for at in start..start + layout.end() as usize {
            // SAFETY: within the map, which `at` checks; aligned, since values are words.
            unsafe { word64(self.words.at(at)) }.store(0, Ordering::Relaxed);
        }
        // SAFETY: a field of the state; programs and writers do not look at this build until it is announced.
        unsafe { self.view(which, |view| view).write_volatile(view) };
        Ok(())
    }

    fn mark_in(&self, which: u32, kind: Kind, target: IpNet) {
        let filter = self.view(which, |view| match kind {
            // SAFETY: only the address of a field is taken, of a view within the state.
            Kind::Block => unsafe { &raw mut (*view).block },
            // SAFETY: as above.
            Kind::Exempt => unsafe { &raw mut (*view).exempt },
        });
        // SAFETY: the description of a build in use does not change but for its classes, which are not read here.
        let described = unsafe { filter.read_volatile() };
        if described.seed == 0 {
            return;
        }
        let set = |at: u32, bits: u64| {
            // SAFETY: within the map, which `at` checks; aligned, since values are words.
            unsafe { word64(self.words.at(at as usize)) }.fetch_or(bits, Ordering::Relaxed);
        };
        let length = target.prefix_len();
        let class = match target.network() {
            IpAddr::V4(v4) => {
                described.mark_v4(v4.to_bits(), length, set);
                class_v4(length)
            }
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                described.mark_v6((bits >> 64) as u64, bits as u64, length, set);
                class_v6(length)
            }
        };
        if kind == Kind::Block {
            self.note_length(which, target, class);
            let mut sizes = Sizes::default();
            sizes.add(target);
            // SAFETY: a field of the state, which lives as long as `self`.
            unsafe { word64(self.view(which, |view| &raw mut (*view).marked)) }
                .fetch_add(sizes.total(), Ordering::Relaxed);
        }
        // SAFETY: only the address of a field is taken.
        let classes = unsafe {
            if target.addr().is_ipv4() {
                &raw mut (*filter).v4_classes
            } else {
                &raw mut (*filter).v6_classes
            }
        };
        // SAFETY: an aligned field of the state, which lives as long as `self`.
        unsafe { word32(classes) }.fetch_or(class, Ordering::SeqCst);
    }

    /// Tells the program that prefixes of this length are in use. Free places are claimed by compare-and-swap, so that writers need no lock.
    fn note_length(&self, which: u32, target: IpNet, class: u32) {
        if class == class::EXACT {
            return;
        }
        let Some(place) = index(class) else { return };
        let lengths: *mut Lengths = self.view(which, |view| {
            // SAFETY: only the address of an element is taken; there are as many as there are classes.
            unsafe {
                if target.addr().is_ipv4() {
                    &raw mut (*view).v4_lengths[place]
                } else {
                    &raw mut (*view).v6_lengths[place]
                }
            }
        });
        let length = target.prefix_len();
        for slot in 0..sensor_common::settings::MAX_LENGTHS {
            // SAFETY: an element of an array within the state, which lives as long as `self`.
            let cell = unsafe { byte(&raw mut (*lengths).lengths[slot]) };
            let claimed = cell.compare_exchange(0, length, Ordering::SeqCst, Ordering::SeqCst);
            if claimed.is_ok() || claimed == Err(length) {
                // SAFETY: an aligned field of the state.
                let count = unsafe { word32(&raw mut (*lengths).count) };
                count.fetch_max(slot as u32 + 1, Ordering::SeqCst);
                return;
            }
        }
    }

    fn active(&self) -> u32 {
        self.setting(field!(FirewallState, active)).load(Ordering::SeqCst) & 1
    }

    /// Changes with every build that is put to use.
    pub(super) fn generation(&self) -> &AtomicU32 {
        self.setting(field!(FirewallState, generation))
    }

    fn view<T>(&self, which: u32, of: impl FnOnce(*mut FilterView) -> *mut T) -> *mut T {
        // SAFETY: only the address of an element is taken; there are two.
        of(unsafe { &raw mut (*self.state()).views[(which & 1) as usize] })
    }

    fn view_word(&self, which: u32, of: impl FnOnce(*mut FilterView) -> *mut u32) -> u32 {
        // SAFETY: an aligned field of the state, which lives as long as `self`.
        unsafe { word32(self.view(which, of)) }.load(Ordering::SeqCst)
    }

    fn block_seed(&self, which: u32) -> u64 {
        // SAFETY: as in `view_word`.
        unsafe { word64(self.view(which, |view| &raw mut (*view).block.seed)) }.load(Ordering::SeqCst)
    }
}
