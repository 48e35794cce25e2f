//! The router, and the life of a server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::dialects;
use crate::error::ApiError;
use crate::request_id::name_request;
use crate::service;
use crate::state::{Phase, SharedState};

/// How long connections may take to send the end of answers that were cut.
const FAREWELL: Duration = Duration::from_secs(1);

/// All routes over `state`.
pub fn app(state: SharedState) -> Router {
    let max_body_bytes = state.limits.max_body_bytes;
    Router::new()
        .merge(service::router())
        .merge(dialects::openai::router())
        .fallback(unknown_url)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(max_body_bytes))
        .layer(middleware::from_fn(name_request))
        .with_state(state)
}

/// Serves `listener` until `shutdown` resolves. Then no connection is accepted any more and running
/// answers may finish for `shutdown_timeout`; those that have not are ended with an error that says
/// so.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    state: SharedState,
    shutdown: impl Future<Output = ()> + Send + 'static,
    shutdown_timeout: Duration,
) -> io::Result<()> {
    let draining = Arc::clone(&state);
    let cutting = Arc::clone(&state);
    let (drain_started, drain) = tokio::sync::oneshot::channel();
    let server = axum::serve(listener, app(state)).with_graceful_shutdown(async move {
        shutdown.await;
        info!("no longer accepting connections; waiting for running answers");
        draining.enter(Phase::Draining);
        // The receiver lives as long as this future is polled.
        let _ = drain_started.send(());
    });
    let deadline = async move {
        if drain.await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(shutdown_timeout).await;
        warn!("cutting the answers that are still running");
        cutting.enter(Phase::Cut);
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        result = server => result,
        () = deadline => Ok(()),
    }
}

async fn unknown_url(request: Request) -> ApiError {
    ApiError::unknown_url(request.method().as_str(), request.uri().path())
}

async fn method_not_allowed(request: Request) -> ApiError {
    ApiError::method_not_allowed(request.method().as_str(), request.uri().path())
}
