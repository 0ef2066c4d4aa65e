//! What a packet costs in the XDP program, run by the kernel itself (BPF_PROG_TEST_RUN): nanoseconds over an empty program of the same run.
//!
//! A benchmark and no test: `cargo xtask bench xdp` runs it, in the release profile, and nothing is asserted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::Array;
use aya::programs::{TestRun, TestRunOptions, Xdp};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sensor_common::bench::{SourceSet, source_v4, source_v6};

use super::packets::{Tcp, block, tcp};
use super::peer::{LISTED, Peer};
use super::{Hash, Scratch, map_of, runnable};
use crate::kernel::lists::{Lists, NewBlock, Origin, Scope};
use crate::kernel::resize;
use crate::kernel::wire::Wire;

/// Addresses of each family in the four lists that are measured; the second figure is prefixes.
const LISTS: [(u64, u64); 4] = [(0, 0), (1_000, 0), (100_000, 10_000), (1_000_000, 100_000)];
/// Where the prefixes lie: no source of the sequence does.
const NETS_V4: u32 = 0xe000_0000;
/// Where the addresses that are in no list begin in the sequence.
const UNLISTED: u64 = 1 << 31;
const ROUNDS: usize = 24;
const REPEAT: u32 = 300_000;

struct Row {
    name: &'static str,
    set: SourceSet,
}

#[test]
#[ignore = "a benchmark: `cargo xtask bench xdp`"]
fn speed() {
    assert!(runnable());
    let object = std::fs::read(std::env::var("SENSOR_BENCH_OBJECT").unwrap()).unwrap();
    println!(
        "nanoseconds a packet over an empty program (mean of the middle half of {ROUNDS} rounds of {REPEAT} packets)"
    );
    beside(&object);
    let only = std::env::var("SENSOR_BENCH_LIST").ok().and_then(|list| list.parse::<u64>().ok());
    for (addresses, prefixes) in LISTS.into_iter().filter(|list| only.is_none_or(|only| only == list.0)) {
        let scratch = Scratch::new("speed");
        let room = u32::try_from(addresses + prefixes + 1024).unwrap();
        let mut object = load(&object, &scratch, room);
        fill_plain(&mut object, addresses);
        let mut lists = scratch.lists();
        let took = fill(&mut lists, addresses, prefixes);
        let loaded = if took.is_zero() { String::new() } else { format!(", loaded in {took:.2?}") };
        println!("\n{addresses} addresses and {prefixes} prefixes of each family, exemptions{loaded}");
        measure(&mut object, addresses);
        if addresses > 0 {
            changes(&mut lists);
        }
    }
}

/// What Debian's xdp-filter takes for a packet from one source: the others cannot be asked of it, since no program makes sources for it.
fn beside(object: &[u8]) {
    let Some(peer) = Peer::start() else { return println!("xdp-filter is not installed, or runs already") };
    let scratch = Scratch::new("speed");
    let mut object = load(object, &scratch, 1024);
    let empty: &mut Xdp = object.program_mut(PROGRAMS[0]).unwrap().try_into().unwrap();
    empty.load().unwrap();
    let [missed, hit] = [UNLISTED, 0].map(|index| {
        let from = Ipv4Addr::from(source_v4(index)).to_string();
        let packet = tcp(&from, "192.0.2.2", Tcp { payload: b"GET / HTTP/1.1\r\n\r\n", ..Tcp::default() });
        let mut taken = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (times, program) in taken.iter_mut().zip([&*empty, &peer.program]) {
                times.push(time(program, &packet));
            }
        }
        let [empty, filter] = taken.map(middle);
        (empty, filter - empty)
    });
    println!("the empty program takes {:.1}", missed.0);
    println!(
        "xdp-filter with {LISTED} addresses, one source: not listed {:.1}, blocked {:.1}",
        missed.1, hit.1
    );
}

fn load(object: &[u8], scratch: &Scratch, room: u32) -> Ebpf {
    drop(resize::load_firewall(object, &scratch.pins, room).unwrap());
    // What is pinned keeps its size; the plain hash is not.
    crate::kernel::sensor::load_sized(
        object,
        &scratch.pins,
        &crate::kernel::sensor::FIREWALL_MAPS,
        &[("PLAIN", room)],
    )
    .unwrap()
}

fn fill_plain(object: &mut Ebpf, addresses: u64) {
    let mut plain: Hash<'_, [u8; 4], u64> = map_of(object, "PLAIN");
    for index in 0..addresses {
        plain.insert(source_v4(index).to_be_bytes(), 0, 0).unwrap();
    }
}

