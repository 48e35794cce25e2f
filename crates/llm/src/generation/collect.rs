//! The whole of an answer, and its beginning.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use matou_engine::FinishReason;
use tokio::time::{Instant, timeout_at};

use super::event::{EventStream, GenerationEvent, PromptRead, Timings, TokenLogprob, TokenUsage};
use crate::error::LlmError;

/// Waits for an answer to begin, so that what fails before its first token can still be told by an
/// HTTP status; but no longer than `patience`, as the client should see that the server lives.
///
/// # Errors
///
/// The error of a request that fails before its first token.
pub async fn begin(mut events: EventStream, patience: Duration) -> Result<EventStream, LlmError> {
    let deadline = Instant::now() + patience;
    let mut seen = Vec::new();
    while let Ok(Some(event)) = timeout_at(deadline, events.next()).await {
        match event {
            GenerationEvent::Failed(error) => return Err(error),
            prompt @ GenerationEvent::Prompt(_) => seen.push(prompt),
            begun => {
                seen.push(begun);
                break;
            }
        }
    }
    Ok(stream::iter(seen).chain(events).boxed())
}

/// The whole answer to a request: what its events add up to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Collected {
    /// The prompts, in order.
    pub prompts: Vec<PromptRead>,
    /// The choices, by index.
    pub choices: Vec<CollectedChoice>,
    /// Token counts.
    pub usage: TokenUsage,
}

impl Collected {
    /// Keeps, of every `best_of` answers to a prompt, the `n` whose tokens were likeliest on average.
    pub fn keep_best(&mut self, best_of: usize, n: usize) {
        if best_of <= n {
            return;
        }
        let mean = |choice: &CollectedChoice| {
            let logprobs = choice.tokens.iter().filter_map(|token| token.logprob);
            let sum: f64 = logprobs.map(f64::from).sum();
            sum / choice.tokens.len().max(1) as f64
        };
        let mut kept = Vec::with_capacity(self.choices.len() / best_of * n);
        for answers in self.choices.chunks_mut(best_of) {
            answers.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
            kept.extend(answers.iter_mut().take(n).map(std::mem::take));
        }
        self.choices = kept;
    }
}

/// One answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CollectedChoice {
    /// Its text.
    pub text: String,
    /// Its tokens, if log-probabilities were asked for.
    pub tokens: Vec<TokenLogprob>,
    /// Why it ended.
    pub reason: Option<FinishReason>,
    /// The stop string that ended it, if one did.
    pub stop: Option<String>,
    /// Tokens generated for it.
    pub completion_tokens: usize,
    /// How long it took.
    pub timings: Timings,
}

/// Most log-probabilities that are collected; each takes some hundred bytes. A stream has no such
/// bound: it holds none of them.
const MAX_LOGPROBS: usize = 1 << 17;

/// Waits for all of `events`.
///
/// # Errors
///
/// The error of the request, if it fails, or when it has too many log-probabilities.
pub async fn collect(mut events: EventStream, choices: usize) -> Result<Collected, LlmError> {
    let mut collector = Collector::new(choices);
    while let Some(event) = events.next().await {
        collector.push(event)?;
    }
    Ok(collector.finish())
}

/// Adds events up to an answer.
#[derive(Debug, Clone)]
pub struct Collector {
    collected: Collected,
    logprobs: usize,
}

impl Collector {
    /// For a request of so many choices.
    pub fn new(choices: usize) -> Self {
        Self {
            collected: Collected {
                choices: vec![CollectedChoice::default(); choices],
                ..Collected::default()
            },
            logprobs: 0,
        }
    }

    /// What there is so far, but for log-probabilities.
    pub fn text_so_far(&self) -> Collected {
        let choices = self.collected.choices.iter().map(|choice| CollectedChoice {
            text: choice.text.clone(),
            stop: choice.stop.clone(),
            tokens: Vec::new(),
            ..*choice
        });
        Collected {
            prompts: Vec::new(),
            choices: choices.collect(),
            usage: self.collected.usage,
        }
    }

    /// Adds what happened next.
    ///
    /// # Errors
    ///
    /// The error of the request, if it fails, or when it has too many log-probabilities.
    pub fn push(&mut self, event: GenerationEvent) -> Result<(), LlmError> {
        let collected = &mut self.collected;
        collected.usage.count(&event);
        match event {
            GenerationEvent::Prompt(prompt) => collected.prompts.push(prompt),
            GenerationEvent::Text {
                index,
                text,
                tokens,
            } => {
                let choice = &mut collected.choices[index];
                self.logprobs += tokens
                    .iter()
                    .map(|token| 1 + token.top.len())
                    .sum::<usize>();
                if self.logprobs > MAX_LOGPROBS {
                    let message = format!(
                        "The answer has more than {MAX_LOGPROBS} log-probabilities: stream it, or ask \
                         for fewer tokens, answers or alternatives."
                    );
                    return Err(LlmError::invalid("logprobs", message));
                }
                choice.text.push_str(&text);
                choice.tokens.extend(tokens);
            }
            GenerationEvent::Finished {
                index,
                reason,
                stop,
                completion_tokens,
                timings,
            } => {
                let choice = &mut collected.choices[index];
                choice.reason = Some(reason);
                choice.stop = stop;
                choice.completion_tokens = completion_tokens;
                choice.timings = timings;
            }
            GenerationEvent::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// The answer, its prompts in order.
    pub fn finish(mut self) -> Collected {
        let prompts = &mut self.collected.prompts;
        prompts.sort_by_key(|prompt| prompt.first_index);
        self.collected
    }
}
