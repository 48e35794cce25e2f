//! How many prompt tokens a step may carry while other sequences decode.
//!
//! Every stream waits for the whole step, so a long prompt taken in at full budget would make all
//! of them stutter. A step of `D` decoding and `P` prompt tokens takes about `base + c (D + P)`,
//! where `base` is what reading the weights costs however few the tokens are. To stay within a factor
//! of what the `D` alone would take, `P` may be up to `(factor - 1) (base / c + D)`: a handful of
//! tokens on a CPU, hundreds on a GPU. Both costs are measured from the steps themselves.
//!
//! Where a prompt is cut does not change any result, so timing may decide it.

/// Longest step with prompt tokens, as a multiple of the same step without. The promise is 2; the
/// rest is left to noise and to attention, which grows with the context.
const FACTOR: f64 = 1.75;
/// Prompt tokens per step even where they cost the most, so that prompts always advance.
const MIN_TOKENS: usize = 8;
/// Prompt tokens per step before anything has been measured.
const FIRST_TOKENS: usize = 32;
/// Steps of at least this many tokens tell the cost of a token; smaller ones are mostly `base`.
const LARGE_STEP: usize = 64;
/// Weight of the latest measurement in the averages.
const ALPHA: f64 = 0.2;

/// Measures steps and says how much prompt they may carry.
#[derive(Debug, Default)]
pub(crate) struct PrefillPacer {
    /// Seconds a token adds to a step.
    per_token: Option<f64>,
    /// Seconds of a step beside its tokens.
    base: Option<f64>,
}

impl PrefillPacer {
    /// Takes note of a step of `num_tokens`, `num_prefill_tokens` of them prompt.
    pub(crate) fn observe(&mut self, num_tokens: usize, num_prefill_tokens: usize, seconds: f64) {
        if num_tokens >= LARGE_STEP {
            let seconds = (seconds - self.base.unwrap_or(0.0)).max(0.0);
            average(&mut self.per_token, seconds / num_tokens as f64);
        } else if num_prefill_tokens == 0 {
            let tokens = self.per_token.unwrap_or(0.0) * num_tokens as f64;
            average(&mut self.base, (seconds - tokens).max(0.0));
        }
    }

    /// Prompt tokens that a step with `num_decoding` other tokens may carry.
    pub(crate) fn prefill_limit(&self, num_decoding: usize) -> usize {
        match (self.base, self.per_token) {
            (Some(base), Some(per_token)) if per_token > 0.0 => {
                let tokens = (FACTOR - 1.0) * (base / per_token + num_decoding as f64);
                (tokens as usize).max(MIN_TOKENS)
            }
            _ => FIRST_TOKENS,
        }
    }
}

fn average(mean: &mut Option<f64>, value: f64) {
    *mean = Some(mean.map_or(value, |mean| mean + ALPHA * (value - mean)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pacer that has seen prompts and decoding on a machine with these costs.
    fn paced(base: f64, per_token: f64) -> PrefillPacer {
        let mut pacer = PrefillPacer::default();
        for _ in 0..100 {
            pacer.observe(512, 512, base + 512.0 * per_token);
            pacer.observe(4, 0, base + 4.0 * per_token);
        }
        pacer
    }

    #[test]
    fn a_mixed_step_takes_less_than_twice_as_long() {
        for (base, per_token) in [(8e-3, 0.5e-3), (20e-3, 50e-6), (1e-3, 1e-3)] {
            let step =
                |decoding: usize, prefill: usize| base + per_token * (decoding + prefill) as f64;
            let pacer = paced(base, per_token);
            for decoding in [8, 16, 64] {
                let limit = pacer.prefill_limit(decoding);
                let ratio = step(decoding, limit) / step(decoding, 0);
                assert!(ratio < 2.0, "{limit} tokens beside {decoding}: {ratio}");
                assert!(
                    ratio > 1.5 || limit == MIN_TOKENS,
                    "{limit} tokens beside {decoding}: {ratio}"
                );
            }
        }
    }

    #[test]
    fn prompts_advance_before_anything_is_measured_and_on_the_slowest_machine() {
        assert_eq!(PrefillPacer::default().prefill_limit(1), FIRST_TOKENS);
        assert_eq!(paced(0.0, 1.0).prefill_limit(1), MIN_TOKENS);
    }
}
