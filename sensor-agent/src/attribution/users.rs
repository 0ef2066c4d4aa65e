//! Names of users, from `/etc/passwd` (passwd(5)) alone: other sources may ask the network, and an alert does not wait for that.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::processes::read;
use crate::printable::short;

/// How long the file counts as it was read.
const READ_EVERY: Duration = Duration::from_secs(60);
/// Largest file read.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// Most users known.
const MAX_USERS: usize = 16_384;
/// Longest name shown.
const MAX_NAME: usize = 64;

/// The users of this host.
#[derive(Debug)]
pub(super) struct Users {
    file: PathBuf,
    names: HashMap<u32, String>,
    read: Option<Instant>,
}

impl Default for Users {
    fn default() -> Self {
        Self { file: PathBuf::from("/etc/passwd"), names: HashMap::new(), read: None }
    }
}

impl Users {
    /// The name of a user, if it has one.
    pub(super) fn name(&mut self, user: u32) -> Option<String> {
        if self.read.is_none_or(|read| read.elapsed() >= READ_EVERY) {
            self.names = names(&self.file);
            self.read = Some(Instant::now());
        }
        self.names.get(&user).cloned()
    }
}

/// Of several names for one number the first counts, as for getpwuid(3).
fn names(file: &Path) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    let text = read(file, MAX_FILE_BYTES).unwrap_or_default();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (name, number) = (fields.next(), fields.nth(1).and_then(|number| number.parse().ok()));
        if let (Some(name), Some(number)) = (name, number)
            && names.len() < MAX_USERS
        {
            names.entry(number).or_insert_with(|| short(name, MAX_NAME));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts_and_broken_lines_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwd");
        std::fs::write(
            &file,
            "root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\nbroken\n\u{1b}a:x:5:5::/:\n:x:z\n",
        )
        .unwrap();
        let mut users = Users { file, ..Users::default() };
        assert_eq!(users.name(0).as_deref(), Some("root"));
        assert_eq!(users.name(5).as_deref(), Some("\\u{1b}a"));
        assert_eq!(users.name(6), None);
    }
}
