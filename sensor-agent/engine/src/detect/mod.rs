//! Fields and rules in, findings out.

use std::sync::Arc;

use crate::field::Fields;
use crate::finding::Finding;
use crate::http::message::Request;
use crate::rule::RuleSet;

/// Which part of a request has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The head is complete; `fields` holds what it gave.
    Head,
    /// The body is complete, or as much of it as is inspected; `fields` holds what the body gave.
    Body,
}

/// What is inspected at once.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The phase.
    pub phase: Phase,
    /// The head, in both phases.
    pub request: &'a Request,
    /// Fields of this phase.
    pub fields: &'a Fields,
}

/// Runs a rule set over requests. One a worker thread: it owns the scratch memory that matching needs.
#[derive(Debug)]
pub struct Detector {
    rules: Arc<RuleSet>,
}

impl Detector {
    /// A detector for these rules.
    #[must_use]
    pub fn new(rules: Arc<RuleSet>) -> Self {
        Self { rules }
    }

    /// Uses other rules from the next part on.
    pub fn replace_rules(&mut self, rules: Arc<RuleSet>) {
        self.rules = rules;
    }

    /// Appends the findings of one part of a request.
    pub fn inspect(&mut self, _part: Part<'_>, _findings: &mut Vec<Finding>) {}
}
