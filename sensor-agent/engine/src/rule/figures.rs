//! What each rule costs and finds: counters that are always kept, and times where the shell lends a clock. Times go into
//! figures only, never into what the engine decides.

/// A clock of the shell's, and how often it is asked.
#[derive(Clone, Copy, Debug)]
pub struct RuleTimer {
    /// Nanoseconds since any moment.
    pub clock: fn() -> u64,
    /// Every so manieth look of a rule is timed.
    pub every: u32,
}

/// What a rule was asked and answered since the rules were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleFigures {
    /// Looks at a value because a literal of the rule stood in it.
    pub candidates: u64,
    /// Looks that found what the rule asks for.
    pub hits: u64,
    /// Hits that an exception calls harmless.
    pub excepted: u64,
    /// Times that its `when` went wrong, and so did not hold.
    pub errors: u64,
    /// Looks that were timed.
    pub timed: u64,
    /// Nanoseconds that those took.
    pub time_ns: u64,
}

impl RuleFigures {
    /// Adds those of another thread.
    pub fn add(&mut self, other: &Self) {
        self.candidates += other.candidates;
        self.hits += other.hits;
        self.excepted += other.excepted;
        self.errors += other.errors;
        self.timed += other.timed;
        self.time_ns += other.time_ns;
    }

    /// Mean time of one look, in nanoseconds, if some were timed.
    #[must_use]
    pub fn mean_ns(&self) -> Option<f64> {
        (self.timed > 0).then(|| self.time_ns as f64 / self.timed as f64)
    }
}

impl RuleTimer {
    /// When a look began, if it is one that is timed.
    pub(super) fn begin(timer: Option<Self>, figures: &RuleFigures) -> Option<u64> {
        let timer = timer?;
        figures.candidates.is_multiple_of(u64::from(timer.every.max(1))).then(|| (timer.clock)())
    }
}
