//! Which fields are known, so that none of them is skipped in silence.
//!
//! Objects that do the same job in different dialects are a family: requests, messages, tools. A
//! field that one of the family has is known to all: where it is not a field, it is refused by name,
//! unless it asks for nothing. The names are those of the wire types themselves; the tables below add
//! only what no wire type has. What nobody knows is skipped: clients send new fields all the time.

use std::cell::Cell;
use std::sync::LazyLock;

use serde::de::value::Error as Nothing;
use serde::de::{DeserializeOwned, Deserializer, Error, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Value, json};

use super::shared::wire::{
    DeliveryFields, FunctionDefinition, GrammarFields, SamplingFields, SharedFields, ToolDefinition,
};
use super::{adapters, anthropic, management, ollama, openai, responses};
use crate::body::{Fields, KnownFields, Lookup, Names, Source};
use crate::error::ApiError;

/// Fields of requests to OpenAI and to other servers that no endpoint of this one obeys.
const UNSUPPORTED: Names = &[
    "functions",
    "function_call",
    "modalities",
    "audio",
    "web_search_options",
    "use_beam_search",
    "length_penalty",
    "truncate_prompt_tokens",
    "chat_template",
    "documents",
    "prompt_embeds",
    "logits_processors",
    "structural_tag",
    "guided_whitespace_pattern",
    "n_predict",
    "n_probs",
    "samplers",
    "min_keep",
    "t_max_predict_ms",
    "lora",
    "image_data",
    "tfs_z",
    "top_a",
    "penalize_newline",
    "container",
    "template",
    "context",
    "images",
];

/// Fields of messages that no dialect here obeys.
const UNSUPPORTED_IN_MESSAGES: Names = &["function_call", "audio", "images"];

/// Values that ask for nothing, beside null, false and what is empty: those that a field has when it
/// is missing.
static DEFAULTS: LazyLock<Vec<(&str, Value)>> = LazyLock::new(|| {
    vec![
        ("n", json!(1)),
        ("best_of", json!(1)),
        ("function_call", json!("none")),
        ("function_call", json!("auto")),
        ("tool_choice", json!("none")),
        ("tool_choice", json!("auto")),
        ("parallel_tool_calls", json!(true)),
        ("modalities", json!(["text"])),
        ("service_tier", json!("auto")),
        ("service_tier", json!("default")),
        ("add_generation_prompt", json!(true)),
        ("skip_special_tokens", json!(true)),
        ("penalize_newline", json!(true)),
        ("length_penalty", json!(1.0)),
        ("tfs_z", json!(1.0)),
        ("top_a", json!(0)),
        ("top_logprobs", json!(0)),
        ("n_probs", json!(0)),
        ("min_keep", json!(0)),
        ("t_max_predict_ms", json!(0)),
        ("t_max_predict_ms", json!(-1)),
        ("encoding_format", json!("float")),
        ("type", json!("message")),
    ]
});

/// Fields that hint at something or give leave, whatever their value: how long a model is kept, how
/// much is said, what may be dropped from a long conversation.
const HINTS: Names = &[
    "keep_alive",
    "verbosity",
    "context_management",
    "truncation",
];

/// Options of Ollama's that bound something from above, or say how to run a model.
const BOUNDS: Names = &[
    "num_ctx",
    "num_predict",
    "num_keep",
    "num_batch",
    "num_gpu",
    "num_thread",
    "main_gpu",
    "low_vram",
    "numa",
    "use_mmap",
    "use_mlock",
];

/// Fields that ask for something when they are false.
const FALSE_ASKS: Names = &[
    "parallel_tool_calls",
    "add_generation_prompt",
    "skip_special_tokens",
    "penalize_newline",
    "think",
];

/// Names for the same thing in different dialects.
const SYNONYMS: [Names; 6] = [
    &[
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "num_predict",
        "n_predict",
    ],
    &["stop", "stop_sequences"],
    &["reasoning_effort", "reasoning", "thinking", "think"],
    &["response_format", "text", "output_config", "format"],
    &["messages", "input", "prompt"],
    &["system", "instructions"],
];

/// Objects that do the same job.
struct Family {
    members: Vec<Names>,
    unsupported: Names,
}

/// What can be asked for.
static REQUESTS: LazyLock<Family> = LazyLock::new(|| Family {
    members: requests(),
    unsupported: UNSUPPORTED,
});

/// What is said.
static MESSAGES: LazyLock<Family> = LazyLock::new(|| Family {
    members: vec![
        names::<openai::wire::ChatMessage>(),
        names::<responses::wire::InputItem>(),
        names::<anthropic::wire::Message>(),
        names::<ollama::wire::Message>(),
    ],
    unsupported: UNSUPPORTED_IN_MESSAGES,
});

/// What can be called.
static TOOLS: LazyLock<Family> = LazyLock::new(|| Family {
    members: vec![
        names::<ToolDefinition>(),
        names::<FunctionDefinition>(),
        names::<responses::wire::Tool>(),
        names::<anthropic::wire::Tool>(),
    ],
    unsupported: &[],
});

/// The types that requests, or parts of them, are read as. No other type can be: see [`Fields`].
macro_rules! requests {
    ($($type:ty),+ $(,)?) => {
        $(impl Fields for $type {
            fn names() -> Vec<Names> {
                vec![names::<Self>()]
            }

            fn known() -> Lookup {
                lookup
            }

            fn read(source: &Source<'_>) -> Result<Self, ApiError> {
                source.read()
            }
        })+

        fn requests() -> Vec<Names> {
            vec![$(names::<$type>()),+]
        }
    };
}

