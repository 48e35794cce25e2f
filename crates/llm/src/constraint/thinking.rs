//! The block of reasoning that an answer begins with, followed token by token: what may come next
//! while the model thinks, and the end that is forced on it once its budget is spent.
//!
//! It is looked for in bytes, because only some vocabularies have a token for a tag. As everywhere
//! ([`matou_chat::reasoning`]), only the beginning of an answer can open a block.

use std::sync::Arc;

use matou_chat::reasoning::ReasoningFormat;
use matou_chat::{SpecialTokens, Tokenizer};

use crate::error::LlmError;
use crate::prompt::cannot_tokenize;

/// Most tokens beyond the budget that finish a character.
const MAX_REST_OF_CHARACTER: usize = 3;

/// What is known of a block before an answer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThinkingPlan {
    /// How the model marks it.
    pub(crate) format: ReasoningFormat,
    /// Whether the prompt has opened it.
    pub(crate) is_open: bool,
    /// The tokens after which it is closed, its tags not counted.
    pub(crate) budget: Option<usize>,
}

/// A block of reasoning that is not over.
#[derive(Clone)]
pub(crate) struct Thinking {
    plan: ThinkingPlan,
    tokenizer: Arc<Tokenizer>,
    /// What may be thought, as a mask.
    free: Arc<[u32]>,
    /// The tokens that close the block.
    closer: Arc<[u32]>,
    phase: Phase,
    /// The last bytes, in which a tag may have begun.
    tail: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// An opener may follow.
    Beginning,
    /// So many tokens have been thought.
    Inside(usize),
    /// So many tokens of the closer have been forced.
    Closing(usize),
    /// The block is over, or there is none.
    Over,
}

impl Thinking {
    /// A block at its beginning, of a model with logits for `vocab_size` tokens. None of
    /// `forbidden` is thought.
    ///
    /// # Errors
    ///
    /// When the vocabulary cannot express the end of a block.
    pub(super) fn new(
        plan: ThinkingPlan,
        tokenizer: &Arc<Tokenizer>,
        vocab_size: usize,
        forbidden: &[u32],
    ) -> Result<Self, LlmError> {
        let mut free = vec![u32::MAX; vocab_size.div_ceil(32)];
        for &id in forbidden {
            if let Some(word) = free.get_mut(id as usize / 32) {
                *word &= !(1 << (id % 32));
            }
        }
        let closer = tokenizer
            .encode(plan.format.closer(), SpecialTokens::Parse, false)
            .map_err(|error| cannot_tokenize("messages", &error))?;
        if closer.iter().any(|&id| id as usize >= vocab_size) {
            let message = "This model has no token for the end of its thinking.";
            return Err(LlmError::unsupported("messages", message));
        }
        Ok(Self {
            plan,
            tokenizer: Arc::clone(tokenizer),
            free: free.into(),
            closer: closer.into(),
            phase: match (plan.is_open, plan.budget) {
                (true, Some(0)) => Phase::Closing(0),
                (true, _) => Phase::Inside(0),
                (false, _) => Phase::Beginning,
            },
            tail: Vec::new(),
        })
    }

    /// Whether what follows is no longer part of the block.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The tokens that may come next, as bits, where none is forced.
    pub(crate) fn mask(&self) -> &[u32] {
        &self.free
    }

    /// The token of the closer that comes next, once the budget is spent.
    pub(crate) fn forced(&self) -> Option<u32> {
        match self.phase {
            Phase::Closing(forced) => self.closer.get(forced).copied(),
            _ => None,
        }
    }

    /// Moves on by a token; false if it is not in the mask.
    pub(crate) fn try_accept(&mut self, token: u32) -> bool {
        let is_allowed = match self.phase {
            Phase::Closing(_) => self.forced() == Some(token),
            _ => {
                let word = self.free.get(token as usize / 32);
                word.is_some_and(|word| word >> (token % 32) & 1 == 1)
            }
        };
        if is_allowed {
            self.accept(token);
        }
        is_allowed
    }

    fn is_spent(&self, thought: usize) -> bool {
        let over = self
            .plan
            .budget
            .and_then(|budget| thought.checked_sub(budget));
        // A character that has begun is finished first.
        over.is_some_and(|over| over >= MAX_REST_OF_CHARACTER || is_whole(&self.tail))
    }

    fn accept(&mut self, token: u32) {
        let bytes = self.tokenizer.token_bytes(token).unwrap_or_default();
        self.tail.extend_from_slice(bytes);
        self.phase = match self.phase {
            Phase::Beginning => self.begin(),
            _ if self.has_closer() => Phase::Over,
            Phase::Inside(thought) => Phase::Inside(thought + 1),
            Phase::Closing(forced) if forced + 1 < self.closer.len() => Phase::Closing(forced + 1),
            Phase::Closing(_) | Phase::Over => Phase::Over,
        };
        if let Phase::Inside(thought) = self.phase
            && self.is_spent(thought)
        {
            self.phase = Phase::Closing(0);
        }
        if self.phase != Phase::Beginning {
            let kept = self.plan.format.closer().len() - 1;
            self.tail.drain(..self.tail.len().saturating_sub(kept));
        }
    }

    /// Looks for an opener, in front of which there may be blank space.
    fn begin(&self) -> Phase {
        let opener = self.plan.format.opener().as_bytes();
        let text = self.tail.trim_ascii_start();
        match text.strip_prefix(opener) {
            Some(_) if self.has_closer() => Phase::Over,
            Some([]) => Phase::Inside(0),
            // A token that is more than the opener is thought, too.
            Some(_) => Phase::Inside(1),
            None if opener.starts_with(text) => Phase::Beginning,
            None => Phase::Over,
        }
    }

    fn has_closer(&self) -> bool {
        let closer = self.plan.format.closer().as_bytes();
        let mut windows = self.tail.windows(closer.len());
        windows.any(|window| window == closer)
    }
}

/// Whether bytes do not end inside of a character.
fn is_whole(bytes: &[u8]) -> bool {
    // The longest character has four bytes: one that has begun began among the last three.
    let last = bytes.iter().rev().take(3).enumerate();
    for (after, byte) in last {
        let length = match byte {
            0x00..=0x7f => 1,
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
        };
        return after + 1 >= length;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_whole_once_its_last_byte_is_there() {
        for text in ["", "a", "é", "€", "🦀", "aé"] {
            assert!(is_whole(text.as_bytes()), "{text}");
            for cut in 1..text.chars().last().map_or(1, char::len_utf8) {
                let bytes = &text.as_bytes()[..text.len() - cut];
                assert!(!is_whole(bytes), "{bytes:?}");
            }
        }
        // Bytes that are no text are not waited for.
        assert!(is_whole(&[0x80, 0x80, 0x80, 0x80]));
    }
}
