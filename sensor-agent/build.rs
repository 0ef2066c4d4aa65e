//! Puts the kernel programs into the agent, if they have been built.
//!
//! `cargo xtask build` builds them first and leaves them in `target/kernel`. Without them the agent still compiles, so that
//! an editor or a plain `cargo check` needs no kernel toolchain; `sensor-agent run` then says what is missing.

use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs, io};

const OBJECTS: [&str; 3] = ["firewall.o", "tap.o", "owner.o"];
/// Written after every build of the objects, which keep their date if they came out the same.
const STAMP: &str = "built";

fn main() -> io::Result<()> {
    let crate_dir = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let workspace = crate_dir.join("..");
    let built = workspace.join("target/kernel");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    for name in OBJECTS {
        let object = built.join(name);
        println!("cargo:rerun-if-changed={}", object.display());
        let bytes = fs::read(&object).unwrap_or_default();
        fs::write(out.join(name), bytes)?;
    }
    // The rules are embedded too; a new file among them counts as a change.
    println!("cargo:rerun-if-changed={}", workspace.join("rules").display());
    warn_if_stale(&workspace, &built.join(STAMP));
    Ok(())
}

fn warn_if_stale(workspace: &Path, stamp: &Path) {
    let Ok(built) = modified(stamp) else { return };
    let sources = ["sensor-ebpf/src", "sensor-common/src"].map(|folder| workspace.join(folder));
    if sources.iter().any(|folder| newest(folder).is_some_and(|changed| changed > built)) {
        println!("cargo:warning=the kernel programs are older than their sources: run `cargo xtask build`");
    }
}

fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries
        .filter_map(
            |entry| if entry.path().is_dir() { newest(&entry.path()) } else { modified(&entry.path()).ok() },
        )
        .max()
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}
