//! Alerts, newest first, by pages.

use std::fmt::Display;
use std::str::FromStr;

use axum::Json;
use axum::extract::Query;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::State;
use super::problem::Problem;
use crate::store::{Filter, Owner, Stored};

/// Alerts on a page unless the client asks for another number, and most that it gets.
const PAGE: usize = 50;
const LONGEST_PAGE: usize = 500;

/// What a client may ask for. All values are text, so that each mistake gets its own words.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    limit: Option<String>,
    cursor: Option<String>,
    pub(super) after: Option<String>,
    class: Option<String>,
    severity: Option<String>,
    source: Option<String>,
    process: Option<String>,
    unit: Option<String>,
    container: Option<String>,
    user: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Page {
    alerts: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

impl Wanted {
    /// The conditions on alerts.
    pub(super) fn filter(&self) -> Result<Filter, Problem> {
        Ok(Filter {
            classes: names("class", self.class.as_deref())?,
            severities: names("severity", self.severity.as_deref())?,
            source: self.source.as_deref().map(crate::target::parse).transpose().map_err(about("source"))?,
            owner: Owner {
                process: self.process.clone(),
                unit: self.unit.clone(),
                container: self.container.clone(),
                user: self.user.clone(),
            },
            since_us: self.since.as_deref().map(time).transpose().map_err(about("since"))?,
            until_us: self.until.as_deref().map(time).transpose().map_err(about("until"))?,
        })
    }

    fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = &self.limit else { return Ok(PAGE) };
        let limit = text.parse().ok().filter(|limit| (1..=LONGEST_PAGE).contains(limit));
        limit.ok_or_else(|| {
            let shown = crate::printable::short(text, 40);
            Problem::value(format!("`limit`: got `{shown}`, expected a number from 1 to {LONGEST_PAGE}"))
        })
    }
}

/// A position in the alerts.
pub(super) fn position(key: &str, text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| {
        let shown = crate::printable::short(text, 40);
        Problem::value(format!("`{key}`: got `{shown}`, expected the number of an alert"))
    })
}

/// `GET /api/security/alerts`.
pub(super) async fn list(
    api: State,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Page>, Problem> {
    let wanted = query(wanted)?;
    if wanted.after.is_some() {
        return Err(Problem::value("`after` is for the stream, expected `cursor`"));
    }
    let (filter, limit) = (wanted.filter()?, wanted.limit()?);
    let before = wanted.cursor.as_deref().map(|text| position("cursor", text)).transpose()?;
    let shared = api.shared.clone();
    let found = blocking(move || shared.store.newest(&filter, before, limit)).await?;
    let next_cursor = (found.len() == limit).then(|| found.last().map(|last| last.id.to_string())).flatten();
    Ok(Json(Page { alerts: found.into_iter().filter_map(raw).collect(), next_cursor }))
}

/// The query, or what is wrong with it.
pub(super) fn query<T>(
    query: Result<Query<T>, axum::extract::rejection::QueryRejection>,
) -> Result<T, Problem> {
    match query {
        Ok(Query(wanted)) => Ok(wanted),
        Err(rejection) => Err(Problem::value(crate::printable::short(&rejection.body_text(), 300))),
    }
}

/// Runs work that may wait for a disk where it holds up nobody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => {
            tracing::warn!("a request failed: {error:#}");
            Err(Problem::unavailable("the data cannot be read at the moment, see the agent's log"))
        }
        Err(_) => {
            Err(Problem::new(500, "internal", "the request could not be answered, see the agent's log"))
        }
    }
}

fn raw(stored: Stored) -> Option<Box<RawValue>> {
    RawValue::from_string(stored.event).ok()
}

fn names<T: FromStr<Err: Display>>(key: &'static str, text: Option<&str>) -> Result<Vec<T>, Problem> {
    let names = text.into_iter().flat_map(|text| text.split(','));
    names.map(|name| name.trim().parse().map_err(|error: T::Err| about(key)(error.to_string()))).collect()
}

fn time(text: &str) -> Result<i64, String> {
    text.parse().map(jiff::Timestamp::as_microsecond).map_err(|_| {
        let shown = crate::printable::short(text, 60);
        format!("`{shown}` is no time, expected one like `2026-01-02T03:04:05Z`")
    })
}

fn about(key: &'static str) -> impl Fn(String) -> Problem {
    move |reason| Problem::value(format!("`{key}`: {}", crate::printable::short(&reason, 300)))
}
