//! The firewall on one device: by a pinned link, in the driver where that serves, and in nobody's place unless asked.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use aya::Ebpf;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{ProgramError, Xdp};

use super::foreign::Foreign;
use super::{HOOK_XDP, Made, Names, errno};
use crate::kernel::choice::XdpChoice;
use crate::kernel::device;
use crate::kernel::links::{self, Link};
use crate::kernel::pins::Pins;

/// Drivers on which native XDP costs the peer its segmentation offload, which is dearer than generic mode.
const GENERIC_IS_BETTER: [&str; 2] = ["veth", "tun"];

/// How XDP is attached.
pub(super) struct Placed {
    /// `native`, `generic`, `off`, or `adopted` if the kernel does not say how.
    pub(super) mode: &'static str,
    /// Why it is not native, or off.
    pub(super) why: Option<String>,
    /// The program of somebody else's whose place it took.
    pub(super) replaced: Option<String>,
    /// Such a program was to make room and did not.
    pub(super) in_vain: bool,
}

impl Placed {
    fn off(why: Option<String>) -> Self {
        Self::as_is("off", why)
    }

    fn as_is(mode: &'static str, why: Option<String>) -> Self {
        Self { mode, why, replaced: None, in_vain: false }
    }
}

/// What is wanted on one device.
pub(super) struct Wanted<'a> {
    pub(super) link: &'a Link,
    pub(super) names: &'static Names,
    pub(super) choice: XdpChoice,
    /// Whether a program of somebody else's makes room.
    pub(super) replace: bool,
}

/// Attaches the firewall, or says why it cannot be.
pub(super) fn attach(
    firewall: &mut Ebpf,
    pins: &Pins,
    wanted: &Wanted<'_>,
    made: &mut Made,
) -> Result<Placed> {
    let pin = pins.link(HOOK_XDP, &wanted.link.name);
    if wanted.choice == XdpChoice::Off {
        let _ = fs::remove_file(&pin);
        return Ok(Placed::off(None));
    }
    if adopt(firewall, wanted.names, &pin) {
        let mode = mode_of(&wanted.link.name).unwrap_or("adopted");
        return Ok(Placed::as_is(mode, None));
    }
    let (link, placed) = match fresh(firewall, wanted) {
        Ok(attached) => attached,
        Err(error) if error.is::<InUse>() && wanted.replace => match take_over(firewall, wanted) {
            Ok(attached) => attached,
            Err(error) => {
                let why = Some(format!("{IN_PLACE}, which is not replaced: {error:#}"));
                return Ok(Placed { in_vain: true, ..Placed::off(why) });
            }
        },
        // The tap works without; that nothing is dropped there is said for as long as it lasts.
        Err(error) if error.is::<InUse>() => return Ok(Placed::off(Some(format!("{error:#}")))),
        Err(error) => return Err(error),
    };
    link.pin(&pin).with_context(|| format!("cannot pin the XDP link at `{}`", pin.display()))?;
    made.pins.push(pin);
    Ok(placed)
}

/// Replaces the program of a pinned link by its like. False if there is none, or its interface is gone.
fn adopt(firewall: &mut Ebpf, names: &Names, pin: &Path) -> bool {
    if !pin.exists() {
        return false;
    }
    let adopted = names.firewalls().any(|name| {
        let Ok(pinned) = PinnedLink::from_pin(pin) else { return false };
        let Ok(link) = XdpLink::try_from(FdLink::from(pinned)) else { return false };
        program_of(firewall, name).is_ok_and(|program| program.attach_to_link(link).is_ok())
    });
    if !adopted {
        let _ = fs::remove_file(pin);
    }
    adopted
}

fn program_of<'a>(firewall: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(firewall.program_mut(name).context("no XDP program in the object")?.try_into()?)
}

