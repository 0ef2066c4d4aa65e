//! What each rule costs and finds.

use axum::Json;
use serde::Serialize;

use super::State;

#[derive(Debug, Serialize)]
pub(super) struct Rules {
    /// Rules that were asked since they were loaded, by id.
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
    /// Mean time of a look, if `detection.rule_timing` is on.
    mean_ns: Option<f64>,
}

/// `GET /api/security/rules`.
pub(super) async fn rules(api: State) -> Json<Rules> {
    let row = |(id, figures): (String, sensor_engine::rule::RuleFigures)| Row {
        id,
        candidates: figures.candidates,
        hits: figures.hits,
        excepted: figures.excepted,
        errors: figures.errors,
        mean_ns: figures.mean_ns(),
    };
    Json(Rules { rules: api.shared.stats().rules.into_iter().map(row).collect() })
}
