//! The block and exemption lists as they stand in the pinned maps. They are the truth about enforcement, and they can
//! be read and changed while no agent runs.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use ipnet::IpNet;
use sensor_common::block::{
    AUTOMATIC, BlockEntry, BlockNote, ExemptEntry, NEVER, NoteKey, REASON_LEN, SHADOW, origin,
};
use sensor_common::map;
use sensor_common::record::mapped;
use sensor_common::settings::XdpSettings;

use super::clock::boot_nanos;
use super::pins::Pins;
use super::prefix_map::{AddressMap, PrefixMap};
use super::wire::Wire;

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
    addresses: AddressMap<BlockEntry>,
    prefixes: PrefixMap<BlockEntry>,
    exempt: PrefixMap<ExemptEntry>,
    notes: HashMap<MapData, Wire<NoteKey>, Wire<BlockNote>>,
    settings: Array<MapData, Wire<XdpSettings>>,
}

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
        Ok(Self {
            addresses: AddressMap::open(pins, map::BLOCK4, map::BLOCK6)?,
            prefixes: PrefixMap::open(pins, map::BLOCK_NET4, map::BLOCK_NET6)?,
            exempt: PrefixMap::open(pins, map::EXEMPT4, map::EXEMPT6)?,
            notes: HashMap::try_from(open_map(pins, map::NOTES)?)?,
            settings: Array::try_from(open_map(pins, map::XDP_SETTINGS)?)?,
        })
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
        let expires_ns = new.lasts.map_or(NEVER, |lasts| {
            boot_nanos().saturating_add(u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX)).max(1)
        });
        self.write(new.target, expires_ns, new.shadow, new.origin, &new.reason)
    }

    /// Blocks `source` until the boot-clock time `until_ns`, as the sensor's own verdict.
    pub(crate) fn block_automatically(
        &mut self,
        source: IpAddr,
        until_ns: u64,
        shadow: bool,
        reason: &str,
    ) -> Result<Applied> {
        let target = IpNet::from(source);
        let now = boot_nanos();
        if until_ns <= now {
            return Ok(Applied::Over);
        }
        if self.exempt.covering(source)?.is_some() {
            return Ok(Applied::Exempt);
        }
        let present = self.addresses.get(source)?.filter(|entry| live(entry, now));
        if present.is_some_and(|entry| entry.flags & AUTOMATIC == 0) {
            return Ok(Applied::Kept);
        }
        self.write(target, until_ns, shadow, Origin::Verdict, reason)?;
        Ok(Applied::InForce)
    }

    /// Removes an entry; false if there was none.
    pub(crate) fn unblock(&mut self, target: IpNet) -> Result<bool> {
        let removed = match single(target) {
            Some(address) => self.addresses.remove(address)?,
            None => self.prefixes.remove(target)?,
        };
        let _ = self.notes.remove(&Wire(note_key(target)));
        Ok(removed)
    }

    /// All entries that have not expired, in address order.
    pub(crate) fn blocked(&self) -> Result<Vec<Blocked>> {
        let now = boot_nanos();
        let entries = self.entries()?.into_iter().filter(|(_, entry)| live(entry, now));
        let mut blocked: Vec<_> = entries.map(|(target, entry)| self.describe(target, &entry, now)).collect();
        blocked.sort_by_key(|entry| entry.target);
        Ok(blocked)
    }

    /// Makes an exemption; it counts at once and beats every block.
    pub(crate) fn exempt(&mut self, target: IpNet, origin: Origin) -> Result<()> {
        self.exempt.insert(target, ExemptEntry { origin: origin.code() })
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
        let settings = XdpSettings { automatic_suspended: u32::from(suspended), reserved: 0 };
        self.settings.set(0, Wire(settings), 0).context("cannot write the firewall's settings")
    }

    /// Whether automatic blocks are suspended.
    pub(crate) fn automatic_suspended(&self) -> Result<bool> {
        let settings = self.settings.get(&0, 0).context("cannot read the firewall's settings")?;
        Ok(settings.0.automatic_suspended != 0)
    }

    /// Removes every automatic entry; returns how many there were.
    pub(crate) fn lift_automatic(&mut self) -> Result<usize> {
        let mut automatic = self.entries()?;
        automatic.retain(|(_, entry)| entry.flags & AUTOMATIC != 0);
        for (target, _) in &automatic {
            self.unblock(*target)?;
        }
        Ok(automatic.len())
    }

    /// Removes entries that have expired; the kernel has ignored them since. Returns how many entries there are left.
    pub(crate) fn sweep(&mut self) -> Result<usize> {
        let now = boot_nanos();
        let all = self.entries()?;
        let expired: Vec<_> = all.iter().filter(|(_, entry)| !live(entry, now)).collect();
        for (target, _) in &expired {
            self.unblock(*target)?;
        }
        Ok(all.len() - expired.len())
    }

    fn entries(&self) -> Result<Vec<(IpNet, BlockEntry)>> {
        let mut entries = self.addresses.entries()?;
        entries.extend(self.prefixes.entries()?);
        Ok(entries)
    }

    /// Hits of an entry that is replaced go on counting.
    fn write(
        &mut self,
        target: IpNet,
        expires_ns: u64,
        shadow: bool,
        origin: Origin,
        reason: &str,
    ) -> Result<()> {
        let automatic = if origin == Origin::Verdict { AUTOMATIC } else { 0 };
        let flags = automatic | if shadow { SHADOW } else { 0 };
        let entry = BlockEntry { expires_ns, flags, ..BlockEntry::default() };
        match single(target) {
            Some(address) => {
                let old = self.addresses.get(address)?.unwrap_or_default();
                self.addresses
                    .insert(address, BlockEntry { hits: old.hits, last_hit_ns: old.last_hit_ns, ..entry })?;
            }
            None => self.prefixes.insert(target, entry)?,
        }
        let note = note(origin, reason);
        let noted = self.notes.insert(Wire(note_key(target)), Wire(note), 0);
        noted.context("the block is in force, but its reason could not be stored")
    }

    /// An exemption that covers all of `target`.
    fn exemption_of(&self, target: IpNet) -> Result<Option<Exemption>> {
        let exemptions = self.exemptions()?;
        Ok(exemptions.into_iter().find(|exemption| exemption.target.contains(&target)))
    }

    fn describe(&self, target: IpNet, entry: &BlockEntry, now: u64) -> Blocked {
        let note = self.notes.get(&Wire(note_key(target)), 0).ok().map(|note| note.0);
        let fallback = if entry.flags & AUTOMATIC != 0 { Origin::Verdict } else { Origin::Operator };
        Blocked {
            target,
            remaining: (entry.expires_ns != NEVER)
                .then(|| Duration::from_nanos(entry.expires_ns.saturating_sub(now))),
            shadow: entry.flags & SHADOW != 0,
            origin: note.map_or(fallback, |note| Origin::from_code(note.origin)),
            reason: note.map(|note| reason_of(&note)).unwrap_or_default(),
            created_unix_ms: note.map(|note| note.created_unix_ms),
            hits: entry.hits,
            last_hit_ago: (entry.last_hit_ns != 0)
                .then(|| Duration::from_nanos(now.saturating_sub(entry.last_hit_ns))),
        }
    }
}

