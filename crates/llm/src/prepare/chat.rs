//! A conversation on its way to the engine.

use std::time::Duration;

use matou_chat::reasoning::ReasoningFormat;
use matou_chat::tools::ToolFormat;
use matou_chat::{ChatTemplate, RenderedPrompt, TemplateError, TemplateRequest, Tokenizer};
use serde_json::{Map, Value};

use super::PreparedPrompt;
use crate::constraint::ThinkingPlan;
use crate::error::LlmError;
use crate::length::{check_countable, check_length};
use crate::llm::Llm;
use crate::message::MessageFormat;
use crate::prompt::{cannot_tokenize, resolve_sampling};
use crate::request::{ChatCall, ChatRequest, Reasoning};
use crate::tools::words::{answer_grammar, in_words, tool_format};
use crate::wanted::Wanted;

/// Renders and tokenises a conversation, and compiles the grammar of its answer.
///
/// # Errors
///
/// When the template refuses the conversation, when it cannot
/// fit into the context, when the grammar cannot be enforced, or when all this is no longer wanted.
pub fn chat(llm: &Llm, call: ChatCall, wanted: &Wanted) -> Result<PreparedPrompt, LlmError> {
    let mut options = call.options;
    let template = template_of(llm)?;
    let tokenizer = llm.tokenizer();
    let prompt = render(llm, &call.request)?;
    let text = prompt.text();
    check_length(llm, &text, "messages", wanted)?;
    let prompt_token_ids = tokenize_rendered(tokenizer, &prompt)?;
    let notation = tool_format(template);
    let tools = call.request.tools.as_ref();
    let format = MessageFormat {
        reasoning: ReasoningFormat::detect(template.source())
            .map(|format| (format, format.starts_inside(&text))),
        tools: match tools {
            Some(tools) => Some((notation, tools.tools.clone())),
            // Its answers name who they are for, tools or not.
            None if notation == ToolFormat::FunctionaryV32 => Some((notation, Vec::new())),
            None => None,
        },
        only_calls: tools.is_some_and(|tools| tools.required),
    };
    let control = |text: &str| {
        let id = tokenizer.token_to_id(text)?;
        tokenizer.is_special(id).then_some(id)
    };
    // What marks calls or reasoning has to be seen to be told apart, be it a control token.
    if format.markers().any(|marker| control(marker).is_some()) {
        options.text.keep_special_tokens = true;
    }
    options.sampling = resolve_sampling(tokenizer, &options)?;
    let thinking = format.reasoning.map(|(format, is_open)| ThinkingPlan {
        format,
        is_open,
        budget: call.thinking_budget,
    });
    let output = answer_grammar(notation, tools, call.output, control)?;
    options.sampling.constraint = match (output, thinking) {
        (Some(output), thinking) => Some(llm.constraints().output(&output, thinking)?),
        (None, Some(plan)) if plan.budget.is_some() => Some(llm.constraints().budget(plan)?),
        (None, _) => None,
    };
    Ok(PreparedPrompt {
        prompt_token_ids,
        options,
        format,
    })
}

/// Renders a conversation and tokenises it.
///
/// # Errors
///
/// When the model has no chat template, or when its template refuses the conversation (in the
/// template's own words).
pub fn tokenize_chat(llm: &Llm, request: &ChatRequest) -> Result<Vec<u32>, LlmError> {
    let prompt = render_chat(llm, request)?;
    check_countable(llm, &prompt.text(), "messages")?;
    tokenize_rendered(llm.tokenizer(), &prompt)
}

/// Renders a conversation.
///
/// # Errors
///
/// When the model has no chat template, or when its template refuses the conversation (in the
/// template's own words).
pub fn render_chat(llm: &Llm, request: &ChatRequest) -> Result<RenderedPrompt, LlmError> {
    render(llm, request)
}

/// When a place to run a template in is likely to be free again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

fn template_of(llm: &Llm) -> Result<&ChatTemplate, LlmError> {
    llm.template().ok_or_else(|| {
        let message = match llm.template_error() {
            Some(reason) => format!(
                "This model's chat template cannot be used ({reason}); use /v1/completions with the \
                 whole prompt, or serve the model with --chat-template."
            ),
            None => "This model has no chat template; use /v1/completions with the whole prompt."
                .to_owned(),
        };
        LlmError::unsupported("messages", message)
    })
}

fn render(llm: &Llm, request: &ChatRequest) -> Result<RenderedPrompt, LlmError> {
    // Each is a token at least.
    let (messages, context) = (request.messages.len(), llm.max_model_len());
    if messages > context {
        return Err(LlmError::context_length_exceeded(
            "messages", messages, context,
        ));
    }
    let template = template_of(llm)?;
    let rewritten;
    let request = match tool_format(template) {
        ToolFormat::GenericJson => {
            rewritten = in_words(request);
            &rewritten
        }
        _ => request,
    };
    let kwargs = template_kwargs(template, request)?;
    let rendered = template.render(&TemplateRequest {
        messages: &request.messages,
        tools: request.tools.as_ref().map(|tools| &tools.definitions),
        add_generation_prompt: request.add_generation_prompt,
        continue_final_message: request.continue_final_message,
        kwargs: &kwargs,
    });
    rendered.map_err(|error| match error {
        TemplateError::Request { message, param } => LlmError::invalid(param, message),
        error @ TemplateError::Busy { .. } => {
            LlmError::overloaded(format!("{error}."), RETRY_AFTER)
        }
        error => {
            let message = format!("The chat template refuses these messages: {error}");
            LlmError::invalid("messages", message)
        }
    })
}

/// The further variables of the template, the reasoning effort among them under the name that this
/// template knows.
fn template_kwargs(
    template: &ChatTemplate,
    request: &ChatRequest,
) -> Result<Map<String, Value>, LlmError> {
    let mut kwargs = request.template_kwargs.clone();
    let Some(reasoning) = &request.reasoning else {
        return Ok(kwargs);
    };
    let source = template.source();
    let knows_effort = source.contains("reasoning_effort");
    let (name, value) = match reasoning {
        Reasoning::Effort(effort) if knows_effort => ("reasoning_effort", effort.as_str().into()),
        Reasoning::Off if knows_effort => ("reasoning_effort", "none".into()),
        _ if source.contains("enable_thinking") => {
            ("enable_thinking", (*reasoning != Reasoning::Off).into())
        }
        Reasoning::On if !knows_effort && ReasoningFormat::detect(source).is_none() => {
            let message = "`reasoning_effort` is not supported: this model does not think.";
            return Err(LlmError::unsupported("reasoning_effort", message));
        }
        // It thinks anyway, or cannot: neither is a reason not to answer.
        _ => return Ok(kwargs),
    };
    kwargs.entry(name).or_insert(value);
    Ok(kwargs)
}

/// Tokenises a conversation that was rendered.
///
/// # Errors
///
/// When the vocabulary cannot express the text.
fn tokenize_rendered(tokenizer: &Tokenizer, prompt: &RenderedPrompt) -> Result<Vec<u32>, LlmError> {
    tokenizer
        .encode_prompt(prompt)
        .map_err(|error| cannot_tokenize("messages", &error))
}
