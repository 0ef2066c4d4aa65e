//! Attaching to interfaces: XDP and both directions of the tap, by pinned links where the kernel has them.
//!
//! A link that an earlier agent pinned is adopted: its program is replaced atomically, so that no packet passes in between.
//! What belongs to somebody else is never replaced unasked.

mod foreign;
mod tap;
mod xdp;

use std::fs;

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::programs::tc::qdisc_detach_program;
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use sensor_common::program;

use super::choice::{TapChoice, XdpChoice};
use super::links::{Layer, Link};
use super::pins::Pins;
use super::sensor::{load_tap, load_xdp};
use xdp::Wanted;

/// What is attached to one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// Interface name.
    pub(crate) interface: String,
    /// Its index then; an interface that was made anew has another.
    pub(crate) index: u32,
    /// `native`, `generic`, `off`, or `adopted` if the kernel does not say how.
    pub(crate) xdp: &'static str,
    /// Why XDP is not native, where it could be asked.
    pub(crate) why: Option<String>,
    /// The XDP program of somebody else's whose place was taken.
    pub(crate) replaced: Option<String>,
    /// Such a program was to make room and did not: that is not tried again.
    pub(crate) in_vain: bool,
    /// `tcx` or `clsact`.
    pub(crate) tap: &'static str,
}

const HOOK_XDP: &str = "xdp";
const HOOK_IN: &str = "in";
const HOOK_OUT: &str = "out";

/// The programs for one kind of device.
struct Names {
    firewall: &'static str,
    /// The firewall for drivers whose packets come in several buffers.
    frags: Option<&'static str>,
    /// Programs of the tap, where they are pinned and attached.
    taps: [(&'static str, &'static str, TcAttachType); 2],
}

const ETHERNET: Names = Names {
    firewall: program::FIREWALL,
    frags: Some(program::FIREWALL_FRAGS),
    taps: [
        (program::TAP_INGRESS, HOOK_IN, TcAttachType::Ingress),
        (program::TAP_EGRESS, HOOK_OUT, TcAttachType::Egress),
    ],
};

/// No driver of a device without Ethernet headers has packets in several buffers for XDP.
const IP: Names = Names {
    firewall: program::FIREWALL_IP,
    frags: None,
    taps: [
        (program::TAP_INGRESS_IP, HOOK_IN, TcAttachType::Ingress),
        (program::TAP_EGRESS_IP, HOOK_OUT, TcAttachType::Egress),
    ],
};

impl Names {
    fn of(layer: Layer) -> Result<&'static Self> {
        match (layer, layer.why_not()) {
            (Layer::Ip, _) => Ok(&IP),
            (_, None) => Ok(&ETHERNET),
            (_, Some(why)) => bail!("{why}"),
        }
    }

    /// Loads those without which nothing works, where that was not done at the start.
    fn load(&self, programs: &mut Programs<'_>) -> Result<()> {
        load_xdp(programs.firewall, self.firewall)?;
        self.taps.iter().try_for_each(|(name, ..)| load_tap(programs.tap, name))
    }

    fn firewalls(&self) -> impl Iterator<Item = &'static str> + use<> {
        [self.firewall].into_iter().chain(self.frags)
    }
}

/// The loaded programs.
pub(super) struct Programs<'a> {
    pub(super) firewall: &'a mut Ebpf,
    pub(super) tap: &'a mut Ebpf,
}

/// How to attach.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    pub(super) xdp: XdpChoice,
    pub(super) tap: TapChoice,
    /// Interfaces on which XDP programs of others make room.
    pub(super) replace: &'a [String],
}

impl How<'_> {
    fn wanted<'a>(&self, link: &'a Link, names: &'static Names) -> Wanted<'a> {
        Wanted { link, names, choice: self.xdp, replace: self.replace.contains(&link.name) }
    }
}

/// Attaches everything to one interface; on failure, what this call attached is taken off again.
pub(super) fn attach(
    programs: &mut Programs<'_>,
    pins: &Pins,
    link: &Link,
    how: How<'_>,
) -> Result<Attachment> {
    let mut made = Made { pins: Vec::new() };
    let result = attach_all(programs, pins, link, how, &mut made);
    if result.is_err() {
        made.undo();
    }
    result.with_context(|| format!("cannot attach to interface `{}`", link.name))
}

/// Pins that one attempt has made.
struct Made {
    pins: Vec<std::path::PathBuf>,
}

impl Made {
    fn undo(&self) {
        for pin in &self.pins {
            // A pin that is gone already is as undone as can be.
            let _ = fs::remove_file(pin);
        }
    }
}

