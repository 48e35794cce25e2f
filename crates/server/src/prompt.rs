//! From a request to the token ids the engine computes on. All of it is work for
//! [`AppState::compute`](crate::AppState::compute).

use matou_chat::reasoning::ReasoningFormat;
use matou_chat::tools::ToolFormat;
use matou_chat::{
    ChatTemplate, RenderedPrompt, SpecialTokens, TemplateError, TemplateRequest, Tokenizer,
    TokenizerError,
};
use matou_engine::SamplingParams;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::request::{ChatRequest, GenerationOptions, PromptInput, Reasoning};
use crate::tools::{in_words, tool_format};

/// Renders a conversation and tokenises it.
///
/// # Errors
///
/// 400 when the model has no chat template, or when its template refuses the conversation (in the
/// template's own words).
pub fn tokenize_chat(
    template: Option<&ChatTemplate>,
    tokenizer: &Tokenizer,
    request: &ChatRequest,
) -> Result<Vec<u32>, ApiError> {
    let Some(template) = template else {
        return Err(no_template());
    };
    tokenize_rendered(tokenizer, &render_chat(template, request)?)
}

/// What a request for a chat with a model without a template is told.
pub fn no_template() -> ApiError {
    let message = "This model has no chat template; use /v1/completions with the whole prompt.";
    ApiError::unsupported("messages", message)
}

/// Renders a conversation.
///
/// # Errors
///
/// 400 when the template refuses the conversation (in the template's own words).
pub fn render_chat(
    template: &ChatTemplate,
    request: &ChatRequest,
) -> Result<RenderedPrompt, ApiError> {
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
        TemplateError::Request { message, param } => ApiError::invalid(param, message),
        error => {
            let message = format!("The chat template refuses these messages: {error}");
            ApiError::invalid("messages", message)
        }
    })
}

/// The further variables of the template, the reasoning effort among them under the name that this
/// template knows.
fn template_kwargs(
    template: &ChatTemplate,
    request: &ChatRequest,
) -> Result<Map<String, Value>, ApiError> {
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
        // There is nothing to turn off, or what there is cannot be.
        Reasoning::Off => return Ok(kwargs),
        Reasoning::On if knows_effort || ReasoningFormat::detect(source).is_some() => {
            return Ok(kwargs);
        }
        Reasoning::On | Reasoning::Effort(_) => {
            let message =
                "`reasoning_effort` is not supported: this model's chat template knows none.";
            return Err(ApiError::unsupported("reasoning_effort", message));
        }
    };
    kwargs.entry(name).or_insert(value);
    Ok(kwargs)
}

/// Tokenises a conversation that was rendered.
///
/// # Errors
///
/// 400 when the vocabulary cannot express the text.
pub fn tokenize_rendered(
    tokenizer: &Tokenizer,
    prompt: &RenderedPrompt,
) -> Result<Vec<u32>, ApiError> {
    tokenizer
        .encode_prompt(prompt)
        .map_err(|error| cannot_tokenize("messages", &error))
}

/// Tokenises a prompt that is used as it is. Control tokens in its text are parsed: whoever sends
/// it writes the whole prompt, template included.
///
/// # Errors
///
/// 400 when the vocabulary cannot express the text.
pub fn tokenize_input(tokenizer: &Tokenizer, input: &PromptInput) -> Result<Vec<u32>, ApiError> {
    match input {
        PromptInput::Tokens(ids) => Ok(ids.clone()),
        PromptInput::Text {
            text,
            add_special_tokens,
        } => tokenizer
            .encode(text, SpecialTokens::Parse, *add_special_tokens)
            .map_err(|error| cannot_tokenize("prompt", &error)),
    }
}

/// Completes the sampling parameters with what only the vocabulary knows.
///
/// # Errors
///
/// 400 when the vocabulary cannot express a word that is not to be said.
pub fn resolve_sampling(
    tokenizer: &Tokenizer,
    options: &GenerationOptions,
) -> Result<SamplingParams, ApiError> {
    let mut sampling = options.sampling.clone();
    if sampling.dry_multiplier > 0.0 {
        sampling.dry_sequence_breaker_ids = tokens_with(tokenizer, &options.dry_sequence_breakers);
    }
    sampling.banned_sequences = spellings(tokenizer, &options.bad_words)?;
    Ok(sampling)
}

/// The tokens of each word, at the beginning of a text and behind a space.
fn spellings(tokenizer: &Tokenizer, words: &[String]) -> Result<Vec<Vec<u32>>, ApiError> {
    let mut spellings = Vec::with_capacity(2 * words.len());
    for (i, word) in words.iter().enumerate() {
        let bare = match word.trim_start() {
            // White space is the word itself.
            "" => word,
            bare => bare,
        };
        for text in [bare, &format!(" {bare}")] {
            // Control tokens are parsed, as in a prompt.
            let ids = tokenizer.encode(text, SpecialTokens::Parse, false);
            spellings.push(ids.map_err(|error| {
                let message = format!("`bad_words[{i}]` cannot be tokenised: {error}.");
                ApiError::invalid(format!("bad_words[{i}]"), message)
            })?);
        }
    }
    Ok(spellings)
}

/// All tokens whose text contains one of `strings`.
fn tokens_with(tokenizer: &Tokenizer, strings: &[String]) -> Vec<u32> {
    let contains = |bytes: &[u8]| {
        strings
            .iter()
            .filter(|string| !string.is_empty())
            .any(|string| {
                bytes
                    .windows(string.len())
                    .any(|window| window == string.as_bytes())
            })
    };
    let vocabulary = 0..u32::try_from(tokenizer.vocab_size()).unwrap_or(u32::MAX);
    vocabulary
        .filter(|&id| tokenizer.token_bytes(id).is_some_and(contains))
        .collect()
}

pub(crate) fn cannot_tokenize(param: &str, error: &TokenizerError) -> ApiError {
    ApiError::invalid(param, format!("The prompt cannot be tokenised: {error}."))
}
