//! The endpoints, one function each: what they are called, what they read, what they answer.
#![expect(dead_code, reason = "read by the derive of `Api`")]

use super::bodies::{
    ChatCompletionBody, CompletionBody, OllamaChatBody, OllamaGenerateBody, ResponseBody,
    TokenizeBody,
};
use super::endpoint::endpoint;
use crate::dialects::{adapters, anthropic, management, ollama, openai, responses};

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
    { "id" }
);
endpoint!(
    delete_response,
    delete,
    "/v1/responses/{id}",
    "OpenAI",
    "Delete a response",
    { "id" }
);
endpoint!(
    models,
    get,
    "/v1/models",
    "OpenAI",
    "The names of the models"
);
endpoint!(model, get, "/v1/models/{id}", "OpenAI", "One of them", {
    "id"
});
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
    { "name" }
);
endpoint!(
    persona_picture,
    get,
    "/v1/personas/{name}/picture",
    "Personas",
    "A persona's picture",
    { "name" }
);
endpoint!(
    persona_greetings,
    get,
    "/v1/personas/{name}/greetings",
    "Personas",
    "What a persona begins conversations with",
    { "name" }
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
