//! From the engine's tokens to text: the pipeline of every dialect and of the terminal commands.
//!
//! ```text
//! EngineEvent::Token ──▶ Detokenizer ──▶ StopStrings ──▶ GenerationEvent::Text
//!                        holds back        holds back a tail that
//!                        half characters   could begin a stop string
//! ```
//!
//! Text is final when it is emitted. A token's log-probability travels with the event that
//! completes the token's text, so that text and log-probabilities of a stream stay together, and
//! what a stop string cuts off is cut from both. A stop string ends its choice here, and the engine
//! is told; when all choices have ended, the engine's request is dropped.

mod choice;
mod prompt;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use matou_chat::Tokenizer;
use matou_engine::{EngineEvent, FinishReason, Generation, TokenLogprobs};
use tokio::time::{Instant, timeout_at};

use crate::error::ApiError;
use crate::request::GenerationOptions;
use choice::{Choice, End, News};
pub use prompt::RankedToken;

/// What happens to a request, in the order in which it happens.
#[derive(Debug, Clone, PartialEq)]
pub enum GenerationEvent {
    /// A prompt has been read. Comes once a prompt, before any text of its choices.
    Prompt(PromptRead),
    /// More of an answer.
    Text {
        /// Which choice.
        index: usize,
        /// Text that is final; empty if all that is new is half a character.
        text: String,
        /// The tokens that this text completes, if log-probabilities were asked for.
        tokens: Vec<TokenLogprob>,
    },
    /// A choice has ended. Comes once a choice, unless the request fails.
    Finished {
        /// Which choice.
        index: usize,
        /// Why.
        reason: FinishReason,
        /// The stop string that ended it, if one did.
        stop: Option<String>,
        /// Tokens generated for it: those of the stop string and an end-of-text token count too.
        completion_tokens: usize,
        /// How long it took.
        timings: Timings,
    },
    /// The request has failed; nothing follows.
    Failed(ApiError),
}

/// What is known once a prompt has been read.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptRead {
    /// The first choice that answers this prompt.
    pub first_index: usize,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// How many of them were in the prefix cache.
    pub cached_tokens: usize,
    /// The prompt's own log-probabilities, if asked for.
    pub logprobs: Vec<TokenLogprob>,
    /// The same by token ids, with ranks: at each place the prompt's own token, then the likeliest.
    pub ranked: Vec<Vec<RankedToken>>,
}

/// How long an answer took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Until the prompt was read, waiting included.
    pub prompt: Duration,
    /// From then on.
    pub generation: Duration,
}

/// A token, how likely it was, and what was likelier.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// The token's exact bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability; `None` for the first token of a prompt.
    pub logprob: Option<f32>,
    /// The likeliest tokens at this place, best first: bytes and log-probability.
    pub top: Vec<(Vec<u8>, f32)>,
    /// Where its text begins, in characters from the beginning of its prompt or answer.
    pub text_offset: usize,
}

/// Token counts of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// Tokens of all prompts, each counted once.
    pub prompt_tokens: usize,
    /// How many of them were in the prefix cache.
    pub cached_tokens: usize,
    /// Tokens generated for all choices.
    pub completion_tokens: usize,
}

impl TokenUsage {
    /// Counts what `event` tells.
    pub fn count(&mut self, event: &GenerationEvent) {
        match event {
            GenerationEvent::Prompt(prompt) => {
                self.prompt_tokens += prompt.prompt_tokens;
                self.cached_tokens += prompt.cached_tokens;
            }
            GenerationEvent::Finished {
                completion_tokens, ..
            } => {
                self.completion_tokens += completion_tokens;
            }
            GenerationEvent::Text { .. } | GenerationEvent::Failed(_) => {}
        }
    }
}

/// A stream of [`GenerationEvent`]s. Dropping it stops the generation.
pub type EventStream = Pin<Box<dyn Stream<Item = GenerationEvent> + Send>>;

/// The text of one engine request.
pub struct TextGeneration {
    /// `None` once nothing more is wanted from the engine.
    generation: Option<Generation>,
    tokenizer: Arc<Tokenizer>,
    choices: Vec<Choice>,
    first_index: usize,
    tokens_as_ids: bool,
    /// Kept to place the prompt's tokens in its text, and to count them.
    prompt_token_ids: Vec<u32>,
    /// Events made by the last engine event and not handed out yet.
    ready: VecDeque<GenerationEvent>,
    /// When the request was handed to the engine, and when its prompt had been read.
    submitted: Instant,
    prompt_read: Option<Instant>,
}

impl TextGeneration {
    /// The text of `generation`, whose choices are numbered from `first_index`.
    pub fn new(
        generation: Generation,
        tokenizer: Arc<Tokenizer>,
        prompt_token_ids: Vec<u32>,
        options: &GenerationOptions,
        first_index: usize,
    ) -> Self {
        let choice = Choice::new(&tokenizer, options);
        Self {
            generation: Some(generation),
            tokenizer,
            choices: vec![choice; options.n],
            first_index,
            tokens_as_ids: options.text.tokens_as_ids,
            prompt_token_ids,
            ready: VecDeque::new(),
            submitted: Instant::now(),
            prompt_read: None,
        }
    }

