//! The block and exemption lists as they stand in the pinned maps. They are the truth about enforcement, and they can
//! be read and changed while no agent runs.
//!
//! Every entry is marked in the prefilter before it is made ([`Prefilter`]). Nobody waits for a lock: a worker that
//! blocks a source does so between two packets.

mod keys;
mod reasons;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use aya::maps::{Map, MapData, MapError};
use ipnet::IpNet;
use sensor_common::block::{
    AUTOMATIC, BlockEntry, BlockKey4, BlockKey6, BlockTuple, ExemptEntry, NEVER, SHADOW, STRAYS, origin,
};
use sensor_common::map;
use sensor_common::settings::FirewallState;

use super::batch::Stopped;
use super::clock::boot_nanos;
use super::pins::Pins;
use super::prefilter::{Kind, Prefilter, Sizes, field};
use super::prefix_map::PrefixMap;
use super::recent::{Recent, Unheard};
use super::table::{self, Table};
pub(crate) use keys::Scope;
use keys::{Key, key};
use reasons::Reasons;

/// Who made an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An operator, by command line or API.
    Operator,
    /// The sensor's own verdict.
    Verdict,
    /// An imported list.
    Import,
    /// The configuration file.
    Configuration,
    /// Read from the host: own addresses, gateways, resolvers.
    Host,
}

impl Origin {
    /// Name in output.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Verdict => "verdict",
            Self::Import => "import",
            Self::Configuration => "configuration",
            Self::Host => "host",
        }
    }

    const fn code(self) -> u32 {
        match self {
            Self::Operator => origin::OPERATOR,
            Self::Verdict => origin::VERDICT,
            Self::Import => origin::IMPORT,
            Self::Configuration => origin::CONFIGURATION,
            Self::Host => origin::HOST,
        }
    }

    const fn from_code(code: u32) -> Self {
        match code {
            origin::VERDICT => Self::Verdict,
            origin::IMPORT => Self::Import,
            origin::CONFIGURATION => Self::Configuration,
            origin::HOST => Self::Host,
            _ => Self::Operator,
        }
    }
}

/// An entry to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewBlock {
    /// The address (a full-length prefix) or prefix.
    pub(crate) target: IpNet,
    /// What of the host is closed to it.
    pub(crate) scope: Scope,
    /// How long from now; `None` for good.
    pub(crate) lasts: Option<Duration>,
    /// Count matches, but drop nothing.
    pub(crate) shadow: bool,
    /// Who makes it. `Verdict` entries are the automatic ones.
    pub(crate) origin: Origin,
    /// One line.
    pub(crate) reason: String,
}

/// An entry as the kernel has it.
#[derive(Clone, Debug)]
pub(crate) struct Blocked {
    /// The address or prefix.
    pub(crate) target: IpNet,
    /// What of the host is closed to it.
    pub(crate) scope: Scope,
    /// How long it still counts; `None` for good. Expired entries are not listed.
    pub(crate) remaining: Option<Duration>,
    /// Matches are counted and pass.
    pub(crate) shadow: bool,
    /// Who made it.
    pub(crate) origin: Origin,
    /// Why.
    pub(crate) reason: String,
    /// When it was made, milliseconds since 1970; `None` if unknown.
    pub(crate) created_unix_ms: Option<u64>,
    /// Packets that matched.
    pub(crate) hits: u64,
    /// Time since the last match, if there was one.
    pub(crate) last_hit_ago: Option<Duration>,
}

/// An exempt prefix.
#[derive(Clone, Debug)]
pub(crate) struct Exemption {
    /// The prefix.
    pub(crate) target: IpNet,
    /// Who made it.
    pub(crate) origin: Origin,
}

