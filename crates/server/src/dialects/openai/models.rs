//! `GET /v1/models` and `GET /v1/models/{id}` as OpenAI has them.

use axum::Json;

use super::wire::{Model, ModelList, ModelMeta};
use crate::error::ApiError;
use matou_llm::Llm;

/// All names under which the model is served.
pub(crate) fn list(llm: &Llm) -> Json<ModelList> {
    let data = llm
        .card()
        .names
        .iter()
        .map(|name| model(llm, name))
        .collect();
    Json(ModelList {
        object: "list",
        data,
    })
}

/// One of them.
pub(crate) fn retrieve(llm: &Llm, id: &str) -> Result<Json<Model>, ApiError> {
    llm.check_model(Some(id))?;
    Ok(Json(model(llm, id)))
}

fn model(llm: &Llm, name: &str) -> Model {
    let info = llm.engine().model_info();
    let context = llm.max_model_len();
    Model {
        id: name.to_owned(),
        object: "model",
        created: llm.card().created,
        owned_by: "matou",
        max_model_len: context,
        context_length: context,
        context_window: context,
        meta: ModelMeta {
            n_vocab: info.vocab_size,
            n_ctx: context,
            n_embd: info.hidden_size,
            n_params: info.parameters,
            size: info.weight_bytes,
        },
    }
}
