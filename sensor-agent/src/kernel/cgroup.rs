//! The control group of the agent (cgroups(7), version 2), if it has one of its own: the tap leaves the connections of that group out, so that the
//! sensor does not inspect its own API and alerts. In a group with others, only the port of the API is left out.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Number of the agent's own group; 0 if it shares one, or the host has no such groups.
pub(crate) fn own() -> u64 {
    own_folder().and_then(|folder| fs::metadata(folder).ok()).map_or(0, |group| group.ino())
}

fn own_folder() -> Option<PathBuf> {
    let group = group(&fs::read_to_string("/proc/self/cgroup").ok()?)?;
    let folder = mount(&fs::read_to_string("/proc/mounts").ok()?)?.join(group.trim_start_matches('/'));
    let processes = fs::read_to_string(folder.join("cgroup.procs")).ok()?;
    let alone = processes.lines().all(|line| line.trim() == std::process::id().to_string());
    (alone && !processes.is_empty()).then_some(folder)
}

/// The path behind `0::`, unless it is the root of all groups.
fn group(memberships: &str) -> Option<String> {
    let path = memberships.lines().find_map(|line| line.strip_prefix("0::"))?;
    (path != "/").then(|| path.to_owned())
}

/// Where the file system of the groups is mounted.
fn mount(mounts: &str) -> Option<PathBuf> {
    let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    lines.find_map(|fields| (fields.get(2) == Some(&"cgroup2")).then(|| PathBuf::from(fields[1])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_and_its_mount_are_found() {
        assert_eq!(
            group("3:cpu:/\n0::/system.slice/sensor.service\n").as_deref(),
            Some("/system.slice/sensor.service")
        );
        assert_eq!(group("0::/\n"), None, "the root group is everybody's");
        let mounts = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        assert_eq!(mount(mounts), Some("/sys/fs/cgroup".into()));
        assert_eq!(mount("proc /proc proc rw 0 0\n"), None);
    }
}
