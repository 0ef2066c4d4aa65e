//! What each rule costs and finds, and how often operators call that false.

use std::collections::BTreeMap;

use axum::Json;
use sensor_engine::rule::RuleFigures;
use serde::Serialize;

use super::State;
use super::alerts::blocking;
use super::problem::Problem;

#[derive(Debug, Serialize)]
pub(super) struct Rules {
    /// Rules that were asked since they were loaded, or whose alerts were marked, by id.
    rules: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    id: String,
    /// Looks at a value because a literal of the rule stood in it.
    candidates: u64,
    /// Looks that found what the rule asks for.
    hits: u64,
    /// Hits that an exception calls harmless.
    excepted: u64,
    /// Times that its `when` went wrong.
    errors: u64,
    /// Alerts of this rule that operators marked as false, since the database was made.
    false_positives: u64,
    /// Mean time of a look, if `detection.rule_timing` is on.
    mean_ns: Option<f64>,
}

/// `GET /api/security/rules`.
pub(super) async fn rules(api: State) -> Result<Json<Rules>, Problem> {
    let store = std::sync::Arc::clone(&api.shared.store);
    let marks: BTreeMap<String, u64> = blocking(move || store.false_positives()).await?.into_iter().collect();
    let mut rules = api.shared.stats().rules;
    for id in marks.keys() {
        rules.entry(id.clone()).or_default();
    }
    let row = |(id, figures): (String, RuleFigures)| Row {
        false_positives: marks.get(&id).copied().unwrap_or(0),
        id,
        candidates: figures.candidates,
        hits: figures.hits,
        excepted: figures.excepted,
        errors: figures.errors,
        mean_ns: figures.mean_ns(),
    };
    Ok(Json(Rules { rules: rules.into_iter().map(row).collect() }))
}
