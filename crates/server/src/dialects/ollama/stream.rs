//! Answers of both kinds, whole and streamed: generation events to lines of JSON. Pure.

use std::time::Duration;

use matou_engine::FinishReason;
use serde_json::{Map, Value, json};

use crate::dialects::shared::calls::{Part, WholeCalls};
use crate::dialects::shared::logprobs;
use crate::error::ApiError;
use crate::label::Label;
use crate::sse::{EventEncoder, Frames, Framing};
use matou_llm::generation::{GenerationEvent, Timings, TokenLogprob, TokenUsage};
use matou_llm::message::{MessageFormat, MessageParser, MessagePart};

/// Which endpoint answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Generate,
}

/// Encodes an answer: a line for what is new, whole calls, and a last line with counts and times.
pub(super) struct LineEncoder {
    kind: Kind,
    model: String,
    created_at: String,
    logprobs: bool,
    parser: MessageParser,
    whole_calls: WholeCalls,
    /// Tokens whose log-probabilities go with the next line.
    tokens: Vec<TokenLogprob>,
    usage: TokenUsage,
    label: Option<Label>,
}

/// The fields that the last line has beside its own.
type LastFields = Map<String, Value>;

/// A line, or the whole of an answer: what is new in it.
#[derive(Debug, Default)]
pub(super) struct Piece {
    content: String,
    thinking: String,
    calls: Vec<Value>,
    tokens: Vec<TokenLogprob>,
}

impl Piece {
    fn add(&mut self, mut next: Self) {
        self.content.push_str(&next.content);
        self.thinking.push_str(&next.thinking);
        self.calls.append(&mut next.calls);
        self.tokens.append(&mut next.tokens);
    }
}

impl LineEncoder {
    pub(super) fn new(
        kind: Kind,
        model: String,
        created_at: String,
        logprobs: bool,
        format: &MessageFormat,
    ) -> Self {
        Self {
            kind,
            model,
            created_at,
            logprobs,
            parser: MessageParser::new(format),
            whole_calls: WholeCalls::default(),
            tokens: Vec::new(),
            usage: TokenUsage::default(),
            label: None,
        }
    }

    /// The same, whose last line says who wrote the answer.
    pub(super) fn labelled(self, label: Option<Label>) -> Self {
        Self { label, ..self }
    }

    /// The answer to a request that asks for none, for this reason.
    pub(super) fn nothing(self, reason: &str) -> Value {
        let mut line = self.line(&Piece::default());
        line.insert("done_reason".to_owned(), reason.into());
        line.insert("done".to_owned(), true.into());
        Value::Object(line)
    }

    /// The whole answer that events add up to.
    ///
    /// # Errors
    ///
    /// The error of the request, if it fails.
    pub(super) fn whole(mut self, events: Vec<GenerationEvent>) -> Result<Value, ApiError> {
        let mut all = Piece::default();
        let mut end = Map::new();
        for event in events {
            match self.accept(event)? {
                (pieces, Some(last)) => {
                    pieces.into_iter().for_each(|piece| all.add(piece));
                    end = last;
                }
                (pieces, None) => pieces.into_iter().for_each(|piece| all.add(piece)),
            }
        }
        let mut line = self.line(&all);
        line.extend(end);
        Ok(Value::Object(line))
    }

    /// What an event brings: pieces, and the fields of the last line if it is the end.
    fn accept(
        &mut self,
        event: GenerationEvent,
    ) -> Result<(Vec<Piece>, Option<LastFields>), ApiError> {
        self.usage.count(&event);
        match event {
            GenerationEvent::Prompt(_) => Ok((Vec::new(), None)),
            GenerationEvent::Text { text, tokens, .. } => {
                self.tokens.extend(tokens);
                let parts = self.parser.push(&text);
                Ok((self.pieces(parts), None))
            }
            GenerationEvent::Finished {
                reason, timings, ..
            } => {
                let parts = self.parser.finish();
                let mut pieces = self.pieces(parts);
                let call = self.whole_calls.finish();
                pieces.extend(call.map(|call| self.piece(Part::Call(call))));
                Ok((pieces, Some(self.end(reason, timings))))
            }
            GenerationEvent::Failed(error) => Err(error.into()),
        }
    }

