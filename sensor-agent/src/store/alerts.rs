//! The alerts table: writing in batches, paging by number, retention.

use std::borrow::Borrow;
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};
use sensor_engine::finding::{Class, Severity};

/// An alert to be kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// Its number; greater than every number before.
    pub(crate) id: u64,
    /// When it happened, microseconds since 1970.
    pub(crate) time_us: i64,
    /// Attack class.
    pub(crate) class: Class,
    /// Severity.
    pub(crate) severity: Severity,
    /// The client.
    pub(crate) source: IpAddr,
    /// The whole event as JSON.
    pub(crate) event: String,
    /// Who is behind the connection.
    pub(crate) owner: Owner,
}

/// Who is behind an alert's connection, as far as alerts are looked for by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Name of the process.
    pub(crate) process: Option<String>,
    /// Its systemd unit.
    pub(crate) unit: Option<String>,
    /// Its container's id.
    pub(crate) container: Option<String>,
    /// Its user: the name, or the number where it has none.
    pub(crate) user: Option<String>,
}

/// An alert that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its number.
    pub(crate) id: u64,
    /// The whole event as JSON.
    pub(crate) event: String,
}

/// Which alerts are wanted. An empty list does not restrict.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Filter {
    /// Any of these classes.
    pub(crate) classes: Vec<Class>,
    /// Any of these severities.
    pub(crate) severities: Vec<Severity>,
    /// Clients in this prefix.
    pub(crate) source: Option<IpNet>,
    /// Who is behind the connection; of a container the beginning of its id is enough. Each that is named must be the same.
    pub(crate) owner: Owner,
    /// Not before, microseconds since 1970.
    pub(crate) since_us: Option<i64>,
    /// Before, microseconds since 1970.
    pub(crate) until_us: Option<i64>,
}

impl Filter {
    /// Whether `row` is wanted; the same as the conditions in SQL.
    pub(crate) fn matches(&self, row: &Row) -> bool {
        (self.classes.is_empty() || self.classes.contains(&row.class))
            && (self.severities.is_empty() || self.severities.contains(&row.severity))
            && self.source.is_none_or(|net| net.contains(&row.source))
            && self.owner.matches(&row.owner)
            && self.since_us.is_none_or(|since| row.time_us >= since)
            && self.until_us.is_none_or(|until| row.time_us < until)
    }
}

impl Owner {
    fn matches(&self, owner: &Self) -> bool {
        let same = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        let begins = |wanted: &str| owner.container.as_ref().is_some_and(|id| id.starts_with(wanted));
        same(&self.process, &owner.process)
            && same(&self.unit, &owner.unit)
            && same(&self.user, &owner.user)
            && self.container.as_deref().is_none_or(begins)
    }
}

/// The number that the next alert gets: one above every number ever given.
pub(super) fn next_id(connection: &Connection) -> anyhow::Result<u64> {
    let last: i64 = connection.query_row(
        "SELECT max((SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'alerts'),
                    (SELECT coalesce(max(id), 0) FROM alerts))",
        [],
        |row| row.get(0),
    )?;
    Ok(u64::try_from(last)? + 1)
}

/// Pages given back to the file system after one removal.
const VACUUM_PAGES: u32 = 256;

/// Writes `rows`, then removes the oldest until `max` are left; returns how many there are.
pub(super) fn insert<R: Borrow<Row>>(
    connection: &mut Connection,
    rows: &[R],
    before: u64,
    max: u64,
) -> anyhow::Result<u64> {
    let transaction = connection.transaction()?;
    let mut count = before;
    {
        let mut statement = transaction.prepare_cached(
            "INSERT OR IGNORE INTO alerts (id, time_us, class, severity, source, event, process, unit, container, user)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        for row in rows {
            let row: &Row = row.borrow();
            let id = i64::try_from(row.id)?;
            let added = statement.execute(params![
                id,
                row.time_us,
                row.class.name(),
                row.severity.name(),
                key(row.source),
                row.event,
                row.owner.process,
                row.owner.unit,
                row.owner.container,
                row.owner.user
            ])?;
            count += added as u64;
        }
    }
    let excess = count.saturating_sub(max);
    if excess > 0 {
        let removed = transaction.execute(
            "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts ORDER BY id LIMIT ?1)",
            [i64::try_from(excess)?],
        )?;
        count -= removed as u64;
    }
    transaction.commit()?;
    if excess > 0 {
        connection.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    }
    Ok(count)
}

/// Alerts before number `before`, newest first.
pub(super) fn newest(
    connection: &Connection,
    filter: &Filter,
    before: Option<u64>,
    limit: usize,
) -> anyhow::Result<Vec<Stored>> {
    let mut query = Query::new(filter);
    if let Some(before) = before {
        query.and("id < ?", Value::Integer(i64::try_from(before).unwrap_or(i64::MAX)));
    }
    query.run(connection, "ORDER BY id DESC", limit)
}

/// Alerts behind number `after`, oldest first.
pub(super) fn after(
    connection: &Connection,
    after: u64,
    filter: &Filter,
    limit: usize,
) -> anyhow::Result<Vec<Stored>> {
    let mut query = Query::new(filter);
    query.and("id > ?", Value::Integer(i64::try_from(after).unwrap_or(i64::MAX)));
    query.run(connection, "ORDER BY id", limit)
}

/// Conditions and their values; values never become SQL text.
struct Query {
    conditions: String,
    values: Vec<Value>,
}

impl Query {
    fn new(filter: &Filter) -> Self {
        let mut query = Self { conditions: "1".to_owned(), values: Vec::new() };
        query.any("class", filter.classes.iter().map(|class| class.name()));
        query.any("severity", filter.severities.iter().map(|severity| severity.name()));
        if let Some(net) = filter.source {
            query.and("source >= ?", Value::Blob(key(net.network()).to_vec()));
            query.and("source <= ?", Value::Blob(key(net.broadcast()).to_vec()));
        }
        let owner = &filter.owner;
        for (condition, value) in [
            ("process = ?", &owner.process),
            ("unit = ?", &owner.unit),
            ("instr(container, ?) = 1", &owner.container),
            ("user = ?", &owner.user),
        ] {
            if let Some(value) = value {
                query.and(condition, Value::Text(value.clone()));
            }
        }
        if let Some(since) = filter.since_us {
            query.and("time_us >= ?", Value::Integer(since));
        }
        if let Some(until) = filter.until_us {
            query.and("time_us < ?", Value::Integer(until));
        }
        query
    }

    fn and(&mut self, condition: &str, value: Value) {
        // Writing to a String cannot fail.
        let _ = write!(self.conditions, " AND {condition}");
        self.values.push(value);
    }

    fn any<'n>(&mut self, column: &str, names: impl ExactSizeIterator<Item = &'n str>) {
        if names.len() == 0 {
            return;
        }
        let marks = vec!["?"; names.len()].join(",");
        let _ = write!(self.conditions, " AND {column} IN ({marks})");
        self.values.extend(names.map(|name| Value::Text(name.to_owned())));
    }

    fn run(mut self, connection: &Connection, order: &str, limit: usize) -> anyhow::Result<Vec<Stored>> {
        self.values.push(Value::Integer(i64::try_from(limit)?));
        let sql = format!("SELECT id, event FROM alerts WHERE {} {order} LIMIT ?", self.conditions);
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(self.values), |row| {
            Ok(Stored { id: row.get::<_, i64>(0)?.unsigned_abs(), event: row.get(1)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// An address as the column holds it: IPv4 as IPv4-mapped IPv6, so that prefixes are ranges in both families.
fn key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}
