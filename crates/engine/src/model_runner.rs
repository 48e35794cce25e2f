//! Carries out a step: flat arrays, one forward pass, the tokens sampled from its logits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use matou_kernels::rows::for_each;
use matou_model::{Adapter, ForwardBatch, LanguageModel, Logits, ModelError};

use crate::error::GenerationError;
use crate::sampling::{Sampled, Sampler, SequenceTokens, TokenLogprobs, Workspace};
use crate::scheduler::Scheduler;
use crate::sequence::{Sequence, SequenceId};
use crate::step::{ScheduledSequence, Step};

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
    /// The samplers of the sequences of a step, in its order.
    fn samplers<'a>(&'a mut self, step: &Step) -> Vec<&'a mut Sampler>;

    /// What a sequence is computed with beside the weights.
    fn adapter(&self, id: SequenceId) -> Option<&Arc<Adapter>>;
}

/// The model, and the scratch space of its samplers.
pub(crate) struct ModelRunner {
    model: Box<dyn LanguageModel>,
    /// Those that no thread is using: in the end one for each that samples.
    workspaces: Mutex<Vec<Workspace>>,
}

/// Logits in a step from which on its rows are shared among the model's threads: some microseconds'
/// work, many times what it costs to start a loop there.
const MIN_SHARED_LOGITS: usize = 32 << 10;

/// A row of logits, and what is to be found from it.
struct RowTask<'a> {
    logits: &'a mut [f32],
    /// Place of its sequence in the step.
    sequence: usize,
    goal: Goal<'a>,
    found: Option<Found>,
}

enum Goal<'a> {
    /// Log-probabilities of a prompt's token, and of that many of the best.
    PromptLogprobs(u32, usize),
    /// The next token.
    Next(&'a mut Sampler, SequenceTokens<'a>),
}

enum Found {
    PromptLogprobs(TokenLogprobs),
    Next(Result<Sampled, GenerationError>),
}

impl RowTask<'_> {
    fn run(&mut self, workspace: &mut Workspace) {
        self.found = Some(match &mut self.goal {
            Goal::PromptLogprobs(token, k) => {
                let found = Sampler::prompt_logprobs(self.logits, *token, *k, workspace);
                Found::PromptLogprobs(found)
            }
            Goal::Next(sampler, tokens) => {
                Found::Next(sampler.sample(self.logits, *tokens, workspace))
            }
        });
    }

    /// The same; a panic on the way ends this request, and none that is in the same step. False if there
    /// was one: then the workspace may be half changed.
    fn run_caught(&mut self, workspace: &mut Workspace) -> bool {
        let run = catch_unwind(AssertUnwindSafe(|| self.run(workspace)));
        if let Err(panic) = &run {
            let message = panic_message(&**panic).to_owned();
            self.found = Some(Found::Next(Err(GenerationError::Panicked(message))));
        }
        run.is_ok()
    }
}

impl ModelRunner {
    pub(crate) fn new(model: Box<dyn LanguageModel>) -> Self {
        Self {
            model,
            workspaces: Mutex::default(),
        }
    }

    /// Width of a hidden state.
    pub(crate) fn hidden_size(&self) -> usize {
        self.model.info().hidden_size
    }

    /// Whether what the model computes on has gone.
    pub(crate) fn is_lost(&self) -> bool {
        self.model.is_lost()
    }

