//! The agent compiled by a profile: the engine, compiled with counters, reads traffic as sites have it and as attackers make it, and the
//! compiler then inlines and lays out by what ran. The profile is made on the machine that builds, from the sources at hand, because a
//! stored one would go stale with every change of them and belongs to one version of the compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::packages::{self, Needed};
use crate::{paths, step};

/// Debian's reader of profiles; it comes with what the kernel programs' linker is built with.
const DEBIANS: [Needed; 1] = [Needed {
    file: "/usr/lib/llvm-22/bin/llvm-profdata",
    package: "llvm-22",
    why: "it reads what the counters counted (`rustup component add llvm-tools` has it too)",
}];

/// The program that trains and measures.
const ENGINE: [&str; 2] = ["--example", "engine"];
const AGENT: [&str; 2] = ["--bin", "sensor-agent"];

/// Compiles the agent by the profile, which is made first if sources have changed; returns its path.
pub(crate) fn agent() -> Result<PathBuf> {
    let compiler = Compiler::ask()?;
    let flags = format!("-Cprofile-use={}", profile(&compiler)?.display());
    // The example is named because what is compiled with it makes the crates' names, by which a profile finds its functions.
    let targets = [AGENT, ENGINE].concat();
    compiler.build("Compile the agent by the profile", 240, &flags, &targets)?;
    keep(&compiler.built("sensor-agent"), "sensor-agent")
}

/// Compiles the program that measures the engine by the same profile; returns its path.
pub(crate) fn engine() -> Result<PathBuf> {
    let compiler = Compiler::ask()?;
    let flags = format!("-Cprofile-use={}", profile(&compiler)?.display());
    compiler.build("Compile the engine by the profile", 140, &flags, &ENGINE)?;
    keep(&compiler.built("examples/engine"), "engine")
}

/// The profile, of the sources as they are.
fn profile(compiler: &Compiler) -> Result<PathBuf> {
    let (raw, profile) = (folder().join("counted"), folder().join("engine.profdata"));
    let flags = format!("-Cprofile-generate={}", raw.display());
    compiler.build("Compile the engine with counters", 180, &flags, &ENGINE)?;
    let counting = compiler.built("examples/engine");
    if written(&profile).is_some_and(|made| written(&counting).is_some_and(|built| built < made)) {
        return Ok(profile);
    }
    // What build scripts counted is not of interest.
    if raw.exists() {
        fs::remove_dir_all(&raw).with_context(|| format!("cannot empty `{}`", raw.display()))?;
    }
    step::run("Let it read traffic", 40, Command::new(counting).arg("training").current_dir(paths::root()))?;
    let mut merge = Command::new(compiler.reader()?);
    merge.arg("merge").arg("--output").arg(&profile).arg(&raw);
    step::run("Add up what was counted", 1, &mut merge)
        .context("the reader of profiles must be as new as the compiler: `rustup component add llvm-tools` installs its own")?;
    Ok(profile)
}

/// The compiler in use.
struct Compiler {
    host: String,
    libraries: PathBuf,
}

impl Compiler {
    fn ask() -> Result<Self> {
        let version = answer(&["--version", "--verbose"])?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.context("`rustc --version --verbose` names no host")?.to_owned();
        Ok(Self { host, libraries: answer(&["--print", "target-libdir"])?.trim().into() })
    }

    /// Compiles with `flags`; for a named target, so that they do not reach build scripts and macros.
    fn build(&self, title: &str, usually: u64, flags: &str, targets: &[&str]) -> Result<()> {
        let mut command = Command::new("cargo");
        command
            .args([
                "build",
                "--release",
                "--locked",
                "--package",
                "sensor-agent",
                "--package",
                "sensor-engine",
            ])
            .args(["--target", &self.host])
            .args(targets)
            .current_dir(paths::root())
            .env("CARGO_ENCODED_RUSTFLAGS", flags);
        step::run(title, usually, &mut command)
    }

    fn built(&self, name: &str) -> PathBuf {
        paths::target().join(&self.host).join("release").join(name)
    }

    fn reader(&self) -> Result<PathBuf> {
        let own = self.libraries.with_file_name("bin").join("llvm-profdata");
        if own.exists() {
            return Ok(own);
        }
        packages::ensure(&DEBIANS, 20)?;
        Ok(DEBIANS[0].file.into())
    }
}

fn answer(arguments: &[&str]) -> Result<String> {
    let output = Command::new("rustc").args(arguments).output().context("cannot start `rustc`")?;
    if !output.status.success() {
        bail!("`rustc {}` failed ({})", arguments.join(" "), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Puts a program aside, where the next build with counters does not take its place.
fn keep(built: &Path, name: &str) -> Result<PathBuf> {
    let kept = folder().join(name);
    // A program that runs cannot be written to, but its name can be given to another.
    let fresh = folder().join(format!("{name}.new"));
    fs::copy(built, &fresh)
        .and_then(|_| fs::rename(&fresh, &kept))
        .with_context(|| format!("cannot put `{}` at `{}`", built.display(), kept.display()))?;
    Ok(kept)
}

fn folder() -> PathBuf {
    paths::target().join("profiled")
}

fn written(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).ok()?.modified().ok()
}
