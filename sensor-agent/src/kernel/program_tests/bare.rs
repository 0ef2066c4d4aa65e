//! Packets that begin with their IP header, as devices without Ethernet headers have them: the same packets, verdicts, counters and records as behind one.

use std::time::Duration;

use sensor_common::counter::XdpCounter;
use sensor_common::program;
use sensor_common::record::{EGRESS, INGRESS, mapped, mark};
use sensor_common::settings::{TapSettings, tunnel};

use super::firewall::{self, DROP, PASS, from};
use super::packets::{Tcp, block, tcp, with_ipv4_options, with_ipv6_extensions};
use super::tap::{self, CLIENT, CLIENT6, GET, SERVER, SERVER6, segment};
use super::{runnable, wrapped};
use crate::kernel::lists::{NewBlock, Scope};

/// The frame without its Ethernet header.
fn bare(frame: &[u8]) -> Vec<u8> {
    frame[14..].to_vec()
}

/// The packet with another version in its first byte.
fn of_version(version: u8, mut packet: Vec<u8>) -> Vec<u8> {
    packet[0] = packet[0] & 0x0f | version << 4;
    packet
}

#[test]
fn the_firewall_judges_packets_without_an_ethernet_header() {
    if !runnable() {
        return;
    }
    use XdpCounter::{DroppedAddress, DroppedPrefix, Expired, Malformed, NotIp, NotListed, Shadow};
    let mut bench = firewall::Bench::of("bare", program::FIREWALL_IP);
    for target in
        ["203.0.113.7/32", "198.51.101.0/24", "2001:db8::bad/128", "2001:db8:bad::/48", "8.0.69.7/32"]
    {
        bench.lists.block(&block(target, None)).unwrap();
    }
    bench.lists.block(&block("203.0.113.8/32", Some(Duration::ZERO))).unwrap();
    bench.lists.block(&NewBlock { shadow: true, ..block("203.0.113.10/32", None) }).unwrap();
    for (target, port) in [("203.0.113.11/32", 8080), ("203.0.113.12/32", 8081)] {
        bench.lists.block(&NewBlock { scope: Scope::Port(port), ..block(target, None) }).unwrap();
    }
    let destination = (60, vec![0; 8]);
    let rows: [(&str, Vec<u8>, u32, XdpCounter); 17] = [
        ("not listed v4", from("203.0.113.6"), PASS, NotListed),
        ("not listed v6", from("2001:db8::1"), PASS, NotListed),
        ("address v4", from("203.0.113.7"), DROP, DroppedAddress),
        ("address v6", from("2001:db8::bad"), DROP, DroppedAddress),
        ("prefix v4", from("198.51.101.1"), DROP, DroppedPrefix),
        ("prefix v6", from("2001:db8:bad::1"), DROP, DroppedPrefix),
        ("an address that reads like an ether type", from("8.0.69.7"), DROP, DroppedAddress),
        ("options", with_ipv4_options(&from("203.0.113.7"), 10), DROP, DroppedAddress),
        ("extension", with_ipv6_extensions(&from("2001:db8::bad"), &[destination]), DROP, DroppedAddress),
        ("expired", from("203.0.113.8"), PASS, Expired),
        ("shadow", from("203.0.113.10"), PASS, Shadow),
        ("its port", from("203.0.113.11"), DROP, DroppedAddress),
        ("another port", from("203.0.113.12"), PASS, NotListed),
        ("cut in the IPv4 header", from("203.0.113.7")[..32].to_vec(), PASS, Malformed),
        ("cut in the IPv6 header", from("2001:db8::bad")[..50].to_vec(), PASS, Malformed),
        ("cut in the TCP header", from("203.0.113.7")[..40].to_vec(), DROP, DroppedAddress),
        ("a short one", from("203.0.113.6")[..44].to_vec(), PASS, NotListed),
    ];
    for (row, frame, verdict, counter) in rows {
        bench.check(&bare(&frame), verdict, counter, row);
    }
    bench.check(&of_version(7, bare(&from("203.0.113.7"))), PASS, NotIp, "version 7");
    let syn = bare(&tcp("203.0.113.6", "192.0.2.1", Tcp { flags: "S", ..Tcp::default() }));
    bench.check_marks(&syn, PASS, NotListed, &[XdpCounter::Syn], "SYN");
    for (row, frame, _, counter) in wrapped::rows(&from("203.0.113.7")) {
        let mark = *XdpCounter::ALL.iter().find(|known| known.name() == counter).unwrap();
        bench.check_marks(&bare(&frame), PASS, NotListed, &[mark], row);
    }
}

