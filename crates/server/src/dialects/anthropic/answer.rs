//! Whole answers.

use matou_engine::FinishReason;
use serde_json::json;

use super::wire::{AppliedEdits, ContentBlock, MessageEnd, MessageResponse, Usage};
use crate::dialects::shared::calls::{Part, WholeCall, WholeCalls};
use matou_llm::generation::{Collected, TokenUsage};
use matou_llm::message::{MessageFormat, MessageParser, MessagePart};

/// What opens an answer: without content, and without an end. `edits` says whether the request gave
/// leave to drop parts of the conversation.
pub(super) fn opening(id: String, model: String, edits: bool) -> MessageResponse {
    MessageResponse {
        id,
        kind: "message",
        role: "assistant",
        model,
        content: Vec::new(),
        stop_reason: None,
        stop_sequence: None,
        usage: Usage::default(),
        context_management: edits.then(AppliedEdits::default),
        matou: None,
    }
}

/// A finished answer.
pub(super) fn message(
    opening: MessageResponse,
    format: &MessageFormat,
    collected: Collected,
) -> MessageResponse {
    let usage = collected.usage.into();
    let Some(choice) = collected.choices.into_iter().next() else {
        return opening;
    };
    let mut parser = MessageParser::new(format);
    let mut parts = parser.push(&choice.text);
    parts.extend(parser.finish());
    let end = message_end(choice.reason, choice.stop, parser.has_calls());
    MessageResponse {
        content: content(parts),
        stop_reason: end.stop_reason,
        stop_sequence: end.stop_sequence,
        usage,
        ..opening
    }
}

/// The blocks that the parts of a message are.
fn content(parts: Vec<MessagePart>) -> Vec<ContentBlock> {
    let mut blocks: Vec<ContentBlock> = Vec::new();
    let mut whole_calls = WholeCalls::default();
    let parts = parts.into_iter();
    let mut parts: Vec<Part> = parts
        .flat_map(|part| whole_calls.push(part, |_| true))
        .collect();
    parts.extend(whole_calls.finish().map(Part::Call));
    for part in parts {
        match (part, blocks.last_mut()) {
            (
                Part::Message(MessagePart::Reasoning(more)),
                Some(ContentBlock::Thinking { thinking, .. }),
            ) => thinking.push_str(&more),
            (Part::Message(MessagePart::Text(more)), Some(ContentBlock::Text { text })) => {
                text.push_str(&more);
            }
            (Part::Message(MessagePart::Reasoning(thinking)), _) => {
                blocks.push(ContentBlock::Thinking {
                    thinking,
                    signature: "",
                });
            }
            (Part::Message(MessagePart::Text(text)), _) => blocks.push(ContentBlock::Text { text }),
            (Part::Call(call), _) => {
                let input = match call.arguments.is_empty() {
                    true => json!({}),
                    false => call.arguments_object(),
                };
                let WholeCall { id, name, .. } = call;
                blocks.push(ContentBlock::ToolUse { id, name, input });
            }
            // Those of every call are gathered.
            (Part::Message(MessagePart::CallStart { .. } | MessagePart::Arguments { .. }), _) => {}
        }
    }
    blocks
}

/// Why an answer ended, in Anthropic's words.
pub(super) fn message_end(
    reason: Option<FinishReason>,
    stop: Option<String>,
    has_calls: bool,
) -> MessageEnd {
    let stop_reason = match reason {
        Some(FinishReason::Stop) if has_calls => "tool_use",
        Some(FinishReason::Stop) if stop.is_some() => "stop_sequence",
        Some(FinishReason::Length) => "max_tokens",
        Some(FinishReason::Stop | FinishReason::Aborted) | None => "end_turn",
    };
    MessageEnd {
        stop_reason: Some(stop_reason),
        stop_sequence: stop.filter(|_| stop_reason == "stop_sequence"),
    }
}

impl From<TokenUsage> for Usage {
    fn from(usage: TokenUsage) -> Self {
        Self {
            input_tokens: usage.prompt_tokens - usage.cached_tokens,
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: usage.cached_tokens,
            output_tokens: usage.completion_tokens,
        }
    }
}
