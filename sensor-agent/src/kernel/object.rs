//! The compiled kernel programs inside this binary.

use aya::include_bytes_aligned;

/// Compiled object with the XDP program and its maps.
static FIREWALL: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/firewall.o"));
/// Compiled object with the tap programs and their maps.
static TAP: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tap.o"));
/// Compiled object with the programs that note who accepts connections.
static OWNER: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/owner.o"));

/// The binary was built without kernel programs.
#[derive(Debug, thiserror::Error)]
#[error("this binary was built without kernel programs: build it with `cargo xtask build`")]
pub(crate) struct Missing;

/// The XDP object.
pub(crate) fn firewall() -> Result<&'static [u8], Missing> {
    present(FIREWALL)
}

/// The tap object.
pub(crate) fn tap() -> Result<&'static [u8], Missing> {
    present(TAP)
}

/// The object that notes who accepts connections.
pub(crate) fn owner() -> Result<&'static [u8], Missing> {
    present(OWNER)
}

fn present(object: &'static [u8]) -> Result<&'static [u8], Missing> {
    if object.is_empty() { Err(Missing) } else { Ok(object) }
}
