//! Alerts on disk: SQLite behind a few narrow functions.
//!
//! One connection writes and one reads, each behind its own lock; with a write-ahead log neither waits for the other. A
//! commit is on disk when it returns (`synchronous = FULL`), because an alert is announced only after that.

mod alerts;
mod marks;
mod schema;

use std::borrow::Borrow;
use std::fs::OpenOptions;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rusqlite::{Connection, ErrorCode, OpenFlags};

pub(crate) use alerts::{Filter, Owner, Row, Stored};
pub(crate) use marks::Mark;

/// How long a statement waits for a lock of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The database.
#[derive(Debug)]
pub(crate) struct Store {
    writer: Mutex<Writer>,
    reader: Mutex<Connection>,
}

#[derive(Debug)]
struct Writer {
    connection: Connection,
    max_alerts: u64,
    rows: u64,
}

/// An opened database.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The database.
    pub(crate) store: Store,
    /// Where a corrupt predecessor was moved to.
    pub(crate) quarantined: Option<PathBuf>,
}

impl Store {
    /// Opens or makes the database at `path`. A corrupt file is moved aside and a fresh one made.
    pub(crate) fn open(path: &Path, max_alerts: u64) -> anyhow::Result<Opened> {
        let context = || format!("the alert database `{}` cannot be opened", path.display());
        prepare(path).with_context(context)?;
        match Self::open_sound(path, max_alerts, 1) {
            Ok(store) => Ok(Opened { store, quarantined: None }),
            Err(error) if is_corrupt(&error) => {
                let aside = quarantine(path).with_context(context)?;
                prepare(path).with_context(context)?;
                // Numbers go on above every number ever given, so that a client's place in the stream stays in the past.
                let first = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(1);
                let store = Self::open_sound(path, max_alerts, first).with_context(context)?;
                Ok(Opened { store, quarantined: Some(aside) })
            }
            Err(error) => Err(error.context(context())),
        }
    }

    /// Opens the database of a running or stopped agent for reading only.
    pub(crate) fn open_for_reading(path: &Path) -> anyhow::Result<ReadOnly> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)
            .and_then(|connection| {
                connection.busy_timeout(BUSY_TIMEOUT)?;
                connection.pragma_update(None, "query_only", true)?;
                Ok(connection)
            })
            .with_context(|| format!("the alert database `{}` cannot be read", path.display()))?;
        schema::check_version(&connection)?;
        Ok(ReadOnly(connection))
    }

    fn open_sound(path: &Path, max_alerts: u64, first_id: u64) -> anyhow::Result<Self> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        schema::check_sound(&connection)?;
        schema::check_version(&connection)?;
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        schema::migrate(&mut connection, first_id)?;
        let rows: i64 = connection.query_row("SELECT count(*) FROM alerts", [], |row| row.get(0))?;
        let reader = Connection::open(path)?;
        reader.busy_timeout(BUSY_TIMEOUT)?;
        reader.pragma_update(None, "query_only", true)?;
        let writer = Writer { connection, max_alerts, rows: rows.unsigned_abs() };
        Ok(Self { writer: Mutex::new(writer), reader: Mutex::new(reader) })
    }

    /// The number that the next alert gets.
    pub(crate) fn next_id(&self) -> anyhow::Result<u64> {
        alerts::next_id(&lock(&self.writer).connection)
    }

    /// Writes alerts, all or none; they are on disk when this returns. Removes the oldest beyond the limit.
    pub(crate) fn insert<R: Borrow<Row>>(&self, rows: &[R]) -> anyhow::Result<()> {
        let mut writer = lock(&self.writer);
        let (max, before) = (writer.max_alerts, writer.rows);
        writer.rows = alerts::insert(&mut writer.connection, rows, before, max)?;
        Ok(())
    }

    /// Alerts before number `before`, newest first.
    pub(crate) fn newest(
        &self,
        filter: &Filter,
        before: Option<u64>,
        limit: usize,
    ) -> anyhow::Result<Vec<Stored>> {
        alerts::newest(&lock(&self.reader), filter, before, limit)
    }

    /// Alerts behind number `after`, oldest first.
    pub(crate) fn after(&self, after: u64, filter: &Filter, limit: usize) -> anyhow::Result<Vec<Stored>> {
        alerts::after(&lock(&self.reader), after, filter, limit)
    }

    /// The event of one alert.
    pub(crate) fn event(&self, id: u64) -> anyhow::Result<Option<String>> {
        marks::event(&lock(&self.reader), id)
    }

    /// Marks an alert as a false one at a time, or takes its mark off; `rules` are those that made it.
    pub(crate) fn set_mark(&self, id: u64, rules: &[String], at_us: Option<i64>) -> anyhow::Result<Mark> {
        marks::set(&mut lock(&self.writer).connection, id, rules, at_us)
    }

    /// How many alerts of each rule were marked as false, by id; rules without marks are left out.
    pub(crate) fn false_positives(&self) -> anyhow::Result<Vec<(String, u64)>> {
        marks::counts(&lock(&self.reader))
    }
}

/// The database, opened for reading only.
#[derive(Debug)]
pub(crate) struct ReadOnly(Connection);

impl ReadOnly {
    /// Alerts before number `before`, newest first.
    pub(crate) fn newest(
        &self,
        filter: &Filter,
        before: Option<u64>,
        limit: usize,
    ) -> anyhow::Result<Vec<Stored>> {
        alerts::newest(&self.0, filter, before, limit)
    }

    /// As [`Store::false_positives`].
    pub(crate) fn false_positives(&self) -> anyhow::Result<Vec<(String, u64)>> {
        marks::counts(&self.0)
    }
}

/// A poisoned lock guards a connection that is still whole: SQLite rolls back what a panic interrupted.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the directory and an empty file that only the owner reads. SQLite gives its side files the same mode.
fn prepare(path: &Path) -> anyhow::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o750).create(parent)?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn is_corrupt(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || error.is::<schema::Unsound>()
}

/// Moves a corrupt database and its side files aside; returns the new name.
fn quarantine(path: &Path) -> anyhow::Result<PathBuf> {
    let stamp = jiff::Timestamp::now().as_millisecond();
    let renamed = |suffix: &str| {
        let mut from = path.as_os_str().to_owned();
        from.push(suffix);
        let mut to = path.as_os_str().to_owned();
        to.push(format!(".corrupt-{stamp}{suffix}"));
        (PathBuf::from(from), PathBuf::from(to))
    };
    for suffix in ["-wal", "-shm"] {
        let (from, to) = renamed(suffix);
        if from.exists() {
            std::fs::rename(from, to)?;
        }
    }
    let (from, to) = renamed("");
    std::fs::rename(from, &to)?;
    Ok(to)
}

/// Keeps everybody else from writing to the database, until it is dropped.
#[cfg(test)]
pub(crate) fn hold(path: &Path) -> impl Drop + use<> {
    struct Held(Connection);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.execute_batch("ROLLBACK").unwrap();
        }
    }
    let connection = Connection::open(path).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    Held(connection)
}

#[cfg(test)]
mod tests;
