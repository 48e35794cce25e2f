//! The tokens that are still in the running, and partial selection among them.
//!
//! Most settings keep a few dozen of a hundred thousand tokens, so a row of logits is never turned
//! into a list of all tokens unless a stage needs it. The list holds the *most likely* tokens;
//! [`Candidates::total`] says how much weight the distribution has, those not listed included. A stage
//! that keeps the best tokens up to some limit gives the same result on such a list as on all.

use std::cmp::Ordering;

use matou_kernels::{Isa, vector};

/// A token with its weight: its probability, but for a factor common to all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) token: u32,
    pub(super) logit: f32,
    pub(super) weight: f32,
}

/// Best first; among equals the smaller token id, so that the order is total.
fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

/// The most likely tokens of a distribution. Reused from token to token.
#[derive(Debug)]
pub(super) struct Candidates {
    /// What passes over the logits are computed with.
    pub(super) isa: Isa,
    pub(super) list: Vec<Candidate>,
    /// Weight of the whole distribution; above the list's own if tokens have been left out of it.
    pub(super) total: f64,
}

impl Candidates {
    pub(super) fn new(isa: Isa) -> Self {
        Self {
            isa,
            list: Vec::new(),
            total: 0.0,
        }
    }

    /// Lists the `k` best tokens; the others leave the distribution.
    ///
    /// One pass: a block of logits none of which beats the `k`-th best so far is passed over.
    pub(super) fn gather_top_k(&mut self, logits: &[f32], k: usize) {
        let full = (2 * k).max(256);
        self.list.clear();
        let mut threshold = f32::NEG_INFINITY;
        for (page, first) in blocks(logits, PAGE, 0) {
            if vector::max(self.isa, page) <= threshold {
                continue;
            }
            for (line, first) in blocks(page, LINE, first) {
                if line_max(line) > threshold {
                    self.push_where(line, first, |logit| logit > threshold);
                    if self.list.len() >= full {
                        self.keep_best(k);
                        threshold = self.list[k - 1].logit;
                    }
                }
            }
        }
        self.keep_best(k);
    }

    /// Lists all possible tokens with a logit of at least `threshold`.
    pub(super) fn gather_from(&mut self, logits: &[f32], threshold: f32) {
        let wanted = |logit| logit >= threshold && logit > f32::NEG_INFINITY;
        self.list.clear();
        for (page, first) in blocks(logits, PAGE, 0) {
            if !wanted(vector::max(self.isa, page)) {
                continue;
            }
            for (line, first) in blocks(page, LINE, first) {
                if wanted(line_max(line)) {
                    self.push_where(line, first, wanted);
                }
            }
        }
    }

    /// Lists all possible tokens, weighed.
    pub(super) fn gather_all(&mut self, logits: &[f32]) {
        self.gather_from(logits, f32::NEG_INFINITY);
        self.weigh(vector::max(self.isa, logits));
        self.renormalise();
    }

    fn push_where(&mut self, block: &[f32], first: u32, wanted: impl Fn(f32) -> bool) {
        for (&logit, token) in block.iter().zip(first..) {
            if wanted(logit) {
                self.list.push(Candidate {
                    token,
                    logit,
                    weight: 0.0,
                });
            }
        }
    }

    /// Sets the weights; the best token, whose logit is `max`, weighs 1.
    pub(super) fn weigh(&mut self, max: f32) {
        for candidate in &mut self.list {
            candidate.weight = (candidate.logit - max).exp();
        }
    }

    /// Weight of the tokens listed.
    pub(super) fn listed_weight(&self) -> f64 {
        weight_of(&self.list)
    }

    /// Weight of the heaviest token listed.
    pub(super) fn heaviest(&self) -> f32 {
        self.list
            .iter()
            .fold(0.0, |heaviest, candidate| candidate.weight.max(heaviest))
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
        let order =
            |a: &Candidate, b: &Candidate| key(a).total_cmp(&key(b)).then_with(|| best_first(a, b));
        let kept = partition_by_weight(&mut self.list, target, order);
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
        let drawn = possible().find(|candidate| {
            left -= f64::from(candidate.weight);
            left < 0.0
        });
        // Rounding may leave a crumb behind the last.
        drawn.or_else(|| possible().next_back())
    }
}

/// Logits passed over together, in two sizes: most pages hold nothing of interest, and of a page
/// that does, most lines.
const PAGE: usize = 1024;
const LINE: usize = 64;

/// `logits` in blocks of `size`, each with the token of its first, the very first being `first`.
fn blocks(logits: &[f32], size: usize, first: u32) -> impl Iterator<Item = (&[f32], u32)> {
    logits.chunks(size).zip((first..).step_by(size))
}

/// The largest of a few logits, inlined into the scans.
#[inline]
fn line_max(line: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = line.as_chunks::<LANES>();
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, logit);
        }
    }
    lanes
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |a, &b| larger(a, b))
}

fn weight_of(list: &[Candidate]) -> f64 {
    list.iter()
        .map(|candidate| f64::from(candidate.weight))
        .sum()
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
        let left = weight_of(&list[start..middle]);
        if weight + left >= target {
            end = middle;
        } else {
            weight += left;
            start = middle;
        }
    }
    end
}

