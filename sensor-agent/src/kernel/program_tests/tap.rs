//! The tap: packets → the counter that moves and the record that comes out.

use aya::Ebpf;
use aya::maps::{Array, MapData};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use sensor_common::counter::TapCounter;
use sensor_common::record::{HEADER_LEN, RecordHeader, mark};
use sensor_common::settings::TapSettings;
use sensor_common::{map, program};
use zerocopy::FromBytes;

use super::packets::{Tcp, tagged, tcp, with_ipv4_options, with_ipv6_extensions};
use super::{Hash, Moved, Scratch, map_of, runnable};
use crate::kernel::rings::{self, Ring};
use crate::kernel::wire::Wire;
use crate::kernel::{object, sensor};

pub(super) const CLIENT: &str = "192.0.2.10";
pub(super) const SERVER: &str = "192.0.2.1";
pub(super) const CLIENT6: &str = "2001:db8::10";
pub(super) const SERVER6: &str = "2001:db8::1";
pub(super) const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const RING_BYTES: u32 = 1 << 17;

pub(super) struct Bench {
    pub(super) object: Ebpf,
    rings: Vec<Ring>,
    moved: Moved,
    _scratch: Scratch,
}

pub(super) type Record = (RecordHeader, Vec<u8>);

impl Bench {
    /// Every flow is recorded, to one ring.
    pub(super) const SETTINGS: TapSettings = TapSettings {
        hash_key: 1,
        sample_threshold: u32::MAX,
        rings: 1,
        own_cgroup: 0,
        tunnels: 0,
        reserved: 0,
    };

    pub(super) fn new(name: &str) -> Self {
        Self::with_ring(name, RING_BYTES)
    }

    pub(super) fn with_ring(name: &str, bytes: u32) -> Self {
        let scratch = Scratch::new(name);
        let mut object = sensor::load(object::tap().unwrap(), &scratch.pins, &sensor::TAP_MAPS).unwrap();
        for name in
            [program::TAP_INGRESS, program::TAP_EGRESS, program::TAP_INGRESS_IP, program::TAP_EGRESS_IP]
        {
            let tap: &mut SchedClassifier = object.program_mut(name).unwrap().try_into().unwrap();
            tap.load().unwrap();
        }
        let rings = rings::install(&scratch.pins, 1, bytes).unwrap();
        let mut bench = Self { object, rings, moved: Moved::new(TapCounter::COUNT), _scratch: scratch };
        bench.settings(u32::MAX, 1);
        bench
    }

    pub(super) fn settings(&mut self, sample_threshold: u32, rings: u32) {
        self.set(TapSettings { sample_threshold, rings, ..Self::SETTINGS });
    }

    pub(super) fn set(&mut self, value: TapSettings) {
        let mut settings: Array<&mut MapData, Wire<TapSettings>> =
            map_of(&mut self.object, map::TAP_SETTINGS);
        settings.set(0, Wire(value), 0).unwrap();
    }

    fn port(&mut self, port: u16) {
        let mut ports: Hash<'_, u16, u8> = map_of(&mut self.object, map::PORTS);
        ports.insert(port, 1, 0).unwrap();
    }

    /// The outcome that moved, and the records that came out.
    pub(super) fn run(&mut self, program: &str, packet: &[u8]) -> (Vec<&'static str>, Vec<Record>) {
        let tap: &SchedClassifier = self.object.program(program).unwrap().try_into().unwrap();
        let result = tap.test_run(TestRunOptions { data_in: Some(packet), ..Default::default() }).unwrap();
        assert_eq!(result.return_value.cast_signed(), -1, "the tap has no opinion");
        let moved = self.moved.since(&self.object, map::TAP_COUNTERS, |index| TapCounter::ALL[index].name());
        let outcomes = moved.into_iter().map(|(name, _)| name).filter(|name| *name != "wakeups").collect();
        let mut records = Vec::new();
        self.rings[0].drain(64, |record| {
            let (header, payload) = RecordHeader::read_from_prefix(record).unwrap();
            assert_eq!(record.len(), HEADER_LEN + header.captured_len as usize);
            records.push((header, payload.to_vec()));
        });
        (outcomes, records)
    }

    /// Takes what the ring holds.
    pub(super) fn drain(&mut self) {
        self.rings[0].drain(usize::MAX, |_| {});
    }

    /// Runs the packet so often, without taking records.
    pub(super) fn repeat(&mut self, program: &str, packet: &[u8], times: u32) {
        let tap: &SchedClassifier = self.object.program(program).unwrap().try_into().unwrap();
        tap.test_run(TestRunOptions { data_in: Some(packet), repeat: times, ..Default::default() }).unwrap();
    }

