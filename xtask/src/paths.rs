//! Where things are in the workspace.

use std::path::{Path, PathBuf};

/// Root of the workspace.
pub(crate) fn root() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().unwrap_or(crate_dir).to_owned()
}

/// The build folder.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// The kernel toolchain's own programs.
pub(crate) fn tools() -> PathBuf {
    target().join("toolchain")
}

/// Compiled kernel objects, where the agent's build looks for them.
pub(crate) fn kernel_objects() -> PathBuf {
    target().join("kernel")
}

/// What long steps printed.
pub(crate) fn logs() -> PathBuf {
    target().join("xtask-logs")
}
