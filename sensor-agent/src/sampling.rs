//! What share of the connections is inspected: the configured one, or less while the rings overflow. A connection is inspected whole or not
//! at all, so that what is shed is whole connections and not pieces of all of them; sources that are watched are always inspected.

/// Seconds in a row with losses before the share is lowered: a single stall is no overload.
const LOSSY_SECS: u32 = 3;
/// Seconds in a row without losses before the share is raised.
const CALM_SECS: u32 = 10;
const LOWER: f64 = 0.5;
const RAISE: f64 = 1.25;

/// The share, second by second.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sampling {
    /// The configured share.
    most: f64,
    /// The least that it may become.
    least: f64,
    now: f64,
    lossy: u32,
    calm: u32,
    lost_before: Option<u64>,
}

impl Sampling {
    /// Begins at `most`; `least` as great switches the adaptation off.
    pub(crate) fn new(most: f64, least: f64) -> Self {
        Self { most, least: least.min(most), now: most, lossy: 0, calm: 0, lost_before: None }
    }

    /// The share now.
    pub(crate) const fn share(&self) -> f64 {
        self.now
    }

    /// Whether less is inspected than configured.
    pub(crate) fn is_lowered(&self) -> bool {
        self.now < self.most
    }

    /// Takes up other limits.
    pub(crate) fn configure(&mut self, most: f64, least: f64) {
        *self = Self { lost_before: self.lost_before, ..Self::new(most, least) };
    }

    /// Once a second, with all records that were ever lost. Returns the new share, if it changes.
    pub(crate) fn second(&mut self, lost: u64) -> Option<f64> {
        let losing = self.lost_before.is_some_and(|before| lost > before);
        self.lost_before = Some(lost);
        (self.lossy, self.calm) = if losing { (self.lossy + 1, 0) } else { (0, self.calm + 1) };
        let next = if self.lossy >= LOSSY_SECS {
            self.lossy = 0;
            (self.now * LOWER).max(self.least)
        } else if self.calm >= CALM_SECS && self.is_lowered() {
            self.calm = 0;
            (self.now * RAISE).min(self.most)
        } else {
            self.now
        };
        let changed = next != self.now;
        self.now = next;
        changed.then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shares after each second, given what was lost in it.
    fn shares(mut sampling: Sampling, lost: impl IntoIterator<Item = u64>) -> Vec<f64> {
        let mut total = 0;
        sampling.second(0);
        lost.into_iter()
            .filter_map(|more| {
                total += more;
                sampling.second(total)
            })
            .collect()
    }

    #[test]
    fn lasting_losses_lower_the_share_and_calm_raises_it_again() {
        let lost = [1; 6].into_iter().chain([0; 40]);
        assert_eq!(
            shares(Sampling::new(1.0, 0.01), lost),
            [0.5, 0.25, 0.3125, 0.390_625, 0.488_281_25, 0.610_351_562_5]
        );
    }

    #[test]
    fn a_stall_changes_nothing_and_neither_do_losses_before_the_start() {
        assert_eq!(shares(Sampling::new(1.0, 0.01), [900, 900, 0, 900, 0, 0]), [0.0; 0]);
        let mut sampling = Sampling::new(1.0, 0.01);
        assert_eq!([sampling.second(7), sampling.second(7), sampling.second(7)], [None; 3]);
    }

    #[test]
    fn the_share_stays_between_its_limits() {
        assert_eq!(shares(Sampling::new(0.5, 0.2), [1; 30]), [0.25, 0.2]);
        assert_eq!(shares(Sampling::new(0.5, 0.5), [1; 30]), [0.0; 0], "switched off");
    }
}
