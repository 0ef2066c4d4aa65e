//! Inode of a socket → the process that holds it. Only looking through every process's descriptors tells (proc(5)), so that is done seldom,
//! within limits, and what was found is kept.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::processes::started;

/// Most sockets remembered; a search ends there.
const MAX_SOCKETS: usize = 1 << 16;
/// Most descriptors looked at in one search.
const MAX_DESCRIPTORS: usize = 200_000;
/// Least time between two searches.
const SEARCH_EVERY: Duration = Duration::from_secs(2);
/// A search may take one part in this many of the thread's time: after a long one, the next waits the longer.
const SHARE: u32 = 20;

/// A process that holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// Its number.
    pub(super) number: u32,
    /// When it started, in ticks: the number may be another's when it is asked about.
    pub(super) started: u64,
}

/// The sockets of the last search.
#[derive(Debug)]
pub(super) struct Sockets {
    proc: PathBuf,
    holders: HashMap<u64, Holder>,
    next: Option<Instant>,
}

impl Default for Sockets {
    fn default() -> Self {
        Self { proc: PathBuf::from("/proc"), holders: HashMap::new(), next: None }
    }
}

impl Sockets {
    /// The process that holds a socket: the one with the lowest number, if several do. The kernel uses an inode again only after four thousand
    /// million others, so that what was found stays true as long as the socket lives.
    pub(super) fn holder(&mut self, inode: u64) -> Option<Holder> {
        let begin = Instant::now();
        if !self.holders.contains_key(&inode) && self.next.is_none_or(|next| begin >= next) {
            self.holders = search(&self.proc);
            let end = Instant::now();
            self.next = Some(end + SEARCH_EVERY.max((end - begin) * SHARE));
        }
        self.holders.get(&inode).copied()
    }
}

fn search(proc: &Path) -> HashMap<u64, Holder> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let mut numbers: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    let mut holders = HashMap::new();
    let mut left = MAX_DESCRIPTORS;
    for number in numbers {
        let Some(started) = started(proc, number) else { continue };
        let descriptors = fs::read_dir(proc.join(number.to_string()).join("fd"));
        for descriptor in descriptors.into_iter().flatten().flatten() {
            if left == 0 || holders.len() >= MAX_SOCKETS {
                tracing::debug!("the search for sockets ended early: this host has too many descriptors");
                return holders;
            }
            left -= 1;
            let target = fs::read_link(descriptor.path()).ok();
            if let Some(inode) = target.as_deref().and_then(Path::to_str).and_then(inode) {
                holders.entry(inode).or_insert(Holder { number, started });
            }
        }
    }
    holders
}

/// The number in `socket:[number]`.
fn inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_this_processs_own_socket_is_found_and_searches_are_seldom() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&listener));
        let target = fs::read_link(link).unwrap();
        let inode = inode(target.to_str().unwrap()).unwrap();
        let mut sockets = Sockets::default();
        assert_eq!(sockets.holder(inode).map(|holder| holder.number), Some(std::process::id()));
        let next = sockets.next;
        assert_eq!(sockets.holder(u64::MAX), None);
        assert_eq!(sockets.next, next, "no second search so soon");
    }

    #[test]
    fn the_lowest_number_of_several_holders_counts() {
        let proc = tempfile::tempdir().unwrap();
        for (number, target) in [
            (30, "socket:[77]"),
            (4, "socket:[77]"),
            (200, "socket:[78]"),
            (5, "pipe:[79]"),
            (6, "socket:[x]"),
        ] {
            let folder = proc.path().join(number.to_string()).join("fd");
            fs::create_dir_all(&folder).unwrap();
            let fields = vec!["0"; 18].join(" ");
            let stat = format!("{number} (x) S {fields} {} 0\n", number * 10);
            fs::write(proc.path().join(number.to_string()).join("stat"), stat).unwrap();
            std::os::unix::fs::symlink(target, folder.join("3")).unwrap();
        }
        let holder = |number: u32| Holder { number, started: u64::from(number) * 10 };
        assert_eq!(search(proc.path()), HashMap::from([(77, holder(4)), (78, holder(200))]));
    }
}
