//! The engines' place among the processes of the host: as entitled to processor time as any, but never in a hurry. The application that wakes up does not
//! wait for an engine to finish its turn, and an engine that wakes up does not push the application aside.

use std::io;

/// SCHED_BATCH (sched(7)): a thread that wakes up lets the running one go on.
const BATCH: u32 = libc::SCHED_BATCH as u32;
/// Length of a turn in nanoseconds, the shortest that the kernel takes (6.12 and later; older ones ignore it).
const TURN_NS: u64 = 100_000;

/// `struct sched_attr`, its first version (sched_setattr(2)).
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Gives the calling thread that place.
///
/// # Errors
/// If the kernel refuses; the thread then keeps the place it has.
pub(super) fn be_patient() -> io::Result<()> {
    let attributes = Attributes {
        size: size_of::<Attributes>() as u32,
        policy: BATCH,
        flags: 0,
        nice: 0,
        priority: 0,
        runtime: TURN_NS,
        deadline: 0,
        period: 0,
    };
    // SAFETY: the attributes are of the size that they say, and outlive the call, which only reads them; 0 is the calling thread.
    let answer = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_it() {
        std::thread::spawn(|| {
            be_patient().unwrap();
            // SAFETY: asks about the calling thread.
            assert_eq!(unsafe { libc::sched_getscheduler(0) }, libc::SCHED_BATCH);
        })
        .join()
        .unwrap();
    }
}
