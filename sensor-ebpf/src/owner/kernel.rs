//! Copies out of the kernel's structures, at the places that the agent has found in the kernel's type information.

use aya_ebpf::{
    Global,
    helpers::{bpf_probe_read_kernel, generated::bpf_get_current_task},
};
use sensor_common::owner::Offsets;

/// Set by the agent before the program is loaded.
#[unsafe(no_mangle)]
static OFFSETS: Global<Offsets> = Global::new(UNSET);

const UNSET: Offsets = Offsets {
    task_files: 0,
    task_leader: 0,
    task_started: 0,
    task_pid: 0,
    pid_level: 0,
    pid_numbers: 0,
    upid_size: 0,
    upid_number: 0,
    upid_namespace: 0,
    namespace_inode: 0,
    files_table: 0,
    table_files: 0,
    table_size: 0,
    file_private: 0,
    socket_sock: 0,
    sock_family: 0,
    sock_port: 0,
    sock_peer_port: 0,
    sock_address4: 0,
    sock_peer4: 0,
    sock_address6: 0,
    sock_peer6: 0,
    own_namespace: 0,
};

/// The offsets.
#[inline(always)]
pub(crate) fn offsets() -> Offsets {
    OFFSETS.load()
}

/// The running thread's `task_struct`.
#[inline(always)]
pub(crate) fn current() -> u64 {
    // SAFETY: the helper has no requirements.
    unsafe { bpf_get_current_task() }
}

/// The value `offset` bytes behind an address. A wrong address is an error, never a fault.
#[inline(always)]
pub(crate) fn read<T>(address: u64, offset: u32) -> Option<T> {
    let place = address.wrapping_add(offset as u64) as *const T;
    // SAFETY: the helper copies, and checks every address itself.
    unsafe { bpf_probe_read_kernel(place) }.ok()
}
