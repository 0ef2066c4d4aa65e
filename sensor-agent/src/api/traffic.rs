//! What was dropped and who misbehaves, as samples.

use axum::Json;
use serde::Serialize;

use super::State;
use crate::alert::traffic::{AbuseEvent, DropEvent};

#[derive(Debug, Serialize)]
pub(super) struct Traffic {
    /// Samples of packets that block entries matched, the newest first.
    drops: Vec<DropEvent>,
    /// Sources with floods of connection attempts, the newest first.
    abuse: Vec<AbuseEvent>,
    drops_seen: u64,
    abuse_seen: u64,
}

/// `GET /api/security/drops`.
pub(super) async fn drops(api: State) -> Json<Traffic> {
    Json(api.shared.with_recent(|recent| Traffic {
        drops: recent.drops.iter().rev().cloned().collect(),
        abuse: recent.abuse.iter().rev().cloned().collect(),
        drops_seen: recent.drops_seen,
        abuse_seen: recent.abuse_seen,
    }))
}
