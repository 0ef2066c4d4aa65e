//! One direction of the tap on one device: by a pinned TCX link, or by a filter of a clsact qdisc where the kernel has no such links.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};

use super::{Made, errno};
use crate::kernel::choice::TapChoice;
use crate::kernel::hook;

/// Place of our filters in a clsact qdisc: fixed, so that a second agent finds them instead of adding more.
const CLSACT_PRIORITY: u16 = 50;
const CLSACT_HANDLE: TcHandle = TcHandle::new(0, 1);
const CLSACT_PLACE: TcAttachOptions =
    TcAttachOptions::Netlink(NlOptions { priority: CLSACT_PRIORITY, handle: CLSACT_HANDLE, classid: None });

/// Attaches one direction; says by what.
pub(super) fn attach(
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

/// Attaches by a link in front of all others, and pins it.
pub(super) fn attach_tcx(
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

/// What cannot be asked counts as in place.
pub(super) fn has_tcx(program: &SchedClassifier, interface: u32, direction: TcAttachType) -> bool {
    let Ok(ours) = program.info() else { return true };
    hook::programs(interface, direction).map_or(true, |programs| programs.contains(&ours.id()))
}

/// Adds the filter where there is none at its place; false if there is one.
pub(super) fn adds_clsact(program: &mut SchedClassifier, interface: &str, direction: TcAttachType) -> bool {
    let _ = qdisc_add_clsact(interface);
    let added = program.attach_with_options(interface, direction, CLSACT_PLACE);
    added.and_then(|id| program.take_link(id)).map(std::mem::forget).is_ok()
}
