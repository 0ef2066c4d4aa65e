//! The block and exemption lists as they stand in the pinned maps. They are the truth about enforcement, and they can
//! be read and changed while no agent runs.
//!
//! Every entry is marked in the prefilter before it is made ([`Prefilter`]). Nobody waits for a lock: a worker that
//! blocks a source does so between two packets.

mod automatic;
mod entry;
mod exemptions;
mod keys;
mod reasons;
mod upkeep;

use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use aya::maps::{Map, MapData, MapError};
use ipnet::IpNet;
use sensor_common::block::{
    AUTOMATIC, BlockEntry, BlockKey4, BlockKey6, BlockTuple, ExemptEntry, NEVER, SHADOW,
};
use sensor_common::map;
use sensor_common::settings::FirewallState;

use super::batch::Stopped;
use super::clock::boot_nanos;
use super::pins::Pins;
use super::prefilter::{Kind, Prefilter, Sizes, field};
use super::prefix_map::PrefixMap;
use super::recent::Recent;
use super::table::{self, Table};
pub(crate) use entry::{Applied, Blocked, Exemption, NewBlock, Origin, shown};
use entry::{describe, heard, live, unix_seconds};
pub(crate) use keys::Scope;
use keys::{Key, key};
use reasons::Reasons;

/// The lists, opened from their pins. Every thread that writes opens its own.
pub(crate) struct Lists {
    v4: Table<BlockKey4, BlockEntry>,
    v6: Table<BlockKey6, BlockEntry>,
    tuples: Table<BlockTuple, BlockEntry>,
    exempt: PrefixMap<ExemptEntry>,
    reasons: Reasons,
    filter: Prefilter,
    recent: Recent,
}

/// An entry by what it covers.
type Entry = (IpNet, Scope, BlockEntry);

impl Lists {
    /// Opens the pinned maps below `configured`, the pin directory without the layout version.
    ///
    /// # Errors
    /// If no agent has pinned any, or this process may not open them.
    pub(crate) fn open(configured: &Path) -> Result<Self> {
        Self::open_pins(&Pins::below(configured))
    }

    pub(super) fn open_pins(pins: &Pins) -> Result<Self> {
        if !pins.exist() {
            bail!(
                "no block list is loaded at `{}`: start the agent once (`sensor-agent run`), or give its `--config`",
                pins.folder().display()
            );
        }
        let filter = Prefilter::open(pins)?;
        let recent = Recent::open(pins, &filter)?;
        Ok(Self {
            v4: Table::open(pins, map::BLOCK4)?,
            v6: Table::open(pins, map::BLOCK6)?,
            tuples: Table::open(pins, map::BLOCK_TUPLE)?,
            exempt: PrefixMap::open(pins, map::EXEMPT4, map::EXEMPT6)?,
            reasons: Reasons::open(pins)?,
            filter,
            recent,
        })
    }

    /// Entries per family that fit.
    pub(crate) fn capacity(&self) -> u32 {
        self.v4.capacity()
    }

