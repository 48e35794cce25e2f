//! `POST /api/chat` and `POST /api/generate`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use matou_llm::Wanted;
use matou_llm::message::MessageFormat;
use matou_llm::models::KeepAlive;
use matou_llm::models::Lease;
use matou_llm::prepare::PreparedPrompt;

use super::convert::{AskedFor, chat_call, generate_call, read_keep_alive};
use super::stream::{Kind, LineEncoder};
use super::wire::{ChatFields, CommonFields, GenerateFields};
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::dialects::shared::time::rfc3339;
use crate::door::Door;
use crate::error::ApiError;

/// Answers a conversation.
pub(super) async fn chat(
    State(door): State<Door>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, ApiError> {
    answer(door, caller, body, Kind::Chat).await
}

/// Answers a prompt, or continues it.
pub(super) async fn generate(
    State(door): State<Door>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, ApiError> {
    answer(door, caller, body, Kind::Generate).await
}

/// A request that is ready for the engine, or one that needs none.
struct Prepared {
    model: String,
    prompt: Asked,
    stream: bool,
}

enum Asked {
    Answer(Box<PreparedPrompt>),
    /// Nothing, for this reason.
    Nothing(&'static str),
}

async fn answer(
    door: Door,
    caller: Caller,
    body: JsonBody,
    kind: Kind,
) -> Result<Response, ApiError> {
    let (peek, body) = door.peek(&caller, body).await?;
    let keep_alive = read_keep_alive(peek.keep_alive.as_ref())?;
    // A model is not loaded to be told to go.
    if keep_alive == Some(KeepAlive::For(Duration::ZERO)) && !peek.has_text {
        let model = door.models.status(peek.model.as_deref())?;
        door.models
            .keep(peek.model.as_deref(), KeepAlive::For(Duration::ZERO))?;
        let name = peek.model.unwrap_or_else(|| model.facts.names[0].clone());
        return Ok(nothing(kind, name, &door, "unload"));
    }
    let serving = door.let_in(&caller, &peek, keep_alive).await?;
    let Prepared {
        model,
        prompt,
        stream,
    } = serving
        .compute(&caller, move |llm, wanted| {
            prepare(llm, &body, kind, wanted)
        })
        .await?;
    let prompt = match prompt {
        Asked::Answer(prompt) => *prompt,
        Asked::Nothing(reason) => return Ok(nothing(kind, model, &door, reason)),
    };
    let created_at = rfc3339(serving.now());
    let logprobs = prompt.options.sampling.logprobs.is_some();
    let encoder = LineEncoder::new(kind, model, created_at, logprobs, &prompt.format);
    let encoder = encoder.labelled(serving.label());
    let param = match kind {
        Kind::Chat => "messages",
        Kind::Generate => "prompt",
    };
    let events = serving.start(prompt, &caller, param)?;
    if stream {
        return serving.stream(events, encoder).await;
    }
    let told = Json(encoder.whole(events.collect().await)?).into_response();
    Ok(serving.labelled(told))
}

/// The answer to a request for nothing.
fn nothing(kind: Kind, model: String, door: &Door, reason: &'static str) -> Response {
    let created_at = rfc3339(door.services.now());
    let format = MessageFormat::default();
    let encoder = LineEncoder::new(kind, model, created_at, false, &format);
    Json(encoder.nothing(reason)).into_response()
}

fn prepare(
    llm: &Lease,
    body: &JsonBody,
    kind: Kind,
    wanted: &Wanted,
) -> Result<Prepared, ApiError> {
    let defaults = &llm.default_sampling();
    let (model, stream, asked_for) = match kind {
        Kind::Chat => {
            let (mut common, chat): (CommonFields, ChatFields) = body.read()?;
            let (model, stream) = (common.model.take(), common.stream);
            (model, stream, chat_call(common, chat, defaults)?)
        }
        Kind::Generate => {
            let (mut common, generate): (CommonFields, GenerateFields) = body.read()?;
            let (model, stream) = (common.model.take(), common.stream);
            (model, stream, generate_call(common, generate, defaults)?)
        }
    };
    let prompt = match asked_for {
        AskedFor::Load => Asked::Nothing("load"),
        AskedFor::Chat(call) => {
            let prompt = llm
                .chat(*call, wanted)
                .map_err(|error| ApiError::from(error).renamed("reasoning_effort", "think"))?;
            Asked::Answer(Box::new(prompt))
        }
        AskedFor::Raw {
            prompt,
            suffix,
            call,
        } => {
            let output = call.output.as_ref();
            let prompts = llm.raw(
                &[prompt],
                suffix.as_deref(),
                call.options.clone(),
                output,
                wanted,
            )?;
            Asked::Answer(Box::new(prompts.into_first()))
        }
    };
    Ok(Prepared {
        // Clients look for the name that they sent.
        model: model.unwrap_or_else(|| llm.name().to_owned()),
        prompt,
        stream: stream.unwrap_or(true),
    })
}
