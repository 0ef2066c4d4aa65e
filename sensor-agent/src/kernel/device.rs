//! What a network device says of itself, asked by ioctls: they work in any network namespace, where `/sys` may show another
//! one's devices.

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
pub(crate) fn driver(interface: &str) -> Option<String> {
    let mut info = DriverInfo { command: GET_DRIVER, driver: [0; 32], rest: [0; 160] };
    let mut request = request(interface)?;
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    // SAFETY: the request names a buffer of the size that this command fills, which outlives the call.
    unsafe { ask(SIOCETHTOOL, &mut request) }?;
    let driver = CStr::from_bytes_until_nul(&info.driver).ok()?;
    Some(driver.to_string_lossy().into_owned()).filter(|name| !name.is_empty())
}

/// The interface's MTU in bytes (netdevice(7)).
pub(crate) fn mtu(interface: &str) -> Option<u32> {
    let mut request = request(interface)?;
    // SAFETY: this command fills the request itself and follows no pointer.
    unsafe { ask(libc::SIOCGIFMTU, &mut request) }?;
    // SAFETY: the command has written this field of the union.
    u32::try_from(unsafe { request.ifr_ifru.ifru_mtu }).ok()
}

fn request(interface: &str) -> Option<libc::ifreq> {
    // SAFETY: all-zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    Some(request)
}

/// # Safety
/// What the request points to must be as large as `command` takes it to be, and outlive the call.
unsafe fn ask(command: libc::c_ulong, request: &mut libc::ifreq) -> Option<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).ok()?;
    // SAFETY: as the caller promises; the request itself is borrowed for the call.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), command, &raw mut *request) };
    (answer == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_has_an_mtu_and_no_driver() {
        assert_eq!(mtu("lo"), Some(65_536));
        assert_eq!(driver("lo"), None);
        assert_eq!((mtu("no-such-device"), mtu("a name longer than any device's")), (None, None));
    }
}