    pub(super) fn arrives(&mut self, packet: &[u8]) -> (Vec<&'static str>, Vec<Record>) {
        self.run(program::TAP_INGRESS, packet)
    }

    pub(super) fn leaves(&mut self, packet: &[u8]) -> (Vec<&'static str>, Vec<Record>) {
        self.run(program::TAP_EGRESS, packet)
    }

    /// The handshake of client port 40000 with server port 8080: initial sequence numbers 100 and 900.
    pub(super) fn handshake(&mut self) {
        self.arrives(&tcp(CLIENT, SERVER, Tcp { sequence: 99, flags: "S", ..Tcp::default() }));
        let answer =
            Tcp { ports: (8080, 40_000), sequence: 899, acknowledgement: 100, flags: "SA", ..Tcp::default() };
        assert_eq!(self.leaves(&tcp(SERVER, CLIENT, answer)).0, ["no_payload"]);
    }
}

pub(super) fn segment(sequence: u32, payload: &[u8]) -> Tcp<'_> {
    Tcp { sequence, acknowledgement: 900, flags: "AP", payload, ..Tcp::default() }
}

#[test]
fn every_packet_moves_one_outcome_and_records_carry_their_bytes() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("tap");
    let get = || tcp(CLIENT, SERVER, segment(1, GET));
    let get6 = || tcp(CLIENT6, SERVER6, segment(1, GET));
    let option = |len: usize| vec![0; len];
    let hop = (0, {
        let mut h = option(8);
        h[2..4].copy_from_slice(&[1, 4]);
        h
    });
    let routing = (43, {
        let mut h = option(24);
        h[1] = 2;
        h
    });
    let authentication = (51, {
        let mut h = option(24);
        h[1] = 4;
        h
    });
    let atomic_fragment = (44, option(8));
    let fragment = (44, {
        let mut h = option(8);
        h[3] = 9;
        h
    });
    let mut udp = get();
    udp[23] = 17;
    let mut first_fragment = get();
    first_fragment[20] = 0x20;
    let mut udp_fragment = udp.clone();
    udp_fragment[20] = 0x20;
    let mut udp6 = get6();
    udp6[20] = 17;
    let udp6_fragment = with_ipv6_extensions(&udp6, std::slice::from_ref(&fragment));
    let mut padded = get();
    padded.extend([0xee; 20]);
    let mut arp = get();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let rows: [(&str, Vec<u8>, &str); 21] = [
        ("plain", get(), "recorded"),
        ("options", with_ipv4_options(&get(), 10), "recorded"),
        ("padding", padded, "recorded"),
        ("one tag", tagged(&get(), 1), "recorded"),
        ("two tags", tagged(&get(), 2), "recorded"),
        ("v6", get6(), "recorded"),
        (
            "v6 hop, routing, destination",
            with_ipv6_extensions(&get6(), &[hop.clone(), routing, (60, hop.1.clone())]),
            "recorded",
        ),
        ("v6 authentication", with_ipv6_extensions(&get6(), &[authentication]), "recorded"),
        ("v6 atomic fragment", with_ipv6_extensions(&get6(), &[atomic_fragment]), "recorded"),
        ("v6 fragment", with_ipv6_extensions(&get6(), &[fragment]), "recorded whole"),
        (
            "v6 eight extensions",
            with_ipv6_extensions(&get6(), &vec![(60, hop.1.clone()); 8]),
            "recorded whole",
        ),
        ("v4 fragment", first_fragment, "recorded whole"),
        ("v4 fragment of UDP", udp_fragment, "fragment"),
        ("v6 fragment of UDP", udp6_fragment, "fragment"),
        ("udp", udp, "not_tcp"),
        ("arp", arp, "not_ip"),
        ("cut in the TCP header", get()[..44].to_vec(), "malformed"),
        ("SYN", tcp(CLIENT, SERVER, Tcp { flags: "S", ..Tcp::default() }), "no_payload"),
        (
            "data on a SYN",
            tcp(CLIENT, SERVER, Tcp { flags: "S", payload: GET, ..Tcp::default() }),
            "recorded",
        ),
        ("bare acknowledgement", tcp(CLIENT, SERVER, Tcp::default()), "no_payload"),
        (
            "another protocol",
            tcp(CLIENT, SERVER, Tcp { ports: (1, 22), ..segment(1, b"SSH-2.0-x\r\n") }),
            "other_flow",
        ),
    ];
    for (row, packet, outcome) in rows {
        let (moved, records) = bench.arrives(&packet);
        assert_eq!(moved.join(" "), outcome, "{row}");
        let payloads: Vec<_> = records.iter().map(|(_, payload)| payload.as_slice()).collect();
        let expected = match outcome {
            "recorded" => vec![GET],
            "recorded whole" => vec![&packet[14..]],
            _ => vec![],
        };
        assert_eq!(payloads, expected, "{row}");
        let whole =
            records.iter().any(|(header, _)| header.marks == mark::WHOLE_PACKET && header.source_port == 0);
        assert_eq!(whole, outcome == "recorded whole", "{row}");
    }
}

