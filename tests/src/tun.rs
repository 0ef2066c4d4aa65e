//! A cable between two hosts whose packets have no Ethernet header: a tun device on each, and a thread that carries packets from one to the other.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::lab::Host;

/// Attaches a descriptor to a device (kernel's include/uapi/linux/if_tun.h).
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
/// Packets begin with their IP header, and nothing else.
const IP_PACKETS: libc::c_int = libc::IFF_TUN | libc::IFF_NO_PI;
/// Milliseconds after which the thread looks whether it is to end.
const LOOK_UP: u8 = 100;

/// The cable; its devices go away with it.
#[derive(Debug)]
pub struct Cable {
    stop: Arc<AtomicBool>,
    pump: Option<JoinHandle<()>>,
}

impl Cable {
    /// Joins two hosts by devices of that name, which are then to be given addresses.
    ///
    /// # Errors
    /// Without root, or if the kernel has no such devices.
    pub fn lay(near: &Host, far: &Host, name: &str) -> Result<Self> {
        let ends = [near.enter(|| device(name))?, far.enter(|| device(name))?];
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let pump = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                if carry(&ends).is_err() {
                    return;
                }
            }
        });
        Ok(Self { stop, pump: Some(pump) })
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(pump) = self.pump.take() {
            // A pump that panicked carries nothing any more, which the test has seen.
            let _ = pump.join();
        }
    }
}

fn device(name: &str) -> Result<File> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    let device = device.context("cannot open `/dev/net/tun`")?;
    // SAFETY: all-zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = IP_PACKETS as libc::c_short;
    // SAFETY: the command reads and writes the request, which outlives the call, and follows no pointer.
    let answer = unsafe { libc::ioctl(device.as_raw_fd(), TUNSETIFF, &raw mut request) };
    if answer < 0 {
        return Err(io::Error::last_os_error()).context("cannot make a tun device");
    }
    Ok(device)
}

/// Waits for packets at either end and hands one over; an end that is not up takes none, and the packet is lost.
fn carry(ends: &[File; 2]) -> io::Result<()> {
    let mut waiting = [0, 1].map(|end: usize| PollFd::new(ends[end].as_fd(), PollFlags::POLLIN));
    poll(&mut waiting, PollTimeout::from(LOOK_UP))?;
    let ready = waiting.map(|end| end.any().unwrap_or(false));
    for (from, to) in [(0, 1), (1, 0)] {
        if ready[from] {
            let mut packet = [0; 1 << 16];
            let length = (&ends[from]).read(&mut packet)?;
            let _ = (&ends[to]).write(&packet[..length]);
        }
    }
    Ok(())
}
