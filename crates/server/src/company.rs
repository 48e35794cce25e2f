//! The response of a stream whose model is long in coming: comments keep its client from giving up.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{FutureExt, StreamExt, stream};

use crate::caller::Waiting;
use crate::dialects;
use crate::error::ApiError;
use crate::label::Label;
use crate::sse;
use crate::state::AppState;

/// The least time between two comments.
const TICK: Duration = Duration::from_millis(1);

/// Begins the response of a stream whose model is long in coming, and sends comments until it is there.
/// What fails after that is told by an event.
pub(crate) async fn keep_company(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(error_frames) = dialects::error_frames(request.uri().path()) else {
        return next.run(request).await;
    };
    let pause = state.limits.keep_alive;
    let waiting = Waiting::default();
    request.extensions_mut().insert(waiting.clone());
    let mut answer = Box::pin(next.run(request));
    loop {
        match or_pause(&mut answer, pause).await {
            Some(response) => return response,
            None if waiting.is_on() => break,
            None => {}
        }
    }
    // The head goes now: it has to say what the answer will.
    let named = state.models.named(waiting.model()).ok();
    let labelled = named.filter(|named| state.label || named.persona.is_some());
    let label = labelled.as_ref().map(Label::of_name);
    let comments = stream::unfold(Some(answer), move |answer| async move {
        let mut answer = answer?;
        Some(match or_pause(&mut answer, pause).await {
            None => (Body::from(sse::KEEP_ALIVE), Some(answer)),
            Some(mut response) => match response.extensions_mut().remove::<ApiError>() {
                Some(error) => (Body::from(error_frames(&error)), None),
                None => (response.into_body(), None),
            },
        })
    });
    let first = stream::once(async { Ok(Bytes::from_static(sse::KEEP_ALIVE)) });
    let rest = comments.flat_map(Body::into_data_stream);
    let mut response = sse::respond(Body::from_stream(first.chain(rest)), sse::Framing::Events);
    label.iter().for_each(|label| label.put_on(&mut response));
    response
}

/// What `answer` gives, unless it takes longer than `pause`: without one, unless it has to wait at all.
async fn or_pause<T>(answer: impl Future<Output = T> + Unpin, pause: Duration) -> Option<T> {
    if !pause.is_zero() {
        return tokio::time::timeout(pause, answer).await.ok();
    }
    // Looked at once, so that it does not depend on what else the machine does.
    let now = answer.now_or_never();
    if now.is_none() {
        tokio::time::sleep(TICK).await;
    }
    now
}
