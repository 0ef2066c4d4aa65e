//! Puts the sensor in place and removes it. What an operator may have changed is never overwritten; everything else is,
//! whole files at a time, so that a half-done installation can be repeated.

pub(crate) mod atomic;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::config::{DEFAULT_FILE, DEFAULT_PATH, OWN_RULES, SHIPPED_RULES};
use crate::detection;

/// The program.
const BINARY: &str = "/usr/local/bin/sensor-agent";
/// The service unit.
const UNIT: &str = "/etc/systemd/system/sensor.service";
const UNIT_FILE: &str = include_str!("../../dist/sensor.service");
/// What the sensor has written: kept unless purged.
const STATE: &[&str] = &["/etc/sensor", "/var/lib/sensor", "/var/log/sensor"];

/// Where to install, and whether only to say what would be done.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// `/`, or the root of a package.
    pub(crate) root: PathBuf,
    /// Change nothing.
    pub(crate) dry_run: bool,
}

impl Place {
    /// Whether this is the running host, where systemd is to be told.
    pub(crate) fn is_host(&self) -> bool {
        self.root == Path::new("/")
    }

    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// Installs; returns what was done, one line a step.
pub(crate) fn install(place: &Place, program: &Path) -> anyhow::Result<Vec<String>> {
    let mut steps = Steps { place, done: Vec::new() };
    let binary = fs::read(program)
        .with_context(|| format!("the running program `{}` cannot be read", program.display()))?;
    steps.put(BINARY, &binary, 0o755)?;
    steps.put(UNIT, UNIT_FILE.as_bytes(), 0o644)?;
    steps.put_configuration()?;
    steps.make_dir(OWN_RULES)?;
    for (name, text) in detection::shipped() {
        steps.put(&format!("{SHIPPED_RULES}/{name}"), text.as_bytes(), 0o644)?;
    }
    for (name, text) in detection::about_rules() {
        steps.put(&format!("{SHIPPED_RULES}/{name}"), text.as_bytes(), 0o644)?;
    }
    steps.remove_stale_rules()?;
    Ok(steps.done)
}

/// Uninstalls; returns what was done, one line a step. Removes the pins, and with them every block.
pub(crate) fn uninstall(place: &Place, pin_dir: &Path, purge: bool) -> anyhow::Result<Vec<String>> {
    let mut steps = Steps { place, done: Vec::new() };
    steps.remove_file(UNIT)?;
    steps.remove_dir(pin_dir)?;
    steps.remove_file(BINARY)?;
    steps.remove_dir(Path::new(SHIPPED_RULES).parent().unwrap_or(Path::new(SHIPPED_RULES)))?;
    for path in STATE {
        if purge {
            steps.remove_dir(Path::new(path))?;
        } else if place.at(path).exists() {
            steps.done.push(format!("kept {} (`--purge` removes it)", place.at(path).display()));
        }
    }
    Ok(steps.done)
}

struct Steps<'a> {
    place: &'a Place,
    done: Vec<String>,
}

