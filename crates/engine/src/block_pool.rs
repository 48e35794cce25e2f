//! The blocks of the KV cache: who holds them, and which contents are worth keeping.
//!
//! Every block is in exactly one of three states:
//!
//! ```text
//!             allocate                        release
//!   free  ───────────────►  in use  ─────────────────────────────►  free      (content unknown)
//!                           ref_count > 0                 └──────►  cached    (content registered)
//!                              ▲      share / allocate                │
//!                              └──────────────────────────────────────┘
//!
//!   free + cached + in use == total
//! ```
//!
//! A full block can be registered under the hash of its chain of tokens; [`BlockPool::lookup`]
//! finds it again, while it is in use or cached, and [`BlockPool::share`] takes another reference.
//! When no block is free, the least recently released cached one is evicted. All operations take
//! constant time: the cached blocks form a doubly linked list through the block array.

use std::collections::HashMap;

use matou_model::BLOCK_SIZE;

/// Number of a block in the pool.
pub(crate) type BlockId = u32;

/// End of the list of cached blocks.
const NIL: BlockId = BlockId::MAX;

/// What a full block holds: its own tokens, and by its parent's hash all tokens before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockContent {
    pub(crate) hash: u64,
    pub(crate) parent_hash: u64,
    pub(crate) tokens: [u32; BLOCK_SIZE],
}

#[derive(Debug, Clone)]
struct Block {
    ref_count: u32,
    /// Set while the block is registered for reuse.
    content: Option<BlockContent>,
    /// Neighbours in the list of cached blocks, if it is cached.
    older: BlockId,
    newer: BlockId,
}

/// All blocks of a KV cache. See the module's description.
#[derive(Debug)]
pub(crate) struct BlockPool {
    blocks: Vec<Block>,
    free: Vec<BlockId>,
    /// Registered blocks by hash. One block a hash: the first to register wins.
    registered: HashMap<u64, BlockId>,
    oldest_cached: BlockId,
    newest_cached: BlockId,
    num_cached: usize,
}

impl BlockPool {
    pub(crate) fn new(num_blocks: usize) -> Self {
        let block = Block {
            ref_count: 0,
            content: None,
            older: NIL,
            newer: NIL,
        };
        Self {
            blocks: vec![block; num_blocks],
            free: (0..num_blocks as BlockId).rev().collect(),
            registered: HashMap::new(),
            oldest_cached: NIL,
            newest_cached: NIL,
            num_cached: 0,
        }
    }

    pub(crate) fn num_blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Blocks that can be allocated: free ones and, by eviction, cached ones.
    pub(crate) fn num_available(&self) -> usize {
        self.free.len() + self.num_cached
    }

    pub(crate) fn num_cached(&self) -> usize {
        self.num_cached
    }

    pub(crate) fn num_in_use(&self) -> usize {
        self.num_blocks() - self.num_available()
    }

    /// Whether nobody holds `block`, so that sharing it takes from what is available.
    pub(crate) fn is_unreferenced(&self, block: BlockId) -> bool {
        self.blocks[block as usize].ref_count == 0
    }

    /// Whether one sequence holds `block`, so that it is available once that lets go of it.
    pub(crate) fn is_held_once(&self, block: BlockId) -> bool {
        self.blocks[block as usize].ref_count == 1
    }

    /// Takes a block whose content does not matter, or `None` if all are in use.
    pub(crate) fn allocate(&mut self) -> Option<BlockId> {
        let block = self.free.pop().or_else(|| self.evict_oldest())?;
        self.blocks[block as usize].ref_count = 1;
        Some(block)
    }

    /// Takes another reference to a registered block.
    pub(crate) fn share(&mut self, block: BlockId) {
        if self.is_unreferenced(block) {
            self.unlink(block);
        }
        self.blocks[block as usize].ref_count += 1;
    }

