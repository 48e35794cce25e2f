//! `POST /v1/chat/completions` to a [`ChatRequest`].

use matou_engine::SamplingParams;
use matou_llm::request::{ChatCall, ChatRequest, SceneChoice, ToolUse};
use matou_llm::tools::functions::FunctionChoice;
use serde_json::{Map, Value, json};

use crate::dialects::openai::wire::{
    ChatCompletionRequest, ChatMessage, ContentPart, CustomCall, FunctionCall, ToolCall,
};
use crate::dialects::personas::SceneFields;
use crate::dialects::shared::convert::{
    MAX_MESSAGES, MAX_TEMPLATE_KWARGS, ResponseOptions, allowed, custom_arguments, functions,
    generation_options, not_understood, output_grammar, prompt_logprobs, reasoning_effort,
    response_options, word_choice,
};
use crate::dialects::shared::fields::{
    count, in_range, json_no_longer_than, logprobs, missing, no_more_than,
};
use crate::dialects::shared::union::TextOr;
use crate::dialects::shared::wire::SharedFields;
use crate::error::ApiError;

/// Checks and converts a chat completion request.
///
/// # Errors
///
/// Names the first parameter that cannot be honoured, and why.
pub(crate) fn chat_call(
    wire: ChatCompletionRequest,
    shared: &SharedFields,
    defaults: &SamplingParams,
) -> Result<(ChatCall, ResponseOptions), ApiError> {
    let response = response_options(&shared.delivery)?;
    let mut options = generation_options(shared, defaults)?;
    options.sampling.max_tokens = max_tokens(&wire)?.or(defaults.max_tokens);
    options.sampling.logprobs = logprobs(wire.logprobs, wire.top_logprobs)?;
    options.sampling.prompt_logprobs = prompt_logprobs(wire.prompt_logprobs, response.stream)?;
    let output = output_grammar(&shared.grammar)?;
    let budget = count("thinking_token_budget", wire.thinking_token_budget)?;
    let request = chat_request(wire)?;
    options.text.continues_prompt = request.continue_final_message;
    let call = ChatCall {
        request,
        options,
        output,
        thinking_budget: budget,
    };
    Ok((call, response))
}

/// The conversation of a request, without how to answer it.
///
/// # Errors
///
/// Names the message that cannot be used, and why.
pub(crate) fn chat_request(wire: ChatCompletionRequest) -> Result<ChatRequest, ApiError> {
    let continue_final_message = wire.continue_final_message.unwrap_or(false);
    let add_generation_prompt = wire
        .add_generation_prompt
        .unwrap_or(!continue_final_message);
    if continue_final_message && add_generation_prompt {
        let message = "`continue_final_message` and `add_generation_prompt` cannot both be true.";
        return Err(ApiError::invalid("continue_final_message", message));
    }
    let kwargs = wire.chat_template_kwargs.as_ref();
    json_no_longer_than("chat_template_kwargs", &kwargs, MAX_TEMPLATE_KWARGS)?;
    Ok(ChatRequest {
        tools: offered_tools(&wire)?,
        messages: messages(wire.messages)?,
        add_generation_prompt,
        continue_final_message,
        template_kwargs: wire.chat_template_kwargs.unwrap_or_default(),
        reasoning: reasoning_effort(wire.reasoning_effort.as_deref())?,
        scene: scene(wire.persona)?,
    })
}

/// What a persona is to know.
fn scene(wire: Option<SceneFields>) -> Result<SceneChoice, ApiError> {
    let Some(SceneFields { greeting, user }) = wire else {
        return Ok(SceneChoice::default());
    };
    let greeting = count("persona.greeting", greeting)?.unwrap_or(0);
    Ok(SceneChoice { greeting, user })
}

/// The tools that the model may or must call, if there are any.
fn offered_tools(wire: &ChatCompletionRequest) -> Result<Option<ToolUse>, ApiError> {
    let offered = functions(wire.tools.as_deref().unwrap_or_default())?;
    let choice = choice(wire.tool_choice.as_ref())?;
    let parallel = wire.parallel_tool_calls.unwrap_or(true);
    offered.tool_use(choice, parallel)
}

fn choice(choice: Option<&Value>) -> Result<FunctionChoice, ApiError> {
    let name = |value: &Value| {
        let kind = value["type"].as_str()?;
        match value.get(kind) {
            Some(tool) => tool["name"].as_str().map(str::to_owned),
            // As the Responses API spells it.
            None if matches!(kind, "function" | "custom") => {
                value["name"].as_str().map(str::to_owned)
            }
            // Tools that run elsewhere have no name but their type.
            None => Some(kind.to_owned()),
        }
    };
    let understood = match choice {
        None => Some(FunctionChoice::Auto),
        Some(Value::String(word)) => word_choice(word),
        Some(value) if value["type"] == "allowed_tools" => allowed(&value["allowed_tools"], name),
        Some(value) => name(value).map(FunctionChoice::Named),
    };
    understood.ok_or_else(not_understood)
}

