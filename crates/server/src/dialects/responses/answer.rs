//! A response as it grows: generation events in, output items and news of them out. Pure.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use matou_engine::FinishReason;
use serde_json::{Value, json};

use super::convert::calls::{function_item, is_whole, whole_item};
use super::convert::{ResponseFormat, ToolForms};
use super::wire::{
    InputTokensDetails, OutputItem, OutputText, OutputTokensDetails, ResponseObject, TextPart,
    Usage,
};
use crate::dialects::shared::calls::{Part, WholeCall, WholeCalls};
use crate::dialects::shared::logprobs;
use crate::dialects::shared::wire::ChatTokenLogprob;
use crate::error::ApiError;
use matou_llm::generation::{GenerationEvent, TokenLogprob, TokenUsage};
use matou_llm::message::{MessageFormat, MessageParser, MessagePart};

const IN_PROGRESS: &str = "in_progress";
const COMPLETED: &str = "completed";
const INCOMPLETE: &str = "incomplete";

/// News of a response: the event's name and its fields.
pub(super) type News = (&'static str, Value);

/// Tells how many tokens a text is.
pub(super) type TokenCounter = Box<dyn Fn(&str) -> usize + Send>;

/// Puts a response together.
pub(super) struct ResponseBuilder {
    response: ResponseObject,
    format: ResponseFormat,
    parser: MessageParser,
    forms: ToolForms,
    whole_calls: WholeCalls,
    count_tokens: TokenCounter,
    usage: TokenUsage,
    /// Whether the last item of the output may grow.
    is_open: bool,
    /// Tokens whose log-probabilities go with the next text.
    tokens: Vec<TokenLogprob>,
    /// `None` if nobody listens.
    news: Option<Vec<News>>,
}

impl ResponseBuilder {
    /// For a response that begins as `response`, written in `message_format`, with calls told in
    /// `forms`. `is_streamed` if its news are wanted.
    pub(super) fn new(
        response: ResponseObject,
        format: ResponseFormat,
        (message_format, forms): (&MessageFormat, ToolForms),
        count_tokens: TokenCounter,
        is_streamed: bool,
    ) -> Self {
        Self {
            response,
            format,
            parser: MessageParser::new(message_format),
            forms,
            whole_calls: WholeCalls::default(),
            count_tokens,
            usage: TokenUsage::default(),
            is_open: false,
            tokens: Vec::new(),
            news: is_streamed.then(Vec::new),
        }
    }

    /// The response as it stands.
    pub(super) fn response(&self) -> &ResponseObject {
        &self.response
    }

    /// What has happened since this was last asked.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        self.news.as_mut().map_or_else(Vec::new, std::mem::take)
    }

    /// Takes in the next event; an error ends the response.
    pub(super) fn accept(&mut self, event: GenerationEvent) -> Result<(), ApiError> {
        self.usage.count(&event);
        match event {
            GenerationEvent::Prompt(_) => {
                for name in ["response.created", "response.in_progress"] {
                    self.tell(name, |this| json!({"response": this.response}));
                }
            }
            GenerationEvent::Text { text, tokens, .. } => {
                self.tokens.extend(tokens);
                for part in self.parser.push(&text) {
                    self.part(part);
                }
            }
            GenerationEvent::Finished { reason, .. } => {
                for part in self.parser.finish() {
                    self.part(part);
                }
                if let Some(call) = self.whole_calls.finish() {
                    self.whole_call(call);
                }
                self.finish(reason);
            }
            GenerationEvent::Failed(error) => {
                let error = ApiError::from(error);
                self.response.status = "failed";
                let code = error.code().unwrap_or("server_error");
                let message = error.to_string();
                self.response.error = Some(json!({"code": code, "message": message}));
                self.tell("response.failed", |this| json!({"response": this.response}));
                return Err(error);
            }
        }
        Ok(())
    }

    fn finish(&mut self, reason: FinishReason) {
        let (status, name) = match reason {
            FinishReason::Stop => (COMPLETED, "response.completed"),
            FinishReason::Length | FinishReason::Aborted => (INCOMPLETE, "response.incomplete"),
        };
        self.close_item(status);
        self.response.status = status;
        if status == INCOMPLETE {
            let details = json!({"reason": "max_output_tokens"});
            self.response.incomplete_details = Some(details);
        }
        self.response.usage = Some(self.token_counts());
        self.tell(name, |this| json!({"response": this.response}));
    }

    fn token_counts(&self) -> Usage {
        let reasoning = self.response.output.iter().map(|item| match item {
            OutputItem::Reasoning { content, .. } => content
                .iter()
                .map(|part| (self.count_tokens)(&part.text))
                .sum(),
            _ => 0,
        });
        let TokenUsage {
            prompt_tokens,
            cached_tokens,
            completion_tokens,
        } = self.usage;
        Usage {
            input_tokens: prompt_tokens,
            input_tokens_details: InputTokensDetails { cached_tokens },
            output_tokens: completion_tokens,
            output_tokens_details: OutputTokensDetails {
                // The text tokenised again need not give the tokens that were generated.
                reasoning_tokens: reasoning.sum::<usize>().min(completion_tokens),
            },
            total_tokens: prompt_tokens + completion_tokens,
        }
    }

    fn part(&mut self, part: MessagePart) {
        let forms = &self.forms;
        let parts = self.whole_calls.push(part, |name| is_whole(forms, name));
        for part in parts {
            match part {
                Part::Message(part) => self.message_part(part),
                Part::Call(call) => self.whole_call(call),
            }
        }
    }

    fn message_part(&mut self, part: MessagePart) {
        match part {
            MessagePart::Reasoning(delta) => self.reasoning(delta),
            MessagePart::Text(delta) => self.text(delta),
            MessagePart::CallStart { id, name, .. } => {
                let item_id = self.next_item_id("fc");
                self.open_item(function_item(&self.forms, item_id, id, name));
            }
            MessagePart::Arguments { fragment, .. } => {
                if let Some(OutputItem::FunctionCall { arguments, .. }) =
                    self.response.output.last_mut()
                {
                    arguments.push_str(&fragment);
                    self.tell("response.function_call_arguments.delta", |this| {
                        this.of_item(json!({"delta": fragment}))
                    });
                }
            }
        }
    }

    /// A call that is told in one piece. What a custom tool is given comes as text does.
    fn whole_call(&mut self, call: WholeCall) {
        let mut item = whole_item(&self.forms, call, |prefix| self.next_item_id(prefix));
        let input = match &mut item {
            OutputItem::CustomToolCall { input, .. } => Some(std::mem::take(input)),
            _ => None,
        };
        self.open_item(item);
        let Some(given) = input else {
            return;
        };
        if let Some(OutputItem::CustomToolCall { input, .. }) = self.response.output.last_mut() {
            input.clone_from(&given);
        }
        self.tell("response.custom_tool_call_input.delta", |this| {
            this.of_item(json!({"delta": given}))
        });
    }

    fn reasoning(&mut self, delta: String) {
        self.tokens.clear();
        if !(self.is_open && matches!(self.last(), Some(OutputItem::Reasoning { .. }))) {
            let id = self.next_item_id("rs");
            self.open_item(OutputItem::Reasoning {
                id,
                summary: Vec::new(),
                content: vec![TextPart {
                    kind: "reasoning_text",
                    text: String::new(),
                }],
                encrypted_content: None,
                status: IN_PROGRESS,
            });
        }
        if let Some(OutputItem::Reasoning { content, .. }) = self.response.output.last_mut() {
            content[0].text.push_str(&delta);
        }
        self.tell("response.reasoning_text.delta", |this| {
            this.of_item(json!({"content_index": 0, "delta": delta}))
        });
    }

    fn text(&mut self, delta: String) {
        if !(self.is_open && matches!(self.last(), Some(OutputItem::Message { .. }))) {
            let id = self.next_item_id("msg");
            let empty = || OutputText {
                kind: "output_text",
                text: String::new(),
                annotations: Vec::new(),
                logprobs: Vec::new(),
            };
            self.open_item(OutputItem::Message {
                id,
                status: IN_PROGRESS,
                role: "assistant",
                content: Vec::new(),
            });
            self.tell("response.content_part.added", |this| {
                this.of_item(json!({"content_index": 0, "part": empty()}))
            });
            if let Some(OutputItem::Message { content, .. }) = self.response.output.last_mut() {
                content.push(empty());
            }
        }
        let tokens = std::mem::take(&mut self.tokens);
        let logprobs: Vec<ChatTokenLogprob> = match self.format.logprobs {
            true => logprobs::chat(&tokens).content,
            false => Vec::new(),
        };
        self.tell("response.output_text.delta", |this| {
            this.of_item(json!({"content_index": 0, "delta": delta, "logprobs": logprobs}))
        });
        if let Some(OutputItem::Message { content, .. }) = self.response.output.last_mut() {
            content[0].text.push_str(&delta);
            content[0].logprobs.extend(logprobs);
        }
    }

    fn open_item(&mut self, item: OutputItem) {
        self.close_item(COMPLETED);
        self.response.output.push(item);
        self.is_open = true;
        self.tell(
            "response.output_item.added",
            |this| json!({"output_index": this.response.output.len() - 1, "item": this.last()}),
        );
    }

    /// Closes the last item, with all that is told at its end.
    fn close_item(&mut self, end: &'static str) {
        if !std::mem::replace(&mut self.is_open, false) {
            return;
        }
        let (wants_seal, wants_summary) = (self.format.encrypted, self.format.summary);
        if let Some(item) = self.response.output.last_mut() {
            item.set_status(end);
        }
        let told: Vec<News> = match self.response.output.last_mut() {
            Some(OutputItem::Reasoning {
                content,
                summary,
                encrypted_content,
                ..
            }) => {
                let text = &content[0].text;
                *encrypted_content = wants_seal.then(|| BASE64_STANDARD.encode(text));
                if wants_summary {
                    summary.push(TextPart {
                        kind: "summary_text",
                        text: text.clone(),
                    });
                }
                let done = json!({"content_index": 0, "text": text});
                vec![("response.reasoning_text.done", done)]
            }
            Some(OutputItem::Message { content, .. }) => {
                let part = &content[0];
                let (text, logprobs) = (&part.text, &part.logprobs);
                let done = json!({"content_index": 0, "text": text, "logprobs": logprobs});
                vec![
                    ("response.output_text.done", done),
                    (
                        "response.content_part.done",
                        json!({"content_index": 0, "part": part}),
                    ),
                ]
            }
            Some(OutputItem::FunctionCall {
                name, arguments, ..
            }) => {
                let done = json!({"name": name, "arguments": arguments});
                vec![("response.function_call_arguments.done", done)]
            }
            Some(OutputItem::CustomToolCall { input, .. }) => {
                let done = json!({"input": input});
                vec![("response.custom_tool_call_input.done", done)]
            }
            // Their items say it all.
            Some(
                OutputItem::LocalShellCall { .. }
                | OutputItem::ShellCall { .. }
                | OutputItem::ApplyPatchCall { .. }
                | OutputItem::ToolSearchCall { .. },
            )
            | None => Vec::new(),
        };
        for (name, fields) in told {
            self.tell(name, |this| this.of_item(fields));
        }
        self.tell(
            "response.output_item.done",
            |this| json!({"output_index": this.response.output.len() - 1, "item": this.last()}),
        );
    }

    fn last(&self) -> Option<&OutputItem> {
        self.response.output.last()
    }

    /// The id of the next item.
    fn next_item_id(&self, prefix: &str) -> String {
        let name = self.response.id.trim_start_matches("resp_");
        format!("{prefix}_{name}_{}", self.response.output.len())
    }

    /// `fields` of an event about the last item, after those that say which it is.
    fn of_item(&self, fields: Value) -> Value {
        let id = self.last().map_or("", OutputItem::id);
        let index = self.response.output.len().saturating_sub(1);
        let mut event = json!({"item_id": id, "output_index": index});
        if let (Value::Object(event), Value::Object(fields)) = (&mut event, fields) {
            event.extend(fields);
        }
        event
    }

    fn tell(&mut self, name: &'static str, fields: impl FnOnce(&Self) -> Value) {
        if self.news.is_some() {
            let fields = fields(self);
            self.news
                .iter_mut()
                .for_each(|news| news.push((name, fields.clone())));
        }
    }
}
