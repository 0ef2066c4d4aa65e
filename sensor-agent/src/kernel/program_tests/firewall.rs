//! The XDP program: packet → verdict and the one counter that moves.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use aya::Ebpf;
use aya::programs::{TestRun, TestRunOptions, Xdp};
use sensor_common::counter::XdpCounter;
use sensor_common::drop::Abuse;
use sensor_common::record::mapped;
use sensor_common::{map, program};

use super::packets::{Tcp, block, tagged, tcp, whom, with_ipv4_options, with_ipv6_extensions};
use super::{Moved, Scratch, runnable, wrapped};
use crate::kernel::lists::{Applied, Lists, NewBlock, Origin, Scope};
use crate::kernel::samples::Samples;
use crate::kernel::wire::Wire;

pub(super) const PASS: u32 = 2;
pub(super) const DROP: u32 = 1;

pub(super) struct Bench {
    program: &'static str,
    object: Ebpf,
    pub(super) lists: Lists,
    moved: Moved,
    _scratch: Scratch,
}

impl Bench {
    fn new(name: &str) -> Self {
        Self::of(name, program::FIREWALL)
    }

    pub(super) fn of(name: &str, program: &'static str) -> Self {
        let scratch = Scratch::new(name);
        let mut object = scratch.firewall();
        let xdp: &mut Xdp = object.program_mut(program).unwrap().try_into().unwrap();
        xdp.load().unwrap();
        let moved = Moved::new(XdpCounter::COUNT);
        Self { program, object, lists: scratch.lists(), moved, _scratch: scratch }
    }

    fn run(&mut self, packet: &[u8]) -> (u32, Vec<(&'static str, u64)>) {
        let xdp: &Xdp = self.object.program(self.program).unwrap().try_into().unwrap();
        let verdict = xdp.test_run(TestRunOptions { data_in: Some(packet), ..Default::default() }).unwrap();
        let moved = self.moved.since(&self.object, map::XDP_COUNTERS, |index| XdpCounter::ALL[index].name());
        (verdict.return_value, moved)
    }

    /// One outcome, and no mark but a false "perhaps" of the filter, which is chance.
    pub(super) fn check(&mut self, packet: &[u8], verdict: u32, counter: XdpCounter, row: &str) {
        self.check_marks(packet, verdict, counter, &[], row);
    }

    /// One outcome and these marks.
    pub(super) fn check_marks(
        &mut self,
        packet: &[u8],
        verdict: u32,
        outcome: XdpCounter,
        marks: &[XdpCounter],
        row: &str,
    ) {
        let (got, mut moved) = self.run(packet);
        moved.retain(|(name, _)| *name != XdpCounter::FilterFalse.name());
        let expected = [outcome].iter().chain(marks).map(|counter| (counter.name(), 1)).collect::<Vec<_>>();
        assert_eq!((got, moved), (verdict, expected), "{row}");
    }
}

pub(super) fn from(source: &str) -> Vec<u8> {
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
    bench.lists.block_automatically(whom("203.0.113.8"), u64::MAX, false, "x").unwrap();
    bench.lists.suspend_automatic(true).unwrap();
    bench.check(&from("203.0.113.7"), DROP, XdpCounter::DroppedAddress, "operator's");
    bench.check(&from("203.0.113.8"), PASS, XdpCounter::Suspended, "automatic");
    bench.lists.suspend_automatic(false).unwrap();
    bench.check(&from("203.0.113.8"), DROP, XdpCounter::DroppedAddress, "resumed");
}

#[test]
fn a_shorter_automatic_block_does_not_end_a_longer_one() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("longer");
    let soon = crate::kernel::clock::boot_nanos() + 200_000_000;
    bench.lists.block_automatically(whom("203.0.113.8"), u64::MAX, false, "x").unwrap();
    bench.lists.block_automatically(whom("203.0.113.8"), soon, false, "y").unwrap();
    bench.lists.block_automatically(whom("203.0.113.9"), soon, false, "y").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    bench.check(&from("203.0.113.8"), DROP, XdpCounter::DroppedAddress, "the longer one");
    bench.check(&from("203.0.113.9"), PASS, XdpCounter::Expired, "the shorter one alone");
}

