//! Decides which tokens the next step computes.
//!
//! There are no phases: a sequence has tokens, some of them computed, and each step hands every
//! sequence a share of one token budget. The tokens of a prompt, of a preempted sequence's second
//! run and the one token just sampled are all the same thing.
//!
//! ```text
//!   order of service (rank: by turns of clients and requests) ─────────►
//!   running  [ s1: 1 ][ s2: 1 ][ s4: chunk of prompt ]│ waiting [ s5 ][ s7 ] ...
//!                                                     │
//!   blocks run out: the youngest running goes back ───┴──► and is computed again later
//! ```
//!
//! - **Running first.** A sequence that decodes always gets its token: the budget is at least the
//!   number of running sequences, and prompts share what is left. While others decode, prompts get
//!   no more than [`Scheduler::set_prefill_limit`] allows, or every stream would stall behind each
//!   long prompt.
//! - **Then waiting, in order.** A sequence is let in when there are blocks for all tokens it has and
//!   one more for each that runs. Nobody overtakes the first in line, except while it waits for the
//!   sequence that computes its prompt ([`NewSequence::leader`]), and for what others give up:
//! - **Places and blocks are shared.** A client that has less than another goes before the line, and does not
//!   wait for places or blocks: where all are taken, the other's youngest sequences give theirs up.
//! - **Preemption.** A sequence that finds no block takes those of the youngest running one. If it
//!   is the youngest itself, it keeps what it has and sits out the step.
//!
//! Nobody starves: ranks never change, only finitely many sequences can come to rank before a given
//! one ([`Rank`]), the first of all always finds blocks and budget, and every sequence ends.
//!
//! No tensors, clocks or I/O in here.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use matou_model::BLOCK_SIZE;

use crate::block_pool::BlockPool;
use crate::kv_cache_manager::{KvCacheManager, PrefixMatch};
use crate::request::ClientId;
use crate::sequence::{NewSequence, Rank, Sequence, SequenceId};
use crate::step::{PrefillBudget, ScheduledSequence, SchedulerConfig, Step};

/// All sequences and their blocks. See the module's description.
#[derive(Debug)]
pub(crate) struct Scheduler {
    config: SchedulerConfig,
    kv_cache: KvCacheManager,
    sequences: HashMap<SequenceId, Sequence>,
    /// In order of service.
    running: Vec<Rank>,
    waiting: BTreeSet<Rank>,
    next_id: u64,
    /// What the ranks of new sequences are counted from; moves on with each that is let in.
    virtual_time: i64,
    prefill_limit: usize,
}

impl Scheduler {
    pub(crate) fn new(config: SchedulerConfig, kv_cache: KvCacheManager) -> Self {
        Self {
            config,
            kv_cache,
            sequences: HashMap::new(),
            running: Vec::new(),
            waiting: BTreeSet::new(),
            next_id: 0,
            virtual_time: 0,
            prefill_limit: config.max_num_batched_tokens,
        }
    }

    /// Queues a sequence. It must fit into the empty cache, to its last token.
    pub(crate) fn add(&mut self, new: NewSequence) -> SequenceId {
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        let root_hash =
            self.kv_cache
                .root(new.cache_salt.as_deref(), new.adapter, new.num_open_tokens);
        let rank = Rank::new(id, self.virtual_time, new.place, new.priority);
        let sequence = Sequence::new(rank, root_hash, new);
        self.waiting.insert(sequence.rank);
        self.sequences.insert(id, sequence);
        id
    }

    /// The sequence with this id, which must not have been removed.
    pub(crate) fn sequence(&self, id: SequenceId) -> &Sequence {
        &self.sequences[&id]
    }