    /// The next event; `None` after the last.
    pub async fn next(&mut self) -> Option<GenerationEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let event = self.generation.as_mut()?.next().await;
            self.accept(event);
        }
    }

    /// The events as a stream.
    pub fn into_stream(self) -> EventStream {
        stream::unfold(self, |mut generation| async move {
            let event = generation.next().await?;
            Some((event, generation))
        })
        .boxed()
    }

    fn accept(&mut self, event: Option<EngineEvent>) {
        match event {
            Some(EngineEvent::Prompt {
                cached_tokens,
                logprobs,
            }) => {
                self.prompt_read = Some(Instant::now());
                let logprobs = logprobs.unwrap_or_default();
                let (tokenizer, prompt) = (&self.tokenizer, &self.prompt_token_ids);
                self.ready.push_back(GenerationEvent::Prompt(PromptRead {
                    first_index: self.first_index,
                    prompt_tokens: prompt.len(),
                    cached_tokens,
                    logprobs: self.place_prompt(&logprobs),
                    ranked: prompt::ranked(tokenizer, prompt, &logprobs),
                }));
            }
            Some(EngineEvent::Token {
                index,
                token_id,
                logprobs,
            }) => {
                let logprob = logprobs.map(|logprobs| self.describe(token_id, Some(&logprobs)));
                let news = self.choices[index].push(token_id, logprob);
                if let (Some(_), Some(generation)) = (&news.end, &self.generation) {
                    // A stop string was met, of which the engine knows nothing.
                    generation.stop(index);
                }
                self.tell(index, news);
            }
            Some(EngineEvent::Finished {
                index,
                reason,
                stop_token,
            }) => {
                let news = self.choices[index].finish(reason, stop_token);
                self.tell(index, news);
            }
            // Generations do not ask for it.
            Some(EngineEvent::Embedding { .. }) => {}
            Some(EngineEvent::Failed { error }) => self.fail(error.into()),
            None => self.fail(ApiError::internal(
                "The engine stopped before the answer was complete.",
            )),
        }
        if self.choices.iter().all(|choice| choice.finished) {
            self.generation = None;
        }
    }

    fn tell(&mut self, index: usize, news: News) {
        let index = self.first_index + index;
        if !news.text.is_empty() || !news.tokens.is_empty() {
            let News { text, tokens, .. } = news;
            self.ready.push_back(GenerationEvent::Text {
                index,
                text,
                tokens,
            });
        }
        if let Some(End {
            reason,
            stop,
            completion_tokens,
        }) = news.end
        {
            self.ready.push_back(GenerationEvent::Finished {
                index,
                reason,
                stop,
                completion_tokens,
                timings: self.timings(),
            });
        }
    }

    fn timings(&self) -> Timings {
        let read = self.prompt_read.unwrap_or(self.submitted);
        Timings {
            prompt: read - self.submitted,
            generation: read.elapsed(),
        }
    }

    fn fail(&mut self, error: ApiError) {
        self.generation = None;
        self.ready.push_back(GenerationEvent::Failed(error));
    }

    /// A token and its neighbours in the distribution, by their bytes or as they are to be named. Its
    /// place in the text is the caller's to fill in.
    fn describe(&self, token_id: u32, logprobs: Option<&TokenLogprobs>) -> TokenLogprob {
        let bytes = |id: u32| match self.tokens_as_ids {
            true => format!("token_id:{id}").into_bytes(),
            false => self.tokenizer.token_bytes(id).unwrap_or_default().to_vec(),
        };
        let top = logprobs.map_or(&[][..], |token| &token.top);
        TokenLogprob {
            bytes: bytes(token_id),
            logprob: logprobs.map(|token| token.logprob),
            top: top
                .iter()
                .map(|&(id, logprob)| (bytes(id), logprob))
                .collect(),
            text_offset: 0,
        }
    }
}

/// Waits for an answer to begin, so that what fails before its first token can still be told by an
/// HTTP status; but no longer than `patience`, as the client should see that the server lives.
///
/// # Errors
///
/// The error of a request that fails before its first token.
pub async fn begin(mut events: EventStream, patience: Duration) -> Result<EventStream, ApiError> {
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

/// Waits for all of `events`.
///
/// # Errors
///
/// The error of the request, if it fails.
pub async fn collect(mut events: EventStream, choices: usize) -> Result<Collected, ApiError> {
    let mut collected = Collected {
        choices: vec![CollectedChoice::default(); choices],
        ..Collected::default()
    };
    while let Some(event) = events.next().await {
        collected.usage.count(&event);
        match event {
            GenerationEvent::Prompt(prompt) => collected.prompts.push(prompt),
            GenerationEvent::Text {
                index,
                text,
                tokens,
            } => {
                let choice = &mut collected.choices[index];
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
    }
    collected.prompts.sort_by_key(|prompt| prompt.first_index);
    Ok(collected)
}
