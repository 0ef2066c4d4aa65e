//! The tap's flow table: what flows turn out to be, who opened them, what is left out of them, and what lies in tunnels.

use std::net::TcpListener;

use sensor_common::drop::Abuse;
use sensor_common::flow::{FlowKey, FlowState, class, port, state};
use sensor_common::record::{mapped, mark};
use sensor_common::settings::{TapSettings, tunnel};
use sensor_common::{counter::RingLoss, map, program};

use super::packets::{Tcp, tcp};
use super::tap::{Bench, CLIENT, CLIENT6, GET, SERVER, segment};
use super::{Hash, map_of, runnable, wrapped};
use crate::kernel::wire::Wire;

/// The key of the flow of client port 40000 and server port 8080, and whether the client is its lower endpoint.
fn key() -> (FlowKey, bool) {
    FlowKey::of((mapped([192, 0, 2, 10]), 40_000), (mapped([192, 0, 2, 1]), 8080))
}

fn change(bench: &mut Bench, change: impl FnOnce(&mut FlowState)) {
    let mut flows: Hash<'_, Wire<FlowKey>, Wire<FlowState>> = map_of(&mut bench.object, map::FLOWS);
    let mut flow = flows.get(&Wire(key().0), 0).unwrap().0;
    change(&mut flow);
    flows.insert(Wire(key().0), Wire(flow), 0).unwrap();
}

/// Case E33: what starts in a way that hides it is recorded until the peer's answer says what it is.
#[test]
fn flows_are_what_their_first_bytes_and_answers_say() {
    if !runnable() {
        return;
    }
    let rows: [(&str, &[u8], &str, &str); 11] = [
        ("a request", GET, "recorded", "recorded"),
        ("its first byte", b"G", "recorded", "recorded"),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "recorded", "recorded"),
        ("PROXY version 1", b"PROXY TCP4 192.0.2.9 192.0.2.1 1 80\r\n", "recorded", "recorded"),
        ("PROXY version 2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c123456789012", "recorded", "recorded"),
        ("line ends first", b"\r\nGET / HTTP/1.1\r\n", "recorded", "recorded"),
        ("a method in small letters", b"get / HTTP/1.1\r\n", "recorded", "recorded"),
        ("an unknown method", b"FOO / HTTP/1.1\r\n", "recorded", "recorded"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01", "tls", "tls"),
        ("a binary protocol", b"\x00\x01\x02\x03\x04\x05\x06\x07", "other_flow", "other_flow"),
        ("digits", b"*1\r\n$4\r\nPING\r\n", "other_flow", "other_flow"),
    ];
    for (row, first, outcome, next) in rows {
        let mut bench = Bench::new("classes");
        bench.handshake();
        let (moved, records) = bench.arrives(&tcp(CLIENT, SERVER, segment(100, first)));
        assert_eq!((moved, records.len()), (vec![outcome], usize::from(outcome == "recorded")), "{row}");
        let more = segment(100 + first.len() as u32, b"\x7f more");
        assert_eq!(bench.arrives(&tcp(CLIENT, SERVER, more)).0, [next], "{row}, the next segment");
    }
}

#[test]
fn text_that_no_server_answers_is_given_up_and_an_answer_decides() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("text");
    bench.handshake();
    let outcomes: Vec<_> = (0..8)
        .flat_map(|at| bench.arrives(&tcp(CLIENT, SERVER, segment(100 + 6 * at, b"EHLO x"))).0)
        .collect();
    assert_eq!(outcomes, [["recorded"; 5].as_slice(), &["other_flow"; 3]].concat());
    let answer =
        Tcp { ports: (8080, 40_000), sequence: 900, ..segment(0, b"HTTP/1.1 400 Bad Request\r\n\r\n") };
    assert_eq!(bench.leaves(&tcp(SERVER, CLIENT, answer)).0, ["recorded"]);
    assert_eq!(bench.arrives(&tcp(CLIENT, SERVER, segment(200, b"more"))).0, ["recorded"], "HTTP after all");
}

