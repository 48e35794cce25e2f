//! Bodies of requests that are read as several groups of fields.

use utoipa::ToSchema;

use crate::dialects::{history, ollama, openai, responses, shared};

/// What the endpoints read as groups of fields, put together.
macro_rules! body {
    ($(#[$doc:meta])* $name:ident: $($field:ident: $group:ty),+) => {
        $(#[$doc])*
        #[derive(ToSchema)]
        #[expect(dead_code, reason = "exists for its schema")]
        pub(super) struct $name {
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
body!(
    /// `POST /v1/history/{id}/answers`.
    AnswerBody: answer: history::AnswerFields, chat: openai::wire::ChatCompletionRequest,
    shared: shared::wire::SharedFields
);
