//! `GET /v1/models` and `GET /v1/models/{id}` as OpenAI has them.

use axum::Json;

use super::wire::{Model, ModelList, ModelMeta};
use crate::dialects::management::StatusObject;
use crate::error::ApiError;
use matou_llm::models::{Models, ServedName};

/// All names under which models are served.
pub(crate) fn list(models: &Models) -> Json<ModelList> {
    Json(ModelList {
        object: "list",
        data: models.names().iter().map(model).collect(),
    })
}

/// One of them.
pub(crate) fn retrieve(models: &Models, id: &str) -> Result<Json<Model>, ApiError> {
    Ok(Json(model(&models.named(Some(id))?)))
}

fn model(named: &ServedName) -> Model {
    let facts = &named.model.facts;
    let root = match (&named.adapter, &named.persona) {
        // Where it is on the machine is nobody's affair but its owner's.
        (Some(adapter), None) => adapter.folder.clone(),
        _ => facts.names[0].clone(),
    };
    let context = facts.max_model_len;
    Model {
        id: named.name.clone(),
        object: "model",
        created: named.created(),
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
        root,
        parent: named.parent.clone(),
        kind: match (&named.persona, &named.adapter) {
            (Some(_), _) => "persona",
            (None, Some(_)) => "adapter",
            (None, None) => "model",
        },
        status: StatusObject::of(&named.model),
    }
}