    /// How often the prefilter was built.
    #[cfg(test)]
    pub(in crate::kernel) fn builds(&self) -> u32 {
        self.filter.generation().load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Makes or replaces an entry. An exemption inside a blocked prefix is allowed: it wins in the kernel.
    ///
    /// # Errors
    /// If an exemption covers the whole target, or the map is full.
    pub(crate) fn block(&mut self, new: &NewBlock) -> Result<()> {
        if let Some(covering) = self.exemption_of(new.target)? {
            bail!(
                "`{}` is exempt by {} ({}): remove the exemption first with `sensor-agent allow remove {}`",
                shown(new.target),
                shown(covering.target),
                covering.origin.name(),
                shown(covering.target)
            );
        }
        if self.filter.is_crowded(Sizes::of(&[new.target])) {
            self.rebuild(&[])?;
        }
        let entry = self.entry(new);
        self.write(new.target, new.scope, entry)
    }

    /// Makes or replaces many entries, all for the whole host. What an exemption covers is to be left out by the caller.
    ///
    /// # Errors
    /// If a list is full; the error says how many entries were made, in the order given, IPv4 first.
    pub(crate) fn block_many(&mut self, new: &[NewBlock]) -> Result<()> {
        let targets: Vec<IpNet> = new.iter().map(|new| new.target).collect();
        if self.filter.is_crowded(Sizes::of(&targets)) {
            self.rebuild(&targets)?;
        }
        let marks: Vec<_> =
            targets.iter().map(|target| (*target, self.filter.mark(Kind::Block, *target))).collect();
        let (mut v4, mut v6) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        for new in new {
            let entry = self.entry(new);
            match key(new.target, Scope::Host) {
                Key::V4(key) => {
                    v4.0.push(key);
                    v4.1.push(entry);
                }
                Key::V6(key) => {
                    v6.0.push(key);
                    v6.1.push(entry);
                }
                Key::Tuple(_) => {}
            }
        }
        let written = self.v4.insert_all(&v4.0, &v4.1).and_then(|()| {
            self.v6
                .insert_all(&v6.0, &v6.1)
                .map_err(|stopped| Stopped { done: v4.0.len() + stopped.done, ..stopped })
        });
        for (target, mark) in marks {
            self.filter.settle(Kind::Block, target, mark);
        }
        // Some may have taken the place of others.
        self.filter.changed();
        written.map_err(|stopped| self.stopped(&stopped))
    }

    /// Removes an entry; false if there was none.
    pub(crate) fn unblock(&mut self, target: IpNet, scope: Scope) -> Result<bool> {
        let removed = match key(target, scope) {
            Key::V4(key) => self.v4.remove(key),
            Key::V6(key) => self.v6.remove(key),
            Key::Tuple(key) => self.tuples.remove(key),
        };
        self.filter.changed();
        removed
    }

    /// Removes many entries; those that are gone already are as good.
    pub(crate) fn unblock_many(&mut self, targets: &[(IpNet, Scope)]) -> Result<()> {
        let (mut v4, mut v6, mut tuples) = (Vec::new(), Vec::new(), Vec::new());
        for (target, scope) in targets {
            match key(*target, *scope) {
                Key::V4(key) => v4.push(key),
                Key::V6(key) => v6.push(key),
                Key::Tuple(key) => tuples.push(key),
            }
        }
        let removed = self
            .v4
            .remove_all(&v4)
            .and_then(|()| self.v6.remove_all(&v6))
            .and_then(|()| self.tuples.remove_all(&tuples));
        self.filter.changed();
        removed
    }

    /// All entries that have not expired, in address order.
    pub(crate) fn blocked(&self) -> Result<Vec<Blocked>> {
        let now = boot_nanos();
        let reasons = self.reasons.all()?;
        let entries = self.entries()?;
        let unheard = self.recent.unheard();
        let mut blocked: Vec<_> = entries
            .into_iter()
            .filter(|(_, _, entry)| live(entry, now))
            .map(|(target, scope, entry)| {
                let entry = heard(&unheard, target, scope, entry);
                describe(target, scope, &entry, now, reasons.get(&entry.reason).cloned().unwrap_or_default())
            })
            .collect();
        blocked.sort_by_key(|entry| (entry.target, entry.scope));
        Ok(blocked)
    }

    /// One entry, if it has not expired.
    pub(crate) fn find(&self, target: IpNet, scope: Scope) -> Result<Option<Blocked>> {
        let now = boot_nanos();
        let entry = self.get(target, scope)?.filter(|entry| live(entry, now));
        Ok(entry.map(|entry| {
            let entry = heard(&self.recent.unheard(), target, scope, entry);
            describe(target, scope, &entry, now, self.reasons.text(entry.reason))
        }))
    }

    /// Text of a reason's number.
    pub(crate) fn reason(&self, number: u32) -> String {
        self.reasons.text(number)
    }

    /// From how many connection attempts a second of one source more are dropped (0: none are), whether segments with flags that no stack
    /// sends are, and into which tunnels the firewall looks ([`sensor_common::settings::tunnel`]).
    pub(crate) fn configure(&self, syn_limit: u32, drop_odd_flags: bool, tunnels: u32) {
        self.filter
            .setting(field!(FirewallState, drop_odd_flags))
            .store(u32::from(drop_odd_flags), Ordering::SeqCst);
        self.filter.setting(field!(FirewallState, syn_limit)).store(syn_limit, Ordering::SeqCst);
        self.filter.setting(field!(FirewallState, tunnels)).store(tunnels, Ordering::SeqCst);
    }

    fn targets(&self) -> Result<Vec<IpNet>> {
        Ok(self.entries()?.into_iter().map(|(target, _, _)| target).collect())
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let v4 = self.v4.entries().context("the IPv4 block list cannot be read")?;
        let v6 = self.v6.entries().context("the IPv6 block list cannot be read")?;
        let tuples = self.tuples.entries().context("the list of blocked connections cannot be read")?;
        let v4 = v4.into_iter().filter_map(|(key, entry)| Some((keys::target_v4(&key)?, entry)));
        let v6 = v6.into_iter().filter_map(|(key, entry)| Some((keys::target_v6(&key)?, entry)));
        let tuples = tuples.into_iter().map(|(key, entry)| (keys::target_tuple(&key), entry));
        Ok(v4.chain(v6).chain(tuples).map(|((target, scope), entry)| (target, scope, entry)).collect())
    }

    fn get(&self, target: IpNet, scope: Scope) -> Result<Option<BlockEntry>> {
        match key(target, scope) {
            Key::V4(key) => self.v4.get(key),
            Key::V6(key) => self.v6.get(key),
            Key::Tuple(key) => self.tuples.get(key),
        }
    }

    /// The entry that a wish becomes.
    fn entry(&mut self, new: &NewBlock) -> BlockEntry {
        let expires_ns = new.lasts.map_or(NEVER, |lasts| {
            boot_nanos().saturating_add(u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX)).max(1)
        });
        let automatic = if new.origin == Origin::Verdict { AUTOMATIC } else { 0 };
        BlockEntry {
            expires_ns,
            flags: automatic | if new.shadow { SHADOW } else { 0 },
            origin: new.origin.code(),
            reason: self.reasons.number(&new.reason),
            created_unix_s: unix_seconds(),
            ..BlockEntry::default()
        }
    }

