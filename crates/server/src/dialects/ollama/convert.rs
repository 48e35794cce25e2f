//! Ollama's wire types to the server's own requests. Pure.

use matou_engine::SamplingParams;
use matou_grammar::GrammarSpec;
use serde_json::{Map, Value, json};

use super::wire::{
    ChatFields, CommonFields, GenerateFields, Message, Options, RunnerOptions, ToolCall,
};
use crate::body::read_object;
use crate::dialects::shared::convert::{MAX_MESSAGES, functions, generation_options};
use crate::dialects::shared::fields::no_more_than;
use crate::dialects::shared::fields::{logprobs, required};
use crate::dialects::shared::wire::SharedFields;
use crate::error::ApiError;
use matou_llm::models::KeepAlive;
use matou_llm::request::{
    ChatCall, ChatRequest, GenerationOptions, OutputGrammar, PromptInput, Reasoning, SceneChoice,
};
use matou_llm::tools::functions::FunctionChoice;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AskedFor {
    /// Nothing but that the model is there.
    Load,
    /// An answer to a conversation.
    Chat(Box<ChatCall>),
    /// The continuation of a text, or what lies between it and the text that is to follow.
    Raw {
        /// The text.
        prompt: PromptInput,
        /// What comes after the gap, if there is one.
        suffix: Option<String>,
        /// How to answer; there are no messages.
        call: Box<ChatCall>,
    },
}

/// Checks and converts `POST /api/chat`.
///
/// # Errors
///
/// Names the first field that cannot be honoured, and why.
pub(crate) fn chat_call(
    common: CommonFields,
    chat: ChatFields,
    defaults: &SamplingParams,
) -> Result<AskedFor, ApiError> {
    let mut call = call(common, defaults)?;
    let messages = chat.messages.unwrap_or_default();
    if messages.is_empty() {
        return Ok(AskedFor::Load);
    }
    no_more_than("messages", &messages, MAX_MESSAGES)?;
    let messages = messages.into_iter().enumerate();
    let messages: Result<Vec<Value>, ApiError> = messages
        .map(|(i, message)| template_message(i, message))
        .collect();
    let offered = functions(chat.tools.as_deref().unwrap_or_default())?;
    call.request.tools = offered.tool_use(FunctionChoice::Auto, true)?;
    call.request.messages = messages?;
    let last = call
        .request
        .messages
        .last()
        .filter(|last| last["role"] == "assistant");
    // An answer that has begun is continued.
    if last.is_some_and(|last| last.get("tool_calls").is_none()) {
        call.request.continue_final_message = true;
        call.request.add_generation_prompt = false;
        call.options.text.continues_prompt = true;
    }
    Ok(AskedFor::Chat(Box::new(call)))
}

/// Checks and converts `POST /api/generate`.
///
/// # Errors
///
/// Names the first field that cannot be honoured, and why.
pub(crate) fn generate_call(
    common: CommonFields,
    generate: GenerateFields,
    defaults: &SamplingParams,
) -> Result<AskedFor, ApiError> {
    let suffix = generate.suffix.filter(|suffix| !suffix.is_empty());
    let system = generate.system.filter(|system| !system.is_empty());
    let is_raw = generate.raw.unwrap_or(false) || suffix.is_some();
    let mut call = call(common, defaults)?;
    let Some(prompt) = generate.prompt.filter(|prompt| !prompt.is_empty()) else {
        return Ok(AskedFor::Load);
    };
    if is_raw {
        refuse_with_raw(system.is_some(), call.request.reasoning.as_ref())?;
        call.options.text.continues_prompt = true;
        let prompt = PromptInput::Text {
            text: prompt,
            add_special_tokens: true,
        };
        let call = Box::new(call);
        return Ok(AskedFor::Raw {
            prompt,
            suffix,
            call,
        });
    }
    let messages = &mut call.request.messages;
    messages.extend(system.map(|system| json!({"role": "system", "content": system})));
    messages.push(json!({"role": "user", "content": prompt}));
    Ok(AskedFor::Chat(Box::new(call)))
}

/// How long the model is to stay after the request: seconds, or a duration such as `5m`; for ever if it is
/// negative.
pub(super) fn read_keep_alive(value: Option<&Value>) -> Result<Option<KeepAlive>, ApiError> {
    let wrong = |message: String| ApiError::invalid("keep_alive", message);
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(seconds)) => Ok(seconds.as_f64().map(KeepAlive::from_seconds)),
        Some(Value::String(time)) => match time.parse() {
            Ok(keep) => Ok(Some(keep)),
            Err(error) => Err(wrong(format!("`keep_alive` {error}."))),
        },
        Some(_) => Err(wrong(
            "`keep_alive` must be a number of seconds or a duration such as \"5m\".".to_owned(),
        )),
    }
}

