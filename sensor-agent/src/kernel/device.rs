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

/// What is known to keep drivers from native XDP, where it applies to this device; empty if nothing does. Nothing is changed: settings
/// of a device are the operator's.
pub(crate) fn why_not_native(interface: &str) -> String {
    let mut reasons = Vec::new();
    let mtu = mtu(interface).unwrap_or(0);
    if mtu > ONE_BUFFER_MTU {
        reasons
            .push(format!("its MTU of {mtu} may need several buffers, which not every driver gives to XDP"));
    }
    if flags(interface).unwrap_or(0) & FLAG_LRO != 0 {
        reasons.push(format!("it merges packets itself: see `ethtool -K {interface} lro off`"));
    }
    if driver(interface).as_deref() == Some("virtio_net") {
        reasons.push(
            "virtio needs two queues for each CPU and no receive offload for guests: see \
             `ethtool -l` and the hypervisor's guest_tso4, guest_tso6, guest_csum"
                .to_owned(),
        );
    }
    if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) }
}

/// A page less what the kernel keeps for itself in front of and behind a packet (kernel's XDP_PACKET_HEADROOM and skb_shared_info).
const ONE_BUFFER_MTU: u32 = 3498;
/// ETHTOOL_GFLAGS and ETH_FLAG_LRO (kernel's include/uapi/linux/ethtool.h).
const GET_FLAGS: u32 = 0x0000_0025;
const FLAG_LRO: u32 = 1 << 15;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

fn flags(interface: &str) -> Option<u32> {
    let mut value = Value { command: GET_FLAGS, data: 0 };
    let mut request = request(interface)?;
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request names a buffer of the size that this command fills, which outlives the call.
    unsafe { ask(SIOCETHTOOL, &mut request) }?;
    Some(value.data)
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
