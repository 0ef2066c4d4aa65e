//! The kernel side as a whole: loaded, set up, attached, and followed as interfaces come and go.

mod follow;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, MapData};
use aya::programs::{ProgramError, ProgramInfo, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};
use ipnet::IpNet;
use sensor_common::flow::port;
use sensor_common::settings::TapSettings;
use sensor_common::{map, program};

use super::attach::{self, Attachment, How};
use super::choice::{TapChoice, XdpChoice};
use super::gauges::{self, Named};
use super::lists::{Exemption, Lists, Origin, open_map};
use super::pins::Pins;
use super::rings::{self, Ring};
use super::wire::Wire;
use super::{host, links, object, preflight, resize};

/// What to load and where to attach it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Pin directory, without the layout version.
    pub(crate) pin_dir: PathBuf,
    /// Interfaces; empty for every one that is up and not loopback.
    pub(crate) interfaces: Vec<String>,
    /// How to attach XDP.
    pub(crate) xdp: XdpChoice,
    /// Interfaces on which the XDP program of somebody else makes room.
    pub(crate) xdp_replace: Vec<String>,
    /// How to attach the tap.
    pub(crate) tap: TapChoice,
    /// Ports whose connections are HTTP whatever their first bytes say.
    pub(crate) ports: Vec<u16>,
    /// Port of the agent's own API: its connections are left out.
    pub(crate) own_port: Option<u16>,
    /// Share of flows to record, 0 to 1.
    pub(crate) sample: f64,
    /// Number of rings.
    pub(crate) rings: u32,
    /// Bytes of each ring, a power of two.
    pub(crate) ring_bytes: u32,
    /// Configured exemptions.
    pub(crate) exempt: Vec<IpNet>,
    /// Block entries per family that fit.
    pub(crate) max_blocked: u32,
    /// Connection attempts a second of one source from which more are dropped; 0 drops none.
    pub(crate) syn_limit: u32,
    /// Whether segments with flags that no stack sends are dropped.
    pub(crate) drop_odd_flags: bool,
    /// Tunnels that are looked into ([`sensor_common::settings::tunnel`]).
    pub(crate) tunnels: u32,
    /// Control group of the agent, if it has one of its own; else 0.
    pub(crate) own_cgroup: u64,
}

impl Plan {
    fn how(&self) -> How<'_> {
        How { xdp: self.xdp, tap: self.tap, replace: &self.xdp_replace }
    }
}

pub(super) const FIREWALL_MAPS: [&str; 12] = [
    map::BLOCK4,
    map::BLOCK6,
    map::BLOCK_TUPLE,
    map::EXEMPT4,
    map::EXEMPT6,
    map::FILTER,
    map::FIREWALL_STATE,
    map::RECENT,
    map::REASONS,
    map::XDP_COUNTERS,
    map::DROPS,
    map::ABUSE,
];
pub(super) const TAP_MAPS: [&str; 9] = [
    map::TAP_SETTINGS,
    map::TAP_COUNTERS,
    map::FLOWS,
    map::PORTS,
    map::RINGS,
    map::SLEEPERS,
    map::RING_LOSS,
    map::WATCHED,
    map::ABUSE,
];

/// The running kernel side. Dropping it leaves everything in place: pins keep it.
pub(crate) struct Sensor {
    pins: Pins,
    firewall: Ebpf,
    tap: Ebpf,
    lists: Lists,
    plan: Plan,
    hash_key: u64,
    attachments: Vec<Attachment>,
    /// Hooks that were found empty and attached again.
    restored: u64,
}

impl Sensor {
    /// Loads, sets up and attaches everything, adopting what an earlier agent left. Returns the rings to read.
    ///
    /// # Errors
    /// If the kernel or this process's rights do not suffice, or an interface refuses; then nothing that was not attached
    /// before is attached after.
    pub(crate) fn start(plan: &Plan) -> Result<(Self, Vec<Ring>)> {
        preflight::check()?;
        let pins = Pins::below(&plan.pin_dir);
        let firewall_object = object::firewall()?;
        let tap_object = object::tap()?;
        pins.create()?;
        let mut firewall = resize::load_firewall(firewall_object, &pins, plan.max_blocked)?;
        let mut tap = load(tap_object, &pins, &TAP_MAPS)?;
        load_programs(&mut firewall, &mut tap)?;
        let rings = rings::install(&pins, plan.rings, plan.ring_bytes)?;
        let lists = Lists::open_pins(&pins)?;
        let mut sensor = Self {
            pins,
            firewall,
            tap,
            lists,
            plan: plan.clone(),
            hash_key: rand::random(),
            attachments: Vec::new(),
            restored: 0,
        };
        for problem in sensor.protect()? {
            tracing::warn!(problem, "an exemption could not be derived from the host");
        }
        sensor.write_settings()?;
        sensor.attach_at_start()?;
        Ok((sensor, rings))
    }

