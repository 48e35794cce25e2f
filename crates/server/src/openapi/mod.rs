//! The API's description: `GET /openapi.json`, made of the wire types, and a page to read it.

use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderName, header};
use axum::response::Html;
use axum::routing::get;
use utoipa::openapi::OpenApi as Document;
use utoipa::{Modify, OpenApi, ToSchema};

use crate::dialects::{adapters, anthropic, management, ollama, openai, responses, shared};
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
        .route("/docs", get(async || Html(include_str!("openapi.html"))))
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

/// What the endpoints read as groups of fields, put together.
macro_rules! body {
    ($(#[$doc:meta])* $name:ident: $($field:ident: $group:ty),+) => {
        $(#[$doc])*
        #[derive(ToSchema)]
        #[expect(dead_code, reason = "exists for its schema")]
        struct $name {
            $(#[serde(flatten)] $field: $group,)+
        }
    };
}

body!(
    /// `POST /v1/chat/completions`.
    ChatCompletionBody: chat: openai::wire::ChatCompletionRequest, shared: shared::wire::SharedFields
);
body!(
    /// `POST /v1/completions`.
    CompletionBody: completion: openai::wire::CompletionRequest, shared: shared::wire::SharedFields
);
body!(
    /// `POST /v1/responses`.
    ResponseBody: response: responses::wire::ResponsesRequest, shared: shared::wire::SharedFields
);
body!(
    /// `POST /tokenize`.
    TokenizeBody: text: openai::wire::TokenizeRequest, chat: openai::wire::ChatCompletionRequest,
    shared: shared::wire::SharedFields
);
body!(
    /// `POST /api/chat`.
    OllamaChatBody: common: ollama::wire::CommonFields, chat: ollama::wire::ChatFields
);
body!(
    /// `POST /api/generate`.
    OllamaGenerateBody: common: ollama::wire::CommonFields, generate: ollama::wire::GenerateFields
);

/// One function an endpoint, for its description only.
#[expect(dead_code, reason = "read by the derive of `Api`")]
mod paths {
    use super::*;

    macro_rules! endpoint {
        ($name:ident, $method:ident, $path:literal, $tag:literal, $summary:literal, $request:ty, $answer:ty) => {
            #[utoipa::path($method, path = $path, tag = $tag, summary = $summary,
                request_body = $request,
                responses((status = 200, description = "The answer, whole or streamed", body = $answer),
                    (status = "4XX", description = "What is wrong with the request"),
                    (status = "5XX", description = "A fault of the server")))]
            pub(super) fn $name() {}
        };
        ($name:ident, $method:ident, $path:literal, $tag:literal, $summary:literal) => {
            #[utoipa::path($method, path = $path, tag = $tag, summary = $summary,
                responses((status = 200, description = "The answer"),
                    (status = "4XX", description = "What is wrong with the request")))]
            pub(super) fn $name() {}
        };
        ($name:ident, $method:ident, $path:literal, $tag:literal, $summary:literal, $parameter:literal) => {
            #[utoipa::path($method, path = $path, tag = $tag, summary = $summary,
                params(($parameter = String, Path)),
                responses((status = 200, description = "The answer"),
                    (status = "4XX", description = "What is wrong with the request")))]
            pub(super) fn $name() {}
        };
    }

    endpoint!(
        chat_completions,
        post,
        "/v1/chat/completions",
        "OpenAI",
        "Answer a conversation",
        ChatCompletionBody,
        openai::wire::ChatCompletion
    );
    endpoint!(
        completions,
        post,
        "/v1/completions",
        "OpenAI",
        "Continue one text or several",
        CompletionBody,
        openai::wire::Completion<'static>
    );
    endpoint!(
        embeddings,
        post,
        "/v1/embeddings",
        "OpenAI",
        "Embed one text or several",
        openai::wire::EmbeddingsRequest,
        openai::wire::EmbeddingList
    );
    endpoint!(
        responses,
        post,
        "/v1/responses",
        "OpenAI",
        "Answer a conversation that is kept",
        ResponseBody,
        responses::wire::ResponseObject
    );
    endpoint!(
        response,
        get,
        "/v1/responses/{id}",
        "OpenAI",
        "A response that was kept",
        "id"
    );
    endpoint!(
        delete_response,
        delete,
        "/v1/responses/{id}",
        "OpenAI",
        "Delete a response",
        "id"
    );
    endpoint!(
        models,
        get,
        "/v1/models",
        "OpenAI",
        "The names of the models"
    );
    endpoint!(model, get, "/v1/models/{id}", "OpenAI", "One of them", "id");
    endpoint!(
        messages,
        post,
        "/v1/messages",
        "Anthropic",
        "Answer a conversation",
        anthropic::wire::MessagesRequest,
        anthropic::wire::MessageResponse
    );
    endpoint!(
        count_tokens,
        post,
        "/v1/messages/count_tokens",
        "Anthropic",
        "Count the tokens of a conversation",
        anthropic::wire::MessagesRequest,
        anthropic::wire::TokenCount
    );
    endpoint!(
        ollama_chat,
        post,
        "/api/chat",
        "Ollama",
        "Answer a conversation",
        OllamaChatBody,
        serde_json::Value
    );
    endpoint!(
        ollama_generate,
        post,
        "/api/generate",
        "Ollama",
        "Answer a prompt",
        OllamaGenerateBody,
        serde_json::Value
    );
    endpoint!(
        ollama_embed,
        post,
        "/api/embed",
        "Ollama",
        "Embed one text or several",
        ollama::wire::EmbedRequest,
        serde_json::Value
    );
    endpoint!(
        ollama_embeddings,
        post,
        "/api/embeddings",
        "Ollama",
        "Embed one text or several",
        ollama::wire::EmbeddingsRequest,
        serde_json::Value
    );
    endpoint!(
        ollama_tags,
        get,
        "/api/tags",
        "Ollama",
        "The names of the models"
    );
    endpoint!(ollama_ps, get, "/api/ps", "Ollama", "The models in memory");
    endpoint!(
        ollama_show,
        post,
        "/api/show",
        "Ollama",
        "What the model is and can do",
        ollama::wire::ShowRequest,
        serde_json::Value
    );
    endpoint!(
        ollama_version,
        get,
        "/api/version",
        "Ollama",
        "The server's version"
    );
    endpoint!(
        tokenize,
        post,
        "/tokenize",
        "Text",
        "The tokens of a text or a conversation",
        TokenizeBody,
        openai::wire::TokenizeResponse
    );
    endpoint!(
        detokenize,
        post,
        "/detokenize",
        "Text",
        "The text of tokens",
        openai::wire::DetokenizeRequest,
        openai::wire::DetokenizeResponse
    );
    endpoint!(
        apply_template,
        post,
        "/apply-template",
        "Text",
        "A conversation as the model reads it",
        ChatCompletionBody,
        openai::wire::DetokenizeResponse
    );
    endpoint!(
        ollama_pull,
        post,
        "/api/pull",
        "Ollama",
        "Fetch a model, where the server lets clients do it",
        ollama::wire::PullRequest,
        serde_json::Value
    );
    endpoint!(
        ollama_delete,
        delete,
        "/api/delete",
        "Ollama",
        "Delete a model, where the server lets clients do it",
        ollama::wire::DeleteRequest,
        serde_json::Value
    );
    endpoint!(
        load_model,
        post,
        "/models/load",
        "Operation",
        "Load a model into memory",
        management::ModelRequest,
        serde_json::Value
    );
    endpoint!(
        unload_model,
        post,
        "/models/unload",
        "Operation",
        "Let a model go from memory",
        management::ModelRequest,
        serde_json::Value
    );
    endpoint!(
        load_lora_adapter,
        post,
        "/v1/load_lora_adapter",
        "Adapters",
        "Serve an adapter, where the server lets clients do it",
        adapters::LoadAdapterRequest,
        String
    );
    endpoint!(
        unload_lora_adapter,
        post,
        "/v1/unload_lora_adapter",
        "Adapters",
        "Serve an adapter no longer, where the server lets clients do it",
        adapters::UnloadAdapterRequest,
        String
    );
    endpoint!(
        personas,
        get,
        "/v1/personas",
        "Personas",
        "Who there is to talk to"
    );
    endpoint!(
        persona,
        get,
        "/v1/personas/{name}",
        "Personas",
        "What anybody may see of a persona",
        "name"
    );
    endpoint!(
        persona_picture,
        get,
        "/v1/personas/{name}/picture",
        "Personas",
        "A persona's picture",
        "name"
    );
    endpoint!(
        persona_greetings,
        get,
        "/v1/personas/{name}/greetings",
        "Personas",
        "What a persona begins conversations with",
        "name"
    );
    endpoint!(
        status,
        get,
        "/status",
        "Operation",
        "Models, memory, requests and tokens at a glance"
    );
    endpoint!(
        health,
        get,
        "/health",
        "Operation",
        "Whether the server serves"
    );
    endpoint!(
        version,
        get,
        "/version",
        "Operation",
        "The server's version"
    );
    endpoint!(
        metrics,
        get,
        "/metrics",
        "Operation",
        "Counters and histograms, for Prometheus"
    );
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