#[test]
fn payloads_of_any_length_come_out_whole() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("lengths");
    bench.port(8080);
    for len in [1, 2, 7, 8, 9, 255, 256, 1000, 1460, 2047, 3000] {
        let payload: Vec<u8> = (0..len).map(|at: u32| (at ^ (at >> 8)) as u8).collect();
        let (moved, records) = bench.arrives(&tcp(CLIENT, SERVER, segment(1, &payload)));
        assert_eq!(moved, ["recorded"], "{len} bytes");
        assert_eq!(records[0].1, payload, "{len} bytes");
    }
}

#[test]
fn a_flow_with_a_handshake_is_recorded_from_its_first_byte_in_any_order() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("order");
    bench.handshake();
    for (at, expected) in [(2, "recorded"), (1, "recorded"), (0, "recorded"), (3, "recorded")] {
        let (moved, records) =
            bench.arrives(&tcp(CLIENT, SERVER, segment(100 + at, &GET[at as usize..=at as usize])));
        assert_eq!(moved, [expected], "byte {at}");
        let header = records[0].0;
        assert_eq!(
            (header.initial_sequence, header.marks & mark::INITIAL_SEQUENCE),
            (100, mark::INITIAL_SEQUENCE)
        );
    }
    let response = Tcp {
        ports: (8080, 40_000),
        sequence: 900,
        acknowledgement: 128,
        flags: "AP",
        payload: b"HTTP/1.1 200 OK\r\n\r\n",
        ..Tcp::default()
    };
    let (_, records) = bench.leaves(&tcp(SERVER, CLIENT, response));
    assert_eq!((records[0].0.initial_sequence, records[0].0.direction), (900, 1));
}

#[test]
fn only_the_exact_acknowledgement_proves_the_opener() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("handshake");
    let marked = |bench: &mut Bench, acknowledgement| {
        let (_, records) = bench.arrives(&tcp(CLIENT, SERVER, Tcp { acknowledgement, ..segment(100, GET) }));
        records[0].0.marks & mark::HANDSHAKE != 0
    };
    bench.handshake();
    assert!(!marked(&mut bench, 899), "a guess");
    assert!(!marked(&mut bench, 901), "a guess");
    assert!(marked(&mut bench, 900), "the number that only the owner of the address was sent");
    assert!(marked(&mut bench, 999), "proven once, proven for the flow");
    bench.handshake();
    assert!(!marked(&mut bench, 901), "a new connection of the same addresses starts unproven");
}

