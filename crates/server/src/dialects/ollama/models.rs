//! What is served, as Ollama's clients want to know it: `/api/tags`, `/api/show`, `/api/ps`,
//! `/api/version`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use matou_chat::reasoning::ReasoningFormat;
use serde_json::{Map, Value, json};

use super::names::check_model;
use super::wire::ShowRequest;
use crate::body::JsonBody;
use crate::dialects::shared::time::rfc3339;
use crate::error::ApiError;
use matou_llm::Llm;
use matou_llm::gap::fills_gaps;

/// The version of Ollama whose requests and answers these are.
const OLLAMA_VERSION: &str = "0.13.0";

/// All names under which the model is served.
pub(super) async fn tags(State(llm): State<Arc<Llm>>) -> Json<Value> {
    let models = llm.card().names.iter().map(|name| entry(&llm, name));
    Json(json!({"models": models.collect::<Vec<_>>()}))
}

/// The same: what is served is in memory.
pub(super) async fn ps(State(llm): State<Arc<Llm>>) -> Json<Value> {
    let running = |name: &String| {
        let mut entry = entry(&llm, name);
        // Far away: the model stays while the server runs.
        entry["expires_at"] = "2318-01-01T00:00:00Z".into();
        entry["size_vram"] = 0.into();
        entry["context_length"] = llm.max_model_len().into();
        entry
    };
    let models: Vec<Value> = llm.card().names.iter().map(running).collect();
    Json(json!({"models": models}))
}

/// What the model is and can do.
pub(super) async fn show(
    State(llm): State<Arc<Llm>>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let request: ShowRequest = body.read()?;
    check_model(&llm, request.model.or(request.name).as_deref())?;
    let info = llm.engine().model_info();
    let architecture = info.architecture.as_str();
    let mut model_info = Map::new();
    let general: [(String, Value); 5] = [
        ("general.architecture".to_owned(), architecture.into()),
        ("general.parameter_count".to_owned(), info.parameters.into()),
        (
            format!("{architecture}.context_length"),
            llm.max_model_len().into(),
        ),
        (
            format!("{architecture}.embedding_length"),
            info.hidden_size.into(),
        ),
        (
            format!("{architecture}.block_count"),
            info.num_layers.into(),
        ),
    ];
    model_info.extend(general);
    let source = llm.template().map(|template| template.source());
    let mut capabilities = vec!["completion", "embedding"];
    if fills_gaps(llm.tokenizer()) {
        capabilities.push("insert");
    }
    if let Some(source) = source {
        capabilities.push("tools");
        if ReasoningFormat::detect(source).is_some() {
            capabilities.push("thinking");
        }
    }
    Ok(Json(json!({
        "modelfile": format!("FROM {}\n", llm.name()),
        "parameters": "",
        "template": source.unwrap_or_default(),
        "details": details(&llm),
        "model_info": model_info,
        "capabilities": capabilities,
        "modified_at": rfc3339(llm.card().created),
    })))
}

/// The version of Ollama whose API this is, for editors refuse to work with old ones; and that of
/// this server.
pub(super) async fn version() -> Json<Value> {
    Json(json!({
        "version": OLLAMA_VERSION,
        "matou_version": env!("CARGO_PKG_VERSION"),
    }))
}

fn entry(llm: &Llm, name: &str) -> Value {
    json!({
        "name": name,
        "model": name,
        "modified_at": rfc3339(llm.card().created),
        "size": llm.engine().model_info().weight_bytes,
        "digest": llm.card().fingerprint,
        "details": details(llm),
    })
}

fn details(llm: &Llm) -> Value {
    let info = llm.engine().model_info();
    let millions = info.parameters as f64 / 1e6;
    let size = match millions < 1000.0 {
        true => format!("{millions:.1}M"),
        false => format!("{:.1}B", millions / 1000.0),
    };
    json!({
        "parent_model": "",
        "family": info.architecture,
        "families": [info.architecture],
        "parameter_size": size,
        "quantization_level": info.quantization,
    })
}
