//! Attaching to interfaces: XDP and both directions of the tap, by pinned links where the kernel has them.
//!
//! A link that an earlier agent pinned is adopted: its program is replaced atomically, so that no packet passes in between.
//! What belongs to somebody else is never replaced.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use aya::Ebpf;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact, qdisc_detach_program,
};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp};
use sensor_common::program;

use super::choice::{TapChoice, XdpChoice};
use super::device;
use super::hook;
use super::links::{self, Link};
use super::pins::Pins;

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
    /// `tcx` or `clsact`.
    pub(crate) tap: &'static str,
}

const HOOK_XDP: &str = "xdp";
const HOOK_IN: &str = "in";
const HOOK_OUT: &str = "out";

/// Place of our filters in a clsact qdisc: fixed, so that a second agent finds them instead of adding more.
const CLSACT_PRIORITY: u16 = 50;
const CLSACT_HANDLE: TcHandle = TcHandle::new(0, 1);
const CLSACT_PLACE: TcAttachOptions =
    TcAttachOptions::Netlink(NlOptions { priority: CLSACT_PRIORITY, handle: CLSACT_HANDLE, classid: None });

/// Programs of the tap, where they are pinned and attached.
const TAPS: [(&str, &str, TcAttachType); 2] = [
    (program::TAP_INGRESS, HOOK_IN, TcAttachType::Ingress),
    (program::TAP_EGRESS, HOOK_OUT, TcAttachType::Egress),
];

/// Drivers on which native XDP costs the peer its segmentation offload, which is dearer than generic mode.
const GENERIC_IS_BETTER: [&str; 2] = ["veth", "tun"];

/// The loaded programs.
pub(super) struct Programs<'a> {
    pub(super) firewall: &'a mut Ebpf,
    pub(super) tap: &'a mut Ebpf,
}

/// Attaches everything to one interface; on failure, what this call attached is taken off again.
pub(super) fn attach(
    programs: &mut Programs<'_>,
    pins: &Pins,
    interface: &str,
    xdp: XdpChoice,
    tap: TapChoice,
) -> Result<Attachment> {
    let mut made = Made { pins: Vec::new() };
    let result = attach_all(programs, pins, interface, xdp, tap, &mut made);
    if result.is_err() {
        made.undo();
    }
    result.with_context(|| format!("cannot attach to interface `{interface}`"))
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
    interface: &str,
    xdp: XdpChoice,
    tap: TapChoice,
    made: &mut Made,
) -> Result<Attachment> {
    let (xdp, why) = attach_xdp(programs, pins, interface, xdp, made)?;
    let mut by = "";
    for (name, hook, direction) in TAPS {
        let program = classifier(programs.tap, name)?;
        by = attach_tap(program, &pins.link(hook, interface), interface, direction, tap, made)?;
    }
    let index = super::host::interface_index(interface).context("the interface is gone")?;
    Ok(Attachment { interface: interface.to_owned(), index, xdp, why, tap: by })
}

fn attach_xdp(
    programs: &mut Programs<'_>,
    pins: &Pins,
    interface: &str,
    choice: XdpChoice,
    made: &mut Made,
) -> Result<(&'static str, Option<String>)> {
    let pin = pins.link(HOOK_XDP, interface);
    if choice == XdpChoice::Off {
        let _ = fs::remove_file(&pin);
        return Ok(("off", None));
    }
    if adopt_xdp(programs.firewall, &pin) {
        return Ok((mode_of(interface).unwrap_or("adopted"), None));
    }
    let (link, mode, why) = match fresh_xdp(programs.firewall, interface, choice) {
        Ok(attached) => attached,
        // The tap works without; that nothing is dropped there is said for as long as it lasts.
        Err(error) if error.is::<InUse>() => return Ok(("off", Some(format!("{error:#}")))),
        Err(error) => return Err(error),
    };
    link.pin(&pin).with_context(|| format!("cannot pin the XDP link at `{}`", pin.display()))?;
    made.pins.push(pin);
    Ok((mode, why))
}

