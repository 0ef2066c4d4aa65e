//! Gauges: what stands in maps and rings, and how long programs ran → what is told of it.

use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use sensor_common::settings::TapSettings;
use sensor_common::{map, program};

use super::packets::{Tcp, block, tcp};
use super::{Hash, SMALL, Scratch, map_of, runnable};
use crate::kernel::gauges::{Gauges, KernelLoad, count_run_time, programs_of};
use crate::kernel::wire::Wire;
use crate::kernel::{object, rings, sensor};

fn fill(load: &KernelLoad, name: &str) -> (u64, u64) {
    let found = load.maps.iter().find(|map| map.name == name);
    found.map(|map| (map.entries, map.max_entries)).unwrap_or_else(|| panic!("no `{name}` in {load:?}"))
}

#[test]
fn entries_of_every_kind_of_map_are_counted() {
    if !runnable() {
        return;
    }
    let scratch = Scratch::new("fills");
    let _object = scratch.firewall();
    let mut lists = scratch.lists();
    // More than one batch of the count.
    let blocked: Vec<_> = (0..4090u32)
        .map(|n| block(&format!("10.0.{}.{}/32", n / 250, n % 250), None))
        .chain([block("2001:db8::/48", None)])
        .collect();
    lists.block_many(&blocked).unwrap();
    for exempt in ["192.0.2.0/24", "198.51.100.7/32", "2001:db8:1::/48"] {
        lists.exempt(exempt.parse().unwrap(), crate::kernel::lists::Origin::Operator).unwrap();
    }
    let load = Gauges::new(&scratch.pins, Vec::new(), Vec::new()).read();
    assert_eq!(fill(&load, map::BLOCK4), (4090, u64::from(SMALL)));
    assert_eq!(fill(&load, map::BLOCK6), (1, u64::from(SMALL)));
    assert_eq!(fill(&load, map::EXEMPT4).0, 2);
    assert_eq!(fill(&load, map::EXEMPT6).0, 1);
    assert_eq!(fill(&load, map::BLOCK_TUPLE).0, 0);
    assert!(load.maps.iter().all(|map| !map.at_least));
}

#[test]
fn the_bytes_in_a_ring_and_the_runs_of_a_program_are_told() {
    if !runnable() {
        return;
    }
    let scratch = Scratch::new("runs");
    let mut tap = sensor::load(object::tap().unwrap(), &scratch.pins, &sensor::TAP_MAPS).unwrap();
    let program: &mut SchedClassifier = tap.program_mut(program::TAP_INGRESS).unwrap().try_into().unwrap();
    program.load().unwrap();
    let mut rings = rings::install(&scratch.pins, 1, 1 << 16).unwrap();
    let mut settings: aya::maps::Array<_, Wire<TapSettings>> = map_of(&mut tap, map::TAP_SETTINGS);
    settings
        .set(
            0,
            Wire(TapSettings { hash_key: 1, sample_threshold: u32::MAX, rings: 1, ..TapSettings::default() }),
            0,
        )
        .unwrap();
    let mut ports: Hash<'_, u16, u8> = map_of(&mut tap, map::PORTS);
    ports.insert(80, sensor_common::flow::port::HTTP, 0).unwrap();
    let mut gauges = Gauges::new(&scratch.pins, programs_of(&tap), Vec::new());
    let before = gauges.read();
    assert_eq!((before.rings[0].waiting_bytes, before.programs[0].runs), (0, 0), "{before:?}");

    let packet = tcp("192.0.2.10", "192.0.2.1", Tcp { payload: b"GET / HTTP/1.1\r\n\r\n", ..Tcp::default() });
    let program: &SchedClassifier = tap.program(program::TAP_INGRESS).unwrap().try_into().unwrap();
    let run = || {
        let options = TestRunOptions { data_in: Some(&packet), ..Default::default() };
        program.test_run(options).unwrap();
    };
    run();
    let counting = count_run_time().unwrap();
    (0..10).for_each(|_| run());
    drop(counting);
    let after = gauges.read();
    let ring = after.rings.iter().find(|ring| ring.name == "ring-0").unwrap();
    assert!(ring.waiting_bytes >= 11 * packet.len() as u64 && ring.size_bytes == 1 << 16, "{ring:?}");
    let load = after.programs.iter().find(|load| load.name == program::TAP_INGRESS).unwrap();
    // Another process may have it count too, for the other runs.
    assert!((10..=11).contains(&load.runs) && load.run_ns > 0, "{load:?}");
    assert_eq!(rings[0].drain(100, |_| {}), 11);
    assert_eq!(gauges.read().rings.iter().find(|ring| ring.name == "ring-0").unwrap().waiting_bytes, 0);
}