#[test]
fn the_tap_reads_packets_without_an_ethernet_header() {
    if !runnable() {
        return;
    }
    let mut bench = tap::Bench::new("bare-tap");
    let get = || tcp(CLIENT, SERVER, segment(1, GET));
    let get6 = || tcp(CLIENT6, SERVER6, segment(1, GET));
    let mut fragment = get();
    fragment[20] = 0x20;
    let mut udp = get();
    udp[23] = 17;
    let destination = (60, vec![0; 8]);
    let mut padded = get();
    padded.extend([0xee; 20]);
    let rows: [(&str, Vec<u8>, &str); 13] = [
        ("plain", bare(&get()), "recorded"),
        ("v6", bare(&get6()), "recorded"),
        (
            "an address that reads like an ether type",
            bare(&tcp("8.0.69.7", SERVER, segment(1, GET))),
            "recorded",
        ),
        ("options", bare(&with_ipv4_options(&get(), 10)), "recorded"),
        (
            "v6 extension",
            bare(&with_ipv6_extensions(&get6(), std::slice::from_ref(&destination))),
            "recorded",
        ),
        ("padding", bare(&padded), "recorded"),
        ("fragment", bare(&fragment), "recorded whole"),
        (
            "v6 eight extensions",
            bare(&with_ipv6_extensions(&get6(), &vec![destination; 8])),
            "recorded whole",
        ),
        ("udp", bare(&udp), "not_tcp"),
        ("version 7", of_version(7, bare(&get())), "not_ip"),
        ("v4 that says v6", of_version(6, bare(&get())), "not_tcp"),
        ("cut in the TCP header", bare(&get()[..44]), "malformed"),
        ("bare acknowledgement", bare(&tcp(CLIENT, SERVER, Tcp::default())), "no_payload"),
    ];
    for (program, direction) in [(program::TAP_INGRESS_IP, INGRESS), (program::TAP_EGRESS_IP, EGRESS)] {
        for (row, packet, outcome) in &rows {
            let (moved, records) = bench.run(program, packet);
            assert_eq!(moved.join(" "), *outcome, "{row}");
            let payloads: Vec<_> = records.iter().map(|(_, payload)| payload.as_slice()).collect();
            let expected = match *outcome {
                "recorded" => vec![GET],
                "recorded whole" => vec![&packet[..]],
                _ => vec![],
            };
            assert_eq!(payloads, expected, "{row}");
            assert!(records.iter().all(|(header, _)| header.direction == direction), "{row}");
        }
    }
    let (_, records) = bench.run(program::TAP_INGRESS_IP, &bare(&get()));
    let header = records[0].0;
    assert_eq!((header.source, header.source_port, header.sequence), (mapped([192, 0, 2, 10]), 40_000, 1));
    assert_eq!(header.marks & mark::WHOLE_PACKET, 0);
}

#[test]
fn the_tap_looks_into_tunnels_of_packets_without_an_ethernet_header() {
    if !runnable() {
        return;
    }
    let mut bench = tap::Bench::new("bare-tunnels");
    let every = tunnel::GRE | tunnel::VXLAN | tunnel::GENEVE | tunnel::IPIP;
    for (row, frame, _, counter) in wrapped::rows(&tcp(CLIENT, SERVER, segment(1, GET))) {
        bench.set(TapSettings { tunnels: 0, ..tap::Bench::SETTINGS });
        assert_eq!(bench.run(program::TAP_INGRESS_IP, &bare(&frame)).0, [counter], "{row}");
        bench.set(TapSettings { tunnels: every, ..tap::Bench::SETTINGS });
        let (moved, records) = bench.run(program::TAP_INGRESS_IP, &bare(&frame));
        assert_eq!(moved, ["recorded", "tunnelled"], "{row}");
        assert_eq!((records[0].1.as_slice(), records[0].0.source), (GET, mapped([192, 0, 2, 10])), "{row}");
    }
}
