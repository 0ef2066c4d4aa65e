//! What was seen within a time, exactly and bounded: how often, and how many different things.

/// Events within a time, in eight steps of an eighth each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    steps: [u16; STEPS],
    /// Number of the newest step.
    newest: u32,
    /// Seconds of a step.
    width: u32,
}

const STEPS: usize = 8;

impl Window {
    /// Counts one event; returns how many there were within `secs`, this one included.
    pub(crate) fn note(&mut self, now: u32, secs: u32) -> u32 {
        let width = secs.div_ceil(STEPS as u32).max(1);
        let step = now / width;
        if width != self.width {
            self.measure_anew(step, width);
        }
        let passed = step.saturating_sub(self.newest).min(STEPS as u32);
        for number in 0..passed {
            let at = (self.newest.wrapping_add(number + 1)) as usize % STEPS;
            self.steps[at] = 0;
        }
        self.newest = self.newest.max(step);
        let current = &mut self.steps[self.newest as usize % STEPS];
        *current = current.saturating_add(1);
        self.steps.iter().map(|&count| u32::from(count)).sum()
    }

    /// Another time counts from now on: what was counted stays, as if it had been counted in steps of the new width.
    fn measure_anew(&mut self, step: u32, width: u32) {
        let (from, to) = (self.newest as usize % STEPS, step as usize % STEPS);
        self.steps.rotate_right((STEPS + to - from) % STEPS);
        (self.newest, self.width) = (step, width);
    }
}

/// Different things seen within a time, each with when it was seen last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sightings {
    seen: Vec<(u32, u32)>,
}

impl Sightings {
    /// Notes `what`; returns how many different things were seen within `secs`. Of more than `most` the one unseen for longest is
    /// forgotten.
    pub(crate) fn note(&mut self, what: u64, now: u32, secs: u32, most: usize) -> usize {
        let what = fold(what);
        self.expire(now, secs);
        match self.seen.iter_mut().find(|(known, _)| *known == what) {
            Some((_, at)) => *at = now,
            None => {
                if self.seen.len() >= most
                    && let Some(oldest) = (0..self.seen.len()).min_by_key(|&at| self.seen[at].1)
                {
                    self.seen.swap_remove(oldest);
                }
                self.seen.push((what, now));
            }
        }
        self.seen.len()
    }

    /// How many different things were seen within `secs`.
    pub(crate) fn count(&mut self, now: u32, secs: u32) -> usize {
        self.expire(now, secs);
        self.seen.len()
    }

    /// How many different things there are, those included whose time may be over.
    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether `what` is among them.
    pub(crate) fn has(&self, what: u64) -> bool {
        self.seen.iter().any(|(known, _)| *known == fold(what))
    }

    /// Forgets one thing.
    pub(crate) fn forget(&mut self, what: u64) {
        self.seen.retain(|(known, _)| *known != fold(what));
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.seen.clear();
    }

    /// Bytes of memory beside the value itself.
    pub(crate) fn heap(&self) -> usize {
        self.seen.capacity() * size_of::<(u32, u32)>()
    }

    fn expire(&mut self, now: u32, secs: u32) {
        self.seen.retain(|(_, at)| now.saturating_sub(*at) < secs);
    }
}

/// A number in half its bits: enough to tell a few hundred things apart.
pub(crate) fn fold(number: u64) -> u32 {
    (number ^ (number >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn another_time_keeps_what_was_counted() {
        for (secs, after) in [(80, 800), (800, 80), (8, 4000), (80, 81)] {
            let mut window = Window::default();
            for now in 1000..1005 {
                window.note(now, secs);
            }
            assert_eq!(window.note(1005, after), 6, "{secs} {after}");
            assert_eq!(window.note(1005 + 2 * after, after), 1, "it still ends");
        }
    }

    #[test]
    fn a_window_forgets_step_by_step() {
        let mut window = Window::default();
        let counts: Vec<_> = [1000, 1000, 1040, 1079, 1080, 1200].map(|now| window.note(now, 80)).into();
        assert_eq!(counts, [1, 2, 3, 4, 3, 1]);
        assert_eq!(window.note(900, 80), 2, "what comes late counts now");
    }

    #[test]
    fn sightings_are_distinct_and_bounded() {
        let mut sightings = Sightings::default();
        assert_eq!([1, 2, 1, 3].map(|what| sightings.note(what, 10, 60, 3)), [1, 2, 2, 3]);
        assert_eq!((sightings.note(4, 11, 60, 3), sightings.has(4)), (3, true));
        assert_eq!((sightings.count(70, 60), sightings.count(71, 60)), (1, 0));
    }

    proptest! {
        #[test]
        fn a_window_is_a_list_of_times_at_an_eighth_of_its_length(mut times in proptest::collection::vec(0u32..2000, 1..200)) {
            times.sort_unstable();
            let mut window = Window::default();
            for (number, &now) in times.iter().enumerate() {
                let counted = window.note(now, 160);
                let first = (now / 20).saturating_sub(7) * 20;
                let expected = times[..=number].iter().filter(|&&at| at >= first).count() as u32;
                prop_assert_eq!(counted, expected);
            }
        }
    }
}
