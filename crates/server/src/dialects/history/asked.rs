//! What clients send, and what is asked of a model with it.

use matou_history::{Changes, ImportedConversation, Message, NewConversation, NewMessage, Role};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::body::plain;
use crate::error::ApiError;

plain!(
    NewConversation,
    Changes,
    NewMessage,
    ImportedConversation,
    Several
);

/// Several conversations, as they were exported.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Several {
    pub(super) conversations: Option<Vec<ImportedConversation>>,
}

/// `POST /v1/history/{id}/answers`: what is answered. All fields of chat completions may stand beside
/// these, but for `messages`, `stream` and `n`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
pub(crate) struct AnswerFields {
    /// The message that is answered.
    pub parent: Option<String>,
    /// Instead, the answer that is gone on with.
    pub r#continue: Option<String>,
    /// The id that the answer gets, `msg_` and 32 hexadecimal digits: who chooses it can stop the answer
    /// while its model is loaded.
    pub id: Option<String>,
    /// Put before the conversation, as its first message.
    pub system: Option<String>,
}

/// What this endpoint decides itself.
const OWN: [&str; 5] = ["messages", "stream", "stream_options", "n", "timings"];

/// Fields of a request that are kept with its answer, for all to see who list it: how it was made.
const SETTINGS: [&str; 14] = [
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "reasoning_effort",
    "persona",
    "logprobs",
];

/// What is to be done.
pub(super) enum Target {
    /// This message is answered.
    Answers(String),
    /// This answer is gone on with.
    GoesOn(String),
}

impl Target {
    /// The last message that the model reads.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Answers(id) | Self::GoesOn(id) => id,
        }
    }
}

impl AnswerFields {
    /// These fields, and those of chat completions.
    ///
    /// # Errors
    ///
    /// When one has the wrong type, or is the server's to set.
    pub(super) fn apart(
        mut body: Map<String, Value>,
    ) -> Result<(Self, Map<String, Value>), ApiError> {
        let mut text = |name: &str| match body.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => {
                let message = format!("Invalid value for `{name}`: expected a string.");
                Err(ApiError::wrong_type(name, message))
            }
        };
        let fields = Self {
            parent: text("parent")?,
            r#continue: text("continue")?,
            id: text("id")?,
            system: text("system")?.filter(|system| !system.is_empty()),
        };
        if let Some(name) = OWN.into_iter().find(|name| body.contains_key(*name)) {
            let message = format!(
                "`{name}` is no field of this endpoint: the conversation's messages are answered, once, \
                 and streamed."
            );
            return Err(ApiError::unsupported(name, message));
        }
        Ok((fields, body))
    }

    /// What is to be done.
    ///
    /// # Errors
    ///
    /// When that is not said, or an id is given to an answer that has one.
    pub(super) fn target(&self) -> Result<Target, ApiError> {
        match (&self.parent, &self.r#continue) {
            (Some(parent), None) => Ok(Target::Answers(parent.clone())),
            (None, Some(_)) if self.id.is_some() => {
                let message = "An answer that is gone on with keeps its id.";
                Err(ApiError::invalid("id", message))
            }
            (None, Some(answer)) => Ok(Target::GoesOn(answer.clone())),
            (Some(_), Some(_)) | (None, None) => Err(ApiError::bad_request(
                "Give either `parent`, the message to answer, or `continue`, the answer to go on with.",
            )),
        }
    }
}

/// What is asked of a model.
pub(super) struct Asked {
    pub(super) target: Target,
    pub(super) system: Option<String>,
    /// The fields of chat completions.
    pub(super) request: Map<String, Value>,
}

impl Asked {
    /// The answer that is gone on with, of the branch that it ends, if one is.
    ///
    /// # Errors
    ///
    /// When it is no text of a model's.
    pub(super) fn gone_on_with(&self, path: &[Message]) -> Result<Option<Message>, ApiError> {
        let (Target::GoesOn(_), Some(last)) = (&self.target, path.last()) else {
            return Ok(None);
        };
        let has_calls = last
            .tool_calls
            .as_ref()
            .is_some_and(|calls| !calls.is_empty());
        if last.role != Role::Assistant || !last.content.is_string() || has_calls {
            let message = "`continue` names a message that is no text of a model's.";
            return Err(ApiError::invalid("continue", message));
        }
        Ok(Some(last.clone()))
    }

    /// How the answer is made, for all to see who list it.
    pub(super) fn settings(&self) -> Value {
        let fields = self.request.iter();
        let settings =
            fields.filter(|(name, value)| SETTINGS.contains(&name.as_str()) && !value.is_null());
        let settings: Map<String, Value> = settings.map(|(k, v)| (k.clone(), v.clone())).collect();
        settings.into()
    }

    /// The request as it is kept: its messages are those of the conversation.
    pub(super) fn kept(&self) -> Value {
        let mut kept = self.request.clone();
        if let Some(system) = &self.system {
            kept.insert("system".to_owned(), system.clone().into());
        }
        kept.into()
    }

    /// The request as chat completions take it.
    pub(super) fn as_chat(&self, path: &[Message]) -> Value {
        let mut chat = self.request.clone();
        let messages = Self::messages(self.system.as_deref(), path);
        chat.insert("messages".to_owned(), messages.into());
        chat.insert("stream".to_owned(), true.into());
        chat.insert("stream_options".to_owned(), json!({"include_usage": true}));
        chat.insert("timings".to_owned(), true.into());
        if matches!(self.target, Target::GoesOn(_)) {
            chat.insert("continue_final_message".to_owned(), true.into());
            chat.insert("add_generation_prompt".to_owned(), false.into());
        }
        chat.into()
    }

    /// The messages of a branch as chat completions take them.
    pub(super) fn messages(system: Option<&str>, path: &[Message]) -> Vec<Value> {
        let system = system.map(|system| json!({"role": "system", "content": system}));
        system
            .into_iter()
            .chain(path.iter().filter_map(spoken))
            .collect()
    }
}

/// A message as chat completions take it; none where nothing was said, as in an answer that failed.
fn spoken(message: &Message) -> Option<Value> {
    let calls = message.tool_calls.as_ref();
    let calls = calls.filter(|calls| !calls.is_empty());
    let is_empty = message.content.as_str().is_some_and(str::is_empty);
    if is_empty && calls.is_none() && message.role == Role::Assistant {
        return None;
    }
    let mut spoken = json!({"role": message.role.as_str(), "content": message.content});
    if let Some(calls) = calls {
        spoken["tool_calls"] = calls.clone().into();
        // What a model thought before a call, it has to know after it.
        if let Some(reasoning) = &message.reasoning {
            spoken["reasoning_content"] = reasoning.clone().into();
        }
    }
    if let Some(id) = &message.tool_call_id {
        spoken["tool_call_id"] = id.clone().into();
    }
    Some(spoken)
}
