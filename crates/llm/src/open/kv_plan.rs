//! How many KV blocks to reserve, and how long a context may get.
//!
//! A pure calculation: memory and limits in, a plan or an error with the numbers out.

use matou_model::BLOCK_SIZE;
use thiserror::Error;

use super::memory::human_bytes;

/// Contexts of full length that the pool has room for, when nobody says how large it is to be
/// and memory allows: enough for a handful of long conversations, or many short ones.
pub(crate) const CONTEXTS_BY_DEFAULT: usize = 8;

/// Part of the free memory that the pool takes at most when its size is left to us. The rest is
/// for activations, prompts in flight and whatever else the machine does.
const SHARE_OF_FREE_MEMORY: f64 = 0.5;

/// What is known before planning.
#[derive(Debug, Clone, Copy)]
pub(super) struct KvNeeds {
    /// Bytes of a block of [`BLOCK_SIZE`] tokens over all layers.
    pub(super) block_bytes: usize,
    /// Longest context the model was made for, in tokens.
    pub(super) model_max_len: usize,
    /// `--max-model-len`, if given.
    pub(super) requested_max_len: Option<usize>,
    /// `--kv-cache-memory` in bytes, if given.
    pub(super) requested_bytes: Option<u64>,
    /// Memory free on the device, in bytes.
    pub(super) free_bytes: u64,
    /// The most blocks that the device can hold in one piece, whatever is free.
    pub(super) max_blocks: Option<usize>,
}

/// The pool to allocate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KvPlan {
    /// Blocks in the pool.
    pub(super) num_blocks: usize,
    /// Longest context that is accepted, in tokens.
    pub(super) max_model_len: usize,
    /// Whether `max_model_len` is less than the model's own, for lack of memory.
    pub(super) shortened: bool,
}

/// Why no pool can be planned.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KvPlanError {
    /// The context that was asked for is longer than the pool.
    #[error(
        "a context of {max_len} tokens needs {needed} of KV cache, but only {room} may be used: \
         lower --max-model-len to {fits}, or raise --kv-cache-memory"
    )]
    TooSmall {
        /// The context asked for, in tokens.
        max_len: usize,
        /// The memory it takes.
        needed: String,
        /// The memory there is.
        room: String,
        /// The longest context that fits, in tokens.
        fits: usize,
    },
    /// The model was not made for such contexts.
    #[error(
        "--max-model-len {requested} is more than the {model_max_len} tokens this model was made for"
    )]
    BeyondModel {
        /// The context asked for, in tokens.
        requested: usize,
        /// The model's own limit, in tokens.
        model_max_len: usize,
    },
    /// There is no memory to speak of.
    #[error("not even one KV block of {block} fits into {room}: free some memory")]
    NoRoom {
        /// The memory that a block takes.
        block: String,
        /// The memory there is.
        room: String,
    },
}

/// Plans the KV pool.
///
/// An explicit `--max-model-len` is kept or refused; left out, it is the model's own, lowered to
/// what memory has room for.
pub(super) fn plan(needs: &KvNeeds) -> Result<KvPlan, KvPlanError> {
    if let Some(requested) = needs.requested_max_len
        && requested > needs.model_max_len
    {
        return Err(KvPlanError::BeyondModel {
            requested,
            model_max_len: needs.model_max_len,
        });
    }
    let wanted_len = needs.requested_max_len.unwrap_or(needs.model_max_len);
    let room = needs
        .requested_bytes
        .unwrap_or((needs.free_bytes as f64 * SHARE_OF_FREE_MEMORY) as u64);
    let room_blocks = usize::try_from(room / needs.block_bytes.max(1) as u64).unwrap_or(usize::MAX);
    let room_blocks = room_blocks.min(needs.max_blocks.unwrap_or(usize::MAX));
    if room_blocks == 0 {
        return Err(KvPlanError::NoRoom {
            block: human_bytes(needs.block_bytes as u64),
            room: human_bytes(room),
        });
    }
    let context_blocks = wanted_len.div_ceil(BLOCK_SIZE);
    let num_blocks = match needs.requested_bytes {
        Some(_) => room_blocks,
        None => room_blocks.min(context_blocks.saturating_mul(CONTEXTS_BY_DEFAULT)),
    };
    let fits = num_blocks.saturating_mul(BLOCK_SIZE);
    if fits < wanted_len && needs.requested_max_len.is_some() {
        return Err(KvPlanError::TooSmall {
            max_len: wanted_len,
            needed: human_bytes(context_blocks as u64 * needs.block_bytes as u64),
            room: human_bytes(room),
            fits,
        });
    }
    let max_model_len = wanted_len.min(fits);
    Ok(KvPlan {
        num_blocks,
        max_model_len,
        shortened: max_model_len < wanted_len,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: KvNeeds = KvNeeds {
        block_bytes: 1 << 20,
        model_max_len: 1600,
        requested_max_len: None,
        requested_bytes: None,
        free_bytes: 1 << 40,
        max_blocks: None,
    };

    #[test]
    fn plenty_of_memory_gives_room_for_several_full_contexts_and_no_more() {
        let plan = plan(&NEEDS).unwrap();
        assert_eq!(
            plan,
            KvPlan {
                num_blocks: 800,
                max_model_len: 1600,
                shortened: false
            }
        );
    }

    #[test]
    fn little_memory_shortens_the_context_unless_it_was_asked_for() {
        let tight = KvNeeds {
            free_bytes: 100 << 20,
            ..NEEDS
        };
        let shortened = plan(&tight).unwrap();
        assert_eq!(
            shortened,
            KvPlan {
                num_blocks: 50,
                max_model_len: 800,
                shortened: true
            }
        );

        let explicit = KvNeeds {
            requested_max_len: Some(1600),
            ..tight
        };
        let error = plan(&explicit).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a context of 1600 tokens needs 100.0 MiB of KV cache, but only 50.0 MiB may be used: \
             lower --max-model-len to 800, or raise --kv-cache-memory"
        );
    }

    #[test]
    fn what_a_device_holds_in_one_piece_bounds_the_pool() {
        let bounded = KvNeeds {
            max_blocks: Some(40),
            requested_bytes: Some(3 << 30),
            ..NEEDS
        };
        let plan = plan(&bounded).unwrap();
        assert_eq!((plan.num_blocks, plan.max_model_len), (40, 640));
    }

    #[test]
    fn a_stated_pool_size_is_taken_whole() {
        let stated = KvNeeds {
            requested_bytes: Some(3 << 30),
            ..NEEDS
        };
        assert_eq!(plan(&stated).unwrap().num_blocks, 3072);
    }

    #[test]
    fn a_context_beyond_the_model_and_a_pool_without_room_are_refused() {
        let beyond = KvNeeds {
            requested_max_len: Some(1601),
            ..NEEDS
        };
        assert!(matches!(
            plan(&beyond),
            Err(KvPlanError::BeyondModel {
                requested: 1601,
                ..
            })
        ));
        let none = KvNeeds {
            free_bytes: 1 << 20,
            ..NEEDS
        };
        assert!(matches!(plan(&none), Err(KvPlanError::NoRoom { .. })));
    }
}
