//! `GET /v1/models` and `GET /v1/models/{id}` as OpenAI has them.

use axum::Json;

use super::wire::{Model, ModelList, ModelMeta};
use crate::dialects::management::StatusObject;
use crate::error::ApiError;
use matou_llm::models::{ModelStatus, Models};

/// All names under which models are served.
pub(crate) fn list(models: &Models) -> Json<ModelList> {
    let listed = models.list();
    let named = listed.iter().flat_map(|status| {
        let names = status.facts.names.iter();
        names.map(move |name| model(status, name))
    });
    Json(ModelList {
        object: "list",
        data: named.collect(),
    })
}

/// One of them.
pub(crate) fn retrieve(models: &Models, id: &str) -> Result<Json<Model>, ApiError> {
    Ok(Json(model(&models.status(Some(id))?, id)))
}

fn model(status: &ModelStatus, name: &str) -> Model {
    let facts = &status.facts;
    let context = facts.max_model_len;
    Model {
        id: name.to_owned(),
        object: "model",
        created: facts.created,
        owned_by: "matou",
        max_model_len: context,
        context_length: context,
        context_window: context,
        meta: ModelMeta {
            n_vocab: facts.vocab_size,
            n_ctx: context,
            n_embd: facts.hidden_size,
            n_params: facts.parameters,
            size: facts.weight_bytes,
        },
        status: StatusObject::of(status),
    }
}
