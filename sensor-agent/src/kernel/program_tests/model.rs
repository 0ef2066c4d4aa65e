//! The lists against a plain model: after any sequence of changes, the program in the kernel says of every address what a list of entries,
//! looked through from front to back, says.

use std::net::IpAddr;
use std::time::Duration;

use aya::programs::{TestRun, TestRunOptions, Xdp};
use ipnet::IpNet;
use proptest::prelude::*;
use sensor_common::program;

use super::packets::{Tcp, block, tcp};
use super::{Scratch, runnable};
use crate::kernel::lists::{Lists, NewBlock, Origin, Scope};

/// One change to the lists.
#[derive(Clone, Debug)]
enum Change {
    Block { target: IpNet, scope: Scope, kind: Kind },
    BlockMany(Vec<IpNet>),
    Unblock { target: IpNet, scope: Scope },
    Exempt(IpNet),
    Unexempt(IpNet),
    Rebuild,
    Sweep,
    Suspend(bool),
}

/// What kind of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Drops,
    Shadow,
    Expired,
    Automatic,
}

/// Entries in the order in which they were made.
#[derive(Default)]
struct Model {
    entries: Vec<(IpNet, Scope, Kind)>,
    exempt: Vec<IpNet>,
    suspended: bool,
}

impl Model {
    fn change(&mut self, change: &Change) {
        match change {
            Change::Block { target, scope, kind } => {
                if !self.exempt.iter().any(|exempt| exempt.contains(target)) {
                    self.entries.retain(|entry| (entry.0, entry.1) != (*target, *scope));
                    self.entries.push((*target, *scope, *kind));
                }
            }
            Change::BlockMany(targets) => {
                for target in targets {
                    self.entries.retain(|entry| (entry.0, entry.1) != (*target, Scope::Host));
                    self.entries.push((*target, Scope::Host, Kind::Drops));
                }
            }
            Change::Unblock { target, scope } => {
                self.entries.retain(|entry| (entry.0, entry.1) != (*target, *scope));
            }
            Change::Exempt(target) => self.exempt.push(*target),
            Change::Unexempt(target) => self.exempt.retain(|exempt| exempt != target),
            Change::Rebuild | Change::Sweep => {}
            Change::Suspend(suspended) => self.suspended = *suspended,
        }
    }

    fn drops(&self, source: IpAddr, port: u16) -> bool {
        let covers = |net: &IpNet| net.contains(&source);
        !self.exempt.iter().any(covers)
            && self.entries.iter().any(|(target, scope, kind)| {
                covers(target)
                    && (*scope == Scope::Host || *scope == Scope::Port(port))
                    && match kind {
                        Kind::Drops => true,
                        Kind::Automatic => !self.suspended,
                        Kind::Shadow | Kind::Expired => false,
                    }
            })
    }
}

fn apply(lists: &mut Lists, change: &Change) {
    match change {
        Change::Block { target, scope, kind } => {
            let new = NewBlock {
                scope: *scope,
                shadow: *kind == Kind::Shadow,
                origin: if *kind == Kind::Automatic { Origin::Verdict } else { Origin::Operator },
                ..block(&target.to_string(), (*kind == Kind::Expired).then_some(Duration::ZERO))
            };
            // Refused if an exemption covers it, as in the model.
            let _ = lists.block(&new);
        }
        Change::BlockMany(targets) => {
            let new: Vec<_> = targets.iter().map(|target| block(&target.to_string(), None)).collect();
            lists.block_many(&new).unwrap();
        }
        Change::Unblock { target, scope } => {
            lists.unblock(*target, *scope).unwrap();
        }
        Change::Exempt(target) => lists.exempt(*target, Origin::Operator).unwrap(),
        Change::Unexempt(target) => {
            lists.unexempt(*target).unwrap();
        }
        Change::Rebuild => lists.rebuild(&[]).unwrap(),
        Change::Sweep => {
            lists.sweep().unwrap();
        }
        Change::Suspend(suspended) => lists.suspend_automatic(*suspended).unwrap(),
    }
}

