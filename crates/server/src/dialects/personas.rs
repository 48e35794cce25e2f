//! Who there is to talk to: `GET /v1/personas`, what anybody may see of each, its picture and its
//! greetings. What a persona is told about itself is not shown.

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
use crate::error::ApiError;
use crate::state::AppState;

/// The routes of this module.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        .versioned("/personas", get(list))
        .versioned("/personas/{name}", get(retrieve))
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
    /// The open part of its card.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    profile: matou_persona::Profile,
}

fn persona(named: &ServedName) -> Option<PersonaObject> {
    let profile = named.persona.as_ref()?.profile();
    let address = || format!("/v1/personas/{}/picture", escaped(&profile.id));
    Some(PersonaObject {
        object: "persona",
        parent: named.parent.clone(),
        picture: profile.has_picture.then(address),
        is_ai: true,
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

async fn list(State(models): State<Models>) -> Result<Json<Value>, ApiError> {
    // There may be thousands, each with greetings to be written: no work for an async worker.
    let told = tokio::task::spawn_blocking(move || {
        let data: Vec<PersonaObject> = models.names().iter().filter_map(persona).collect();
        json!({"object": "list", "data": data})
    });
    told.await
        .map(Json)
        .map_err(|error| ApiError::internal(error.to_string()))
}

async fn retrieve(
    State(models): State<Models>,
    Path(name): Path<String>,
) -> Result<Json<PersonaObject>, ApiError> {
    let named = models.named(Some(&name))?;
    persona(&named).map(Json).ok_or_else(|| no_persona(&name))
}

async fn picture(
    State(models): State<Models>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let named = models.named(Some(&name))?;
    let persona = named.persona.ok_or_else(|| no_persona(&name))?;
    // Of a large file: no work for an async worker.
    let picture = tokio::task::spawn_blocking(move || persona.picture()).await;
    let picture = picture.map_err(|error| ApiError::internal(error.to_string()))?;
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

fn no_persona(name: &str) -> ApiError {
    ApiError::not_found("name", format!("`{name}` is a model, and no persona."))
}
