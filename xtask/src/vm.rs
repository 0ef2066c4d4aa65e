//! The real binary on other kernels: Debian's 6.1 and 6.12 in small virtual machines under plain emulation (no KVM needed). Each boots
//! into a memory disk with busybox, the agent and one script that attaches, attacks, kills and restarts.

mod verified;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::packages::{self, Needed};
use crate::{paths, step};

const PROGRAMS: [Needed; 5] = [
    Needed { file: "/usr/bin/qemu-system-x86_64", package: "qemu-system-x86", why: "runs other kernels" },
    Needed { file: "/usr/bin/busybox", package: "busybox-static", why: "the virtual machine's user land" },
    Needed { file: "/usr/bin/xz", package: "xz-utils", why: "unpacks kernel modules" },
    Needed { file: WG, package: "wireguard-tools", why: "joins two hosts without Ethernet" },
    Needed { file: "/usr/bin/gzip", package: "gzip", why: "packs the memory disk" },
];

/// Kernels, as patterns of Debian's package names: the newest that matches is taken.
const KERNELS: [&str; 2] =
    [r"^linux-image-6\.1\.0-[0-9]+-cloud-amd64$", r"^linux-image-6\.12\.[0-9+deb]+-cloud-amd64-unsigned$"];

const WG: &str = "/usr/bin/wg";

/// Modules in the order in which they load; those that are built in are not found, which is as good. From `udp_tunnel` on they are WireGuard's.
const MODULES: [&str; 15] = [
    "veth",
    "sch_ingress",
    "act_bpf",
    "cls_bpf",
    "inet_diag",
    "tcp_diag",
    "udp_tunnel",
    "ip6_udp_tunnel",
    "libchacha",
    "chacha-x86_64",
    "poly1305-x86_64",
    "libchacha20poly1305",
    "libcurve25519-generic",
    "curve25519-x86_64",
    "wireguard",
];

/// Longest run of one machine; it takes about 30 s on two cores that have nothing else to do.
const TIME_OUT: Duration = Duration::from_secs(1200);

const INIT: &str = include_str!("vm/init.sh");
const SCRIPT: &str = include_str!("vm/test.sh");

/// Boots every kernel with this agent, and compares what their verifiers walked through with what stands in the tree, or writes it there.
pub(crate) fn test(agent: &Path, record: bool) -> Result<()> {
    packages::ensure(&PROGRAMS, 60)?;
    let folder = paths::target().join("vm");
    fs::create_dir_all(&folder)?;
    let mut counts = verified::Counts::new();
    for pattern in KERNELS {
        let kernel = Kernel::get(&folder, pattern)?;
        let disk = kernel.pack(&folder, agent)?;
        let printed = kernel.boot(&disk)?;
        counts.insert(kernel.series(), verified::read(&printed));
    }
    if record { verified::record(&counts) } else { verified::compare(&counts) }
}

/// An unpacked kernel package.
struct Kernel {
    name: String,
    root: PathBuf,
}

impl Kernel {
    fn get(folder: &Path, pattern: &str) -> Result<Self> {
        let name = newest(pattern).or_else(|error| fetched(folder, pattern).ok_or(error))?;
        let root = folder.join(&name);
        if !root.join("boot").exists() {
            let mut fetch = Command::new("apt-get");
            step::run(&format!("Fetch {name}"), 5, fetch.args(["download", &name]).current_dir(folder))?;
            let package =
                find(folder, &|file| file.starts_with(&format!("{name}_")) && file.ends_with(".deb"));
            let package = package.with_context(|| format!("`{name}` was not fetched"))?;
            let mut unpack = Command::new("dpkg-deb");
            step::run(&format!("Unpack {name}"), 10, unpack.arg("--extract").arg(&package).arg(&root))?;
            fs::remove_file(package)?;
        }
        Ok(Self { name, root })
    }

    /// Its series, such as `6.1`.
    fn series(&self) -> String {
        let numbers = numbers(&self.name);
        numbers.iter().take(2).map(u32::to_string).collect::<Vec<_>>().join(".")
    }

    /// Packs a memory disk; returns its path.
    fn pack(&self, folder: &Path, agent: &Path) -> Result<PathBuf> {
        let disk = folder.join(format!("disk-{}", self.name));
        if disk.exists() {
            fs::remove_dir_all(&disk)?;
        }
        for made in ["bin", "proc", "sys", "dev", "run", "tmp", "lib/modules", "lib64", "www", "t"] {
            fs::create_dir_all(disk.join(made))?;
        }
        put(&disk, Path::new("/usr/bin/busybox"), "bin/busybox")?;
        for applet in lines(Command::new("/usr/bin/busybox").arg("--list"))? {
            let link = disk.join("bin").join(&applet);
            if applet != "busybox" {
                symlink("busybox", link)?;
            }
        }
        put(&disk, agent, "bin/sensor-agent")?;
        put(&disk, Path::new("/usr/sbin/ip"), "sbin/ip")?;
        put(&disk, Path::new(WG), "bin/wg")?;
        self.put_modules(&disk)?;
        script(&disk.join("init"), INIT)?;
        script(&disk.join("test.sh"), SCRIPT)?;
        let image = folder.join(format!("{}.cpio.gz", self.name));
        let pack = format!("find . | busybox cpio -o -H newc 2>/dev/null | gzip -1 > '{}'", image.display());
        step::run(
            &format!("Pack a memory disk for {}", self.name),
            5,
            Command::new("sh").args(["-c", &pack]).current_dir(&disk),
        )?;
        Ok(image)
    }

