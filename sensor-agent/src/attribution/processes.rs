//! What `/proc` (proc(5)) tells of a process: name, program, user, control group. Cached by number and start, since numbers are used again.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cgroup::{self, Placement};
use super::{MAX_NAME, Tally};
use crate::printable::short;

/// Most processes in the cache; the one read longest ago makes room.
const MAX_PROCESSES: usize = 1024;
/// How long a process counts as it was read: it may start another program, or be moved to another group.
const TRUSTED_FOR: Duration = Duration::from_secs(10);
/// Largest file of `/proc` that is read.
const MAX_FILE_BYTES: u64 = 16 << 10;
/// Longest path of a program that is shown.
const MAX_PATH: usize = 256;
/// What `/proc` counts starts of processes in: USER_HZ is 100 on every architecture that the sensor runs on.
pub(super) const TICK_NS: u64 = 10_000_000;

/// What is known of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Name of its first thread.
    pub(super) name: Option<String>,
    /// Path of its program, as its own file system names it.
    pub(super) exe: Option<String>,
    /// Its real user.
    pub(super) user: Option<u32>,
    /// Its unit and container.
    pub(super) placement: Placement,
}

#[derive(Debug)]
struct Known {
    facts: Facts,
    read: Instant,
}

/// The cache.
#[derive(Debug)]
pub(super) struct Processes {
    proc: PathBuf,
    most: usize,
    known: HashMap<(u32, u64), Known>,
    hits: u64,
    misses: u64,
    evictions: u64,
}

impl Default for Processes {
    fn default() -> Self {
        Self::at(Path::new("/proc"), MAX_PROCESSES)
    }
}

impl Processes {
    fn at(proc: &Path, most: usize) -> Self {
        Self { proc: proc.to_owned(), most, known: HashMap::new(), hits: 0, misses: 0, evictions: 0 }
    }

    /// A running process; `None` if it is gone, or did not start at `ticks` and so is another.
    pub(super) fn get(&mut self, number: u32, ticks: Option<u64>) -> Option<Facts> {
        let started = ticks.map_or_else(|| self::started(&self.proc, number), Some)?;
        let key = (number, started);
        if let Some(known) = self.known.get(&key).filter(|known| known.read.elapsed() < TRUSTED_FOR) {
            self.hits += 1;
            return Some(known.facts.clone());
        }
        self.misses += 1;
        let facts = facts(&self.proc.join(number.to_string()));
        // Asked again behind the rest: in between, the number was one process's.
        if self::started(&self.proc, number) != Some(started) {
            // What was known of it is still true of the process that it was.
            return self.known.get(&key).map(|known| known.facts.clone());
        }
        self.make_room();
        self.known.insert(key, Known { facts: facts.clone(), read: Instant::now() });
        Some(facts)
    }

    /// Adds what the cache counts.
    pub(super) fn count(&self, tally: Tally) -> Tally {
        Tally {
            cache_hits: self.hits,
            cache_misses: self.misses,
            cache_evictions: self.evictions,
            cached: self.known.len() as u64,
            ..tally
        }
    }

    fn make_room(&mut self) {
        if self.known.len() < self.most {
            return;
        }
        let oldest = self.known.iter().min_by_key(|(_, known)| known.read).map(|(key, _)| *key);
        if let Some(key) = oldest {
            self.known.remove(&key);
            self.evictions += 1;
        }
    }
}

/// When a process started, in ticks since boot: the 22nd field, counted behind the name, which may contain anything.
pub(super) fn started(proc: &Path, number: u32) -> Option<u64> {
    let text = read(&proc.join(number.to_string()).join("stat"), MAX_FILE_BYTES)?;
    let (_, fields) = text.rsplit_once(") ")?;
    fields.split(' ').nth(19)?.parse().ok()
}

