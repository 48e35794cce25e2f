//! Gives sequences the blocks they need, and finds those that are computed already.
//!
//! ```text
//! tokens   [ 0 .. 16 | 16 .. 32 | 32 .. 48 | 48 .. 53 ]
//! table    [   b4    |    b9    |    b2    |    b7    ]
//!            h1 = H(h0, tokens)
//!                       h2 = H(h1, tokens) ...          chained: a hash stands for a whole prefix
//!          ├── registered, may be shared ──┤└ private ─┤
//! ```
//!
//! A block is registered once it is full of *computed* tokens, so whoever finds it may read it.
//! Hashes are keyed per process: nobody can prepare prompts that collide.

use std::hash::{BuildHasher, Hasher, RandomState};

use matou_model::BLOCK_SIZE;

use crate::block_pool::{BlockContent, BlockId, BlockPool};

/// Where the hashes of a sequence begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RootHash {
    /// Of the empty prefix.
    empty: u64,
    /// What is mixed in behind the leading blocks that are anybody's, if anything is.
    salt: Option<u64>,
    /// Number of these blocks.
    num_open: usize,
}

/// The blocks that hold one sequence's keys and values.
#[derive(Debug, Default)]
pub(crate) struct BlockTable {
    /// Block `j` holds positions `j * BLOCK_SIZE ..`. Entries before `num_freed` are stale.
    blocks: Vec<BlockId>,
    /// Leading blocks given back because a sliding window has passed them.
    num_freed: usize,
    /// Leading blocks whose hash is known, and the hash of the last of them.
    num_hashed: usize,
    last_hash: u64,
    root: RootHash,
}

impl BlockTable {
    /// All entries, those a sliding window has passed included (they may name any block).
    pub(crate) fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }

    /// The entries that the sequence holds references to.
    pub(crate) fn held(&self) -> &[BlockId] {
        &self.blocks[self.num_freed..]
    }
}

/// Computed blocks that begin a sequence of tokens.
#[derive(Debug)]
pub(crate) struct PrefixMatch {
    blocks: Vec<BlockId>,
    last_hash: u64,
    root: RootHash,
}

impl PrefixMatch {
    /// Nothing of a sequence that begins at `root`.
    pub(crate) fn none(root: RootHash) -> Self {
        Self {
            blocks: Vec::new(),
            last_hash: root.empty,
            root,
        }
    }

    pub(crate) fn num_tokens(&self) -> usize {
        self.blocks.len() * BLOCK_SIZE
    }
}

/// Most blocks that a sequence of `num_tokens` holds at a time, if at most `max_chunk` of them are
/// computed in a step.
pub(crate) fn blocks_needed(
    num_tokens: usize,
    sliding_window: Option<usize>,
    max_chunk: usize,
) -> usize {
    match sliding_window {
        // The window, the chunk being computed, and a block that is partly visible.
        Some(window) => num_tokens
            .min(window + max_chunk + BLOCK_SIZE)
            .div_ceil(BLOCK_SIZE),
        None => num_tokens.div_ceil(BLOCK_SIZE),
    }
}

/// Allocation of KV blocks to sequences. Holds no keys or values itself.
#[derive(Debug)]
pub(crate) struct KvCacheManager {
    pool: BlockPool,
    hash_key: RandomState,
    enable_prefix_caching: bool,
    sliding_window: Option<usize>,
}

impl KvCacheManager {
    pub(crate) fn new(
        num_blocks: usize,
        enable_prefix_caching: bool,
        sliding_window: Option<usize>,
    ) -> Self {
        Self {
            pool: BlockPool::new(num_blocks),
            hash_key: RandomState::new(),
            enable_prefix_caching,
            sliding_window,
        }
    }

    pub(crate) fn pool(&self) -> &BlockPool {
        &self.pool
    }