fn fresh(firewall: &mut Ebpf, wanted: &Wanted<'_>) -> Result<(FdLink, Placed)> {
    let Wanted { names, link: Link { name: interface, .. }, .. } = wanted;
    let better = device::driver(interface).filter(|driver| GENERIC_IS_BETTER.contains(&driver.as_str()));
    let why = match (wanted.choice, better) {
        (XdpChoice::Generic, _) => "configured".to_owned(),
        (XdpChoice::Native, _) => {
            return Ok((native(firewall, names, interface)?, Placed::as_is("native", None)));
        }
        (_, Some(driver)) => {
            format!("driver `{driver}`: native mode would take its segmentation offload away")
        }
        (_, None) => match native(firewall, names, interface) {
            Ok(link) => return Ok((link, Placed::as_is("native", None))),
            Err(error) if error.is::<InUse>() => return Err(error),
            Err(error) => format!("native mode refused: {error:#}{}", device::why_not_native(interface)),
        },
    };
    let program = program_of(firewall, names.firewall)?;
    Ok((link(program, interface, XdpMode::Skb)?, Placed::as_is("generic", Some(why))))
}

/// Takes the other program off and its place. If that fails, the other one is put back. In between no program is in place: a link cannot take the
/// place of another program at once.
fn take_over(firewall: &mut Ebpf, wanted: &Wanted<'_>) -> Result<(FdLink, Placed)> {
    let interface = &wanted.link.name;
    let foreign = Foreign::on(wanted.link.index)?;
    let shown = foreign.to_string();
    tracing::warn!(
        interface,
        program = shown,
        "another XDP program is replaced, as `capture.xdp_replace` asks"
    );
    foreign.remove()?;
    match fresh(firewall, wanted) {
        Ok((link, placed)) => {
            let replaced = Some(format!("in the place of {shown}"));
            Ok((link, Placed { replaced, ..placed }))
        }
        Err(error) => {
            let back = foreign.put_back();
            tracing::error!(interface, program = shown, "the other XDP program is put back: {back:?}");
            Err(error)
        }
    }
}

/// In the driver: as packets in one buffer, or else in several, which a large MTU needs.
fn native(firewall: &mut Ebpf, names: &Names, interface: &str) -> Result<FdLink> {
    let first = link(program_of(firewall, names.firewall)?, interface, XdpMode::Driver);
    let Some(frags) = names.frags else { return first };
    first.or_else(|error| {
        let frags = program_of(firewall, frags)?;
        link(frags, interface, XdpMode::Driver).map_err(|_| error)
    })
}

fn link(program: &mut Xdp, interface: &str, mode: XdpMode) -> Result<FdLink> {
    let id = program.attach(interface, mode).map_err(explain)?;
    let link = program.take_link(id)?;
    FdLink::try_from(link).context("this kernel has no XDP links (5.9 and later)")
}

fn explain(error: ProgramError) -> anyhow::Error {
    match errno(&error) {
        Some(libc::EBUSY | libc::EEXIST) => anyhow!(error).context(InUse),
        _ => anyhow!(error),
    }
}

const IN_PLACE: &str = "another XDP program is attached there";

/// Somebody else's XDP program is in place.
#[derive(Debug)]
struct InUse;

impl std::fmt::Display for InUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{IN_PLACE}: see `ip link show`; it is not replaced unless `capture.xdp_replace` asks for it"
        )
    }
}

/// How XDP is attached, as the kernel says.
fn mode_of(interface: &str) -> Option<&'static str> {
    let links = links::links().ok()?;
    Some(links.into_iter().find(|link| link.name == interface)?.xdp?.mode)
}

/// Whether the XDP program on the device is one of ours.
pub(super) fn is_ours(firewall: &mut Ebpf, names: &Names, link: &Link) -> bool {
    let Some(in_place) = link.xdp else { return false };
    names.firewalls().any(|name| {
        let info = program_of(firewall, name).ok().and_then(|program| program.info().ok());
        info.is_some_and(|info| info.id() == in_place.program)
    })
}