/// Replaces the program of a pinned link by its like. False if there is none, or its interface is gone.
fn adopt_xdp(firewall: &mut Ebpf, pin: &Path) -> bool {
    if !pin.exists() {
        return false;
    }
    let adopted = [program::FIREWALL, program::FIREWALL_FRAGS].into_iter().any(|name| {
        let Ok(pinned) = PinnedLink::from_pin(pin) else { return false };
        let Ok(link) = XdpLink::try_from(FdLink::from(pinned)) else { return false };
        xdp_program(firewall, name).is_ok_and(|program| program.attach_to_link(link).is_ok())
    });
    if !adopted {
        let _ = fs::remove_file(pin);
    }
    adopted
}

fn xdp_program<'a>(firewall: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(firewall.program_mut(name).context("no XDP program in the object")?.try_into()?)
}

fn fresh_xdp(
    firewall: &mut Ebpf,
    interface: &str,
    choice: XdpChoice,
) -> Result<(FdLink, &'static str, Option<String>)> {
    let better = device::driver(interface).filter(|driver| GENERIC_IS_BETTER.contains(&driver.as_str()));
    let why = match (choice, better) {
        (XdpChoice::Generic, _) => Some("configured".to_owned()),
        (XdpChoice::Native, _) => {
            return Ok((native_link(firewall, interface)?, "native", None));
        }
        (_, Some(driver)) => {
            Some(format!("driver `{driver}`: native mode would take its segmentation offload away"))
        }
        (_, None) => match native_link(firewall, interface) {
            Ok(link) => return Ok((link, "native", None)),
            Err(error) if error.is::<InUse>() => return Err(error),
            Err(error) => {
                Some(format!("native mode refused: {error:#}{}", device::why_not_native(interface)))
            }
        },
    };
    let program = xdp_program(firewall, program::FIREWALL)?;
    Ok((xdp_link(program, interface, XdpMode::Skb)?, "generic", why))
}

/// In the driver: as packets in one buffer, or else in several, which a large MTU needs.
fn native_link(firewall: &mut Ebpf, interface: &str) -> Result<FdLink> {
    let first = xdp_link(xdp_program(firewall, program::FIREWALL)?, interface, XdpMode::Driver);
    first.or_else(|error| {
        let frags = xdp_program(firewall, program::FIREWALL_FRAGS)?;
        xdp_link(frags, interface, XdpMode::Driver).map_err(|_| error)
    })
}

fn xdp_link(program: &mut Xdp, interface: &str, mode: XdpMode) -> Result<FdLink> {
    let id = program.attach(interface, mode).map_err(explain_xdp)?;
    let link = program.take_link(id)?;
    FdLink::try_from(link).context("this kernel has no XDP links (5.9 and later)")
}

fn explain_xdp(error: ProgramError) -> anyhow::Error {
    match errno(&error) {
        Some(libc::EBUSY | libc::EEXIST) => anyhow!(error).context(InUse),
        _ => anyhow!(error),
    }
}

/// Somebody else's XDP program is in place.
#[derive(Debug)]
struct InUse;

impl std::fmt::Display for InUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("another XDP program is attached there: see `ip link show`; it is not replaced unasked")
    }
}

/// How XDP is attached, as the kernel says.
fn mode_of(interface: &str) -> Option<&'static str> {
    let links = links::links().ok()?;
    Some(links.into_iter().find(|link| link.name == interface)?.xdp?.mode)
}

fn attach_tap(
    program: &mut SchedClassifier,
    pin: &Path,
    interface: &str,
    direction: TcAttachType,
    choice: TapChoice,
    made: &mut Made,
) -> Result<&'static str> {
    if choice != TapChoice::Clsact {
        if adopt_tcx(program, pin) {
            return Ok("tcx");
        }
        match attach_tcx(program, pin, interface, direction) {
            Ok(()) => {
                made.pins.push(pin.to_owned());
                return Ok("tcx");
            }
            Err(error) if choice == TapChoice::Tcx || !lacks_tcx(&error) => return Err(error),
            Err(_) => {}
        }
    }
    attach_clsact(program, interface, direction)?;
    Ok("clsact")
}

fn adopt_tcx(program: &mut SchedClassifier, pin: &Path) -> bool {
    let Ok(pinned) = PinnedLink::from_pin(pin) else { return false };
    let adopted = SchedClassifierLink::try_from(FdLink::from(pinned))
        .map_err(|error| anyhow!(error))
        .and_then(|link| Ok(program.attach_to_link(link)?));
    if adopted.is_err() {
        let _ = fs::remove_file(pin);
    }
    adopted.is_ok()
}

