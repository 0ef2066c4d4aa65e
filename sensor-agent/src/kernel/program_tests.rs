//! The kernel programs on crafted packets, run by the kernel itself (BPF_PROG_TEST_RUN, 5.12 and later): every row says which
//! verdict a packet gets and which counter moves, and no other may.
//!
//! They need root and the compiled objects, which `cargo xtask test` provides; without either they say so and pass.

mod bare;
mod firewall;
mod flood;
mod gauges;
mod model;
mod owner;
mod packets;
mod peer;
mod speed;
mod tap;
mod tap_flows;
mod tap_speed;
mod wrapped;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, PerCpuArray};
use aya::programs::Program;

use super::lists::Lists;
use super::pins::Pins;

/// Whether these tests can run here; says why not.
fn runnable() -> bool {
    if super::object::firewall().is_err() {
        eprintln!("skipped: the kernel programs are not built; `cargo xtask test` builds them");
        return false;
    }
    if let Err(error) = super::preflight::check() {
        eprintln!("skipped: {error:#}");
        return false;
    }
    true
}

/// Entries for which the lists of a test have room.
const SMALL: u32 = 4096;

/// A pin directory of one test, removed at its end.
struct Scratch {
    pins: Pins,
    folder: std::path::PathBuf,
}

impl Scratch {
    fn new(name: &str) -> Self {
        let folder =
            std::path::PathBuf::from(format!("/sys/fs/bpf/sensor-test-{name}-{}", std::process::id()));
        let pins = Pins::below(&folder);
        pins.create().unwrap();
        Self { pins, folder }
    }

    fn firewall(&self) -> Ebpf {
        super::resize::load_firewall(super::object::firewall().unwrap(), &self.pins, SMALL).unwrap()
    }

    fn lists(&self) -> Lists {
        Lists::open_pins(&self.pins).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.pins.remove();
        let _ = std::fs::remove_dir(&self.folder);
    }
}

/// Reads a counter map and says which counters moved since the last look.
struct Moved {
    last: Vec<u64>,
}

impl Moved {
    fn new(count: u32) -> Self {
        Self { last: vec![0; count as usize] }
    }

    fn since(
        &mut self,
        object: &Ebpf,
        map: &str,
        names: impl Fn(usize) -> &'static str,
    ) -> Vec<(&'static str, u64)> {
        let counters: PerCpuArray<&MapData, u64> = object.map(map).unwrap().try_into().unwrap();
        let now: Vec<u64> = (0..self.last.len())
            .map(|index| counters.get(&(index as u32), 0).unwrap().iter().sum())
            .collect();
        let moved = now.iter().zip(&self.last).enumerate().filter(|(_, (now, last))| now > last);
        let moved = moved.map(|(index, (now, last))| (names(index), now - last)).collect();
        self.last = now;
        moved
    }
}

/// A map of the object by name, of the wanted kind.
fn map_of<'a, T: TryFrom<&'a mut Map, Error: std::fmt::Debug>>(object: &'a mut Ebpf, name: &str) -> T {
    T::try_from(object.map_mut(name).unwrap()).unwrap()
}

#[test]
fn lists_round_trip_through_the_kernel() {
    if !runnable() {
        return;
    }
    let scratch = Scratch::new("lists");
    let object = scratch.firewall();
    let mut lists = scratch.lists();
    for target in ["203.0.113.7/32", "198.51.100.0/24", "2001:db8::1/128", "2001:db8:7::/48"] {
        lists.block(&packets::block(target, None)).unwrap();
    }
    let listed: Vec<_> =
        lists.blocked().unwrap().into_iter().map(|b| (b.target.to_string(), b.reason)).collect();
    let expected = ["198.51.100.0/24", "203.0.113.7/32", "2001:db8::1/128", "2001:db8:7::/48"];
    assert_eq!(listed, expected.map(|target| (target.to_owned(), "test".to_owned())));
    assert!(lists.unblock("198.51.100.0/24".parse().unwrap(), super::lists::Scope::Host).unwrap());
    assert!(!lists.unblock("198.51.100.0/24".parse().unwrap(), super::lists::Scope::Host).unwrap());
    assert_eq!(lists.blocked().unwrap().len(), 3);
    drop(object);
}

#[test]
fn what_an_exemption_covers_cannot_be_blocked_and_says_why() {
    if !runnable() {
        return;
    }
    let scratch = Scratch::new("exempt");
    let _object = scratch.firewall();
    let mut lists = scratch.lists();
    lists.exempt("10.1.0.0/16".parse().unwrap(), super::lists::Origin::Operator).unwrap();
    let refused = lists.block(&packets::block("10.1.2.3/32", None)).unwrap_err().to_string();
    assert!(refused.starts_with("`10.1.2.3` is exempt by 10.1.0.0/16 (operator)"), "{refused}");
    let automatic = lists.block_automatically(packets::whom("10.1.2.3"), u64::MAX, false, "x").unwrap();
    assert_eq!(automatic, super::lists::Applied::Exempt);
    lists.block(&packets::block("10.0.0.0/8", None)).unwrap();
}

