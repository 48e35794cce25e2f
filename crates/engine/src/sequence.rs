//! One answer in the making, as the scheduler sees it.

use std::sync::Arc;

use crate::kv_cache_manager::{BlockTable, RootHash};

/// Arrivals that one unit of priority outweighs.
///
/// Finite, so that only a bounded number of later sequences can be put before a waiting one,
/// whatever their priority: nobody starves.
const PRIORITY_STRIDE: i64 = 256;

/// Names a sequence. Numbered by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SequenceId(pub(crate) u64);

/// A sequence's place in the order of service, fixed on arrival: smaller is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    virtual_arrival: i64,
    pub(crate) id: SequenceId,
}

impl Rank {
    pub(crate) fn new(id: SequenceId, priority: i32) -> Self {
        Self {
            virtual_arrival: id.0 as i64 + i64::from(priority) * PRIORITY_STRIDE,
            id,
        }
    }
}

/// What the scheduler must know of a new sequence.
#[derive(Debug, Clone)]
pub(crate) struct NewSequence {
    pub(crate) prompt_token_ids: Vec<u32>,
    pub(crate) priority: i32,
    /// Only sequences with the same share blocks.
    pub(crate) cache_salt: Option<Arc<str>>,
    /// A sequence with the same prompt, for whose blocks to wait.
    pub(crate) leader: Option<SequenceId>,
    /// Logits are wanted at every position of the prompt, so that it cannot be taken from the cache.
    pub(crate) prompt_logits: bool,
    /// The same for final hidden states.
    pub(crate) prompt_hidden: bool,
}

/// A sequence of tokens, of which `num_computed_tokens` have their keys and values in the cache.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) rank: Rank,
    /// The prompt, then what was generated.
    pub(crate) token_ids: Vec<u32>,
    pub(crate) num_prompt_tokens: usize,
    /// Chases the number of tokens; falls back to 0 on preemption.
    pub(crate) num_computed_tokens: usize,
    /// Where its blocks' hashes begin.
    pub(crate) root_hash: RootHash,
    pub(crate) table: BlockTable,
    pub(crate) leader: Option<SequenceId>,
    pub(crate) prompt_logits: bool,
    pub(crate) prompt_hidden: bool,
    /// Prompt tokens found in the prefix cache when the sequence was first let in.
    pub(crate) num_cached_tokens: Option<usize>,
}

impl Sequence {
    pub(crate) fn new(id: SequenceId, root_hash: RootHash, new: NewSequence) -> Self {
        Self {
            rank: Rank::new(id, new.priority),
            num_prompt_tokens: new.prompt_token_ids.len(),
            token_ids: new.prompt_token_ids,
            num_computed_tokens: 0,
            root_hash,
            table: BlockTable::default(),
            leader: new.leader,
            prompt_logits: new.prompt_logits,
            prompt_hidden: new.prompt_hidden,
            num_cached_tokens: None,
        }
    }

    pub(crate) fn num_tokens(&self) -> usize {
        self.token_ids.len()
    }

    /// Tokens that are known, but not computed.
    pub(crate) fn num_pending_tokens(&self) -> usize {
        self.num_tokens() - self.num_computed_tokens
    }

    pub(crate) fn output_token_ids(&self) -> &[u32] {
        &self.token_ids[self.num_prompt_tokens..]
    }

    pub(crate) fn has_output(&self) -> bool {
        self.num_tokens() > self.num_prompt_tokens
    }

    /// Whether logits of the whole prompt are still to be delivered.
    pub(crate) fn needs_prompt_logits(&self) -> bool {
        self.prompt_logits && !self.has_output()
    }

    /// Whether hidden states of the whole prompt are still to be delivered.
    pub(crate) fn needs_prompt_hidden(&self) -> bool {
        self.prompt_hidden && !self.has_output()
    }
}
