//! The tokens that are still in the running, and partial selection among them.
//!
//! Most settings keep a few dozen of a hundred thousand tokens, so a row of logits is never turned
//! into a list of all tokens unless a stage needs it. The list holds the *most likely* tokens;
//! [`Candidates::total`] says how much weight the distribution has, those not listed included. A stage
//! that keeps the best tokens up to some limit gives the same result on such a list as on all.

use std::cmp::Ordering;

use super::math;

/// A token with its weight: its probability, but for a factor common to all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) token: u32,
    pub(super) weight: f32,
    pub(super) logit: f32,
}

/// Best first; among equals the smaller token id, so that the order is total.
fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

/// The most likely tokens of a distribution. Reused from token to token.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    pub(super) list: Vec<Candidate>,
    /// Weight of the whole distribution; above the list's own if tokens have been left out of it.
    pub(super) total: f64,
}

impl Candidates {
    /// Lists the `k` best tokens. The others leave the distribution.
    ///
    /// One pass: a block of logits none of which beats the `k`-th best so far is passed over.
    pub(super) fn gather_top_k(&mut self, logits: &[f32], k: usize) {
        const BLOCK: usize = 64;
        let full = (2 * k).max(256);
        self.list.clear();
        let mut threshold = f32::NEG_INFINITY;
        for (block, first) in logits.chunks(BLOCK).zip((0u32..).step_by(BLOCK)) {
            if math::max(block) <= threshold {
                continue;
            }
            for (&logit, token) in block.iter().zip(first..) {
                if logit > threshold {
                    self.list.push(Candidate {
                        token,
                        weight: 0.0,
                        logit,
                    });
                }
            }
            if self.list.len() >= full {
                self.keep_best(k);
                threshold = self.list[k - 1].logit;
            }
        }
        self.keep_best(k);
    }

    /// Lists all tokens with a logit of at least `threshold`. Returns whether that is all of them,
    /// but for excluded ones.
    pub(super) fn gather_from(&mut self, logits: &[f32], threshold: f32) {
        const BLOCK: usize = 64;
        self.list.clear();
        for (block, first) in logits.chunks(BLOCK).zip((0u32..).step_by(BLOCK)) {
            if math::max(block) < threshold {
                continue;
            }
            for (&logit, token) in block.iter().zip(first..) {
                if logit >= threshold && logit > f32::NEG_INFINITY {
                    self.list.push(Candidate {
                        token,
                        weight: 0.0,
                        logit,
                    });
                }
            }
        }
    }

    /// Sets the weights for a temperature of `1 / scale`. The best token weighs 1.
    pub(super) fn weigh(&mut self, max: f32, scale: f32) {
        for candidate in &mut self.list {
            candidate.weight = math::exp((candidate.logit - max) * scale);
        }
    }

    /// Weight of the tokens listed.
    pub(super) fn listed_weight(&self) -> f64 {
        self.list
            .iter()
            .map(|candidate| f64::from(candidate.weight))
            .sum()
    }

    /// Makes the tokens listed the whole distribution.
    pub(super) fn renormalise(&mut self) {
        self.total = self.listed_weight();
    }

    /// Drops all but the `k` best.
    pub(super) fn keep_best(&mut self, k: usize) {
        if k < self.list.len() {
            self.list.select_nth_unstable_by(k - 1, best_first);
            self.list.truncate(k);
        }
    }

    /// Keeps the fewest best tokens that together weigh `target`.
    pub(super) fn keep_best_weighing(&mut self, target: f64) {
        let kept = partition_by_weight(&mut self.list, target, best_first);
        self.list.truncate(kept);
    }

    /// Keeps the fewest tokens that together weigh `target`, those with the smallest `key` first.
    pub(super) fn keep_smallest_weighing(&mut self, target: f64, key: impl Fn(&Candidate) -> f64) {
        let kept = partition_by_weight(&mut self.list, target, |a, b| {
            key(a).total_cmp(&key(b)).then_with(|| best_first(a, b))
        });
        self.list.truncate(kept);
    }

    /// Best first.
    pub(super) fn sort(&mut self) {
        self.list.sort_unstable_by(best_first);
    }

    /// The token at the fraction `u` (in 0..1) of the listed weight.
    pub(super) fn draw(&self, u: f64) -> Option<&Candidate> {
        let mut left = u * self.listed_weight();
        let possible = || self.list.iter().filter(|candidate| candidate.weight > 0.0);
        possible()
            .find(|candidate| {
                left -= f64::from(candidate.weight);
                left < 0.0
            })
            // Rounding may leave a crumb behind the last.
            .or_else(|| possible().next_back())
    }
}

/// Brings the fewest items, first in `order`, that together weigh at least `target` to the front,
/// and returns how many they are (at least one, if there are any).
///
/// A quickselect that descends by weight instead of by rank: expected linear time, nothing sorted.
fn partition_by_weight(
    list: &mut [Candidate],
    target: f64,
    order: impl Fn(&Candidate, &Candidate) -> Ordering,
) -> usize {
    // list[..start] belongs to the result and weighs `weight`; list[end..] does not belong to it.
    let (mut start, mut end, mut weight) = (0, list.len(), 0.0);
    while end - start > 1 {
        let middle = start + (end - start) / 2;
        list[start..end].select_nth_unstable_by(middle - start, &order);
        let left: f64 = list[start..middle]
            .iter()
            .map(|candidate| f64::from(candidate.weight))
            .sum();
        if weight + left >= target {
            end = middle;
        } else {
            weight += left;
            start = middle;
        }
    }
    end
}

/// Draws from all of `logits` at a temperature of `1 / scale`, without listing them: finds the
/// block in which the fraction `u` of the weight lies, then the token in it.
pub(super) fn draw_from_all(
    logits: &[f32],
    scale: f32,
    u: f64,
    block_weights: &mut Vec<f64>,
) -> Option<u32> {
    const BLOCK: usize = 1024;
    let max = math::max(logits);
    block_weights.clear();
    block_weights.extend(
        logits
            .chunks(BLOCK)
            .map(|block| math::sum_exp(block, max, scale)),
    );
    let mut left = u * block_weights.iter().sum::<f64>();
    let mut chosen = None;
    for (i, &weight) in block_weights
        .iter()
        .enumerate()
        .filter(|(_, weight)| **weight > 0.0)
    {
        chosen = Some(i);
        if left < weight {
            break;
        }
        left -= weight;
    }
    let start = chosen? * BLOCK;
    let mut token = None;
    for (i, &logit) in logits.iter().enumerate().skip(start).take(BLOCK) {
        let weight = f64::from(math::exp((logit - max) * scale));
        if weight > 0.0 {
            token = Some(i as u32);
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
    }
    token
}
