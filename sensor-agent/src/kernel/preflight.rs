//! What must hold before anything is loaded. Each failure is one message that says what is missing and how to get it;
//! `sensor-agent doctor` shows all of it at once.

use std::path::Path;

use anyhow::{Context, Result, bail};
use caps::{CapSet, Capability, CapsHashSet};

/// Kernel that brought ring-buffer records of a size known only at run time.
pub(crate) const OLDEST_KERNEL: (u32, u32) = (5, 19);
/// The kernel's own type information.
pub(crate) const BTF: &str = "/sys/kernel/btf/vmlinux";
/// Capabilities that loading and attaching needs.
const CAPABILITIES: [Capability; 3] =
    [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_PERFMON];

/// Checks kernel version, type information and capabilities.
pub(crate) fn check() -> Result<()> {
    let release = nix::sys::utsname::uname().context("cannot read the kernel's version")?;
    check_release(&release.release().to_string_lossy())?;
    if !Path::new(BTF).exists() {
        bail!(
            "the kernel has no type information at `{BTF}`: use a kernel built with CONFIG_DEBUG_INFO_BTF=y"
        );
    }
    let held = caps::read(None, CapSet::Effective).context("cannot read this process's capabilities")?;
    let missing = missing(&held);
    if !missing.is_empty() {
        bail!(
            "missing capability {}: run as root, or grant it in the unit (AmbientCapabilities=)",
            missing.join(", ")
        );
    }
    Ok(())
}

/// Names of capabilities that are not held. CAP_SYS_ADMIN implies the newer ones, but not CAP_NET_ADMIN.
fn missing(held: &CapsHashSet) -> Vec<String> {
    let admin = held.contains(&Capability::CAP_SYS_ADMIN);
    let wanted = CAPABILITIES.iter().filter(|wanted| !admin || **wanted == Capability::CAP_NET_ADMIN);
    wanted.filter(|wanted| !held.contains(wanted)).map(ToString::to_string).collect()
}

fn check_release(release: &str) -> Result<()> {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < OLDEST_KERNEL {
        let (major, minor) = OLDEST_KERNEL;
        bail!(
            "kernel {release} has no ring buffers with records of any size: {major}.{minor} or later is needed"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_capability_implies_is_not_missing() {
        let held = |names: &[Capability]| missing(&names.iter().copied().collect());
        assert_eq!(held(&[Capability::CAP_SYS_ADMIN, Capability::CAP_NET_ADMIN]), [""; 0]);
        assert_eq!(held(&[Capability::CAP_SYS_ADMIN]), ["CAP_NET_ADMIN"]);
        assert_eq!(held(&[Capability::CAP_NET_ADMIN]), ["CAP_BPF", "CAP_PERFMON"]);
    }

    #[test]
    fn old_kernels_are_refused_with_the_version_that_is_needed() {
        assert!(check_release("6.1.0-55-cloud-amd64").is_ok());
        assert!(check_release("5.19.0").is_ok());
        let message = check_release("5.15.0-91-generic").unwrap_err().to_string();
        assert_eq!(
            message,
            "kernel 5.15.0-91-generic has no ring buffers with records of any size: 5.19 or later is needed"
        );
    }
}
