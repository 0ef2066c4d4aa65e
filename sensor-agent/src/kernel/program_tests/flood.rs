//! A flood from listed sources against a network device, and what each defence drops of it for a second of processor time.
//!
//! A benchmark and no test: `cargo xtask bench flood` runs it in a network namespace of its own. The kernel generates the packets (live frames of
//! BPF_PROG_TEST_RUN, 5.18 and later) on one processor; the device's packets are taken by a kernel thread on another, whose time is read.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::Array;
use aya::programs::xdp::XdpMode;
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use sensor_common::bench::{SourceSet, source_v4};
use sensor_common::counter::XdpCounter;
use sensor_common::map;

use super::packets::block;
use super::{Hash, Moved, Scratch, map_of, runnable};
use crate::kernel::lists::NewBlock;
use crate::kernel::wire::Wire;
use crate::kernel::{resize, sensor};

const GENERATOR: &str = "flood0";
const VICTIM: &str = "victim0";
const ROUNDS: usize = 5;
const PACKETS: u32 = 3_000_000;
/// Packets that the kernel hands over at once.
const BATCH: u32 = 64;

#[derive(Clone, Copy, PartialEq)]
enum Defence {
    /// A program that drops everything: what the device itself costs.
    Floor,
    Sensor,
    /// A program that reads the source and drops everything: packets come from another processor's cache.
    Look,
    /// One look-up in a hash: the least that any list costs.
    Hash,
    /// A set in nftables' earliest hook.
    Nftables,
}

const DEFENCES: [(Defence, &str); 5] = [
    (Defence::Floor, "XDP, drop all"),
    (Defence::Look, "XDP, look and drop all"),
    (Defence::Hash, "one hash look-up"),
    (Defence::Sensor, "sensor"),
    (Defence::Nftables, "nftables, ingress set"),
];

#[test]
#[ignore = "a benchmark: `cargo xtask bench flood`"]
fn flood() {
    assert!(runnable());
    let object = fs::read(std::env::var("SENSOR_BENCH_OBJECT").unwrap()).unwrap();
    let thread = victim();
    println!(
        "packets dropped for a second of processor time, millions (median of {ROUNDS} rounds, lowest and highest)"
    );
    for sources in [256u32, 65_536] {
        let scratch = Scratch::new("flood");
        drop(resize::load_firewall(&object, &scratch.pins, 262_144).unwrap());
        let mut object =
            sensor::load_sized(&object, &scratch.pins, &sensor::FIREWALL_MAPS, &[("PLAIN", 262_144)])
                .unwrap();
        fill_plain(&mut object, sources);
        let list: Vec<NewBlock> = (0..sources)
            .map(|index| {
                block(
                    &format!("{}/32", Ipv4Addr::from(source_v4(index.into()))),
                    Some(Duration::from_secs(3600)),
                )
            })
            .collect();
        scratch.lists().block_many(&list).unwrap();
        nftables(&list);
        measure(&mut object, sources, thread);
    }
}

fn fill_plain(object: &mut Ebpf, sources: u32) {
    let mut plain: Hash<'_, [u8; 4], u64> = map_of(object, "PLAIN");
    (0..sources).for_each(|index| plain.insert(source_v4(index.into()).to_be_bytes(), 0, 0).unwrap());
}

/// Makes the pair of devices; returns the thread that takes the victim's packets.
fn victim() -> Pid {
    run("ip", &["link", "add", GENERATOR, "type", "veth", "peer", "name", VICTIM]);
    for device in [GENERATOR, VICTIM] {
        run("ip", &["link", "set", device, "up"]);
        // Without a program on it, a veth device takes packets in a thread only if it may merge them.
        run("ethtool", &["-K", device, "gro", "on"]);
    }
    fs::write(format!("/sys/class/net/{VICTIM}/threaded"), "1").unwrap();
    let thread = napi_thread().expect("the device has a thread of its own");
    pin(thread, 0);
    pin(Pid::from_raw(0), 1);
    thread
}

