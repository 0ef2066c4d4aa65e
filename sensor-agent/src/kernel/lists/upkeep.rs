//! What keeps the lists in order: expired entries go, prefilters follow, and lists of another size take over what there is.

use std::collections::BTreeSet;

use anyhow::Result;
use ipnet::IpNet;
use sensor_common::block::BlockEntry;

use super::entry::{heard, live};
use super::keys::{self, Scope};
use super::{Entry, Lists};
use crate::kernel::clock::boot_nanos;
use crate::kernel::prefilter::{Kind, Sizes};

/// Marks of entries that are gone which are not worth a new build.
const CLUTTER: u64 = 4096;

impl Lists {
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
    pub(in crate::kernel) fn copy_from(&mut self, old: &Self) -> Result<()> {
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
    pub(in crate::kernel) fn rebuild(&self, coming: &[IpNet]) -> Result<()> {
        let mut sizes = Sizes::default();
        self.targets()?.iter().chain(coming).for_each(|target| sizes.add(*target));
        self.filter.build(sizes, || {
            let exemptions = self.exempt.entries()?.into_iter().map(|(target, _)| target).collect();
            Ok((self.targets()?, exemptions))
        })
    }
}

fn expired_share(all: &[Entry], now: u64) -> usize {
    all.iter().filter(|(_, _, entry)| !live(entry, now)).count()
}
