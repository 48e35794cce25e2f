//! Chooses the tokens of one sequence.

use std::sync::Arc;

use super::candidates::{Candidates, draw_from_all};
use super::constraints::{LogitBias, TokenMask};
use super::dry::{Dry, DryScratch};
use super::logprobs::RawDistribution;
use super::math;
use super::mirostat::Mirostat;
use super::params::SamplingParams;
use super::penalties::Penalties;
use super::rng::{Draws, PositionRng};
use super::temperature::Temperature;
use super::truncation::Truncation;
use super::xtc::Xtc;
use crate::request::{GenerationError, TokenLogprobs};

/// Scratch space for sampling, shared by all sequences: it grows to its size once.
#[derive(Debug, Default)]
pub struct Workspace {
    candidates: Candidates,
    block_weights: Vec<f64>,
    raw_logits: Vec<f32>,
    spared_logits: Vec<f32>,
    dry: DryScratch,
}

/// The tokens of a sequence so far.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Prompt and answer.
    pub token_ids: &'a [u32],
    /// How many of them are the prompt.
    pub num_prompt_tokens: usize,
}

/// A token that was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// The token.
    pub token_id: u32,
    /// If [`SamplingParams::logprobs`] asked for them.
    pub logprobs: Option<TokenLogprobs>,
}

/// The stages one request uses, and what they remember of one of its answers.
#[derive(Debug)]
pub struct Sampler {
    params: Arc<SamplingParams>,
    penalties: Option<Penalties>,
    dry: Option<Dry>,
    xtc: Option<Xtc>,
    mirostat: Option<Mirostat>,
    rng: PositionRng,
}

impl Sampler {
    /// A sampler for answer `index` of a request. Parameters have been
    /// [validated](SamplingParams::validate); without a seed, it is 0.
    pub fn new(params: Arc<SamplingParams>, index: usize) -> Self {
        Self {
            penalties: Penalties::from_params(&params),
            dry: Dry::from_params(&params),
            xtc: Xtc::from_params(&params),
            mirostat: params.mirostat.map(Mirostat::new),
            rng: PositionRng::new(params.seed.unwrap_or(0), index),
            params,
        }
    }

    /// Chooses the token that follows `context`. `logits` are changed on the way.
    ///
    /// # Errors
    ///
    /// When no token is possible.
    pub fn sample(
        &mut self,
        logits: &mut [f32],
        context: Context<'_>,
        workspace: &mut Workspace,
    ) -> Result<Sampled, GenerationError> {
        let wanted = self.params.logprobs;
        if wanted.is_some() {
            workspace.raw_logits.clear();
            workspace.raw_logits.extend_from_slice(logits);
        }
        self.process_logits(logits, context, workspace);
        let token_id = self
            .choose(logits, context, workspace)
            .ok_or_else(|| no_token(logits))?;
        let logprobs = wanted.map(|k| {
            RawDistribution::new(&workspace.raw_logits).logprobs(
                token_id,
                k,
                &mut workspace.candidates,
            )
        });
        Ok(Sampled { token_id, logprobs })
    }

    /// Log-probabilities of a prompt's `token`, given the raw `logits` of the position before it.
    pub(crate) fn prompt_logprobs(
        &self,
        logits: &[f32],
        token: u32,
        workspace: &mut Workspace,
    ) -> TokenLogprobs {
        let k = self.params.prompt_logprobs.unwrap_or(0);
        RawDistribution::new(logits).logprobs(token, k, &mut workspace.candidates)
    }

    /// The stages that change logits of single tokens.
    fn process_logits(
        &mut self,
        logits: &mut [f32],
        context: Context<'_>,
        workspace: &mut Workspace,
    ) {
        let Context {
            token_ids,
            num_prompt_tokens,
        } = context;
        let params = &*self.params;
        TokenMask.apply(
            params,
            token_ids.len() - num_prompt_tokens,
            logits,
            &mut workspace.spared_logits,
        );
        LogitBias.apply(params, logits);
        if let Some(penalties) = &mut self.penalties {
            penalties.apply(params, token_ids, num_prompt_tokens, logits);
        }
        if let Some(dry) = &self.dry {
            dry.apply(params, token_ids, logits, &mut workspace.dry);
        }
    }

    /// The stages that look at the distribution, and the draw.
    fn choose(
        &mut self,
        logits: &[f32],
        context: Context<'_>,
        workspace: &mut Workspace,
    ) -> Option<u32> {
        let params = &*self.params;
        if Temperature::is_greedy(params) {
            return math::argmax(logits).map(|token| token as u32);
        }
        let draws: Draws = self
            .rng
            .at(context.token_ids.len() - context.num_prompt_tokens);
        let scale = Temperature.scale(params, logits);
        let whole = Truncation::keeps_all(params, logits.len())
            && self.xtc.is_none()
            && self.mirostat.is_none();
        if whole {
            return draw_from_all(logits, scale, draws.token, &mut workspace.block_weights);
        }
        let candidates = &mut workspace.candidates;
        Truncation.apply(params, logits, scale, candidates);
        if let Some(xtc) = &self.xtc {
            xtc.apply(params, draws.xtc, candidates);
        }
        if let Some(mirostat) = &self.mirostat {
            mirostat.truncate(candidates);
        }
        let chosen = *candidates.draw(draws.token)?;
        if let Some(mirostat) = &mut self.mirostat {
            mirostat.observe(&chosen, candidates.total);
        }
        Some(chosen.token)
    }
}

fn no_token(logits: &[f32]) -> GenerationError {
    let message = if logits.iter().any(|logit| logit.is_nan()) {
        "the model's logits are not numbers"
    } else {
        "every token is excluded"
    };
    GenerationError::Sampling(message.to_owned())
}