    /// Gives a reference back.
    pub(crate) fn release(&mut self, block: BlockId) {
        let entry = &mut self.blocks[block as usize];
        debug_assert!(
            entry.ref_count > 0,
            "block {block} released more often than taken"
        );
        entry.ref_count -= 1;
        if entry.ref_count == 0 {
            match entry.content {
                Some(_) => self.link_newest(block),
                None => self.free.push(block),
            }
        }
    }

    /// Offers the content of a block in use for reuse. Does nothing if a block with this hash is
    /// registered already.
    pub(crate) fn register(&mut self, block: BlockId, content: BlockContent) {
        debug_assert!(!self.is_unreferenced(block), "block {block} is not in use");
        if let std::collections::hash_map::Entry::Vacant(entry) =
            self.registered.entry(content.hash)
        {
            entry.insert(block);
            self.blocks[block as usize].content = Some(content);
        }
    }

    /// The block with this content. The tokens are compared, so that two contents with the same
    /// hash are never taken for each other.
    pub(crate) fn lookup(&self, content: &BlockContent) -> Option<BlockId> {
        let block = *self.registered.get(&content.hash)?;
        (self.blocks[block as usize].content.as_ref() == Some(content)).then_some(block)
    }

    fn evict_oldest(&mut self) -> Option<BlockId> {
        let block = self.oldest_cached;
        if block == NIL {
            return None;
        }
        self.unlink(block);
        if let Some(content) = self.blocks[block as usize].content.take() {
            self.registered.remove(&content.hash);
        }
        Some(block)
    }

    fn link_newest(&mut self, block: BlockId) {
        let previous = std::mem::replace(&mut self.newest_cached, block);
        let entry = &mut self.blocks[block as usize];
        (entry.older, entry.newer) = (previous, NIL);
        match previous {
            NIL => self.oldest_cached = block,
            previous => self.blocks[previous as usize].newer = block,
        }
        self.num_cached += 1;
    }

    fn unlink(&mut self, block: BlockId) {
        let Block { older, newer, .. } = self.blocks[block as usize];
        match older {
            NIL => self.oldest_cached = newer,
            older => self.blocks[older as usize].newer = newer,
        }
        match newer {
            NIL => self.newest_cached = older,
            newer => self.blocks[newer as usize].older = older,
        }
        self.num_cached -= 1;
    }

    /// Checks that every block is in exactly one state and that its references are those counted in
    /// `holders`, the blocks of all tables.
    pub(crate) fn check_integrity(
        &self,
        holders: impl Iterator<Item = BlockId>,
    ) -> Result<(), String> {
        let mut references = vec![0; self.num_blocks()];
        holders.for_each(|block| references[block as usize] += 1);
        let mut free = vec![false; self.num_blocks()];
        for &block in &self.free {
            if std::mem::replace(&mut free[block as usize], true) {
                return Err(format!("block {block} is free twice"));
            }
        }
        let cached = self.cached_blocks()?;
        for (id, block) in self.blocks.iter().enumerate() {
            if block.ref_count != references[id] {
                return Err(format!(
                    "block {id} counts {} references of {}",
                    block.ref_count, references[id]
                ));
            }
            let states = [free[id], cached[id], block.ref_count > 0];
            if states.iter().filter(|state| **state).count() != 1 {
                return Err(format!("block {id} is free, cached, in use: {states:?}"));
            }
            match &block.content {
                Some(_) if free[id] => return Err(format!("block {id} is free, but registered")),
                Some(content) if self.registered.get(&content.hash) != Some(&(id as BlockId)) => {
                    return Err(format!("block {id} is not registered under its hash"));
                }
                None if cached[id] => return Err(format!("block {id} is cached without content")),
                _ => {}
            }
        }
        let contents = self
            .blocks
            .iter()
            .filter(|block| block.content.is_some())
            .count();
        if contents != self.registered.len() {
            return Err(format!(
                "{} hashes for {contents} registered blocks",
                self.registered.len()
            ));
        }
        Ok(())
    }

