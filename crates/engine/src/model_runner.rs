//! Carries out a step: flat arrays, one forward pass, the tokens sampled from its logits.

use std::panic::{AssertUnwindSafe, catch_unwind};

use matou_model::{ForwardBatch, LanguageModel, Logits, ModelError};

use crate::error::GenerationError;
use crate::sampling::{Sampled, Sampler, SequenceTokens, TokenLogprobs, Workspace};
use crate::scheduler::{ScheduledSequence, Scheduler, Step};
use crate::sequence::{Sequence, SequenceId};

/// What a step yields for one of its sequences.
#[derive(Debug)]
pub(crate) struct SequenceOutput {
    pub(crate) id: SequenceId,
    /// Of prompt tokens from `first_prompt_logprob` on, if they are wanted.
    pub(crate) prompt_logprobs: Vec<TokenLogprobs>,
    pub(crate) first_prompt_logprob: usize,
    /// Final hidden states of the tokens of this step, if they are wanted.
    pub(crate) hidden_states: Vec<f32>,
    /// The next token, if all before it are computed.
    pub(crate) sampled: Option<Result<Sampled, GenerationError>>,
}

/// How the runner gets at what a sequence's request wants.
pub(crate) trait Samplers {
    fn sampler(&mut self, id: SequenceId) -> &mut Sampler;
}

/// The model, and the scratch space of its samplers.
pub(crate) struct ModelRunner {
    model: Box<dyn LanguageModel>,
    workspace: Workspace,
}

impl ModelRunner {
    pub(crate) fn new(model: Box<dyn LanguageModel>) -> Self {
        let workspace = Workspace::new(model.isa());
        Self { model, workspace }
    }

    /// Width of a hidden state.
    pub(crate) fn hidden_size(&self) -> usize {
        self.model.info().hidden_size
    }

    /// Computes `step`. A panic on the way is caught: it ends the step, not the engine.
    pub(crate) fn execute(
        &mut self,
        step: &Step,
        scheduler: &Scheduler,
        samplers: &mut impl Samplers,
    ) -> Result<Vec<SequenceOutput>, GenerationError> {
        let computed = catch_unwind(AssertUnwindSafe(|| {
            let mut logits = self.forward(&prepare_batch(step, scheduler))?;
            Ok(self.sample(step, scheduler, samplers, &mut logits))
        }));
        let failed = |message: String| GenerationError::Forward(message);
        match computed {
            Ok(result) => result.map_err(|error: ModelError| failed(error.to_string())),
            Err(panic) => Err(failed(format!("panicked: {}", panic_message(&*panic)))),
        }
    }

    fn forward(&mut self, batch: &ForwardBatch) -> Result<Logits, ModelError> {
        let logits = self.model.forward(batch)?;
        assert_eq!(
            logits.rows(),
            batch.logits_indices.len(),
            "the model returns one row for each that was asked for"
        );
        assert_eq!(
            logits.hidden_states().len(),
            batch.hidden_indices.len() * self.model.info().hidden_size,
            "the model returns one hidden state for each that was asked for"
        );
        Ok(logits)
    }

    fn sample(
        &mut self,
        step: &Step,
        scheduler: &Scheduler,
        samplers: &mut impl Samplers,
        logits: &mut Logits,
    ) -> Vec<SequenceOutput> {
        let hidden_size = self.model.info().hidden_size;
        let (mut row, mut first_hidden) = (0, 0);
        let output = |scheduled: &ScheduledSequence| {
            let sequence = scheduler.sequence(scheduled.id);
            let sampler = samplers.sampler(scheduled.id);
            let mut hidden_states = Vec::new();
            if sequence.needs_prompt_hidden() {
                let rows = scheduled.num_tokens * hidden_size;
                hidden_states = logits.hidden_states()[first_hidden..][..rows].to_vec();
                first_hidden += rows;
            }
            let first_prompt_logprob = sequence.num_computed_tokens + 1;
            let mut prompt_logprobs = Vec::new();
            for &token in &sequence.token_ids[prompt_rows(sequence, scheduled)] {
                prompt_logprobs.push(sampler.prompt_logprobs(
                    logits.row(row),
                    token,
                    &mut self.workspace,
                ));
                row += 1;
            }
            let sampled = scheduled.is_last_chunk.then(|| {
                let context = SequenceTokens {
                    token_ids: &sequence.token_ids,
                    num_prompt_tokens: sequence.num_prompt_tokens,
                };
                row += 1;
                sampler.sample(logits.row_mut(row - 1), context, &mut self.workspace)
            });
            SequenceOutput {
                id: scheduled.id,
                prompt_logprobs,
                first_prompt_logprob,
                hidden_states,
                sampled,
            }
        };
        step.sequences.iter().map(output).collect()
    }
}

fn prepare_batch(step: &Step, scheduler: &Scheduler) -> ForwardBatch {
    let mut batch = ForwardBatch::default();
    for scheduled in &step.sequences {
        let sequence = scheduler.sequence(scheduled.id);
        let first = sequence.num_computed_tokens;
        let num_prompt_rows = prompt_rows(sequence, scheduled).len();
        let last = scheduled.is_last_chunk.then_some(scheduled.num_tokens - 1);
        batch.push_request(
            &sequence.token_ids[first..first + scheduled.num_tokens],
            first,
            sequence.table.blocks(),
            (0..num_prompt_rows).chain(last),
        );
        if sequence.needs_prompt_hidden() {
            batch.want_hidden_states();
        }
    }
    batch
}

/// The prompt tokens whose log-probabilities this step yields: each comes from the logits of the
/// position before it.
fn prompt_rows(sequence: &Sequence, scheduled: &ScheduledSequence) -> std::ops::Range<usize> {
    let first = sequence.num_computed_tokens + 1;
    if sequence.needs_prompt_logits() {
        first..(first + scheduled.num_tokens).min(sequence.num_prompt_tokens)
    } else {
        first..first
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
