//! Whole answers: what a request that is not streamed gets.

use std::collections::BTreeSet;
use std::time::Duration;

use matou_engine::FinishReason;

use super::completion_logprobs;
use super::wire::{
    AssistantMessage, ChatChoice, ChatCompletion, Completion, CompletionChoice, CompletionLogprobs,
    CustomCallMessage, FunctionCallMessage, Header, PromptTokensDetails, TimingsReport,
    ToolCallMessage, Usage,
};
use crate::dialects::shared::calls::{Part, WholeCall, WholeCalls};
use crate::dialects::shared::convert::{ResponseOptions, custom_input};
use crate::dialects::shared::logprobs;
use matou_llm::generation::{Collected, Timings, TokenUsage};
use matou_llm::message::{MessageFormat, MessageParser, MessagePart};

/// How a text completion is told beyond its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CompletionFormat {
    /// How many of the likeliest tokens go with log-probabilities, if those were asked for.
    pub logprobs: Option<usize>,
    /// The same for the prompt as vLLM reports it.
    pub prompt_logprobs: Option<usize>,
    /// Whether it tells how long it took.
    pub timings: bool,
    /// Answers to each prompt.
    pub n: usize,
    /// The text of each prompt, if it is to be repeated before the answer.
    pub echo: Option<Vec<String>>,
}

impl CompletionFormat {
    /// What comes before the text of choice `index`.
    pub(super) fn echoed(&self, index: usize) -> &str {
        self.echo
            .as_ref()
            .map_or("", |texts| &texts[index / self.n])
    }
}

/// How a chat completion is told.
#[derive(Debug, Clone)]
pub(crate) struct ChatFormat {
    /// How its messages are written.
    pub message: MessageFormat,
    /// The tools whose calls are told as OpenAI's custom calls.
    pub custom_tools: BTreeSet<String>,
    /// Whether log-probabilities were asked for.
    pub logprobs: bool,
    /// How it is sent.
    pub response: ResponseOptions,
}

/// A finished chat completion.
pub(crate) fn chat_completion(
    header: Header,
    format: &ChatFormat,
    collected: Collected,
) -> ChatCompletion {
    let prompt = collected.prompts.first();
    let prompt = prompt.filter(|prompt| !prompt.ranked.is_empty());
    let prompt_logprobs =
        prompt.map(|prompt| completion_logprobs::prompt(&prompt.ranked, usize::MAX));
    let timings = format.response.timings.then(|| timings(&collected));
    let choices = collected
        .choices
        .into_iter()
        .enumerate()
        .map(|(index, choice)| {
            let message = message(format, &choice.text);
            let finish_reason = match choice.reason {
                Some(FinishReason::Stop) if !message.tool_calls.is_empty() => "tool_calls",
                reason => finish_reason(reason),
            };
            ChatChoice {
                index,
                message,
                logprobs: format.logprobs.then(|| logprobs::chat(&choice.tokens)),
                finish_reason,
            }
        });
    ChatCompletion {
        header,
        choices: choices.collect(),
        usage: collected.usage.into(),
        service_tier: "default",
        prompt_logprobs,
        timings,
    }
}

/// The message that a text is.
fn message(format: &ChatFormat, text: &str) -> AssistantMessage {
    let mut parser = MessageParser::new(&format.message);
    let mut whole_calls = WholeCalls::default();
    let is_custom = |name: &str| format.custom_tools.contains(name);
    let mut parts = parser.push(text);
    parts.extend(parser.finish());
    let parts = parts.into_iter();
    let mut parts: Vec<Part> = parts
        .flat_map(|part| whole_calls.push(part, is_custom))
        .collect();
    parts.extend(whole_calls.finish().map(Part::Call));
    let (mut content, mut reasoning) = (String::new(), String::new());
    let mut tool_calls: Vec<ToolCallMessage> = Vec::new();
    for part in parts {
        match part {
            Part::Message(MessagePart::Reasoning(text)) => reasoning.push_str(&text),
            Part::Message(MessagePart::Text(text)) => content.push_str(&text),
            Part::Message(MessagePart::CallStart { id, name, .. }) => {
                let arguments = String::new();
                tool_calls.push(ToolCallMessage {
                    id,
                    kind: "function",
                    function: Some(FunctionCallMessage { name, arguments }),
                    custom: None,
                });
            }
            Part::Message(MessagePart::Arguments { index, fragment }) => {
                if let Some(function) = &mut tool_calls[index].function {
                    function.arguments.push_str(&fragment);
                }
            }
            Part::Call(call) => {
                let id = call.id.clone();
                tool_calls.push(ToolCallMessage {
                    id,
                    kind: "custom",
                    function: None,
                    custom: Some(call.into()),
                });
            }
        }
    }
    AssistantMessage {
        role: "assistant",
        reasoning_content: (!reasoning.is_empty()).then_some(reasoning),
        content: (!content.is_empty() || tool_calls.is_empty()).then_some(content),
        refusal: None,
        tool_calls,
    }
}