fn napi_thread() -> Option<Pid> {
    let name = format!("napi/{VICTIM}");
    for _ in 0..50 {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
            let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            if comm.starts_with(&name[..name.len().min(15)]) {
                return Some(Pid::from_raw(pid));
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    None
}

fn pin(pid: Pid, cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    sched_setaffinity(pid, &set).unwrap();
}

/// Nanoseconds that a thread has run.
fn run_time(pid: Pid) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn measure(object: &mut Ebpf, sources: u32, thread: Pid) {
    let interface = u64::from(nix::net::if_::if_nametoindex(GENERATOR).unwrap());
    let set = SourceSet { mask: u64::from(sources) - 1, interface, ..SourceSet::default() };
    let mut map: Array<_, Wire<SourceSet>> = map_of(object, "SOURCES");
    map.set(0, Wire(set), 0).unwrap();
    for name in [
        "sensor_bench_flood",
        "sensor_bench_drop_all",
        "sensor_bench_look",
        "sensor_bench_deployed",
        "sensor_bench_hash_deployed",
    ] {
        let xdp: &mut Xdp = object.program_mut(name).unwrap().try_into().unwrap();
        xdp.load().unwrap();
    }
    let mut rates = DEFENCES.map(|_| Vec::new());
    let mut moved = Moved::new(XdpCounter::COUNT);
    for _ in 0..ROUNDS {
        for (rates, (defence, _)) in rates.iter_mut().zip(DEFENCES) {
            rates.push(defended(object, defence, thread, &mut moved));
        }
    }
    println!("\n{sources} listed sources");
    let medians = rates.clone().map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    for ((rates, median), (_, name)) in rates.iter().zip(medians).zip(DEFENCES) {
        let lowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = rates.iter().copied().fold(0.0, f64::max);
        let share = median / medians[0];
        println!("{name:<24} {median:>6.2} ({lowest:.2} to {highest:.2}), {share:.2} of the floor");
    }
    println!("sensor / nftables: {:.1}", medians[3] / medians[4]);
}

/// Millions of packets that the defence drops for a second of processor time.
fn defended(object: &mut Ebpf, defence: Defence, thread: Pid, moved: &mut Moved) -> f64 {
    let link = match defence {
        Defence::Nftables => {
            nft("add rule netdev flood ingress ip saddr @sources counter drop");
            None
        }
        Defence::Floor => Some(attach(object, "sensor_bench_drop_all")),
        Defence::Look => Some(attach(object, "sensor_bench_look")),
        Defence::Hash => Some(attach(object, "sensor_bench_hash_deployed")),
        Defence::Sensor => Some(attach(object, "sensor_bench_deployed")),
    };
    dropped(object, moved);
    let before = run_time(thread);
    send(object);
    thread::sleep(Duration::from_millis(50));
    let time = run_time(thread) - before;
    let packets = match defence {
        Defence::Nftables => {
            let packets = nft_packets();
            nft("flush chain netdev flood ingress");
            packets
        }
        Defence::Floor | Defence::Look | Defence::Hash | Defence::Sensor => dropped(object, moved),
    };
    if let Some((name, link)) = link {
        let xdp: &mut Xdp = object.program_mut(name).unwrap().try_into().unwrap();
        xdp.detach(link).unwrap();
    }
    packets as f64 * 1000.0 / time as f64
}

fn attach(object: &mut Ebpf, name: &'static str) -> (&'static str, aya::programs::xdp::XdpLinkId) {
    let xdp: &mut Xdp = object.program_mut(name).unwrap().try_into().unwrap();
    let link = xdp.attach(VICTIM, XdpMode::Driver).unwrap();
    // A program replaces the device's queues, and with them its thread's place.
    fs::write(format!("/sys/class/net/{VICTIM}/threaded"), "1").unwrap();
    (name, link)
}

fn dropped(object: &Ebpf, moved: &mut Moved) -> u64 {
    let counted = moved.since(object, map::XDP_COUNTERS, |index| XdpCounter::ALL[index].name());
    counted.iter().find(|(name, _)| *name == XdpCounter::DroppedAddress.name()).map_or(0, |(_, count)| *count)
}

/// A flood of the smallest packets: Ethernet, IPv4, UDP.
fn send(object: &mut Ebpf) {
    let mut packet =
        vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend([192, 0, 2, 9, 192, 0, 2, 1]);
    packet.extend([0xc0, 0, 0, 9, 0, 26, 0, 0]);
    packet.resize(60, 0);
    let xdp: &Xdp = object.program("sensor_bench_flood").unwrap().try_into().unwrap();
    let attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
    let options = TestRunOptions { data_in: Some(&packet), repeat: PACKETS, attrs, ..Default::default() };
    xdp.test_run(options).unwrap();
}

fn nftables(list: &[NewBlock]) {
    let addresses: Vec<String> = list.iter().map(|new| new.target.addr().to_string()).collect();
    let _ = Command::new("nft").args(["delete", "table", "netdev", "flood"]).stderr(Stdio::null()).status();
    nft(&format!(
        "table netdev flood {{\n set sources {{ type ipv4_addr; elements = {{ {} }} }}\n chain ingress {{ type filter hook ingress \
         device {VICTIM} priority -500; }}\n}}",
        addresses.join(", ")
    ));
}

fn nft(commands: &str) {
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "nft refused");
}

fn nft_packets() -> u64 {
    let out = Command::new("nft").args(["list", "chain", "netdev", "flood", "ingress"]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let (_, count) = text.split_once("packets ").expect("a counter");
    count.split_whitespace().next().unwrap().parse().unwrap()
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}
