//! What an engine counts and times. Rendering is left to whoever asks.

use crate::request::FinishReason;

/// Bounds in seconds for times a person waits: queue, first token, whole request.
pub(crate) const REQUEST_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0,
];

/// Bounds in seconds for the time between two tokens.
pub(crate) const TOKEN_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
    5.0,
];

/// Bounds for the length of a prompt or an answer, in tokens.
pub(crate) const TOKENS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0,
    20_000.0, 50_000.0, 100_000.0,
];

/// Bounds for numbers of tokens or sequences in a step.
pub(crate) const BATCH_SIZES: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0,
];

/// A distribution over fixed buckets.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Upper bounds of the buckets, ascending; a last bucket without bound follows.
    pub bounds: &'static [f64],
    /// Observations in each bucket (not cumulated), one more than there are bounds.
    pub counts: Vec<u64>,
    /// Sum of all observations.
    pub sum: f64,
}

impl Histogram {
    /// An empty histogram with the given bucket bounds.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    /// Counts one observation.
    pub fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
    }

    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// A snapshot of an engine: gauges as of its last step, counters and histograms since its start.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineStats {
    /// Sequences running.
    pub running: usize,
    /// Sequences waiting, those preempted included.
    pub waiting: usize,
    /// KV blocks that a running sequence holds.
    pub kv_blocks_used: usize,
    /// KV blocks without a holder whose content is kept for reuse.
    pub kv_blocks_cached: usize,
    /// KV blocks in all.
    pub kv_blocks_total: usize,
    /// Prompt tokens of requests whose prompt has been read.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generation_tokens: u64,
    /// Prompt tokens found in the prefix cache.
    pub cached_tokens: u64,
    /// Times a sequence gave up its blocks and was put back.
    pub preemptions: u64,
    /// Answers that ended, by reason, in the order of [`FinishReason::ALL`].
    pub finished: [u64; FinishReason::ALL.len()],
    /// Requests that failed.
    pub failed: u64,
    /// Steps run.
    pub steps: u64,
    /// Seconds from submission to the first step.
    pub queue_time: Histogram,
    /// Seconds from submission to the first token.
    pub time_to_first_token: Histogram,
    /// Seconds between tokens of an answer.
    pub inter_token_latency: Histogram,
    /// Seconds from submission to the end of the request.
    pub e2e_latency: Histogram,
    /// Seconds from the first step to the first token.
    pub prefill_time: Histogram,
    /// Seconds from the first token to the end of the request.
    pub decode_time: Histogram,
    /// Seconds from the first step to the end of the request.
    pub inference_time: Histogram,
    /// Prompt tokens of a request that has ended.
    pub request_prompt_tokens: Histogram,
    /// Tokens generated for a request that has ended, over all its answers.
    pub request_generation_tokens: Histogram,
    /// Tokens that a request allowed for each of its answers.
    pub request_max_tokens: Histogram,
    /// Answers that a request wanted.
    pub request_n: Histogram,
    /// Sequences in a step.
    pub batch_size: Histogram,
    /// Tokens in a step.
    pub step_tokens: Histogram,
}

impl EngineStats {
    pub(crate) fn new(kv_blocks_total: usize) -> Self {
        Self {
            running: 0,
            waiting: 0,
            kv_blocks_used: 0,
            kv_blocks_cached: 0,
            kv_blocks_total,
            prompt_tokens: 0,
            generation_tokens: 0,
            cached_tokens: 0,
            preemptions: 0,
            finished: [0; FinishReason::ALL.len()],
            failed: 0,
            steps: 0,
            queue_time: Histogram::new(REQUEST_SECONDS),
            time_to_first_token: Histogram::new(REQUEST_SECONDS),
            inter_token_latency: Histogram::new(TOKEN_SECONDS),
            e2e_latency: Histogram::new(REQUEST_SECONDS),
            prefill_time: Histogram::new(REQUEST_SECONDS),
            decode_time: Histogram::new(REQUEST_SECONDS),
            inference_time: Histogram::new(REQUEST_SECONDS),
            request_prompt_tokens: Histogram::new(TOKENS),
            request_generation_tokens: Histogram::new(TOKENS),
            request_max_tokens: Histogram::new(TOKENS),
            request_n: Histogram::new(BATCH_SIZES),
            batch_size: Histogram::new(BATCH_SIZES),
            step_tokens: Histogram::new(BATCH_SIZES),
        }
    }

    /// These gauges, with what was `counted` before.
    pub(crate) fn counting_on(self, counted: Self) -> Self {
        Self {
            running: self.running,
            waiting: self.waiting,
            kv_blocks_used: self.kv_blocks_used,
            kv_blocks_cached: self.kv_blocks_cached,
            kv_blocks_total: self.kv_blocks_total,
            ..counted
        }
    }

    pub(crate) fn count_finished(&mut self, reason: FinishReason) {
        self.finished[reason as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_each_value_in_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);
        for value in [0.5, 1.0, 1.5, 9.0] {
            histogram.observe(value);
        }
        assert_eq!(
            (histogram.counts.as_slice(), histogram.sum),
            (&[2, 1, 1][..], 12.0)
        );
        assert_eq!(histogram.count(), 4);
    }

    #[test]
    fn reasons_index_their_own_counters() {
        for (i, reason) in FinishReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
        }
    }
}
