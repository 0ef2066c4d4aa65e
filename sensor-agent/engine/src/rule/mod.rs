//! Rules: source → validated, compiled, immutable [`RuleSet`].

/// Compiled rules. Only [`RuleSet`]s can match, and only valid sources become one.
#[derive(Debug, Default)]
pub struct RuleSet {}