    fn pieces(&mut self, parts: Vec<MessagePart>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for part in parts {
            let told = self.whole_calls.push(part, |_| true);
            pieces.extend(told.into_iter().map(|part| self.piece(part)));
        }
        pieces
    }

    /// What a part is on a line. Calls are sent whole.
    fn piece(&mut self, part: Part) -> Piece {
        let mut piece = Piece {
            tokens: std::mem::take(&mut self.tokens),
            ..Piece::default()
        };
        match part {
            Part::Message(MessagePart::Reasoning(text)) => piece.thinking = text,
            Part::Message(MessagePart::Text(text)) => piece.content = text,
            Part::Call(call) => {
                let arguments = call.arguments_object();
                let function = json!({"name": call.name, "arguments": arguments});
                piece.calls = vec![json!({"id": call.id, "function": function})];
            }
            // Those of every call are gathered.
            Part::Message(MessagePart::CallStart { .. } | MessagePart::Arguments { .. }) => {}
        }
        piece
    }

    fn line(&self, piece: &Piece) -> Map<String, Value> {
        let mut line = Map::new();
        line.insert("model".to_owned(), self.model.as_str().into());
        line.insert("created_at".to_owned(), self.created_at.as_str().into());
        let mut said = Map::new();
        match self.kind {
            Kind::Chat => {
                said.insert("role".to_owned(), "assistant".into());
                said.insert("content".to_owned(), piece.content.as_str().into());
            }
            Kind::Generate => {
                said.insert("response".to_owned(), piece.content.as_str().into());
            }
        }
        if !piece.thinking.is_empty() {
            said.insert("thinking".to_owned(), piece.thinking.as_str().into());
        }
        if !piece.calls.is_empty() {
            said.insert("tool_calls".to_owned(), piece.calls.clone().into());
        }
        match self.kind {
            Kind::Chat => {
                line.insert("message".to_owned(), Value::Object(said));
            }
            Kind::Generate => line.extend(said),
        }
        if self.logprobs && !piece.tokens.is_empty() {
            line.insert(
                "logprobs".to_owned(),
                json!(logprobs::chat(&piece.tokens).content),
            );
        }
        line.insert("done".to_owned(), false.into());
        line
    }

    /// The fields of the last line.
    fn end(&self, reason: FinishReason, timings: Timings) -> LastFields {
        let nanoseconds =
            |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).into();
        let TokenUsage {
            prompt_tokens,
            completion_tokens,
            ..
        } = self.usage;
        let fields: [(&str, Value); 8] = [
            ("done", true.into()),
            ("done_reason", reason.as_str().into()),
            (
                "total_duration",
                nanoseconds(timings.prompt + timings.generation),
            ),
            ("load_duration", 0.into()),
            ("prompt_eval_count", prompt_tokens.into()),
            ("prompt_eval_duration", nanoseconds(timings.prompt)),
            ("eval_count", completion_tokens.into()),
            ("eval_duration", nanoseconds(timings.generation)),
        ];
        let label = self.label.as_ref().map(|label| ("matou", json!(label)));
        fields
            .into_iter()
            .chain(label)
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

impl EventEncoder for LineEncoder {
    const FRAMING: Framing = Framing::Lines;

    fn encode(&mut self, event: GenerationEvent, frames: &mut Frames) {
        match self.accept(event) {
            Ok((pieces, end)) => {
                for piece in &pieces {
                    frames.line(&self.line(piece));
                }
                if let Some(end) = end {
                    let mut line = self.line(&Piece::default());
                    line.extend(end);
                    frames.line(&line);
                }
            }
            Err(error) => frames.line(&json!({"error": error.to_string()})),
        }
    }

    fn close(&mut self, _frames: &mut Frames) {}
}
