//! Which models are in memory, told and changed: `POST /models/load` and `POST /models/unload` as
//! llama.cpp's router has them, and `GET /status`, all there is to know of the server at a glance.

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use matou_engine::ClientId;
use matou_llm::models::{AdapterStatus, ModelState, ModelStatus};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::body::JsonBody;
use crate::caller::Caller;
use crate::door::Door;
use crate::error::ApiError;
use crate::state::AppState;

/// The routes of this module.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/models/load", post(load))
        .route("/models/unload", post(unload))
        .route("/status", get(status))
}

/// Whether a model is in memory, as llama.cpp's router tells it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct StatusObject {
    /// `loaded`, `loading`, `unloading`, `unloaded` or `failed`.
    pub value: &'static str,
    /// How much of its weights has been read, from 0 to 1, while it is loading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// Why it could not be loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Memory that it takes when it is loaded, in bytes.
    pub bytes: u64,
    /// Seconds until it goes if nobody uses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

impl StatusObject {
    pub(crate) fn of(model: &ModelStatus) -> Self {
        let mut told = Self {
            value: "unloaded",
            progress: None,
            error: None,
            bytes: model.facts.memory,
            expires_in: None,
        };
        match &model.state {
            ModelState::Unloaded => {}
            ModelState::Loading { done, total } => {
                told.value = "loading";
                told.progress = Some(*done as f64 / (*total).max(1) as f64);
            }
            ModelState::Loaded { expires_in } => {
                told.value = "loaded";
                told.expires_in = expires_in.map(|time| time.as_secs());
            }
            ModelState::Unloading => told.value = "unloading",
            ModelState::Failed { reason } => {
                told.value = "failed";
                told.error = Some(reason.clone());
            }
        }
        told
    }
}

/// `POST /models/load` and `POST /models/unload`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct ModelRequest {
    /// Name of the model.
    pub model: Option<String>,
}

/// The name that a request is about.
fn named(body: &JsonBody) -> Result<String, ApiError> {
    let request: ModelRequest = body.read()?;
    let missing = || ApiError::invalid("model", "`model` is missing: the name of a model.");
    request
        .model
        .filter(|name| !name.is_empty())
        .ok_or_else(missing)
}

/// Has a model loaded; the answer does not wait for it.
async fn load(
    State(door): State<Door>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let name = named(&body)?;
    door.models.status(Some(&name))?;
    let models = door.models.clone();
    let client: ClientId = caller.client;
    tokio::spawn(async move {
        // What goes wrong is in the log and in the model's status.
        let _ = models.acquire(Some(&name), client, None).await;
    });
    Ok(Json(json!({"success": true})))
}

/// Has a model go once its requests have been answered.
async fn unload(State(door): State<Door>, body: JsonBody) -> Result<Json<Value>, ApiError> {
    let name = named(&body)?;
    match door.models.unload(Some(&name))? {
        true => Ok(Json(json!({"success": true}))),
        false => Err(ApiError::invalid(
            "model",
            format!("The model `{name}` is not in memory."),
        )),
    }
}

/// All there is to know at a glance.
async fn status(State(state): State<AppState>) -> Json<Value> {
    let (used, budget) = state.models.memory();
    let models = state.models.list();
    let adapters = state.models.adapters();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "connections": state.connections.open(),
        "memory": {
            "used": used,
            // A model that was brought along has no budget.
            "budget": (budget < u64::MAX).then_some(budget),
        },
        "models": models.iter().map(model).collect::<Vec<_>>(),
        "adapters": adapters.iter().map(adapter).collect::<Vec<_>>(),
        "personas": state.models.personas().len(),
    }))
}

fn adapter(adapter: &AdapterStatus) -> Value {
    json!({
        "name": adapter.name,
        "model": adapter.base,
        "bytes": adapter.memory,
        "loaded": adapter.is_loaded,
    })
}

fn model(model: &ModelStatus) -> Value {
    let (held, waiting) = model.requests;
    let engine = model.engine.as_ref().map(|(stats, config)| {
        json!({
            "running": stats.running,
            "waiting": stats.waiting,
            "max_num_seqs": config.as_ref().map(|config| config.max_num_seqs),
            "kv_blocks": stats.kv_blocks_total,
            "kv_blocks_used": stats.kv_blocks_used,
            "kv_blocks_cached": stats.kv_blocks_cached,
            "prompt_tokens": stats.prompt_tokens,
            "cached_tokens": stats.cached_tokens,
            "generation_tokens": stats.generation_tokens,
            "preemptions": stats.preemptions,
            "failed": stats.failed,
        })
    });
    json!({
        "name": model.facts.names[0],
        "names": model.facts.names,
        "quantization": model.facts.quantization,
        "parameters": model.facts.parameters,
        "max_model_len": model.facts.max_model_len,
        "device": model.facts.device,
        "status": StatusObject::of(model),
        "pinned": model.is_pinned,
        "loads": model.loads,
        "requests": {"let_in": held, "waiting": waiting},
        "engine": engine,
    })
}
