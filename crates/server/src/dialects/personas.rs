//! Who there is to talk to: `GET /v1/personas`, what anybody may see of each, its picture and its
//! greetings. What a persona is told about itself is not shown.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use matou_llm::models::{Models, ServedName};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::shared::paths::VersionedRoutes;
use crate::blocking::blocking;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::management::{PersonaManagement, personas_forbidden};
use crate::state::AppState;

/// The routes of this module.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        .versioned("/personas", get(list).post(add))
        .versioned(
            "/personas/{name}",
            get(retrieve).put(replace).delete(remove),
        )
        .versioned("/personas/{name}/card", get(card))
        .versioned("/personas/{name}/picture", get(picture))
        .versioned("/personas/{name}/greetings", get(greetings))
}

/// What a client says of itself to a persona, in the field `persona` of a chat.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct SceneFields {
    /// Which of the persona's greetings the conversation begins with, from 0.
    pub greeting: Option<i64>,
    /// What the persona calls the user.
    pub user: Option<String>,
}

/// Who is greeted: `?user=NAME`.
#[derive(Debug, Deserialize)]
struct Greeted {
    user: Option<String>,
}

/// A persona, as far as anybody may see.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PersonaObject {
    /// `persona`.
    object: &'static str,
    /// The model or adapter that speaks for it.
    parent: Option<String>,
    /// Where its picture is, if it has one.
    picture: Option<String>,
    /// It is a machine, and every answer says so.
    is_ai: bool,
    /// Whether clients may change and delete it.
    editable: bool,
    /// The open part of its card.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    profile: matou_persona::Profile,
}

fn persona(named: &ServedName, editable: &[String]) -> Option<PersonaObject> {
    let profile = named.persona.as_ref()?.profile();
    let address = || format!("/v1/personas/{}/picture", escaped(&profile.id));
    Some(PersonaObject {
        object: "persona",
        parent: named.parent.clone(),
        picture: profile.has_picture.then(address),
        is_ai: true,
        editable: editable.contains(&profile.id),
        profile,
    })
}

/// A name as a part of a path.
fn escaped(name: &str) -> String {
    let escape = |byte: u8| match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(escape).collect()
}

async fn list(State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    // There may be thousands, each with greetings to be written: no work for an async worker.
    let told = blocking(move || {
        let editable = editable(&state);
        let named = state.models.names();
        let told = named.iter().filter_map(|named| persona(named, &editable));
        let data: Vec<PersonaObject> = told.collect();
        json!({"object": "list", "data": data})
    });
    told.await.map(Json)
}

async fn retrieve(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<PersonaObject>, ApiError> {
    told(&state, &name)
}

async fn picture(
    State(models): State<Models>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let named = models.named(Some(&name))?;
    let persona = named.persona.ok_or_else(|| no_persona(&name))?;
    // Of a large file: no work for an async worker.
    let picture = blocking(move || persona.picture()).await?;
    let Some(picture) = picture else {
        let message = format!("The persona `{name}` has no picture.");
        return Err(ApiError::not_found("name", message));
    };
    let head = [
        (header::CONTENT_TYPE, picture.media_type),
        // It comes from a stranger: it is a picture and nothing else.
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox",
        ),
        (header::CACHE_CONTROL, "private, max-age=300"),
    ];
    Ok((head, picture.bytes).into_response())
}

async fn greetings(
    State(models): State<Models>,
    Path(name): Path<String>,
    Query(greeted): Query<Greeted>,
) -> Result<Json<Value>, ApiError> {
    let named = models.named(Some(&name))?;
    let persona = named.persona.ok_or_else(|| no_persona(&name))?;
    let greetings = persona.greetings(greeted.user.as_deref().unwrap_or_default());
    Ok(Json(json!({"object": "list", "data": greetings})))
}

/// As which file a card is read.
#[derive(Debug, Default, Deserialize)]
struct CardFile {
    filename: Option<String>,
}

/// What clients may do to personas.
///
/// # Errors
///
/// When they may not.
fn management(state: &AppState) -> Result<Arc<dyn PersonaManagement>, ApiError> {
    state.personas.clone().ok_or_else(personas_forbidden)
}

/// The same for one of them.
fn management_of(state: &AppState, name: &str) -> Result<Arc<dyn PersonaManagement>, ApiError> {
    let management = management(state)?;
    // Whether there is one at all is told first.
    let named = state.models.named(Some(name))?;
    named.persona.ok_or_else(|| no_persona(name))?;
    match management.names().iter().any(|own| own == name) {
        true => Ok(management),
        false => Err(ApiError::forbidden(format!(
            "`{name}` is from a folder of the server's owner (`--personas`), and is not changed here."
        ))),
    }
}

/// Serves the persona of a card.
async fn add(
    State(state): State<AppState>,
    file: Result<Query<CardFile>, QueryRejection>,
    body: JsonBody,
) -> Result<Json<PersonaObject>, ApiError> {
    let Query(file) = file.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let management = management(&state)?;
    let added = management.add(body.into_bytes(), file.filename.unwrap_or_default());
    let name = added.await?;
    told(&state, &name)
}

/// The card of a persona, to be changed.
async fn card(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let management = management_of(&state, &name)?;
    let card = management.card(name).await?;
    let card: Value = serde_json::from_str(&card)
        .map_err(|error| ApiError::internal(format!("The card is no JSON: {error}.")))?;
    Ok(Json(json!({"object": "persona.card", "card": card})))
}

/// Puts another card in the place of a persona's.
async fn replace(
    State(state): State<AppState>,
    Path(name): Path<String>,
    body: JsonBody,
) -> Result<Json<PersonaObject>, ApiError> {
    let management = management_of(&state, &name)?;
    let replaced = management.replace(name, body.into_bytes());
    let name = replaced.await?;
    told(&state, &name)
}

/// Deletes a persona.
async fn remove(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let management = management_of(&state, &name)?;
    management.remove(name.clone()).await?;
    Ok(Json(
        json!({"id": name, "object": "persona", "deleted": true}),
    ))
}

fn told(state: &AppState, name: &str) -> Result<Json<PersonaObject>, ApiError> {
    let named = state.models.named(Some(name))?;
    let told = persona(&named, &editable(state));
    told.map(Json).ok_or_else(|| no_persona(name))
}

/// The names of those that clients may change.
fn editable(state: &AppState) -> Vec<String> {
    let management = state.personas.as_ref();
    management.map_or_else(Vec::new, |management| management.names())
}

fn no_persona(name: &str) -> ApiError {
    ApiError::not_found("name", format!("`{name}` is a model, and no persona."))
}
