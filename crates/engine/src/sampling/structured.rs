//! Answers that follow a grammar (structured output).
//!
//! The engine knows grammars only as [`TokenConstraint`]s: which tokens may come next, and which one
//! came. One belongs to each answer and moves only with tokens that were sampled, so that a
//! sequence that is preempted and computed again finds it where it was.

use std::fmt;
use std::sync::Arc;

use crate::error::GenerationError;

/// Where one answer is in its grammar.
pub trait TokenConstraint: Send {
    /// The tokens that may come next, as bits: token `i` may if bit `i % 32` of word `i / 32` is
    /// set; a token that has no word may not. End tokens are among them where the grammar may end.
    ///
    /// # Errors
    ///
    /// Says why the grammar can't be followed any further.
    fn mask(&mut self) -> Result<&[u32], String>;

    /// Moves on by a token, or stays where it is and returns false if the token is not in the mask.
    /// Must be cheap without a mask: most tokens are tried without one.
    ///
    /// # Errors
    ///
    /// Says why the grammar can't be followed any further.
    fn try_accept(&mut self, token: u32) -> Result<bool, String>;

    /// Whether nothing but the end may follow: the answer is complete.
    fn must_stop(&self) -> bool;

    /// The token that comes next whatever else the request excludes, if there is one.
    ///
    /// # Errors
    ///
    /// Says why the grammar can't be followed any further.
    fn forced(&mut self) -> Result<Option<u32>, String> {
        Ok(None)
    }
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
        let words = self.0.mask().map_err(GenerationError::Grammar)?;
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

    /// Moves on by `token` if the grammar allows it.
    pub(super) fn try_accept(&mut self, token: u32) -> Result<bool, GenerationError> {
        self.0.try_accept(token).map_err(GenerationError::Grammar)
    }

    /// The token that comes next whatever else is excluded.
    pub(super) fn forced(&mut self) -> Result<Option<u32>, GenerationError> {
        self.0.forced().map_err(GenerationError::Grammar)
    }

    /// Whether the answer is complete.
    pub(super) fn must_stop(&self) -> bool {
        self.0.must_stop()
    }
}

impl fmt::Debug for GrammarMask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("GrammarMask")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use matou_kernels::Isa;

    use super::*;
    use crate::sampling::testing::{DRAWS, assert_drawn_from, drawn, logits, softmax};
    use crate::sampling::{MirostatParams, Sampler, SamplingParams, SequenceTokens, Workspace};

    /// Allows the same tokens at each position, and counts the masks it is asked for.
    #[derive(Clone, Default)]
    struct Allowed {
        words: Vec<u32>,
        masks: Arc<AtomicUsize>,
    }

    impl Allowed {
        fn new(is_allowed: impl Fn(u32) -> bool, size: u32) -> Self {
            let mut words = vec![0; size.div_ceil(32) as usize];
            for token in (0..size).filter(|token| is_allowed(*token)) {
                words[token as usize / 32] |= 1 << (token % 32);
            }
            Self {
                words,
                masks: Arc::default(),
            }
        }

        fn in_params(&self, params: SamplingParams) -> SamplingParams {
            SamplingParams {
                constraint: Some(OutputConstraint::new(Arc::new(self.clone()))),
                ..params
            }
        }

        fn masks(&self) -> usize {
            self.masks.load(Ordering::Relaxed)
        }
    }

    impl ConstraintFactory for Allowed {
        fn start(&self) -> Box<dyn TokenConstraint> {
            Box::new(self.clone())
        }
    }

    impl TokenConstraint for Allowed {
        fn mask(&mut self) -> Result<&[u32], String> {
            self.masks.fetch_add(1, Ordering::Relaxed);
            Ok(&self.words)
        }

        fn try_accept(&mut self, token: u32) -> Result<bool, String> {
            Ok(self.words[token as usize / 32] >> (token % 32) & 1 == 1)
        }

        fn must_stop(&self) -> bool {
            false
        }
    }

    fn seeded() -> SamplingParams {
        SamplingParams {
            seed: Some(11),
            ..SamplingParams::default()
        }
    }

    #[test]
    fn allowed_tokens_are_drawn_in_the_proportions_of_the_model() {
        let logits = logits(200, 8);
        // A third of the tokens, then so few that the mask is needed nearly always.
        for (nth, most_masks) in [(3, 10_000), (50, DRAWS)] {
            let allowed = Allowed::new(|token| token % nth == 0, 200);
            let mut kept = vec![f32::NEG_INFINITY; 200];
            (0..200)
                .step_by(nth as usize)
                .for_each(|token| kept[token] = logits[token]);
            let counts = drawn(&allowed.in_params(seeded()), &logits);
            assert_drawn_from(&softmax(&kept), &counts);
            let masks = allowed.masks();
            assert!((1..most_masks).contains(&masks), "{masks} masks");
        }
    }

    #[test]
    fn the_models_own_choice_needs_no_mask_if_it_is_allowed() {
        let logits = logits(200, 9);
        let best = softmax(&logits)
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map(|(token, _)| token as u32);
        let allowed = Allowed::new(|token| Some(token) == best, 200);
        let counts = drawn(&allowed.in_params(SamplingParams::greedy()), &logits);
        assert_eq!(
            counts.iter().position(|count| *count > 0),
            best.map(|token| token as usize)
        );
        assert_eq!(allowed.masks(), 0);
    }

    #[test]
    fn stages_that_depend_on_the_whole_distribution_see_allowed_tokens_only() {
        let logits = logits(200, 10);
        let allowed = Allowed::new(|token| token < 100, 200);
        for params in [
            SamplingParams {
                dynatemp_range: 0.4,
                ..seeded()
            },
            SamplingParams {
                mirostat: Some(MirostatParams { tau: 3.0, eta: 0.1 }),
                ..seeded()
            },
        ] {
            let free = drawn(&params, &logits[..100]);
            let constrained = drawn(&allowed.in_params(params), &logits);
            assert_eq!(constrained[..100], free);
        }
        assert_eq!(allowed.masks(), 2 * DRAWS);
    }

    /// A grammar that cannot be followed.
    struct Broken;

    impl ConstraintFactory for Broken {
        fn start(&self) -> Box<dyn TokenConstraint> {
            Box::new(Self)
        }
    }

    impl TokenConstraint for Broken {
        fn mask(&mut self) -> Result<&[u32], String> {
            Err("too much".to_owned())
        }

        fn try_accept(&mut self, _token: u32) -> Result<bool, String> {
            Ok(false)
        }

        fn must_stop(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_grammar_that_cannot_be_followed_is_told_apart_from_faults_of_the_model() {
        let params = SamplingParams {
            constraint: Some(OutputConstraint::new(Arc::new(Broken))),
            ..seeded()
        };
        let context = SequenceTokens {
            token_ids: &[0],
            num_prompt_tokens: 1,
        };
        let sampled = Sampler::new(&params, 0).sample(
            &mut [1.0, 2.0],
            context,
            &mut Workspace::new(Isa::detect()),
        );
        assert_eq!(
            sampled,
            Err(GenerationError::Grammar("too much".to_owned()))
        );
    }
}
