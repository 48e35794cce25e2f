//! The API's description: `GET /openapi.json`, made of the wire types, and a page to read it.

mod bodies;
mod endpoint;
mod kept;
mod paths;

use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderName, header};
use axum::response::Html;
use axum::routing::get;
use utoipa::openapi::OpenApi as Document;
use utoipa::{Modify, OpenApi, ToSchema};

use crate::state::AppState;

/// The description as text: it is some hundred kilobytes, the same for everybody.
static DESCRIPTION: LazyLock<Bytes> = LazyLock::new(|| {
    let text = serde_json::to_vec(&document()).expect("a description serialises");
    text.into()
});
const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// The routes of this module.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/openapi.json", get(async || (JSON, DESCRIPTION.clone())))
        .route("/docs", get(async || Html(include_str!("page.html"))))
}

/// The description of all endpoints.
pub(crate) fn document() -> Document {
    Api::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "matou",
        description = "A local LLM inference server: the APIs of OpenAI, Anthropic and Ollama over one engine."
    ),
    paths(
        paths::chat_completions,
        paths::completions,
        paths::embeddings,
        paths::responses,
        paths::response,
        paths::delete_response,
        paths::models,
        paths::model,
        paths::messages,
        paths::count_tokens,
        paths::ollama_chat,
        paths::ollama_generate,
        paths::ollama_embed,
        paths::ollama_embeddings,
        paths::ollama_tags,
        paths::ollama_ps,
        paths::ollama_show,
        paths::ollama_version,
        paths::ollama_pull,
        paths::ollama_delete,
        paths::load_model,
        paths::unload_model,
        paths::load_lora_adapter,
        paths::unload_lora_adapter,
        paths::personas,
        paths::persona,
        paths::persona_picture,
        paths::persona_greetings,
        kept::add_persona,
        kept::persona_card,
        kept::replace_persona,
        kept::delete_persona,
        kept::history,
        kept::create_conversation,
        kept::delete_history,
        kept::export_history,
        kept::import_history,
        kept::conversation,
        kept::update_conversation,
        kept::delete_conversation,
        kept::export_conversation,
        kept::add_message,
        kept::message,
        kept::delete_message,
        kept::answer_conversation,
        kept::follow_answer,
        kept::stop_answer,
        kept::session,
        kept::sign_in,
        kept::sign_out,
        kept::sign_in_link,
        paths::status,
        paths::tokenize,
        paths::detokenize,
        paths::apply_template,
        paths::health,
        paths::version,
        paths::metrics,
    ),
    components(schemas(ErrorResponse)),
    modifiers(&Keys)
)]
struct Api;

/// Keys are optional: a server asks for one if it was started with any.
struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut Document) {
        use utoipa::openapi::security::{
            ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
        };
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let header = ApiKey::Header(ApiKeyValue::new("x-api-key"));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        components.add_security_scheme("x-api-key", SecurityScheme::ApiKey(header));
        let none: [&str; 0] = [];
        document.security = Some(vec![
            SecurityRequirement::default(),
            SecurityRequirement::new("bearer", none),
            SecurityRequirement::new("x-api-key", none),
        ]);
    }
}

/// An error of OpenAI's endpoints. Anthropic's and Ollama's have their own shapes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `ErrorBody` serialises")]
struct ErrorResponse {
    error: ErrorFields,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `ErrorBody` serialises")]
struct ErrorFields {
    message: String,
    #[schema(rename = "type")]
    kind: String,
    param: Option<String>,
    code: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_openai_endpoints_are_objects() {
        let document = serde_json::to_value(document()).unwrap();
        for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"] {
            let answer = &document["paths"][path]["post"]["responses"]["200"];
            let schema = &answer["content"]["application/json"]["schema"];
            let name = schema["$ref"]
                .as_str()
                .unwrap_or_else(|| panic!("{path}: {answer}"));
            let name = name.trim_start_matches("#/components/schemas/");
            assert!(
                document["components"]["schemas"][name].is_object(),
                "{name}"
            );
        }
    }

    #[test]
    fn all_references_lead_somewhere() {
        let document = serde_json::to_value(document()).unwrap();
        let text = document.to_string();
        let names = text.split("#/components/schemas/").skip(1);
        let names: Vec<&str> = names.filter_map(|rest| rest.split('"').next()).collect();
        assert!(names.len() > 30, "{names:?}");
        for name in names {
            let schema = &document["components"]["schemas"][name];
            assert!(schema.is_object(), "{name}");
        }
    }
}