#[test]
fn ports_and_connections_are_closed_alone() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("scopes");
    let add = |lists: &mut Lists, target, scope| {
        lists.block(&NewBlock { scope, ..block(target, None) }).unwrap();
    };
    add(&mut bench.lists, "203.0.113.7/32", Scope::Port(22));
    add(&mut bench.lists, "198.51.100.0/24", Scope::Port(8080));
    add(&mut bench.lists, "2001:db8::/48", Scope::Port(443));
    let destination = "192.0.2.1:8080".parse().unwrap();
    add(&mut bench.lists, "203.0.113.9/32", Scope::Connection { source_port: 40_001, destination });
    let segment = |from: &str, ports| {
        let to = if from.contains(':') { "2001:db8:ffff::1" } else { "192.0.2.1" };
        tcp(from, to, Tcp { ports, payload: b"x", ..Tcp::default() })
    };
    let behind_options = |count| {
        let options = vec![(60, vec![0, 0, 1, 4, 0, 0, 0, 0]); count];
        with_ipv6_extensions(&segment("2001:db8::7", (1, 443)), &options)
    };
    let (extended, too_long) = (behind_options(2), behind_options(7));
    let mut fragment = segment("203.0.113.7", (40_000, 22));
    fragment[20..22].copy_from_slice(&[0x00, 0x10]);
    let (none, unparsed, cut) = (&[][..], &[XdpCounter::Unparsed; 1][..], &[XdpCounter::Fragment; 1][..]);
    use XdpCounter::{DroppedAddress, DroppedConnection, DroppedPrefix, NotListed};
    for (row, packet, verdict, outcome, marks) in [
        ("the port", segment("203.0.113.7", (40_000, 22)), DROP, DroppedAddress, none),
        ("another port", segment("203.0.113.7", (40_000, 23)), PASS, NotListed, none),
        ("from that port", segment("203.0.113.7", (22, 40_000)), PASS, NotListed, none),
        ("a prefix's port", segment("198.51.100.9", (40_000, 8080)), DROP, DroppedPrefix, none),
        ("another's", segment("198.51.100.9", (40_000, 80)), PASS, NotListed, none),
        ("v6", segment("2001:db8::7", (1, 443)), DROP, DroppedPrefix, none),
        ("v6 behind options", extended, DROP, DroppedPrefix, none),
        ("the connection", segment("203.0.113.9", (40_001, 8080)), DROP, DroppedConnection, none),
        ("its neighbour", segment("203.0.113.9", (40_002, 8080)), PASS, NotListed, none),
    ] {
        bench.check_marks(&packet, verdict, outcome, marks, row);
    }
    // A packet without ports is counted where the search looked for them and where the rest of the program did.
    for (row, packet, mark) in
        [("too many options", too_long, unparsed[0]), ("a later fragment", fragment, cut[0])]
    {
        let (verdict, moved) = bench.run(&packet);
        let name = mark.name();
        assert_eq!(verdict, PASS, "{row}");
        assert!(moved.iter().any(|(moved, _)| *moved == name), "{row}: {moved:?}");
    }
}

#[test]
fn tunnels_are_counted_and_looked_into_where_asked() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("tunnels");
    bench.lists.block(&block("203.0.113.7/32", None)).unwrap();
    let inner = from("203.0.113.7");
    for (row, packet, kind, counter) in wrapped::rows(&inner) {
        let mark = XdpCounter::ALL.iter().copied().find(|known| known.name() == counter).unwrap();
        bench.lists.configure(0, false, 0);
        bench.check_marks(&packet, PASS, XdpCounter::NotListed, &[mark], row);
        bench.lists.configure(0, false, kind);
        bench.check_marks(&packet, DROP, XdpCounter::DroppedAddress, &[mark], row);
        let cut = packet[..packet.len() - inner.len() + 20].to_vec();
        let (verdict, _) = bench.run(&cut);
        assert_eq!(verdict, PASS, "{row}, cut");
    }
}