/// Cases E10, E11 and E20: the record says what decides whether the receiver takes the segment.
#[test]
fn records_carry_the_options_that_matter() {
    if !runnable() {
        return;
    }
    const STAMP: [u8; 10] = [8, 10, 0, 0, 0, 77, 0, 0, 0, 5];
    const SIGNATURE: [u8; 18] = [19, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut bench = Bench::new("options");
    let mut marks = |options: &[u8]| {
        let (moved, records) = bench.arrives(&tcp(CLIENT, SERVER, Tcp { options, ..segment(1, GET) }));
        assert_eq!((moved, &records[0].1[..]), (vec!["recorded"], GET), "{options:?}");
        (records[0].0.marks, records[0].0.timestamp)
    };
    let usual = [&[1, 1][..], &STAMP].concat();
    let behind_others = [&[2, 4, 5, 180, 3, 3, 7, 4, 2, 1][..], &STAMP].concat();
    assert_eq!(marks(&[]), (0, 0));
    assert_eq!(marks(&usual), (mark::TIMESTAMP, 77));
    assert_eq!(marks(&behind_others), (mark::TIMESTAMP, 77));
    assert_eq!(marks(&[&STAMP[..], &SIGNATURE].concat()), (mark::TIMESTAMP | mark::MD5_SIGNATURE, 77));
    assert_eq!(marks(&[&[1; 22][..], &SIGNATURE].concat()), (mark::MD5_SIGNATURE, 0));
    assert_eq!(marks(&[&[0][..], &SIGNATURE].concat()), (0, 0), "behind the end of the list");
    assert_eq!(marks(&[&[30, 0][..], &SIGNATURE].concat()), (0, 0), "behind an option of no length");
    assert_eq!(marks(&[30, 200, 0, 0]), (0, 0), "an option that does not fit");
    let urgent = Tcp { urgent: 3, flags: "AU", ..segment(1, GET) };
    assert_eq!(bench.arrives(&tcp(CLIENT, SERVER, urgent)).1[0].0.urgent_pointer, 3);
}

#[test]
fn the_handshake_says_whether_timestamps_count() {
    if !runnable() {
        return;
    }
    const STAMP: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 77, 0, 0, 0, 5];
    let mut bench = Bench::new("stamps");
    for (options, agreed) in [(&STAMP[..], mark::TIMESTAMPS_AGREED), (&[], 0)] {
        let answer = Tcp {
            ports: (8080, 40_000),
            sequence: 899,
            acknowledgement: 100,
            flags: "SA",
            options,
            ..Tcp::default()
        };
        bench.leaves(&tcp(SERVER, CLIENT, answer));
        let (_, records) = bench.arrives(&tcp(CLIENT, SERVER, Tcp { options: &STAMP, ..segment(100, GET) }));
        let header = records[0].0;
        assert_eq!(header.marks & mark::TIMESTAMPS_AGREED, agreed);
        assert_eq!((header.initial_sequence, header.peer_initial_sequence), (100, 900));
    }
}

#[test]
fn what_is_not_http_is_looked_at_again_when_a_message_starts() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("late");
    assert_eq!(bench.arrives(&tcp(CLIENT, SERVER, segment(1, b"\x16\x03\x01\x02\x00"))).0, ["other_flow"]);
    assert_eq!(bench.arrives(&tcp(CLIENT, SERVER, segment(50, GET))).0, ["recorded"]);
    assert_eq!(bench.arrives(&tcp(CLIENT, SERVER, segment(90, b"body bytes"))).0, ["recorded"]);
    let end = Tcp { flags: "FA", ..segment(100, b"") };
    let (moved, records) = bench.arrives(&tcp(CLIENT, SERVER, end));
    assert_eq!((moved, records[0].1.len()), (vec!["recorded"], 0));
    let unknown = Tcp { ports: (41_000, 9), flags: "FA", ..segment(1, b"") };
    assert_eq!(bench.arrives(&tcp(CLIENT, SERVER, unknown)).0, ["no_payload"]);
}

#[test]
fn flows_outside_the_sample_are_counted_and_a_missing_ring_too() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("sample");
    bench.settings(0, 1);
    assert_eq!(bench.arrives(&tcp(CLIENT, SERVER, segment(1, GET))).0, ["not_sampled"]);
    bench.settings(u32::MAX, 0);
    assert_eq!(bench.arrives(&tcp(CLIENT, SERVER, segment(1, GET))).0, ["recorded"], "ring 0 is there");
    bench.settings(u32::MAX, 64);
    let outcomes: Vec<_> = (1..40u16)
        .flat_map(|port| bench.arrives(&tcp(CLIENT, SERVER, Tcp { ports: (port, 80), ..segment(1, GET) })).0)
        .collect();
    assert!(outcomes.contains(&"no_ring"), "{outcomes:?}");
}

#[test]
fn a_full_ring_loses_records_and_counts_them() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("full");
    let packet = tcp(CLIENT, SERVER, segment(1, &[b"GET / HTTP/1.1\r\n".as_slice(), &[b'x'; 2000]].concat()));
    let tap: &SchedClassifier = bench.object.program(program::TAP_INGRESS).unwrap().try_into().unwrap();
    tap.test_run(TestRunOptions { data_in: Some(&packet), repeat: 100, ..Default::default() }).unwrap();
    let moved = bench.moved.since(&bench.object, map::TAP_COUNTERS, |index| TapCounter::ALL[index].name());
    let count = |name| moved.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count);
    let mut delivered = 0;
    bench.rings[0].drain(1000, |_| delivered += 1);
    assert_eq!(count("recorded"), delivered);
    assert!(count("ring_full") > 0 && count("recorded") > 50, "{moved:?}");
    assert_eq!(count("recorded") + count("ring_full"), 100);
}
