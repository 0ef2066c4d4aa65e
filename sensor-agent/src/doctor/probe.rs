//! Gathers the facts of this host. What cannot be read counts as absent.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{Facts, Interface};
use crate::config::Config;
use crate::kernel::device;
use crate::kernel::preflight::BTF;

const NEEDED: &[(Capability, &str)] = &[
    (Capability::CAP_BPF, "CAP_BPF"),
    (Capability::CAP_NET_ADMIN, "CAP_NET_ADMIN"),
    (Capability::CAP_PERFMON, "CAP_PERFMON"),
];

/// Where tracefs is mounted, and the tracepoint that attribution attaches to.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
const ACCEPT: &str = "events/syscalls/sys_exit_accept4/id";

/// The facts that matter for `config`.
pub(crate) fn facts(config: &Config) -> Facts {
    let pin_dir = &config.capture.pin_dir;
    Facts {
        release: nix::sys::utsname::uname()
            .map(|name| name.release().to_string_lossy().into_owned())
            .unwrap_or_default(),
        btf: Path::new(BTF).exists(),
        missing_capabilities: missing_capabilities(),
        bpffs: on_bpffs(pin_dir),
        accept_tracepoint: TRACEFS.iter().any(|root| Path::new(root).join(ACCEPT).exists()),
        pin_dir: pin_dir.display().to_string(),
        jit: line("/proc/sys/net/core/bpf_jit_enable"),
        lockdown: line("/sys/kernel/security/lockdown").and_then(|modes| chosen(&modes)),
        interfaces: interfaces(),
        configured: config.capture.interfaces.clone(),
    }
}

fn missing_capabilities() -> Vec<&'static str> {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    if has(Capability::CAP_SYS_ADMIN) && has(Capability::CAP_NET_ADMIN) {
        return Vec::new();
    }
    NEEDED.iter().filter(|(capability, _)| !has(*capability)).map(|(_, name)| *name).collect()
}

/// The pin directory is made below the mount when the agent starts, so its nearest ancestor counts.
fn on_bpffs(pin_dir: &Path) -> bool {
    let there: Option<PathBuf> = pin_dir.ancestors().find(|path| path.exists()).map(Path::to_owned);
    there.and_then(|path| statfs(&path).ok()).is_some_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}

/// The bracketed word of `none [integrity] confidentiality`.
fn chosen(modes: &str) -> Option<String> {
    Some(modes.split_once('[')?.1.split_once(']')?.0.to_owned())
}

fn line(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn interfaces() -> Vec<Interface> {
    let Ok(addresses) = getifaddrs() else { return Vec::new() };
    // One line an address; each interface has at least one, of the link layer.
    let flags: BTreeMap<_, _> = addresses.map(|entry| (entry.interface_name, entry.flags)).collect();
    flags.into_iter().map(|(name, flags)| interface(name, flags)).collect()
}

fn interface(name: String, flags: InterfaceFlags) -> Interface {
    Interface {
        up: flags.contains(InterfaceFlags::IFF_UP),
        loopback: flags.contains(InterfaceFlags::IFF_LOOPBACK),
        driver: device::driver(&name),
        mtu: device::mtu(&name).unwrap_or(0),
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_facts() {
        let facts = facts(&Config::default());
        assert!(!facts.release.is_empty());
        assert!(facts.interfaces.iter().any(|interface| interface.loopback));
    }

    #[test]
    fn the_chosen_lockdown_mode_is_read() {
        assert_eq!(chosen("none [integrity] confidentiality").as_deref(), Some("integrity"));
        assert_eq!(chosen(""), None);
    }
}
