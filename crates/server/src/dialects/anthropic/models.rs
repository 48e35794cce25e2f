//! `GET /v1/models` and `GET /v1/models/{id}` as Anthropic has them.

use axum::Json;
use serde::Deserialize;

use super::wire::{ModelInfo, ModelPage};
use crate::dialects::shared::fields::in_range;
use crate::dialects::shared::time::rfc3339;
use crate::error::ApiError;
use matou_llm::models::{Models, ServedName};

/// Models of a page that does not say how many, and the most of one that does.
const PAGE: (usize, i64) = (20, 1000);

/// Which part of the list is asked for.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct PageQuery {
    limit: Option<i64>,
    after_id: Option<String>,
    before_id: Option<String>,
}

/// A page of the names under which the model is served.
pub(crate) fn list(models: &Models, query: &PageQuery) -> Result<Json<ModelPage>, ApiError> {
    let (default, most) = PAGE;
    let limit = in_range("limit", query.limit, 1, most)?.map_or(default, |limit| limit as usize);
    let names = models.names();
    let place = |param: &str, id: &Option<String>| match id {
        None => Ok(None),
        Some(id) => match names.iter().position(|named| named.name == *id) {
            Some(place) => Ok(Some(place)),
            None => {
                let message = format!("`{param}` must be the id of a model, got \"{id}\".");
                Err(ApiError::invalid(param, message))
            }
        },
    };
    let begin = place("after_id", &query.after_id)?.map_or(0, |place| place + 1);
    let before = place("before_id", &query.before_id)?;
    let end = before.unwrap_or(names.len()).max(begin);
    let (begin, end, has_more) = match before {
        // The page that ends there, and not the first one.
        Some(_) => (
            end.saturating_sub(limit).max(begin),
            end,
            end - begin > limit,
        ),
        None => (begin, end.min(begin + limit), end - begin > limit),
    };
    let data: Vec<ModelInfo> = names[begin..end].iter().map(model).collect();
    Ok(Json(ModelPage {
        first_id: data.first().map(|model| model.id.clone()),
        last_id: data.last().map(|model| model.id.clone()),
        has_more,
        data,
    }))
}

/// What there is to know of the model under the name `id`.
pub(crate) fn retrieve(models: &Models, id: &str) -> Result<Json<ModelInfo>, ApiError> {
    Ok(Json(model(&models.named(Some(id))?)))
}

fn model(named: &ServedName) -> ModelInfo {
    let facts = &named.model.facts;
    let display_name = match &named.persona {
        Some(persona) => persona.name(),
        None => &named.name,
    };
    ModelInfo {
        kind: "model",
        id: named.name.clone(),
        display_name: display_name.to_owned(),
        created_at: rfc3339(named.created()),
        lifecycle: "active",
        max_input_tokens: facts.max_model_len,
        max_tokens: facts.max_model_len,
    }
}
