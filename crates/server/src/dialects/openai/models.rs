//! `GET /v1/models` and `GET /v1/models/{id}` as OpenAI has them.

use axum::Json;

use super::wire::{Model, ModelList};
use crate::error::ApiError;
use crate::state::AppState;

/// All names under which the model is served.
pub(crate) fn list(state: &AppState) -> Json<ModelList> {
    let data = state
        .model
        .names
        .iter()
        .map(|name| model(state, name))
        .collect();
    Json(ModelList {
        object: "list",
        data,
    })
}

/// One of them.
pub(crate) fn retrieve(state: &AppState, id: &str) -> Result<Json<Model>, ApiError> {
    state.check_model(Some(id))?;
    Ok(Json(model(state, id)))
}

fn model(state: &AppState, name: &str) -> Model {
    Model {
        id: name.to_owned(),
        object: "model",
        created: state.model.created,
        owned_by: "matou",
        max_model_len: state.engine.config().max_model_len,
    }
}
