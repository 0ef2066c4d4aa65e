//! Debian's xdp-filter beside the firewall: what a packet costs in it, measured in the same way and in the same run.

use std::path::Path;
use std::process::Command;

use aya::maps::{Map, MapData, PerCpuHashMap, PerCpuValues};
use aya::programs::{Xdp, loaded_programs};
use aya::util::nr_cpus;
use aya_obj::programs::XdpAttachType;
use sensor_common::bench::source_v4;

/// The program that `xdp-filter load --features ipv4 --policy allow` loads.
const PROGRAM: &str = "xdpfilt_alw_ip";
/// Its addresses, pinned by it.
const ADDRESSES: &str = "/sys/fs/bpf/xdp-filter/filter_ipv4";
/// Addresses in its list: it has room for 10,000.
pub(super) const LISTED: u64 = 9_000;
/// The bit of an entry's value that says that sources are meant.
const SOURCE: u64 = 1;

/// xdp-filter at a device of a network namespace of its own; both go when this is dropped.
pub(super) struct Peer {
    namespace: String,
    pub(super) program: Xdp,
}

impl Peer {
    /// Starts it and fills its list; `None` if it is not installed, or another one is running, whose lists it would share.
    pub(super) fn start() -> Option<Self> {
        if !Path::new("/usr/sbin/xdp-filter").exists() || Path::new(ADDRESSES).exists() {
            return None;
        }
        let namespace = format!("sensor-peer-{}", std::process::id());
        run(&format!("ip netns add {namespace}"));
        run(&format!("ip -n {namespace} link add peer0 type veth peer name peer1"));
        run(&inside(&namespace, "load --mode skb --features ipv4 --policy allow peer0"));
        fill();
        let mut programs = loaded_programs().filter_map(Result::ok);
        let info = programs.find(|program| program.name_as_str() == Some(PROGRAM)).unwrap();
        let program = Xdp::from_program_info(info, PROGRAM.into(), XdpAttachType::Interface).unwrap();
        Some(Self { namespace, program })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        run(&inside(&self.namespace, "unload --all"));
        run(&format!("ip netns delete {}", self.namespace));
    }
}

/// A command of xdp-filter there. `ip netns exec` would show it another /sys, without the pinned maps.
fn inside(namespace: &str, arguments: &str) -> String {
    format!("nsenter --net=/run/netns/{namespace} /usr/sbin/xdp-filter {arguments}")
}

fn run(command: &str) {
    let mut words = command.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "`{command}` failed ({status})");
}

fn fill() {
    let map = Map::from_map_data(MapData::from_pin(ADDRESSES).unwrap()).unwrap();
    let mut addresses: PerCpuHashMap<_, [u8; 4], u64> = map.try_into().unwrap();
    let cpus = nr_cpus().unwrap();
    for index in 0..LISTED {
        let value = PerCpuValues::try_from(vec![SOURCE; cpus]).unwrap();
        addresses.insert(source_v4(index).to_be_bytes(), value, 0).unwrap();
    }
}
