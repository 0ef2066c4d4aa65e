//! The alert file: whole lines only, rotated by size, opened again on demand for external rotation.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file of lines that rotates.
#[derive(Debug)]
pub(super) struct LineFile {
    path: PathBuf,
    max_bytes: u64,
    keep: u32,
    open: Option<(File, u64)>,
}

impl LineFile {
    /// The file at `path`; it is opened with the first line.
    pub(super) fn new(path: &Path, max_bytes: u64, keep: u32) -> Self {
        Self { path: path.to_owned(), max_bytes, keep, open: None }
    }

    /// Closes the file; the next line opens whatever stands at the path then.
    pub(super) fn reopen(&mut self) {
        self.open = None;
    }

    /// Appends one line. If that fails, no part of the line stays.
    pub(super) fn write(&mut self, line: &str) -> io::Result<()> {
        let length = line.len() as u64 + 1;
        if self.size()? > 0 && self.size()? + length > self.max_bytes {
            self.rotate()?;
        }
        let (file, size) = self.opened()?;
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        if let Err(error) = file.write_all(&bytes) {
            // Cutting the file gives space back and works on a full disk; if it fails too, the next open ends the line.
            let _ = file.set_len(*size);
            self.open = None;
            return Err(error);
        }
        *size += length;
        Ok(())
    }

    fn size(&mut self) -> io::Result<u64> {
        Ok(self.opened()?.1)
    }

    fn opened(&mut self) -> io::Result<&mut (File, u64)> {
        let open = match self.open.take() {
            Some(open) => open,
            None => open(&self.path)?,
        };
        Ok(self.open.insert(open))
    }

    /// `eve.json` → `eve.json.1` → `eve.json.2` …; the oldest beyond the limit goes.
    fn rotate(&mut self) -> io::Result<()> {
        self.open = None;
        if self.keep == 0 {
            return std::fs::remove_file(&self.path);
        }
        for number in (1..self.keep).rev() {
            rename_if_there(&self.numbered(number), &self.numbered(number + 1))?;
        }
        rename_if_there(&self.path, &self.numbered(1))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o750).create(parent)?;
    }
    let file = OpenOptions::new().create(true).append(true).read(true).mode(0o640).open(path)?;
    let mut size = file.metadata()?.len();
    if size > 0 && last_byte(&file, size)? != b'\n' {
        (&file).write_all(b"\n")?;
        size += 1;
    }
    Ok((file, size))
}

fn last_byte(file: &File, size: u64) -> io::Result<u8> {
    use std::os::unix::fs::FileExt;
    let mut byte = [0];
    file.read_exact_at(&mut byte, size - 1)?;
    Ok(byte[0])
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn the_file_rotates_by_size_and_keeps_what_it_was_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/eve.json");
        let mut file = LineFile::new(&path, 20, 2);
        for n in 0..8 {
            file.write(&format!("line {n:04}")).unwrap();
        }
        assert_eq!(read(&path), "line 0006\nline 0007\n");
        assert_eq!(read(&dir.path().join("log/eve.json.1")), "line 0004\nline 0005\n");
        assert_eq!(read(&dir.path().join("log/eve.json.2")), "line 0002\nline 0003\n");
        assert_eq!(std::fs::read_dir(dir.path().join("log")).unwrap().count(), 3);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_line_longer_than_the_limit_is_still_written_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("eve.json");
        let mut file = LineFile::new(&path, 5, 0);
        file.write("longer than five").unwrap();
        file.write("b").unwrap();
        assert_eq!(read(&path), "b\n");
    }

    #[test]
    fn after_external_rotation_the_new_file_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("eve.json");
        let mut file = LineFile::new(&path, 1000, 2);
        file.write("one").unwrap();
        std::fs::rename(&path, dir.path().join("moved")).unwrap();
        file.write("two").unwrap();
        file.reopen();
        file.write("three").unwrap();
        assert_eq!(read(&dir.path().join("moved")), "one\ntwo\n");
        assert_eq!(read(&path), "three\n");
    }

    #[test]
    fn half_a_line_of_a_crash_is_ended_before_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("eve.json");
        std::fs::write(&path, "{\"half").unwrap();
        LineFile::new(&path, 1000, 2).write("{}").unwrap();
        assert_eq!(read(&path), "{\"half\n{}\n");
    }

    #[test]
    fn a_full_disk_is_an_error_and_no_panic() {
        if !Path::new("/dev/full").exists() {
            return;
        }
        assert!(LineFile::new(Path::new("/dev/full"), 1000, 2).write("{}").is_err());
    }
}