    /// Computes `step`. A panic on the way is caught: it ends the step, not the engine.
    pub(crate) fn execute(
        &mut self,
        step: &Step,
        scheduler: &Scheduler,
        samplers: &mut impl Samplers,
    ) -> Result<Vec<SequenceOutput>, GenerationError> {
        let computed = catch_unwind(AssertUnwindSafe(|| {
            let mut logits = self.forward(&prepare_batch(step, scheduler, samplers))?;
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
        &self,
        step: &Step,
        scheduler: &Scheduler,
        samplers: &mut impl Samplers,
        logits: &mut Logits,
    ) -> Vec<SequenceOutput> {
        let mut outputs = self.outputs(step, scheduler, logits.hidden_states());
        let num_logits = logits.rows() * self.model.info().vocab_size;
        let mut rows = logits.rows_mut();
        let mut tasks = Vec::new();
        let with_samplers = step.sequences.iter().zip(samplers.samplers(step));
        for (place, (scheduled, sampler)) in with_samplers.enumerate() {
            let sequence = scheduler.sequence(scheduled.id);
            let k = sampler.num_prompt_logprobs();
            let prompt = sequence.token_ids()[prompt_rows(sequence, scheduled)].iter();
            let prompt = prompt.map(|&token| Goal::PromptLogprobs(token, k));
            let next = scheduled.is_last_chunk.then(|| {
                let tokens = SequenceTokens {
                    token_ids: sequence.token_ids(),
                    num_prompt_tokens: sequence.num_prompt_tokens,
                };
                Goal::Next(sampler, tokens)
            });
            // The goal comes first: a row must not be taken for want of one.
            tasks.extend(
                prompt
                    .chain(next)
                    .zip(&mut rows)
                    .map(|(goal, logits)| RowTask {
                        logits,
                        sequence: place,
                        goal,
                        found: None,
                    }),
            );
        }
        self.run_tasks(&mut tasks, num_logits);
        for task in tasks {
            let output = &mut outputs[task.sequence];
            match task.found {
                Some(Found::PromptLogprobs(found)) => output.prompt_logprobs.push(found),
                // What failed at one place of a prompt has failed.
                Some(Found::Next(sampled)) if !matches!(output.sampled, Some(Err(_))) => {
                    output.sampled = Some(sampled);
                }
                Some(Found::Next(_)) => {}
                None => {}
            }
        }
        outputs
    }

    /// What a step yields before anything is found in its logits.
    fn outputs(
        &self,
        step: &Step,
        scheduler: &Scheduler,
        mut hidden_states: &[f32],
    ) -> Vec<SequenceOutput> {
        let hidden_size = self.model.info().hidden_size;
        let output = |scheduled: &ScheduledSequence| {
            let sequence = scheduler.sequence(scheduled.id);
            let wanted = match sequence.needs_prompt_hidden() {
                true => scheduled.num_tokens * hidden_size,
                false => 0,
            };
            let (own, others) = hidden_states.split_at(wanted);
            hidden_states = others;
            SequenceOutput {
                id: scheduled.id,
                prompt_logprobs: Vec::new(),
                first_prompt_logprob: sequence.num_computed_tokens + 1,
                hidden_states: own.to_vec(),
                sampled: None,
            }
        };
        step.sequences.iter().map(output).collect()
    }

    /// Rows are independent of each other, so whichever threads take them find the same.
    fn run_tasks(&self, tasks: &mut [RowTask<'_>], num_logits: usize) {
        // Not all of `self`: a model need not be one that threads may share.
        let all = &self.workspaces;
        let workspaces = || all.lock().unwrap_or_else(PoisonError::into_inner);
        let isa = self.model.isa();
        let run = |task: &mut RowTask<'_>| {
            let free = workspaces().pop();
            let mut workspace = free.unwrap_or_else(|| Workspace::new(isa));
            if task.run_caught(&mut workspace) {
                workspaces().push(workspace);
            }
        };
        match self.model.thread_pool() {
            Some(pool) if num_logits >= MIN_SHARED_LOGITS => for_each(pool, tasks, run),
            _ => tasks.iter_mut().for_each(run),
        }
    }
}

fn prepare_batch(step: &Step, scheduler: &Scheduler, requests: &impl Samplers) -> ForwardBatch {
    let mut batch = ForwardBatch::default();
    for scheduled in &step.sequences {
        let sequence = scheduler.sequence(scheduled.id);
        let first = sequence.num_computed_tokens;
        let num_prompt_rows = prompt_rows(sequence, scheduled).len();
        let last = scheduled.is_last_chunk.then_some(scheduled.num_tokens - 1);
        batch.push_request(
            &sequence.token_ids()[first..first + scheduled.num_tokens],
            first,
            sequence.table.blocks(),
            (0..num_prompt_rows).chain(last),
        );
        if sequence.needs_prompt_hidden() {
            batch.want_hidden_states();
        }
        if let Some(adapter) = requests.adapter(scheduled.id) {
            batch.set_adapter(Arc::clone(adapter));
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
