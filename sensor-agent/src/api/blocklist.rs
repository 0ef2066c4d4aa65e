//! The block list: page, add, remove.

use std::time::Duration;

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::State;
use super::alerts::{blocking, query};
use super::problem::Problem;
use crate::blocklist::exchange::reason_line;
use crate::blocklist::view::{BlockView, ExemptionView};
use crate::blocklist::{BlockError, Book};
use crate::kernel::lists::{NewBlock, Origin, Scope};
use crate::target;

/// Entries on a page unless the client asks for another number, and most that it gets.
const PAGE: usize = 1000;
const LONGEST_PAGE: usize = 10_000;
/// Longest time to live: ten years.
const LONGEST_TTL_SECS: u64 = 315_360_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Page {
    entries: Vec<BlockView>,
    next_cursor: Option<String>,
    total: usize,
    exemptions: Vec<ExemptionView>,
    automatic_suspended: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Add {
    target: String,
    port: Option<u16>,
    connection: Option<Connection>,
    ttl_secs: Option<u64>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    shadow: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Connection {
    source_port: u16,
    destination: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remove {
    target: String,
    port: Option<u16>,
    source_port: Option<u16>,
    destination: Option<String>,
}

/// `GET /api/security/blocklist`.
pub(super) async fn list(
    api: State,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Page>, Problem> {
    let wanted = query(wanted)?;
    let limit = wanted.limit.unwrap_or(PAGE);
    if !(1..=LONGEST_PAGE).contains(&limit) {
        return Err(Problem::value(format!(
            "`limit`: got `{limit}`, expected a number from 1 to {LONGEST_PAGE}"
        )));
    }
    let cursor = wanted.cursor.as_deref().map(target::parse_entry).transpose().map_err(Problem::value)?;
    let page = on_book(&api, move |book| -> anyhow::Result<Page> {
        let all = book.blocked()?;
        let start =
            cursor.map_or(0, |cursor| all.partition_point(|entry| (entry.target, entry.scope) <= cursor));
        let shown = &all[start..all.len().min(start + limit)];
        let more = start + shown.len() < all.len();
        Ok(Page {
            entries: shown.iter().map(BlockView::from).collect(),
            next_cursor: shown
                .last()
                .filter(|_| more)
                .map(|last| target::show_entry(last.target, last.scope)),
            total: all.len(),
            exemptions: book.exemptions()?.iter().map(ExemptionView::from).collect(),
            automatic_suspended: book.suspended()?,
        })
    });
    page.await?.map(Json).map_err(|error| kernel(&error))
}

/// `POST /api/security/blocklist`.
pub(super) async fn add(
    api: State,
    body: Result<Json<Add>, JsonRejection>,
) -> Result<(StatusCode, Json<BlockView>), Problem> {
    let Json(add) = body?;
    let new = new_block(&add)?;
    let made = on_book(&api, move |book| -> Result<_, BlockError> {
        book.block(&new)?;
        let made = book.find(new.target, new.scope).map_err(BlockError::Kernel)?;
        Ok(made.as_ref().map(BlockView::from))
    });
    match made.await? {
        Ok(Some(view)) => Ok((StatusCode::CREATED, Json(view))),
        Ok(None) => Err(Problem::unavailable("the entry was made and is not there: the list may be full")),
        Err(BlockError::Kernel(error)) => Err(kernel(&error)),
        Err(error @ BlockError::Exempt(..)) => Err(Problem::new(409, "exempt", error.to_string())),
        Err(error @ BlockError::Everybody(_)) => Err(Problem::value(error.to_string())),
    }
}

fn new_block(add: &Add) -> Result<NewBlock, Problem> {
    let lasts = match add.ttl_secs {
        Some(secs) if !(1..=LONGEST_TTL_SECS).contains(&secs) => {
            let detail = format!("`ttl_secs`: got `{secs}`, expected a number from 1 to {LONGEST_TTL_SECS}");
            return Err(Problem::value(detail));
        }
        secs => secs.map(Duration::from_secs),
    };
    let connection = add.connection.as_ref().map(|wanted| (wanted.source_port, wanted.destination.as_str()));
    let scope = scope(add.port, connection)?;
    let target =
        target::parse_blockable(&add.target).map_err(|e| Problem::value(format!("`target`: {e}")))?;
    target::check_scope(target, scope).map_err(|e| Problem::value(format!("`connection`: {e}")))?;
    Ok(NewBlock {
        target,
        scope,
        lasts,
        shadow: add.shadow,
        origin: Origin::Operator,
        reason: reason_line(&add.reason),
    })
}

/// What the members of a request say of the scope.
fn scope(port: Option<u16>, connection: Option<(u16, &str)>) -> Result<Scope, Problem> {
    let text = |number: u16| number.to_string();
    match (port, connection) {
        (None, None) => Ok(Scope::Host),
        (Some(port), None) => target::port(&text(port)).map(Scope::Port),
        (None, Some((source_port, destination))) => target::connection(&text(source_port), destination),
        (Some(_), Some(_)) => Err("`port` and `connection`: expected at most one of them".to_owned()),
    }
    .map_err(Problem::value)
}

/// `DELETE /api/security/blocklist?target=…`, with `port`, or `source_port` and `destination`, of an entry that has them.
pub(super) async fn remove(
    api: State,
    wanted: Result<Query<Remove>, QueryRejection>,
) -> Result<StatusCode, Problem> {
    let wanted = query(wanted)?;
    let target = target::parse(&wanted.target).map_err(|e| Problem::value(format!("`target`: {e}")))?;
    let scope = scope(wanted.port, wanted.source_port.zip(wanted.destination.as_deref()))?;
    match on_book(&api, move |book| book.unblock(target, scope)).await?.map_err(|error| kernel(&error))? {
        true => Ok(StatusCode::NO_CONTENT),
        false => {
            let shown = target::show_entry(target, scope);
            Err(Problem::new(404, "not_blocked", format!("`{shown}` is not blocked")))
        }
    }
}

/// Runs `work` on the lists, off the threads that answer requests.
async fn on_book<T: Send + 'static>(
    api: &State,
    work: impl FnOnce(&mut Book) -> T + Send + 'static,
) -> Result<T, Problem> {
    let shared = api.shared.clone();
    let done = blocking(move || Ok(shared.with_book(work))).await?;
    done.ok_or_else(|| Problem::unavailable("the kernel's lists are not open, see the agent's log"))
}

fn kernel(error: &anyhow::Error) -> Problem {
    tracing::warn!("the kernel's lists: {error:#}");
    Problem::unavailable(format!("the kernel's lists: {error:#}"))
}