#[test]
fn connection_attempts_are_counted_by_source_and_policed_where_asked() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("syn");
    let syn = |source: &str| tcp(source, "192.0.2.1", Tcp { flags: "S", ..Tcp::default() });
    bench.check_marks(&syn("203.0.113.7"), PASS, XdpCounter::NotListed, &[XdpCounter::Syn], "not limited");
    for flags in ["", "SF", "SR", "F", "PU"] {
        let odd = tcp("203.0.113.7", "192.0.2.1", Tcp { flags, ..Tcp::default() });
        bench.check_marks(&odd, PASS, XdpCounter::NotListed, &[XdpCounter::OddFlags], flags);
    }
    for flags in ["A", "SA", "R", "FA", "RA", "PA"] {
        let usual = tcp("203.0.113.7", "192.0.2.1", Tcp { flags, ..Tcp::default() });
        bench.check(&usual, PASS, XdpCounter::NotListed, flags);
    }
    bench.lists.configure(10, false, 0);
    bench.lists.exempt("203.0.113.9/32".parse().unwrap(), Origin::Operator).unwrap();
    let outcomes = |bench: &mut Bench, source: &str| {
        let verdicts: Vec<u32> = (0..60).map(|_| bench.run(&syn(source)).0).collect();
        verdicts.iter().filter(|verdict| **verdict == DROP).count()
    };
    // The second may change once meanwhile, which gives another ten.
    let policed = outcomes(&mut bench, "203.0.113.8");
    assert!((40..=50).contains(&policed), "{policed}");
    assert_eq!(outcomes(&mut bench, "203.0.113.9"), 0, "exempt");
    let seen = super::map_of::<aya::maps::HashMap<_, [u8; 16], Wire<Abuse>>>(&mut bench.object, map::ABUSE);
    let of = |source: [u8; 4]| seen.get(&mapped(source), 0).unwrap().0;
    assert_eq!((of([203, 0, 113, 7]).syns, of([203, 0, 113, 7]).odd_flags), (1, 5));
    let policed = policed as u64;
    assert_eq!((of([203, 0, 113, 8]).syns, of([203, 0, 113, 8]).policed), (60, policed));
}

#[test]
fn one_packet_a_second_of_each_entry_is_told_of() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("samples");
    let pins = bench._scratch.pins.clone();
    bench.lists.block(&block("203.0.113.7/32", None)).unwrap();
    bench.lists.block(&NewBlock { shadow: true, ..block("2001:db8::/48", None) }).unwrap();
    let mut samples = Samples::open(&pins).unwrap();
    for _ in 0..50 {
        bench.run(&from("203.0.113.7"));
        bench.run(&from("2001:db8::7"));
        bench.run(&from("203.0.113.8"));
    }
    let taken: Vec<_> = samples.take(100).into_iter().collect();
    let of =
        |source: &str| taken.iter().filter(|sample| sample.source.to_string() == source).collect::<Vec<_>>();
    // The clock's second may change once meanwhile.
    assert!(
        (1..=2).contains(&of("203.0.113.7").len()) && (1..=2).contains(&of("2001:db8::7").len()),
        "{taken:?}"
    );
    assert!(of("203.0.113.8").is_empty());
    let first = of("203.0.113.7")[0];
    assert_eq!(
        (first.destination.to_string().as_str(), first.destination_port, first.hits),
        ("192.0.2.1", 8080, 1)
    );
    assert_eq!((first.shadow, of("2001:db8::7")[0].shadow), (false, true));
    assert_eq!(bench.lists.reason(first.reason), "test");
}

#[test]
fn impossible_flags_are_dropped_where_asked() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("flags");
    bench.lists.configure(0, true, 0);
    bench.lists.exempt("203.0.113.9/32".parse().unwrap(), Origin::Operator).unwrap();
    let packet = |source: &str, flags| tcp(source, "192.0.2.1", Tcp { flags, ..Tcp::default() });
    for flags in ["", "SF", "SR", "F", "PU"] {
        let marks = [XdpCounter::OddFlags];
        bench.check_marks(&packet("203.0.113.7", flags), DROP, XdpCounter::DroppedFlags, &marks, flags);
        bench.check_marks(&packet("203.0.113.9", flags), PASS, XdpCounter::NotListed, &marks, "exempt");
    }
    bench.check(&packet("203.0.113.7", "SA"), PASS, XdpCounter::NotListed, "an answer");
}

