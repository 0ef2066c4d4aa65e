//! How long a block decision takes, as a histogram of fixed buckets.

/// Upper bounds of the buckets in microseconds; one more bucket takes what is longer.
pub(crate) const BOUNDS_US: [u64; 12] =
    [25, 50, 100, 150, 200, 300, 500, 1_000, 2_000, 5_000, 20_000, 100_000];

/// Counts by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Latency {
    /// One more than [`BOUNDS_US`], not cumulative.
    pub(crate) buckets: [u64; BOUNDS_US.len() + 1],
    /// Sum of all, in nanoseconds.
    pub(crate) sum_ns: u64,
}

impl Latency {
    /// Adds one.
    pub(crate) fn record(&mut self, nanos: u64) {
        let bucket = BOUNDS_US.partition_point(|bound| bound * 1_000 < nanos);
        self.buckets[bucket] += 1;
        self.sum_ns = self.sum_ns.saturating_add(nanos);
    }

    /// Adds all of another histogram.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let mut latency = Latency::default();
        for nanos in [0, 25_000, 25_001, 100_000_000, 100_000_001] {
            latency.record(nanos);
        }
        assert_eq!(latency.buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        let mut twice = latency.clone();
        twice.merge(&latency);
        assert_eq!((twice.buckets[0], twice.sum_ns), (4, 2 * latency.sum_ns));
    }
}
