//! The programs that note who accepts connections. They are apart from firewall and tap, since nothing else depends on them: where they
//! cannot be had, the agent asks the kernel's socket tables instead.
//!
//! Neither map nor links are pinned. While no agent runs nobody accepts on the record, and an old note about a connection's
//! addresses would name the wrong process.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData, MapError};
use aya::programs::TracePoint;
use aya::{Ebpf, EbpfLoader};
use sensor_common::flow::FlowKey;
use sensor_common::owner::{Offsets, Owner};
use sensor_common::{map, program};

use super::btf::Btf;
use super::flows::endpoint;
use super::gauges::{self, Named};
use super::wire::Wire;
use super::{object, preflight, sensor};

/// System calls behind which the program runs.
const CALLS: [&str; 2] = ["sys_exit_accept4", "sys_exit_accept"];

/// The attached programs and their map. Dropping it detaches them.
pub(crate) struct Owners {
    map: HashMap<MapData, Wire<FlowKey>, Wire<Owner>>,
    gauged: Option<(Vec<Named>, Option<Named>)>,
    /// Holds the programs' links.
    _programs: Ebpf,
}

impl Owners {
    /// Loads and attaches the programs, with room for `max` connections.
    ///
    /// # Errors
    /// If the kernel lacks what they need (type information, tracefs) or refuses them.
    pub(crate) fn start(max: u32) -> Result<Self> {
        let mut programs = load(max)?;
        let accept: &mut TracePoint =
            programs.program_mut(program::ACCEPT).context("no accept program in the object")?.try_into()?;
        accept.load().map_err(|error| sensor::explain_program(error, program::ACCEPT))?;
        sensor::say_loaded(program::ACCEPT, accept.info());
        for call in CALLS {
            accept.attach("syscalls", call).with_context(|| {
                format!(
                    "cannot attach to the tracepoint `{call}`: is tracefs mounted (`mount -t tracefs tracefs \
                     /sys/kernel/tracing`) and readable?"
                )
            })?;
        }
        let gauged = (gauges::programs_of(&programs), gauges::map_of(&programs, map::OWNERS));
        let map = programs.take_map(map::OWNERS).context("no map of owners in the object")?;
        Ok(Self { map: map.try_into()?, gauged: Some(gauged), _programs: programs })
    }

    /// The programs and the map, for the gauges; once.
    pub(crate) fn take_gauged(&mut self) -> (Vec<Named>, Vec<Named>) {
        let (programs, map) = self.gauged.take().unwrap_or_default();
        (programs, map.into_iter().collect())
    }

    /// Who accepted the connection between two endpoints, in either order.
    pub(crate) fn get(&self, a: SocketAddr, b: SocketAddr) -> Result<Option<Owner>> {
        let (key, _) = FlowKey::of(endpoint(a), endpoint(b));
        match self.map.get(&Wire(key), 0) {
            Ok(owner) => Ok(Some(owner.0)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Connections in the map.
    #[cfg(test)]
    pub(crate) fn fill(&self) -> Result<usize> {
        Ok(self.map.keys().filter(Result::is_ok).count())
    }
}

/// The object with the offsets of this kernel in it.
pub(super) fn load(max: u32) -> Result<Ebpf> {
    let offsets = Wire(offsets(&Btf::load(Path::new(preflight::BTF))?)?);
    let mut loader = EbpfLoader::new();
    loader.map_max_entries(map::OWNERS, max).override_global("OFFSETS", &offsets, true);
    loader.load(object::owner()?).map_err(sensor::explain_object)
}

fn offsets(btf: &Btf) -> Result<Offsets> {
    Ok(Offsets {
        task_files: btf.offset("task_struct", "files")?,
        task_leader: btf.offset("task_struct", "group_leader")?,
        task_started: btf.offset("task_struct", "start_boottime")?,
        task_pid: btf.offset("task_struct", "thread_pid")?,
        pid_level: btf.offset("pid", "level")?,
        pid_numbers: btf.offset("pid", "numbers")?,
        upid_size: btf.size("upid")?,
        upid_number: btf.offset("upid", "nr")?,
        upid_namespace: btf.offset("upid", "ns")?,
        namespace_inode: btf.offset("pid_namespace", "ns.inum")?,
        files_table: btf.offset("files_struct", "fdt")?,
        table_files: btf.offset("fdtable", "fd")?,
        table_size: btf.offset("fdtable", "max_fds")?,
        file_private: btf.offset("file", "private_data")?,
        socket_sock: btf.offset("socket", "sk")?,
        sock_family: btf.offset("sock", "__sk_common.skc_family")?,
        sock_port: btf.offset("sock", "__sk_common.skc_num")?,
        sock_peer_port: btf.offset("sock", "__sk_common.skc_dport")?,
        sock_address4: btf.offset("sock", "__sk_common.skc_rcv_saddr")?,
        sock_peer4: btf.offset("sock", "__sk_common.skc_daddr")?,
        sock_address6: btf.offset("sock", "__sk_common.skc_v6_rcv_saddr")?,
        sock_peer6: btf.offset("sock", "__sk_common.skc_v6_daddr")?,
        own_namespace: own_namespace()?,
    })
}

/// Inode of this process's process id namespace.
fn own_namespace() -> Result<u32> {
    let path = "/proc/self/ns/pid";
    let inode = std::fs::metadata(path).with_context(|| format!("cannot examine `{path}`"))?.ino();
    u32::try_from(inode).with_context(|| format!("`{path}` has the inode {inode}, expected 32 bits"))
}
