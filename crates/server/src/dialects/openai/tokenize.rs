//! `POST /tokenize` and `POST /detokenize`, as vLLM has them, and `GET /tokenizer_info`.

use axum::Json;
use axum::extract::{Query, State};
use serde_json::{Value, json};

use super::convert::chat_request;
use super::wire::{
    ChatCompletionRequest, DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse,
};
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::dialects::shared::fields::{no_more_than, token_ids};
use crate::dialects::shared::wire::SharedFields;
use crate::door::{Door, Named};
use crate::error::ApiError;
use matou_llm::models::Lease;
use matou_llm::request::PromptInput;
use matou_llm::{Wanted, check_countable, tokenize_input};

/// What evaluation harnesses have to know to write prompts themselves.
pub(super) async fn tokenizer_info(
    State(door): State<Door>,
    caller: Caller,
    named: Query<Named>,
) -> Result<Json<Value>, ApiError> {
    let llm = door.by_name(&caller, named.0).await?.llm;
    let tokens = llm.tokenizer().template_tokens();
    // Nothing is padded here; those who do it use the token that ends a text.
    let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let eos_token = named(&tokens.eos_token);
    Ok(Json(json!({
        // Whoever fetches text from here needs none of the classes of transformers.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": named(&tokens.bos_token),
        "eos_token": eos_token,
        "pad_token": eos_token,
        "additional_special_tokens": tokens.control_tokens,
        "chat_template": llm.template().map(|template| template.source()),
        "model_max_length": llm.max_model_len(),
        "vocab_size": llm.tokenizer().vocab_size(),
    })))
}

/// The tokens of a text, or of a conversation as the model would read it.
pub(super) async fn tokenize(
    State(door): State<Door>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<TokenizeResponse>, ApiError> {
    let (serving, body) = door.enter(&caller, body).await?;
    serving
        .compute(&caller, move |llm, _| tokens(llm, &body))
        .await
        .map(Json)
}

fn tokens(llm: &Lease, body: &JsonBody) -> Result<TokenizeResponse, ApiError> {
    // How a conversation is answered does not change how it is read.
    let (request, chat, _): (TokenizeRequest, ChatCompletionRequest, SharedFields) = body.read()?;
    let tokens = match (request.prompt, &chat.messages) {
        (Some(text), None) => {
            check_countable(llm, &text, "prompt")?;
            let add_special_tokens = request.add_special_tokens.unwrap_or(true);
            tokenize_input(
                llm.tokenizer(),
                &PromptInput::Text {
                    text,
                    add_special_tokens,
                },
            )?
        }
        (None, Some(_)) => llm.tokenize_chat(&chat_request(chat)?)?,
        _ => {
            return Err(ApiError::invalid(
                "prompt",
                "Either `prompt` or `messages` is needed.",
            ));
        }
    };
    let spelled = |&id: &u32| {
        llm.tokenizer()
            .id_to_token(id)
            .unwrap_or_default()
            .to_owned()
    };
    Ok(TokenizeResponse {
        count: tokens.len(),
        max_model_len: llm.max_model_len(),
        token_strs: request
            .return_token_strs
            .unwrap_or(false)
            .then(|| tokens.iter().map(spelled).collect()),
        tokens,
    })
}

/// A conversation as the model would read it, in text.
pub(super) async fn apply_template(
    State(door): State<Door>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<DetokenizeResponse>, ApiError> {
    let (serving, body) = door.enter(&caller, body).await?;
    let render = move |llm: &Lease, _: &Wanted| {
        let (chat, _): (ChatCompletionRequest, SharedFields) = body.read()?;
        let prompt = llm.render_chat(&chat_request(chat)?)?.text();
        Ok(DetokenizeResponse { prompt })
    };
    serving.compute(&caller, render).await.map(Json)
}

/// The text of tokens.
pub(super) async fn detokenize(
    State(door): State<Door>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<DetokenizeResponse>, ApiError> {
    let (serving, body) = door.enter(&caller, body).await?;
    serving
        .compute(&caller, move |llm, _| text(llm, &body))
        .await
        .map(Json)
}

fn text(llm: &Lease, body: &JsonBody) -> Result<DetokenizeResponse, ApiError> {
    let request: DetokenizeRequest = body.read()?;
    let Some(tokens) = token_ids("tokens", request.tokens.as_deref())? else {
        return Err(ApiError::invalid("tokens", "`tokens` is missing."));
    };
    no_more_than("tokens", &tokens, llm.max_model_len())?;
    let vocab_size = llm.tokenizer().vocab_size();
    if let Some(i) = tokens.iter().position(|&id| id as usize >= vocab_size) {
        let message = format!(
            "Token {} is outside of the vocabulary of {vocab_size}.",
            tokens[i]
        );
        return Err(ApiError::invalid(format!("tokens[{i}]"), message));
    }
    Ok(DetokenizeResponse {
        prompt: llm.tokenizer().decode(&tokens, false),
    })
}
