//! The sensor's own entries: they take nobody else's place, end by themselves, and are suspended and lifted together.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use anyhow::Result;
use ipnet::IpNet;
use sensor_common::block::{AUTOMATIC, BlockEntry, SHADOW, STRAYS, origin};
use sensor_common::settings::FirewallState;

use super::Lists;
use super::entry::{Applied, live, unix_seconds};
use super::keys::Scope;
use crate::kernel::clock::boot_nanos;
use crate::kernel::prefilter::field;

impl Lists {
    /// Blocks `source` until the boot-clock time `until_ns`, as the sensor's own verdict.
    pub(crate) fn block_automatically(
        &mut self,
        whom: (IpAddr, IpNet),
        until_ns: u64,
        shadow: bool,
        reason: &str,
    ) -> Result<Applied> {
        let flags = AUTOMATIC | if shadow { SHADOW } else { 0 };
        self.automatic(whom, until_ns, flags, reason)
    }

    /// Lets only those segments of `source` through that have a connection or open one, until the boot-clock time `until_ns`. Such an
    /// entry takes no other's place.
    pub(crate) fn drop_strays(&mut self, source: IpAddr, until_ns: u64, reason: &str) -> Result<Applied> {
        self.automatic((source, source.into()), until_ns, AUTOMATIC | STRAYS, reason)
    }

    fn automatic(
        &mut self,
        (source, target): (IpAddr, IpNet),
        until_ns: u64,
        flags: u32,
        reason: &str,
    ) -> Result<Applied> {
        let now = boot_nanos();
        if until_ns <= now {
            return Ok(Applied::Over);
        }
        if self.exempt.covering(source)?.is_some() {
            return Ok(Applied::Exempt);
        }
        let present = self.get(target, Scope::Host)?.filter(|entry| live(entry, now));
        let outweighs =
            |entry: BlockEntry| entry.flags & AUTOMATIC == 0 || flags & STRAYS & !entry.flags != 0;
        if present.is_some_and(outweighs) {
            return Ok(Applied::Kept);
        }
        // A shorter block does not end a longer one.
        let longer = present.filter(|entry| entry.flags == flags).map_or(0, |entry| entry.expires_ns);
        let entry = BlockEntry {
            expires_ns: until_ns.max(longer),
            flags,
            origin: origin::VERDICT,
            reason: self.reasons.number(reason),
            created_unix_s: unix_seconds(),
            ..BlockEntry::default()
        };
        self.write(target, Scope::Host, entry)?;
        Ok(Applied::InForce)
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

    fn suspended(&self) -> &std::sync::atomic::AtomicU32 {
        self.filter.setting(field!(FirewallState, automatic_suspended))
    }
}