    /// Where the hashes of sequences with this salt and adapter begin: they share blocks with each
    /// other only. Those of the first `num_open_tokens` they share with all who have the adapter.
    pub(crate) fn root(
        &self,
        salt: Option<&str>,
        adapter: Option<u64>,
        num_open_tokens: usize,
    ) -> RootHash {
        RootHash {
            empty: adapter.map_or(0, |adapter| self.hash_key.hash_one(adapter)),
            salt: salt.map(|salt| self.hash_key.hash_one(salt)),
            num_open: num_open_tokens / BLOCK_SIZE,
        }
    }

    /// The hash before block `i`, which is `last_hash` but where the salt comes in.
    fn parent(&self, root: &RootHash, i: usize, last_hash: u64) -> u64 {
        match root.salt {
            Some(salt) if i == root.num_open => self.hash_key.hash_one((last_hash, salt)),
            _ => last_hash,
        }
    }

    /// The longest computed prefix of `tokens`, in whole blocks. At least one token is always left
    /// to compute, because only a computed token has logits.
    pub(crate) fn find_prefix(&self, root: RootHash, tokens: &[u32]) -> PrefixMatch {
        let mut found = PrefixMatch::none(root);
        if !self.enable_prefix_caching {
            return found;
        }
        let (chunks, _) = tokens[..tokens.len() - 1].as_chunks::<BLOCK_SIZE>();
        for (i, chunk) in chunks.iter().enumerate() {
            let parent = self.parent(&root, i, found.last_hash);
            let content = self.content(parent, chunk);
            let Some(block) = self.pool.lookup(&content) else {
                break;
            };
            found.blocks.push(block);
            found.last_hash = content.hash;
        }
        found
    }

    /// How many tokens a sequence must have room for when it is let in: all it has, so that it is
    /// not stopped halfway; with a sliding window only its first chunk, as blocks come back.
    pub(crate) fn tokens_to_reserve(&self, num_tokens: usize, chunk_end: usize) -> usize {
        if self.sliding_window.is_some() {
            chunk_end
        } else {
            num_tokens
        }
    }

    /// How many blocks of a prefix a sliding window has passed: they are neither read nor held, or a
    /// long prefix could take more blocks than its sequence ever needs at a time, all of them even.
    fn passed(&self, found: &PrefixMatch) -> usize {
        self.first_visible(found.num_tokens())
            .min(found.blocks.len())
    }

    /// The first block that the token behind `num_computed` sees: `window` positions, itself among them.
    fn first_visible(&self, num_computed: usize) -> usize {
        self.sliding_window.map_or(0, |window| {
            (num_computed + 1).saturating_sub(window) / BLOCK_SIZE
        })
    }

    /// Blocks that a sequence with this prefix takes from those available to hold `num_tokens`:
    /// new ones, and shared ones that nobody holds at the moment.
    pub(crate) fn blocks_to_admit(&self, found: &PrefixMatch, num_tokens: usize) -> usize {
        let revived = found.blocks[self.passed(found)..]
            .iter()
            .filter(|&&block| self.pool.is_unreferenced(block))
            .count();
        revived + num_tokens.div_ceil(BLOCK_SIZE) - found.blocks.len()
    }

    /// Begins an empty table with a prefix found just now.
    pub(crate) fn adopt_prefix(&mut self, table: &mut BlockTable, found: PrefixMatch) {
        debug_assert!(table.blocks.is_empty(), "a prefix begins a table");
        table.num_freed = self.passed(&found);
        for &block in &found.blocks[table.num_freed..] {
            self.pool.share(block);
        }
        table.num_hashed = found.blocks.len();
        table.last_hash = found.last_hash;
        table.root = found.root;
        table.blocks = found.blocks;
    }

