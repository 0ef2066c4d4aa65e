//! The running process as the agent can find it again.

use aya_ebpf::helpers::{
    bpf_get_current_comm, bpf_get_current_uid_gid, generated::bpf_get_current_cgroup_id,
};
use sensor_common::owner::{Offsets, Owner};

use crate::kernel::{offsets, read};

/// Process id namespaces inside one another that are looked through; the kernel allows 32.
const MAX_LEVELS: u32 = 8;

/// The process of the running thread.
#[inline(always)]
pub(crate) fn owner(task: u64) -> Option<Owner> {
    let at = offsets();
    let leader: u64 = read(task, at.task_leader)?;
    Some(Owner {
        started_ns: read(leader, at.task_started)?,
        // SAFETY: the helper has no requirements.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        process: number(&at, leader).unwrap_or(0),
        // The lower half is the user.
        user: bpf_get_current_uid_gid() as u32,
        name: bpf_get_current_comm().unwrap_or([0; 16]),
    })
}

/// The process's number in the agent's namespace: it has one in its own and in each around it.
#[inline(always)]
fn number(at: &Offsets, leader: u64) -> Option<u32> {
    let pid: u64 = read(leader, at.task_pid)?;
    let level: u32 = read(pid, at.pid_level)?;
    let mut upid = pid.wrapping_add(at.pid_numbers as u64);
    for nested in 0..MAX_LEVELS {
        if nested > level {
            return None;
        }
        let namespace: u64 = read(upid, at.upid_namespace)?;
        if read::<u32>(namespace, at.namespace_inode)? == at.own_namespace {
            return read(upid, at.upid_number);
        }
        upid = upid.wrapping_add(at.upid_size as u64);
    }
    None
}