/// Addresses and prefixes of a few networks, so that they cover one another often.
fn target() -> impl Strategy<Value = IpNet> {
    let v4 = (0u32..4, 0u32..4, 0u32..4, 1u8..=32).prop_map(|(a, b, c, length)| {
        let address = 0xcb00_0000 | a << 20 | b << 9 | c;
        IpNet::new(IpAddr::V4(address.into()), length).unwrap().trunc()
    });
    let v6 = (0u128..4, 0u128..4, 0u128..4, 1u8..=128).prop_map(|(a, b, c, length)| {
        let address = 0x2001_0db8 << 96 | a << 90 | b << 70 | c;
        IpNet::new(IpAddr::V6(address.into()), length).unwrap().trunc()
    });
    let whole = |net: IpNet| IpNet::from(net.addr());
    prop_oneof![v4.clone(), v6.clone(), v4.prop_map(whole), v6.prop_map(whole)]
}

fn change() -> impl Strategy<Value = Change> {
    let kind = prop_oneof![
        4 => Just(Kind::Drops), 1 => Just(Kind::Shadow), 1 => Just(Kind::Expired), 1 => Just(Kind::Automatic)
    ];
    let scope = prop_oneof![4 => Just(Scope::Host), 1 => Just(Scope::Port(80)), 1 => Just(Scope::Port(22))];
    prop_oneof![
        8 => (target(), scope.clone(), kind).prop_map(|(target, scope, kind)| Change::Block { target, scope, kind }),
        2 => prop::collection::vec(target(), 1..20).prop_map(Change::BlockMany),
        3 => (target(), scope).prop_map(|(target, scope)| Change::Unblock { target, scope }),
        2 => target().prop_map(Change::Exempt),
        1 => target().prop_map(Change::Unexempt),
        1 => Just(Change::Rebuild),
        1 => Just(Change::Sweep),
        1 => any::<bool>().prop_map(Change::Suspend),
    ]
}

#[test]
fn the_kernel_says_what_a_plain_list_says() {
    if !runnable() {
        return;
    }
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    let cases =
        (prop::collection::vec(change(), 1..60), prop::collection::vec((target(), any::<bool>()), 60));
    proptest!(config, |((changes, probes) in cases)| {
        check(&changes, &probes);
    });
}

#[test]
fn a_long_list_of_one_family_is_filtered_anew_only_as_it_grows() {
    if !runnable() {
        return;
    }
    let scratch = Scratch::new("growing");
    let object = crate::kernel::object::firewall().unwrap();
    let _object = crate::kernel::resize::load_firewall(object, &scratch.pins, 1 << 16).unwrap();
    let mut lists = scratch.lists();
    let numbered =
        |number: u32| block(&format!("{}/32", std::net::Ipv4Addr::from(0x0b00_0000 + (number << 8))), None);
    let many: Vec<_> = (0..20_000).map(numbered).collect();
    lists.block_many(&many).unwrap();
    let before = lists.builds();
    (20_000..20_100).for_each(|number| lists.block(&numbered(number)).unwrap());
    assert_eq!(lists.builds(), before, "one entry more changes nothing");
    let more: Vec<_> = (20_100..50_000).map(numbered).collect();
    lists.block_many(&more).unwrap();
    assert_eq!(lists.builds(), before + 1, "twice as many need a larger filter");
}

fn check(changes: &[Change], probes: &[(IpNet, bool)]) {
    let scratch = Scratch::new("model");
    let mut object = scratch.firewall();
    let xdp: &mut Xdp = object.program_mut(program::FIREWALL).unwrap().try_into().unwrap();
    xdp.load().unwrap();
    let (mut lists, mut model) = (scratch.lists(), Model::default());
    for change in changes {
        apply(&mut lists, change);
        model.change(change);
    }
    // What the changes named, their neighbours, and addresses by themselves.
    let named = changes.iter().filter_map(|change| match change {
        Change::Block { target, .. } | Change::Unblock { target, .. } | Change::Exempt(target) => {
            Some(*target)
        }
        _ => None,
    });
    for (target, web) in named.map(|target| (target, true)).chain(probes.iter().copied()) {
        let port = if web { 80 } else { 443 };
        for source in [target.network(), target.broadcast()] {
            let drops = verdict(xdp, source, port);
            assert_eq!(drops, model.drops(source, port), "{source} to port {port} after {changes:?}");
        }
    }
}

fn verdict(xdp: &Xdp, source: IpAddr, port: u16) -> bool {
    let to = if source.is_ipv4() { "192.0.2.1" } else { "2001:db8:ffff::1" };
    let packet = tcp(&source.to_string(), to, Tcp { ports: (40_000, port), ..Tcp::default() });
    let run = xdp.test_run(TestRunOptions { data_in: Some(&packet), ..Default::default() }).unwrap();
    run.return_value == 1
}
