//! Alerts that an operator calls false: which, and how many of each rule. The counts outlive the alerts, which are removed in time.

use rusqlite::{Connection, OptionalExtension, params};

/// Most rules of which marks are counted; a rule set has fewer.
const MAX_RULES: i64 = 100_000;

/// What became of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The alert was marked, or its mark taken off.
    Changed,
    /// It was so already.
    Unchanged,
    /// There is no such alert.
    Unknown,
}

/// The event of an alert.
pub(super) fn event(connection: &Connection, id: u64) -> anyhow::Result<Option<String>> {
    let Ok(id) = i64::try_from(id) else { return Ok(None) };
    let mut statement = connection.prepare_cached("SELECT event FROM alerts WHERE id = ?1")?;
    Ok(statement.query_row([id], |row| row.get(0)).optional()?)
}

/// Marks an alert at a time, or takes its mark off, and counts that for the rules that made it; all or nothing.
pub(super) fn set(
    connection: &mut Connection,
    id: u64,
    rules: &[String],
    at_us: Option<i64>,
) -> anyhow::Result<Mark> {
    let Ok(id) = i64::try_from(id) else { return Ok(Mark::Unknown) };
    let transaction = connection.transaction()?;
    let before: Option<Option<i64>> = transaction
        .query_row("SELECT false_positive_us FROM alerts WHERE id = ?1", [id], |row| row.get(0))
        .optional()?;
    match before {
        None => return Ok(Mark::Unknown),
        Some(before) if before.is_some() == at_us.is_some() => return Ok(Mark::Unchanged),
        Some(_) => {}
    }
    transaction.execute("UPDATE alerts SET false_positive_us = ?2 WHERE id = ?1", params![id, at_us])?;
    for rule in rules {
        match at_us {
            Some(at) => transaction.execute(
                "INSERT INTO false_positives (rule, marks, last_us)
                 SELECT ?1, 1, ?2 WHERE (SELECT count(*) FROM false_positives) < ?3
                    OR EXISTS (SELECT 1 FROM false_positives WHERE rule = ?1)
                 ON CONFLICT (rule) DO UPDATE SET marks = marks + 1, last_us = ?2",
                params![rule, at, MAX_RULES],
            )?,
            None => transaction
                .execute("UPDATE false_positives SET marks = max(marks - 1, 0) WHERE rule = ?1", [rule])?,
        };
    }
    transaction.commit()?;
    Ok(Mark::Changed)
}

/// Rules with marks, and how many, in the order of their ids.
pub(super) fn counts(connection: &Connection) -> anyhow::Result<Vec<(String, u64)>> {
    let mut statement =
        connection.prepare_cached("SELECT rule, marks FROM false_positives WHERE marks > 0 ORDER BY rule")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
