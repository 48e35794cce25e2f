//! A name for each request: the client's `x-request-id`, or one of ours. It is returned in the
//! response, is part of the answer's id, and marks all log lines of the request.
//!
//! A request's span lasts until the last byte of its response, which for a stream is much longer
//! than until its first.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tracing::field::Empty;
use tracing::{Instrument, Span, info, info_span};
use uuid::Uuid;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer names than this are replaced: they go into logs and answers.
const MAX_LENGTH: usize = 128;

/// The name of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(String);

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl RequestId {
    /// The client's name for the request if it is one that can be repeated, or a random one.
    fn new(headers: &HeaderMap) -> Self {
        let given = headers
            .get(X_REQUEST_ID)
            .and_then(|value| value.to_str().ok());
        let usable = |id: &&str| {
            (1..=MAX_LENGTH).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let given = given.filter(usable);
        given.map_or_else(Self::random, |given| Self(given.to_owned()))
    }

    /// A name that nobody else has.
    pub(crate) fn random() -> Self {
        Self(Uuid::new_v4().simple().to_string())
    }
}

/// Names the request, and traces it under that name to the end of its response.
pub(crate) async fn name_request(mut request: Request, next: Next) -> Response {
    let id = RequestId::new(request.headers());
    request.extensions_mut().insert(id.clone());
    // As the route has it: a path may name what only its owner should know.
    let path = request.extensions().get::<MatchedPath>();
    let span = info_span!(
        "request",
        id = %id,
        method = %request.method(),
        path = path.map_or("unknown", MatchedPath::as_str),
        // The client's own labels, which the endpoints fill in.
        user = Empty,
        metadata = Empty,
    );
    let start = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let value = HeaderValue::from_str(&id.0).expect("an id has visible ASCII characters only");
    response.headers_mut().insert(X_REQUEST_ID, value);
    let status = response.status().as_u16();
    let seconds = start.elapsed().as_secs_f64();
    span.in_scope(|| info!(status, seconds, "response begins"));
    response.map(|body| {
        Body::new(TracedBody {
            body,
            span,
            start,
            is_complete: false,
        })
    })
}

/// A response's body inside its request's span. When it is dropped it says how the response ended:
/// complete, or left by its client.
struct TracedBody {
    body: Body,
    span: Span,
    start: Instant,
    is_complete: bool,
}

impl HttpBody for TracedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let _inside = this.span.enter();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        this.is_complete = frame.is_none() || this.body.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TracedBody {
    fn drop(&mut self) {
        let complete = self.is_complete || self.body.is_end_stream();
        let seconds = self.start.elapsed().as_secs_f64();
        self.span
            .in_scope(|| info!(complete, seconds, "response ended"));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::body::to_bytes;
    use axum::middleware;
    use axum::routing::get;
    use futures_util::{StreamExt, stream};
    use tower::ServiceExt;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// Log lines of one test.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    async fn streamed() -> Body {
        let parts = ["one", "two"].map(|part| {
            info!(part, "made");
            Ok::<_, std::convert::Infallible>(part)
        });
        // Made as it is read, after the handler has returned.
        let late = stream::iter(parts).chain(stream::once(async {
            info!("made late");
            Ok("three")
        }));
        Body::from_stream(late)
    }

    #[tokio::test]
    async fn a_request_is_traced_to_its_last_byte() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .with_ansi(false)
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let app = Router::new()
            .route("/", get(streamed))
            .layer(middleware::from_fn(name_request));
        let ask = async |id: &str| {
            let request = Request::get("/").header("x-request-id", id);
            let request = request.body(Body::empty()).unwrap();
            app.clone().oneshot(request).await.unwrap().into_body()
        };
        let text = to_bytes(ask("whole").await, 100).await.unwrap();
        assert_eq!(&text[..], b"onetwothree");
        let mut left = ask("left").await.into_data_stream();
        left.next().await;
        drop(left);

        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let said = |id: &str, what: &str| {
            let id = format!("id={id} ");
            let of_request = text.lines().filter(|line| line.contains(&id));
            of_request.filter(|line| line.contains(what)).count()
        };
        assert_eq!(said("whole", "response begins"), 1, "{text}");
        assert_eq!(said("whole", "made late"), 1, "{text}");
        assert_eq!(said("whole", "response ended complete=true"), 1, "{text}");
        assert_eq!(said("left", "response ended complete=false"), 1, "{text}");
    }
}
