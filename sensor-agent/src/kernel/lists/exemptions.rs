//! Exemptions: what is never blocked, and who says so.

use anyhow::Result;
use ipnet::IpNet;
use sensor_common::block::ExemptEntry;

use super::Lists;
use super::entry::{Exemption, Origin};
use crate::kernel::prefilter::Kind;

impl Lists {
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

    /// An exemption that covers all of `target`.
    pub(super) fn exemption_of(&self, target: IpNet) -> Result<Option<Exemption>> {
        let exemptions = self.exemptions()?;
        Ok(exemptions.into_iter().find(|exemption| exemption.target.contains(&target)))
    }
}