#[test]
fn automatic_blocks_never_replace_an_operators_and_are_lifted_together() {
    if !runnable() {
        return;
    }
    let scratch = Scratch::new("automatic");
    let _object = scratch.firewall();
    let mut lists = scratch.lists();
    lists.block(&packets::block("192.0.2.1/32", None)).unwrap();
    let kept = lists.block_automatically(packets::whom("192.0.2.1"), u64::MAX, false, "x").unwrap();
    let made = lists.block_automatically(packets::whom("192.0.2.2"), u64::MAX, false, "x").unwrap();
    let over = lists.block_automatically(packets::whom("192.0.2.3"), 1, false, "x").unwrap();
    assert_eq!(
        [kept, made, over],
        [super::lists::Applied::Kept, super::lists::Applied::InForce, super::lists::Applied::Over]
    );
    assert_eq!(lists.lift_automatic().unwrap(), 1);
    assert_eq!(lists.blocked().unwrap().len(), 1);
}

#[test]
fn no_packet_of_a_blocked_source_passes_while_the_lists_change() {
    if !runnable() {
        return;
    }
    let scratch = Scratch::new("changes");
    let mut object = scratch.firewall();
    let xdp: &mut aya::programs::Xdp =
        object.program_mut(sensor_common::program::FIREWALL).unwrap().try_into().unwrap();
    xdp.load().unwrap();
    let mut lists = scratch.lists();
    let blocked = ["203.0.113.7/32", "198.51.100.0/22", "2001:db8::7/128", "2001:db8:9::/48"];
    blocked.iter().for_each(|target| lists.block(&packets::block(target, None)).unwrap());
    let sources = ["203.0.113.7", "198.51.102.9", "2001:db8::7", "2001:db8:9:1::1"];
    let packets = sources.map(|source| {
        let to = if source.contains(':') { "2001:db8:ffff::1" } else { "192.0.2.1" };
        packets::tcp(source, to, packets::Tcp::default())
    });
    let done = std::sync::atomic::AtomicBool::new(false);
    let runs = std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0u32..40 {
                let many: Vec<_> = (0..600u32)
                    .map(|n| packets::block(&format!("10.{}.{}.{}/32", round, n / 250, n % 250), None))
                    .collect();
                lists.block_many(&many).unwrap();
                lists.rebuild(&[]).unwrap();
                let gone: Vec<_> = many.iter().map(|new| (new.target, super::lists::Scope::Host)).collect();
                lists.unblock_many(&gone).unwrap();
                lists.sweep().unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        let mut runs = 0;
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            for (packet, source) in packets.iter().zip(sources) {
                let options = aya::programs::TestRunOptions { data_in: Some(packet), ..Default::default() };
                let verdict = aya::programs::TestRun::test_run(&*xdp, options).unwrap().return_value;
                assert_eq!(verdict, 1, "{source} passed");
                runs += 1;
            }
        }
        runs
    });
    assert!(runs > 100, "{runs}");
}

#[test]
fn lists_change_their_size_with_all_they_hold() {
    if !runnable() {
        return;
    }
    let scratch = Scratch::new("resized");
    drop(scratch.firewall());
    let mut lists = scratch.lists();
    for target in ["203.0.113.7/32", "198.51.100.0/22", "2001:db8:9::/48"] {
        lists.block(&packets::block(target, None)).unwrap();
    }
    lists.exempt("203.0.113.0/24".parse().unwrap(), super::lists::Origin::Operator).unwrap();
    lists.suspend_automatic(true).unwrap();
    let before: Vec<_> =
        lists.blocked().unwrap().into_iter().map(|entry| (entry.target, entry.reason)).collect();
    for size in [4 * SMALL, SMALL / 2] {
        let larger = super::resize::load_firewall(super::object::firewall().unwrap(), &scratch.pins, size);
        let _object = larger.unwrap();
        let lists = scratch.lists();
        let after: Vec<_> =
            lists.blocked().unwrap().into_iter().map(|entry| (entry.target, entry.reason)).collect();
        assert_eq!((lists.capacity(), &after), (size, &before));
        assert!(lists.automatic_suspended().unwrap());
        assert_eq!(lists.exemptions().unwrap().len(), 1);
    }
}

type Hash<'a, K, V> = HashMap<&'a mut MapData, K, V>;

/// Instructions that the verifier may walk through for one program: the limit of every kernel is a million, and older verifiers
/// walk through many times what newer ones do.
const MAX_VERIFIED: u32 = 60_000;

#[test]
fn the_verifier_is_done_with_every_program_soon() {
    if !runnable() {
        return;
    }
    let scratch = Scratch::new("verified");
    let tap = super::sensor::load(super::object::tap().unwrap(), &scratch.pins, &super::sensor::TAP_MAPS);
    for mut object in [scratch.firewall(), tap.unwrap()] {
        for (name, program) in object.programs_mut() {
            let info = match program {
                Program::Xdp(program) => program.load().and_then(|()| program.info()),
                Program::SchedClassifier(program) => program.load().and_then(|()| program.info()),
                _ => panic!("`{name}` is of no known type"),
            };
            let verified = info.unwrap().verified_instruction_count().unwrap_or(0);
            println!("{name}: {verified} instructions verified");
            assert!(
                verified <= MAX_VERIFIED,
                "{name}: {verified} instructions verified, at most {MAX_VERIFIED}"
            );
        }
    }
}
