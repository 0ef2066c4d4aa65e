//! What a detector counts.

use crate::rule::MatchStats;

/// What a detector has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DetectStats {
    /// Fields handed in.
    pub fields: u64,
    /// Fields so plain that nothing can be in them.
    pub plain_fields: u64,
    /// Fields that were looked at a short time ago, with nothing in them.
    pub known_fields: u64,
    /// Findings left out because an exception covers them.
    pub findings_excepted: u64,
    /// Findings left out because a part had too many.
    pub findings_dropped: u64,
    /// Values that the model was asked about.
    pub model_values: u64,
    /// Suspicious values that it was not asked about, because a part had too many.
    pub model_skipped: u64,
    /// Findings of the model.
    pub model_findings: u64,
    /// Signatures of tokens that the operator's keys were asked about.
    pub tokens_checked: u64,
    /// Signatures that they were not asked about, because a part had too many.
    pub tokens_unchecked: u64,
    /// Fields left out because looking through their part took too much work.
    pub fields_over_budget: u64,
    /// Bytes of values beyond what the coded detectors look at.
    pub uninspected_bytes: u64,
    /// Work of the coded detectors: bytes and tokens looked at, with what is looked at around each.
    pub coded_steps: u64,
    /// Work of the rules.
    pub matching: MatchStats,
}
