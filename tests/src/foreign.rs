//! An XDP program of somebody else's: it lets every packet pass, and is attached in either of the ways that there are.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use nix::net::if_::if_nametoindex;

use crate::lab::Host;

/// Its name.
pub const NAME: &str = "foreign_pass";

/// How it is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By netlink: it stays until somebody takes it off.
    Netlink,
    /// By a link, as long as somebody holds it.
    Link,
}

/// The attached program.
#[derive(Debug)]
pub struct Foreign {
    _descriptors: Vec<OwnedFd>,
}

/// Commands of bpf(2), and what they are given (kernel's include/uapi/linux/bpf.h).
const PROGRAM_LOAD: libc::c_int = 5;
const PIN: libc::c_int = 6;
const LINK_CREATE: libc::c_int = 28;
const XDP_PROGRAM: u32 = 6;
const XDP_HOOK: u32 = 37;
const GENERIC: u32 = 1 << 1;
/// `r0 = XDP_PASS`, `exit`.
const INSTRUCTIONS: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    version_flags: [u32; 2],
    name: [u8; 16],
    device: u32,
    hook: u32,
}

#[repr(C)]
struct Pin {
    path: u64,
    descriptor: u32,
    flags: u32,
}

#[repr(C)]
struct Link {
    program: u32,
    interface: u32,
    hook: u32,
    flags: u32,
}

impl Foreign {
    /// Attaches one to an interface of the host.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach(host: &Host, interface: &str, by: By) -> Result<Self> {
        let program = load().context("cannot load an XDP program")?;
        let mut descriptors = Vec::new();
        match by {
            By::Netlink => by_netlink(host, interface, &program)?,
            By::Link => descriptors.push(host.enter(|| link(interface, &program))?),
        }
        descriptors.push(program);
        Ok(Self { _descriptors: descriptors })
    }
}

fn load() -> io::Result<OwnedFd> {
    let license = c"GPL";
    let mut name = [0; 16];
    name[..NAME.len()].copy_from_slice(NAME.as_bytes());
    let mut attributes = Load {
        kind: XDP_PROGRAM,
        count: INSTRUCTIONS.len() as u32,
        instructions: INSTRUCTIONS.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log: [0; 2],
        version_flags: [0; 2],
        name,
        device: 0,
        hook: XDP_HOOK,
    };
    // SAFETY: the attributes are of this command's form; instructions and licence outlive the call.
    unsafe { bpf(PROGRAM_LOAD, &mut attributes) }.map(own)
}

fn by_netlink(host: &Host, interface: &str, program: &OwnedFd) -> Result<()> {
    // Tests of one process run beside one another, with interfaces of the same names.
    static PINS: AtomicUsize = AtomicUsize::new(0);
    let pin = PINS.fetch_add(1, Ordering::Relaxed);
    let path = PathBuf::from(format!("/sys/fs/bpf/sensor-foreign-{}-{pin}", std::process::id()));
    let shown = path.to_string_lossy().into_owned();
    let terminated = std::ffi::CString::new(shown.as_str())?;
    let mut attributes =
        Pin { path: terminated.as_ptr() as u64, descriptor: program.as_raw_fd().cast_unsigned(), flags: 0 };
    // SAFETY: the attributes are of this command's form, and the path outlives the call.
    unsafe { bpf(PIN, &mut attributes) }.context("cannot pin the program")?;
    // Not `ip -netns`, which hides the BPF file system.
    let set = host
        .command(Path::new("/usr/sbin/ip"))
        .args(["link", "set", interface, "xdpgeneric", "pinned", &shown])
        .output();
    fs::remove_file(&path).ok();
    let set = set.context("cannot run `ip`")?;
    if !set.status.success() {
        bail!("cannot attach the program: {}", String::from_utf8_lossy(&set.stderr));
    }
    Ok(())
}

fn link(interface: &str, program: &OwnedFd) -> Result<OwnedFd> {
    let mut attributes = Link {
        program: program.as_raw_fd().cast_unsigned(),
        interface: if_nametoindex(interface)?,
        hook: XDP_HOOK,
        flags: GENERIC,
    };
    // SAFETY: the attributes are of this command's form and hold no pointer.
    unsafe { bpf(LINK_CREATE, &mut attributes) }.map(own).context("cannot attach the program by a link")
}

/// # Safety
/// The attributes are those of the command, and what they point to outlives the call.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: as the caller promises.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}

fn own(descriptor: i32) -> OwnedFd {
    // SAFETY: a command has just made the descriptor, and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
