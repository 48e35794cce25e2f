//! Chooses the tokens of one sequence.

use std::sync::Arc;

use matou_kernels::{Isa, vector};

use super::candidates::{Candidates, draw_from_all};
use super::constraints::{BannedSequences, LogitBias, TokenMask, contradiction};
use super::dry::{Dry, DryScratch};
use super::logprobs::{TokenLogprobs, token_logprobs};
use super::mirostat::Mirostat;
use super::params::SamplingParams;
use super::penalties::Penalties;
use super::plan::SamplingPlan;
use super::rng::{Draws, PositionRng};
use super::sequence_tokens::SequenceTokens;
use super::structured::GrammarMask;
use super::temperature::Temperature;
use super::truncation::Truncation;
use super::xtc::Xtc;
use crate::error::GenerationError;

/// What sampling needs besides a row of logits, whichever sequence it is of: the instruction set
/// that passes over the row use, and scratch space, which grows to its size once.
#[derive(Debug)]
pub struct Workspace {
    isa: Isa,
    candidates: Candidates,
    block_weights: Vec<f64>,
    raw_logits: Vec<f32>,
    spared_logits: Vec<f32>,
    dry: DryScratch,
}

impl Workspace {
    /// A workspace without scratch space yet.
    pub fn new(isa: Isa) -> Self {
        Self {
            isa,
            candidates: Candidates::new(isa),
            block_weights: Vec::new(),
            raw_logits: Vec::new(),
            spared_logits: Vec::new(),
            dry: DryScratch::default(),
        }
    }
}

/// A token that was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// The token.
    pub token_id: u32,
    /// If [`SamplingParams::logprobs`] asked for them.
    pub logprobs: Option<TokenLogprobs>,
    /// Whether it completes the answer, as the grammar of [`SamplingParams::constraint`] has it.
    pub completes: bool,
}

/// The stages one request uses, and what they remember of one of its answers.
#[derive(Debug)]
pub struct Sampler {
    grammar: Option<GrammarMask>,
    mask: Option<Arc<TokenMask>>,
    banned: Option<Arc<BannedSequences>>,
    bias: Option<Arc<LogitBias>>,
    penalties: Option<Penalties>,
    dry: Option<Arc<Dry>>,
    /// Without it, decoding is greedy and what follows is not used.
    temperature: Option<Temperature>,
    truncation: Option<Truncation>,
    xtc: Option<Xtc>,
    mirostat: Option<Mirostat>,
    rng: PositionRng,
    logprobs: Option<usize>,
    prompt_logprobs: Option<usize>,
}

impl Sampler {
    /// A sampler for answer `index` of a request. Parameters have been
    /// [validated](SamplingParams::validate); without a seed, it is 0.
    pub fn new(params: &SamplingParams, index: usize) -> Self {
        Self::of_plan(&SamplingPlan::new(params.clone()), index)
    }

    /// A sampler for answer `index` of the request that `plan` was made for.
    pub(crate) fn of_plan(plan: &SamplingPlan, index: usize) -> Self {
        let params = &*plan.params;
        Self {
            grammar: params.constraint.as_ref().map(GrammarMask::start),
            mask: plan.mask.clone(),
            banned: plan.banned.clone(),
            bias: plan.bias.clone(),
            penalties: Penalties::from_params(params),
            dry: plan.dry.clone(),
            temperature: Temperature::from_params(params),
            truncation: Truncation::from_params(params),
            xtc: Xtc::from_params(params),
            mirostat: params.mirostat.map(Mirostat::new),
            rng: PositionRng::new(params.seed.unwrap_or(0), index),
            logprobs: params.logprobs,
            prompt_logprobs: params.prompt_logprobs,
        }
    }

    /// Chooses the token that follows `context`. `logits` are changed on the way.
    ///
    /// # Errors
    ///
    /// When no token is possible, or the grammar cannot be followed any further.
    pub fn sample(
        &mut self,
        logits: &mut [f32],
        context: SequenceTokens<'_>,
        workspace: &mut Workspace,
    ) -> Result<Sampled, GenerationError> {
        if self.logprobs.is_some() {
            workspace.raw_logits.clear();
            workspace.raw_logits.extend_from_slice(logits);
        }
        let mut grammar = self.grammar.take();
        let token_id = match &mut grammar {
            Some(grammar) => self.choose_within(grammar, logits, context, workspace),
            None => {
                self.process_logits(logits, context, workspace);
                let draws = self.rng.at(context.num_output_tokens());
                self.choose(logits, draws, workspace)
                    .ok_or_else(|| self.nothing_left(logits, context, false))
            }
        };
        let completes = grammar.as_ref().is_some_and(GrammarMask::must_stop);
        self.grammar = grammar;
        let token_id = token_id?;
        let Workspace {
            raw_logits,
            candidates,
            ..
        } = workspace;
        let logprobs = self
            .logprobs
            .map(|k| token_logprobs(raw_logits, token_id, k, candidates));
        Ok(Sampled {
            token_id,
            logprobs,
            completes,
        })
    }

    /// How many of the best tokens are wanted at each position of the prompt.
    pub(crate) fn num_prompt_logprobs(&self) -> usize {
        self.prompt_logprobs.unwrap_or(0)
    }

    /// Log-probabilities of a prompt's `token`, given the raw `logits` of the position before it,
    /// and of the `k` best.
    pub(crate) fn prompt_logprobs(
        logits: &[f32],
        token: u32,
        k: usize,
        workspace: &mut Workspace,
    ) -> TokenLogprobs {
        token_logprobs(logits, token, k, &mut workspace.candidates)
    }

