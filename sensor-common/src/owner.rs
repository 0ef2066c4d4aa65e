//! Who accepted a connection: the value of the map that the owner programs fill, and where in the kernel's own structures they look.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The process that accepted a connection. The key is the connection's [`crate::flow::FlowKey`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Owner {
    /// When the process started, nanoseconds of the boot clock: tells it from a later one of the same number.
    pub started_ns: u64,
    /// Its control group's id in the unified hierarchy.
    pub cgroup: u64,
    /// Its number in the agent's process id namespace; 0 if it has none there.
    pub process: u32,
    /// Its effective user, as the initial user namespace counts.
    pub user: u32,
    /// The accepting thread's name (TASK_COMM_LEN), padded with zeros.
    pub name: [u8; 16],
}

/// Byte offsets of members of the running kernel's structures, from its type information, and the agent's process id namespace.
///
/// Paths are those of the kernel's source: `file_private` is `struct file`'s `private_data`, for example.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Offsets {
    /// `task_struct.files`.
    pub task_files: u32,
    /// `task_struct.group_leader`.
    pub task_leader: u32,
    /// `task_struct.start_boottime`.
    pub task_started: u32,
    /// `task_struct.thread_pid`.
    pub task_pid: u32,
    /// `pid.level`.
    pub pid_level: u32,
    /// `pid.numbers`.
    pub pid_numbers: u32,
    /// Size of one of `pid.numbers`.
    pub upid_size: u32,
    /// `upid.nr`.
    pub upid_number: u32,
    /// `upid.ns`.
    pub upid_namespace: u32,
    /// `pid_namespace.ns.inum`.
    pub namespace_inode: u32,
    /// `files_struct.fdt`.
    pub files_table: u32,
    /// `fdtable.fd`.
    pub table_files: u32,
    /// `fdtable.max_fds`.
    pub table_size: u32,
    /// `file.private_data`.
    pub file_private: u32,
    /// `socket.sk`.
    pub socket_sock: u32,
    /// `sock.__sk_common.skc_family`.
    pub sock_family: u32,
    /// `sock.__sk_common.skc_num`.
    pub sock_port: u32,
    /// `sock.__sk_common.skc_dport`.
    pub sock_peer_port: u32,
    /// `sock.__sk_common.skc_rcv_saddr`.
    pub sock_address4: u32,
    /// `sock.__sk_common.skc_daddr`.
    pub sock_peer4: u32,
    /// `sock.__sk_common.skc_v6_rcv_saddr`.
    pub sock_address6: u32,
    /// `sock.__sk_common.skc_v6_daddr`.
    pub sock_peer6: u32,
    /// Inode of the agent's process id namespace.
    pub own_namespace: u32,
}
