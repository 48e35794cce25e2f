//! The endpoints, one function each: what they are called, what they read, what they answer.
#![expect(dead_code, reason = "read by the derive of `Api`")]

use super::bodies::{
    AnswerBody, ChatCompletionBody, CompletionBody, OllamaChatBody, OllamaGenerateBody,
    ResponseBody, TokenizeBody,
};
use crate::session::{SessionObject, SignInRequest};
use matou_history::{
    Changes, Conversation, Detail, ImportedConversation, Message, NewConversation, NewMessage,
    WholeConversation,
};

use crate::dialects::{adapters, anthropic, management, ollama, openai, responses};

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

macro_rules! endpoint_of {
    ($name:ident, $method:ident, $path:literal, $tag:literal, $summary:literal, [$($parameter:literal),+]) => {
        endpoint_of!($name, $method, $path, $tag, $summary, [$($parameter),+], serde_json::Value);
    };
    ($name:ident, $method:ident, $path:literal, $tag:literal, $summary:literal, [$($parameter:literal),+], $answer:ty) => {
        #[utoipa::path($method, path = $path, tag = $tag, summary = $summary,
            params($(($parameter = String, Path)),+),
            responses((status = 200, description = "The answer", body = $answer),
                (status = "4XX", description = "What is wrong with the request"),
                (status = "5XX", description = "A fault of the server")))]
        pub(super) fn $name() {}
    };
    ($name:ident, $method:ident, $path:literal, $tag:literal, $summary:literal, [$($parameter:literal),+], $answer:ty, $request:ty) => {
        #[utoipa::path($method, path = $path, tag = $tag, summary = $summary,
            request_body = $request,
            params($(($parameter = String, Path)),+),
            responses((status = 200, description = "The answer, whole or streamed", body = $answer),
                (status = "4XX", description = "What is wrong with the request"),
                (status = "5XX", description = "A fault of the server")))]
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

#[utoipa::path(get, path = "/v1/history", tag = "History",
    summary = "Conversations, pinned ones first, then those that changed last",
    params(("limit" = Option<usize>, Query, description = "Most conversations of a page, up to 200"),
        ("after" = Option<String>, Query, description = "The last one of the page before"),
        ("folder" = Option<String>, Query, description = "Those of a folder"),
        ("q" = Option<String>, Query, description = "Those in which all of these words occur")),
    responses((status = 200, description = "A page of them", body = matou_history::Listed),
        (status = "4XX", description = "What is wrong with the request")))]
pub(super) fn history() {}

endpoint!(
    create_conversation,
    post,
    "/v1/history",
    "History",
    "Begin a conversation",
    NewConversation,
    Conversation
);
endpoint!(
    delete_history,
    delete,
    "/v1/history",
    "History",
    "Delete all conversations for good"
);
endpoint!(
    export_history,
    get,
    "/v1/history/export",
    "History",
    "All conversations as a file"
);
endpoint!(
    import_history,
    post,
    "/v1/history/import",
    "History",
    "Read conversations in that were exported",
    ImportedConversation,
    serde_json::Value
);
endpoint_of!(
    conversation,
    get,
    "/v1/history/{id}",
    "History",
    "A conversation with all its messages",
    ["id"],
    WholeConversation
);
endpoint_of!(
    update_conversation,
    post,
    "/v1/history/{id}",
    "History",
    "Change a conversation's title, folder, settings or draft",
    ["id"],
    Conversation,
    Changes
);
endpoint_of!(
    delete_conversation,
    delete,
    "/v1/history/{id}",
    "History",
    "Delete a conversation for good",
    ["id"]
);
endpoint_of!(
    export_conversation,
    get,
    "/v1/history/{id}/export",
    "History",
    "A conversation as a file: `?format=json` or `markdown`",
    ["id"]
);
endpoint_of!(
    add_message,
    post,
    "/v1/history/{id}/messages",
    "History",
    "Say something in a conversation",
    ["id"],
    Message,
    NewMessage
);
endpoint_of!(
    message,
    get,
    "/v1/history/{id}/messages/{message}",
    "History",
    "A message with log-probabilities and the request behind it",
    ["id", "message"],
    Detail
);
endpoint_of!(
    delete_message,
    delete,
    "/v1/history/{id}/messages/{message}",
    "History",
    "Delete a message and all that follows it for good",
    ["id", "message"]
);
endpoint_of!(
    answer_conversation,
    post,
    "/v1/history/{id}/answers",
    "History",
    "Have a message answered; the answer is written whether anybody listens or not",
    ["id"],
    openai::wire::ChatCompletion,
    AnswerBody
);
endpoint_of!(
    follow_answer,
    get,
    "/v1/history/{id}/messages/{message}/stream",
    "History",
    "An answer that is being written, streamed from its beginning",
    ["id", "message"]
);
endpoint_of!(
    stop_answer,
    post,
    "/v1/history/{id}/messages/{message}/stop",
    "History",
    "End an answer that is being written",
    ["id", "message"]
);
endpoint!(
    session,
    get,
    "/session",
    "Sign-in",
    "Whether this browser is signed in"
);
endpoint!(
    sign_in,
    post,
    "/session",
    "Sign-in",
    "Sign a browser in with a key, or with a link's token",
    SignInRequest,
    SessionObject
);
endpoint!(
    sign_out,
    delete,
    "/session",
    "Sign-in",
    "Sign a browser out"
);
endpoint!(
    sign_in_link,
    post,
    "/session/links",
    "Sign-in",
    "Make a link that signs another browser in, once"
);
endpoint!(
    add_persona,
    post,
    "/v1/personas",
    "Personas",
    "Serve the persona of a card (its file is the body), where the server lets clients do it"
);
endpoint_of!(
    persona_card,
    get,
    "/v1/personas/{name}/card",
    "Personas",
    "A persona's card, where the server lets clients change it",
    ["name"]
);
endpoint_of!(
    replace_persona,
    put,
    "/v1/personas/{name}",
    "Personas",
    "Put another card in a persona's place, where the server lets clients do it",
    ["name"]
);
endpoint_of!(
    delete_persona,
    delete,
    "/v1/personas/{name}",
    "Personas",
    "Delete a persona, where the server lets clients do it",
    ["name"]
);
