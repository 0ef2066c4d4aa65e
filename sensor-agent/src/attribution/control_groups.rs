//! Control groups by id: the id that the kernel gives a process or a socket is the inode of the group's directory.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cgroup::{self, Placement};
use super::processes::read;

/// Where the unified hierarchy is mounted: alone, or beside version 1.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// Most groups that are remembered; a walk ends there.
const MAX_GROUPS: usize = 16_384;
/// Least time between two walks, however many unknown ids there are.
const WALK_EVERY: Duration = Duration::from_secs(5);
/// Most members of one group that are read.
const MAX_MEMBERS: usize = 32;
/// Largest list of members that is read.
const MAX_LIST_BYTES: u64 = 4096;

/// The groups of the last walk.
#[derive(Debug, Default)]
pub(super) struct ControlGroups {
    paths: HashMap<u64, PathBuf>,
    walked: Option<Instant>,
}

impl ControlGroups {
    /// What a group's path tells; nothing if there is no such group.
    pub(super) fn placement(&mut self, id: u64) -> Placement {
        let Some(path) = self.path(id) else { return Placement::default() };
        let root = ROOTS.iter().rev().find_map(|root| path.strip_prefix(root).ok());
        cgroup::of_path(&root.unwrap_or(path).to_string_lossy())
    }

    /// Numbers of processes in a group, at most [`MAX_MEMBERS`]; nothing of a group with more, since they tell too little.
    pub(super) fn members(&mut self, id: u64) -> Vec<u32> {
        let list = self.path(id).and_then(|path| read(&path.join("cgroup.procs"), MAX_LIST_BYTES));
        let members: Vec<u32> =
            list.iter().flat_map(|list| list.lines()).filter_map(|line| line.parse().ok()).collect();
        if members.len() > MAX_MEMBERS { Vec::new() } else { members }
    }

    fn path(&mut self, id: u64) -> Option<&Path> {
        let due = self.walked.is_none_or(|walked| walked.elapsed() >= WALK_EVERY);
        if due && !self.paths.contains_key(&id) {
            self.walked = Some(Instant::now());
            self.paths = walk();
        }
        self.paths.get(&id).map(PathBuf::as_path)
    }
}

fn walk() -> HashMap<u64, PathBuf> {
    let root = ROOTS.iter().map(Path::new).find(|root| root.join("cgroup.controllers").exists());
    let mut found = HashMap::new();
    let mut left: Vec<PathBuf> = root.into_iter().map(Path::to_owned).collect();
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if found.len() >= MAX_GROUPS {
                return found;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.insert(entry.ino(), entry.path());
                left.push(entry.path());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_id_has_no_placement_and_is_not_looked_for_again_at_once() {
        let mut groups = ControlGroups::default();
        assert_eq!(groups.placement(u64::MAX), Placement::default());
        let walked = groups.walked;
        assert_eq!(groups.members(u64::MAX), [0; 0]);
        assert_eq!(groups.walked, walked);
        assert!(groups.paths.len() <= MAX_GROUPS);
    }

    #[test]
    fn a_group_is_found_by_its_directorys_inode() {
        let mut groups = ControlGroups::default();
        groups.placement(0);
        for (id, path) in groups.paths.clone() {
            // One that has gone meanwhile is no mistake.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            assert_eq!(std::os::unix::fs::MetadataExt::ino(&metadata), id, "{}", path.display());
        }
    }
}