requests!(
    openai::wire::ChatCompletionRequest,
    openai::wire::CompletionRequest,
    SamplingFields,
    DeliveryFields,
    GrammarFields,
    openai::wire::EmbeddingsRequest,
    openai::wire::TokenizeRequest,
    openai::wire::DetokenizeRequest,
    responses::wire::ResponsesRequest,
    responses::wire::EchoedFields,
    anthropic::wire::MessagesRequest,
    ollama::wire::CommonFields,
    ollama::wire::ChatFields,
    ollama::wire::GenerateFields,
    ollama::wire::RunnerOptions,
    ollama::wire::EmbedRequest,
    ollama::wire::EmbeddingsRequest,
    ollama::wire::ShowRequest,
    ollama::wire::PullRequest,
    ollama::wire::DeleteRequest,
    management::ModelRequest,
    adapters::LoadAdapterRequest,
    adapters::UnloadAdapterRequest,
);

/// Types made of several others that are read from one object.
macro_rules! composites {
    ($($type:ty { $($part:ident),+ })+) => {
        $(impl Fields for $type {
            fn names() -> Vec<Names> {
                let parts = Self::default();
                [$(names_of(&parts.$part)),+].concat()
            }

            fn known() -> Lookup {
                lookup
            }

            fn read(source: &Source<'_>) -> Result<Self, ApiError> {
                Ok(Self { $($part: Fields::read(source)?),+ })
            }
        })+
    };
}

composites! {
    SharedFields { sampling, delivery, grammar }
    ollama::wire::Options { sampling, runner }
}

/// The names of a value's fields, for its type.
fn names_of<T: Fields>(_: &T) -> Vec<Names> {
    T::names()
}

/// The names of all fields of requests that some endpoint obeys or that are refused by name.
pub fn known_fields() -> Vec<&'static str> {
    let members = REQUESTS.members.iter().copied().flatten();
    let mut known: Vec<_> = members.chain(UNSUPPORTED).copied().collect();
    known.sort_unstable();
    known.dedup();
    known
}

/// An object of a family, as it is read.
struct Object {
    /// The types that its fields are shared out between.
    parts: Vec<Names>,
    family: &'static Family,
}

/// The object whose own fields are `fields`, if it has a family.
fn lookup(fields: Names, parts: &[Names]) -> Option<Box<dyn KnownFields>> {
    if parts.contains(&fields) {
        let parts = parts.to_vec();
        let family = &*REQUESTS;
        return Some(Box::new(Object { parts, family }));
    }
    let families = [&*MESSAGES, &*TOOLS];
    let family = families
        .into_iter()
        .find(|family| family.members.contains(&fields))?;
    let parts = vec![fields];
    Some(Box::new(Object { parts, family }))
}

impl Object {
    fn has(&self, name: &str) -> bool {
        self.parts.iter().any(|fields| fields.contains(&name))
    }
}

impl KnownFields for Object {
    fn skips(&self, name: &str) -> bool {
        let known = |fields: &Names| fields.contains(&name);
        !self.has(name)
            && (known(&self.family.unsupported) || self.family.members.iter().any(known))
    }

    fn refusal(&self, name: &str, value: &Value) -> Option<String> {
        if asks_for_nothing(name, value) {
            return None;
        }
        if self.family.unsupported.contains(&name) {
            return Some("is not supported by this server".to_owned());
        }
        let synonyms = SYNONYMS.iter().filter(|words| words.contains(&name));
        let meant = synonyms.copied().flatten().find(|word| self.has(word));
        let is_option = self.has("options")
            && ollama::wire::Options::names()
                .iter()
                .any(|fields| fields.contains(&name));
        let hint = match meant {
            Some(word) => format!(": use `{word}`"),
            None if is_option => ": put it into `options`".to_owned(),
            None => String::new(),
        };
        Some(format!("is not a field of this endpoint{hint}"))
    }
}

fn asks_for_nothing(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(false) if !FALSE_ASKS.contains(&name) => true,
        Value::String(text) if text.is_empty() => true,
        Value::Array(list) if list.is_empty() => true,
        Value::Object(fields) if fields.is_empty() => true,
        _ if HINTS.contains(&name) => true,
        // What gateways put beside the fields of OpenAI.
        Value::Object(fields) if name == "options" => fields
            .iter()
            .all(|(name, value)| BOUNDS.contains(&name.as_str()) || asks_for_nothing(name, value)),
        value => DEFAULTS
            .iter()
            .any(|(of, default)| *of == name && is_same(default, value)),
    }
}

/// Whether two values are the same, 1 and 1.0 too.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// The names of the fields of `T`, as it tells them to whoever is to read it.
fn names<T: DeserializeOwned>() -> Names {
    let found = Cell::new(&[][..]);
    let _ = T::deserialize(Asked(&found));
    found.get()
}

/// A deserializer that has nothing, and remembers what it was asked for.
struct Asked<'a>(&'a Cell<Names>);

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Nothing;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Nothing> {
        Err(Nothing::custom("there is nothing here"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: Names,
        visitor: V,
    ) -> Result<V::Value, Nothing> {
        self.0.set(fields);
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