#[test]
fn what_nobody_wants_is_left_out_up_to_its_border() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("skip");
    bench.handshake();
    assert_eq!(bench.arrives(&tcp(CLIENT, SERVER, segment(100, GET))).0, ["recorded"]);
    change(&mut bench, |flow| {
        let bit = if key().1 { state::SKIP_LOW } else { state::SKIP_HIGH };
        flow.state |= bit;
        (flow.low_skip, flow.high_skip) = (1000, 1000);
    });
    for (row, sequence, flags, outcome) in [
        ("inside", 200, "A", "skipped"),
        ("up to the border", 990, "A", "skipped"),
        ("a FIN", 500, "FA", "recorded"),
        ("urgent data", 500, "UA", "recorded"),
        ("across the border", 995, "A", "recorded"),
        ("behind the border", 1000, "A", "recorded"),
        ("inside once more: the border is behind", 300, "A", "recorded"),
    ] {
        let packet = tcp(CLIENT, SERVER, Tcp { flags, ..segment(sequence, b"0123456789") });
        assert_eq!(bench.arrives(&packet).0, [outcome], "{row}");
    }
    let answer = Tcp { ports: (8080, 40_000), sequence: 950, ..segment(0, b"the other direction") };
    assert_eq!(bench.leaves(&tcp(SERVER, CLIENT, answer)).0, ["recorded"]);
}

#[test]
fn watched_sources_are_recorded_outside_the_sample_in_both_directions() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("watched");
    bench.settings(0, 1);
    let request = tcp(CLIENT, SERVER, segment(1, GET));
    let answer = Tcp { ports: (8080, 40_000), ..segment(900, b"HTTP/1.1 200 OK\r\n\r\n") };
    let answer = tcp(SERVER, CLIENT, answer);
    assert_eq!(
        (bench.arrives(&request).0, bench.leaves(&answer).0),
        (vec!["not_sampled"], vec!["not_sampled"])
    );
    let mut watched: Hash<'_, [u8; 16], u64> = map_of(&mut bench.object, map::WATCHED);
    watched.insert(mapped([192, 0, 2, 10]), 1, 0).unwrap();
    assert_eq!(bench.arrives(&request).0, ["recorded", "watched"]);
    assert_eq!(bench.leaves(&answer).0, ["recorded", "watched"]);
}

#[test]
fn the_sensors_own_port_and_websockets_are_told_apart() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("own");
    let mut ports: Hash<'_, u16, u8> = map_of(&mut bench.object, map::PORTS);
    ports.insert(9470, port::OWN, 0).unwrap();
    let own = tcp(CLIENT, SERVER, Tcp { ports: (40_000, 9470), ..segment(1, GET) });
    assert_eq!(bench.arrives(&own).0, ["own"]);
    bench.arrives(&tcp(CLIENT, SERVER, segment(1, GET)));
    change(&mut bench, |flow| flow.class = class::WEBSOCKET);
    assert_eq!(
        bench.arrives(&tcp(CLIENT, SERVER, segment(50, b"\x81\x80abcd"))).0,
        ["recorded", "websocket"]
    );
}

