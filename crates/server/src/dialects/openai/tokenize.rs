//! `POST /tokenize` and `POST /detokenize`, as vLLM has them.

use axum::Json;
use axum::extract::State;

use super::convert::{chat_request, token_ids};
use super::wire::{
    ChatCompletionRequest, DetokenizeRequest, DetokenizeResponse, SharedFields, TokenizeRequest,
    TokenizeResponse,
};
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::prompt::{no_template, render_chat, tokenize_chat, tokenize_input};
use crate::request::PromptInput;
use crate::state::{AppState, SharedState};

/// The tokens of a text, or of a conversation as the model would read it.
pub(super) async fn tokenize(
    State(state): State<SharedState>,
    body: JsonBody,
) -> Result<Json<TokenizeResponse>, ApiError> {
    state
        .compute(move |state| tokens(state, &body))
        .await
        .map(Json)
}

fn tokens(state: &AppState, body: &JsonBody) -> Result<TokenizeResponse, ApiError> {
    // How a conversation is answered does not change how it is read.
    let (request, chat, _): (TokenizeRequest, ChatCompletionRequest, SharedFields) = body.read()?;
    state.check_model(chat.model.as_deref())?;
    let tokens = match (request.prompt, &chat.messages) {
        (Some(text), None) => {
            let add_special_tokens = request.add_special_tokens.unwrap_or(true);
            tokenize_input(
                &state.tokenizer,
                &PromptInput::Text {
                    text,
                    add_special_tokens,
                },
            )?
        }
        (None, Some(_)) => tokenize_chat(
            state.template.as_deref(),
            &state.tokenizer,
            &chat_request(chat)?,
        )?,
        _ => {
            return Err(ApiError::invalid(
                "prompt",
                "Either `prompt` or `messages` is needed.",
            ));
        }
    };
    let spelled = |&id: &u32| {
        state
            .tokenizer
            .id_to_token(id)
            .unwrap_or_default()
            .to_owned()
    };
    Ok(TokenizeResponse {
        count: tokens.len(),
        max_model_len: state.engine.config().max_model_len,
        token_strs: request
            .return_token_strs
            .unwrap_or(false)
            .then(|| tokens.iter().map(spelled).collect()),
        tokens,
    })
}

/// A conversation as the model would read it, in text.
pub(super) async fn apply_template(
    State(state): State<SharedState>,
    body: JsonBody,
) -> Result<Json<DetokenizeResponse>, ApiError> {
    let render = move |state: &AppState| {
        let (chat, _): (ChatCompletionRequest, SharedFields) = body.read()?;
        state.check_model(chat.model.as_deref())?;
        let template = state.template.as_deref().ok_or_else(no_template)?;
        let prompt = render_chat(template, &chat_request(chat)?)?.text();
        Ok(DetokenizeResponse { prompt })
    };
    state.compute(render).await.map(Json)
}

/// The text of tokens.
pub(super) async fn detokenize(
    State(state): State<SharedState>,
    body: JsonBody,
) -> Result<Json<DetokenizeResponse>, ApiError> {
    state
        .compute(move |state| text(state, &body))
        .await
        .map(Json)
}

fn text(state: &AppState, body: &JsonBody) -> Result<DetokenizeResponse, ApiError> {
    let request: DetokenizeRequest = body.read()?;
    state.check_model(request.model.as_deref())?;
    let Some(tokens) = token_ids("tokens", request.tokens.as_deref())? else {
        return Err(ApiError::invalid("tokens", "`tokens` is missing."));
    };
    let vocab_size = state.tokenizer.vocab_size();
    if let Some(i) = tokens.iter().position(|&id| id as usize >= vocab_size) {
        let message = format!(
            "Token {} is outside of the vocabulary of {vocab_size}.",
            tokens[i]
        );
        return Err(ApiError::invalid(format!("tokens[{i}]"), message));
    }
    Ok(DetokenizeResponse {
        prompt: state.tokenizer.decode(&tokens, false),
    })
}
