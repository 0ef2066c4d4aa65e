//! Lists without a kernel, for tests of what stands on top of them.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::kernel::lists::{Blocked, Exemption, NewBlock, Origin, Scope};

/// The lists of a test.
#[derive(Debug, Default)]
pub(super) struct Memory {
    entries: BTreeMap<(IpNet, Scope), NewBlock>,
    exemptions: BTreeMap<IpNet, Origin>,
    suspended: bool,
}

impl Memory {
    pub(super) fn block(&mut self, new: &NewBlock) -> anyhow::Result<()> {
        self.entries.insert((new.target, new.scope), new.clone());
        Ok(())
    }

    pub(super) fn block_many(&mut self, new: &[NewBlock]) -> anyhow::Result<()> {
        new.iter().try_for_each(|new| self.block(new))
    }

    pub(super) fn unblock(&mut self, target: IpNet, scope: Scope) -> anyhow::Result<bool> {
        Ok(self.entries.remove(&(target, scope)).is_some())
    }

    pub(super) fn find(&self, target: IpNet, scope: Scope) -> anyhow::Result<Option<Blocked>> {
        Ok(self.blocked()?.into_iter().find(|entry| (entry.target, entry.scope) == (target, scope)))
    }

    pub(super) fn blocked(&self) -> anyhow::Result<Vec<Blocked>> {
        let entry = |new: &NewBlock| Blocked {
            target: new.target,
            scope: new.scope,
            remaining: new.lasts,
            shadow: new.shadow,
            origin: new.origin,
            reason: new.reason.clone(),
            created_unix_ms: Some(1_767_323_045_000),
            hits: 0,
            last_hit_ago: None,
        };
        Ok(self.entries.values().map(entry).collect())
    }

    pub(super) fn exempt(&mut self, target: IpNet, origin: Origin) -> anyhow::Result<()> {
        self.exemptions.insert(target, origin);
        Ok(())
    }

    pub(super) fn unexempt(&mut self, target: IpNet) -> anyhow::Result<bool> {
        Ok(self.exemptions.remove(&target).is_some())
    }

    pub(super) fn exemptions(&self) -> anyhow::Result<Vec<Exemption>> {
        Ok(self
            .exemptions
            .iter()
            .map(|(target, origin)| Exemption { target: *target, origin: *origin })
            .collect())
    }

    pub(super) fn suspend_automatic(&mut self, suspended: bool) -> anyhow::Result<()> {
        self.suspended = suspended;
        Ok(())
    }

    pub(super) fn automatic_suspended(&self) -> anyhow::Result<bool> {
        Ok(self.suspended)
    }

    pub(super) fn lift_automatic(&mut self) -> anyhow::Result<usize> {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.origin != Origin::Verdict);
        Ok(before - self.entries.len())
    }
}