fn attach_all(
    programs: &mut Programs<'_>,
    pins: &Pins,
    link: &Link,
    how: How<'_>,
    made: &mut Made,
) -> Result<Attachment> {
    let names = Names::of(link.layer)?;
    names.load(programs)?;
    let interface = link.name.as_str();
    let placed = xdp::attach(programs.firewall, pins, &how.wanted(link, names), made)?;
    let mut by = "";
    for (name, hook, direction) in names.taps {
        let program = classifier(programs.tap, name)?;
        by = tap::attach(program, &pins.link(hook, interface), interface, direction, how.tap, made)?;
    }
    let index = super::host::interface_index(interface).context("the interface is gone")?;
    let xdp::Placed { mode, why, replaced, in_vain } = placed;
    Ok(Attachment { interface: interface.to_owned(), index, xdp: mode, why, replaced, in_vain, tap: by })
}

/// Moves the pins of an interface to its new name.
pub(super) fn rename(pins: &Pins, from: &str, to: &str) {
    for hook in [HOOK_XDP, HOOK_IN, HOOK_OUT] {
        // A hook without a link has no pin.
        let _ = fs::rename(pins.link(hook, from), pins.link(hook, to));
    }
}

/// Puts back what is no longer in place, and returns how many hooks that were. XDP is tried where another program was in its place.
pub(super) fn restore(
    programs: &mut Programs<'_>,
    pins: &Pins,
    attachment: &mut Attachment,
    link: &Link,
    how: How<'_>,
) -> Result<u64> {
    let names = Names::of(link.layer)?;
    let mut restored = 0;
    if how.xdp != XdpChoice::Off && !xdp::is_ours(programs.firewall, names, link) {
        let wanted = how.wanted(link, names);
        let wanted = Wanted { replace: wanted.replace && !attachment.in_vain, ..wanted };
        restored += restore_xdp(programs.firewall, pins, attachment, &wanted)?;
    }
    for (name, hook, direction) in names.taps {
        let program = classifier(programs.tap, name)?;
        let there = match attachment.tap {
            "tcx" => tap::has_tcx(program, attachment.index, direction),
            _ => !tap::adds_clsact(program, &attachment.interface, direction),
        };
        if attachment.tap == "tcx" && !there {
            let pin = pins.link(hook, &attachment.interface);
            let _ = fs::remove_file(&pin);
            tap::attach_tcx(program, &pin, &attachment.interface, direction)?;
        }
        if !there {
            tracing::warn!(
                interface = attachment.interface,
                hook,
                "the tap was not in place and is put back"
            );
            restored += 1;
        }
    }
    Ok(restored)
}

fn restore_xdp(
    firewall: &mut Ebpf,
    pins: &Pins,
    attachment: &mut Attachment,
    wanted: &Wanted<'_>,
) -> Result<u64> {
    let was_off = attachment.xdp == "off";
    let interface = &wanted.link.name;
    let _ = fs::remove_file(pins.link(HOOK_XDP, interface));
    let mut made = Made { pins: Vec::new() };
    let placed = xdp::attach(firewall, pins, wanted, &mut made)?;
    if !(attachment.in_vain && placed.mode == "off") {
        attachment.why = placed.why;
    }
    attachment.xdp = placed.mode;
    attachment.in_vain |= placed.in_vain;
    if placed.mode == "off" {
        if !was_off {
            tracing::error!(interface, "another XDP program has taken the sensor's place");
        }
        return Ok(0);
    }
    tracing::warn!(interface, was_off, "XDP was not in place and is put back");
    attachment.replaced = placed.replaced.or_else(|| attachment.replaced.take());
    Ok(1)
}

/// Takes everything off an interface.
pub(super) fn detach(pins: &Pins, interface: &str) {
    for hook in [HOOK_XDP, HOOK_IN, HOOK_OUT] {
        // Missing pins and filters are what is wanted.
        let _ = fs::remove_file(pins.link(hook, interface));
    }
    for (name, _, direction) in ETHERNET.taps.into_iter().chain(IP.taps) {
        let _ = qdisc_detach_program(interface, direction, name);
    }
}

/// Interfaces that have any of our pinned links.
pub(super) fn pinned_interfaces(pins: &Pins) -> Vec<String> {
    let mut names: Vec<_> = [HOOK_XDP, HOOK_IN, HOOK_OUT].iter().flat_map(|hook| pins.linked(hook)).collect();
    names.sort();
    names.dedup();
    names
}

fn classifier<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    Ok(object.program_mut(name).with_context(|| format!("no program `{name}` in the object"))?.try_into()?)
}

fn errno(error: &ProgramError) -> Option<i32> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.raw_os_error();
        }
        source = error.source();
    }
    None
}
