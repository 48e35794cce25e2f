//! `POST /v1/completions`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use matou_llm::Llm;
use matou_llm::generation::collect;
use matou_llm::prepare::{self, RawPrompts};
use matou_llm::request::PromptInput;

use super::answer::{CompletionFormat, completion};
use super::convert::completion_call;
use super::header::header;
use super::stream::CompletionEncoder;
use crate::body::JsonBody;
use crate::dialects::shared::convert::ResponseOptions;
use crate::dialects::shared::trace::trace_labels;
use crate::dialects::shared::wire::SharedFields;
use crate::error::ApiError;
use crate::request_id::RequestId;
use crate::serving::Serving;

/// Continues one text or several.
pub(super) async fn create(
    State(serving): State<Serving>,
    Extension(request_id): Extension<RequestId>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let Prepared {
        mut prompts,
        best_of,
        format,
        response,
    } = serving.compute(move |llm| prepare(llm, &body)).await?;
    let n = std::mem::replace(&mut prompts.options.n, best_of);
    let choices = prompts.prompts.len() * best_of;
    if best_of > n {
        // Needed to choose; shown only if asked for.
        prompts.options.sampling.logprobs.get_or_insert(0);
    }
    let events = serving.start_all(prompts, &request_id, "prompt")?;
    let header = header(&serving, "cmpl", "text_completion", &request_id);
    if response.stream {
        let encoder = CompletionEncoder::new(header, format, response.include_usage);
        return serving.stream(events, encoder).await;
    }
    let mut collected = collect(events, choices).await?;
    collected.keep_best(best_of, n);
    Ok(Json(completion(&header, &format, &collected)).into_response())
}

/// A completion request that is ready for the engine.
struct Prepared {
    prompts: RawPrompts,
    /// How many answers to each prompt are generated; `n` of them are returned.
    best_of: usize,
    format: CompletionFormat,
    response: ResponseOptions,
}

fn prepare(llm: &Llm, body: &JsonBody) -> Result<Prepared, ApiError> {
    let (wire, shared): (_, SharedFields) = body.read()?;
    let call = completion_call(wire, &shared, &llm.card().default_sampling)?;
    trace_labels(&shared.delivery);
    llm.check_model(call.model.as_deref())?;
    let most = llm.engine().config().max_queue_len;
    if call.prompts.len() > most {
        let message = format!(
            "`prompt` may have at most {most} prompts, got {}.",
            call.prompts.len()
        );
        return Err(ApiError::invalid("prompt", message));
    }
    let format = CompletionFormat {
        timings: call.response.timings,
        logprobs: call.options.sampling.logprobs,
        prompt_logprobs: call.prompt_logprobs,
        n: call.options.n,
        echo: call
            .echo
            .then(|| call.prompts.iter().map(|input| echo(llm, input)).collect()),
    };
    let (suffix, output) = (call.suffix.as_deref(), call.output.as_ref());
    Ok(Prepared {
        prompts: prepare::raw(llm, &call.prompts, suffix, call.options, output)?,
        best_of: call.best_of,
        format,
        response: call.response,
    })
}

/// A prompt as text: what was sent, or what its tokens say.
fn echo(llm: &Llm, input: &PromptInput) -> String {
    match input {
        PromptInput::Text { text, .. } => text.clone(),
        PromptInput::Tokens(ids) => llm.tokenizer().decode(ids, true),
    }
}
