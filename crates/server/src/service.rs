//! Endpoints for those who run the server, and for routers before it: `/health`, `/version`,
//! `/metrics`, and what SGLang's routers ask for.

use axum::extract::{Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use matou_llm::models::{ModelStatus, Models};
use serde_json::{Value, json};

use crate::door::Named;
use crate::error::ApiError;
use crate::metrics::{self, ServerStats};
use crate::state::AppState;

/// The routes of this module.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/health", get(health))
        .route("/version", get(version))
        .route("/metrics", get(metrics_text))
        .route("/model_info", get(model_info))
        .route("/get_model_info", get(model_info))
        .route("/server_info", get(server_info))
        .route("/get_server_info", get(server_info))
}

/// Whoever can connect is served (a server that is stopping has closed its port), unless an engine has
/// ended that nothing can mend but another start.
async fn health(State(models): State<Models>) -> Result<Json<Value>, ApiError> {
    match models.have_ended() {
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
    let resident = state.models.all_resident();
    // All models have the same one.
    let isolation = resident.iter().find_map(|llm| llm.isolation());
    let (memory_used, memory_budget) = state.models.memory();
    let server = ServerStats {
        connections: state.connections.open(),
        evicted: state.connections.evicted(),
        refused: state.connections.refused(),
        body_bytes: state.bodies.spent(),
        page_violations: state.violations.count(),
        isolated: isolation.map_or_else(Default::default, |isolation| {
            let counters = isolation.counters();
            (counters.jobs(), counters.timed_out(), counters.died())
        }),
        memory_used,
        memory_budget,
    };
    let text = metrics::render(&state.models.list(), &server);
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
}

/// What is served, as SGLang tells it.
async fn model_info(
    State(models): State<Models>,
    Query(named): Query<Named>,
) -> Result<Json<Value>, ApiError> {
    let facts = models.status(named.model.as_deref())?.facts;
    Ok(Json(json!({
        "model_path": facts.names[0],
        "tokenizer_path": facts.names[0],
        "served_model_name": facts.names[0],
        "is_generation": true,
        "model_type": facts.architecture,
        "max_model_len": facts.max_model_len,
    })))
}

/// How it is served, as SGLang tells it.
async fn server_info(
    State(models): State<Models>,
    Query(named): Query<Named>,
) -> Result<Json<Value>, ApiError> {
    let ModelStatus { facts, engine, .. } = models.status(named.model.as_deref())?;
    let mut info = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "model_path": facts.names[0],
        "served_model_name": facts.names[0],
        "context_length": facts.max_model_len,
        "max_model_len": facts.max_model_len,
    });
    // Of an engine that runs.
    if let Some((_, Some(config))) = engine {
        info["max_running_requests"] = config.max_num_seqs.into();
        info["max_queued_requests"] = config.max_queue_len.into();
        info["max_prefill_tokens"] = config.max_num_batched_tokens.into();
        info["kv_cache_dtype"] = format!("{:?}", config.kv_cache_dtype).into();
    }
    Ok(Json(info))
}