fn facts(folder: &Path) -> Facts {
    let text = |file: &str| read(&folder.join(file), MAX_FILE_BYTES);
    let exe = fs::read_link(folder.join("exe")).ok();
    Facts {
        name: text("comm").map(|name| short(name.trim_end_matches('\n'), MAX_NAME)),
        exe: exe.map(|path| short(&path.to_string_lossy(), MAX_PATH)),
        user: text("status").and_then(|status| user(&status)),
        placement: text("cgroup").map(|groups| cgroup::of_process(&groups)).unwrap_or_default(),
    }
}

/// The real user in `Uid: real effective saved file`.
fn user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The head of a small file, whatever bytes it has.
pub(super) fn read(path: &Path, most: u64) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `/proc` with one process in it.
    fn proc_with(number: u32, name: &str, ticks: u64) -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        write(proc.path(), number, name, ticks);
        proc
    }

    fn write(proc: &Path, number: u32, name: &str, ticks: u64) {
        let folder = proc.join(number.to_string());
        fs::create_dir_all(&folder).unwrap();
        let before = vec!["0"; 18].join(" ");
        fs::write(folder.join("stat"), format!("{number} ({name}) S {before} {ticks} 0 0\n")).unwrap();
        fs::write(folder.join("comm"), format!("{name}\n")).unwrap();
        fs::write(folder.join("status"), "Name:\tx\nUid:\t33\t0\t0\t0\n").unwrap();
        fs::write(folder.join("cgroup"), "0::/system.slice/web.service\n").unwrap();
        let _ = fs::remove_file(folder.join("exe"));
        std::os::unix::fs::symlink("/usr/sbin/web (deleted)", folder.join("exe")).unwrap();
    }

    #[test]
    fn a_process_is_what_proc_tells() {
        let proc = proc_with(7, "web", 500);
        let facts = Processes::at(proc.path(), 16).get(7, None).unwrap();
        assert_eq!(facts.name.as_deref(), Some("web"));
        assert_eq!(facts.exe.as_deref(), Some("/usr/sbin/web (deleted)"));
        assert_eq!((facts.user, facts.placement.unit.as_deref()), (Some(33), Some("web.service")));
    }

    #[test]
    fn a_number_that_is_anothers_by_now_is_not_taken_for_the_process() {
        let proc = proc_with(7, "old", 500);
        let mut processes = Processes::at(proc.path(), 16);
        assert_eq!(processes.get(7, Some(499)), None, "started at another time");
        assert!(processes.get(7, Some(500)).is_some());
        write(proc.path(), 7, "new", 900);
        assert_eq!(processes.get(7, Some(500)).unwrap().name.as_deref(), Some("old"), "known from before");
        assert_eq!(processes.get(7, None).unwrap().name.as_deref(), Some("new"));
        assert_eq!(processes.get(8, None), None);
    }

    #[test]
    fn names_of_processes_are_hostile() {
        let proc = proc_with(7, "a) R 1 2\u{1b}[2J) ", 500);
        let name = Processes::at(proc.path(), 16).get(7, Some(500)).unwrap().name.unwrap();
        assert_eq!(name, "a) R 1 2\\u{1b}[2J) ");
    }

    #[test]
    fn the_cache_is_bounded_and_counts() {
        let proc = tempfile::tempdir().unwrap();
        let mut processes = Processes::at(proc.path(), 16);
        let many = 26;
        for number in 1..=many {
            write(proc.path(), number, "x", 1);
            assert!(processes.get(number, Some(1)).is_some());
        }
        assert!(processes.get(many, Some(1)).is_some());
        let tally = processes.count(Tally::default());
        assert_eq!(tally.cached, 16);
        assert_eq!((tally.cache_hits, tally.cache_misses), (1, u64::from(many)));
        assert_eq!(tally.cache_evictions, 10);
    }

    #[test]
    fn this_process_is_known() {
        let facts = Processes::default().get(std::process::id(), None).unwrap();
        assert_eq!(facts.user, Some(nix::unistd::getuid().as_raw()));
        let exe = std::env::current_exe().unwrap();
        assert_eq!(facts.exe, Some(short(&exe.to_string_lossy(), MAX_PATH)));
    }
}
