//! Endpoints for those who run the server: `/health`, `/version`, `/metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use matou_llm::Llm;
use serde_json::{Value, json};

use crate::metrics;
use crate::state::AppState;

/// The routes of this module.
pub(crate) fn router() -> Router<AppState> {
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

async fn metrics_text(State(llm): State<Arc<Llm>>) -> impl IntoResponse {
    let text = metrics::render(&llm.engine().stats(), llm.engine().config(), llm.name());
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
}