/// What became of an automatic block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The entry is in force.
    InForce,
    /// An exemption covers the address: nothing was written.
    Exempt,
    /// An operator's or imported entry already covers exactly this address: it stays as it is.
    Kept,
    /// The block has ended before it was written.
    Over,
}

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
        if self.filter.is_crowded(1) {
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
        if self.filter.is_crowded(targets.len() as u64) {
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

    /// Blocks `source` until the boot-clock time `until_ns`, as the sensor's own verdict.
    pub(crate) fn block_automatically(
        &mut self,
        source: IpAddr,
        until_ns: u64,
        shadow: bool,
        reason: &str,
    ) -> Result<Applied> {
        let flags = AUTOMATIC | if shadow { SHADOW } else { 0 };
        self.automatic(source, until_ns, flags, reason)
    }

    /// Lets only those segments of `source` through that have a connection or open one, until the boot-clock time `until_ns`. Such an
    /// entry takes no other's place.
    pub(crate) fn drop_strays(&mut self, source: IpAddr, until_ns: u64, reason: &str) -> Result<Applied> {
        self.automatic(source, until_ns, AUTOMATIC | STRAYS, reason)
    }

    fn automatic(&mut self, source: IpAddr, until_ns: u64, flags: u32, reason: &str) -> Result<Applied> {
        let now = boot_nanos();
        if until_ns <= now {
            return Ok(Applied::Over);
        }
        if self.exempt.covering(source)?.is_some() {
            return Ok(Applied::Exempt);
        }
        let target = IpNet::from(source);
        let present = self.get(target, Scope::Host)?.filter(|entry| live(entry, now));
        let outweighs =
            |entry: BlockEntry| entry.flags & AUTOMATIC == 0 || flags & STRAYS & !entry.flags != 0;
        if present.is_some_and(outweighs) {
            return Ok(Applied::Kept);
        }
        let entry = BlockEntry {
            expires_ns: until_ns,
            flags,
            origin: origin::VERDICT,
            reason: self.reasons.number(reason),
            created_unix_s: unix_seconds(),
            ..BlockEntry::default()
        };
        self.write(target, Scope::Host, entry)?;
        Ok(Applied::InForce)
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

    /// Makes an exemption; it counts at once and beats every block.
    pub(crate) fn exempt(&mut self, target: IpNet, origin: Origin) -> Result<()> {
        let mark = self.filter.mark(Kind::Exempt, target);
        let made = self.exempt.insert(target, ExemptEntry { origin: origin.code() });
        self.filter.settle(Kind::Exempt, target, mark);
        self.filter.changed();
        made
    }

    /// Removes an exemption that an operator made; false if there is none. What the configuration or the host demands stays.
    pub(crate) fn unexempt(&mut self, target: IpNet) -> Result<bool> {
        let present = self.exemptions()?.into_iter().find(|exemption| exemption.target == target);
        match present.map(|exemption| exemption.origin) {
            Some(Origin::Operator | Origin::Import) => self.exempt.remove(target),
            _ => Ok(false),
        }
    }

    /// All exemptions, in address order.
    pub(crate) fn exemptions(&self) -> Result<Vec<Exemption>> {
        let entries = self.exempt.entries()?.into_iter();
        let mut exemptions: Vec<_> = entries
            .map(|(target, entry)| Exemption { target, origin: Origin::from_code(entry.origin) })
            .collect();
        exemptions.sort_by_key(|exemption| exemption.target);
        Ok(exemptions)
    }

    /// Makes the exemptions of these origins exactly `wanted`. New ones are written before old ones go.
    pub(crate) fn reconcile_exemptions(&mut self, wanted: &[Exemption], owned: &[Origin]) -> Result<()> {
        let present = self.exemptions()?;
        let missing = wanted.iter().filter(|new| !present.iter().any(|old| old.target == new.target));
        for exemption in missing {
            self.exempt(exemption.target, exemption.origin)?;
        }
        let surplus = present.iter().filter(|old| owned.contains(&old.origin));
        for exemption in surplus.filter(|old| !wanted.iter().any(|new| new.target == old.target)) {
            self.exempt.remove(exemption.target)?;
        }
        Ok(())
    }

    /// Suspends (or resumes) all automatic blocks in the kernel at once.
    pub(crate) fn suspend_automatic(&mut self, suspended: bool) -> Result<()> {
        self.suspended().store(u32::from(suspended), Ordering::SeqCst);
        self.filter.changed();
        Ok(())
    }

    /// Whether automatic blocks are suspended.
    pub(crate) fn automatic_suspended(&self) -> Result<bool> {
        Ok(self.suspended().load(Ordering::SeqCst) != 0)
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

    /// Removes every automatic entry; returns how many there were.
    pub(crate) fn lift_automatic(&mut self) -> Result<usize> {
        let entries = self.entries()?.into_iter();
        let automatic: Vec<_> = entries
            .filter(|(_, _, entry)| entry.flags & AUTOMATIC != 0)
            .map(|(target, scope, _)| (target, scope))
            .collect();
        self.unblock_many(&automatic)?;
        Ok(automatic.len())
    }

    /// Removes entries that have expired (the kernel has ignored them since) and reasons that nobody names, and builds the prefilter
    /// anew if it holds many more marks than entries. Returns how many entries there are left.
    pub(crate) fn sweep(&mut self) -> Result<usize> {
        let now = boot_nanos();
        let all = self.entries()?;
        let expired: Vec<_> = all
            .iter()
            .filter(|(_, _, entry)| !live(entry, now))
            .map(|(target, scope, _)| (*target, *scope))
            .collect();
        // An entry that was renewed since it was read must stay: only those that still are expired go.
        for (target, scope) in &expired {
            if self.get(*target, *scope)?.is_some_and(|entry| !live(&entry, boot_nanos())) {
                self.unblock(*target, *scope)?;
            }
        }
        self.forget_reasons(&all, now)?;
        let mut sizes = Sizes::default();
        all.iter().for_each(|(target, _, _)| sizes.add(*target));
        if self.filter.marked() > 2 * sizes.total() + CLUTTER {
            self.rebuild(&[])?;
        }
        Ok(all.len() - expired.len())
    }

    /// A reason whose entries were all older than a sweep ago and are gone is forgotten; one just given out may not be in an entry yet.
    fn forget_reasons(&mut self, all: &[Entry], now: u64) -> Result<()> {
        if expired_share(all, now) == 0 {
            return Ok(());
        }
        let after: BTreeSet<u32> = self.entries()?.into_iter().map(|(_, _, entry)| entry.reason).collect();
        let before: BTreeSet<u32> = all.iter().map(|(_, _, entry)| entry.reason).collect();
        self.reasons.forget(before.difference(&after).copied())
    }

    /// Takes over the entries, exemptions and settings of other lists. Reasons keep their numbers where both have the same table.
    pub(super) fn copy_from(&mut self, old: &Self) -> Result<()> {
        let (v4, v6) = (old.v4.entries()?, old.v6.entries()?);
        let unheard = old.recent.unheard();
        let complete = |target: Option<(IpNet, Scope)>, entry: BlockEntry| {
            target.map_or(entry, |(target, scope)| heard(&unheard, target, scope, entry))
        };
        let v4 = v4.into_iter().map(|(key, entry)| (key, complete(keys::target_v4(&key), entry)));
        let v6 = v6.into_iter().map(|(key, entry)| (key, complete(keys::target_v6(&key), entry)));
        for exemption in old.exemptions()? {
            self.exempt(exemption.target, exemption.origin)?;
        }
        let targets: Vec<IpNet> = old.targets()?;
        self.rebuild(&targets)?;
        for target in targets {
            let _ = self.filter.mark(Kind::Block, target);
        }
        let (keys, entries): (Vec<_>, Vec<_>) = v4.unzip();
        self.v4.insert_all(&keys, &entries).map_err(|stopped| self.stopped(&stopped))?;
        let (keys, entries): (Vec<_>, Vec<_>) = v6.unzip();
        self.v6.insert_all(&keys, &entries).map_err(|stopped| self.stopped(&stopped))?;
        self.suspend_automatic(old.automatic_suspended()?)?;
        self.announce(Scope::Port(1));
        self.announce(Scope::Connection { source_port: 0, destination: ([0, 0, 0, 0], 0).into() });
        Ok(())
    }

    /// Builds the prefilter anew, sized to what is listed and `coming`.
    pub(super) fn rebuild(&self, coming: &[IpNet]) -> Result<()> {
        let mut sizes = Sizes::default();
        self.targets()?.iter().chain(coming).for_each(|target| sizes.add(*target));
        self.filter.build(sizes, || {
            let exemptions = self.exempt.entries()?.into_iter().map(|(target, _)| target).collect();
            Ok((self.targets()?, exemptions))
        })
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

    fn suspended(&self) -> &std::sync::atomic::AtomicU32 {
        self.filter.setting(field!(FirewallState, automatic_suspended))
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

    /// An exemption that covers all of `target`.
    fn exemption_of(&self, target: IpNet) -> Result<Option<Exemption>> {
        let exemptions = self.exemptions()?;
        Ok(exemptions.into_iter().find(|exemption| exemption.target.contains(&target)))
    }
}

/// Marks of entries that are gone which are not worth a new build.
const CLUTTER: u64 = 4096;

fn expired_share(all: &[Entry], now: u64) -> usize {
    all.iter().filter(|(_, _, entry)| !live(entry, now)).count()
}

/// The entry with the drops of the last second.
fn heard(unheard: &Unheard, target: IpNet, scope: Scope, entry: BlockEntry) -> BlockEntry {
    if scope == Scope::Host { unheard.complete(target, entry) } else { entry }
}

fn describe(target: IpNet, scope: Scope, entry: &BlockEntry, now: u64, reason: String) -> Blocked {
    Blocked {
        target,
        scope,
        remaining: (entry.expires_ns != NEVER)
            .then(|| Duration::from_nanos(entry.expires_ns.saturating_sub(now))),
        shadow: entry.flags & SHADOW != 0,
        origin: Origin::from_code(entry.origin),
        reason,
        created_unix_ms: (entry.created_unix_s != 0).then(|| u64::from(entry.created_unix_s) * 1000),
        hits: entry.hits,
        last_hit_ago: (entry.last_hit_ns != 0)
            .then(|| Duration::from_nanos(now.saturating_sub(entry.last_hit_ns))),
    }
}

fn unix_seconds() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

/// A target as people write it: an address without its full prefix length.
pub(crate) fn shown(target: IpNet) -> String {
    if target.prefix_len() == target.max_prefix_len() {
        target.addr().to_string()
    } else {
        target.to_string()
    }
}

fn live(entry: &BlockEntry, now: u64) -> bool {
    entry.expires_ns == NEVER || entry.expires_ns > now
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
