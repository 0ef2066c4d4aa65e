//! What the model says of families that it was not made of: each quarter of the families is judged by a model of the other three.
//! The thresholds come from these judgements too, since how sure a model is of its own data says nothing.

use std::collections::BTreeMap;

use super::fit::{fit, sum};
use super::samples::Samples;

/// Parts that the families are divided into.
pub(super) const PARTS: usize = 4;
/// Share of ordinary values whose sums stay below the first threshold.
const QUIET: f64 = 0.995;
/// Share of ordinary values whose sums stay below the second one.
const SILENT: f64 = 0.9995;

/// Values of a kind, and those beyond the first threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) values: usize,
    pub(super) beyond: usize,
}

impl Count {
    pub(super) fn share(self) -> f64 {
        self.beyond as f64 / self.values.max(1) as f64
    }
}

/// How held-out families were told.
pub(super) struct Report {
    /// Sums up to here say nothing.
    pub(super) from: f32,
    /// Sums from here on say all.
    pub(super) full: f32,
    /// By kind of attack.
    pub(super) kinds: BTreeMap<String, Count>,
    pub(super) attacks: Count,
    pub(super) ordinary: Count,
    /// Values on the right side of zero, of all.
    pub(super) accuracy: f64,
}

/// Judges every sample by a model of the families of other parts.
pub(super) fn measure(samples: &Samples) -> Report {
    let part = |family: usize| family % PARTS;
    let mut sums: Vec<(usize, f32)> = Vec::new();
    for held in 0..PARTS {
        let model = fit(samples, |family| part(family) != held);
        let judged = samples.all.iter().filter(|sample| part(sample.family) == held);
        sums.extend(judged.map(|sample| (sample.family, sum(&model, sample))));
    }
    let attack = |family: usize| samples.families[family].attack;
    let ordinary = sorted(sums.iter().filter(|(family, _)| !attack(*family)).map(|(_, sum)| *sum));
    let from = quantile(&ordinary, QUIET).max(0.0);
    let full = quantile(&ordinary, SILENT).max(from + 1.0);
    let right = sums.iter().filter(|(family, sum)| (*sum > 0.0) == attack(*family)).count();
    let mut report = Report {
        from,
        full,
        kinds: BTreeMap::new(),
        attacks: Count::default(),
        ordinary: Count::default(),
        accuracy: right as f64 / sums.len().max(1) as f64,
    };
    for (family, sum) in sums {
        report.add(&samples.families[family].kind, attack(family), sum > from);
    }
    report
}

impl Report {
    fn add(&mut self, kind: &str, attack: bool, beyond: bool) {
        let all = if attack { &mut self.attacks } else { &mut self.ordinary };
        let mut counts = vec![all];
        if attack {
            counts.push(self.kinds.entry(kind.to_owned()).or_default());
        }
        for count in counts {
            count.values += 1;
            count.beyond += usize::from(beyond);
        }
    }

    pub(super) fn print(&self) {
        println!("held-out families, beyond the threshold of {:.3}:", self.from);
        for (kind, count) in &self.kinds {
            println!("  {kind:<10} {:>6} {:>7.2} %", count.values, 100.0 * count.share());
        }
        println!("  all attacks {:>5} {:>7.2} %", self.attacks.values, 100.0 * self.attacks.share());
        println!("  ordinary    {:>5} {:>7.2} %", self.ordinary.values, 100.0 * self.ordinary.share());
        println!("  {:.2} % on the right side of zero", 100.0 * self.accuracy);
    }
}

fn sorted(sums: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut sorted: Vec<f32> = sums.collect();
    sorted.sort_by(f32::total_cmp);
    sorted
}

fn quantile(sorted: &[f32], share: f64) -> f32 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted() {
        let values = sorted([3.0, 1.0, 2.0, 4.0].into_iter());
        assert_eq!(values, [1.0, 2.0, 3.0, 4.0]);
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| quantile(&values, share)), [1.0, 3.0, 4.0, 4.0]);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