    /// Uses another plan from now on but for its interfaces, modes and number of rings, which need a restart. Returns the rings that take the
    /// place of the present ones, if their size has changed.
    pub(crate) fn reconfigure(&mut self, plan: &Plan) -> Result<Vec<Ring>> {
        let resized = plan.ring_bytes != self.plan.ring_bytes;
        let Plan { interfaces, xdp, xdp_replace, tap, rings, .. } = self.plan.clone();
        self.plan = Plan { interfaces, xdp, xdp_replace, tap, rings, ..plan.clone() };
        self.protect()?;
        self.write_settings()?;
        if resized {
            rings::replace(&self.pins, self.plan.rings, self.plan.ring_bytes)
        } else {
            Ok(Vec::new())
        }
    }

    /// Records another share of the flows from now on.
    pub(crate) fn set_sample(&mut self, sample: f64) -> Result<()> {
        self.plan.sample = sample;
        self.write_tap_settings()
    }

    /// Share of the flows that is recorded.
    pub(crate) fn sample(&self) -> f64 {
        self.plan.sample
    }

    /// Hooks that were found empty and attached again.
    pub(crate) fn restored(&self) -> u64 {
        self.restored
    }

    /// Brings the exemptions in line with the configuration and the host's present addresses, gateways and resolvers.
    /// Returns what could not be read.
    pub(crate) fn protect(&mut self) -> Result<Vec<String>> {
        let (mut wanted, problems) = host::protected();
        let configured = self.plan.exempt.iter();
        wanted.extend(configured.map(|&target| Exemption { target, origin: Origin::Configuration }));
        let owned: &[Origin] = if problems.is_empty() {
            &[Origin::Host, Origin::Configuration]
        } else {
            &[Origin::Configuration]
        };
        self.lists.reconcile_exemptions(&wanted, owned)?;
        Ok(problems)
    }

    /// Removes block entries that have expired; returns how many are left.
    pub(crate) fn sweep(&mut self) -> Result<usize> {
        self.lists.sweep()
    }

    /// Where everything is pinned.
    pub(crate) fn pins(&self) -> &Pins {
        &self.pins
    }

    /// The loaded programs, for the gauges.
    pub(crate) fn programs(&self) -> Vec<Named> {
        [&self.firewall, &self.tap].into_iter().flat_map(gauges::programs_of).collect()
    }

    /// What is attached where.
    pub(crate) fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// Detaches everything and removes all pins below the configured pin directory, blocks included.
    pub(crate) fn remove(pin_dir: &std::path::Path) -> Result<()> {
        let pins = Pins::below(pin_dir);
        let present = links::links()?.into_iter().map(|link| link.name);
        for interface in present.chain(attach::pinned_interfaces(&pins)) {
            attach::detach(&pins, &interface);
        }
        pins.remove().with_context(|| format!("cannot remove the pins in `{}`", pins.folder().display()))
    }

    /// Key of the hash by which the tap chooses the ring of a flow.
    pub(crate) const fn hash_key(&self) -> u64 {
        self.hash_key
    }

    fn write_settings(&mut self) -> Result<()> {
        self.lists.configure(self.plan.syn_limit, self.plan.drop_odd_flags, self.plan.tunnels);
        self.write_ports()?;
        self.write_tap_settings()
    }

    fn write_tap_settings(&self) -> Result<()> {
        let settings = TapSettings {
            hash_key: self.hash_key,
            sample_threshold: threshold(self.plan.sample),
            rings: self.plan.rings,
            own_cgroup: self.plan.own_cgroup,
            tunnels: self.plan.tunnels,
            reserved: 0,
        };
        let mut map: Array<MapData, Wire<TapSettings>> =
            open_map(&self.pins, map::TAP_SETTINGS)?.try_into()?;
        map.set(0, Wire(settings), 0).context("cannot write the tap's settings")
    }

