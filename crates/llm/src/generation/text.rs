//! The text of one engine request, event by event.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use matou_chat::{Detokenizer, Tokenizer};
use matou_engine::{EngineEvent, Generation, TokenLogprobs};
use tokio::time::Instant;

use super::choice::{Choice, ChoiceEnd, ChoiceUpdate};
use super::event::{EventStream, GenerationEvent, PromptRead, RankedToken, Timings, TokenLogprob};
use crate::error::LlmError;
use crate::request::GenerationOptions;

/// The text of one engine request.
pub struct TextGeneration {
    /// `None` once nothing more is wanted from the engine.
    generation: Option<Generation>,
    tokenizer: Arc<Tokenizer>,
    choices: Vec<Choice>,
    first_index: usize,
    tokens_as_ids: bool,
    /// Kept to place the prompt's tokens in its text, and to count them.
    prompt_token_ids: Arc<[u32]>,
    /// Events made by the last engine event and not handed out yet.
    ready: VecDeque<GenerationEvent>,
    /// When the request was handed to the engine, and when its prompt had been read.
    submitted: Instant,
    prompt_read: Option<Instant>,
}

/// What all answers to a request have in common: made once.
pub(crate) struct Answers {
    tokenizer: Arc<Tokenizer>,
    /// One at its beginning.
    choice: Choice,
    n: usize,
    tokens_as_ids: bool,
}

impl Answers {
    pub(crate) fn new(tokenizer: &Arc<Tokenizer>, options: &GenerationOptions) -> Self {
        Self {
            tokenizer: Arc::clone(tokenizer),
            choice: Choice::new(tokenizer, options),
            n: options.n,
            tokens_as_ids: options.text.tokens_as_ids,
        }
    }
}

impl TextGeneration {
    /// The text of `generation`, whose choices are numbered from `first_index`.
    pub(crate) fn new(
        generation: Generation,
        prompt_token_ids: Arc<[u32]>,
        answers: &Answers,
        first_index: usize,
    ) -> Self {
        Self {
            generation: Some(generation),
            tokenizer: Arc::clone(&answers.tokenizer),
            choices: vec![answers.choice.clone(); answers.n],
            first_index,
            tokens_as_ids: answers.tokens_as_ids,
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
                    ranked: ranked(tokenizer, prompt, &logprobs),
                }));
            }
            Some(EngineEvent::Token {
                index,
                token_id,
                logprobs,
            }) => {
                let logprob = logprobs.map(|logprobs| self.describe(token_id, Some(&logprobs)));
                let update = self.choices[index].push(token_id, logprob);
                if let (Some(_), Some(generation)) = (&update.end, &self.generation) {
                    // A stop string was met, of which the engine knows nothing.
                    generation.stop(index);
                }
                self.tell(index, update);
            }
            Some(EngineEvent::Finished {
                index,
                reason,
                stop_token,
            }) => {
                let update = self.choices[index].finish(reason, stop_token);
                self.tell(index, update);
            }
            // Generations do not ask for it.
            Some(EngineEvent::Embedding { .. }) => {}
            Some(EngineEvent::Failed { error }) => self.fail(error.into()),
            None => self.fail(LlmError::internal(
                "The engine stopped before the answer was complete.",
            )),
        }
        if self.choices.iter().all(|choice| choice.finished) {
            self.generation = None;
        }
    }

    fn tell(&mut self, index: usize, update: ChoiceUpdate) {
        let index = self.first_index + index;
        if !update.text.is_empty() || !update.tokens.is_empty() {
            let ChoiceUpdate { text, tokens, .. } = update;
            self.ready.push_back(GenerationEvent::Text {
                index,
                text,
                tokens,
            });
        }
        if let Some(ChoiceEnd {
            reason,
            stop,
            completion_tokens,
        }) = update.end
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

    fn fail(&mut self, error: LlmError) {
        self.generation = None;
        self.ready.push_back(GenerationEvent::Failed(error));
    }

    /// Gives each token of the prompt its place in the prompt's text.
    fn place_prompt(&self, logprobs: &[Option<TokenLogprobs>]) -> Vec<TokenLogprob> {
        let mut detokenizer = Detokenizer::new(Arc::clone(&self.tokenizer));
        let mut text_offset = 0;
        let place = |(&token_id, logprobs): (&u32, &Option<TokenLogprobs>)| {
            let token = self.describe(token_id, logprobs.as_ref());
            let placed = TokenLogprob {
                text_offset,
                ..token
            };
            text_offset += detokenizer.push(token_id).chars().count();
            placed
        };
        self.prompt_token_ids
            .iter()
            .zip(logprobs)
            .map(place)
            .collect()
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

/// At each place of the prompt its own token, then the likeliest; nothing at the first.
fn ranked(
    tokenizer: &Tokenizer,
    prompt: &[u32],
    logprobs: &[Option<TokenLogprobs>],
) -> Vec<Vec<RankedToken>> {
    let token = |token_id, logprob, rank| RankedToken {
        token_id,
        bytes: tokenizer.token_bytes(token_id).unwrap_or_default().to_vec(),
        logprob,
        rank,
    };
    let place = |(&own, place): (&u32, &Option<TokenLogprobs>)| {
        let Some(place) = place else {
            return Vec::new();
        };
        let top = place.top.iter().zip(1..);
        let top = top.map(|(&(id, logprob), rank)| token(id, logprob, rank));
        let own = std::iter::once(token(own, place.logprob, place.rank));
        own.chain(top).collect()
    };
    prompt.iter().zip(logprobs).map(place).collect()
}
