//! `POST /v1/completions`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use matou_llm::Wanted;
use matou_llm::generation::collect;
use matou_llm::models::Lease;
use matou_llm::prepare::RawPrompts;
use matou_llm::request::PromptInput;

use super::answer::{CompletionFormat, completion};
use super::convert::completion_call;
use super::header::header;
use super::stream::CompletionEncoder;
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::dialects::shared::convert::ResponseOptions;
use crate::dialects::shared::trace::trace_labels;
use crate::dialects::shared::wire::SharedFields;
use crate::door::Door;
use crate::error::ApiError;
use crate::serving::tell;

/// Continues one text or several.
pub(super) async fn create(
    State(door): State<Door>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let (serving, body) = door.enter(&caller, body).await?;
    let Prepared {
        mut prompts,
        best_of,
        format,
        response,
    } = serving
        .compute(&caller, move |llm, wanted| prepare(llm, &body, wanted))
        .await?;
    let n = std::mem::replace(&mut prompts.options.n, best_of);
    let choices = prompts.prompts.len() * best_of;
    if best_of > n {
        // Needed to choose; shown only if asked for.
        prompts.options.sampling.logprobs.get_or_insert(0);
    }
    let events = serving.start_all(prompts, &caller, "prompt")?;
    let header = header(&serving, "cmpl", "text_completion", &caller);
    if response.stream {
        let encoder = CompletionEncoder::new(header, format, response.include_usage);
        return serving.stream(events, encoder).await;
    }
    let mut collected = collect(events, choices).await?;
    collected.keep_best(best_of, n);
    let told = tell(move || Json(completion(&header, &format, &collected)).into_response());
    Ok(serving.labelled(told.await))
}

/// A completion request that is ready for the engine.
struct Prepared {
    prompts: RawPrompts,
    /// How many answers to each prompt are generated; `n` of them are returned.
    best_of: usize,
    format: CompletionFormat,
    response: ResponseOptions,
}

fn prepare(llm: &Lease, body: &JsonBody, wanted: &Wanted) -> Result<Prepared, ApiError> {
    let (wire, shared): (_, SharedFields) = body.read()?;
    let call = completion_call(wire, &shared, &llm.default_sampling())?;
    trace_labels(&shared.delivery);
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
    let prompts = llm.raw(&call.prompts, suffix, call.options, output, wanted)?;
    check_prompt_logprobs(&prompts, &format)?;
    Ok(Prepared {
        prompts,
        best_of: call.best_of,
        format,
        response: call.response,
    })
}

/// Most log-probabilities of prompts that an answer tells: some 25 MB of JSON.
const MAX_PROMPT_LOGPROBS: usize = 1 << 18;

/// Checks that the answer does not become many times as large as its request.
fn check_prompt_logprobs(prompts: &RawPrompts, format: &CompletionFormat) -> Result<(), ApiError> {
    let tokens: usize = prompts.prompts.iter().map(|ids| ids.len()).sum();
    let told = |top: Option<usize>, times: usize| top.map_or(0, |top| tokens * (top + 1) * times);
    let echoed = format.logprobs.filter(|_| format.echo.is_some());
    for (param, told) in [
        ("prompt_logprobs", told(format.prompt_logprobs, 1)),
        // Each answer repeats its prompt.
        ("logprobs", told(echoed, format.n)),
    ] {
        if told > MAX_PROMPT_LOGPROBS {
            let message = format!(
                "`{param}` asks for {told} log-probabilities of {tokens} prompt tokens; at most \
                 {MAX_PROMPT_LOGPROBS} are told. Ask for fewer of each token, or send fewer prompts."
            );
            return Err(ApiError::invalid(param, message));
        }
    }
    Ok(())
}

/// A prompt as text: what was sent, or what its tokens say.
fn echo(llm: &Lease, input: &PromptInput) -> String {
    match input {
        PromptInput::Text { text, .. } => text.clone(),
        PromptInput::Tokens(ids) => llm.tokenizer().decode(ids, true),
    }
}