    /// Marks and writes an entry. Hits of one that is replaced go on counting.
    fn write(&mut self, target: IpNet, scope: Scope, entry: BlockEntry) -> Result<()> {
        let replaced = self.get(target, scope)?;
        let old = replaced.unwrap_or_default();
        let entry = BlockEntry { hits: old.hits, last_hit_ns: old.last_hit_ns, ..entry };
        self.announce(scope);
        let mark = self.filter.mark(Kind::Block, target);
        let written = match key(target, scope) {
            Key::V4(key) => self.v4.insert(key, entry),
            Key::V6(key) => self.v6.insert(key, entry),
            Key::Tuple(key) => self.tuples.insert(key, entry),
        };
        self.filter.settle(Kind::Block, target, mark);
        if replaced.is_some() {
            self.filter.changed();
        }
        written.map_err(|error| full(error, &shown(target)))
    }

    /// Tells the program that entries of this scope exist: until then it does not look for them.
    fn announce(&self, scope: Scope) {
        match scope {
            Scope::Host => return,
            Scope::Port(_) => self.filter.setting(field!(FirewallState, ports_in_use)),
            Scope::Connection { .. } => self.filter.setting(field!(FirewallState, tuples_in_use)),
        }
        .store(1, Ordering::SeqCst);
    }

    fn stopped(&self, stopped: &Stopped) -> anyhow::Error {
        let done = stopped.done;
        match stopped.error.raw_os_error() {
            Some(libc::E2BIG | libc::ENOSPC) => anyhow::anyhow!(
                "the list is full: {done} entries were made, and there is room for {} of each family; raise \
                 `limits.max_blocked` and restart the agent",
                self.capacity()
            ),
            _ => anyhow::anyhow!("{done} entries were made, then the kernel refused: {}", stopped.error),
        }
    }
}

/// Opens a pinned map.
pub(super) fn open_map(pins: &Pins, name: &str) -> Result<Map> {
    let path = pins.map(name);
    let data = MapData::from_pin(&path).with_context(|| {
        format!("cannot open the map `{}`: is the agent's user the same, with CAP_BPF?", path.display())
    })?;
    Ok(Map::from_map_data(data)?)
}

/// Says that a map is full in words that lead on.
pub(super) fn full(error: MapError, target: &str) -> anyhow::Error {
    match table::errno(&error) {
        Some(libc::E2BIG | libc::ENOSPC) => {
            anyhow::anyhow!(
                "the list is full: cannot add `{target}`; remove entries with `sensor-agent block remove`, or raise \
                 `limits.max_blocked` and restart the agent"
            )
        }
        _ => anyhow::Error::new(error).context(format!("cannot write the entry of `{target}`")),
    }
}