/// Connections of a source whose stray segments are dropped go on, and new ones can be opened.
#[test]
fn of_a_source_only_strays_are_dropped() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("strays");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (port, server) = (client.local_addr().unwrap().port(), listener.local_addr().unwrap().port());
    let source = "127.0.0.1".parse().unwrap();
    let until = crate::kernel::clock::boot_nanos() + 60_000_000_000;
    assert_eq!(bench.lists.drop_strays(source, until, "strays").unwrap(), Applied::InForce);
    let packet = |ports, flags| tcp("127.0.0.1", "127.0.0.1", Tcp { ports, flags, ..Tcp::default() });
    let mut udp = packet((port, server), "A");
    udp[23] = 17;
    let mut check = |row, packet: &[u8], verdict, outcome: XdpCounter| {
        let (got, moved) = bench.run(packet);
        let moved: Vec<_> = moved.into_iter().map(|(name, _)| name).filter(|name| *name != "syn").collect();
        assert_eq!((got, moved), (verdict, vec![outcome.name()]), "{row}");
    };
    check("an open connection", &packet((port, server), "A"), PASS, XdpCounter::Connected);
    check("no connection", &packet((port.wrapping_add(1), server), "A"), DROP, XdpCounter::DroppedStray);
    check("nobody listens", &packet((port, 1), "FA"), DROP, XdpCounter::DroppedStray);
    check("an attempt", &packet((port.wrapping_add(1), server), "S"), PASS, XdpCounter::Connected);
    check("another protocol", &udp, PASS, XdpCounter::Connected);
    bench.lists.block_automatically((source, source.into()), until, false, "verdict").unwrap();
    bench.check(&packet((port, server), "A"), DROP, XdpCounter::DroppedAddress, "blocked");
    assert_eq!(bench.lists.drop_strays(source, until, "strays").unwrap(), Applied::Kept, "no weaker entry");
}

/// Case A7: an automatic block of an IPv6 network covers its other addresses, and not those that are exempt.
#[test]
fn an_automatic_block_may_cover_a_network() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("network");
    let whom = ("2001:db8:1:2::7".parse().unwrap(), "2001:db8:1:2::/64".parse().unwrap());
    bench.lists.exempt("2001:db8:1:2::9/128".parse().unwrap(), Origin::Operator).unwrap();
    assert_eq!(bench.lists.block_automatically(whom, u64::MAX, false, "x").unwrap(), Applied::InForce);
    let packet = |source| tcp(source, "2001:db8::1", Tcp::default());
    bench.check(&packet("2001:db8:1:2::7"), DROP, XdpCounter::DroppedPrefix, "itself");
    bench.check(&packet("2001:db8:1:2:aaaa::8"), DROP, XdpCounter::DroppedPrefix, "its next address");
    bench.check(&packet("2001:db8:1:2::9"), PASS, XdpCounter::Exempt, "exempt");
    bench.check(&packet("2001:db8:1:3::7"), PASS, XdpCounter::NotListed, "a neighbour");
    let exempt = ("2001:db8:1:2::9".parse().unwrap(), "2001:db8:1:2::/64".parse().unwrap());
    assert_eq!(bench.lists.block_automatically(exempt, u64::MAX, false, "x").unwrap(), Applied::Exempt);
    assert_eq!(bench.lists.lift_automatic().unwrap(), 1);
    bench.check(&packet("2001:db8:1:2::7"), PASS, XdpCounter::NotListed, "lifted");
}

/// An entry that drops a flood passes packets as soon as an exemption covers their source, and drops again once it is gone.
#[test]
fn an_exemption_counts_at_once_in_the_middle_of_a_flood() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("flooded");
    bench.lists.block(&block("203.0.113.7/32", None)).unwrap();
    let packet = from("203.0.113.7");
    let exempt = "203.0.113.0/24".parse().unwrap();
    for round in 0..3 {
        (0..50).for_each(|_| assert_eq!(bench.run(&packet).0, DROP, "round {round}"));
        bench.lists.exempt(exempt, Origin::Operator).unwrap();
        (0..50).for_each(|_| bench.check(&packet, PASS, XdpCounter::Exempt, "exempt"));
        std::thread::sleep(Duration::from_millis(if round == 1 { 1200 } else { 1 }));
        (0..50).for_each(|_| bench.check(&packet, PASS, XdpCounter::Exempt, "still exempt"));
        assert!(bench.lists.unexempt(exempt).unwrap());
    }
}
