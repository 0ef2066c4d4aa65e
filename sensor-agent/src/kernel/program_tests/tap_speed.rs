//! What a packet costs in the tap, run by the kernel itself (BPF_PROG_TEST_RUN): nanoseconds over those of a packet that is no IP packet, which leaves the
//! program at once.
//!
//! A benchmark and no test: `cargo xtask bench tap` runs it, in the release profile, and nothing is asserted.

use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use sensor_common::program;

use super::packets::{Tcp, tagged, tcp};
use super::runnable;
use super::tap::{Bench, CLIENT, CLIENT6, GET, SERVER, SERVER6, segment};

const ROUNDS: usize = 24;
const REPEAT: u32 = 100_000;
/// Records of one round: they must fit into the ring.
const RECORDS: u32 = 300;

#[test]
#[ignore = "a benchmark: `cargo xtask bench tap`"]
fn speed() {
    assert!(runnable());
    let mut bench = Bench::with_ring("tap-speed", 1 << 20);
    let mut arp = tcp(CLIENT, SERVER, Tcp::default());
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let other = |sequence| Tcp { ports: (40_001, 22), ..segment(sequence, b"\x00 something else") };
    let mut udp = tcp(CLIENT, SERVER, Tcp::default());
    udp[23] = 17;
    let get = tcp(CLIENT, SERVER, segment(1, GET));
    let odd = [GET, &[b'x'; 483]].concat();
    let kilobyte = [GET, &[b'x'; 1000]].concat();
    let long = [GET, &[b'x'; 3_555]].concat();
    let rows = [
        ("not TCP", udp, REPEAT),
        ("a bare acknowledgement", tcp(CLIENT, SERVER, Tcp::default()), REPEAT),
        ("another protocol", tcp(CLIENT, SERVER, other(1)), REPEAT),
        ("another protocol, IPv6", tcp(CLIENT6, SERVER6, other(1)), REPEAT),
        ("another protocol, two tags", tagged(&tcp(CLIENT, SERVER, other(1)), 2), REPEAT),
        ("a request of 28 bytes, recorded", get, RECORDS),
        ("a request of 511 bytes, recorded", tcp(CLIENT, SERVER, segment(1, &odd)), RECORDS),
        ("a request of 1,028 bytes, recorded", tcp(CLIENT, SERVER, segment(1, &kilobyte)), RECORDS),
        ("a request of 3,583 bytes, recorded", tcp(CLIENT, SERVER, segment(1, &long)), RECORDS / 4),
    ];
    let whole = bench.time(&arp, REPEAT);
    println!("a packet that is no IP packet: {whole} ns, the kernel's loop around the program included");
    println!("nanoseconds a packet in the tap over one that is no IP packet (median of {ROUNDS} rounds)");
    for (name, packet, repeat) in rows {
        let mut over: Vec<i64> = (0..ROUNDS)
            .map(|_| {
                let floor = bench.time(&arp, repeat);
                let taken = bench.time(&packet, repeat);
                bench.drain();
                taken - floor
            })
            .collect();
        over.sort_unstable();
        println!("  {name:<40} {:>6}   ({} to {})", over[ROUNDS / 2], over[ROUNDS / 8], over[ROUNDS * 7 / 8]);
    }
}

impl Bench {
    /// Nanoseconds of one run, by the kernel's mean over `repeat` runs.
    fn time(&mut self, packet: &[u8], repeat: u32) -> i64 {
        let tap: &SchedClassifier = self.object.program(program::TAP_INGRESS).unwrap().try_into().unwrap();
        let options = TestRunOptions { data_in: Some(packet), repeat, ..Default::default() };
        i64::try_from(tap.test_run(options).unwrap().duration.as_nanos()).unwrap()
    }
}