/// The kernel's own socket table says who listens, where the tap did not see the handshake.
#[test]
fn who_opened_a_connection_is_known() {
    if !runnable() {
        return;
    }
    let opener = |marks: u8| (marks & mark::FROM_OPENER != 0, marks & mark::TO_OPENER != 0);
    let mut bench = Bench::new("opener");
    bench.handshake();
    let (_, records) = bench.arrives(&tcp(CLIENT, SERVER, segment(100, GET)));
    assert_eq!(opener(records[0].0.marks), (true, false), "by the SYN-ACK");
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (_, records) = bench.arrives(&tcp(CLIENT6, "::1", Tcp { ports: (40_000, port), ..segment(1, GET) }));
    assert_eq!(opener(records[0].0.marks), (true, false), "somebody listens at the receiver");
    let answer = Tcp { ports: (port, 40_001), ..segment(1, b"HTTP/1.1 200 OK\r\n\r\n") };
    let (_, records) = bench.leaves(&tcp("::1", CLIENT6, answer));
    assert_eq!(opener(records[0].0.marks), (false, true), "somebody listens at the sender");
    let (_, records) = bench.arrives(&tcp(CLIENT, SERVER, Tcp { ports: (40_002, 9), ..segment(1, GET) }));
    assert_eq!(opener(records[0].0.marks), (false, false), "nobody listens");
}

#[test]
fn resets_tell_of_segments_without_a_connection() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("strays");
    let reset = |sequence, flags| {
        tcp(SERVER, CLIENT, Tcp { ports: (8080, 40_000), sequence, flags, ..Tcp::default() })
    };
    assert_eq!(bench.leaves(&reset(77, "R")).0, ["no_payload", "stray"]);
    assert_eq!(bench.leaves(&reset(78, "R")).0, ["no_payload", "stray"]);
    assert_eq!(bench.leaves(&reset(0, "RA")).0, ["no_payload", "refused"]);
    assert_eq!(bench.leaves(&reset(77, "RA")).0, ["no_payload"], "an application's own");
    assert_eq!(bench.arrives(&reset(77, "R")).0, ["no_payload"], "the client's own");
    let seen: Hash<'_, [u8; 16], Wire<Abuse>> = map_of(&mut bench.object, map::ABUSE);
    let counts = seen.get(&mapped([192, 0, 2, 10]), 0).unwrap().0;
    assert_eq!((counts.strays, counts.refused), (2, 1));
}

#[test]
fn tunnels_are_counted_or_looked_into() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("tunnels");
    for (row, packet, kind, counter) in wrapped::rows(&tcp(CLIENT, SERVER, segment(1, GET))) {
        bench.set(TapSettings { tunnels: 0, ..Bench::SETTINGS });
        let (moved, records) = bench.arrives(&packet);
        assert_eq!((moved, records.len()), (vec![counter], 0), "{row}");
        bench.set(TapSettings { tunnels: kind, ..Bench::SETTINGS });
        let (moved, records) = bench.arrives(&packet);
        assert_eq!(moved, ["recorded", "tunnelled"], "{row}");
        assert_eq!((records[0].1.as_slice(), records[0].0.source), (GET, mapped([192, 0, 2, 10])), "{row}");
        let cut = bench.arrives(&packet[..packet.len() - GET.len() - 30]).0;
        assert_eq!(cut, ["malformed", "tunnelled"], "{row}, cut");
    }
    let twice = wrapped::rows(&wrapped::rows(&tcp(CLIENT, SERVER, segment(1, GET)))[0].1);
    bench.set(TapSettings { tunnels: tunnel::GRE, ..Bench::SETTINGS });
    assert_eq!(bench.arrives(&twice[0].1).0, ["not_tcp", "tunnelled"], "one tunnel deep");
}

#[test]
fn each_ring_counts_what_it_lost() {
    if !runnable() {
        return;
    }
    let mut bench = Bench::new("lost");
    let packet = tcp(CLIENT, SERVER, segment(1, &[b"GET / HTTP/1.1\r\n".as_slice(), &[b'x'; 2000]].concat()));
    bench.repeat(program::TAP_INGRESS, &packet, 200);
    let lost: aya::maps::PerCpuArray<_, u64> =
        aya::maps::PerCpuArray::try_from(bench.object.map(map::RING_LOSS).unwrap()).unwrap();
    let of = |ring: u32| lost.get(&(ring * RingLoss::COUNT), 0).unwrap().iter().sum::<u64>();
    assert!(of(0) > 0 && of(1) == 0);
}