fn attach_tcx(
    program: &mut SchedClassifier,
    pin: &Path,
    interface: &str,
    direction: TcAttachType,
) -> Result<()> {
    let order = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(interface, direction, order)?;
    let link = FdLink::try_from(program.take_link(id)?)?;
    link.pin(pin).with_context(|| format!("cannot pin the tap's link at `{}`", pin.display()))?;
    Ok(())
}

/// TCX came with 6.6; before it, the kernel refuses the attach type.
fn lacks_tcx(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ProgramError>().and_then(errno) == Some(libc::EINVAL)
}

/// A filter at a fixed place. One that an earlier agent left there is replaced in place.
fn attach_clsact(program: &mut SchedClassifier, interface: &str, direction: TcAttachType) -> Result<()> {
    // Refused if the qdisc is there already, which is as good.
    let _ = qdisc_add_clsact(interface);
    let id = match program.attach_with_options(interface, direction, CLSACT_PLACE) {
        Ok(id) => id,
        Err(_) => {
            let left =
                SchedClassifierLink::attached(interface, direction, CLSACT_PRIORITY, CLSACT_HANDLE, None)?;
            program.attach_to_link(left).context("cannot place a filter in the clsact qdisc")?
        }
    };
    // A netlink attachment has no descriptor to pin: dropping the link would detach it, forgetting it leaves it in place.
    std::mem::forget(program.take_link(id)?);
    Ok(())
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
    choice: XdpChoice,
) -> Result<u64> {
    let mut restored = 0;
    if choice != XdpChoice::Off && !is_ours(programs.firewall, link) {
        let was_off = attachment.xdp == "off";
        let _ = fs::remove_file(pins.link(HOOK_XDP, &attachment.interface));
        let mut made = Made { pins: Vec::new() };
        (attachment.xdp, attachment.why) =
            attach_xdp(programs, pins, &attachment.interface, choice, &mut made)?;
        if attachment.xdp != "off" {
            tracing::warn!(interface = attachment.interface, was_off, "XDP was not in place and is put back");
            restored += 1;
        } else if !was_off {
            tracing::error!(
                interface = attachment.interface,
                "another XDP program has taken the sensor's place"
            );
        }
    }
    for (name, hook, direction) in TAPS {
        let program = classifier(programs.tap, name)?;
        let there = match attachment.tap {
            "tcx" => has_tcx(program, attachment.index, direction),
            _ => !adds_clsact(program, &attachment.interface, direction),
        };
        if attachment.tap == "tcx" && !there {
            let pin = pins.link(hook, &attachment.interface);
            let _ = fs::remove_file(&pin);
            attach_tcx(program, &pin, &attachment.interface, direction)?;
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

/// Whether the XDP program on the device is one of ours.
fn is_ours(firewall: &mut Ebpf, link: &Link) -> bool {
    let Some(in_place) = link.xdp else { return false };
    [program::FIREWALL, program::FIREWALL_FRAGS].into_iter().any(|name| {
        let info = xdp_program(firewall, name).ok().and_then(|program| program.info().ok());
        info.is_some_and(|info| info.id() == in_place.program)
    })
}

/// What cannot be asked counts as in place.
fn has_tcx(program: &SchedClassifier, interface: u32, direction: TcAttachType) -> bool {
    let Ok(ours) = program.info() else { return true };
    hook::programs(interface, direction).map_or(true, |programs| programs.contains(&ours.id()))
}

/// Adds the filter where there is none at its place; false if there is one.
fn adds_clsact(program: &mut SchedClassifier, interface: &str, direction: TcAttachType) -> bool {
    let _ = qdisc_add_clsact(interface);
    let added = program.attach_with_options(interface, direction, CLSACT_PLACE);
    added.and_then(|id| program.take_link(id)).map(std::mem::forget).is_ok()
}

/// Takes everything off an interface.
pub(super) fn detach(pins: &Pins, interface: &str) {
    for hook in [HOOK_XDP, HOOK_IN, HOOK_OUT] {
        // Missing pins and filters are what is wanted.
        let _ = fs::remove_file(pins.link(hook, interface));
    }
    let _ = qdisc_detach_program(interface, TcAttachType::Ingress, program::TAP_INGRESS);
    let _ = qdisc_detach_program(interface, TcAttachType::Egress, program::TAP_EGRESS);
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
