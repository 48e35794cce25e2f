//! Streamed answers: generation events to Anthropic's named events. Pure.

use serde_json::json;

use super::answer::message_end;
use super::errors::error_body;
use super::wire::{BlockDelta, ContentBlock, MessageResponse, StreamEvent};
use crate::sse::{EventEncoder, Frames};
use matou_llm::generation::{GenerationEvent, TokenUsage};
use matou_llm::message::{MessageFormat, MessageParser, MessagePart};

/// Encodes an answer: its opening, block after block (each opened, added to and closed), the reason
/// that it ended with the token counts, its closing.
pub(crate) struct MessageEncoder {
    message: MessageResponse,
    parser: MessageParser,
    usage: TokenUsage,
    /// What the open block is, if one is open.
    open: Option<BlockKind>,
    /// Blocks that were opened.
    blocks: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BlockKind {
    Thinking,
    Text,
    Call(usize),
}

impl MessageEncoder {
    /// For the answer that `message` opens, written in `format`.
    pub(crate) fn new(message: MessageResponse, format: &MessageFormat) -> Self {
        Self {
            message,
            parser: MessageParser::new(format),
            usage: TokenUsage::default(),
            open: None,
            blocks: 0,
        }
    }

    fn part(&mut self, part: MessagePart, frames: &mut Frames) {
        match part {
            MessagePart::Reasoning(thinking) => {
                let start = ContentBlock::Thinking {
                    thinking: String::new(),
                    signature: "",
                };
                self.open(BlockKind::Thinking, start, frames);
                let thinking = &thinking;
                self.add(BlockDelta::ThinkingDelta { thinking }, frames);
            }
            MessagePart::Text(text) => {
                let start = ContentBlock::Text {
                    text: String::new(),
                };
                self.open(BlockKind::Text, start, frames);
                self.add(BlockDelta::TextDelta { text: &text }, frames);
            }
            MessagePart::CallStart { index, id, name } => {
                let input = json!({});
                let start = ContentBlock::ToolUse { id, name, input };
                self.open(BlockKind::Call(index), start, frames);
            }
            MessagePart::Arguments { fragment, .. } => {
                let partial_json = &fragment;
                self.add(BlockDelta::InputJsonDelta { partial_json }, frames);
            }
        }
    }

    /// Makes sure that a block of this kind is open.
    fn open(&mut self, kind: BlockKind, content_block: ContentBlock, frames: &mut Frames) {
        if self.open == Some(kind) {
            return;
        }
        self.close_block(frames);
        let index = self.blocks;
        send(
            &StreamEvent::ContentBlockStart {
                index,
                content_block,
            },
            frames,
        );
        self.open = Some(kind);
        self.blocks += 1;
    }

    fn add(&self, delta: BlockDelta<'_>, frames: &mut Frames) {
        let index = self.blocks.saturating_sub(1);
        send(&StreamEvent::ContentBlockDelta { index, delta }, frames);
    }

    fn close_block(&mut self, frames: &mut Frames) {
        if self.open.take().is_some() {
            let index = self.blocks - 1;
            send(&StreamEvent::ContentBlockStop { index }, frames);
        }
    }
}

fn send(event: &StreamEvent<'_>, frames: &mut Frames) {
    frames.event(event.name(), event);
}

impl EventEncoder for MessageEncoder {
    fn encode(&mut self, event: GenerationEvent, frames: &mut Frames) {
        self.usage.count(&event);
        match event {
            GenerationEvent::Prompt(_) => {
                self.message.usage = self.usage.into();
                // Anthropic tells at the end what was dropped.
                let edits = self.message.context_management.take();
                let message = &self.message;
                send(&StreamEvent::MessageStart { message }, frames);
                self.message.context_management = edits;
            }
            GenerationEvent::Text { text, .. } => {
                for part in self.parser.push(&text) {
                    self.part(part, frames);
                }
            }
            GenerationEvent::Finished { reason, stop, .. } => {
                for part in self.parser.finish() {
                    self.part(part, frames);
                }
                self.close_block(frames);
                let delta = message_end(Some(reason), stop, self.parser.has_calls());
                let end = StreamEvent::MessageDelta {
                    delta,
                    usage: self.usage.into(),
                    context_management: self.message.context_management.take(),
                };
                send(&end, frames);
                send(&StreamEvent::MessageStop, frames);
            }
            GenerationEvent::Failed(error) => {
                frames.event("error", &error_body(&error.into(), None))
            }
        }
    }

    fn close(&mut self, _frames: &mut Frames) {}
}
