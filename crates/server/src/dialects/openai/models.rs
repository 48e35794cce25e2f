//! `GET /v1/models` and `GET /v1/models/{id}`.

use axum::Json;
use axum::extract::{Path, State};

use super::wire::{Model, ModelList};
use crate::error::ApiError;
use crate::state::{AppState, SharedState};

/// All names under which the model is served.
pub(super) async fn list(State(state): State<SharedState>) -> Json<ModelList> {
    let data = state
        .model
        .names
        .iter()
        .map(|name| model(&state, name))
        .collect();
    Json(ModelList {
        object: "list",
        data,
    })
}

/// One of them.
pub(super) async fn retrieve(
    State(state): State<SharedState>,
    Path(id): Path<String>,
) -> Result<Json<Model>, ApiError> {
    state.check_model(Some(&id))?;
    Ok(Json(model(&state, &id)))
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
