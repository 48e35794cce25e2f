//! What is served, as Ollama's clients want to know it: `/api/tags`, `/api/show`, `/api/ps`,
//! `/api/version`.

use axum::Json;
use axum::extract::State;
use matou_chat::reasoning::ReasoningFormat;
use serde_json::{Map, Value, json};

use super::wire::ShowRequest;
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::dialects::shared::time::rfc3339;
use crate::door::Door;
use crate::error::ApiError;
use matou_llm::Wanted;
use matou_llm::models::{ModelState, Models, ServedName};

/// The version of Ollama whose requests and answers these are.
const OLLAMA_VERSION: &str = "0.13.0";

/// All names under which models are served.
pub(super) async fn tags(State(models): State<Models>) -> Json<Value> {
    let listed = models.names();
    Json(json!({"models": listed.iter().map(entry).collect::<Vec<_>>()}))
}

/// Those in memory.
pub(super) async fn ps(State(door): State<Door>) -> Json<Value> {
    let now = door.services.now();
    let listed = door.models.names();
    let running = |named: &ServedName| {
        let model = &named.model;
        let expires_in = match model.state {
            ModelState::Loaded { expires_in } => expires_in,
            _ => None,
        };
        let mut entry = entry(named);
        entry["size"] = model.facts.memory.into();
        entry["size_vram"] = 0.into();
        entry["context_length"] = model.facts.max_model_len.into();
        entry["expires_at"] = match expires_in {
            Some(time) => rfc3339(now + time.as_secs()).into(),
            // Far away: it stays until its memory is needed.
            None => "2318-01-01T00:00:00Z".into(),
        };
        entry
    };
    let is_there = |named: &&ServedName| matches!(named.model.state, ModelState::Loaded { .. });
    let there = listed.iter().filter(is_there);
    Json(json!({"models": there.map(running).collect::<Vec<_>>()}))
}

/// What the model is and can do.
pub(super) async fn show(
    State(door): State<Door>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let request: ShowRequest = body.read()?;
    let name = request.model.or(request.name);
    let named = door.models.named(name.as_deref())?;
    let info = &named.model.facts;
    // Of a model that is not in memory it is read from its files.
    let models = door.models.clone();
    let read = move |_: &Wanted| Ok(models.text(name.as_deref())?);
    let text = door.compute(&caller, read).await?;
    let architecture = info.architecture.as_str();
    let mut model_info = Map::new();
    let general: [(String, Value); 5] = [
        ("general.architecture".to_owned(), architecture.into()),
        ("general.parameter_count".to_owned(), info.parameters.into()),
        (
            format!("{architecture}.context_length"),
            info.max_model_len.into(),
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
    let source = text.template.as_deref();
    let mut capabilities = vec!["completion", "embedding"];
    if text.fills_gaps {
        capabilities.push("insert");
    }
    if let Some(source) = source {
        capabilities.push("tools");
        if ReasoningFormat::detect(source).is_some() {
            capabilities.push("thinking");
        }
    }
    Ok(Json(json!({
        "modelfile": format!("FROM {}\n", named.parent.as_ref().unwrap_or(&info.names[0])),
        "parameters": "",
        "template": source.unwrap_or_default(),
        "details": details(&named),
        "model_info": model_info,
        "capabilities": capabilities,
        "modified_at": rfc3339(info.created),
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

fn entry(named: &ServedName) -> Value {
    let facts = &named.model.facts;
    json!({
        "name": named.name,
        "model": named.name,
        "modified_at": rfc3339(named.created()),
        "size": facts.weight_bytes,
        "digest": facts.fingerprint,
        "details": details(named),
    })
}

fn details(named: &ServedName) -> Value {
    let info = &named.model.facts;
    let millions = info.parameters as f64 / 1e6;
    let size = match millions < 1000.0 {
        true => format!("{millions:.1}M"),
        false => format!("{:.1}B", millions / 1000.0),
    };
    json!({
        "parent_model": named.parent.as_deref().unwrap_or_default(),
        "family": info.architecture,
        "families": [info.architecture],
        "parameter_size": size,
        "quantization_level": info.quantization,
    })
}
