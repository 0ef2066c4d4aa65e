//! Tables and their versions. Each migration is a step from one `user_version` to the next, and runs in a transaction.

use std::fmt;

use rusqlite::Connection;

/// Steps to the newest schema: step `n` leads from version `n` to `n + 1`.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE alerts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time_us INTEGER NOT NULL,
        class TEXT NOT NULL,
        severity TEXT NOT NULL,
        source BLOB NOT NULL,
        event TEXT NOT NULL
    ) STRICT;
    CREATE INDEX alerts_by_source ON alerts (source, id);
    CREATE INDEX alerts_by_time ON alerts (time_us);
",
    "
    ALTER TABLE alerts ADD COLUMN process TEXT;
    ALTER TABLE alerts ADD COLUMN unit TEXT;
    ALTER TABLE alerts ADD COLUMN container TEXT;
    ALTER TABLE alerts ADD COLUMN user TEXT;
",
    "
    ALTER TABLE alerts ADD COLUMN false_positive_us INTEGER;
    CREATE TABLE false_positives (rule TEXT PRIMARY KEY, marks INTEGER NOT NULL, last_us INTEGER NOT NULL) STRICT;
",
];

/// The database's content contradicts itself.
#[derive(Debug)]
pub(super) struct Unsound(String);

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the database is corrupt: {}", self.0)
    }
}

impl std::error::Error for Unsound {}

/// Refuses a database whose structure is damaged.
pub(super) fn check_sound(connection: &Connection) -> anyhow::Result<()> {
    let answer: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if answer == "ok" { Ok(()) } else { Err(Unsound(answer).into()) }
}

/// Refuses a database that a newer version of the sensor made.
pub(super) fn check_version(connection: &Connection) -> anyhow::Result<()> {
    let (found, known) = (version(connection)?, MIGRATIONS.len());
    anyhow::ensure!(
        found <= known,
        "the database has schema version {found}, this version of the sensor knows up to {known}: run a newer sensor, \
         or move the file away to start with an empty one"
    );
    Ok(())
}

/// Brings the schema up to date. A fresh database numbers its alerts from `first_id`.
pub(super) fn migrate(connection: &mut Connection, first_id: u64) -> anyhow::Result<()> {
    let found = version(connection)?;
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        if step == 0 {
            let last = i64::try_from(first_id.saturating_sub(1))?;
            transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('alerts', ?1)", [last])?;
        }
        transaction.pragma_update(None, "user_version", i64::try_from(step + 1)?)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Makes the database that an earlier version of the sensor would have left, with alert 7 in it.
#[cfg(test)]
pub(super) fn at_version(path: &std::path::Path, version: usize) {
    let connection = Connection::open(path).unwrap();
    MIGRATIONS[..version].iter().for_each(|sql| connection.execute_batch(sql).unwrap());
    connection
        .execute_batch(
            "INSERT INTO alerts (id, time_us, class, severity, source, event)
             VALUES (7, 1, 'JWT', 'low', x'00000000000000000000ffffc0000201', '{}')",
        )
        .unwrap();
    connection.pragma_update(None, "user_version", version as i64).unwrap();
}

fn version(connection: &Connection) -> anyhow::Result<usize> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(usize::try_from(version)?)
}
