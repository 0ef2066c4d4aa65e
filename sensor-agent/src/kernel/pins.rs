//! Where maps and links are pinned: below `<pin directory>/v<layout version>`, so that an agent of another layout never
//! opens them by mistake.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use sensor_common::LAYOUT_VERSION;

/// The pin directory of this layout version.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    folder: PathBuf,
}

impl Pins {
    /// Pins below the configured directory. Touches nothing.
    pub(crate) fn below(configured: &Path) -> Self {
        Self { folder: configured.join(format!("v{LAYOUT_VERSION}")) }
    }

    /// A directory beside this one, for maps that are to take the place of those here.
    pub(crate) fn beside(&self) -> Self {
        Self { folder: self.folder.with_file_name(format!("v{LAYOUT_VERSION}-next")) }
    }

    /// Makes the directory (mode 0700) if it is missing.
    ///
    /// # Errors
    /// If no BPF file system is mounted there, or the directory cannot be made.
    pub(crate) fn create(&self) -> Result<()> {
        let existing = self.folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        let mounted = statfs(existing).with_context(|| format!("cannot examine `{}`", existing.display()))?;
        if mounted.filesystem_type() != BPF_FS_MAGIC {
            bail!(
                "`{}` is not on a BPF file system: mount one with `mount -t bpf bpf /sys/fs/bpf`, or set `capture.pin_dir`",
                self.folder.display()
            );
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.with_context(|| format!("cannot make the pin directory `{}`", self.folder.display()))
    }

    /// Whether an agent has pinned anything here.
    pub(crate) fn exist(&self) -> bool {
        self.folder.is_dir()
    }

    /// The directory.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Pin of a map.
    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Pin of a ring buffer.
    pub(crate) fn ring(&self, index: u32) -> PathBuf {
        self.folder.join(format!("ring-{index}"))
    }

    /// Pin of the link that attaches `hook` to an interface.
    pub(crate) fn link(&self, hook: &str, interface: &str) -> PathBuf {
        self.folder.join(format!("link-{hook}-{}", escape(interface)))
    }

    /// Interfaces that have a pinned link of `hook`.
    pub(crate) fn linked(&self, hook: &str) -> Vec<String> {
        let prefix = format!("link-{hook}-");
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.strip_prefix(&prefix).map(unescape)).collect()
    }

    /// Removes every pin: links detach and maps go once nobody holds them open.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
            Ok(entries) => entries.flatten().try_for_each(|entry| fs::remove_file(entry.path()))?,
        }
        fs::remove_dir(&self.folder)
    }
}

/// The BPF file system takes no names with dots, which those of VLAN interfaces have.
fn escape(interface: &str) -> String {
    interface.replace('%', "%25").replace('.', "%2e")
}

fn unescape(name: &str) -> String {
    name.replace("%2e", ".").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_of_interfaces_have_no_dots_and_lead_back_to_them() {
        for interface in ["eth0", "eth0.100", "a%2e.b", "%"] {
            assert!(!escape(interface).contains('.'));
            assert_eq!(unescape(&escape(interface)), interface);
        }
    }
}
