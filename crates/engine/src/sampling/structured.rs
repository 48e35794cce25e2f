//! Answers that follow a grammar (structured output).
//!
//! The engine knows grammars only as [`TokenConstraint`]s: which tokens may come next, and which one
//! came. One belongs to each answer and moves only with tokens that were sampled, so that a
//! sequence that is preempted and computed again finds it where it was.

use std::fmt;
use std::sync::Arc;

use crate::request::GenerationError;

/// Where one answer is in its grammar.
pub trait TokenConstraint: Send {
    /// The tokens that may come next, as bits: token `i` may if bit `i % 32` of word `i / 32` is
    /// set; a token that has no word may not. End tokens are among them where the grammar may end.
    ///
    /// # Errors
    ///
    /// Says why the grammar can't be followed any further.
    fn mask(&mut self) -> Result<&[u32], String>;

    /// Moves on by a token of the mask.
    ///
    /// # Errors
    ///
    /// Says why the grammar can't be followed any further.
    fn accept(&mut self, token: u32) -> Result<(), String>;

    /// Whether nothing but the end may follow: the answer is complete.
    fn must_stop(&self) -> bool;
}

/// A grammar: where each answer to a request starts from.
pub trait ConstraintFactory: Send + Sync {
    /// A constraint for one answer, at its start.
    fn start(&self) -> Box<dyn TokenConstraint>;
}

/// The grammar that a request's answers follow. Two are equal if they are the same object.
#[derive(Clone)]
pub struct OutputConstraint(Arc<dyn ConstraintFactory>);

impl OutputConstraint {
    /// The constraint of answers that follow `grammar`.
    pub fn new(grammar: Arc<dyn ConstraintFactory>) -> Self {
        Self(grammar)
    }
}

impl PartialEq for OutputConstraint {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for OutputConstraint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OutputConstraint")
    }
}

/// The sampling stage: excludes what the grammar doesn't allow, and follows what was chosen.
pub(super) struct GrammarMask(Box<dyn TokenConstraint>);

impl GrammarMask {
    pub(super) fn start(constraint: &OutputConstraint) -> Self {
        Self(constraint.0.start())
    }

    pub(super) fn apply(&mut self, logits: &mut [f32]) -> Result<(), GenerationError> {
        let words = self.0.mask().map_err(GenerationError::Sampling)?;
        let words = words.iter().copied().chain(std::iter::repeat(0));
        for (chunk, word) in logits.chunks_mut(u32::BITS as usize).zip(words) {
            if word == u32::MAX {
                continue;
            }
            for (bit, logit) in chunk.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        Ok(())
    }

    /// Moves on; true if the answer is complete.
    pub(super) fn accept(&mut self, token: u32) -> Result<bool, GenerationError> {
        self.0.accept(token).map_err(GenerationError::Sampling)?;
        Ok(self.0.must_stop())
    }
}

impl fmt::Debug for GrammarMask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("GrammarMask")
    }
}