    /// Walks the list of cached blocks.
    fn cached_blocks(&self) -> Result<Vec<bool>, String> {
        let mut cached = vec![false; self.num_blocks()];
        let (mut older, mut block, mut length) = (NIL, self.oldest_cached, 0);
        while block != NIL {
            if std::mem::replace(&mut cached[block as usize], true) {
                return Err(format!(
                    "the list of cached blocks visits block {block} twice"
                ));
            }
            if self.blocks[block as usize].older != older {
                return Err(format!("block {block} has the wrong older neighbour"));
            }
            (older, block, length) = (block, self.blocks[block as usize].newer, length + 1);
        }
        if (older, length) != (self.newest_cached, self.num_cached) {
            return Err(format!(
                "the list of cached blocks has {length} entries, not {}",
                self.num_cached
            ));
        }
        Ok(cached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(hash: u64, token: u32) -> BlockContent {
        BlockContent {
            hash,
            parent_hash: 0,
            tokens: [token; BLOCK_SIZE],
        }
    }

    #[test]
    fn a_released_block_without_content_is_free_and_one_with_content_is_cached() {
        let mut pool = BlockPool::new(2);
        let (plain, full) = (pool.allocate().unwrap(), pool.allocate().unwrap());
        assert_eq!(pool.allocate(), None);
        pool.register(full, content(1, 7));
        pool.release(plain);
        pool.release(full);
        assert_eq!(
            (pool.free.len(), pool.num_cached(), pool.num_in_use()),
            (1, 1, 0)
        );
        assert_eq!(pool.lookup(&content(1, 7)), Some(full));
        pool.check_integrity([].into_iter()).unwrap();
    }

    #[test]
    fn the_least_recently_released_content_is_evicted_first() {
        let mut pool = BlockPool::new(3);
        let blocks: Vec<_> = (0..3).map(|_| pool.allocate().unwrap()).collect();
        for (i, &block) in blocks.iter().enumerate() {
            pool.register(block, content(i as u64, i as u32));
        }
        for i in [1, 0, 2] {
            pool.release(blocks[i]);
        }
        // Reused in between, block 1 becomes the newest.
        pool.share(blocks[1]);
        pool.release(blocks[1]);
        let evicted: Vec<_> = (0..3).map(|_| pool.allocate().unwrap()).collect();
        assert_eq!(evicted, [blocks[0], blocks[2], blocks[1]]);
        assert_eq!(pool.lookup(&content(0, 0)), None);
        pool.check_integrity(evicted.into_iter()).unwrap();
    }

    #[test]
    fn contents_with_the_same_hash_are_told_apart_by_their_tokens() {
        let mut pool = BlockPool::new(2);
        let (first, second) = (pool.allocate().unwrap(), pool.allocate().unwrap());
        pool.register(first, content(1, 7));
        pool.register(second, content(1, 8));
        assert_eq!(pool.lookup(&content(1, 7)), Some(first));
        assert_eq!(pool.lookup(&content(1, 8)), None);
        let other_parent = BlockContent {
            parent_hash: 9,
            ..content(1, 7)
        };
        assert_eq!(pool.lookup(&other_parent), None);
        pool.check_integrity([first, second].into_iter()).unwrap();
    }

    #[test]
    fn a_shared_block_stays_until_its_last_holder_releases_it() {
        let mut pool = BlockPool::new(1);
        let block = pool.allocate().unwrap();
        pool.register(block, content(1, 7));
        pool.share(block);
        pool.release(block);
        assert_eq!((pool.num_in_use(), pool.num_available()), (1, 0));
        pool.check_integrity([block].into_iter()).unwrap();
        pool.release(block);
        assert_eq!(pool.num_cached(), 1);
    }

    #[test]
    fn the_integrity_check_sees_a_lost_reference() {
        let mut pool = BlockPool::new(1);
        pool.allocate().unwrap();
        assert!(pool.check_integrity([].into_iter()).is_err());
    }
}
