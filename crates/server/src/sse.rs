//! Server-sent events: the framing of a streamed response.
//!
//! ```text
//! generation events ──▶ EventEncoder (one per dialect, pure) ──▶ frames ──▶ response body
//!                                              keep-alive comments while silent ──┘
//! ```

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use futures_util::{Stream, StreamExt};
use matou_llm::generation::GenerationEvent;
use serde::Serialize;

/// How long a stream may be silent before a comment shows proxies and clients that it is alive.
pub(crate) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// A comment: clients skip it.
pub(crate) const KEEP_ALIVE: &[u8] = b":\n\n";

/// What a stream consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events.
    Events,
    /// A JSON object a line, as Ollama has it.
    Lines,
}

/// Turns generation events into the frames of one dialect. Holds no clock and does no I/O, so that
/// a recorded stream can be compared byte by byte.
pub(crate) trait EventEncoder: Send + 'static {
    /// What the frames are.
    const FRAMING: Framing = Framing::Events;

    /// Appends the frames that `event` gives rise to; may append none.
    fn encode(&mut self, event: GenerationEvent, frames: &mut Frames);

    /// Appends what closes the stream. Called once, after the last event, also when that was an
    /// error.
    fn close(&mut self, frames: &mut Frames);
}

/// Frames that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct Frames(Vec<u8>);

impl Frames {
    /// Appends `data: {json}`.
    pub(crate) fn data(&mut self, message: &impl Serialize) {
        self.0.extend_from_slice(b"data: ");
        serde_json::to_writer(&mut self.0, message)
            .expect("wire types serialise and a Vec takes every write");
        self.0.extend_from_slice(b"\n\n");
    }

    /// Appends `event: {name}` and `data: {json}`.
    pub(crate) fn event(&mut self, name: &str, message: &impl Serialize) {
        self.0.extend_from_slice(b"event: ");
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.data(message);
    }

    /// Appends `{json}` on a line of its own, as Ollama does.
    pub(crate) fn line(&mut self, message: &impl Serialize) {
        serde_json::to_writer(&mut self.0, message)
            .expect("wire types serialise and a Vec takes every write");
        self.0.push(b'\n');
    }

    /// Appends OpenAI's closing `data: [DONE]`.
    pub(crate) fn done(&mut self) {
        self.0.extend_from_slice(b"data: [DONE]\n\n");
    }

    /// The frames as text.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from(self.0)
    }
}

/// The response that streams `events` through `encoder`. Dropping it drops `events`, which stops
/// the generation.
pub(crate) fn response<E: EventEncoder>(
    events: impl Stream<Item = GenerationEvent> + Send + 'static,
    encoder: E,
    keep_alive: Duration,
) -> Response {
    let keep_alive = match E::FRAMING {
        Framing::Events => keep_alive,
        // There are no comments in it: clients read each line.
        Framing::Lines => Duration::MAX,
    };
    let frames = frames(events, encoder, keep_alive).map(Ok::<_, Infallible>);
    respond(Body::from_stream(frames), E::FRAMING)
}

/// The response whose body is a stream of such frames.
pub(crate) fn respond(body: Body, framing: Framing) -> Response {
    let content_type = match framing {
        Framing::Events => "text/event-stream; charset=utf-8",
        Framing::Lines => "application/x-ndjson",
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx buffers responses unless told not to, which turns a stream into one late block.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn frames(
    events: impl Stream<Item = GenerationEvent> + Send + 'static,
    encoder: impl EventEncoder,
    keep_alive: Duration,
) -> impl Stream<Item = Bytes> + Send {
    stream::unfold(Some((Box::pin(events), encoder)), move |state| async move {
        let (mut events, mut encoder) = state?;
        let mut frames = Frames::default();
        loop {
            match tokio::time::timeout(keep_alive, events.next()).await {
                Err(_silence) => {
                    return Some((Bytes::from_static(KEEP_ALIVE), Some((events, encoder))));
                }
                Ok(None) => {
                    encoder.close(&mut frames);
                    return Some((frames.into_bytes(), None));
                }
                Ok(Some(event)) => {
                    encoder.encode(event, &mut frames);
                    if !frames.0.is_empty() {
                        return Some((frames.into_bytes(), Some((events, encoder))));
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::stream;

    use super::*;

    struct Silent;

    impl EventEncoder for Silent {
        fn encode(&mut self, _event: GenerationEvent, _frames: &mut Frames) {}

        fn close(&mut self, frames: &mut Frames) {
            frames.done();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_sends_keep_alive_comments() {
        let mut frames = pin!(frames(stream::pending(), Silent, KEEP_ALIVE_INTERVAL));
        for _ in 0..3 {
            assert_eq!(frames.next().await, Some(Bytes::from_static(b":\n\n")));
        }
    }

    #[tokio::test]
    async fn a_stream_closes_with_what_the_dialect_wants() {
        let frames: Vec<Bytes> = frames(stream::empty(), Silent, KEEP_ALIVE_INTERVAL)
            .collect()
            .await;
        assert_eq!(frames, [Bytes::from_static(b"data: [DONE]\n\n")]);
    }

    #[test]
    fn a_frame_is_one_line_of_json_and_an_empty_line() {
        let mut frames = Frames::default();
        frames.data(&serde_json::json!({"text": "two\nlines"}));
        assert_eq!(
            frames.into_bytes(),
            Bytes::from_static(b"data: {\"text\":\"two\\nlines\"}\n\n")
        );
    }
}
