//! Answers in a conversation: begun, followed, ended.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use matou_history::{History, Message, NewMessage, Role, State as MessageState};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::asked::{AnswerFields, Asked, Target};
use super::run::Writing;
use super::state::{HistoryState, no_message};
use super::write::{Answering, Kept, write};
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::dialects::openai::answer::ChatFormat;
use crate::dialects::openai::{self, stream::ChatEncoder};
use crate::error::ApiError;
use crate::serving::Serving;
use crate::sse::Frames;
use matou_llm::generation::EventStream;

/// Has a message answered, or an answer gone on with. The answer is written whether its client listens
/// or not.
pub(super) async fn create(
    State(state): State<HistoryState>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    // In a task of its own: a client that goes while its model is loaded finds its answer too.
    let begun = tokio::spawn(begin(state, caller, id, body));
    let begun = begun.await;
    begun.map_err(|error| ApiError::internal(error.to_string()))?
}

async fn begin(
    state: HistoryState,
    caller: Caller,
    id: String,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let (fields, request) = AnswerFields::apart(body.object()?)?;
    let target = fields.target()?;
    let message = match &target {
        Target::GoesOn(answer) => answer.clone(),
        Target::Answers(_) => fields.id.clone().unwrap_or_else(new_id),
    };
    // From here on it can be stopped, and the server's end waits for it. What is read of it is read after
    // whoever wrote it before has ended.
    let writing = state.runs.begin(&caller.owner, &id, &message, &target)?;
    let asked = Asked {
        target,
        system: fields.system,
        request,
    };
    let begun = start(&state, &caller, (&id, &message), asked, body);
    let started = tokio::select! {
        biased;
        () = writing.stopped() => Err(ApiError::stopped()),
        started = begun => started,
    };
    let started = started.inspect_err(|error| {
        // Who has come in the meantime, and waits for it, is told too.
        let mut frames = Frames::default();
        frames.data(&error.body());
        frames.done();
        writing.push(frames.into_bytes());
    })?;
    Ok(follow_from_here(&state, &caller, id, writing, started))
}

/// A message id that nobody has.
fn new_id() -> String {
    format!("msg_{}", Uuid::new_v4().simple())
}

/// An answer that the engine has begun.
struct Started {
    history: History,
    serving: Serving,
    events: EventStream,
    format: ChatFormat,
    message: Message,
    /// What it was before, if it is gone on with.
    before: Option<Message>,
}

/// Has the engine begin, and then the message kept: what is refused leaves nothing behind.
async fn start(
    state: &HistoryState,
    caller: &Caller,
    (id, message): (&str, &str),
    asked: Asked,
    body: JsonBody,
) -> Result<Started, ApiError> {
    let history = state.history()?;
    let most = state.limits.max_body_bytes as u64;
    let end = asked.target.id().to_owned();
    let (owner, conversation, wanted) = (caller.owner.clone(), id.to_owned(), end.clone());
    let path = state.with(move |history| history.path(&owner, &conversation, &wanted, most));
    let path = path.await?.ok_or_else(|| no_message(&end))?;
    let before = asked.gone_on_with(&path)?;
    let (settings, kept) = (asked.settings(), asked.kept());
    let door = &state.door;
    let built = door.compute(caller, move |_| Ok(asked.as_chat(&path).to_string()));
    let body = body.replaced(built.await?.into_bytes(), &state.limits)?;
    let (serving, body) = door.enter(caller, body).await?;
    let (prompt, format) = serving
        .compute(caller, move |llm, wanted| {
            openai::prepare_chat(llm, &body, wanted)
        })
        .await?;
    let events = serving.start(prompt, caller, "messages")?;
    let written = match &before {
        Some(before) => Message {
            state: MessageState::Running,
            ..before.clone()
        },
        None => {
            let new = NewMessage {
                id: Some(message.to_owned()),
                model: Some(serving.llm.name().to_owned()),
                state: MessageState::Running,
                settings: Some(settings),
                request: Some(kept),
                ..NewMessage::new(Some(end), Role::Assistant, "")
            };
            let (owner, id, now) = (caller.owner.clone(), id.to_owned(), state.now());
            let added = state.with(move |history| history.add_message(&owner, &id, &new, now));
            added.await?
        }
    };
    Ok(Started {
        history,
        serving,
        events,
        format,
        message: written,
        before,
    })
}

/// Has the answer written, and reads it as everybody does who follows it.
fn follow_from_here(
    state: &HistoryState,
    caller: &Caller,
    conversation: String,
    writing: Writing,
    started: Started,
) -> Response {
    let Started {
        history,
        serving,
        events,
        format,
        message,
        before,
    } = started;
    let mut opening = Frames::default();
    opening.data(&json!({"object": "history.answer", "message": message}));
    writing.push(opening.into_bytes());
    writing.label(serving.label());
    let run = writing.run();
    let chunk = openai::header(&serving, "chatcmpl", "chat.completion.chunk", caller);
    let answering = Answering {
        encoder: ChatEncoder::new(chunk, 1, format.clone()),
        header: openai::header(&serving, "chatcmpl", "chat.completion", caller),
        format,
        lifecycle: serving.lifecycle(),
    };
    let kept = Kept {
        history,
        owner: caller.owner.clone(),
        conversation,
        clock: state.door.services.clock,
        before,
    };
    tokio::spawn(write(events, writing, answering, kept));
    run.follow(state.limits.keep_alive)
}

/// An answer that is being written, from its beginning.
pub(super) async fn follow(
    State(state): State<HistoryState>,
    caller: Caller,
    Path((_, message)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let run = state.runs.get(&caller.owner, &message);
    let run = run.ok_or_else(|| not_written(&message))?;
    Ok(run.follow(state.limits.keep_alive))
}

/// Ends an answer that is being written; what there is stays.
pub(super) async fn stop(
    State(state): State<HistoryState>,
    caller: Caller,
    Path((_, message)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    match state.runs.stop(&caller.owner, &message) {
        true => Ok(Json(
            json!({"id": message, "object": "history.message", "stopped": true}),
        )),
        false => Err(not_written(&message)),
    }
}

fn not_written(message: &str) -> ApiError {
    let message = format!("No answer with id '{message}' is being written.");
    ApiError::not_found("message", message)
}

/// A request as it was kept, with the messages that it was asked with.
pub(super) fn with_messages(mut request: Value, path: &[Message]) -> Value {
    if let Value::Object(fields) = &mut request {
        let system = fields.remove("system");
        let messages = Asked::messages(system.as_ref().and_then(Value::as_str), path);
        let mut whole = Map::new();
        whole.insert("messages".to_owned(), messages.into());
        whole.append(fields);
        *fields = whole;
    }
    request
}
