//! `POST /v1/completions`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::StreamExt;
use futures_util::stream::select_all;

use super::answer::{CompletionFormat, completion};
use super::convert::{CompletionCall, completion_call};
use super::stream::CompletionEncoder;
use super::wire::SharedFields;
use super::{header, trace_labels};
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::gap::{gap_ends, tokenize_gap};
use crate::generation::{EventStream, begin, collect};
use crate::prompt::{resolve_sampling, tokenize_input};
use crate::request::{GenerationOptions, PromptInput};
use crate::request_id::RequestId;
use crate::sse;
use crate::state::{AppState, SharedState};

/// Continues one text or several.
pub(super) async fn create(
    State(state): State<SharedState>,
    Extension(request_id): Extension<RequestId>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let Prepared {
        call,
        prompts,
        format,
    } = state.compute(move |state| prepare(state, &body)).await?;
    let mut options = call.options;
    let n = std::mem::replace(&mut options.n, call.best_of);
    let choices = prompts.len() * options.n;
    if options.n > n {
        // Needed to choose; shown only if asked for.
        options.sampling.logprobs.get_or_insert(0);
    }
    let events = submit(&state, &request_id, prompts, &options)?;
    let header = header(&state, "cmpl", "text_completion", &request_id);
    if call.response.stream {
        let events = begin(events, state.limits.keep_alive).await?;
        let encoder = CompletionEncoder::new(header, format, call.response.include_usage);
        Ok(sse::response(events, encoder, state.limits.keep_alive))
    } else {
        let mut collected = collect(events, choices).await?;
        collected.keep_best(call.best_of, n);
        Ok(Json(completion(&header, &format, &collected)).into_response())
    }
}

/// A completion request that is ready for the engine.
struct Prepared {
    call: CompletionCall,
    /// The token ids of each prompt.
    prompts: Vec<Vec<u32>>,
    format: CompletionFormat,
}

fn prepare(state: &AppState, body: &JsonBody) -> Result<Prepared, ApiError> {
    let defaults = &state.model.default_sampling;
    let (wire, shared): (_, SharedFields) = body.read()?;
    let mut call = completion_call(wire, &shared, defaults)?;
    trace_labels(&shared.delivery);
    state.check_model(call.model.as_deref())?;
    let most = state.engine.config().max_queue_len;
    if call.prompts.len() > most {
        let message = format!(
            "`prompt` may have at most {most} prompts, got {}.",
            call.prompts.len()
        );
        return Err(ApiError::invalid("prompt", message));
    }
    let prompts: Result<Vec<_>, ApiError> = call
        .prompts
        .iter()
        .map(|input| match &call.suffix {
            Some(suffix) => tokenize_gap(&state.tokenizer, input, suffix),
            None => tokenize_input(&state.tokenizer, input),
        })
        .collect();
    if call.suffix.is_some() {
        let ends = gap_ends(&state.tokenizer);
        call.options.sampling.stop_token_ids.extend(ends);
    }
    call.options.sampling = resolve_sampling(&state.tokenizer, &call.options)?;
    if let Some(output) = &call.output {
        call.options.sampling.constraint = Some(state.constraint(output, None)?);
    }
    let format = CompletionFormat {
        timings: call.response.timings,
        logprobs: call.options.sampling.logprobs,
        prompt_logprobs: call.prompt_logprobs,
        n: call.options.n,
        echo: call.echo.then(|| {
            call.prompts
                .iter()
                .map(|input| echo(state, input))
                .collect()
        }),
    };
    Ok(Prepared {
        prompts: prompts?,
        call,
        format,
    })
}

/// A prompt as text: what was sent, or what its tokens say.
fn echo(state: &AppState, input: &PromptInput) -> String {
    match input {
        PromptInput::Text { text, .. } => text.clone(),
        PromptInput::Tokens(ids) => state.tokenizer.decode(ids, true),
    }
}

/// Hands all prompts to the engine; their events come as they happen. If one is refused, those
/// before it are dropped and with them cancelled.
fn submit(
    state: &AppState,
    request_id: &RequestId,
    prompts: Vec<Vec<u32>>,
    options: &GenerationOptions,
) -> Result<EventStream, ApiError> {
    let mut streams = Vec::with_capacity(prompts.len());
    for (i, prompt_token_ids) in prompts.into_iter().enumerate() {
        let name = format!("{request_id}-{i}");
        let generation = state.submit(name, prompt_token_ids, options, i * options.n, "prompt")?;
        streams.push(generation.into_stream());
    }
    Ok(state.until_cut(select_all(streams).boxed()))
}
