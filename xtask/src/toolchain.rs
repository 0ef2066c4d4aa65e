//! The toolchain for the kernel programs.
//!
//! The BPF target has no prebuilt `core`, so it is built from source, and the source must be that of the very compiler in use. Two
//! ways have both: a rustup nightly with `rust-src`, or Debian's `rustc-web` with `rust-web-src`. The linker, `bpf-linker`, is
//! built once into the build folder, against an LLVM at least as new as the compiler's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages::{self, Needed};
use crate::{paths, step};

/// LLVM that the linker is built with; compilers with a newer one are passed over.
const LLVM: u32 = 22;
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
const LINKER_VERSION: &str = "0.13.0";
/// Flags of every kernel build: line information, 32-bit jumps (`v3`, kernel 5.1 and later), type information.
const FLAGS: &str = "-Cdebuginfo=2\x1f-Ctarget-cpu=v3\x1f-Clink-arg=--btf";

const DEBIAN: [Needed; 3] = [
    Needed {
        file: "/usr/bin/rustc",
        package: "rustc-web",
        why: "a compiler whose `core` source can be installed",
    },
    Needed { file: "/usr/bin/cargo", package: "cargo-web", why: "the cargo that goes with it" },
    Needed {
        file: "/usr/lib/rustlib/src/rust/library/core/src/lib.rs",
        package: "rust-web-src",
        why: "the source of `core`, which is compiled for BPF",
    },
];

const LLVM_DEV: [Needed; 1] = [Needed {
    file: "/usr/lib/llvm-22/bin/llvm-config",
    package: "llvm-22-dev",
    why: "bpf-linker links BPF objects with LLVM",
}];

/// A compiler that can build `core`, and a linker.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    cargo: PathBuf,
    rustc: Option<PathBuf>,
    /// Name of the rustup toolchain, if it is one.
    rustup: Option<String>,
}

impl Toolchain {
    /// A cargo command for the kernel programs, run in their folder.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.cargo);
        if let Some(name) = &self.rustup {
            command.arg(format!("+{name}"));
        }
        if let Some(rustc) = &self.rustc {
            command.env("RUSTC", rustc);
        }
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .args(arguments)
            .current_dir(paths::root().join("sensor-ebpf"))
            .env("PATH", format!("{}:{path}", paths::tools().join("bin").display()))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", FLAGS)
            .env("CARGO_TARGET_DIR", paths::kernel_objects())
            // Settings of the cargo that runs xtask belong to the host's toolchain.
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO");
        command
    }
}

/// Finds or installs the toolchain.
pub(crate) fn setup() -> Result<Toolchain> {
    let found = nightly_with_source().or_else(debian);
    let toolchain = match found {
        Some(toolchain) => toolchain,
        None => install()?,
    };
    linker()?;
    Ok(toolchain)
}

fn install() -> Result<Toolchain> {
    step::headline("The kernel programs need a compiler that can build Rust's `core` for BPF.");
    packages::ensure(&DEBIAN, 30).context(
        "no compiler for the kernel programs: `rustup toolchain install nightly --component rust-src` is the other way",
    )?;
    debian().context("Debian's compiler was installed, but does not answer; see `/usr/bin/rustc --version`")
}

/// A rustup nightly that has the source and whose LLVM the linker can read.
fn nightly_with_source() -> Option<Toolchain> {
    let listed = text(Command::new("rustup").args(["toolchain", "list"]))?;
    let nightlies = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"));
    let usable = |name: &&str| {
        let toolchain = format!("+{name}");
        let root = text(Command::new("rustc").args([&toolchain, "--print", "sysroot"])).unwrap_or_default();
        let source = Path::new(root.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
        source.exists() && llvm_of(Command::new("rustc").arg(&toolchain)).is_some_and(|llvm| llvm <= LLVM)
    };
    let name = nightlies.rev().find(usable)?;
    Some(Toolchain { cargo: "cargo".into(), rustc: None, rustup: Some(name.to_owned()) })
}

/// Debian's compiler with its source.
fn debian() -> Option<Toolchain> {
    let whole = DEBIAN.iter().all(|part| Path::new(part.file).exists());
    let readable = whole && llvm_of(&mut Command::new("/usr/bin/rustc")).is_some_and(|llvm| llvm <= LLVM);
    readable.then(|| Toolchain {
        cargo: "/usr/bin/cargo".into(),
        rustc: Some("/usr/bin/rustc".into()),
        rustup: None,
    })
}

fn llvm_of(rustc: &mut Command) -> Option<u32> {
    let version = text(rustc.args(["--version", "--verbose"]))?;
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    llvm.split('.').next()?.parse().ok()
}

fn linker() -> Result<()> {
    let tools = paths::tools();
    let linker = tools.join("bin/bpf-linker");
    let version = text(Command::new(&linker).arg("--version")).unwrap_or_default();
    if version.contains(LINKER_VERSION) {
        return Ok(());
    }
    packages::ensure(&LLVM_DEV, 40)?;
    fs::create_dir_all(&tools)?;
    let feature = format!("llvm-{LLVM}");
    let mut command = Command::new("cargo");
    command
        .args([
            "install",
            "bpf-linker",
            "--version",
            LINKER_VERSION,
            "--no-default-features",
            "--features",
            &feature,
        ])
        .args(["--locked", "--force", "--root"])
        .arg(&tools)
        .current_dir(&tools)
        .env("LLVM_PREFIX", LLVM_PREFIX)
        .env("RUSTFLAGS", format!("-L {LLVM_PREFIX}/lib"))
        .env_remove("CARGO_TARGET_DIR");
    step::run("Build bpf-linker into the build folder", 60, &mut command)?;
    if !linker.exists() {
        bail!("bpf-linker was built, but is not at `{}`", linker.display());
    }
    Ok(())
}

/// What a program prints, if it ends well.
fn text(command: &mut Command) -> Option<String> {
    let output = command.env_remove("RUSTUP_TOOLCHAIN").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