    /// The stages that change logits.
    fn process_logits(
        &mut self,
        logits: &mut [f32],
        context: SequenceTokens<'_>,
        workspace: &mut Workspace,
    ) {
        if let Some(mask) = &self.mask {
            mask.apply(
                context.num_output_tokens(),
                logits,
                &mut workspace.spared_logits,
            );
        }
        if let Some(banned) = &self.banned {
            banned.apply(context.output(), logits);
        }
        if let Some(bias) = &self.bias {
            bias.apply(logits);
        }
        if let Some(penalties) = &mut self.penalties {
            penalties.apply(context, logits);
        }
        if let Some(dry) = &self.dry {
            dry.apply(context.token_ids, logits, &mut workspace.dry);
        }
        if let Some(temperature) = &self.temperature {
            temperature.apply(workspace.isa, logits);
        }
    }

    /// Chooses a token that `grammar` allows, and moves it on.
    ///
    /// A mask means asking the grammar about the whole vocabulary, which can take a tenth of the
    /// time of a step, and nearly always the model's own choice fits. So that is made first, and
    /// tried; what is refused is excluded and another made; the mask comes last. Greedy answers are
    /// the same as with the mask up front, and so are the odds of a draw: excluding what the grammar
    /// refuses changes nothing between the tokens that it allows. Truncations, though, see the
    /// model's distribution at first, so that what they cut off is cut off for an allowed token too.
    fn choose_within(
        &mut self,
        grammar: &mut GrammarMask,
        logits: &mut [f32],
        context: SequenceTokens<'_>,
        workspace: &mut Workspace,
    ) -> Result<u32, GenerationError> {
        if let Some(token) = grammar.forced()?
            && grammar.try_accept(token)?
        {
            return Ok(token);
        }
        let mut draws = self.rng.at(context.num_output_tokens());
        let mask_comes_first = self.mask_comes_first();
        if mask_comes_first {
            grammar.apply(logits)?;
        }
        self.process_logits(logits, context, workspace);
        if !mask_comes_first {
            let [again @ .., last] = draws.again;
            for token in std::iter::once(draws.token).chain(again) {
                let Some(chosen) = self.choose(logits, Draws { token, ..draws }, workspace) else {
                    break;
                };
                if grammar.try_accept(chosen)? {
                    return Ok(chosen);
                }
                // The stages before the draw treat each token by itself: excluding one now is as
                // good as having done so before them.
                logits[chosen as usize] = f32::NEG_INFINITY;
            }
            grammar.apply(logits)?;
            draws.token = last;
        }
        let chosen = self
            .choose(logits, draws, workspace)
            .ok_or_else(|| self.nothing_left(logits, context, true))?;
        if grammar.try_accept(chosen)? {
            Ok(chosen)
        } else {
            let message = format!("the grammar's mask allows token {chosen}, the grammar does not");
            Err(GenerationError::Sampling(message))
        }
    }

    /// Whether a stage must not see tokens that the grammar forbids: it depends on all of the
    /// distribution, or learns from what it chooses.
    fn mask_comes_first(&self) -> bool {
        let is_dynamic = self
            .temperature
            .as_ref()
            .is_some_and(Temperature::is_dynamic);
        is_dynamic || self.mirostat.is_some()
    }

    /// The stages that look at the distribution, and the draw.
    fn choose(
        &mut self,
        logits: &[f32],
        Draws { token, xtc, .. }: Draws,
        workspace: &mut Workspace,
    ) -> Option<u32> {
        if self.temperature.is_none() {
            let best = vector::argmax(workspace.isa, logits);
            return (*logits.get(best)? > f32::NEG_INFINITY).then_some(best as u32);
        }
        let Workspace {
            isa,
            candidates,
            block_weights,
            ..
        } = workspace;
        match &self.truncation {
            Some(truncation) => truncation.apply(logits, candidates),
            None if self.xtc.is_none() && self.mirostat.is_none() => {
                return draw_from_all(*isa, logits, token, block_weights);
            }
            None => candidates.gather_all(logits),
        }
        if let Some(stage) = &self.xtc {
            stage.apply(xtc, candidates);
        }
        if let Some(mirostat) = &self.mirostat {
            mirostat.truncate(candidates);
        }
        let chosen = *candidates.draw(token)?;
        if let Some(mirostat) = &mut self.mirostat {
            mirostat.observe(&chosen, candidates.total);
        }
        Some(chosen.token)
    }

    /// Why no token could be chosen from `logits`.
    fn nothing_left(
        &self,
        logits: &[f32],
        context: SequenceTokens<'_>,
        has_grammar: bool,
    ) -> GenerationError {
        if logits.iter().any(|logit| logit.is_nan()) {
            let message = "the model's logits are not numbers";
            return GenerationError::Sampling(message.to_owned());
        }
        let mask = self
            .mask
            .as_ref()
            .map_or_else(Vec::new, |mask| mask.excluding(context.num_output_tokens()));
        let banned = self.banned.as_ref();
        let banned = banned.filter(|banned| banned.reached(context.output()).next().is_some());
        let fields = [mask, banned.map(|_| "bad_words").into_iter().collect()].concat();
        match fields.split_first() {
            Some((first, others)) => {
                let place = context.num_output_tokens();
                GenerationError::Contradiction(contradiction(first, others, has_grammar, place))
            }
            None => GenerationError::Sampling("every token is excluded".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
