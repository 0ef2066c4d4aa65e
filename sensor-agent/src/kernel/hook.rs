//! Which programs a TCX hook holds (BPF_PROG_QUERY, kernel 6.6 and later). The eBPF library opens every program that it finds there, which
//! needs rights that the service does not have; the numbers are enough here.

use std::io;

use aya::programs::TcAttachType;

const PROG_QUERY: libc::c_int = 16;
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;
/// Programs of one hook that are looked at; the kernel takes at most 64.
const MOST: usize = 64;

/// The part of `union bpf_attr` for this command (kernel's include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    interface: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    reserved: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

/// Numbers of the programs in the hook.
///
/// # Errors
/// If the kernel has no such hooks, or does not tell.
pub(super) fn programs(interface: u32, direction: TcAttachType) -> io::Result<Vec<u32>> {
    let mut numbers = [0u32; MOST];
    let mut attributes = Attributes {
        interface,
        attach_type: if direction == TcAttachType::Egress { TCX_EGRESS } else { TCX_INGRESS },
        programs: numbers.as_mut_ptr() as u64,
        count: MOST as u32,
        ..Attributes::default()
    };
    // SAFETY: the attributes are of this command's form, and the array they point to has `count` elements; both outlive the call.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut attributes, size_of::<Attributes>()) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(numbers[..(attributes.count as usize).min(MOST)].to_vec())
}
