//! Streamed answers: generation events to OpenAI's chunks. Pure, so that a recorded stream can be
//! compared byte by byte.

use matou_engine::FinishReason;

use super::answer::{ChatFormat, CompletionFormat};
use super::completion_logprobs;
use super::wire::{
    ChatChunkChoice, ChatCompletionChunk, Completion, CompletionChoice, Delta, FunctionCallDelta,
    Header, TimingsReport, ToolCallDelta,
};
use crate::dialects::shared::calls::{Part, WholeCalls};
use crate::dialects::shared::logprobs;
use crate::dialects::shared::wire::ChatLogprobs;
use crate::error::ApiError;
use crate::sse::{EventEncoder, Frames};
use matou_llm::generation::{GenerationEvent, Timings, TokenLogprob, TokenUsage};
use matou_llm::message::{MessageParser, MessagePart};

/// Encodes a chat completion: the role once a choice, text, reasoning and calls as they come, one
/// chunk with the reason that it ended, and, if asked for, one without choices that brings the token
/// counts.
pub(crate) struct ChatEncoder {
    header: Header,
    format: ChatFormat,
    choices: Vec<ChatChoiceState>,
    usage: TokenUsage,
    failed: bool,
}

/// How far one choice has been told.
struct ChatChoiceState {
    parser: MessageParser,
    whole_calls: WholeCalls,
    /// Whether it has told its role.
    started: bool,
    /// Tokens whose log-probabilities go with the next chunk.
    tokens: Vec<TokenLogprob>,
}

impl ChatEncoder {
    /// For a completion of `n` choices, told as `format` says.
    pub(crate) fn new(header: Header, n: usize, format: ChatFormat) -> Self {
        let choice = |_| ChatChoiceState {
            parser: MessageParser::new(&format.message),
            whole_calls: WholeCalls::default(),
            started: false,
            tokens: Vec::new(),
        };
        let choices = (0..n).map(choice).collect();
        Self {
            header,
            format,
            choices,
            usage: TokenUsage::default(),
            failed: false,
        }
    }

    /// Tells what parts add to a choice.
    fn parts(&mut self, index: usize, parts: Vec<MessagePart>, frames: &mut Frames) {
        for part in parts {
            let custom = &self.format.custom_tools;
            let told = self.choices[index]
                .whole_calls
                .push(part, |name| custom.contains(name));
            for part in told {
                self.tell(index, delta(part), None, frames);
            }
        }
    }

    /// Tells news of a choice, after its role.
    fn tell(&mut self, index: usize, delta: Delta, end: Option<End>, frames: &mut Frames) {
        let state = &mut self.choices[index];
        if !std::mem::replace(&mut state.started, true) {
            let delta = Delta {
                role: Some("assistant"),
                content: Some(String::new()),
                ..Delta::default()
            };
            self.chunk(index, delta, None, None, frames);
        }
        let tokens = std::mem::take(&mut self.choices[index].tokens);
        let has_logprobs = self.format.logprobs && (end.is_none() || !tokens.is_empty());
        let logprobs = has_logprobs.then(|| logprobs::chat(&tokens));
        self.chunk(index, delta, logprobs, end, frames);
    }

    fn chunk(
        &self,
        index: usize,
        delta: Delta,
        logprobs: Option<ChatLogprobs>,
        end: Option<End>,
        frames: &mut Frames,
    ) {
        frames.data(&ChatCompletionChunk {
            header: &self.header,
            choices: vec![ChatChunkChoice {
                index,
                delta,
                logprobs,
                finish_reason: end.map(|end| end.finish_reason),
            }],
            usage: self.format.response.include_usage.then_some(None),
            timings: end.and_then(|end| end.timings),
        });
    }
}

/// How an answer ended.
#[derive(Clone, Copy)]
struct End {
    finish_reason: &'static str,
    timings: Option<TimingsReport>,
}

