//! The XDP program: packet → verdict and the one counter that moves.

use std::time::Duration;

use aya::Ebpf;
use aya::programs::{TestRun, TestRunOptions, Xdp};
use sensor_common::counter::XdpCounter;
use sensor_common::{map, program};

use super::packets::{Tcp, block, tagged, tcp, with_ipv4_options};
use super::{Moved, Scratch, runnable};
use crate::kernel::lists::{Lists, NewBlock, Origin};

const PASS: u32 = 2;
const DROP: u32 = 1;

struct Bench {
    object: Ebpf,
    lists: Lists,
    moved: Moved,
    _scratch: Scratch,
}

impl Bench {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let mut object = scratch.firewall();
        let xdp: &mut Xdp = object.program_mut(program::FIREWALL).unwrap().try_into().unwrap();
        xdp.load().unwrap();
        Self { object, lists: scratch.lists(), moved: Moved::new(XdpCounter::COUNT), _scratch: scratch }
    }

    fn run(&mut self, packet: &[u8]) -> (u32, Vec<(&'static str, u64)>) {
        let xdp: &Xdp = self.object.program(program::FIREWALL).unwrap().try_into().unwrap();
        let verdict = xdp.test_run(TestRunOptions { data_in: Some(packet), ..Default::default() }).unwrap();
        let moved = self.moved.since(&self.object, map::XDP_COUNTERS, |index| XdpCounter::ALL[index].name());
        (verdict.return_value, moved)
    }

    fn check(&mut self, packet: &[u8], verdict: u32, counter: XdpCounter, row: &str) {
        assert_eq!(self.run(packet), (verdict, vec![(counter.name(), 1)]), "{row}");
    }
}

fn from(source: &str) -> Vec<u8> {
    let to = if source.contains(':') { "2001:db8:ffff::1" } else { "192.0.2.1" };
    tcp(source, to, Tcp { payload: b"GET / HTTP/1.1\r\n\r\n", ..Tcp::default() })
}

#[test]
fn every_packet_gets_its_verdict_and_moves_one_counter() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("firewall");
    let lists = &mut bench.lists;
    for target in ["203.0.113.7/32", "198.51.100.0/24", "2001:db8::bad/128", "2001:db8:bad::/48"] {
        lists.block(&block(target, None)).unwrap();
    }
    lists.block(&block("203.0.113.8/32", Some(Duration::ZERO))).unwrap();
    lists.block(&block("203.0.113.9/32", Some(Duration::from_secs(3600)))).unwrap();
    lists.block(&NewBlock { shadow: true, ..block("203.0.113.10/32", None) }).unwrap();
    lists.block(&NewBlock { shadow: true, ..block("198.51.100.9/32", None) }).unwrap();
    lists.exempt("198.51.100.128/25".parse().unwrap(), Origin::Operator).unwrap();
    lists.exempt("2001:db8:bad:1::/64".parse().unwrap(), Origin::Operator).unwrap();

    use XdpCounter::{DroppedAddress, DroppedPrefix, Exempt, Expired, Malformed, NotIp, NotListed, Shadow};
    let mut arp = from("203.0.113.7");
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let mut short_header = from("203.0.113.7");
    short_header[14] = 0x44;
    let rows: [(&str, Vec<u8>, u32, XdpCounter); 20] = [
        ("not listed v4", from("203.0.113.6"), PASS, NotListed),
        ("not listed v6", from("2001:db8::1"), PASS, NotListed),
        ("address v4", from("203.0.113.7"), DROP, DroppedAddress),
        ("address v6", from("2001:db8::bad"), DROP, DroppedAddress),
        ("prefix v4", from("198.51.100.1"), DROP, DroppedPrefix),
        ("prefix v6", from("2001:db8:bad::1"), DROP, DroppedPrefix),
        ("one tag", tagged(&from("203.0.113.7"), 1), DROP, DroppedAddress),
        ("two tags", tagged(&from("203.0.113.7"), 2), DROP, DroppedAddress),
        ("one tag v6", tagged(&from("2001:db8::bad"), 1), DROP, DroppedAddress),
        ("options", with_ipv4_options(&from("203.0.113.7"), 10), DROP, DroppedAddress),
        ("expired", from("203.0.113.8"), PASS, Expired),
        ("expires later", from("203.0.113.9"), DROP, DroppedAddress),
        ("shadow", from("203.0.113.10"), PASS, Shadow),
        ("shadow address in a blocked prefix", from("198.51.100.9"), DROP, DroppedPrefix),
        ("exempt in a blocked prefix", from("198.51.100.200"), PASS, Exempt),
        ("exempt in a blocked prefix v6", from("2001:db8:bad:1::5"), PASS, Exempt),
        ("arp", arp, PASS, NotIp),
        ("header length 4", short_header, PASS, Malformed),
        ("cut in the IPv4 header", from("203.0.113.7")[..30].to_vec(), PASS, Malformed),
        ("cut in the IPv6 header", from("2001:db8::bad")[..50].to_vec(), PASS, Malformed),
    ];
    for (row, packet, verdict, counter) in rows {
        bench.check(&packet, verdict, counter, row);
    }
}

#[test]
fn hits_are_counted_and_survive_a_replaced_entry() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("hits");
    bench.lists.block(&block("203.0.113.7/32", None)).unwrap();
    for _ in 0..3 {
        bench.run(&from("203.0.113.7"));
    }
    bench.lists.block(&block("203.0.113.7/32", Some(Duration::from_secs(60)))).unwrap();
    bench.run(&from("203.0.113.7"));
    let listed = bench.lists.blocked().unwrap();
    assert_eq!((listed[0].hits, listed[0].last_hit_ago.is_some()), (4, true));
}

#[test]
fn an_entry_ends_in_the_kernel_without_anybody_removing_it() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("expiry");
    bench.lists.block(&block("203.0.113.7/32", Some(Duration::from_millis(300)))).unwrap();
    bench.check(&from("203.0.113.7"), DROP, XdpCounter::DroppedAddress, "before");
    std::thread::sleep(Duration::from_millis(350));
    bench.check(&from("203.0.113.7"), PASS, XdpCounter::Expired, "after");
    assert!(bench.lists.blocked().unwrap().is_empty());
    assert_eq!(bench.lists.sweep().unwrap(), 0);
    bench.check(&from("203.0.113.7"), PASS, XdpCounter::NotListed, "swept");
}

#[test]
fn the_panic_switch_suspends_automatic_blocks_only() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("panic");
    bench.lists.block(&block("203.0.113.7/32", None)).unwrap();
    bench.lists.block_automatically("203.0.113.8".parse().unwrap(), u64::MAX, false, "x").unwrap();
    bench.lists.suspend_automatic(true).unwrap();
    bench.check(&from("203.0.113.7"), DROP, XdpCounter::DroppedAddress, "operator's");
    bench.check(&from("203.0.113.8"), PASS, XdpCounter::Suspended, "automatic");
    bench.lists.suspend_automatic(false).unwrap();
    bench.check(&from("203.0.113.8"), DROP, XdpCounter::DroppedAddress, "resumed");
}
