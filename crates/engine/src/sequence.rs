//! One answer in the making, as the scheduler sees it.

use std::sync::Arc;

use crate::kv_cache_manager::{BlockTable, RootHash};
use crate::request::ClientId;

/// How far the virtual time of [`Scheduler`](crate::scheduler::Scheduler) runs from one place in the line
/// to the next.
const STRIDE: i64 = 64;

/// Names a sequence. Numbered by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SequenceId(pub(crate) u64);

/// A sequence's place in the order of service, fixed on arrival: smaller is served first.
///
/// Start-time fair queueing (Goyal, Vin and Cheng 1996), with requests and clients for flows: a sequence
/// begins as many places behind the virtual time as its own request has sequences before it and its
/// client has requests waiting. So a request of a thousand answers has its second behind the first of
/// everybody else's, and a client with a hundred requests its second behind others' first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    tag: i64,
    pub(crate) id: SequenceId,
}

impl Rank {
    pub(crate) fn new(id: SequenceId, virtual_time: i64, place: usize, priority: i32) -> Self {
        let places = (place as i64).saturating_add(i64::from(priority));
        Self {
            tag: virtual_time.saturating_add(places.saturating_mul(STRIDE)),
            id,
        }
    }

    /// The virtual time once this sequence has been let in. It moves on with each that is, so only
    /// finitely many that arrive later come to rank before one that waits; and not beyond the `first` that
    /// waits, which may have been passed over: whoever arrives now begins beside it.
    pub(crate) fn advance(self, virtual_time: i64, first: Option<&Self>) -> i64 {
        let reached = first.map_or(self.tag, |first| self.tag.min(first.tag));
        reached.max(virtual_time + 1)
    }
}

/// What the scheduler must know of a new sequence.
#[derive(Debug, Clone)]
pub(crate) struct NewSequence {
    pub(crate) prompt_token_ids: Arc<[u32]>,
    /// How many are to come before it of those that compete with it: sequences of its request, and
    /// requests of its client.
    pub(crate) place: usize,
    pub(crate) priority: i32,
    /// Whose it is.
    pub(crate) client: ClientId,
    /// Only sequences with the same share blocks.
    pub(crate) cache_salt: Option<Arc<str>>,
    /// The number of its adapter: keys and values are another's with another.
    pub(crate) adapter: Option<u64>,
    /// Leading tokens that are no secret: their blocks are shared over salts.
    pub(crate) num_open_tokens: usize,
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
    pub(crate) client: ClientId,
    prompt_token_ids: Arc<[u32]>,
    /// The prompt, then what was generated; empty until the sequence is let in.
    token_ids: Vec<u32>,
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
    pub(crate) fn new(rank: Rank, root_hash: RootHash, new: NewSequence) -> Self {
        Self {
            rank,
            client: new.client,
            num_prompt_tokens: new.prompt_token_ids.len(),
            prompt_token_ids: new.prompt_token_ids,
            token_ids: Vec::new(),
            num_computed_tokens: 0,
            root_hash,
            table: BlockTable::default(),
            leader: new.leader,
            prompt_logits: new.prompt_logits,
            prompt_hidden: new.prompt_hidden,
            num_cached_tokens: None,
        }
    }

    /// The prompt, then what was generated.
    pub(crate) fn token_ids(&self) -> &[u32] {
        match self.token_ids.is_empty() {
            true => &self.prompt_token_ids,
            false => &self.token_ids,
        }
    }

    /// Makes tokens of its own, to be added to. Those that wait share their prompt.
    pub(crate) fn own_tokens(&mut self) {
        if self.token_ids.is_empty() {
            self.token_ids = self.prompt_token_ids.to_vec();
        }
    }

    /// Appends a token that was generated.
    pub(crate) fn push_token(&mut self, token: u32) {
        self.own_tokens();
        self.token_ids.push(token);
    }

    /// Whether it has never been let in.
    pub(crate) fn is_new(&self) -> bool {
        self.num_cached_tokens.is_none()
    }

    pub(crate) fn num_tokens(&self) -> usize {
        self.token_ids().len()
    }

    /// Tokens that are known, but not computed.
    pub(crate) fn num_pending_tokens(&self) -> usize {
        self.num_tokens() - self.num_computed_tokens
    }

    pub(crate) fn output_token_ids(&self) -> &[u32] {
        &self.token_ids()[self.num_prompt_tokens..]
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
