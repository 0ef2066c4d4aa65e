//! XDP programs of others: what is in place on a device, and taking it off where the configuration asks for that.
//!
//! Only the program that was seen, named and logged is taken off: the kernel compares it for us where it stands by itself, and where a link
//! holds it the link is found by program and device. Naming programs and finding links needs CAP_SYS_ADMIN.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use aya::programs::{ProgramFd, ProgramInfo, loaded_programs};

use crate::kernel::links::{self, XdpInPlace};

/// An XDP program of somebody else's.
pub(super) struct Foreign {
    interface: u32,
    in_place: XdpInPlace,
    program: ProgramFd,
    info: ProgramInfo,
}

impl std::fmt::Display for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = String::from_utf8_lossy(self.info.name()).into_owned();
        let (name, tag) = (crate::printable::line(&name), self.info.tag());
        write!(f, "`{name}` (id {}, tag {tag:016x}, {})", self.info.id(), self.in_place.mode)
    }
}

impl Foreign {
    /// What stands on the device now.
    ///
    /// # Errors
    /// If nothing does, or the kernel does not tell what it is.
    pub(super) fn on(interface: u32) -> Result<Self> {
        let present = links::links()?.into_iter().find(|link| link.index == interface);
        let in_place = present.and_then(|link| link.xdp).context("it is gone meanwhile")?;
        let info = program(in_place.program)?;
        let program = info.fd().context("it cannot be opened")?;
        Ok(Self { interface, in_place, program, info })
    }

    /// Takes it off.
    ///
    /// # Errors
    /// If another one has taken its place meanwhile, or it cannot be told which link holds it.
    pub(super) fn remove(&self) -> Result<()> {
        match links::remove_xdp(self.interface, self.in_place.mode, self.program.as_fd()) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => self.detach_link(),
            other => other.context("it cannot be taken off"),
        }
    }

    /// Puts it back, as a program that stands by itself.
    pub(super) fn put_back(&self) -> io::Result<()> {
        links::place_xdp(self.interface, self.in_place.mode, self.program.as_fd())
    }

    /// Detaches the link that holds it; whoever has the link keeps an empty one.
    fn detach_link(&self) -> Result<()> {
        let mut held = Vec::new();
        for link in Links::default() {
            let link = link.context("the kernel does not list its links")?;
            let holds = link.program == self.in_place.program && link.interface == self.interface;
            held.extend(holds.then_some(link));
        }
        // Numbers of devices are those of their namespaces: another one may have a link like it.
        let [link] = held.as_slice() else {
            bail!("{} links hold that program on a device of this number", held.len())
        };
        tracing::info!(link = link.id, "the link that holds the other XDP program is detached");
        let mut numbers = [link.descriptor.as_raw_fd().cast_unsigned()];
        bpf(LINK_DETACH, &mut numbers).map(drop).context("its link cannot be detached")
    }
}

fn program(id: u32) -> Result<ProgramInfo> {
    let mut refused = None;
    for program in loaded_programs() {
        match program {
            Ok(program) if program.id() == id => return Ok(program),
            Ok(_) => {}
            // One that was unloaded meanwhile is as good as not listed.
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) => Err(error).context("the kernel does not tell what it is (CAP_SYS_ADMIN)"),
        None => bail!("it is gone meanwhile"),
    }
}

/// Commands of bpf(2).
const OBJECT_INFO: libc::c_int = 15;
const LINK_BY_ID: libc::c_int = 30;
const NEXT_LINK: libc::c_int = 31;
const LINK_DETACH: libc::c_int = 34;
/// BPF_LINK_TYPE_XDP.
const XDP_LINK: u32 = 6;

/// An XDP link, whoever made it.
struct XdpLink {
    id: u32,
    program: u32,
    interface: u32,
    descriptor: OwnedFd,
}

/// All XDP links of this kernel, of every network namespace.
#[derive(Default)]
struct Links {
    last: u32,
    is_over: bool,
}

impl Iterator for Links {
    type Item = io::Result<XdpLink>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_over {
            match self.advance() {
                Ok(Some(link)) => return Some(Ok(link)),
                Ok(None) => {}
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl Links {
    /// The next link, if it is of this kind.
    fn advance(&mut self) -> io::Result<Option<XdpLink>> {
        let mut ids = [self.last, 0, 0];
        if let Err(error) = bpf(NEXT_LINK, &mut ids) {
            self.is_over = error.raw_os_error() == Some(libc::ENOENT);
            return if self.is_over { Ok(None) } else { Err(error) };
        }
        self.last = ids[1];
        match bpf(LINK_BY_ID, &mut [self.last, 0, 0]) {
            Ok(descriptor) => {
                // SAFETY: the kernel has just made the descriptor for this call, so that nobody else owns it.
                xdp_link(unsafe { OwnedFd::from_raw_fd(descriptor) })
            }
            // Gone meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The beginning of `struct bpf_link_info` for an XDP link (kernel's include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    interface: u32,
    rest: u32,
}

/// What is asked by BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct InfoRequest {
    descriptor: u32,
    length: u32,
    info: u64,
}

/// The link behind the descriptor, if it is an XDP program's.
fn xdp_link(descriptor: OwnedFd) -> io::Result<Option<XdpLink>> {
    let mut info = Info::default();
    let mut request = InfoRequest {
        descriptor: descriptor.as_raw_fd().cast_unsigned(),
        length: size_of::<Info>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: `info` is as long as `length` says, and outlives the call.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, OBJECT_INFO, &raw mut request, size_of::<InfoRequest>()) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    let Info { kind, id, program, interface, .. } = info;
    Ok((kind == XDP_LINK).then_some(XdpLink { id, program, interface, descriptor }))
}

/// One of the commands that take and give numbers only.
fn bpf<const N: usize>(command: libc::c_int, numbers: &mut [u32; N]) -> io::Result<i32> {
    // SAFETY: the numbers are the whole of the command's attributes, and outlive the call.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, numbers.as_mut_ptr(), size_of_val(numbers)) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}
