//! How much is inspected: what is configured, or less while the rings overflow. Bodies are trimmed first; then connections are left out, whole
//! ones and not pieces of all of them; at last nothing new is inspected, and only what is blocked already is enforced. Sources that are
//! watched are always inspected. Each step is taken back in the reverse order.

/// Seconds in a row with losses before less is inspected: a single stall is no overload.
const LOSSY_SECS: u32 = 3;
/// Seconds in a row without losses before more is inspected.
const CALM_SECS: u32 = 10;
const LOWER: f64 = 0.5;
const RAISE: f64 = 1.25;

/// How much is inspected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Level {
    /// Share of the connections.
    pub(crate) share: f64,
    /// Bodies are inspected up to `limits.trimmed_body_bytes` only, and those of responses not at all.
    pub(crate) trimmed: bool,
}

/// The level, second by second.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sampling {
    /// The configured share.
    most: f64,
    /// The least that it may become before nothing new is inspected.
    least: f64,
    share: f64,
    trimmed: bool,
    paused: bool,
    lossy: u32,
    calm: u32,
    lost_before: Option<u64>,
}

impl Sampling {
    /// Begins at `most`; `least` as great switches the adaptation off.
    pub(crate) fn new(most: f64, least: f64) -> Self {
        Self {
            most,
            least: least.min(most),
            share: most,
            trimmed: false,
            paused: false,
            lossy: 0,
            calm: 0,
            lost_before: None,
        }
    }

    /// How much is inspected now.
    pub(crate) const fn level(&self) -> Level {
        Level { share: if self.paused { 0.0 } else { self.share }, trimmed: self.trimmed }
    }

    /// Whether less is inspected than configured.
    pub(crate) const fn is_lowered(&self) -> bool {
        self.trimmed
    }

    /// Takes up other limits.
    pub(crate) fn configure(&mut self, most: f64, least: f64) {
        *self = Self { lost_before: self.lost_before, ..Self::new(most, least) };
    }

    /// Once a second, with all records that were ever lost. Returns the new level, if it changes.
    pub(crate) fn second(&mut self, lost: u64) -> Option<Level> {
        let losing = self.lost_before.is_some_and(|before| lost > before);
        self.lost_before = Some(lost);
        (self.lossy, self.calm) = if losing { (self.lossy + 1, 0) } else { (0, self.calm + 1) };
        let before = self.level();
        if self.lossy >= LOSSY_SECS {
            self.lossy = 0;
            self.lower();
        } else if self.calm >= CALM_SECS {
            self.calm = 0;
            self.raise();
        }
        let level = self.level();
        (level != before).then_some(level)
    }

    fn lower(&mut self) {
        if self.least >= self.most {
            return;
        }
        if !self.trimmed {
            self.trimmed = true;
        } else if self.share > self.least {
            self.share = (self.share * LOWER).max(self.least);
        } else {
            self.paused = true;
        }
    }

    fn raise(&mut self) {
        if self.paused {
            self.paused = false;
        } else if self.share < self.most {
            self.share = (self.share * RAISE).min(self.most);
        } else {
            self.trimmed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The levels after the seconds in which they change, given what is lost in each: the share, and `t` where bodies are trimmed.
    fn levels(mut sampling: Sampling, lost: impl IntoIterator<Item = u64>) -> Vec<String> {
        let mut total = 0;
        sampling.second(0);
        let changes = lost.into_iter().filter_map(|more| {
            total += more;
            sampling.second(total)
        });
        changes.map(|level| format!("{:.2}{}", level.share, if level.trimmed { "t" } else { "" })).collect()
    }

    /// Case R14.
    #[test]
    fn lasting_losses_trim_bodies_then_leave_out_connections_then_all_and_calm_takes_it_back() {
        let lost = [1; 15].into_iter().chain([0; 90]);
        assert_eq!(
            levels(Sampling::new(1.0, 0.25), lost),
            [
                "1.00t", "0.50t", "0.25t", "0.00t", "0.25t", "0.31t", "0.39t", "0.49t", "0.61t", "0.76t",
                "0.95t", "1.00t", "1.00"
            ]
        );
        let lost = [1; 6].into_iter().chain([0; 60]);
        assert_eq!(
            levels(Sampling::new(1.0, 0.25), lost),
            ["1.00t", "0.50t", "0.62t", "0.78t", "0.98t", "1.00t", "1.00"]
        );
    }

    #[test]
    fn a_stall_changes_nothing_and_neither_do_losses_before_the_start() {
        assert_eq!(levels(Sampling::new(1.0, 0.01), [900, 900, 0, 900, 0, 0]), [""; 0]);
        let mut sampling = Sampling::new(1.0, 0.01);
        assert_eq!([sampling.second(7), sampling.second(7), sampling.second(7)], [None; 3]);
    }

    #[test]
    fn the_share_stays_between_its_limits_and_may_be_fixed() {
        assert_eq!(levels(Sampling::new(0.5, 0.2), [1; 30]), ["0.50t", "0.25t", "0.20t", "0.00t"]);
        assert_eq!(levels(Sampling::new(0.5, 0.5), [1; 30]), [""; 0], "switched off");
    }
}