impl From<WholeCall> for CustomCallMessage {
    fn from(call: WholeCall) -> Self {
        Self {
            name: call.name,
            input: custom_input(&call.arguments),
        }
    }
}

/// A finished text completion.
pub(crate) fn completion<'a>(
    header: &'a Header,
    format: &CompletionFormat,
    collected: &Collected,
) -> Completion<'a> {
    let choices = collected.choices.iter().enumerate().map(|(index, choice)| {
        let echoed = format.echoed(index);
        let prompt = || &collected.prompts[index / format.n];
        let logprobs = format.logprobs.map(|top| {
            let mut all = CompletionLogprobs::default();
            if format.echo.is_some() {
                all = completion_logprobs::completion(&prompt().logprobs, top, 0);
            }
            let shift = echoed.chars().count();
            all.append(completion_logprobs::completion(&choice.tokens, top, shift));
            all
        });
        // All answers to a prompt have it in common: the first tells it.
        let is_first = index % format.n == 0;
        let prompt_logprobs = format
            .prompt_logprobs
            .filter(|_| is_first)
            .map(|top| completion_logprobs::prompt(&prompt().ranked, top));
        CompletionChoice {
            index,
            text: format!("{echoed}{}", choice.text),
            logprobs,
            finish_reason: Some(finish_reason(choice.reason)),
            prompt_logprobs,
        }
    });
    Completion {
        header,
        choices: choices.collect(),
        usage: Some(Some(collected.usage.into())),
        timings: format.timings.then(|| timings(collected)),
    }
}

/// How long all answers took together.
fn timings(collected: &Collected) -> TimingsReport {
    let times = collected.choices.iter().map(|choice| choice.timings);
    let longest = times.fold(Timings::default(), |longest, times| Timings {
        prompt: longest.prompt.max(times.prompt),
        generation: longest.generation.max(times.generation),
    });
    TimingsReport::new(collected.usage, longest)
}

impl TimingsReport {
    /// What `usage` tokens took.
    pub(crate) fn new(usage: TokenUsage, timings: Timings) -> Self {
        let prompt_n = usage.prompt_tokens - usage.cached_tokens;
        let per_second = |tokens: usize, time: Duration| match time.is_zero() {
            true => 0.0,
            false => tokens as f64 / time.as_secs_f64(),
        };
        Self {
            cache_n: usage.cached_tokens,
            prompt_n,
            prompt_ms: timings.prompt.as_secs_f64() * 1e3,
            prompt_per_second: per_second(prompt_n, timings.prompt),
            predicted_n: usage.completion_tokens,
            predicted_ms: timings.generation.as_secs_f64() * 1e3,
            predicted_per_second: per_second(usage.completion_tokens, timings.generation),
        }
    }
}

/// A choice that never told why it ended was cut short.
fn finish_reason(reason: Option<FinishReason>) -> &'static str {
    reason.unwrap_or(FinishReason::Aborted).as_str()
}

impl From<TokenUsage> for Usage {
    fn from(usage: TokenUsage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens + usage.completion_tokens,
            prompt_tokens_details: PromptTokensDetails {
                cached_tokens: usage.cached_tokens,
            },
        }
    }
}
