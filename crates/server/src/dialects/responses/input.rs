//! The items of a kept response's input: `GET /v1/responses/{id}/input_items`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::store::{ResponseStore, found};
use crate::caller::Caller;
use crate::dialects::shared::fields::in_range;
use crate::error::ApiError;

/// Items of a page unless another number is asked for, as at OpenAI.
const DEFAULT_LIMIT: i64 = 20;
/// Most items of a page.
const MAX_LIMIT: i64 = 100;

/// Which items.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PageQuery {
    /// Most items of a page.
    limit: Option<i64>,
    /// `asc`, or `desc` for the newest first.
    order: Option<String>,
    /// The item that the page begins after.
    after: Option<String>,
}

/// A page of the items.
pub(super) async fn items(
    State(store): State<Arc<ResponseStore>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let stored = found(store, caller.owner, id).await?;
    page(&stored.input(), &query).map(Json)
}

fn page(items: &[Value], query: &PageQuery) -> Result<Value, ApiError> {
    let limit = in_range("limit", query.limit, 1, MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT) as usize;
    let mut items: Vec<&Value> = items.iter().collect();
    match query.order.as_deref() {
        None | Some("desc") => items.reverse(),
        Some("asc") => {}
        Some(other) => {
            let message = format!("`order` must be asc or desc, got \"{other}\".");
            return Err(ApiError::invalid("order", message));
        }
    }
    if let Some(after) = &query.after {
        let Some(place) = items.iter().position(|item| item["id"] == **after) else {
            let message = format!("`after` must be the id of an item, got \"{after}\".");
            return Err(ApiError::invalid("after", message));
        };
        items.drain(..=place);
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    let id = |item: Option<&&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    Ok(json!({
        "object": "list",
        "first_id": id(items.first()),
        "last_id": id(items.last()),
        "has_more": has_more,
        "data": items,
    }))
}

/// The items that the field `input` is, each with an id of its own or one made from the response's.
pub(super) fn with_ids(input: Option<Value>, response_id: &str) -> Vec<Value> {
    let items = match input {
        Some(Value::Array(items)) => items,
        Some(Value::String(text)) => vec![json!({
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": text}],
        })],
        _ => Vec::new(),
    };
    let name = response_id.trim_start_matches("resp_");
    let with_id = |(i, mut item): (usize, Value)| {
        if let Some(fields) = item.as_object_mut() {
            let id = fields.entry("id").or_insert(Value::Null);
            if id.is_null() {
                *id = format!("item_{name}_{i}").into();
            }
        }
        item
    };
    items.into_iter().enumerate().map(with_id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_in_both_orders() {
        let input = json!([{"id": "a"}, {"id": null, "role": "user"}, {"id": "c"}]);
        let items = with_ids(Some(input), "resp_x");
        let ids = |order: &str, after: Option<&str>| {
            let query = PageQuery {
                limit: Some(2),
                order: Some(order.to_owned()),
                after: after.map(str::to_owned),
            };
            let page = page(&items, &query).unwrap();
            let ids = page["data"].as_array().unwrap().iter();
            let ids: Vec<String> = ids
                .map(|item| item["id"].as_str().unwrap().to_owned())
                .collect();
            (ids.join(" "), page["has_more"] == true)
        };
        assert_eq!(ids("asc", None), ("a item_x_1".to_owned(), true));
        assert_eq!(ids("asc", Some("item_x_1")), ("c".to_owned(), false));
        assert_eq!(ids("desc", None), ("c item_x_1".to_owned(), true));
        assert_eq!(ids("desc", Some("a")), (String::new(), false));
        let unknown = PageQuery {
            after: Some("z".to_owned()),
            ..PageQuery::default()
        };
        assert!(page(&items, &unknown).is_err());
    }
}
