//! Adapters that come and go while the server runs: `POST /v1/load_lora_adapter` and
//! `POST /v1/unload_lora_adapter`, as vLLM has them, where the server's owner lets clients do it.

use std::path::PathBuf;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use matou_llm::models::AdapterConfig;
use serde::Deserialize;
use utoipa::ToSchema;

use super::shared::paths::VersionedRoutes;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::management::forbidden;
use crate::state::AppState;

/// The routes of this module.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        .versioned("/load_lora_adapter", post(load))
        .versioned("/unload_lora_adapter", post(unload))
}

/// `POST /v1/load_lora_adapter`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct LoadAdapterRequest {
    /// The adapter's name in the API.
    pub lora_name: Option<String>,
    /// Its folder or file on the server's machine.
    pub lora_path: Option<String>,
    /// The model that it is for; else the one that its files name, or the default.
    pub base_model_name: Option<String>,
    /// Whether it takes the place of one of the same name.
    pub load_inplace: Option<bool>,
}

/// `POST /v1/unload_lora_adapter`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct UnloadAdapterRequest {
    /// The adapter's name in the API.
    pub lora_name: Option<String>,
    /// vLLM's number of it; the name says all.
    #[expect(dead_code, reason = "the name says all")]
    pub lora_int_id: Option<i64>,
}

fn given(param: &str, value: Option<String>) -> Result<String, ApiError> {
    let value = value.filter(|value| !value.trim().is_empty());
    value.ok_or_else(|| ApiError::invalid(param, format!("`{param}` is missing.")))
}

async fn load(State(state): State<AppState>, body: JsonBody) -> Result<String, ApiError> {
    let request: LoadAdapterRequest = body.read()?;
    let name = given("lora_name", request.lora_name)?;
    let path = PathBuf::from(given("lora_path", request.lora_path)?);
    state.management.as_ref().ok_or_else(forbidden)?;
    let named = name.clone();
    let opened = tokio::task::spawn_blocking(move || AdapterConfig::open(named, &path)).await;
    let opened = opened.map_err(|error| ApiError::internal(error.to_string()))?;
    let config = opened.map_err(|error| {
        ApiError::invalid("lora_path", format!("The adapter cannot be used: {error}."))
    })?;
    let (base, replaces) = (
        request.base_model_name,
        request.load_inplace.unwrap_or(false),
    );
    let loaded = state.models.load_adapter(config, base.as_deref(), replaces);
    loaded.await?;
    Ok(format!(
        "Success: LoRA adapter '{name}' added successfully."
    ))
}

async fn unload(State(state): State<AppState>, body: JsonBody) -> Result<String, ApiError> {
    let request: UnloadAdapterRequest = body.read()?;
    let name = given("lora_name", request.lora_name)?;
    state.management.as_ref().ok_or_else(forbidden)?;
    state.models.unload_adapter(&name)?;
    Ok(format!(
        "Success: LoRA adapter '{name}' removed successfully."
    ))
}