/// Draws from all of `logits` without listing them: finds the block in which the fraction `u` of
/// the weight lies, then the token in it. `block_weights` is scratch space.
pub(super) fn draw_from_all(
    isa: Isa,
    logits: &[f32],
    u: f64,
    block_weights: &mut Vec<f64>,
) -> Option<u32> {
    let max = vector::max(isa, logits);
    block_weights.clear();
    block_weights.extend(
        logits
            .chunks(PAGE)
            .map(|block| f64::from(vector::sum_exp(isa, block, max))),
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
    let start = chosen? * PAGE;
    let mut token = None;
    for (i, &logit) in logits.iter().enumerate().skip(start).take(PAGE) {
        let weight = f64::from((logit - max).exp());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::testing::logits;

    fn tokens(candidates: &Candidates) -> Vec<u32> {
        candidates
            .list
            .iter()
            .map(|candidate| candidate.token)
            .collect()
    }

    /// All possible tokens, best first.
    fn sorted(logits: &[f32]) -> Vec<u32> {
        let mut all: Vec<u32> = (0..logits.len() as u32)
            .filter(|&token| logits[token as usize] > f32::NEG_INFINITY)
            .collect();
        all.sort_by(|&a, &b| {
            logits[b as usize]
                .total_cmp(&logits[a as usize])
                .then(a.cmp(&b))
        });
        all
    }

    #[test]
    fn the_k_best_are_those_a_full_sort_puts_first() {
        for (n, k) in [
            (1, 1),
            (50, 7),
            (1000, 1),
            (1000, 40),
            (1000, 999),
            (3001, 500),
            (50, 80),
        ] {
            let mut logits = logits(n, 5);
            // Ties and excluded tokens.
            logits
                .iter_mut()
                .step_by(3)
                .for_each(|logit| *logit = (*logit * 2.0).round());
            logits
                .iter_mut()
                .skip(1)
                .step_by(7)
                .for_each(|logit| *logit = f32::NEG_INFINITY);
            let mut candidates = Candidates::new(Isa::detect());
            candidates.gather_top_k(&logits, k);
            candidates.sort();
            let expected = sorted(&logits);
            assert_eq!(
                tokens(&candidates),
                expected[..k.min(expected.len())],
                "{k} of {n}"
            );
        }
    }

    #[test]
    fn gathering_from_a_threshold_lists_what_reaches_it() {
        let mut logits = logits(1000, 6);
        logits[3] = 1.0;
        logits[4] = f32::NEG_INFINITY;
        let mut candidates = Candidates::new(Isa::detect());
        candidates.gather_from(&logits, 1.0);
        let expected: Vec<u32> = (0..1000)
            .filter(|&token| logits[token as usize] >= 1.0)
            .collect();
        assert_eq!(tokens(&candidates), expected);
        candidates.gather_from(&logits, f32::NEG_INFINITY);
        assert_eq!(candidates.list.len(), 999);
    }

    #[test]
    fn partition_finds_the_shortest_prefix_that_weighs_enough() {
        for seed in 0..50 {
            let mut candidates = Candidates::new(Isa::detect());
            let logits = logits(1 + seed as usize * 13, seed);
            candidates.gather_from(&logits, f32::NEG_INFINITY);
            candidates.weigh(vector::max(Isa::detect(), &logits));
            candidates.renormalise();
            for p in [0.0, 0.1, 0.5, 0.9, 0.999] {
                let target = p * candidates.total;
                let mut expected = Vec::new();
                let mut sum = 0.0;
                for token in sorted(&logits) {
                    expected.push(token);
                    sum += f64::from(
                        (logits[token as usize] - vector::max(Isa::detect(), &logits)).exp(),
                    );
                    if sum >= target {
                        break;
                    }
                }
                let mut kept = Candidates {
                    isa: candidates.isa,
                    list: candidates.list.clone(),
                    total: candidates.total,
                };
                kept.keep_best_weighing(target);
                kept.sort();
                assert_eq!(tokens(&kept), expected, "seed {seed}, p {p}");
            }
        }
    }

    #[test]
    fn a_draw_from_all_is_the_inverse_of_the_cumulated_distribution() {
        let mut logits = logits(5000, 9);
        logits[..1500].fill(f32::NEG_INFINITY);
        let max = f64::from(vector::max(Isa::detect(), &logits));
        let weights: Vec<f64> = logits
            .iter()
            .map(|&logit| (f64::from(logit) - max).exp())
            .collect();
        let total: f64 = weights.iter().sum();
        let mut scratch = Vec::new();
        for i in 0..1000 {
            let u = (f64::from(i) + 0.5) / 1000.0;
            let token = draw_from_all(Isa::detect(), &logits, u, &mut scratch).unwrap() as usize;
            let before: f64 = weights[..token].iter().sum::<f64>() / total;
            let after = before + weights[token] / total;
            assert!(
                before - 1e-5 <= u && u <= after + 1e-5,
                "{u} is not in {before}..{after}"
            );
        }
        assert_eq!(
            draw_from_all(Isa::detect(), &[f32::NEG_INFINITY; 9], 0.5, &mut scratch),
            None
        );
        assert_eq!(
            draw_from_all(Isa::detect(), &[f32::NAN; 9], 0.5, &mut scratch),
            None
        );
    }
}