    pub(crate) fn num_running(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn num_waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    pub(crate) fn pool(&self) -> &BlockPool {
        self.kv_cache.pool()
    }

    /// Sequences that run and have one token to compute.
    pub(crate) fn num_decoding(&self) -> usize {
        let decodes = |rank: &&Rank| self.sequence(rank.id).num_pending_tokens() == 1;
        self.running.iter().filter(decodes).count()
    }

    /// Limits the prompt tokens of a step in which others decode; prompts do not advance beside them
    /// while it is zero.
    pub(crate) fn set_prefill_limit(&mut self, tokens: usize) {
        self.prefill_limit = tokens;
    }

    /// Chooses what the next step computes, and allocates the blocks for it.
    pub(crate) fn schedule(&mut self) -> Step {
        let mut step = Step::default();
        self.fill(&mut step, self.prefill_limit);
        if step.sequences.is_empty() {
            // Whoever decodes found no blocks, so nobody has to wait for prompts.
            self.fill(&mut step, usize::MAX);
        }
        step
    }

    fn fill(&mut self, step: &mut Step, prefill_limit: usize) {
        let mut budget = self.prefill_budget(prefill_limit);
        let newcomer = self.seat_newcomer(step, &mut budget);
        let all_running_fit = self.schedule_running(step, &mut budget, newcomer);
        if all_running_fit {
            self.schedule_waiting(step, &mut budget);
        }
    }

    fn prefill_budget(&self, prefill_limit: usize) -> PrefillBudget {
        let decoding = self.num_decoding();
        let unreserved = self.config.max_num_batched_tokens - decoding;
        let tokens = if decoding > 0 {
            unreserved.min(prefill_limit)
        } else {
            unreserved
        };
        PrefillBudget {
            tokens,
            prompt_logits: self.config.max_prompt_logits,
        }
    }

    /// Returns whether every running sequence found its blocks without taking any from another.
    /// A `newcomer` has its share of the step already.
    fn schedule_running(
        &mut self,
        step: &mut Step,
        budget: &mut PrefillBudget,
        newcomer: Option<SequenceId>,
    ) -> bool {
        let mut all_fit = true;
        let mut i = 0;
        while let Some(&Rank { id, .. }) = self.running.get(i) {
            i += 1;
            if newcomer == Some(id) {
                continue;
            }
            let chunk = self.next_chunk(id, budget);
            if chunk == 0 {
                continue;
            }
            let mut fits = self.allocate(id, chunk);
            all_fit &= fits;
            // A newcomer is in the step already: it cannot go before the next.
            while !fits
                && i < self.running.len()
                && self.running.last().map(|last| last.id) != newcomer
            {
                self.preempt_youngest();
                step.num_preempted += 1;
                fits = self.allocate(id, chunk);
            }
            if fits {
                self.push(step, id, chunk);
            }
        }
        all_fit
    }

    /// What a running sequence computes next. One that decodes has its token reserved.
    fn next_chunk(&self, id: SequenceId, budget: &mut PrefillBudget) -> usize {
        let sequence = self.sequence(id);
        let pending = sequence.num_pending_tokens();
        if pending == 1 {
            return 1;
        }
        let prompt_logits = sequence.needs_prompt_logits();
        let chunk = budget.chunk(pending, prompt_logits);
        budget.spend(chunk, prompt_logits);
        chunk
    }

    fn schedule_waiting(&mut self, step: &mut Step, budget: &mut PrefillBudget) {
        let mut passed_over = Bound::Unbounded;
        while self.running.len() < self.config.max_num_seqs && budget.tokens > 0 {
            let next = self.waiting.range((passed_over, Bound::Unbounded)).next();
            let Some(&rank) = next else { break };
            if self.waits_for_leader(rank.id) {
                passed_over = Bound::Excluded(rank);
                continue;
            }
            let Some(chunk) = self.admit(rank, budget) else {
                break;
            };
            self.push(step, rank.id, chunk);
        }
    }

    /// Lets somebody in before the line whose client has less than another, and returns who it was. Where places
    /// or blocks are taken, they get those of the other's youngest sequences; where there is room for them and
    /// for the first in line, nobody gives anything up.
    fn seat_newcomer(&mut self, step: &mut Step, budget: &mut PrefillBudget) -> Option<SequenceId> {
        let mut line = self.waiting.iter();
        let first = line.find(|rank| !self.waits_for_leader(rank.id))?.id;
        let is_full = self.running.len() >= self.config.max_num_seqs;
        let (newcomer, greedy) = self.newcomer(is_full).filter(|_| budget.tokens > 0)?;
        let room = self
            .pool()
            .num_available()
            .saturating_sub(self.running.len());
        let has_room = if is_full || self.blocks_of(first) > room {
            self.make_room(newcomer, greedy, step)
        } else {
            let both = self.blocks_of(first) + self.blocks_of(newcomer.id) + 1;
            // The first is to get its part of the step too, or it would wait for ever.
            let is_small = 2 * self.sequence(newcomer.id).num_tokens() <= budget.tokens;
            first != newcomer.id && is_small && both <= room
        };
        let chunk = has_room.then(|| self.admit(newcomer, budget))??;
        self.push(step, newcomer.id, chunk);
        Some(newcomer.id)
    }

    /// The first that waits whose client has less than that which has the most, and this client: of places
    /// where all are taken, else of blocks.
    fn newcomer(&self, is_full: bool) -> Option<(Rank, ClientId)> {
        let mut shares: HashMap<ClientId, usize> = HashMap::new();
        for rank in &self.running {
            let sequence = self.sequence(rank.id);
            *shares.entry(sequence.client).or_default() += match is_full {
                true => 1,
                false => sequence.table.held().len(),
            };
        }
        let by_share = |(client, share): &(&ClientId, &usize)| (**share, client.0);
        let (&greedy, &most) = shares.iter().max_by_key(by_share)?;
        let has_less = |rank: &&Rank| {
            let own = shares.get(&self.sequence(rank.id).client).copied();
            let wanted = match is_full {
                true => 1,
                false => self.blocks_of(rank.id),
            };
            // It has no more afterwards than the other.
            own.unwrap_or(0) + 2 * wanted <= most && !self.waits_for_leader(rank.id)
        };
        // Before a newcomer stand those that gave up their places, no more than there are.
        let mut first = self.waiting.iter().take(2 * self.config.max_num_seqs);
        Some((*first.find(has_less)?, greedy))
    }

    /// Blocks for all tokens that a sequence has.
    fn blocks_of(&self, id: SequenceId) -> usize {
        self.sequence(id).num_tokens().div_ceil(BLOCK_SIZE)
    }

    /// Takes the youngest sequences of `greedy` back until `newcomer` has room; none if they are not enough. A
    /// client keeps its last, and who is not the first in line gets no blocks but theirs: otherwise a large
    /// sequence, running or waiting, would never have all that it needs.
    fn make_room(&mut self, newcomer: Rank, greedy: ClientId, step: &mut Step) -> bool {
        let needed = self.blocks_of(newcomer.id);
        let own = |rank: &&Rank| self.sequence(rank.id).client == greedy;
        let mut own = self.running.iter().filter(own);
        // Its oldest.
        own.next();
        let free = self.pool().num_available();
        let is_first = self.waiting.first() == Some(&newcomer);
        let (mut places, mut freed) = (self.running.len(), 0);
        let has_room = |places: usize, freed: usize| {
            places < self.config.max_num_seqs
                && needed + places <= free + freed
                && (is_first || needed <= freed)
        };
        let mut victims = Vec::new();
        for &rank in own.rev() {
            if has_room(places, freed) {
                break;
            }
            let held = self.sequence(rank.id).table.held().iter();
            freed += held
                .filter(|&&block| self.pool().is_held_once(block))
                .count();
            places -= 1;
            victims.push(rank);
        }
        let is_enough = has_room(places, freed);
        if is_enough {
            step.num_preempted += victims.len();
            victims.into_iter().for_each(|rank| self.preempt(rank));
        }
        is_enough
    }

    /// Lets a waiting sequence run, if there is room for it, and returns its first chunk.
    fn admit(&mut self, rank: Rank, budget: &mut PrefillBudget) -> Option<usize> {
        let sequence = self
            .sequences
            .get_mut(&rank.id)
            .expect("waiting sequences exist");
        let prompt_logits = sequence.needs_prompt_logits();
        let found = if prompt_logits || sequence.needs_prompt_hidden() {
            PrefixMatch::none(sequence.root_hash)
        } else {
            self.kv_cache
                .find_prefix(sequence.root_hash, sequence.token_ids())
        };
        let cached = found.num_tokens();
        let chunk = budget.chunk(sequence.num_tokens() - cached, prompt_logits);
        let reserved = self
            .kv_cache
            .tokens_to_reserve(sequence.num_tokens(), cached + chunk);
        let needed = self.kv_cache.blocks_to_admit(&found, reserved);
        if chunk == 0 || needed + self.running.len() > self.kv_cache.pool().num_available() {
            return None;
        }
        budget.spend(chunk, prompt_logits);
        self.kv_cache.adopt_prefix(&mut sequence.table, found);
        let fits = self.kv_cache.allocate(&mut sequence.table, reserved);
        debug_assert!(fits, "the blocks have been counted");
        sequence.own_tokens();
        sequence.num_computed_tokens = cached;
        let is_new = sequence.is_new();
        sequence.num_cached_tokens.get_or_insert(cached);
        self.waiting.remove(&rank);
        if is_new {
            self.virtual_time = rank.advance(self.virtual_time, self.waiting.first());
        }
        let place = self.running.partition_point(|other| *other < rank);
        self.running.insert(place, rank);
        Some(chunk)
    }

    /// A sequence waits while another one computes the prompt that both have.
    fn waits_for_leader(&self, id: SequenceId) -> bool {
        let leader = self
            .sequence(id)
            .leader
            .and_then(|leader| self.sequences.get(&leader));
        leader.is_some_and(|leader| !leader.has_output())
    }

    fn allocate(&mut self, id: SequenceId, chunk: usize) -> bool {
        let sequence = self
            .sequences
            .get_mut(&id)
            .expect("running sequences exist");
        self.kv_cache
            .allocate(&mut sequence.table, sequence.num_computed_tokens + chunk)
    }

    fn push(&self, step: &mut Step, id: SequenceId, num_tokens: usize) {
        let pending = self.sequence(id).num_pending_tokens();
        if pending > 1 {
            step.num_prefill_tokens += num_tokens;
        }
        step.sequences.push(ScheduledSequence {
            id,
            num_tokens,
            is_last_chunk: num_tokens == pending,
        });
    }

    fn preempt_youngest(&mut self) {
        let youngest = self.running.last().copied();
        self.preempt(youngest.expect("there is a younger sequence than the one that needs blocks"));
    }

    fn preempt(&mut self, rank: Rank) {
        self.running.retain(|other| *other != rank);
        let sequence = self
            .sequences
            .get_mut(&rank.id)
            .expect("running sequences exist");
        self.kv_cache.free(&mut sequence.table);
        sequence.num_computed_tokens = 0;
        self.waiting.insert(rank);
    }

    /// Takes note that the step has been computed.
    pub(crate) fn complete(&mut self, step: &Step) {
        for scheduled in &step.sequences {
            let sequence = self
                .sequences
                .get_mut(&scheduled.id)
                .expect("a step's sequences exist until it is complete");
            sequence.num_computed_tokens += scheduled.num_tokens;
            let mut table = std::mem::take(&mut sequence.table);
            self.kv_cache.commit(
                &mut table,
                sequence.token_ids(),
                sequence.num_computed_tokens,
            );
            sequence.table = table;
        }
    }

    /// Appends a sampled token to a sequence all of whose tokens are computed.
    pub(crate) fn append_token(&mut self, id: SequenceId, token: u32) {
        let sequence = self
            .sequences
            .get_mut(&id)
            .expect("only sequences that exist are sampled");
        debug_assert_eq!(
            sequence.num_pending_tokens(),
            0,
            "a token is sampled when all before it are computed"
        );
        sequence.push_token(token);
    }

    /// Ends a sequence, wherever it is, and gives its blocks back.
    pub(crate) fn remove(&mut self, id: SequenceId) {
        if let Some(mut sequence) = self.sequences.remove(&id) {
            self.kv_cache.free(&mut sequence.table);
            self.waiting.remove(&sequence.rank);
            self.running.retain(|rank| rank.id != id);
        }
    }

    /// Checks that blocks and sequences agree.
    pub(crate) fn check_integrity(&self) -> Result<(), String> {
        let held = self
            .sequences
            .values()
            .flat_map(|sequence| sequence.table.held());
        self.pool().check_integrity(held.copied())?;
        if !self.running.is_sorted() {
            return Err("running sequences are out of order".to_owned());
        }
        if self.running.len() + self.waiting.len() != self.sequences.len() {
            return Err(format!(
                "{} sequences, but {} running and {} waiting",
                self.sequences.len(),
                self.running.len(),
                self.waiting.len()
            ));
        }
        for rank in &self.waiting {
            match self.sequences.get(&rank.id) {
                None => return Err(format!("{:?} waits, but is gone", rank.id)),
                Some(sequence) if !sequence.table.blocks().is_empty() => {
                    return Err(format!("{:?} waits, but holds blocks", rank.id));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