    fn write_ports(&self) -> Result<()> {
        let mut map: HashMap<MapData, u16, u8> = open_map(&self.pins, map::PORTS)?.try_into()?;
        let roles = self.plan.ports.iter().map(|wanted| (*wanted, port::HTTP));
        let roles: BTreeMap<u16, u8> = roles.chain(self.plan.own_port.map(|own| (own, port::OWN))).collect();
        let present: Vec<u16> = map.keys().collect::<Result<_, _>>()?;
        for gone in present.iter().filter(|port| !roles.contains_key(port)) {
            map.remove(gone)?;
        }
        for (port, role) in roles {
            map.insert(port, role, 0).with_context(|| format!("cannot set the role of port {port}"))?;
        }
        Ok(())
    }
}

/// The hash up to which flows are sampled.
fn threshold(sample: f64) -> u32 {
    (sample.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32
}

pub(super) fn load(object: &[u8], pins: &Pins, maps: &[&'static str]) -> Result<Ebpf> {
    load_sized(object, pins, maps, &[])
}

/// As [`load`], with other sizes of some maps than the object says.
pub(super) fn load_sized(
    object: &[u8],
    pins: &Pins,
    maps: &[&'static str],
    sizes: &[(&'static str, u32)],
) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    for name in maps {
        loader.map_pin_path(name, pins.map(name));
    }
    for (name, size) in sizes {
        loader.map_max_entries(name, *size);
    }
    loader.load(object).map_err(explain_object)
}

/// Programs for devices without Ethernet headers are loaded once there is one.
fn load_programs(firewall: &mut Ebpf, tap: &mut Ebpf) -> Result<()> {
    load_xdp(firewall, program::FIREWALL)?;
    // Before 5.18 there are no packets in several buffers, and no such programs.
    if let Err(error) = load_xdp(firewall, program::FIREWALL_FRAGS) {
        tracing::info!("devices with a large MTU get the generic mode: {error:#}");
    }
    load_tap(tap, program::TAP_INGRESS)?;
    load_tap(tap, program::TAP_EGRESS)
}

/// Loads an XDP program, if it is not yet.
pub(super) fn load_xdp(firewall: &mut Ebpf, name: &str) -> Result<()> {
    let xdp: &mut Xdp = firewall.program_mut(name).context("no XDP program in the object")?.try_into()?;
    if xdp.fd().is_ok() {
        return Ok(());
    }
    xdp.load().map_err(|error| explain_program(error, name))?;
    say_loaded(name, xdp.info());
    Ok(())
}

/// Loads a program of the tap, if it is not yet.
pub(super) fn load_tap(tap: &mut Ebpf, name: &str) -> Result<()> {
    let program = tap.program_mut(name).with_context(|| format!("no program `{name}` in the object"))?;
    let tap: &mut SchedClassifier = program.try_into()?;
    if tap.fd().is_ok() {
        return Ok(());
    }
    tap.load().map_err(|error| explain_program(error, name))?;
    say_loaded(name, tap.info());
    Ok(())
}

/// How much the verifier walked through tells how near a program is to what a kernel takes (a million instructions).
pub(super) fn say_loaded(name: &str, info: Result<ProgramInfo, ProgramError>) {
    let verified = info.ok().and_then(|info| info.verified_instruction_count());
    tracing::info!(program = name, verified_instructions = verified, "loaded");
}

pub(super) fn explain_object(error: EbpfError) -> anyhow::Error {
    anyhow::Error::new(error)
        .context("cannot make the kernel maps: `sensor-agent doctor` says what is missing")
}

/// The kernel's own reason first, then the end of the verifier's log, which has it.
pub(super) fn explain_program(error: ProgramError, name: &str) -> anyhow::Error {
    let ProgramError::LoadError { io_error, verifier_log } = &error else {
        return anyhow::Error::new(error).context(format!("cannot load the program `{name}`"));
    };
    let log = verifier_log.to_string();
    let lines: Vec<_> = log.lines().filter(|line| says_why(line)).collect();
    let end = lines[lines.len().saturating_sub(6)..].join(" / ");
    anyhow::anyhow!(
        "the kernel refused the program `{name}`: {io_error}; `sensor-agent doctor` says what is missing. Verifier: {end}"
    )
}

/// The verifier ends its log with figures, which are no reason.
fn says_why(line: &str) -> bool {
    const FIGURES: [&str; 3] = ["verification time", "stack depth", "processed "];
    !line.trim().is_empty() && !FIGURES.iter().any(|figure| line.trim_start().starts_with(figure))
}
