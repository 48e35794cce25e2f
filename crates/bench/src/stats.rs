//! What a handful of runs says, and what it does not.
//!
//! Speeds of a shared machine are anything but normally distributed, so nothing here assumes it: the
//! middle is the median, and intervals come from the order of the runs.

use serde::{Deserialize, Serialize};

/// How sure an interval is to hold the median.
pub const CONFIDENCE: f64 = 0.95;

/// The median of some runs, and an interval that holds the true one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The median.
    pub median: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Probability that the interval holds the true median: at least [`CONFIDENCE`], or what the few runs
    /// there are can give.
    pub confidence: f64,
    /// All of them, in the order in which they were made.
    pub runs: Vec<f64>,
}

impl Summary {
    /// Sums up runs; `None` if there are none.
    ///
    /// The interval is that of the sign test (W. R. Thompson, "On confidence ranges for the median", Annals
    /// of Mathematical Statistics 7, 1936): whatever the distribution, the median of `n` runs lies between the
    /// `k`-th smallest and the `k`-th largest unless fewer than `k` of them fell on one side of it.
    pub fn of(runs: &[f64]) -> Option<Self> {
        let mut sorted = runs.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let median = percentile(&sorted, 50.0)?;
        // The innermost pair that is sure enough, or else the outermost there is.
        let mut outside = 0.0;
        let mut depth = 0;
        let mut confidence = 1.0 - 2.0 * binomial_half(n, 0);
        for k in 0..n / 2 {
            outside += binomial_half(n, k);
            let sure = 1.0 - 2.0 * outside;
            if k > 0 && sure < CONFIDENCE {
                break;
            }
            (depth, confidence) = (k, sure);
        }
        Some(Self {
            median,
            low: sorted[depth],
            high: sorted[n - 1 - depth],
            confidence: confidence.max(0.0),
            runs: runs.to_vec(),
        })
    }

    /// Width of the interval as a part of the median; infinite while the runs are too few to say.
    pub fn spread(&self) -> f64 {
        match self.confidence >= CONFIDENCE && self.median != 0.0 {
            true => (self.high - self.low) / self.median,
            false => f64::INFINITY,
        }
    }

    /// Whether it can be said that this one and another differ: both are sure, and their intervals part.
    pub fn parts_from(&self, other: &Self) -> bool {
        let both_sure = self.confidence.min(other.confidence) >= CONFIDENCE;
        both_sure && (self.low > other.high || self.high < other.low)
    }
}

/// Probability that exactly `k` of `n` coins show heads.
fn binomial_half(n: usize, k: usize) -> f64 {
    // In logarithms: 2^-n alone is below the smallest number for a few thousand runs.
    let choose: f64 = (0..k).map(|i| ((n - i) as f64 / (i + 1) as f64).ln()).sum();
    (choose - n as f64 * std::f64::consts::LN_2).exp()
}

/// The `percent`-th percentile of values sorted upwards; `None` if there are none.
///
/// Between two values it is interpolated, as numpy's `percentile` does (type 7 of Hyndman and Fan, "Sample
/// quantiles in statistical packages", 1996).
pub fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = percent.clamp(0.0, 100.0) / 100.0 * last as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(below + (above - below) * at.fract())
}

/// How values are spread, in the percentiles that people ask for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// How many there are.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// Half of them are below.
    pub p50: f64,
    /// Nine of ten are below.
    pub p90: f64,
    /// 95 of 100 are below.
    pub p95: f64,
    /// 99 of 100 are below.
    pub p99: f64,
    /// 999 of 1000 are below.
    pub p999: f64,
    /// The largest.
    pub max: f64,
}

impl Distribution {
    /// The distribution of values; all zero if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |percent| percentile(&sorted, percent).unwrap_or(0.0);
        Self {
            count: sorted.len(),
            mean: sorted.iter().sum::<f64>() / sorted.len().max(1) as f64,
            min: at(0.0),
            p50: at(50.0),
            p90: at(90.0),
            p95: at(95.0),
            p99: at(99.0),
            p999: at(99.9),
            max: at(100.0),
        }
    }

    /// The percentiles with their names, upwards.
    pub fn percentiles(&self) -> [(&'static str, f64); 5] {
        [
            ("p50", self.p50),
            ("p90", self.p90),
            ("p95", self.p95),
            ("p99", self.p99),
            ("p99.9", self.p999),
        ]
    }
}

/// What two programs that were measured turn and turn about say of each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Median of ours.
    pub ours: f64,
    /// Median of theirs.
    pub theirs: f64,
    /// How many times as good ours is, round by round, so that above 1 is better for latencies too: what disturbs
    /// both of a round leaves the ratio as it is.
    pub ratio: Summary,
    /// What may be said.
    pub verdict: Verdict,
}