fn max_tokens(wire: &ChatCompletionRequest) -> Result<Option<usize>, ApiError> {
    let newer = in_range(
        "max_completion_tokens",
        wire.max_completion_tokens,
        1,
        i64::MAX,
    )?;
    let older = in_range("max_tokens", wire.max_tokens, 1, i64::MAX)?;
    // Both are bounds: the lower one holds.
    let bounds = newer.into_iter().chain(older);
    Ok(bounds.min().map(|tokens| tokens as usize))
}

/// The messages as chat templates read them: the fields that were given, under OpenAI's names.
fn messages(messages: Option<Vec<ChatMessage>>) -> Result<Vec<Value>, ApiError> {
    let messages = messages.unwrap_or_default();
    if messages.is_empty() {
        return Err(ApiError::invalid(
            "messages",
            "`messages` must have at least one message.",
        ));
    }
    no_more_than("messages", &messages, MAX_MESSAGES)?;
    messages
        .into_iter()
        .enumerate()
        .map(|(i, message)| template_message(i, message))
        .collect()
}

fn template_message(i: usize, message: ChatMessage) -> Result<Value, ApiError> {
    let role = message.role.as_deref().unwrap_or_default();
    let role = match role {
        // The newer name of the same role; no published template knows it.
        "developer" => "system",
        "system" | "user" | "assistant" | "tool" => role,
        _ => {
            let message = format!(
                "`messages[{i}].role` must be system, developer, user, assistant or tool, \
                 got \"{role}\"."
            );
            return Err(ApiError::invalid(format!("messages[{i}].role"), message));
        }
    };
    let has_calls = message
        .tool_calls
        .as_ref()
        .is_some_and(|calls| !calls.is_empty());
    let content = match (message.content, message.refusal) {
        (Some(content), _) => template_content(i, content)?,
        (None, Some(refusal)) => Value::String(refusal),
        (None, None) if role == "assistant" && has_calls => Value::Null,
        (None, None) => {
            let message = format!("`messages[{i}].content` is missing: a {role} message needs it.");
            return Err(ApiError::invalid(format!("messages[{i}].content"), message));
        }
    };
    let mut fields = Map::new();
    fields.insert("role".to_owned(), role.into());
    fields.insert("content".to_owned(), content);
    let optional = [
        ("name", message.name.map(Value::String)),
        (
            "reasoning_content",
            message.reasoning_content.map(Value::String),
        ),
        ("tool_call_id", message.tool_call_id.map(Value::String)),
        (
            "tool_calls",
            message
                .tool_calls
                .filter(|_| has_calls)
                .map(|calls| template_calls(i, calls))
                .transpose()?,
        ),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    }
    Ok(Value::Object(fields))
}

fn template_content(i: usize, content: TextOr<ContentPart>) -> Result<Value, ApiError> {
    let parts = match content {
        TextOr::Text(text) => return Ok(Value::String(text)),
        TextOr::List(parts) => parts,
    };
    let part = |(j, part): (usize, ContentPart)| {
        let text = match part.kind.as_str() {
            "text" => ("text", part.text),
            "refusal" => ("refusal", part.refusal),
            other => {
                let message = format!(
                    "`messages[{i}].content[{j}]` is of type \"{other}\", which this model \
                     cannot read: it takes text."
                );
                return Err(ApiError::unsupported(
                    format!("messages[{i}].content[{j}].type"),
                    message,
                ));
            }
        };
        match text {
            (_, Some(text)) => Ok(json!({"type": "text", "text": text})),
            (field, None) => {
                let param = format!("messages[{i}].content[{j}].{field}");
                let message = format!("`{param}` is missing.");
                Err(ApiError::invalid(param, message))
            }
        }
    };
    let parts: Result<Vec<Value>, ApiError> = parts.into_iter().enumerate().map(part).collect();
    Ok(Value::Array(parts?))
}

/// Arguments stay the JSON text that they are on the wire; the template turns them into an object
/// if it wants one.
fn template_calls(i: usize, calls: Vec<ToolCall>) -> Result<Value, ApiError> {
    let call = |(j, call): (usize, ToolCall)| {
        let function = match (call.function, call.custom) {
            (Some(FunctionCall { name, arguments }), _) => {
                let arguments = arguments.filter(|text| !text.trim().is_empty());
                json!({"name": name, "arguments": arguments.unwrap_or_else(|| "{}".to_owned())})
            }
            (None, Some(CustomCall { name, input })) => {
                let arguments = custom_arguments(&input.unwrap_or_default());
                json!({"name": name, "arguments": arguments})
            }
            (None, None) => {
                return Err(missing(&format!("messages[{i}].tool_calls[{j}].function")));
            }
        };
        Ok(json!({"id": call.id, "type": "function", "function": function}))
    };
    let calls: Result<Vec<Value>, ApiError> = calls.into_iter().enumerate().map(call).collect();
    Ok(Value::Array(calls?))
}
