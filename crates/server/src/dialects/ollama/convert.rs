//! Ollama's wire types to the server's own requests. Pure.

use matou_engine::SamplingParams;
use matou_grammar::GrammarSpec;
use serde_json::{Map, Value, json};

use super::wire::{ChatFields, CommonFields, GenerateFields, Message, RunnerOptions, ToolCall};
use crate::dialects::fields::in_range;
use crate::dialects::openai::convert::{MAX_TOP_LOGPROBS, functions, generation_options};
use crate::error::ApiError;
use crate::functions::{FunctionChoice, tool_use};
use crate::request::{
    ChatCall, ChatRequest, GenerationOptions, OutputGrammar, PromptInput, Reasoning,
    ResponseOptions,
};

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// Nothing but that the model is there.
    Load,
    /// An answer to a conversation.
    Chat(Box<ChatCall>),
    /// The continuation of a text.
    Raw(PromptInput, Box<ChatCall>),
}

/// Checks and converts `POST /api/chat`.
///
/// # Errors
///
/// Names the first field that cannot be honoured, and why.
pub fn chat_call(
    common: CommonFields,
    runner: &RunnerOptions,
    chat: ChatFields,
    defaults: &SamplingParams,
    max_model_len: usize,
) -> Result<Call, ApiError> {
    let mut call = call(common, runner, defaults, max_model_len)?;
    let messages = chat.messages.unwrap_or_default();
    if messages.is_empty() {
        return Ok(Call::Load);
    }
    let messages = messages.into_iter().enumerate();
    let messages: Result<Vec<Value>, ApiError> = messages
        .map(|(i, message)| template_message(i, message))
        .collect();
    let functions = functions(chat.tools.as_deref().unwrap_or_default())?;
    call.request.tools = tool_use(functions, FunctionChoice::Auto, true)?;
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
    Ok(Call::Chat(Box::new(call)))
}

/// Checks and converts `POST /api/generate`.
///
/// # Errors
///
/// Names the first field that cannot be honoured, and why.
pub fn generate_call(
    common: CommonFields,
    runner: &RunnerOptions,
    generate: GenerateFields,
    defaults: &SamplingParams,
    max_model_len: usize,
) -> Result<Call, ApiError> {
    let is_given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let refused = [
        ("suffix", is_given(&generate.suffix)),
        ("template", is_given(&generate.template)),
        (
            "context",
            generate.context.is_some_and(|ids| !ids.is_empty()),
        ),
        (
            "images",
            generate.images.is_some_and(|images| !images.is_empty()),
        ),
    ];
    if let Some((param, _)) = refused.iter().find(|(_, is_given)| *is_given) {
        let message = format!("`{param}` is not supported by this server.");
        return Err(ApiError::unsupported(*param, message));
    }
    let mut call = call(common, runner, defaults, max_model_len)?;
    let Some(prompt) = generate.prompt.filter(|prompt| !prompt.is_empty()) else {
        return Ok(Call::Load);
    };
    if generate.raw.unwrap_or(false) {
        call.options.text.continues_prompt = true;
        let input = PromptInput::Text {
            text: prompt,
            add_special_tokens: true,
        };
        return Ok(Call::Raw(input, Box::new(call)));
    }
    let system = generate.system.filter(|system| !system.is_empty());
    let messages = &mut call.request.messages;
    messages.extend(system.map(|system| json!({"role": "system", "content": system})));
    messages.push(json!({"role": "user", "content": prompt}));
    Ok(Call::Chat(Box::new(call)))
}

/// What both have in common: a call without messages.
fn call(
    common: CommonFields,
    runner: &RunnerOptions,
    defaults: &SamplingParams,
    max_model_len: usize,
) -> Result<ChatCall, ApiError> {
    let options = options(&common, runner, defaults, max_model_len)
        .map_err(|error| in_options(error, common.options.is_some()))?;
    Ok(ChatCall {
        model: common.model,
        request: ChatRequest {
            messages: Vec::new(),
            add_generation_prompt: true,
            continue_final_message: false,
            template_kwargs: Map::new(),
            tools: None,
            reasoning: reasoning(common.think.as_ref())?,
        },
        options,
        output: output_grammar(common.format)?,
        response: ResponseOptions {
            stream: common.stream.unwrap_or(true),
            include_usage: true,
            timings: true,
        },
    })
}

fn options(
    common: &CommonFields,
    runner: &RunnerOptions,
    defaults: &SamplingParams,
    max_model_len: usize,
) -> Result<GenerationOptions, ApiError> {
    let fields = common.options.clone().unwrap_or_default();
    let mut options = generation_options(&fields, defaults)?;
    if options.n != 1 {
        return Err(ApiError::unsupported(
            "n",
            "`n` is not supported: there is one answer.",
        ));
    }
    if let Some(num_ctx) = in_range("num_ctx", runner.num_ctx, 1, i64::MAX)?
        && num_ctx as usize > max_model_len
    {
        let message = format!(
            "`num_ctx` is {num_ctx}, but this server runs with a context of {max_model_len} \
             tokens; start it with a larger --max-model-len."
        );
        return Err(ApiError::unsupported("num_ctx", message));
    }
    if runner.repeat_last_n.is_some_and(|n| n != -1) {
        let message = "`repeat_last_n` must be -1: repetitions are penalised in the whole text.";
        return Err(ApiError::unsupported("repeat_last_n", message));
    }
    options.sampling.max_tokens = match runner.num_predict {
        None => defaults.max_tokens,
        Some(n) if n < 0 => None,
        given => in_range("num_predict", given, 1, i64::MAX)?.map(|n| n as usize),
    };
    let top = in_range("top_logprobs", common.top_logprobs, 0, MAX_TOP_LOGPROBS)?;
    if common.logprobs.unwrap_or(false) {
        options.sampling.logprobs = Some(top.unwrap_or(0) as usize);
    } else if top.is_some_and(|top| top > 0) {
        let message = "`top_logprobs` is only allowed when `logprobs` is true.";
        return Err(ApiError::invalid("top_logprobs", message));
    }
    Ok(options)
}

/// Sampling parameters are among the options here.
fn in_options(error: ApiError, has_options: bool) -> ApiError {
    match error.param() {
        Some(param) if has_options && param != "top_logprobs" => {
            let param = param.to_owned();
            error.renamed(&param, &format!("options.{param}"))
        }
        _ => error,
    }
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
    let Some(name) = call.function.name else {
        let param = format!("{param}.function.name");
        let message = format!("`{param}` is missing.");
        return Err(ApiError::invalid(param, message));
    };
    let arguments = call.function.arguments.unwrap_or_else(|| json!({}));
    let function = json!({"name": name, "arguments": arguments.to_string()});
    Ok(json!({"id": call.id, "type": "function", "function": function}))
}