/// What may be said of two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Ours is better.
    Better,
    /// Theirs is.
    Worse,
    /// The interval of the ratio holds 1: nothing can be said.
    Open,
}

impl Comparison {
    /// Compares the rounds of a figure of which more is better, or less; `None` if there are none.
    pub fn of(ours: &[f64], theirs: &[f64], more_is_better: bool) -> Option<Self> {
        let pairs = ours.iter().zip(theirs);
        let pairs = pairs.filter(|(us, them)| **us > 0.0 && **them > 0.0);
        let ratios = pairs.map(|(us, them)| if more_is_better { us / them } else { them / us });
        let ratio = Summary::of(&ratios.collect::<Vec<_>>())?;
        let verdict = match ratio.confidence >= CONFIDENCE {
            true if ratio.low > 1.0 => Verdict::Better,
            true if ratio.high < 1.0 => Verdict::Worse,
            _ => Verdict::Open,
        };
        Some(Self {
            ours: Summary::of(ours)?.median,
            theirs: Summary::of(theirs)?.median,
            ratio,
            verdict,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_numpy() {
        // numpy.percentile([15, 20, 35, 40, 50], [0, 5, 30, 40, 50, 95, 99, 100])
        let values = [15.0, 20.0, 35.0, 40.0, 50.0];
        let expected = [
            (0.0, 15.0),
            (5.0, 16.0),
            (30.0, 23.0),
            (40.0, 29.0),
            (50.0, 35.0),
            (95.0, 48.0),
            (99.0, 49.6),
            (100.0, 50.0),
        ];
        for (percent, value) in expected {
            let got = percentile(&values, percent).unwrap();
            assert!(
                (got - value).abs() < 1e-9,
                "{percent}: {got} and not {value}"
            );
        }
        assert_eq!(percentile(&[], 50.0), None);
        let known = Distribution::of((1..=1000).rev().map(f64::from));
        let expected = [500.5, 900.1, 950.05, 990.01, 999.001];
        for ((name, got), expected) in known.percentiles().into_iter().zip(expected) {
            assert!((got - expected).abs() < 1e-9, "{name}: {got}");
        }
        assert_eq!((known.min, known.max, known.mean), (1.0, 1000.0, 500.5));
    }

    #[test]
    fn an_interval_is_as_sure_as_it_says() {
        // Tables of the sign test: with 6 runs the outermost, with 10 the second, with 20 the sixth.
        for (n, depth, confidence) in [(6, 0, 0.96875), (10, 1, 0.978515625), (20, 5, 0.9586105)] {
            let runs: Vec<f64> = (0..n).map(f64::from).collect();
            let summary = Summary::of(&runs).unwrap();
            assert_eq!(summary.low, f64::from(depth), "{n}");
            assert_eq!(summary.high, f64::from(n - 1 - depth), "{n}");
            assert!(
                (summary.confidence - confidence).abs() < 1e-6,
                "{summary:?}"
            );
        }
        let few = Summary::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!((few.median, few.low, few.high), (2.0, 1.0, 3.0));
        assert_eq!((few.confidence, few.spread()), (0.75, f64::INFINITY));
        let one = Summary::of(&[3.0]).unwrap();
        assert_eq!((one.median, one.confidence), (3.0, 0.0));
        assert_eq!(Summary::of(&[]), None);
        assert!(Summary::of(&vec![1.0; 5000]).unwrap().confidence >= CONFIDENCE);
    }

    #[test]
    fn a_verdict_needs_intervals_that_part() {
        let ours = [2.0, 2.2, 2.1, 2.4, 2.0, 2.3];
        let comparison = Comparison::of(&ours, &[1.0; 6], true).unwrap();
        assert_eq!(comparison.verdict, Verdict::Better);
        assert_eq!(comparison.ratio.low, 2.0);
        let comparison = Comparison::of(&[1.0; 6], &ours, true).unwrap();
        assert_eq!(comparison.verdict, Verdict::Worse);
        let latency = Comparison::of(&[1.0; 6], &ours, false).unwrap();
        assert_eq!((latency.verdict, latency.ratio.low), (Verdict::Better, 2.0));
        // Too few, or on both sides of 1.
        assert_eq!(
            Comparison::of(&ours[..3], &[1.0; 3], true).unwrap().verdict,
            Verdict::Open
        );
        let mixed = Comparison::of(&[0.9, 1.1, 1.0, 1.2, 0.8, 1.1], &[1.0; 6], true).unwrap();
        assert_eq!(mixed.verdict, Verdict::Open);
        let [low, high] = [&[1.0; 6], &[2.0; 6]].map(|runs| Summary::of(runs).unwrap());
        assert!(low.parts_from(&high) && !low.parts_from(&low));
    }
}