/// Refuses what a template would have to say.
fn refuse_with_raw(has_system: bool, reasoning: Option<&Reasoning>) -> Result<(), ApiError> {
    let thinks = reasoning.is_some_and(|reasoning| *reasoning != Reasoning::Off);
    let refused = [("system", has_system), ("think", thinks)];
    match refused.iter().find(|(_, is_given)| *is_given) {
        Some((param, _)) => {
            let message = format!(
                "`{param}` cannot be given with `raw` or `suffix`: the prompt is used as it is."
            );
            Err(ApiError::invalid(*param, message))
        }
        None => Ok(()),
    }
}

/// What both have in common: a call without messages.
fn call(common: CommonFields, defaults: &SamplingParams) -> Result<ChatCall, ApiError> {
    let given = common.options.clone().unwrap_or_default();
    let given: Options = read_object("options", &given.into())?;
    let mut options = options(given, defaults).map_err(|error| error.renamed_inside("options"))?;
    options.sampling.logprobs = logprobs(common.logprobs, common.top_logprobs)?;
    Ok(ChatCall {
        request: ChatRequest {
            scene: SceneChoice::default(),
            messages: Vec::new(),
            add_generation_prompt: true,
            continue_final_message: false,
            template_kwargs: Map::new(),
            tools: None,
            reasoning: reasoning(common.think.as_ref())?,
        },
        options,
        output: output_grammar(common.format)?,
        thinking_budget: None,
    })
}

fn options(given: Options, defaults: &SamplingParams) -> Result<GenerationOptions, ApiError> {
    let RunnerOptions { num_predict, .. } = given.runner;
    let fields = SharedFields {
        sampling: given.sampling,
        ..SharedFields::default()
    };
    let mut options = generation_options(&fields, defaults)?;
    options.sampling.max_tokens = match num_predict {
        None => defaults.max_tokens,
        // 0 too is no bound, as in Ollama.
        Some(n) => usize::try_from(n).ok().filter(|n| *n > 0),
    };
    Ok(options)
}

/// Checks the options of an embedding, where none of them means anything.
///
/// # Errors
///
/// Names the first one that cannot be read.
pub(crate) fn check_embed_options(options: Option<Map<String, Value>>) -> Result<(), ApiError> {
    let _: Options = read_object("options", &options.unwrap_or_default().into())?;
    Ok(())
}

fn reasoning(think: Option<&Value>) -> Result<Option<Reasoning>, ApiError> {
    match think {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(true)) => Ok(Some(Reasoning::On)),
        Some(Value::Bool(false)) => Ok(Some(Reasoning::Off)),
        Some(Value::String(word)) if ["low", "medium", "high"].contains(&word.as_str()) => {
            Ok(Some(Reasoning::Effort(word.clone())))
        }
        Some(other) => {
            let message = format!(
                "`think` must be true, false, \"low\", \"medium\" or \"high\", got {other}."
            );
            Err(ApiError::invalid("think", message))
        }
    }
}

fn output_grammar(format: Option<Value>) -> Result<Option<OutputGrammar>, ApiError> {
    let spec = match format {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(word)) if word.is_empty() => return Ok(None),
        Some(Value::String(word)) if word == "json" => GrammarSpec::JsonObject,
        Some(schema @ Value::Object(_)) => GrammarSpec::JsonSchema(schema),
        Some(other) => {
            let message = format!("`format` must be \"json\" or a JSON schema, got {other}.");
            return Err(ApiError::invalid("format", message));
        }
    };
    let param = "format".to_owned();
    Ok(Some(OutputGrammar { param, spec }))
}

fn template_message(i: usize, message: Message) -> Result<Value, ApiError> {
    let role = message.role.as_deref().unwrap_or_default();
    if !["system", "user", "assistant", "tool"].contains(&role) {
        let param = format!("messages[{i}].role");
        let message = format!("`{param}` must be system, user, assistant or tool, got \"{role}\".");
        return Err(ApiError::invalid(param, message));
    }
    if message.images.is_some_and(|images| !images.is_empty()) {
        let param = format!("messages[{i}].images");
        let message = format!("`{param}` cannot be read: this model takes text.");
        return Err(ApiError::unsupported(param, message));
    }
    let mut fields = json!({"role": role, "content": message.content.unwrap_or_default()});
    let optional = [
        (
            "reasoning_content",
            message.thinking.filter(|text| !text.is_empty()),
        ),
        ("name", message.tool_name),
        ("tool_call_id", message.tool_call_id),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            fields[name] = value.into();
        }
    }
    let calls = message.tool_calls.unwrap_or_default();
    if !calls.is_empty() {
        let calls = calls.into_iter().enumerate();
        let calls: Result<Vec<Value>, ApiError> = calls
            .map(|(j, call)| template_call(&format!("messages[{i}].tool_calls[{j}]"), call))
            .collect();
        fields["tool_calls"] = calls?.into();
    }
    Ok(fields)
}

fn template_call(param: &str, call: ToolCall) -> Result<Value, ApiError> {
    let name = required(call.function.name, param, "function.name")?;
    let arguments = Value::Object(call.function.arguments.unwrap_or_default());
    let function = json!({"name": name, "arguments": arguments.to_string()});
    Ok(json!({"id": call.id, "type": "function", "function": function}))
}
