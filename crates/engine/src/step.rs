//! What a step computes, and how much of it prompts may take.

use crate::sequence::SequenceId;

/// A sequence's share of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScheduledSequence {
    pub(crate) id: SequenceId,
    /// Tokens to compute, from the first that is not.
    pub(crate) num_tokens: usize,
    /// Whether these are all that the sequence has, so that the next can be sampled.
    pub(crate) is_last_chunk: bool,
}

/// What one step computes.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) sequences: Vec<ScheduledSequence>,
    pub(crate) num_preempted: usize,
    /// Tokens that belong to sequences with more than one to compute.
    pub(crate) num_prefill_tokens: usize,
}

impl Step {
    pub(crate) fn num_tokens(&self) -> usize {
        self.sequences
            .iter()
            .map(|scheduled| scheduled.num_tokens)
            .sum()
    }
}

/// Limits of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SchedulerConfig {
    pub(crate) max_num_seqs: usize,
    pub(crate) max_num_batched_tokens: usize,
    /// Most prompt positions whose logits are computed in a step; they are large.
    pub(crate) max_prompt_logits: usize,
}

/// What is left to hand out to prompts in a step.
pub(crate) struct PrefillBudget {
    pub(crate) tokens: usize,
    pub(crate) prompt_logits: usize,
}

impl PrefillBudget {
    /// The longest chunk there is for a sequence with `pending` tokens to compute.
    pub(crate) fn chunk(&self, pending: usize, prompt_logits: bool) -> usize {
        let limit = if prompt_logits {
            self.prompt_logits
        } else {
            usize::MAX
        };
        pending.min(self.tokens).min(limit)
    }

    pub(crate) fn spend(&mut self, chunk: usize, prompt_logits: bool) {
        self.tokens -= chunk;
        if prompt_logits {
            self.prompt_logits -= chunk;
        }
    }
}
