//! Alerts that an operator calls false: marked, counted for their rules, and answered with the exceptions that would have silenced
//! them. Nothing is silenced by a mark itself: that takes a rule file.

use axum::Json;
use axum::extract::Path;
use serde::Serialize;
use serde_json::Value;

use super::State;
use super::alerts::{blocking, position};
use super::problem::Problem;
use crate::proposal::{self, Proposal};
use crate::store::Mark;

#[derive(Debug, Serialize)]
pub(super) struct Marked {
    alert: u64,
    /// Whether it is marked now.
    false_positive: bool,
    /// Whether this request changed that.
    changed: bool,
    rules: Vec<Row>,
    /// Exceptions that would have silenced it.
    proposals: Vec<Proposal>,
}

#[derive(Debug, Serialize)]
struct Row {
    id: String,
    /// Alerts of this rule that are or were marked.
    false_positives: u64,
}

/// `POST /api/security/alerts/{id}/false-positive`.
pub(super) async fn mark(api: State, id: Path<String>) -> Result<Json<Marked>, Problem> {
    set(api, id, true).await
}

/// `DELETE /api/security/alerts/{id}/false-positive`.
pub(super) async fn unmark(api: State, id: Path<String>) -> Result<Json<Marked>, Problem> {
    set(api, id, false).await
}

async fn set(api: State, Path(id): Path<String>, marked: bool) -> Result<Json<Marked>, Problem> {
    let id = position("id", &id)?;
    let store = std::sync::Arc::clone(&api.shared.store);
    let done = blocking(move || {
        let Some(text) = store.event(id)? else { return Ok(None) };
        let event: Value = serde_json::from_str(&text)?;
        let rules = proposal::rules(&event);
        let at_us = marked.then(|| jiff::Timestamp::now().as_microsecond());
        let mark = store.set_mark(id, &rules, at_us)?;
        let counts = store.false_positives()?;
        let count = |id: &String| counts.iter().find(|(rule, _)| rule == id).map_or(0, |(_, count)| *count);
        Ok((mark != Mark::Unknown).then(|| Marked {
            alert: id,
            false_positive: marked,
            changed: mark == Mark::Changed,
            rules: rules.into_iter().map(|id| Row { false_positives: count(&id), id }).collect(),
            proposals: proposal::proposals(&event),
        }))
    });
    let done = done.await?;
    let marked = done.ok_or_else(|| Problem::new(404, "no_alert", format!("there is no alert {id}")))?;
    let rules: Vec<&str> = marked.rules.iter().map(|row| row.id.as_str()).collect();
    tracing::info!(
        alert = id,
        marked = marked.false_positive,
        changed = marked.changed,
        ?rules,
        "false positive"
    );
    Ok(Json(marked))
}
