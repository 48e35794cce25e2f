//! Endpoints for those who run the server: `/health`, `/version`, `/metrics`.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::metrics;
use crate::state::SharedState;

/// The routes of this module.
pub(crate) fn router() -> Router<SharedState> {
    Router::new()
        .route("/health", get(health))
        .route("/version", get(version))
        .route("/metrics", get(metrics_text))
}

/// Whoever can connect is served: a server that is stopping has closed its port.
async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}

async fn metrics_text(State(state): State<SharedState>) -> impl IntoResponse {
    let text = metrics::render(
        &state.engine.stats(),
        state.engine.config(),
        &state.model.names[0],
    );
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
}
