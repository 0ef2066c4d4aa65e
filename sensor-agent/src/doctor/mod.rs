//! What a host must have, and how to get what it lacks. Facts are gathered by `probe`; `advice` judges them as a pure
//! function, so that every verdict can be tested on hosts that we do not have.

pub(crate) mod advice;
pub(crate) mod probe;

/// What was found out about the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Kernel release, as `uname -r` says.
    pub(crate) release: String,
    /// The kernel describes its types (BTF).
    pub(crate) btf: bool,
    /// Capabilities that this process lacks.
    pub(crate) missing_capabilities: Vec<&'static str>,
    /// The pin directory lies on a mounted BPF file system.
    pub(crate) bpffs: bool,
    /// The tracepoint behind accepting connections can be read in tracefs.
    pub(crate) accept_tracepoint: bool,
    /// Where maps and links are pinned.
    pub(crate) pin_dir: String,
    /// `net.core.bpf_jit_enable`, if it can be read.
    pub(crate) jit: Option<String>,
    /// Kernel lockdown: `none`, `integrity`, `confidentiality`, if there is such a thing.
    pub(crate) lockdown: Option<String>,
    /// Interfaces of the host.
    pub(crate) interfaces: Vec<Interface>,
    /// Interfaces that the configuration names.
    pub(crate) configured: Vec<String>,
}

/// An interface of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Its name.
    pub(crate) name: String,
    /// It is up.
    pub(crate) up: bool,
    /// It is a loopback.
    pub(crate) loopback: bool,
    /// Its driver, if it has one.
    pub(crate) driver: Option<String>,
    /// Its largest packet.
    pub(crate) mtu: u32,
}
