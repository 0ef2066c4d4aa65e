//! Which interfaces are watched, as they come, go, are renamed or lose what was attached to them.

use anyhow::{Result, bail};

use super::super::attach::{self, Attachment, Programs};
use super::super::choice::XdpChoice;
use super::super::host;
use super::super::links::{self, Link};
use super::Sensor;

impl Sensor {
    /// Attaches to interfaces that have appeared, follows those that were renamed, forgets those that are gone, and puts back what
    /// somebody took off. Returns what went wrong, one line each.
    pub(crate) fn follow_interfaces(&mut self) -> Vec<String> {
        let (links, wanted) =
            match links::links().and_then(|links| Ok((wanted(&self.plan.interfaces, &links)?, links))) {
                Ok((wanted, links)) => (links, wanted),
                Err(error) => return vec![format!("{error:#}")],
            };
        self.rename(&links);
        self.forget(&links, &wanted);
        let mut problems = self.restore(&links);
        let attached = |name: &String| self.attachments.iter().any(|made| made.interface == *name);
        let new = links.iter().filter(|link| wanted.contains(&link.name) && !attached(&link.name));
        let new: Vec<_> = new.collect();
        problems
            .extend(new.iter().filter_map(|link| self.attach(link).err()).map(|error| format!("{error:#}")));
        problems
    }

    /// Attaches to every wanted interface that there is, or to none that was not attached before.
    pub(super) fn attach_at_start(&mut self) -> Result<()> {
        let links = links::links()?;
        let wanted = wanted(&self.plan.interfaces, &links)?;
        let present: Vec<_> = links.iter().filter(|link| wanted.contains(&link.name)).collect();
        for name in wanted.iter().filter(|name| present.iter().all(|link| link.name != **name)) {
            tracing::warn!(interface = %name, "a configured interface does not exist; it is attached when it appears");
        }
        if present.is_empty() {
            bail!(
                "no interface to attach to: bring one up, or name one in `capture.interfaces`{}",
                left_alone(&links)
            );
        }
        let before = attach::pinned_interfaces(&self.pins);
        for link in &present {
            if let Err(error) = self.attach(link) {
                self.undo(&before);
                return Err(error);
            }
        }
        for name in before.iter().filter(|name| present.iter().all(|link| link.name != **name)) {
            attach::detach(&self.pins, name);
        }
        Ok(())
    }

    /// Takes off what this run attached; what an earlier agent had attached stays.
    fn undo(&self, before: &[String]) {
        for attachment in self.attachments.iter().filter(|made| !before.contains(&made.interface)) {
            attach::detach(&self.pins, &attachment.interface);
        }
    }

    fn attach(&mut self, link: &Link) -> Result<()> {
        let mut programs = Programs { firewall: &mut self.firewall, tap: &mut self.tap };
        let made = attach::attach(&mut programs, &self.pins, link, self.plan.how())?;
        tracing::info!(
            interface = link.name,
            xdp = made.xdp,
            why = made.why.as_deref().unwrap_or(""),
            replaced = made.replaced.as_deref().unwrap_or(""),
            tap = made.tap,
            "attached"
        );
        self.attachments.push(made);
        Ok(())
    }

    /// A device keeps its index, and what is attached to it, under its new name.
    fn rename(&mut self, links: &[Link]) {
        for attachment in &mut self.attachments {
            let now = links.iter().find(|link| link.index == attachment.index);
            if let Some(link) = now.filter(|link| link.name != attachment.interface) {
                tracing::info!(from = attachment.interface, to = link.name, "an interface was renamed");
                attach::rename(&self.pins, &attachment.interface, &link.name);
                attachment.interface.clone_from(&link.name);
            }
        }
    }

    fn forget(&mut self, links: &[Link], wanted: &[String]) {
        let pins = &self.pins;
        self.attachments.retain(|attachment| {
            let there = links.iter().any(|link| link.index == attachment.index);
            let stays = there && wanted.contains(&attachment.interface);
            if !stays {
                tracing::info!(interface = attachment.interface, "no longer watched");
                attach::detach(pins, &attachment.interface);
            }
            stays
        });
    }

    /// Puts back what was taken off, and XDP where another program was in its place.
    fn restore(&mut self, links: &[Link]) -> Vec<String> {
        let mut programs = Programs { firewall: &mut self.firewall, tap: &mut self.tap };
        let mut problems = Vec::new();
        for attachment in &mut self.attachments {
            let Some(link) = links.iter().find(|link| link.index == attachment.index) else { continue };
            match attach::restore(&mut programs, &self.pins, attachment, link, self.plan.how()) {
                Ok(restored) => self.restored += restored,
                Err(error) => problems.push(format!("{error:#}")),
            }
            if attachment.xdp == "off" && self.plan.xdp != XdpChoice::Off {
                problems.push(no_xdp(attachment));
            }
        }
        problems
    }
}

fn no_xdp(attachment: &Attachment) -> String {
    let why = attachment.why.as_deref().unwrap_or("XDP could not be attached");
    format!("{}: nothing is dropped: {why}", attachment.interface)
}

/// Names of the interfaces to watch: the configured ones, or all that packets enter the host by.
fn wanted(configured: &[String], links: &[Link]) -> Result<Vec<String>> {
    if !configured.is_empty() {
        return Ok(configured.to_vec());
    }
    let addressed = host::addressed()?;
    let watched = links.iter().filter(|link| link.why_not(addressed.contains(&link.name)).is_none());
    Ok(watched.map(|link| link.name.clone()).collect())
}

/// Why each interface that there is was left alone.
fn left_alone(links: &[Link]) -> String {
    let addressed = host::addressed().unwrap_or_default();
    let why =
        |link: &Link| Some(format!("`{}`: {}", link.name, link.why_not(addressed.contains(&link.name))?));
    let reasons: Vec<_> = links.iter().filter_map(why).collect();
    if reasons.is_empty() { String::new() } else { format!(" (left alone: {})", reasons.join(", ")) }
}