/// What a part of a message adds to it.
fn delta(part: Part) -> Delta {
    let mut delta = Delta::default();
    match part {
        Part::Message(MessagePart::Reasoning(text)) => delta.reasoning_content = Some(text),
        Part::Message(MessagePart::Text(text)) => delta.content = Some(text),
        Part::Message(MessagePart::CallStart { index, id, name }) => {
            let arguments = String::new();
            let name = Some(name);
            delta.tool_calls.push(ToolCallDelta {
                index,
                id: Some(id),
                kind: Some("function"),
                function: Some(FunctionCallDelta { name, arguments }),
                custom: None,
            });
        }
        Part::Message(MessagePart::Arguments { index, fragment }) => {
            let (name, arguments) = (None, fragment);
            delta.tool_calls.push(ToolCallDelta {
                index,
                id: None,
                kind: None,
                function: Some(FunctionCallDelta { name, arguments }),
                custom: None,
            });
        }
        Part::Call(call) => delta.tool_calls.push(ToolCallDelta {
            index: call.index,
            id: Some(call.id.clone()),
            kind: Some("custom"),
            function: None,
            custom: Some(call.into()),
        }),
    }
    delta
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
                let choice = &mut self.choices[index];
                let mut parts = choice.parser.push(&text);
                choice.tokens.extend(tokens);
                // Log-probabilities do not wait for the text to be told apart.
                if parts.is_empty() && !choice.tokens.is_empty() {
                    parts.push(MessagePart::Text(String::new()));
                }
                self.parts(index, parts, frames);
            }
            GenerationEvent::Finished {
                index,
                reason,
                timings,
                ..
            } => {
                let parts = self.choices[index].parser.finish();
                self.parts(index, parts, frames);
                if let Some(call) = self.choices[index].whole_calls.finish() {
                    self.tell(index, delta(Part::Call(call)), None, frames);
                }
                let has_calls = self.choices[index].parser.has_calls();
                let finish_reason = match reason {
                    FinishReason::Stop if has_calls => "tool_calls",
                    reason => reason.as_str(),
                };
                let report = || TimingsReport::new(self.usage, timings);
                let end = End {
                    finish_reason,
                    timings: self.format.response.timings.then(report),
                };
                self.tell(index, Delta::default(), Some(end), frames);
            }
            GenerationEvent::Failed(error) => {
                self.failed = true;
                frames.data(&ApiError::from(error).body());
            }
        }
    }

    fn close(&mut self, frames: &mut Frames) {
        if self.format.response.include_usage && !self.failed {
            let usage = Some(Some(self.usage.into()));
            frames.data(&ChatCompletionChunk {
                header: &self.header,
                choices: Vec::new(),
                usage,
                timings: None,
            });
        }
        frames.done();
    }
}

/// Encodes a text completion. An echoed prompt comes as the first chunk of each of its choices.
pub(crate) struct CompletionEncoder {
    header: Header,
    format: CompletionFormat,
    include_usage: bool,
    usage: TokenUsage,
    failed: bool,
}

impl CompletionEncoder {
    /// For a completion told as `format` says.
    pub(crate) fn new(header: Header, format: CompletionFormat, include_usage: bool) -> Self {
        Self {
            header,
            format,
            include_usage,
            usage: TokenUsage::default(),
            failed: false,
        }
    }

    fn chunk(&self, choice: CompletionChoice, timings: Option<Timings>, frames: &mut Frames) {
        let usage = self.include_usage.then_some(None);
        let timings = timings.filter(|_| self.format.timings);
        frames.data(&Completion {
            header: &self.header,
            choices: vec![choice],
            usage,
            timings: timings.map(|timings| TimingsReport::new(self.usage, timings)),
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
                        .map(|top| completion_logprobs::completion(&prompt.logprobs, top, 0));
                    self.chunk(
                        CompletionChoice {
                            index,
                            text,
                            logprobs,
                            finish_reason: None,
                            prompt_logprobs: None,
                        },
                        None,
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
                    .map(|top| completion_logprobs::completion(&tokens, top, shift));
                self.chunk(
                    CompletionChoice {
                        index,
                        text,
                        logprobs,
                        finish_reason: None,
                        prompt_logprobs: None,
                    },
                    None,
                    frames,
                );
            }
            GenerationEvent::Finished {
                index,
                reason,
                timings,
                ..
            } => {
                let finish_reason = Some(reason.as_str());
                let choice = CompletionChoice {
                    index,
                    text: String::new(),
                    logprobs: None,
                    finish_reason,
                    prompt_logprobs: None,
                };
                self.chunk(choice, Some(timings), frames);
            }
            GenerationEvent::Failed(error) => {
                self.failed = true;
                frames.data(&ApiError::from(error).body());
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
                timings: None,
            });
        }
        frames.done();
    }
}