/// A target as people write it: an address without its full prefix length.
pub(crate) fn shown(target: IpNet) -> String {
    single(target).map_or_else(|| target.to_string(), |address| address.to_string())
}

/// The address, if the prefix is one.
fn single(target: IpNet) -> Option<IpAddr> {
    (target.prefix_len() == target.max_prefix_len()).then(|| target.addr())
}

fn live(entry: &BlockEntry, now: u64) -> bool {
    entry.expires_ns == NEVER || entry.expires_ns > now
}

fn note_key(target: IpNet) -> NoteKey {
    let address = match target.network() {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    };
    // Both families share the key: an IPv6 prefix inside ::ffff:0:0/96 is never blocked as IPv6 (packets carry IPv4).
    NoteKey { address, prefix_len: u32::from(target.prefix_len()) | u32::from(target.addr().is_ipv6()) << 8 }
}

fn note(origin: Origin, reason: &str) -> BlockNote {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let cut = reason.floor_char_boundary(REASON_LEN);
    let mut bytes = [0; REASON_LEN];
    bytes[..cut].copy_from_slice(&reason.as_bytes()[..cut]);
    BlockNote {
        created_unix_ms: u64::try_from(created.as_millis()).unwrap_or(u64::MAX),
        origin: origin.code(),
        reason_len: cut as u32,
        reason: bytes,
    }
}

fn reason_of(note: &BlockNote) -> String {
    let len = (note.reason_len as usize).min(REASON_LEN);
    String::from_utf8_lossy(&note.reason[..len]).into_owned()
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
    let errno = std::error::Error::source(&error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .and_then(std::io::Error::raw_os_error);
    match errno {
        Some(libc::E2BIG | libc::ENOSPC) => {
            anyhow::anyhow!(
                "the list is full: cannot add `{target}`; remove entries with `sensor-agent block remove`"
            )
        }
        _ => anyhow::Error::new(error).context(format!("cannot write the entry of `{target}`")),
    }
}