    fn put_modules(&self, disk: &Path) -> Result<()> {
        let mut order = String::new();
        for module in MODULES {
            let names = [format!("{module}.ko"), format!("{module}.ko.xz")];
            let Some(found) =
                find(&self.root.join("lib/modules"), &|file| names.iter().any(|name| file == name))
            else {
                continue;
            };
            let to = disk.join("lib/modules").join(format!("{module}.ko"));
            if found.extension().is_some_and(|extension| extension == "xz") {
                let unpacked = Command::new("xz").arg("-dc").arg(&found).output()?;
                fs::write(to, unpacked.stdout)?;
            } else {
                fs::copy(found, to)?;
            }
            order.push_str(module);
            order.push('\n');
        }
        Ok(fs::write(disk.join("lib/modules/order"), order)?)
    }

    /// Runs the machine; returns what it printed.
    fn boot(&self, disk: &Path) -> Result<String> {
        step::headline(&format!("{} (usually 40 s)", self.name));
        let kernel =
            find(&self.root.join("boot"), &|file| file.starts_with("vmlinuz-")).context("no kernel image")?;
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args([
                "-machine",
                "q35",
                "-accel",
                "tcg,thread=single",
                "-cpu",
                "max",
                "-smp",
                "2",
                "-m",
                "1024",
            ])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(disk)
            .args(["-append", "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off random.trust_cpu=on"])
            .args(["-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio", "-monitor", "none"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut machine = command.spawn().context("cannot start qemu")?;
        let output = BufReader::new(machine.stdout.take().context("no output")?);
        let outcome = follow(output);
        // It powers off by itself; one that does not is of no more use.
        let _ = machine.kill();
        let _ = machine.wait();
        match outcome {
            (Some(0), printed) => Ok(printed),
            (Some(code), _) => {
                bail!("{}: the script in the machine failed ({code}); its output is above", self.name)
            }
            (None, _) => {
                bail!("{}: the machine crashed, hung or ran out of time; its output is above", self.name)
            }
        }
    }
}

/// Shows what the machine prints, up to the line with its result; returns both.
fn follow(output: impl BufRead) -> (Option<i32>, String) {
    let until = Instant::now() + TIME_OUT;
    let mut printed = String::new();
    for line in output.lines().map_while(Result::ok) {
        let line = line.trim_end();
        if let Some(code) = line.strip_prefix("VM-RESULT ") {
            return (code.trim().parse().ok(), printed);
        }
        step::say(line);
        printed.push_str(line);
        printed.push('\n');
        if Instant::now() > until {
            break;
        }
    }
    (None, printed)
}

/// A kernel that was fetched before, when the package lists have none.
fn fetched(folder: &Path, pattern: &str) -> Option<String> {
    let wanted = numbers(pattern);
    let names =
        fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names
        .filter(|name| name.starts_with("linux-image-") && !name.ends_with(".gz"))
        .filter(|name| numbers(name).get(..2) == wanted.get(..2))
        .collect();
    names.sort_by_key(|name| numbers(name));
    names.pop()
}

/// The newest package whose name matches.
fn newest(pattern: &str) -> Result<String> {
    let found = lines(Command::new("apt-cache").args(["search", "--names-only", pattern]))?;
    let mut names: Vec<_> = found.iter().filter_map(|line| line.split_whitespace().next()).collect();
    names.sort_by_key(|name| numbers(name));
    let name = names
        .last()
        .with_context(|| format!("no Debian package matches `{pattern}`: run `apt-get update`"))?;
    Ok((*name).to_owned())
}

fn numbers(name: &str) -> Vec<u32> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// Copies a program and the libraries it needs, each to its own path.
fn put(disk: &Path, program: &Path, to: &str) -> Result<()> {
    copy(program, &disk.join(to))?;
    let needed = Command::new("ldd").arg(program).output()?;
    let text = String::from_utf8_lossy(&needed.stdout).into_owned();
    for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
        copy(Path::new(library), &disk.join(library.trim_start_matches('/')))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy `{}`", from.display()))?;
    Ok(())
}

fn script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    let file = File::open(path)?;
    Ok(file.set_permissions(fs::Permissions::from_mode(0o755))?)
}

fn lines(command: &mut Command) -> Result<Vec<String>> {
    let output = command.output().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// The first file below `folder` whose name is wanted.
fn find(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries.into_iter().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return find(&path, wanted);
        }
        wanted(&entry.file_name().to_string_lossy()).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_the_one_with_the_greatest_numbers() {
        let mut names = ["linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64"];
        names.sort_by_key(|name| numbers(name));
        assert_eq!(names[1], "linux-image-6.1.0-56-cloud-amd64");
    }

    #[test]
    fn a_machine_without_a_result_has_failed() {
        let result = |printed: &str| follow(printed.as_bytes()).0;
        assert_eq!(result("a\nVM-RESULT 0\r\n"), Some(0));
        assert_eq!(result("a\nVM-RESULT 7\n"), Some(7));
        assert_eq!(result("Kernel panic\n"), None);
    }
}