    /// Extends `table` to hold `num_tokens`. Changes nothing and returns false if the blocks for
    /// that are not to be had.
    pub(crate) fn allocate(&mut self, table: &mut BlockTable, num_tokens: usize) -> bool {
        let missing = num_tokens
            .div_ceil(BLOCK_SIZE)
            .saturating_sub(table.blocks.len());
        if missing > self.pool.num_available() {
            return false;
        }
        table
            .blocks
            .extend((0..missing).map_while(|_| self.pool.allocate()));
        true
    }

    /// Takes note that the first `num_computed` of `tokens` are computed: registers the blocks that
    /// became full, and gives back those that a sliding window has passed.
    pub(crate) fn commit(&mut self, table: &mut BlockTable, tokens: &[u32], num_computed: usize) {
        if self.enable_prefix_caching {
            let (chunks, _) = tokens[..num_computed].as_chunks::<BLOCK_SIZE>();
            for (i, chunk) in chunks.iter().enumerate().skip(table.num_hashed) {
                let parent = self.parent(&table.root, i, table.last_hash);
                let content = self.content(parent, chunk);
                self.pool.register(table.blocks[i], content);
                table.last_hash = content.hash;
            }
            table.num_hashed = chunks.len();
        }
        for i in table.num_freed..self.first_visible(num_computed) {
            self.pool.release(table.blocks[i]);
            table.num_freed = i + 1;
        }
    }

    /// Gives all blocks of a sequence back. The last go first, so that they are evicted first: a
    /// prefix is of use without its continuation, but not the other way round.
    pub(crate) fn free(&mut self, table: &mut BlockTable) {
        for &block in table.held().iter().rev() {
            self.pool.release(block);
        }
        *table = BlockTable::default();
    }

