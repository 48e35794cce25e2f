//! The endpoints of what is kept: conversations, who is signed in, personas that clients change.
#![expect(dead_code, reason = "read by the derive of `Api`")]

use matou_history::{
    Changes, Conversation, Detail, ImportedConversation, Message, NewConversation, NewMessage,
    WholeConversation,
};

use super::bodies::AnswerBody;
use super::endpoint::endpoint;
use crate::dialects::openai;
use crate::session::{SessionObject, SignInRequest};

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
endpoint!(
    conversation,
    get,
    "/v1/history/{id}",
    "History",
    "A conversation with all its messages",
    { "id" },
    WholeConversation
);
endpoint!(
    update_conversation,
    post,
    "/v1/history/{id}",
    "History",
    "Change a conversation's title, folder, settings or draft",
    { "id" },
    Changes,
    Conversation
);
endpoint!(
    delete_conversation,
    delete,
    "/v1/history/{id}",
    "History",
    "Delete a conversation for good",
    { "id" }
);
endpoint!(
    export_conversation,
    get,
    "/v1/history/{id}/export",
    "History",
    "A conversation as a file: `?format=json` or `markdown`",
    { "id" }
);
endpoint!(
    add_message,
    post,
    "/v1/history/{id}/messages",
    "History",
    "Say something in a conversation",
    { "id" },
    NewMessage,
    Message
);
endpoint!(
    message,
    get,
    "/v1/history/{id}/messages/{message}",
    "History",
    "A message with log-probabilities and the request behind it",
    {"id", "message"},
    Detail
);
endpoint!(
    delete_message,
    delete,
    "/v1/history/{id}/messages/{message}",
    "History",
    "Delete a message and all that follows it for good",
    {"id", "message"}
);
endpoint!(
    answer_conversation,
    post,
    "/v1/history/{id}/answers",
    "History",
    "Have a message answered; the answer is written whether anybody listens or not",
    { "id" },
    AnswerBody,
    openai::wire::ChatCompletion
);
endpoint!(
    follow_answer,
    get,
    "/v1/history/{id}/messages/{message}/stream",
    "History",
    "An answer that is being written, streamed from its beginning",
    {"id", "message"}
);
endpoint!(
    stop_answer,
    post,
    "/v1/history/{id}/messages/{message}/stop",
    "History",
    "End an answer that is being written",
    {"id", "message"}
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
endpoint!(
    persona_card,
    get,
    "/v1/personas/{name}/card",
    "Personas",
    "A persona's card, where the server lets clients change it",
    { "name" }
);
endpoint!(
    replace_persona,
    put,
    "/v1/personas/{name}",
    "Personas",
    "Put another card in a persona's place, where the server lets clients do it",
    { "name" }
);
endpoint!(
    delete_persona,
    delete,
    "/v1/personas/{name}",
    "Personas",
    "Delete a persona, where the server lets clients do it",
    { "name" }
);
