//! The router, and the life of a server.
//!
//! ```text
//! Serving ──shutdown──▶ Draining ──timeout──▶ Cut ──▶ returned
//! connections           no new connections;   what still runs ends with an error event;
//! are accepted          running answers       who does not read even that is hung up on
//!                       may finish
//! ```

use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware;
use futures_util::future::join;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::access::{self, Peer, refuse_other_sites, require_key};
use crate::company::keep_company;
use crate::connections::{Patience, attend};
use crate::current::Current;
use crate::dialects;
use crate::encryption::Encryption;
use crate::error::ApiError;
use crate::lifecycle::Stage;
use crate::openapi;
use crate::page;
use crate::request_id::name_request;
use crate::service;
use crate::session;
use crate::state::AppState;

/// How long connections may take to send the end of answers that were cut.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a server whose engine has ended still says so.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// How long to wait when no connection can be accepted, as when all file descriptors are in use.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// All routes over `state`.
pub fn app(state: AppState) -> Router {
    Router::new()
        .merge(service::router())
        .merge(openapi::router())
        .merge(page::router())
        .merge(session::router())
        .merge(dialects::router(&state))
        .fallback(unknown_url)
        .method_not_allowed_fallback(method_not_allowed)
        // `JsonBody` has limits of its own.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(
            state.entrance(),
            require_key,
        ))
        .layer(middleware::from_fn_with_state(
            state.access.clone(),
            refuse_other_sites,
        ))
        .layer(access::cors(&state.access))
        .layer(middleware::from_fn_with_state(state.clone(), keep_company))
        .layer(middleware::from_fn(dialects::word_errors))
        .layer(middleware::from_fn(name_request))
        .with_state(state)
}

/// Serves `listener` until `shutdown` resolves. Then no connection is accepted any more and running
/// answers may finish for `shutdown_timeout`; those that have not are ended with an error that says
/// so. When this returns, nothing holds the model any more but work that cannot be interrupted, unless
/// the caller kept a clone of `state`.
///
/// If the engine of a model ends by itself that cannot be loaded again, requests are told so, and for as long as it takes a supervisor to ask
/// for the server's health so is that; then this returns.
///
/// # Errors
///
/// When the listener has no address, which is when it was never bound, and when the engine ended.
pub async fn serve(
    listener: TcpListener,
    mut state: AppState,
    shutdown: impl Future<Output = ()>,
    shutdown_timeout: Duration,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    state.access.is_loopback = address.ip().is_loopback();
    info!(%address, "accepting connections");
    let mut connections = JoinSet::new();
    let models = state.models.clone();
    let stop = async {
        tokio::select! {
            () = shutdown => {}
            () = models.ended() => sleep(LAST_ANSWERS).await,
        }
    };
    accept(listener, &state, stop, &mut connections).await;

    info!("no longer accepting connections; waiting for running answers");
    state.lifecycle.enter(Stage::Draining);
    // Some answers are written without anybody listening.
    let runs = state.shelf.runs.clone();
    if timeout(shutdown_timeout, join(all(&mut connections), runs.idle()))
        .await
        .is_err()
    {
        warn!("cutting the answers that are still running");
        state.lifecycle.enter(Stage::Cut);
        // Whoever does not listen is hung up on next; what there is of an answer is kept.
        let _ = timeout(FAREWELL, join(all(&mut connections), runs.idle())).await;
    }
    connections.shutdown().await;
    match models.have_ended() {
        true => Err(io::Error::other(
            "the engine has stopped; see the log for the reason",
        )),
        false => Ok(()),
    }
}

/// Gives each connection a task, until `shutdown` resolves.
async fn accept(
    listener: TcpListener,
    state: &AppState,
    shutdown: impl Future<Output = ()>,
    connections: &mut JoinSet<()>,
) {
    let mut state = state.clone();
    let (router, current) = watch::channel(app(state.clone()));
    let service = Current::new(current);
    let mut news = state.live().follow();
    let mut shutdown = pin!(shutdown);
    loop {
        let limits = &state.limits;
        let patience = Patience {
            head: limits.header_timeout,
            read: limits.read_timeout,
        };
        let max = limits.max_connections;
        tokio::select! {
            () = &mut shutdown => return,
            Ok(()) = news.changed() => {
                let settings = news.borrow_and_update().clone();
                if let Some(settings) = settings {
                    state = state.with_settings(settings);
                    drop(router.send_replace(app(state.clone())));
                }
            }
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let Some(place) = state.connections.enter(max) else {
                        // All are being answered: whoever comes now is hung up on.
                        continue;
                    };
                    let stage = state.lifecycle.follow();
                    let caller = (Peer::at(peer.ip()), state.encryption.as_ref().map(Encryption::config));
                    let served = (service.clone(), max);
                    connections.spawn(attend(stream, caller, place, served, patience, stage));
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
}

async fn all(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}

async fn unknown_url(request: Request) -> ApiError {
    ApiError::unknown_url(request.method().as_str(), request.uri().path())
}

async fn method_not_allowed(request: Request) -> ApiError {
    ApiError::method_not_allowed(request.method().as_str(), request.uri().path())
}
