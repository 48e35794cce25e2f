//! Endpoints for those who run the server, and for routers before it: `/`, `/health`, `/version`,
//! `/metrics`, and what SGLang's routers ask for.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use matou_llm::Llm;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::metrics::{self, ServerStats};
use crate::state::AppState;

/// The routes of this module.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/", get(root))
        .route("/health", get(health))
        .route("/version", get(version))
        .route("/metrics", get(metrics_text))
        .route("/model_info", get(model_info))
        .route("/get_model_info", get(model_info))
        .route("/server_info", get(server_info))
        .route("/get_server_info", get(server_info))
}

/// Ollama's clients ask here whether anybody is there.
async fn root() -> &'static str {
    "matou is running. OpenAI's API is at /v1, Anthropic's at /v1/messages, Ollama's at /api, their \
     description at /docs.\n"
}

/// Whoever can connect is served (a server that is stopping has closed its port), unless the engine has
/// ended, which nothing can mend but another start.
async fn health(State(llm): State<Arc<Llm>>) -> Result<Json<Value>, ApiError> {
    match llm.engine().has_ended() {
        true => Err(ApiError::internal(
            "The engine has stopped; the server ends.",
        )),
        false => Ok(Json(json!({"status": "ok"}))),
    }
}

async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}

async fn metrics_text(State(state): State<AppState>) -> impl IntoResponse {
    let isolation = state.llm.isolation();
    let server = ServerStats {
        connections: state.connections.open(),
        evicted: state.connections.evicted(),
        refused: state.connections.refused(),
        body_bytes: state.bodies.spent(),
        isolated: isolation.map_or_else(Default::default, |isolation| {
            let counters = isolation.counters();
            (counters.jobs(), counters.timed_out(), counters.died())
        }),
    };
    let (engine, name) = (state.llm.engine(), state.llm.name());
    let text = metrics::render(&engine.stats(), &server, engine.config(), name);
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
}

/// What is served, as SGLang tells it.
async fn model_info(State(llm): State<Arc<Llm>>) -> Json<Value> {
    Json(json!({
        "model_path": llm.name(),
        "tokenizer_path": llm.name(),
        "served_model_name": llm.name(),
        "is_generation": true,
        "model_type": llm.engine().model_info().architecture,
        "max_model_len": llm.max_model_len(),
    }))
}

/// How it is served, as SGLang tells it.
async fn server_info(State(llm): State<Arc<Llm>>) -> Json<Value> {
    let config = llm.engine().config();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "model_path": llm.name(),
        "served_model_name": llm.name(),
        "context_length": llm.max_model_len(),
        "max_model_len": llm.max_model_len(),
        "max_running_requests": config.max_num_seqs,
        "max_queued_requests": config.max_queue_len,
        "max_prefill_tokens": config.max_num_batched_tokens,
        "kv_cache_dtype": format!("{:?}", config.kv_cache_dtype),
    }))
}
