//! From a row of logits to a token.
//!
//! The stages run in this order; each one is off at its default and then costs nothing:
//!
//! | | stage | fields of [`SamplingParams`] |
//! |---|---|---|
//! | 1 | mask | `constraint`, `allowed_token_ids`, `banned_token_ids`, `min_tokens`, `banned_sequences` |
//! | 2 | bias | `logit_bias` |
//! | 3 | penalties | `repetition_penalty`, then `presence_penalty` and `frequency_penalty` |
//! | 4 | DRY | `dry_*` |
//! | | greedy ends here: the largest logit | `temperature` = 0 |
//! | 5 | temperature, fixed or by entropy | `temperature`, `dynatemp_*` |
//! | 6 | top-nσ | `top_n_sigma` |
//! | 7 | top-k | `top_k` |
//! | 8 | typical-p | `typical_p` |
//! | 9 | top-p | `top_p` |
//! | 10 | min-p | `min_p` |
//! | 11 | XTC | `xtc_*` |
//! | 12 | mirostat 2.0 | `mirostat` |
//! | | the draw | `seed` |
//!
//! Temperature comes before the truncations, as in Hugging Face's and vLLM's samplers. From stage 7
//! on, each sees the distribution that the ones before left, renormalised. Log-probabilities are
//! those of the model, before all stages. A `constraint`'s mask is left out where the choice fits
//! without it; `Sampler::choose_within` says what that changes, and what not.
//!
//! What a token costs is a few passes over its row of logits. Nothing sorts the vocabulary, and
//! nothing is allocated once the [`Workspace`] has grown to its size. What is drawn depends on the
//! logits, the sequence, its seed and index, and on nothing else.

mod candidates;
mod constraints;
mod dry;
mod logprobs;
mod mirostat;
mod params;
mod penalties;
mod plan;
mod rng;
mod sampler;
mod sequence_tokens;
mod structured;
mod temperature;
#[cfg(test)]
mod testing;
mod token_set;
mod truncation;
mod xtc;

pub use logprobs::TokenLogprobs;
pub use params::{MirostatParams, SamplingParams};
pub(crate) use plan::SamplingPlan;
pub use sampler::{Sampled, Sampler, Workspace};
pub use sequence_tokens::SequenceTokens;
pub use structured::{ConstraintFactory, OutputConstraint, TokenConstraint};
