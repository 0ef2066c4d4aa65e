//! Facts → what is well, what is missing, and what to do about it.

use serde::Serialize;

use super::{Facts, Interface};
use crate::kernel::preflight::{BTF, OLDEST_KERNEL};
use crate::shared::Status;

/// One verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Advice {
    /// What was looked at.
    pub(crate) name: String,
    /// How it is: `failing` keeps the sensor from working.
    pub(crate) status: Status,
    /// What was found.
    pub(crate) found: String,
    /// How to get what is missing.
    pub(crate) remedy: Option<String>,
}

/// Kernel that brought TCX.
const TCX: (u32, u32) = (6, 6);
/// Largest packet that drivers commonly take for XDP without support for fragments: a page less headroom and tail.
const XDP_MTU: u32 = 3498;

/// Drivers that run XDP themselves.
const NATIVE: &[&str] = &[
    "ena",
    "bnxt_en",
    "cxgb4",
    "fec",
    "gve",
    "hv_netvsc",
    "i40e",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "mlx4_en",
    "mlx5_core",
    "mvneta",
    "mvpp2",
    "nfp",
    "qede",
    "sfc",
    "stmmac",
    "tsnep",
    "virtio_net",
    "vmxnet3",
    "xen-netfront",
];

/// Virtual drivers on which native XDP would cost the peer its segmentation offload.
const VIRTUAL: &[&str] = &["tun", "veth"];

/// Drivers of devices without Ethernet headers, none of which has native XDP.
const WITHOUT_ETHERNET: &[&str] = &["gre", "ip6gre", "ip6tnl", "ipip", "ovpn", "ppp", "sit", "wireguard"];

/// Judges the host.
pub(crate) fn advice(facts: &Facts) -> Vec<Advice> {
    let mut all =
        vec![kernel(facts), btf(facts), capabilities(facts), bpffs(facts), tracefs(facts), jit(facts)];
    all.push(lockdown(facts));
    all.extend(facts.configured.iter().filter_map(|name| absent(facts, name)));
    all.extend(watched(facts).map(|interface| attachment(facts, interface)));
    if watched(facts).next().is_none() {
        let remedy = "bring an interface up, or name one in `capture.interfaces`";
        all.push(bad("interfaces", Status::Failing, "no interface to watch", remedy));
    }
    all
}

fn good(name: &str, found: impl Into<String>) -> Advice {
    Advice { name: name.to_owned(), status: Status::Ok, found: found.into(), remedy: None }
}

fn bad(name: &str, status: Status, found: impl Into<String>, remedy: impl Into<String>) -> Advice {
    Advice { name: name.to_owned(), status, found: found.into(), remedy: Some(remedy.into()) }
}

