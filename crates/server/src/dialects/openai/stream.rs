//! Streamed answers: generation events to OpenAI's chunks. Pure, so that a recorded stream can be
//! compared byte by byte.

use super::answer::CompletionFormat;
use super::logprobs;
use super::wire::{
    ChatChunkChoice, ChatCompletionChunk, Completion, CompletionChoice, Delta, Header,
};
use crate::generation::{GenerationEvent, TokenUsage};
use crate::sse::{EventEncoder, Frames};

/// Encodes a chat completion: the role once a choice, text as it comes, one chunk with the reason
/// that it ended, and, if asked for, one without choices that brings the token counts.
pub struct ChatEncoder {
    header: Header,
    logprobs: bool,
    include_usage: bool,
    /// Whether each choice has told its role.
    started: Vec<bool>,
    usage: TokenUsage,
    failed: bool,
}

impl ChatEncoder {
    /// For a completion of `n` choices.
    pub fn new(header: Header, n: usize, logprobs: bool, include_usage: bool) -> Self {
        let (started, usage) = (vec![false; n], TokenUsage::default());
        Self {
            header,
            logprobs,
            include_usage,
            started,
            usage,
            failed: false,
        }
    }

    fn chunk(&self, choices: Vec<ChatChunkChoice>, frames: &mut Frames) {
        let usage = self.include_usage.then_some(None);
        frames.data(&ChatCompletionChunk {
            header: &self.header,
            choices,
            usage,
        });
    }

    fn start(&mut self, index: usize, frames: &mut Frames) {
        if !std::mem::replace(&mut self.started[index], true) {
            let delta = Delta {
                role: Some("assistant"),
                content: Some(String::new()),
            };
            self.chunk(
                vec![ChatChunkChoice {
                    index,
                    delta,
                    logprobs: None,
                    finish_reason: None,
                }],
                frames,
            );
        }
    }
}

impl EventEncoder for ChatEncoder {
    fn encode(&mut self, event: GenerationEvent, frames: &mut Frames) {
        self.usage.count(&event);
        match event {
            GenerationEvent::Prompt(_) => {}
            GenerationEvent::Text {
                index,
                text,
                tokens,
            } => {
                self.start(index, frames);
                let delta = Delta {
                    role: None,
                    content: Some(text),
                };
                let logprobs = self.logprobs.then(|| logprobs::chat(&tokens));
                self.chunk(
                    vec![ChatChunkChoice {
                        index,
                        delta,
                        logprobs,
                        finish_reason: None,
                    }],
                    frames,
                );
            }
            GenerationEvent::Finished { index, reason, .. } => {
                self.start(index, frames);
                let (delta, finish_reason) = (Delta::default(), Some(reason.as_str()));
                self.chunk(
                    vec![ChatChunkChoice {
                        index,
                        delta,
                        logprobs: None,
                        finish_reason,
                    }],
                    frames,
                );
            }
            GenerationEvent::Failed(error) => {
                self.failed = true;
                frames.data(&error.body());
            }
        }
    }

    fn close(&mut self, frames: &mut Frames) {
        if self.include_usage && !self.failed {
            let usage = Some(Some(self.usage.into()));
            frames.data(&ChatCompletionChunk {
                header: &self.header,
                choices: Vec::new(),
                usage,
            });
        }
        frames.done();
    }
}

/// Encodes a text completion. An echoed prompt comes as the first chunk of each of its choices.
pub struct CompletionEncoder {
    header: Header,
    format: CompletionFormat,
    include_usage: bool,
    usage: TokenUsage,
    failed: bool,
}

impl CompletionEncoder {
    /// For a completion told as `format` says.
    pub fn new(header: Header, format: CompletionFormat, include_usage: bool) -> Self {
        Self {
            header,
            format,
            include_usage,
            usage: TokenUsage::default(),
            failed: false,
        }
    }

    fn chunk(&self, choice: CompletionChoice, frames: &mut Frames) {
        let usage = self.include_usage.then_some(None);
        frames.data(&Completion {
            header: &self.header,
            choices: vec![choice],
            usage,
        });
    }
}

impl EventEncoder for CompletionEncoder {
    fn encode(&mut self, event: GenerationEvent, frames: &mut Frames) {
        self.usage.count(&event);
        match event {
            GenerationEvent::Prompt(prompt) if self.format.echo.is_some() => {
                for index in prompt.first_index..prompt.first_index + self.format.n {
                    let text = self.format.echoed(index).to_owned();
                    let logprobs = self
                        .format
                        .logprobs
                        .then(|| logprobs::completion(&prompt.logprobs, 0));
                    self.chunk(
                        CompletionChoice {
                            index,
                            text,
                            logprobs,
                            finish_reason: None,
                        },
                        frames,
                    );
                }
            }
            GenerationEvent::Prompt(_) => {}
            GenerationEvent::Text {
                index,
                text,
                tokens,
            } => {
                let shift = self.format.echoed(index).chars().count();
                let logprobs = self
                    .format
                    .logprobs
                    .then(|| logprobs::completion(&tokens, shift));
                self.chunk(
                    CompletionChoice {
                        index,
                        text,
                        logprobs,
                        finish_reason: None,
                    },
                    frames,
                );
            }
            GenerationEvent::Finished { index, reason, .. } => {
                let finish_reason = Some(reason.as_str());
                let choice = CompletionChoice {
                    index,
                    text: String::new(),
                    logprobs: None,
                    finish_reason,
                };
                self.chunk(choice, frames);
            }
            GenerationEvent::Failed(error) => {
                self.failed = true;
                frames.data(&error.body());
            }
        }
    }

    fn close(&mut self, frames: &mut Frames) {
        if self.include_usage && !self.failed {
            let usage = Some(Some(self.usage.into()));
            frames.data(&Completion {
                header: &self.header,
                choices: Vec::new(),
                usage,
            });
        }
        frames.done();
    }
}
