//! The driver behind an interface, asked by the ethtool ioctl: it works in any network namespace, where `/sys` may show
//! another one's devices.

use std::ffi::CStr;
use std::mem;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// ETHTOOL_GDRVINFO (kernel's include/uapi/linux/ethtool.h).
const GET_DRIVER: u32 = 0x0000_0003;
const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// `struct ethtool_drvinfo`, of which only the first two fields are read.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// Name of the interface's driver, such as `veth` or `virtio_net`; `None` if it does not say (loopback, for one).
pub(super) fn of(interface: &str) -> Option<String> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).ok()?;
    let mut info = DriverInfo { command: GET_DRIVER, driver: [0; 32], rest: [0; 160] };
    // SAFETY: all-zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    let name = interface.as_bytes();
    if name.len() >= request.ifr_name.len() {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    // SAFETY: the request names a buffer of the size that this command fills, and both live until the call returns.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    let driver = CStr::from_bytes_until_nul(&info.driver).ok()?;
    (answer == 0).then(|| driver.to_string_lossy().into_owned()).filter(|name| !name.is_empty())
}