impl Steps<'_> {
    fn put(&mut self, path: &str, content: &[u8], mode: u32) -> anyhow::Result<()> {
        let path = self.place.at(path);
        if fs::read(&path).is_ok_and(|found| found == content) {
            self.done.push(format!("unchanged {}", path.display()));
            return Ok(());
        }
        let verb = if path.exists() { "replaced" } else { "wrote" };
        if !self.place.dry_run {
            atomic::write(&path, content, mode)?;
        }
        self.done.push(format!("{verb} {}", path.display()));
        Ok(())
    }

    /// An operator's configuration stays; what is new in the default one is put beside it.
    fn put_configuration(&mut self) -> anyhow::Result<()> {
        let path = self.place.at(DEFAULT_PATH);
        match fs::read(&path) {
            Ok(found) if found != DEFAULT_FILE.as_bytes() => {
                self.done.push(format!("kept {}", path.display()));
                self.put(&format!("{DEFAULT_PATH}.new"), DEFAULT_FILE.as_bytes(), 0o640)
            }
            _ => self.put(DEFAULT_PATH, DEFAULT_FILE.as_bytes(), 0o640),
        }
    }

    /// Rules of an older version that this one no longer ships.
    fn remove_stale_rules(&mut self) -> anyhow::Result<()> {
        let shipped: Vec<_> = detection::shipped().into_iter().map(|(name, _)| name).collect();
        let root = self.place.at(SHIPPED_RULES);
        for path in detection::rule_files(&root).unwrap_or_default() {
            let name = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
            if !shipped.contains(&name) {
                self.remove_file(&format!("{SHIPPED_RULES}/{name}"))?;
            }
        }
        Ok(())
    }

    fn make_dir(&mut self, path: &str) -> anyhow::Result<()> {
        let path = self.place.at(path);
        if path.is_dir() {
            return Ok(());
        }
        if !self.place.dry_run {
            fs::create_dir_all(&path).with_context(|| format!("`{}` cannot be made", path.display()))?;
        }
        self.done.push(format!("made {}", path.display()));
        Ok(())
    }

    fn remove_file(&mut self, path: &str) -> anyhow::Result<()> {
        self.remove(&self.place.at(path), |path| fs::remove_file(path))
    }

    fn remove_dir(&mut self, path: &Path) -> anyhow::Result<()> {
        self.remove(&self.place.at(path), |path| fs::remove_dir_all(path))
    }

    fn remove(&mut self, path: &Path, remove: fn(&Path) -> std::io::Result<()>) -> anyhow::Result<()> {
        if !path.exists() {
            return Ok(());
        }
        if !self.place.dry_run {
            match remove(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("`{}` cannot be removed", path.display()));
                }
                _ => {}
            }
        }
        self.done.push(format!("removed {}", path.display()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn place(dry_run: bool) -> (tempfile::TempDir, Place, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        fs::write(&program, "the program").unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        (dir, Place { root, dry_run }, program)
    }

    #[test]
    fn everything_is_put_in_place_and_a_second_time_nothing_changes() {
        let (_dir, place, program) = place(false);
        let first = install(&place, &program).unwrap();
        assert!(
            first.iter().all(|step| step.starts_with("wrote ") || step.starts_with("made ")),
            "{first:?}"
        );
        for (path, mode) in [(BINARY, 0o755), (UNIT, 0o644), (DEFAULT_PATH, 0o640)] {
            let metadata = fs::metadata(place.at(path)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, mode, "{path}");
        }
        assert!(place.at(OWN_RULES).is_dir());
        let schema = fs::read_to_string(place.at(SHIPPED_RULES).join("schema.json")).unwrap();
        assert!(schema.contains("https://json-schema.org/"));
        assert!(place.at(SHIPPED_RULES).join("README.md").exists());
        assert_eq!(
            detection::load(&[place.at(SHIPPED_RULES)]).unwrap().files,
            detection::shipped().len(),
            "what is no rule is not read as one"
        );
        let second = install(&place, &program).unwrap();
        assert!(second.iter().all(|step| step.starts_with("unchanged ")), "{second:?}");
    }

    #[test]
    fn a_changed_configuration_is_kept_and_the_new_one_put_beside() {
        let (_dir, place, program) = place(false);
        install(&place, &program).unwrap();
        fs::write(place.at(DEFAULT_PATH), "[response]\nenforce = true\n").unwrap();
        install(&place, &program).unwrap();
        assert_eq!(fs::read_to_string(place.at(DEFAULT_PATH)).unwrap(), "[response]\nenforce = true\n");
        assert_eq!(fs::read_to_string(place.at("/etc/sensor/sensor.toml.new")).unwrap(), DEFAULT_FILE);
    }

    #[test]
    fn rules_that_are_shipped_no_longer_go() {
        let (_dir, place, program) = place(false);
        install(&place, &program).unwrap();
        for name in ["stale.toml", "session/stale.toml"] {
            let stale = place.at(SHIPPED_RULES).join(name);
            fs::create_dir_all(stale.parent().unwrap()).unwrap();
            fs::write(&stale, "").unwrap();
            let steps = install(&place, &program).unwrap();
            assert!(steps.contains(&format!("removed {}", stale.display())), "{steps:?}");
            assert!(!stale.exists());
        }
    }

    #[test]
    fn a_dry_run_says_the_same_and_changes_nothing() {
        let (_dir, mut place, program) = place(true);
        let said = install(&place, &program).unwrap();
        assert_eq!(fs::read_dir(&place.root).unwrap().count(), 0);
        place.dry_run = false;
        assert_eq!(install(&place, &program).unwrap(), said);
    }

    #[test]
    fn uninstalling_keeps_what_was_written_unless_purged() {
        let (_dir, place, program) = place(false);
        install(&place, &program).unwrap();
        for path in ["/var/lib/sensor/sensor.db", "/sys/fs/bpf/sensor/v2/BLOCK4"] {
            atomic::write(&place.at(path), b"", 0o600).unwrap();
        }
        uninstall(&place, Path::new("/sys/fs/bpf/sensor"), false).unwrap();
        for (path, there) in [
            (BINARY, false),
            (UNIT, false),
            (SHIPPED_RULES, false),
            ("/sys/fs/bpf/sensor", false),
            (DEFAULT_PATH, true),
            ("/var/lib/sensor/sensor.db", true),
        ] {
            assert_eq!(place.at(path).exists(), there, "{path}");
        }
        uninstall(&place, Path::new("/sys/fs/bpf/sensor"), true).unwrap();
        assert!(STATE.iter().all(|path| !place.at(path).exists()));
        assert_eq!(uninstall(&place, Path::new("/sys/fs/bpf/sensor"), true).unwrap(), [] as [String; 0]);
    }
}