    fn content(&self, parent_hash: u64, tokens: &[u32; BLOCK_SIZE]) -> BlockContent {
        let mut hasher = self.hash_key.build_hasher();
        hasher.write_u64(parent_hash);
        for &token in tokens {
            hasher.write_u32(token);
        }
        BlockContent {
            hash: hasher.finish(),
            parent_hash,
            tokens: *tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn computed(manager: &mut KvCacheManager, tokens: &[u32]) -> BlockTable {
        let mut table = BlockTable::default();
        let found = manager.find_prefix(RootHash::default(), tokens);
        manager.adopt_prefix(&mut table, found);
        assert!(manager.allocate(&mut table, tokens.len()));
        manager.commit(&mut table, tokens, tokens.len());
        table
    }

    fn tokens(range: std::ops::Range<u32>) -> Vec<u32> {
        range.collect()
    }

    #[test]
    fn a_prefix_is_found_in_whole_blocks_and_leaves_a_token_to_compute() {
        let mut manager = KvCacheManager::new(16, true, None);
        let table = computed(&mut manager, &tokens(0..40));
        let found = |manager: &KvCacheManager, tokens: &[u32]| {
            manager
                .find_prefix(RootHash::default(), tokens)
                .num_tokens()
        };
        assert_eq!(found(&manager, &tokens(0..40)), 32);
        assert_eq!(found(&manager, &tokens(0..33)), 32);
        assert_eq!(found(&manager, &tokens(0..32)), 16);
        assert_eq!(found(&manager, &tokens(0..16)), 0);
        assert_eq!(found(&manager, &tokens(1..40)), 0);
        let mut other_tail = tokens(0..40);
        other_tail[20] = 99;
        assert_eq!(found(&manager, &other_tail), 16);
        manager
            .pool
            .check_integrity(table.held().iter().copied())
            .unwrap();
    }

    #[test]
    fn the_same_block_after_another_prefix_is_another_block() {
        let mut manager = KvCacheManager::new(16, true, None);
        let mut first = tokens(0..32);
        computed(&mut manager, &first);
        first[0] = 99;
        assert_eq!(
            manager
                .find_prefix(RootHash::default(), &first)
                .num_tokens(),
            0
        );
    }

    #[test]
    fn blocks_outlive_their_sequence_and_the_tail_is_evicted_first() {
        let mut manager = KvCacheManager::new(4, true, None);
        let mut table = computed(&mut manager, &tokens(0..48));
        manager.free(&mut table);
        assert_eq!(
            manager
                .find_prefix(RootHash::default(), &tokens(0..64))
                .num_tokens(),
            48
        );
        let mut other = computed(&mut manager, &tokens(100..130));
        assert_eq!(
            manager
                .find_prefix(RootHash::default(), &tokens(0..64))
                .num_tokens(),
            32
        );
        manager.free(&mut other);
        manager.pool.check_integrity([].into_iter()).unwrap();
    }

    #[test]
    fn without_prefix_caching_nothing_is_kept() {
        let mut manager = KvCacheManager::new(4, false, None);
        let mut table = computed(&mut manager, &tokens(0..48));
        manager.free(&mut table);
        assert_eq!(
            manager
                .find_prefix(RootHash::default(), &tokens(0..48))
                .num_tokens(),
            0
        );
        assert_eq!(
            (manager.pool.num_cached(), manager.pool.num_available()),
            (0, 4)
        );
    }

    #[test]
    fn an_allocation_that_does_not_fit_changes_nothing() {
        let mut manager = KvCacheManager::new(2, true, None);
        let mut table = BlockTable::default();
        assert!(!manager.allocate(&mut table, 33));
        assert!(table.blocks().is_empty());
        assert!(manager.allocate(&mut table, 32));
        assert_eq!(manager.pool.num_available(), 0);
    }

    #[test]
    fn a_sliding_window_gives_back_blocks_that_no_position_can_see() {
        let mut manager = KvCacheManager::new(8, false, Some(20));
        let tokens = tokens(0..64);
        let mut table = BlockTable::default();
        assert!(manager.allocate(&mut table, 64));
        // Token 35 sees positions 16..=35, so block 0 has been passed; token 34 sees position 15.
        manager.commit(&mut table, &tokens, 34);
        assert_eq!(table.held().len(), 4);
        manager.commit(&mut table, &tokens, 35);
        assert_eq!(table.held().len(), 3);
        manager.commit(&mut table, &tokens, 64);
        assert_eq!((table.held().len(), table.blocks().len()), (2, 4));
        manager
            .pool
            .check_integrity(table.held().iter().copied())
            .unwrap();
        manager.free(&mut table);
        assert_eq!(manager.pool.num_available(), 8);
    }

    #[test]
    fn what_is_open_is_shared_over_salts_and_nothing_behind_it() {
        let mut manager = KvCacheManager::new(32, true, None);
        let (one, other) = (
            manager.root(Some("one"), None, 2 * BLOCK_SIZE + 5),
            manager.root(Some("other"), None, 2 * BLOCK_SIZE),
        );
        let text = tokens(0..4 * BLOCK_SIZE as u32 + 1);
        let mut table = BlockTable::default();
        let found = manager.find_prefix(one, &text);
        assert_eq!(found.num_tokens(), 0);
        manager.adopt_prefix(&mut table, found);
        assert!(manager.allocate(&mut table, text.len()));
        manager.commit(&mut table, &text, text.len());
        assert_eq!(manager.find_prefix(one, &text).num_tokens(), 4 * BLOCK_SIZE);
        assert_eq!(
            manager.find_prefix(other, &text).num_tokens(),
            2 * BLOCK_SIZE
        );
        let closed = manager.root(Some("one"), None, 0);
        assert_eq!(manager.find_prefix(closed, &text).num_tokens(), 0);
        // Who has no salt finds what is open, and who has another adapter nothing.
        let unsalted = manager.root(None, None, 0);
        assert_eq!(
            manager.find_prefix(unsalted, &text).num_tokens(),
            2 * BLOCK_SIZE
        );
        let adapted = manager.root(None, Some(7), 0);
        assert_eq!(manager.find_prefix(adapted, &text).num_tokens(), 0);
    }
}