/// Makes the lists; returns how long that took.
fn fill(lists: &mut Lists, addresses: u64, prefixes: u64) -> Duration {
    for exempt in ["127.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32", "::1/128", "fe80::/64"] {
        lists.exempt(exempt.parse().unwrap(), Origin::Host).unwrap();
    }
    let v4 = (0..addresses).map(|index| IpNet::from(IpAddr::from(Ipv4Addr::from(source_v4(index)))));
    let v6 = (0..addresses).map(|index| IpNet::from(IpAddr::from(address_v6(index))));
    // Lengths as routing tables and block lists have them: most are /24, some shorter, some longer. They lie where no source of the rows does.
    let v4_nets = (0..prefixes).map(|index| {
        let length = [24, 24, 24, 24, 24, 24, 22, 23, 20, 28][(index % 10) as usize];
        IpNet::from(
            Ipv4Net::new(Ipv4Addr::from(NETS_V4 | source_v4((3 << 30) + index)), length).unwrap().trunc(),
        )
    });
    let v6_nets = (0..prefixes).map(|index| {
        let length = [48, 48, 48, 64, 64, 56, 44, 32, 40, 36][(index % 10) as usize];
        IpNet::from(Ipv6Net::new(address_v6((3 << 30) + index), length).unwrap().trunc())
    });
    let new: Vec<NewBlock> = v4
        .chain(v6)
        .chain(v4_nets)
        .chain(v6_nets)
        .map(|target| NewBlock {
            target,
            scope: Scope::Host,
            ..block("192.0.2.9/32", Some(Duration::from_secs(3600)))
        })
        .collect();
    let start = Instant::now();
    lists.block_many(&new).unwrap();
    if new.is_empty() { Duration::ZERO } else { start.elapsed() }
}

/// What changing a list of this size costs, from user space.
fn changes(lists: &mut Lists) {
    let extra: Vec<_> = (0..100)
        .map(|index| block(&format!("{}/32", Ipv4Addr::from(source_v4(UNLISTED + index))), None))
        .collect();
    let start = Instant::now();
    extra.iter().for_each(|new| lists.block(new).unwrap());
    let added = start.elapsed() / 100;
    let start = Instant::now();
    extra.iter().for_each(|new| assert!(lists.unblock(new.target, Scope::Host).unwrap()));
    let removed = start.elapsed() / 100;
    let start = Instant::now();
    let listed = lists.blocked().unwrap().len();
    let list = start.elapsed();
    let start = Instant::now();
    lists.rebuild(&[]).unwrap();
    let rebuilt = start.elapsed();
    println!(
        "add one {added:.1?}, remove one {removed:.1?}, list {listed} in {list:.2?}, new filter in {rebuilt:.2?}"
    );
}

fn address_v6(index: u64) -> Ipv6Addr {
    let (high, low) = source_v6(index);
    Ipv6Addr::from(u128::from(high) << 64 | u128::from(low))
}

fn measure(object: &mut Ebpf, listed: u64) {
    for name in PROGRAMS {
        let xdp: &mut Xdp = object.program_mut(name).unwrap().try_into().unwrap();
        xdp.load().unwrap();
    }
    let within = |first: u64, mask: u64| SourceSet { first, mask, ..SourceSet::default() };
    let mut rows = vec![
        Row { name: "not listed, one source", set: within(UNLISTED, 0) },
        Row { name: "not listed, 4,096 sources", set: within(UNLISTED, 4095) },
        Row { name: "not listed, 2^20 sources", set: within(UNLISTED, (1 << 20) - 1) },
    ];
    if listed > 0 {
        let all = (listed + 1).next_power_of_two() / 2 - 1;
        rows.push(Row { name: "blocked, one source", set: within(0, 0) });
        rows.push(Row { name: "blocked, every listed source", set: within(0, all) });
        let v4_bits = u64::from(NETS_V4);
        rows.push(Row {
            name: "blocked prefix, one source",
            set: SourceSet { v4_bits, ..within(3 << 30, 0) },
        });
    }
    println!("{:<32} {:>8} {:>8} {:>12} {:>12}", "", "IPv4", "IPv6", "plain hash", "the sources");
    for row in rows {
        let [sources, hash, v4] = over_empty(object, &row.set, "192.0.2.1", "192.0.2.2");
        let [_, _, v6] = over_empty(object, &SourceSet { is_v6: 1, ..row.set }, "2001:db8::1", "2001:db8::2");
        println!("{:<32} {v4:>8.1} {v6:>8.1} {hash:>12.1} {sources:>12.1}", row.name);
    }
}

/// The floor, the source of addresses, a hash of IPv4 addresses, and the firewall.
const PROGRAMS: [&str; 4] =
    ["sensor_bench_empty", "sensor_bench_sources", "sensor_bench_hash", "sensor_bench_firewall"];

/// Nanoseconds over an empty program of the other programs, interleaved.
fn over_empty(object: &mut Ebpf, set: &SourceSet, from: &str, to: &str) -> [f64; 3] {
    let mut sources: Array<_, Wire<SourceSet>> = map_of(object, "SOURCES");
    sources.set(0, Wire(*set), 0).unwrap();
    let packet = tcp(from, to, Tcp { payload: b"GET / HTTP/1.1\r\n\r\n", ..Tcp::default() });
    let mut taken = PROGRAMS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (times, name) in taken.iter_mut().zip(PROGRAMS) {
            let xdp: &Xdp = object.program(name).unwrap().try_into().unwrap();
            times.push(time(xdp, &packet));
        }
    }
    let [empty, sources, hash, firewall] = taken.map(middle);
    [sources - empty, hash - empty, firewall - empty]
}

/// Nanoseconds that the program takes for the packet.
fn time(program: &Xdp, packet: &[u8]) -> f64 {
    let options = TestRunOptions { data_in: Some(packet), repeat: REPEAT, ..Default::default() };
    program.test_run(options).unwrap().duration.as_nanos() as f64
}

/// Mean of the middle half.
fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let quarter = times.len() / 4;
    let half = &times[quarter..times.len() - quarter];
    half.iter().sum::<f64>() / half.len() as f64
}