fn kernel(facts: &Facts) -> Advice {
    let release = &facts.release;
    match version(release) {
        None => bad("kernel", Status::Degraded, format!("`{release}`"), "the version was not understood"),
        Some(version) if version < OLDEST_KERNEL => {
            let (major, minor) = OLDEST_KERNEL;
            bad("kernel", Status::Failing, release, format!("run Linux {major}.{minor} or later"))
        }
        Some(_) => good("kernel", release),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn btf(facts: &Facts) -> Advice {
    if facts.btf {
        return good("type information (BTF)", BTF);
    }
    let remedy = "run a kernel with CONFIG_DEBUG_INFO_BTF=y, as distributions have built theirs since 2020";
    bad("type information (BTF)", Status::Failing, "the kernel has no BTF", remedy)
}

fn capabilities(facts: &Facts) -> Advice {
    if facts.missing_capabilities.is_empty() {
        return good("capabilities", "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON");
    }
    let found = format!("missing: {}", facts.missing_capabilities.join(", "));
    let remedy = "run as root, or as the service that `sensor-agent install` sets up; in a container grant these \
                  capabilities and the host's network namespace";
    bad("capabilities", Status::Failing, found, remedy)
}

fn bpffs(facts: &Facts) -> Advice {
    if facts.bpffs {
        return good("BPF file system", format!("mounted at `{}`", facts.pin_dir));
    }
    let found = format!("`{}` lies on no BPF file system: nothing would survive a restart", facts.pin_dir);
    bad("BPF file system", Status::Failing, found, "mount -t bpf bpf /sys/fs/bpf")
}

fn tracefs(facts: &Facts) -> Advice {
    if facts.accept_tracepoint {
        return good("tracefs", "the tracepoints of accept(2) are there");
    }
    let found =
        "no tracepoint of accept(2): processes behind connections are looked up in the socket tables only";
    let remedy = "mount -t tracefs tracefs /sys/kernel/tracing, on a kernel with CONFIG_FTRACE_SYSCALLS=y";
    bad("tracefs", Status::Degraded, found, remedy)
}

fn jit(facts: &Facts) -> Advice {
    match facts.jit.as_deref() {
        Some("0") => bad(
            "JIT compiler",
            Status::Degraded,
            "off: kernel programs are interpreted, at several times the cost for each packet",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        Some(_) => good("JIT compiler", "on"),
        None => good("JIT compiler", "not adjustable: the kernel decides"),
    }
}

fn lockdown(facts: &Facts) -> Advice {
    match facts.lockdown.as_deref() {
        Some("confidentiality") => bad(
            "lockdown",
            Status::Degraded,
            "confidentiality: the kernel may refuse programs that read its memory",
            "boot with lockdown=integrity if loading is refused",
        ),
        Some(mode) => good("lockdown", mode),
        None => good("lockdown", "none"),
    }
}

fn absent(facts: &Facts, name: &str) -> Option<Advice> {
    let there = facts.interfaces.iter().any(|interface| interface.name == name);
    (!there).then(|| {
        let names: Vec<_> = facts.interfaces.iter().map(|interface| interface.name.as_str()).collect();
        let remedy = format!("mend `capture.interfaces`; this host has {}", names.join(", "));
        bad(&format!("interface {name}"), Status::Degraded, "configured, but not there", remedy)
    })
}

fn watched(facts: &Facts) -> impl Iterator<Item = &Interface> {
    facts.interfaces.iter().filter(|interface| {
        if facts.configured.is_empty() {
            interface.up && !interface.loopback
        } else {
            facts.configured.contains(&interface.name)
        }
    })
}

fn attachment(facts: &Facts, interface: &Interface) -> Advice {
    let name = format!("interface {}", interface.name);
    let tap = if version(&facts.release).is_some_and(|version| version >= TCX) { "tcx" } else { "clsact" };
    let driver = interface.driver.as_deref().unwrap_or("no driver");
    let native = NATIVE.contains(&driver);
    if !interface.up {
        return bad(&name, Status::Degraded, "down", format!("ip link set {} up", interface.name));
    }
    if native && interface.mtu > XDP_MTU {
        let found =
            format!("XDP may fall back to generic mode: MTU {} with {driver}; tap {tap}", interface.mtu);
        return bad(
            &name,
            Status::Degraded,
            found,
            format!("an MTU of at most {XDP_MTU} lets the driver drop"),
        );
    }
    if native {
        return good(&name, format!("XDP in the driver ({driver}), tap {tap}"));
    }
    if VIRTUAL.contains(&driver) {
        return good(&name, format!("XDP in generic mode (better on {driver}), tap {tap}"));
    }
    if WITHOUT_ETHERNET.contains(&driver) {
        return good(&name, format!("XDP in generic mode (the only one of {driver}), tap {tap}"));
    }
    let found = format!("XDP in generic mode ({driver}), tap {tap}");
    bad(
        &name,
        Status::Degraded,
        found,
        "blocking works, at a higher cost for each packet; other network cards do better",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Facts {
        Facts {
            release: "6.12.9-1-amd64".to_owned(),
            btf: true,
            bpffs: true,
            accept_tracepoint: true,
            pin_dir: "/sys/fs/bpf/sensor".to_owned(),
            jit: Some("1".to_owned()),
            lockdown: Some("none".to_owned()),
            interfaces: vec![
                Interface { name: "lo".to_owned(), up: true, loopback: true, driver: None, mtu: 65_536 },
                Interface {
                    name: "eth0".to_owned(),
                    up: true,
                    loopback: false,
                    driver: Some("ice".to_owned()),
                    mtu: 1500,
                },
            ],
            ..Facts::default()
        }
    }

    /// What is not well, with the remedy.
    fn complaints(facts: &Facts) -> Vec<(String, Status, String)> {
        let bad = advice(facts).into_iter().filter(|advice| advice.status != Status::Ok);
        bad.map(|advice| (advice.name, advice.status, advice.remedy.unwrap_or_default())).collect()
    }

    #[test]
    fn a_sound_host_has_no_complaints() {
        assert_eq!(complaints(&sound()), []);
        let last = advice(&sound()).pop().unwrap();
        assert_eq!(last.found, "XDP in the driver (ice), tap tcx");
    }

    #[test]
    fn each_lack_is_named_with_its_remedy() {
        type Change = fn(&mut Facts);
        let table: &[(Change, &str, Status, &str)] = &[
            (|f| f.release = "5.15.0-91-generic".into(), "kernel", Status::Failing, "Linux 5.19"),
            (|f| f.release = "strange".into(), "kernel", Status::Degraded, "not understood"),
            (|f| f.btf = false, "type information (BTF)", Status::Failing, "CONFIG_DEBUG_INFO_BTF"),
            (|f| f.missing_capabilities = vec!["CAP_BPF"], "capabilities", Status::Failing, "root"),
            (|f| f.bpffs = false, "BPF file system", Status::Failing, "mount -t bpf"),
            (|f| f.accept_tracepoint = false, "tracefs", Status::Degraded, "mount -t tracefs"),
            (|f| f.jit = Some("0".into()), "JIT compiler", Status::Degraded, "sysctl"),
            (
                |f| f.lockdown = Some("confidentiality".into()),
                "lockdown",
                Status::Degraded,
                "lockdown=integrity",
            ),
            (|f| f.interfaces[1].mtu = 9000, "interface eth0", Status::Degraded, "3498"),
            (
                |f| f.interfaces[1].driver = Some("e1000".into()),
                "interface eth0",
                Status::Degraded,
                "higher cost",
            ),
            (|f| f.interfaces[1].up = false, "interfaces", Status::Failing, "bring an interface up"),
            (
                |f| f.configured = vec!["eth0".into(), "eth9".into()],
                "interface eth9",
                Status::Degraded,
                "lo, eth0",
            ),
        ];
        for (change, name, status, remedy) in table {
            let mut facts = sound();
            change(&mut facts);
            let found = complaints(&facts);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!((found[0].0.as_str(), found[0].1), (*name, *status));
            assert!(found[0].2.contains(remedy), "{found:?}");
        }
    }

    #[test]
    fn the_only_mode_of_a_device_is_no_complaint() {
        let mut facts = sound();
        facts.interfaces[1].driver = Some("wireguard".into());
        assert_eq!(complaints(&facts), []);
        assert!(advice(&facts).pop().unwrap().found.contains("the only one of wireguard"));
    }

    #[test]
    fn an_older_kernel_taps_with_clsact() {
        let facts = Facts { release: "6.1.0-18-cloud-amd64".to_owned(), ..sound() };
        assert!(advice(&facts).pop().unwrap().found.ends_with("tap clsact"));
    }
}
